"""The bucket with a clock: what jobs take minutes from, and what a thread may wait at.

Waiting is in order of arrival: whoever came first is served first, however much it wants, so a
small request never starves a large one. The clock is the engine's, or the wall's by choice.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from runtime.training.bucket import PRESETS, LeakyBucket, Preset
from runtime.training.updates import QuotaStatistics

__all__ = ["PRESETS", "Preset", "QuotaStatistics", "TrainingClock", "TrainingQuota"]

LOOK_AGAIN_SECONDS = 0.01


class TrainingClock(Protocol):
    """What jobs are timed by: real time, also while a replay's own time runs ahead or stands."""

    def now(self) -> int:
        """Return ns; only differences count."""
        ...

    async def sleep_until(self, when: int) -> None:
        """Return at `when` (ns), or at once if that has passed."""
        ...


class QuotaLedger(Protocol):
    """Where the bucket's state outlives this process."""

    def touch(self) -> None:
        """Have the state as it is now written soon; from any thread, without waiting."""
        ...

    async def settled(self) -> None:
        """Return when what was touched is written, in bounded time."""
        ...


def _pause() -> None:
    threading.Event().wait(LOOK_AGAIN_SECONDS)


class TrainingQuota:
    """The minutes of all training jobs.

    Args:
        bucket: where they are.
        clock: ns UTC; it decides when the bucket refills.
        pause: what a waiting thread does between two looks; tests move their clock in it.
        shown: what people's clocks show at a time of `clock`; the same by default.
    """

    def __init__(
        self,
        bucket: LeakyBucket,
        clock: Callable[[], int],
        pause: Callable[[], None] = _pause,
        shown: Callable[[int], int] = int,
    ) -> None:
        self.bucket = bucket
        self.ledger: QuotaLedger | None = None
        self._clock = clock
        self._shown = shown
        self._pause = pause
        self._line: deque[object] = deque()  # who waits in `consume`; appends and pops are atomic

    def try_consume(self, tokens: int) -> bool:
        """Take `tokens` now, or nothing; safe on the loop and in any thread.

        Raises:
            ValueError: a number that could never be had.
        """
        taken = self.bucket.try_consume(tokens, self._clock())
        if self.ledger is not None:  # also where none was taken: the bucket may have been refilled
            self.ledger.touch()
        return taken

    async def settled(self) -> None:
        """Return when what was taken up to now outlives this process, or a disk does not answer."""
        if self.ledger is not None:
            await self.ledger.settled()

    def consume(self, tokens: int, timeout_ns: int | None = None) -> None:
        """Block this thread (never the loop's) until its turn has come and `tokens` are taken.

        Args:
            tokens: 1 to the capacity.
            timeout_ns: None waits for ever; 0 tries once.

        Raises:
            TimeoutError: the time has passed; nothing was taken.
            ValueError: a negative timeout, or a number of tokens that could never be had.
        """
        if timeout_ns is not None and timeout_ns < 0:
            raise ValueError(f"timeout_ns is {timeout_ns}: None waits for ever, 0 tries once")
        if not 0 < tokens <= self.bucket.capacity:
            raise ValueError(f"{tokens} tokens: ask for 1 to {self.bucket.capacity}")
        began = self._clock()
        place = object()
        self._line.append(place)
        try:
            while not (self._line[0] is place and self.try_consume(tokens)):
                if timeout_ns is not None and self._clock() - began >= timeout_ns:
                    raise TimeoutError(
                        f"{tokens} training minutes were not to be had in {timeout_ns / 1e9:g} s: "
                        f"{self.statistics().available} of {self.bucket.capacity} are there"
                    )
                self._pause()
        finally:
            self._line.remove(place)

    @property
    def available(self) -> int:
        """How many tokens a consumer would find now; changes nothing."""
        return self.bucket.peek(self._clock())

    def statistics(self) -> QuotaStatistics:
        """Return the bucket as a consumer would find it now; changes nothing."""
        bucket = self.bucket
        state = bucket.forecast(self._clock())
        return QuotaStatistics(
            state.available,
            bucket.capacity,
            self._shown(state.next_refill),
            bucket.refill_amount,
            bucket.interval_ns,
        )
