"""How late a slice reaches on_data, and which callback took too long, timed where it is called."""

import time

from runtime.control.lag import Histogram
from runtime.timeslice import Timeslice

Slow = tuple[str, float]


class Pace:
    """Told when each callback begins and ends, on the loop; implements `runtime.callbacks.Watch`.

    Attributes:
        oldest: when the oldest event of what is dispatched now was received (wall clock, ns UTC);
            None where time does not go on by itself.
        total: the latencies, in ms, before the last call of `take_latency`.
    """

    def __init__(self, timeslice: Timeslice, slow_ms: float) -> None:
        self.oldest: int | None = None
        self._timeslice = timeslice
        self._slow_ms = slow_ms
        self._began = 0.0
        self._latency = Histogram()
        self.total = Histogram()
        self._slow: list[Slow] = []

    def enter(self, name: str) -> None:
        """Note that a callback begins."""
        self._timeslice.enter(name)
        if name == "on_data" and self.oldest is not None:
            self._latency.add(max(0, time.time_ns() - self.oldest) / 1e6)
        self._began = time.perf_counter()

    def leave(self) -> None:
        """Note that it has ended."""
        name = self._timeslice.name
        self._timeslice.leave()
        if name is not None:
            spent_ms = (time.perf_counter() - self._began) * 1000
            if spent_ms > self._slow_ms:
                self._slow.append((name, spent_ms))

    @property
    def has_slow(self) -> bool:
        """Whether `take_slow` has something."""
        return bool(self._slow)

    def take_slow(self) -> list[Slow]:
        """Return the callbacks over the budget since the last call, with their ms."""
        slow, self._slow = self._slow, []
        return slow

    def take_latency(self) -> Histogram:
        """Return the latencies since the last call, in ms, and start afresh."""
        latency, self._latency = self._latency, Histogram()
        self.total.merge(latency)
        return latency
