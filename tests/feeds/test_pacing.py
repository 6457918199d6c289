"""Never more than the rate within any span, against a list of all that went."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.events import SECOND
from feeds.pacing import Pacer, retry_after
from feeds.protocols.base import Rate


@given(st.lists(st.integers(0, 30), max_size=60), st.integers(1, 5), st.integers(1, 50))
def test_no_span_ever_holds_more_than_the_count(pauses: list[int], count: int, span: int) -> None:
    pacer, now, gone = Pacer(Rate(count, span)), 0, list[int]()
    for pause in pauses:
        now += pause
        wait = pacer.wait(now)
        allowed = sum(moment > now - span for moment in gone) < count
        assert (wait == 0) == allowed
        if wait:
            now += wait
            assert sum(moment > now - span for moment in gone) < count
        pacer.take(now)
        gone.append(now)


def test_a_venue_that_says_stay_away_is_kept_away_from() -> None:
    pacer = Pacer(Rate(5))
    pacer.hold(100)
    pacer.hold(50)
    assert (pacer.wait(40), pacer.wait(100)) == (60, 0)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, 0),
        ("120", 120),
        (" 7 ", 7),
        ("Thu, 01 Jan 1970 00:02:00 GMT", 20),
        ("Thu, 01 Jan 1970 00:00:10 GMT", 0),
        ("soon", 0),
        ("-5", 0),
        ("9" * 8000, 10**9),
        ("\u0663", 0),
        ("Thu, 99 Foo 99999 00:00:10 GMT", 0),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str | None, seconds: int) -> None:
    assert retry_after(text, 100 * SECOND) == seconds * SECOND
