"""The reference's table by its numbers, then everything against the slow obvious bucket."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from feeds.events import MINUTE, SECOND
from runtime.training.bucket import PRESETS, BucketState, LeakyBucket, default_refill
from tests.models.bucket import SlowBucket

DAY = 1440 * MINUTE
T0 = 1_700_000_000 * SECOND


def drained(capacity: int, refill: int, interval_ns: int) -> LeakyBucket:
    bucket = LeakyBucket(capacity, refill, interval_ns, T0)
    assert bucket.try_consume(capacity, T0)
    return bucket


def test_row_1_a_new_bucket_is_full() -> None:
    assert LeakyBucket(10, 1, SECOND, T0).available == 10


def test_row_2_consuming_takes_that_many() -> None:
    bucket = LeakyBucket(10, 1, MINUTE, T0)
    assert bucket.try_consume(5, T0)
    assert bucket.available == 5


def test_rows_3_and_4_a_request_for_all_waits_until_all_is_there() -> None:
    bucket = LeakyBucket(10, 1, MINUTE, T0)
    bucket.try_consume(5, T0)
    for minute, available in ((1, 6), (2, 7), (3, 8), (4, 9)):
        assert not bucket.try_consume(10, T0 + minute * MINUTE)
        assert bucket.available == available
    assert bucket.try_consume(10, T0 + 5 * MINUTE)
    assert bucket.available == 0


@pytest.mark.parametrize(
    ("after", "refilled"),
    [(0, 0), (MINUTE - 100, 0), (MINUTE - 1, 0), (MINUTE, 1), (MINUTE + 1, 1), (2 * MINUTE, 2)],
)
def test_rows_5_to_7_a_refill_comes_at_its_moment_and_not_before(after: int, refilled: int) -> None:
    assert drained(10, 1, MINUTE).peek(T0 + after) == refilled


def test_row_8_the_rest_of_an_interval_is_kept() -> None:
    bucket = drained(10, 1, MINUTE)
    assert not bucket.try_consume(10, T0 + 7 * MINUTE // 2)
    assert bucket.available == 3
    assert not bucket.try_consume(10, T0 + 7 * MINUTE)
    assert bucket.available == 7


def test_row_9_a_week_fills_the_default_bucket_and_no_more() -> None:
    bucket = drained(120, 18, DAY)
    levels = [bucket.peek(T0 + day * DAY) for day in range(1, 9)]
    assert levels == [18, 36, 54, 72, 90, 108, 120, 120]


def test_row_10_a_refill_that_lands_on_a_full_bucket_is_lost() -> None:
    bucket = LeakyBucket(10, 3, MINUTE, T0)
    assert bucket.try_consume(1, T0 + MINUTE)
    assert bucket.available == 9
    assert bucket.next_refill == T0 + 2 * MINUTE
    assert bucket.peek(T0 + 2 * MINUTE - 1) == 9
    assert bucket.peek(T0 + 2 * MINUTE) == 10


@pytest.mark.parametrize("tokens", [0, -1, 11])
def test_rows_11_and_12_what_could_never_be_had_is_an_error(tokens: int) -> None:
    bucket = LeakyBucket(10, 1, MINUTE, T0)
    with pytest.raises(ValueError, match=f"{tokens} tokens asked of a bucket of 10"):
        bucket.try_consume(tokens, T0)
    assert bucket.available == 10


def test_row_13_too_many_takes_nothing() -> None:
    bucket = LeakyBucket(10, 1, MINUTE, T0)
    bucket.try_consume(5, T0)
    assert not bucket.try_consume(6, T0)
    assert bucket.available == 5


def test_reading_does_not_refill() -> None:
    bucket = drained(10, 1, MINUTE)
    assert bucket.peek(T0 + 3 * MINUTE) == 3
    assert bucket.available == 0
    assert bucket.next_refill == T0 + MINUTE


def test_a_clock_that_goes_back_adds_nothing_now_or_later() -> None:
    bucket = drained(10, 1, MINUTE)
    assert bucket.try_consume(2, T0 + 2 * MINUTE)
    assert not bucket.try_consume(1, T0 - DAY)
    assert not bucket.try_consume(1, T0 + 2 * MINUTE + 1)
    assert bucket.try_consume(1, T0 + 3 * MINUTE)


@pytest.mark.parametrize(
    ("capacity", "refill"), [(120, 18), (30, 5), (60, 9), (7, 1), (8, 2), (1, 1)]
)
def test_the_default_refill_is_a_seventh_rounded_up(capacity: int, refill: int) -> None:
    assert default_refill(capacity) == refill
    assert LeakyBucket(capacity, None, DAY, T0).refill_amount == refill


def test_a_negative_refill_counts_as_none() -> None:
    assert drained(10, -3, MINUTE).peek(T0 + DAY) == 0


@pytest.mark.parametrize(("capacity", "interval"), [(0, 1), (-1, 1), (1, 0), (1, -5)])
def test_a_bucket_that_could_hold_or_refill_nothing_is_an_error(
    capacity: int, interval: int
) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        LeakyBucket(capacity, 1, interval, T0)


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("lean-local", (120, 18, 1440)),
        ("unlimited", (99_999_999, 999_999, 1)),
        ("O2-8", (30, 5, 1440)),
        ("O4-12", (60, 10, 1440)),
        ("O8-16", (90, 15, 1440)),
    ],
)
def test_presets_are_leans(name: str, numbers: tuple[int, int, int]) -> None:
    assert PRESETS[name] == numbers


def test_a_restart_refills_nothing_that_time_did_not() -> None:
    bucket = drained(120, 18, DAY)
    state = bucket.snapshot()
    again = LeakyBucket.restore(state, 120, 18, DAY, T0 + DAY // 2)
    assert again.peek(T0 + DAY - 1) == 0
    assert again.peek(T0 + DAY) == 18


def test_time_that_passed_while_down_refills() -> None:
    again = LeakyBucket.restore(drained(120, 18, DAY).snapshot(), 120, 18, DAY, T0 + 3 * DAY)
    assert again.peek(T0 + 3 * DAY) == 54


def test_a_restart_under_other_settings_keeps_no_more_than_they_allow() -> None:
    again = LeakyBucket.restore(BucketState(100, T0 + 400 * DAY), 30, 5, DAY, T0)
    assert again.available == 30
    assert again.next_refill == T0 + DAY
    assert LeakyBucket.restore(BucketState(-4, T0), 30, 5, DAY, T0).available == 0


def test_its_text_tells_its_state() -> None:
    assert repr(drained(10, 1, 60)) == f"LeakyBucket(0 of 10, +1 every 60 ns, next at {T0 + 60})"


class BucketMachine(RuleBasedStateMachine):
    """The bucket agrees with the slow one whatever is asked of it, and in whatever order."""

    @initialize(
        capacity=st.integers(1, 40), refill=st.integers(0, 50), interval=st.integers(1, 1000)
    )
    def make(self, capacity: int, refill: int, interval: int) -> None:
        self.now = T0
        self.bucket = LeakyBucket(capacity, refill, interval, T0)
        self.slow = SlowBucket(capacity, refill, interval, T0)

    @rule(forward=st.integers(-1500, 5000))
    def move_the_clock(self, forward: int) -> None:
        self.now += forward

    @rule(tokens=st.integers(1, 40))
    def consume(self, tokens: int) -> None:
        if tokens > self.bucket.capacity:
            with pytest.raises(ValueError, match="never be had"):
                self.bucket.try_consume(tokens, self.now)
        else:
            expected = self.slow.try_consume(tokens, self.now)
            assert self.bucket.try_consume(tokens, self.now) is expected

    @rule()
    def look(self) -> None:
        before = self.bucket.snapshot()
        self.bucket.peek(self.now)
        assert self.bucket.snapshot() == before

    @rule()
    def restart(self) -> None:
        """A restart changes nothing, as long as the clock has not gone back over a boundary."""
        bucket = self.bucket
        if self.slow.boundary <= self.now + bucket.interval_ns:
            self.bucket = LeakyBucket.restore(
                bucket.snapshot(),
                bucket.capacity,
                bucket.refill_amount,
                bucket.interval_ns,
                self.now,
            )

    @invariant()
    def same_state(self) -> None:
        assert self.bucket.available == self.slow.available
        assert self.bucket.next_refill == self.slow.boundary
        assert 0 <= self.bucket.available <= self.bucket.capacity


BucketMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=50)
TestBucketMachine = BucketMachine.TestCase


@given(
    refill=st.integers(0, 50),
    looks=st.lists(st.integers(0, 10**13), min_size=1, max_size=30).map(sorted),
)
def test_when_somebody_looks_does_not_change_what_is_there(refill: int, looks: list[int]) -> None:
    """Lazy is not pro rata: many small waits give what one long one gives."""
    often, once = drained(10**9, refill, 10**10 + 7), drained(10**9, refill, 10**10 + 7)
    for look in looks:
        assert not often.try_consume(10**9, T0 + look)
    assert often.available == once.peek(T0 + looks[-1])


def test_threads_never_over_spend() -> None:
    bucket = LeakyBucket(1000, 1, 10, 0)
    start = threading.Barrier(8)
    taken = [0] * 8

    def consume(who: int) -> None:
        start.wait()
        for now in range(2000):
            taken[who] += bucket.try_consume(1 + now % 3, now) and 1 + now % 3

    threads = [threading.Thread(target=consume, args=(who,)) for who in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bucket.available + sum(taken) <= 1000 + 1999 // 10
    assert not bucket.try_consume(bucket.available + 1, 1999)
