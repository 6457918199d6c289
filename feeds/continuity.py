"""Gaps, duplicates and disorder of numbered trades: each number is admitted once, in any order.

Numbers of one stream rise by exactly one. A jump is a Gap that names how many are missing; a
missing one that comes late is still admitted; any other number not above the last is a duplicate,
unless the venue's clock says it is newer: then the venue has started counting again.
"""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from feeds.events import Gap, Symbol

LARGEST_GAP = 100_000_000
"""A jump by more than this is another way of counting, not so many missing trades."""
HOLES_REMEMBERED = 256
"""Holes kept per stream; a trade that comes later than this many holes is taken for a duplicate."""

IDS_REMEMBERED = 1_000
"""Ids without order kept per symbol: as many as one page of a venue's history."""


class Verdict(msgspec.Struct, frozen=True):
    """Whether a trade is to be delivered, and the gap that it revealed."""

    is_new: bool
    gap: Gap | None = None


class Mark(NamedTuple):
    """The latest trade of a symbol whose ids have no order; `time` is the venue's, ns."""

    trade_id: str
    time: int


class _Point(NamedTuple):
    """A trade, as far as counting is concerned."""

    symbol: Symbol
    number: int
    time: int
    received: int


_NEW = Verdict(is_new=True)
_DUPLICATE = Verdict(is_new=False)


class _Stream(msgspec.Struct):
    """One numbered stream: the highest number, the latest time, and the holes below it."""

    last: int
    time: int
    holes: list[tuple[int, int]] = msgspec.field(default_factory=list)  # first, last; rising

    def fill(self, number: int) -> bool:
        """Take one number out of the holes; False where it is in none."""
        for index, (first, last) in enumerate(self.holes):
            if first <= number <= last:
                rest = [(first, number - 1), (number + 1, last)]
                self.holes[index : index + 1] = [(a, b) for a, b in rest if a <= b]
                return True
        return False


class Continuity:
    """Watches any number of streams; one stream is one symbol on one channel.

    It outlives a connection: what is replayed after a reconnect is known as a duplicate, and what
    was missed shows as a gap.
    """

    def __init__(self) -> None:
        self._streams: dict[tuple[Symbol, str], _Stream] = {}
        self._seen: dict[Symbol, dict[str, None]] = {}
        self._latest: dict[Symbol, Mark] = {}
        self.duplicates = 0
        self.late = 0
        self.gaps = 0

    def knows(self, symbol: Symbol, channel: str = "trade") -> bool:
        """Say whether any number of this stream was ever seen."""
        return (symbol, channel) in self._streams

    def admit(
        self, symbol: Symbol, number: int, time: int, received: int, channel: str = "trade"
    ) -> Verdict:
        """Say whether this trade is new, and what is missing before it.

        Args:
            symbol: whose trade it is.
            number: the venue's trade number.
            time: the venue's time of the trade, ns.
            received: our time of it, ns; goes into the Gap.
            channel: tells apart two ways of counting the same trades.
        """
        stream = self._streams.get((symbol, channel))
        if stream is None:
            self._streams[symbol, channel] = _Stream(number, time)
            return _NEW
        if number == stream.last + 1:
            stream.last = number
            stream.time = max(stream.time, time)
            return _NEW
        if number > stream.last:
            point = _Point(symbol, number, time, received)
            return Verdict(True, self._jump(stream, point, number - 1))
        if stream.fill(number):
            stream.time = max(stream.time, time)
            self.late += 1
            return _NEW
        if time > stream.time:  # a duplicate repeats its time, too
            point = _Point(symbol, number, time, received)
            return Verdict(True, self._restart(stream, point))
        self.duplicates += 1
        return _DUPLICATE

    def admit_once(self, symbol: Symbol, trade_id: str, time: int) -> bool:
        """Say whether this trade is new, where ids have no order; the last IDS_REMEMBERED count.

        `time` is the venue's, ns: the newest of them is what `latest` returns.
        """
        seen = self._seen.setdefault(symbol, {})
        if trade_id in seen:
            self.duplicates += 1
            return False
        seen[trade_id] = None
        if len(seen) > IDS_REMEMBERED:
            del seen[next(iter(seen))]
        latest = self._latest.get(symbol)
        if latest is None or time >= latest.time:
            self._latest[symbol] = Mark(trade_id, time)
        return True

    def cover(self, symbol: Symbol, trade_ids: Iterable[str]) -> None:
        """Take note of trades that came within another one, which was admitted."""
        seen = self._seen.setdefault(symbol, {})
        for trade_id in trade_ids:
            seen[trade_id] = None
        while len(seen) > IDS_REMEMBERED:
            del seen[next(iter(seen))]

    def latest(self, symbol: Symbol) -> Mark | None:
        """Return the latest trade that `admit_once` knows of a symbol, or None."""
        return self._latest.get(symbol)

    def prime(
        self, symbol: Symbol, number: int, time: int, received: int, channel: str = "trade"
    ) -> Gap | None:
        """Take note of a trade that the venue tells as its latest, without delivering it.

        Returns the gap to what we had, in which that trade itself is missing too, or None.
        """
        stream = self._streams.get((symbol, channel))
        if stream is None:
            self._streams[symbol, channel] = _Stream(number, time)
            return None
        point = _Point(symbol, number, time, received)
        if number > stream.last:
            return self._jump(stream, point, number)
        return self._restart(stream, point) if time > stream.time else None

    def _jump(self, stream: _Stream, point: _Point, end: int) -> Gap:
        """Move forward to the point, leaving a hole that ends at `end`."""
        first, missing = stream.last + 1, end - stream.last
        if missing > LARGEST_GAP:
            return self._restart(stream, point)
        stream.holes.append((first, end))
        del stream.holes[:-HOLES_REMEMBERED]
        return self._move(stream, point, f"{missing} missing by number", missing, first)

    def _restart(self, stream: _Stream, point: _Point) -> Gap:
        """Begin again at the point: how much is missing, nobody can tell."""
        stream.holes.clear()
        return self._move(stream, point, f"the numbers went from {stream.last} to {point.number}")

    def _move(
        self,
        stream: _Stream,
        point: _Point,
        reason: str,
        missing: int | None = None,
        first: int | None = None,
    ) -> Gap:
        end = max(stream.time, point.time)  # a venue's clock may run back
        gap = Gap(point.symbol, stream.time, end, point.received, reason, missing, first)
        stream.last, stream.time = point.number, end
        self.gaps += 1
        return gap
