"""The waiting form: the reference's rows with a clock that moves while a thread waits."""

import threading

import pytest

from feeds.events import MINUTE, SECOND
from runtime.training.bucket import LeakyBucket
from runtime.training.quota import TrainingQuota
from runtime.training.updates import QuotaStatistics

T0 = 1_700_000_000 * SECOND


class MovingClock:
    """Moves on by a step each time somebody waits, and remembers what it saw then."""

    def __init__(self, step_ns: int) -> None:
        self.time = T0
        self.step_ns = step_ns
        self.quota: TrainingQuota | None = None
        self.levels: list[int] = []

    def now(self) -> int:
        return self.time

    def pause(self) -> None:
        self.time += self.step_ns
        assert self.quota is not None
        self.levels.append(self.quota.statistics().available)


def quota_with(clock: MovingClock, *, spent: int) -> TrainingQuota:
    clock.quota = TrainingQuota(LeakyBucket(10, 1, MINUTE, T0), clock.now, clock.pause)
    if spent:
        assert clock.quota.try_consume(spent)
    return clock.quota


def test_rows_3_and_4_waiting_ends_when_all_is_there() -> None:
    clock = MovingClock(MINUTE)
    quota = quota_with(clock, spent=5)
    quota.consume(10)
    assert clock.levels == [6, 7, 8, 9, 10]
    assert quota.statistics().available == 0


def test_row_14_a_negative_timeout_is_an_error() -> None:
    with pytest.raises(ValueError, match="timeout_ns is -2"):
        quota_with(MovingClock(MINUTE), spent=0).consume(1, -2)


@pytest.mark.parametrize("tokens", [0, -1, 11])
def test_what_could_never_be_had_is_not_waited_for(tokens: int) -> None:
    with pytest.raises(ValueError, match="ask for 1 to 10"):
        quota_with(MovingClock(MINUTE), spent=0).consume(tokens)


def test_row_15_a_timeout_of_nothing_tries_once() -> None:
    clock = MovingClock(MINUTE)
    quota = quota_with(clock, spent=9)
    quota.consume(1, 0)
    with pytest.raises(TimeoutError, match=r"not to be had in 0 s: 0 of 10"):
        quota.consume(1, 0)
    assert clock.levels == [], "at once is without a pause"


def test_a_timeout_takes_nothing() -> None:
    clock = MovingClock(10 * SECOND)
    quota = quota_with(clock, spent=9)
    with pytest.raises(TimeoutError):
        quota.consume(2, 50 * SECOND)
    assert clock.levels == [1] * 5
    assert quota.statistics().available == 1


def test_a_refill_at_the_moment_of_the_timeout_still_counts() -> None:
    quota = quota_with(MovingClock(10 * SECOND), spent=10)
    quota.consume(1, MINUTE)
    assert quota.statistics().available == 0


def test_a_small_request_does_not_overtake_a_large_one() -> None:
    """Nine tokens are there: enough for the second in line, but the first waits for ten."""
    clock = MovingClock(0)
    quota = quota_with(clock, spent=1)
    waiting = {"large": threading.Event(), "small": threading.Event()}
    served: list[str] = []

    def pause() -> None:
        waiting[threading.current_thread().name].set()

    in_line = TrainingQuota(quota.bucket, clock.now, pause)

    def consume(name: str, tokens: int) -> None:
        in_line.consume(tokens)
        served.append(name)

    threads = []
    for name, tokens in (("large", 10), ("small", 1)):
        threads.append(threading.Thread(target=consume, args=(name, tokens), name=name))
        threads[-1].start()
        assert waiting[name].wait(30)
    assert served == []
    clock.time = T0 + MINUTE
    threads[0].join()
    clock.time = T0 + 2 * MINUTE
    threads[1].join()
    assert served == ["large", "small"]


def test_whoever_gives_up_leaves_the_line() -> None:
    clock = MovingClock(SECOND)
    quota = quota_with(clock, spent=10)
    with pytest.raises(TimeoutError):
        quota.consume(10, SECOND)
    clock.time = T0 + 3 * MINUTE
    quota.consume(3, 0)


def test_a_thread_really_waits_without_a_clock_of_the_tests() -> None:
    moments = iter([T0, T0, T0, T0 + MINUTE, T0 + MINUTE, T0 + MINUTE])
    quota = TrainingQuota(LeakyBucket(1, 1, MINUTE, T0), lambda: next(moments))
    assert quota.try_consume(1)
    quota.consume(1)
    assert quota.bucket.available == 0


def test_statistics_show_what_a_consumer_would_find() -> None:
    clock = MovingClock(MINUTE)
    quota = quota_with(clock, spent=10)
    clock.time = T0 + 3 * MINUTE + 1
    assert quota.statistics() == QuotaStatistics(3, 10, T0 + 4 * MINUTE, 1, MINUTE)
    assert quota.bucket.available == 0, "looking refills nothing"
