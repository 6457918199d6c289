"""Series of trades side by side, each of one symbol, taken up to a time rather than row by row.

Who takes all rows before some time needs no merging: only rows of one moment have an order among
symbols, that of the strands. Nothing is read before somebody needs to know whether it is there, so
files are read as far as a merge of their events would read them, and no further.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Container, Iterator, Sequence
from itertools import chain
from typing import Protocol, runtime_checkable

from feeds.columns import Block, Span, TradeColumns
from feeds.events import MarketEvent, Symbol
from feeds.files.merge import merge

NEVER = 1 << 63
"""Later than every time."""


@runtime_checkable
class Stranded(Protocol):
    """A source that may have its data as strands."""

    def strands(self) -> "list[Strand] | None":
        """Read from the start, in place of `events`; None where some of it is no column."""
        ...


class Strand:
    """The trades of one symbol.

    Args:
        symbol: of all of them.
        blocks: in order of time. The first one that is not, or holds no columns, ends the order:
            from there on only `rest` reads it.

    Attributes:
        head: the time of the next row, ns UTC; NEVER where none is left in order.
    """

    def __init__(self, symbol: Symbol, blocks: Iterator[Block]) -> None:
        self.symbol = symbol
        self.head = NEVER
        self._blocks = blocks
        self._held: deque[TradeColumns] = deque()
        self._at = 0  # the next row of the first that is held
        self._last = -1  # the time of the last row that is held, or was
        self._in_order_until = NEVER
        self._odd: Block | None = None
        self._read()

    @property
    def known_until(self) -> int:
        """Up to when `reach` has nothing to read, ns UTC."""
        return min(self._last, self._in_order_until)

    def reach(self, limit: int) -> int:
        """Read until a row at `limit` or later is there; return up to when rows are in order.

        That is `limit`, or an earlier time: rows at that time, or before it, may still follow.
        """
        while self._last < limit and self._odd is None:
            self._read()
        return min(limit, self._in_order_until)

    def take(self, limit: int) -> list[Span]:
        """Take the rows before `limit`; it must be within `reach`."""
        taken = []
        while self.head < limit:
            rows = self._held[0]
            end = bisect_left(rows.times, limit, self._at)
            taken.append(Span(rows, self._at, end))
            if end < len(rows):
                self._at = end
                self.head = rows.times[end]
            else:
                self._held.popleft()
                self._at = 0
                self.head = self._held[0].times[0] if self._held else NEVER
        return taken

    def rest(self) -> Iterator[MarketEvent]:
        """Read what was not taken as events, in or out of order."""
        for rows in self._held:
            yield from rows.events(self._at)
            self._at = 0
        odd = () if self._odd is None else (self._odd,)
        for block in chain(odd, self._blocks):
            yield from block.events() if isinstance(block, TradeColumns) else block

    def _read(self) -> None:
        block = next(self._blocks, None)
        if block is None:
            self._last = NEVER
        elif isinstance(block, TradeColumns) and block.times[0] >= self._last:
            if not self._held:
                self.head = block.times[0]
            self._held.append(block)
            self._last = block.times[-1]
        else:
            self._odd = block
            self._in_order_until = max(self._last, 0)


class Strands:
    """All strands of a run: those somebody wants, and the others, whose rows are only counted.

    Attributes:
        wanted: the symbols that are.
        passed: how many rows of others were passed over.
        head: the time of the next row that is wanted, ns UTC, or NEVER.
    """

    def __init__(self, strands: Sequence[Strand], wanted: Container[Symbol]) -> None:
        self._all = strands
        self._reached = 0
        self.passed = 0
        self.choose(wanted)

    def choose(self, wanted: Container[Symbol]) -> None:
        """Say which symbols are wanted from here on."""
        self.wanted = wanted
        self._wanted = [strand for strand in self._all if strand.symbol in wanted]
        self._others = [strand for strand in self._all if strand.symbol not in wanted]
        self.head = min([strand.head for strand in self._wanted], default=NEVER)

    def head_of(self, symbol: Symbol) -> int:
        """The time of the next row of one symbol, or NEVER."""
        return min([each.head for each in self._wanted if each.symbol == symbol], default=NEVER)

    def reach(self, limit: int) -> int:
        """Read all up to `limit`; return the time up to which all are in order."""
        if limit > self._reached:
            for strand in self._all:
                limit = strand.reach(limit)
            self._reached = min([strand.known_until for strand in self._all], default=NEVER)
        return limit

    def take(self, limit: int) -> list[Span]:
        """Take the rows before `limit`, strand by strand; it must be within `reach`."""
        for strand in self._others:
            if strand.head < limit:
                self.passed += sum(span.length for span in strand.take(limit))
        taken: list[Span] = []
        head = NEVER
        for strand in self._wanted:
            if strand.head < limit:
                taken += strand.take(limit)
            if strand.head < head:  # noqa: PLR1730  # no call of min: a hundred are asked each bar
                head = strand.head
        self.head = head
        return taken

    def pass_others(self, limit: int) -> bool:
        """Pass over rows before `limit` that nobody wants; False where they are out of order."""
        reached = self.reach(limit)
        for strand in self._others:
            self.passed += sum(span.length for span in strand.take(reached))
        return reached >= limit

    def skip(self, limit: int) -> bool:
        """Drop every row before `limit`, uncounted; False where they are out of order."""
        reached = self.reach(limit)
        for strand in self._all:
            strand.take(reached)
        self.choose(self.wanted)
        return reached >= limit

    def rest(self) -> Iterator[MarketEvent]:
        """Read what was not taken as events, merged as a reading from the start would be."""
        return merge([strand.rest() for strand in self._all])
