"""How far and how long an account was below its highest: told sample by sample, kept in few words.

The depth is (peak - equity) / peak, above 1 where money is owed. The length is the time from the
last moment at the peak to the first at it again, or to the end.
"""

import msgspec


class Drawdown(msgspec.Struct, frozen=True):
    """The worst of a run: `depth` a fraction, `length` ns; times ns UTC of the deepest one.

    `depth` is None where there was never any money to lose, `trough` where nothing was lost.
    """

    depth: float | None = None
    length: int = 0
    peak: int | None = None
    trough: int | None = None


class Underwater:
    """Follows one account."""

    def __init__(self) -> None:
        self._high: float | None = None
        self._high_time = 0
        self._is_below = False
        self._depth = 0.0
        self._length = 0
        self._peak: int | None = None
        self._trough: int | None = None

    def add(self, time: int, equity: float) -> bool:
        """Take a sample, in order of time; whether it is the deepest so far."""
        if self._high is None or equity >= self._high:
            if self._is_below:
                self._length = max(self._length, time - self._high_time)
            self._high, self._high_time, self._is_below = equity, time, False
            return False
        self._is_below = True
        self._length = max(self._length, time - self._high_time)
        if self._high <= 0:
            return False
        depth = (self._high - equity) / self._high
        if depth <= self._depth:
            return False
        self._depth, self._peak, self._trough = depth, self._high_time, time
        return True

    def worst(self) -> Drawdown:
        """Return the worst so far."""
        depth = None if self._high is None or self._high <= 0 else self._depth
        return Drawdown(depth, self._length, self._peak, self._trough)
