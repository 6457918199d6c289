"""Whether a symbol's silence is longer than its own habits explain.

The measure is the symbol itself: what ticks each second is stale long before what ticks each
minute. Told the time; a symbol that has hardly been heard is never called stale.
"""

from feeds.events import SECOND

BEATS_NEEDED = 8
PAUSES_ALLOWED = 10
"""A silence of so many usual pauses is no accident of a random stream: about 1 in 20,000."""
SHORTEST = 5 * SECOND
"""No shorter silence counts, however busy the symbol is."""
_WEIGHT = 0.1


class Rhythm:
    """The pace of one symbol's data; `pause` is the usual time between two arrivals, ns."""

    __slots__ = ("_beats", "last", "pause")

    def __init__(self) -> None:
        self.last = 0
        self.pause = 0.0
        self._beats = 0

    def beat(self, now: int) -> None:
        """Take note of data that arrived at `now` (ns)."""
        if self._beats:
            interval = now - self.last
            if self._beats == 1:
                self.pause = float(interval)
            else:
                self.pause += _WEIGHT * (interval - self.pause)
        self._beats += 1
        self.last = now

    def is_stale(self, now: int) -> bool:
        """Whether more time has passed than the symbol's own pace explains."""
        if self._beats < BEATS_NEEDED:
            return False
        return now - self.last > max(SHORTEST, PAUSES_ALLOWED * self.pause)
