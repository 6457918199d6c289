"""The only place that asks the system for the time; everything else is told.

SystemClock is wall time, SteadyClock measures durations. VirtualClock stands until it is moved: a
replay moves it along its data, a test by hand, and whoever sleeps on it wakes in order of time.
HighWaterClock is wall time that never goes back, not even over a restart.
"""

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from typing import Protocol

import anyio

from feeds.events import SECOND


class Clock(Protocol):
    """What the shells need of a clock."""

    def now(self) -> int:
        """Return ns since the epoch, UTC."""
        ...

    async def sleep_until(self, when: int) -> None:
        """Return at `when` (ns) or at once if that has passed."""
        ...


class SystemClock:
    """Wall time; sleeps survive a clock that jumps by looking again after at most a minute."""

    LOOK_AGAIN_NS = 60 * SECOND

    def now(self) -> int:
        """Return ns since the epoch, UTC."""
        return time.time_ns()

    async def sleep_until(self, when: int) -> None:
        """Return at `when` (ns) or at once if that has passed."""
        while (left := when - self.now()) > 0:  # noqa: ASYNC110  # nobody tells us: time passes
            await anyio.sleep(min(left, self.LOOK_AGAIN_NS) / SECOND)


class SteadyClock:
    """Wall time as it was at the start, carried on by the monotonic clock.

    A step of the wall clock, or a machine that slept, is not time that a job has run.
    """

    def __init__(self) -> None:
        self._offset = time.time_ns() - time.monotonic_ns()

    def now(self) -> int:
        """Return ns since the epoch, UTC, as it would be had nobody moved the wall clock."""
        return self._offset + time.monotonic_ns()

    async def sleep_until(self, when: int) -> None:
        """Return at `when` (ns) or at once if that has passed."""
        await anyio.sleep(max(0, when - self.now()) / SECOND)


class HighWaterClock:
    """Wall time that never goes back: where the wall clock is set back, time goes on from there.

    Args:
        high: the latest time another run has seen, ns UTC: this one begins no earlier.
        wall: the wall clock, ns UTC.
        steady: what measures time while the wall clock is behind, ns.
    """

    def __init__(
        self,
        high: int = 0,
        wall: Callable[[], int] = time.time_ns,
        steady: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._wall = wall
        self._steady = steady
        self._lock = threading.Lock()  # guards the two fields below
        self._high = max(high, wall())
        self._since = steady()

    def now(self) -> int:
        """Return ns since the epoch, UTC, or later; from any thread."""
        with self._lock:
            steady = self._steady()
            self._high = max(self._wall(), self._high + max(0, steady - self._since))
            self._since = steady
            return self._high

    def on_the_wall(self, when: int) -> int:
        """Return what the wall clock will show at `when` of this clock, if nobody sets it."""
        return when - self.now() + self._wall()


class VirtualClock:
    """Time that somebody moves; it never goes back."""

    def __init__(self, now: int = 0) -> None:
        self._now = now
        self._sleepers: list[tuple[int, int, anyio.Event]] = []
        self._order = itertools.count()

    def now(self) -> int:
        """Return ns since the epoch, UTC."""
        return self._now

    def advance_to(self, when: int) -> None:
        """Move to `when` and wake who is due; an earlier `when` changes nothing."""
        self._now = max(self._now, when)
        while self._sleepers and self._sleepers[0][0] <= self._now:
            heapq.heappop(self._sleepers)[2].set()

    def advance(self, span_ns: int) -> None:
        """Move on by `span_ns`."""
        self.advance_to(self._now + span_ns)

    @property
    def next_wake(self) -> int | None:
        """When the first sleeper is due, or None."""
        return self._sleepers[0][0] if self._sleepers else None

    async def sleep_until(self, when: int) -> None:
        """Return once somebody has moved the clock to `when`."""
        if when > self._now:
            event = anyio.Event()
            heapq.heappush(self._sleepers, (when, next(self._order), event))
            await event.wait()
