"""The first minute is free, then a token falls due as each further minute starts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.events import MINUTE, SECOND
from runtime.training.meter import Meter

T0 = 1_700_000_000 * SECOND


def bill(meter: Meter, now: int) -> int:
    """Pay what is due and return how much that was."""
    due = meter.due(now)
    for _ in range(due):
        meter.pay()
    return due


@pytest.mark.parametrize(
    ("seconds", "tokens"),
    [(0, 0), (45, 0), (59.4, 0), (60, 1), (61, 1), (119.9, 1), (120, 2), (180, 3), (7260, 121)],
)
def test_tokens_of_a_job_by_its_length(seconds: float, tokens: int) -> None:
    """Rows 16 to 19: 45 s nothing, 60 s exactly one, 0.99 min nothing, 4 x 45 s three."""
    assert Meter(T0).due(T0 + int(seconds * SECOND)) == tokens


def test_paying_as_it_goes_is_paying_at_the_end() -> None:
    meter = Meter(T0)
    assert [bill(meter, T0 + n * 45 * SECOND) for n in range(1, 5)] == [0, 1, 1, 1]
    assert meter.spent == 3


@pytest.mark.parametrize(("minute", "tokens"), [(9, 0), (10, 1), (11, 2)])
def test_a_longer_grace_as_in_leans_cloud(minute: int, tokens: int) -> None:
    assert Meter(T0, grace_ns=10 * MINUTE).due(T0 + minute * MINUTE) == tokens


def test_the_next_wake_is_when_the_next_token_falls_due() -> None:
    meter = Meter(T0)
    assert meter.next_wake(T0) == T0 + MINUTE
    assert meter.next_wake(T0 + 2 * MINUTE) == T0 + 2 * MINUTE
    bill(meter, T0 + 2 * MINUTE)
    assert meter.next_wake(T0 + 2 * MINUTE) == T0 + 3 * MINUTE


def test_paused_time_is_not_billed() -> None:
    meter = Meter(T0)
    meter.pause(T0 + 50 * SECOND)
    meter.pause(T0 + 55 * SECOND)
    assert meter.is_paused
    assert meter.next_wake(T0 + 60 * MINUTE) is None
    assert meter.due(T0 + 60 * MINUTE) == 0
    meter.resume(T0 + 60 * MINUTE)
    meter.resume(T0 + 61 * MINUTE)
    assert meter.next_wake(T0 + 60 * MINUTE) == T0 + 60 * MINUTE + 10 * SECOND
    assert meter.elapsed(T0 + 60 * MINUTE + 10 * SECOND) == MINUTE
    assert meter.due(T0 + 60 * MINUTE + 10 * SECOND) == 1


def test_a_clock_that_goes_back_bills_nothing() -> None:
    meter = Meter(T0)
    bill(meter, T0 + 3 * MINUTE)
    assert meter.due(T0 - MINUTE) == 0
    assert meter.elapsed(T0 - MINUTE) == 0


@given(
    steps=st.lists(st.tuples(st.integers(0, 200), st.booleans()), max_size=30),
    grace=st.integers(0, 100),
    quantum=st.integers(1, 70),
)
def test_spent_is_a_matter_of_run_time_alone(
    steps: list[tuple[int, bool]], grace: int, quantum: int
) -> None:
    meter, now, ran = Meter(0, grace, quantum), 0, 0
    for span, pause in steps:
        ran += 0 if meter.is_paused else span
        now += span
        bill(meter, now)
        assert meter.elapsed(now) == ran
        assert meter.spent == sum(1 for due in range(grace, ran + 1, quantum))
        if pause:
            meter.pause(now)
        else:
            meter.resume(now)
