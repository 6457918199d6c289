"""Tokens come back in whole steps at fixed moments; nothing comes back in between.

The caller says what time it is. The bucket starts full, refills only when somebody consumes, and
keeps the phase of its creation: a step that lands on a full bucket is lost and the next one comes
no sooner. A clock that goes back adds nothing, now or when it comes by the same moments again.
"""

import threading
from typing import NamedTuple, Self

import msgspec


class Preset(NamedTuple):
    """A bucket by name: tokens (minutes of training), tokens a refill, minutes between refills."""

    capacity: int
    refill_amount: int
    interval_minutes: int


DAY_MINUTES = 1440
PRESETS = {
    "lean-local": Preset(120, 18, DAY_MINUTES),
    "unlimited": Preset(99_999_999, 999_999, 1),
    "O2-8": Preset(30, 5, DAY_MINUTES),
    "O4-12": Preset(60, 10, DAY_MINUTES),
    "O8-16": Preset(90, 15, DAY_MINUTES),
}
"""LEAN's own default, its recipe for no limit, and its cloud nodes."""


def default_refill(capacity: int) -> int:
    """Return a seventh of the capacity, rounded up: seven refills fill an empty bucket."""
    return -(-capacity // 7)


class BucketState(msgspec.Struct, frozen=True):
    """What must survive a restart: tokens left, and when (ns UTC) the next refill is due."""

    available: int
    next_refill: int


class LeakyBucket:
    """A bucket of whole tokens; every method may be called from any thread.

    Args:
        capacity: tokens when full, at least 1.
        refill_amount: tokens added at each boundary; None is a seventh of the capacity, rounded
            up; a negative amount counts as 0, as in LEAN.
        interval_ns: time between two boundaries, at least 1 ns.
        now: ns UTC; the first boundary is one interval later.

    Raises:
        ValueError: a capacity or an interval below 1.
    """

    def __init__(
        self, capacity: int, refill_amount: int | None, interval_ns: int, now: int
    ) -> None:
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}: a bucket holds at least 1 token")
        if interval_ns < 1:
            raise ValueError(f"interval_ns is {interval_ns}: a refill interval is at least 1 ns")
        self.capacity = capacity
        self.refill_amount = (
            default_refill(capacity) if refill_amount is None else max(refill_amount, 0)
        )
        self.interval_ns = interval_ns
        self._available = capacity
        self._next_refill = now + interval_ns
        self._lock = threading.Lock()  # guards the two fields above

    @classmethod
    def restore(
        cls,
        state: BucketState,
        capacity: int,
        refill_amount: int | None,
        interval_ns: int,
        now: int,
    ) -> Self:
        """Continue a stored bucket under today's settings: time alone refills, a restart does not.

        The next refill is at most one interval away, whatever a wrong clock once stored.
        """
        bucket = cls(capacity, refill_amount, interval_ns, now)
        bucket._available = max(0, min(state.available, capacity))
        bucket._next_refill = min(state.next_refill, now + interval_ns)
        return bucket

    @property
    def available(self) -> int:
        """Tokens left after the last consumption; reading it does not refill."""
        return self._available

    @property
    def next_refill(self) -> int:
        """The first boundary that has not been counted yet, ns UTC; it may have passed."""
        return self._next_refill

    def try_consume(self, tokens: int, now: int) -> bool:
        """Take `tokens` if that many are there at `now` (ns UTC), else take nothing.

        Raises:
            ValueError: a number that could never be had: below 1, or above the capacity.
        """
        if not 0 < tokens <= self.capacity:
            raise ValueError(
                f"{tokens} tokens asked of a bucket of {self.capacity}: "
                f"ask for 1 to {self.capacity}, another number could never be had"
            )
        with self._lock:
            if now >= self._next_refill:
                self._available, self._next_refill = self._at(now)
            if self._available < tokens:
                return False
            self._available -= tokens
            return True

    def forecast(self, now: int) -> BucketState:
        """Return what a consumer would find at `now`, and the boundary after; changes nothing."""
        with self._lock:
            return BucketState(*self._at(now))

    def peek(self, now: int) -> int:
        """Return how many tokens a consumer would find at `now`; changes nothing."""
        with self._lock:
            return self._available if now < self._next_refill else self._at(now)[0]

    def snapshot(self) -> BucketState:
        """Return the state for storing."""
        with self._lock:
            return BucketState(self._available, self._next_refill)

    def _at(self, now: int) -> tuple[int, int]:
        """Tokens and next boundary at `now`, all whole intervals that have passed counted."""
        steps = max(0, (now - self._next_refill) // self.interval_ns + 1)
        return (
            min(self.capacity, self._available + steps * self.refill_amount),
            self._next_refill + steps * self.interval_ns,
        )

    def __repr__(self) -> str:
        return (
            f"LeakyBucket({self._available} of {self.capacity}, +{self.refill_amount} "
            f"every {self.interval_ns} ns, next at {self._next_refill})"
        )
