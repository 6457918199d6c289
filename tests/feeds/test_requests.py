"""Requests by number: what an answer means, and no more of them than are remembered."""

import pytest

from feeds.events import Symbol
from feeds.protocols.requests import REQUESTS_REMEMBERED, Requests

A = Symbol("A/USD")


def test_an_answer_is_understood_by_its_number_and_once_if_it_is_taken() -> None:
    requests = Requests()
    number = requests.add("trade", [A])
    assert requests.find(number) == requests.find(str(number)) == ("trade", [A])
    assert requests.take(str(number)) == ("trade", [A])
    assert requests.take(number) == ("", ())


@pytest.mark.parametrize("told", [None, "", "x", "-1", "1.0", "٣", "9" * 400, 0, -1, 10**30])
def test_a_number_that_is_none_of_ours_means_nothing(told: int | str | None) -> None:
    requests = Requests()
    requests.add("trade", [A])
    assert requests.find(told) == ("", ())


def test_numbers_go_on_and_only_the_latest_are_remembered() -> None:
    requests = Requests()
    numbers = [requests.add("trade", [A]) for _ in range(3 * REQUESTS_REMEMBERED)]
    assert numbers == sorted(set(numbers))
    assert len(requests) == REQUESTS_REMEMBERED
    assert requests.oldest() == numbers[-REQUESTS_REMEMBERED]
    requests.clear()
    assert requests.oldest() is None
    assert requests.number() == numbers[-1] + 1
