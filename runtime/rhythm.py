"""Whether a symbol's silence is longer than its own habits explain.

The measure is the symbol itself: what ticks each second is stale long before what ticks each
minute. Told the time; a symbol that has hardly been heard is never called stale.
"""

from feeds.columns import Span
from feeds.events import SECOND

BEATS_NEEDED = 8
PAUSES_ALLOWED = 10
"""A silence of so many usual pauses is no accident of a random stream: about 1 in 20,000."""
SHORTEST = 5 * SECOND
"""No shorter silence counts, however busy the symbol is."""
_WEIGHT = 0.1


class Rhythm:
    """The pace of one symbol's data; `pause` is the usual time between two arrivals, ns.

    What `follow` is told is reckoned when somebody asks, or with the next beat.
    """

    __slots__ = ("_beats", "_last", "_pause", "_unreckoned")

    def __init__(self) -> None:
        self._last = 0
        self._pause = 0.0
        self._beats = 0
        self._unreckoned: list[Span] = []

    @property
    def last(self) -> int:
        """The latest beat, ns."""
        self._reckon()
        return self._last

    @property
    def pause(self) -> float:
        """The usual time between two beats, ns."""
        self._reckon()
        return self._pause

    def beat(self, now: int) -> None:
        """Take note of data that arrived at `now` (ns)."""
        if self._unreckoned:
            self._reckon()
        if self._beats:
            interval = now - self._last
            if self._beats == 1:
                self._pause = float(interval)
            else:
                self._pause += _WEIGHT * (interval - self._pause)
        self._beats += 1
        self._last = now

    def follow(self, span: Span) -> None:
        """Take note of rows of columns: one beat for each moment, later than any beat before."""
        if self._unreckoned:
            before = self._unreckoned[-1]
            if before.rows is not span.rows:  # columns are not kept for longer than they are used
                self._reckon()
            elif before.end == span.begin:
                span = Span(span.rows, self._unreckoned.pop().begin, span.end)
        self._unreckoned.append(span)

    def is_stale(self, now: int) -> bool:
        """Whether more time has passed than the symbol's own pace explains."""
        if self._unreckoned:
            self._reckon()
        if self._beats < BEATS_NEEDED:
            return False
        return now - self._last > max(SHORTEST, PAUSES_ALLOWED * self._pause)

    def _reckon(self) -> None:
        spans, self._unreckoned = self._unreckoned, []
        for span in spans:
            times = span.rows.times[span.begin : span.end]
            place = 0
            while self._beats < 2 and place < len(times):
                if times[place] != self._last:  # a moment may go on from one block into the next
                    self.beat(times[place])
                place += 1
            last, pause, beats = self._last, self._pause, self._beats
            for now in times[place:]:  # as `beat` does, without the calls
                if now != last:
                    pause += _WEIGHT * (now - last - pause)
                    last = now
                    beats += 1
            self._last, self._pause, self._beats = last, pause, beats
