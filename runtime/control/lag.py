"""How late the loop is, measured all the time, and which callback made it so.

A task asks to be woken every 10 ms; how much later it wakes is the lag. The callbacks are timed
where they are called.
"""

import bisect
import math
import time
from collections.abc import Callable

import anyio
import msgspec

PERIOD_SECONDS = 0.01
# Upper edges of the histogram's buckets in ms, each a quarter of an octave above the one before.
EDGES_MS = [0.05 * 2 ** (k / 4) for k in range(80)]


class LagStatistics(msgspec.Struct, frozen=True):
    """Loop lag since the last look, in ms; `samples` is how many wake-ups that is."""

    p50_ms: float
    p99_ms: float
    max_ms: float
    samples: int


class Histogram:
    """Counts of durations in buckets of a fixed ratio: a quantile is right within 19 %."""

    def __init__(self) -> None:
        self._counts = [0] * (len(EDGES_MS) + 1)
        self.samples = 0
        self.max_ms = 0.0

    def add(self, milliseconds: float) -> None:
        """Count one duration."""
        self._counts[bisect.bisect_left(EDGES_MS, milliseconds)] += 1
        self.samples += 1
        self.max_ms = max(self.max_ms, milliseconds)

    def merge(self, other: "Histogram") -> None:
        """Add the counts of another one."""
        self._counts = [a + b for a, b in zip(self._counts, other._counts, strict=True)]
        self.samples += other.samples
        self.max_ms = max(self.max_ms, other.max_ms)

    def counts(self) -> dict[float, int]:
        """Return the counts by the buckets' upper edges (ms), the last one's infinity."""
        return dict(zip([*EDGES_MS, math.inf], self._counts, strict=True))

    def quantile(self, share: float) -> float:
        """Return the upper edge (ms) of the bucket where `share` of the samples lies below."""
        rank = share * self.samples
        seen = 0
        for edge, count in zip(EDGES_MS, self._counts, strict=False):
            seen += count
            if seen >= rank:
                return min(edge, self.max_ms)
        return self.max_ms


class LagMonitor:
    """The measuring task; `take` gives the figures since the last call, `total` all before it.

    `on_turn` is called at each waking: the loop turns; `on_lag` is told each lag, in ms.
    """

    def __init__(
        self,
        on_turn: Callable[[], None] = lambda: None,
        on_lag: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._histogram = Histogram()
        self.total = Histogram()
        self._on_turn = on_turn
        self._on_lag = on_lag

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            asked = time.monotonic()
            await anyio.sleep(PERIOD_SECONDS)
            self._on_turn()
            late = max(0.0, time.monotonic() - asked - PERIOD_SECONDS) * 1000
            self._histogram.add(late)
            self._on_lag(late)

    def take(self) -> LagStatistics:
        """Return the figures since the last call and start afresh."""
        histogram, self._histogram = self._histogram, Histogram()
        self.total.merge(histogram)
        return LagStatistics(
            round(histogram.quantile(0.5), 3),
            round(histogram.quantile(0.99), 3),
            round(histogram.max_ms, 3),
            histogram.samples,
        )
