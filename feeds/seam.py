"""Trades in order over holes and seams: a hole is waited for, filled, or told as a Gap.

When a jump in a symbol's numbers is seen, its later trades are held: what is missing may come from
another connection, out of order, or as history over HTTP. Once it is complete, or the time is up,
all goes out by number, and what is still missing as Gaps between. Quotes are never held. Symbols
whose ids have no order are held over an outage in the same way; see `feeds.outage`.
"""

from collections.abc import Iterable, Sequence

import msgspec

from feeds.events import Bar, Event, Gap, Quote, QuoteBar, Symbol, Trade
from feeds.outage import Outages

HELD_AT_MOST = 10_000
"""Trades held per symbol; more, and the hole is told at once."""


class _Hold(msgspec.Struct):
    """One symbol's: the holes, what came since the first of them, and until when."""

    deadline: int
    gaps: list[Gap]
    trades: dict[int, Trade]  # by number
    missing: int


class Seam:
    """The seams of one set of symbols. `window` (ns) is how long a hole waits by itself."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._holds: dict[Symbol, _Hold] = {}
        self._bars: dict[tuple[type, Symbol, int], int] = {}  # of each span: the latest start
        self._unasked: list[Gap] = []
        self.outages = Outages()
        self._gaps = self._filled = 0

    @property
    def gaps(self) -> int:
        """Gaps that were told."""
        return self._gaps + self.outages.gaps

    @property
    def filled(self) -> int:
        """Missing trades that came after all."""
        return self._filled + self.outages.filled

    def take(
        self, events: Sequence[Event], now: int, *, leads: bool = True, is_history: bool = False
    ) -> Sequence[Event]:
        """Return what of this is to be delivered now.

        Args:
            events: what a connection says, its trades admitted by Continuity.
            now: ns.
            leads: False for the connection of two whose quotes do not count.
            is_history: it came as history, over HTTP.
        """
        outages = self.outages
        if not self._holds and leads and not outages.open:
            for event in events:
                if type(event) is not Trade and type(event) is not Quote:
                    break
            else:
                return events
        out: list[Event] = []
        for event in events:
            match event:
                case Trade(symbol) if symbol in outages.open:
                    out += outages.take(symbol, event, is_history=is_history)
                case Trade():
                    self._take_trade(event, out)
                case Quote():
                    if leads:
                        out.append(event)
                case Gap(symbol) if is_history and symbol is not None and symbol in outages.open:
                    out += outages.take(symbol, event, is_history=True)
                case Gap():
                    self._take_gap(event, now, out)
                case Bar() | QuoteBar():
                    series = type(event), event.symbol, event.span
                    if event.time > self._bars.get(series, -1):
                        self._bars[series] = event.time
                        out.append(event)
                case _:
                    out.append(event)
        return out

    def take_unasked(self) -> list[Gap]:
        """Return the holes that have come since the last call: somebody may have their history."""
        unasked, self._unasked = self._unasked, []
        return unasked

    def ask_again(self) -> None:
        """Have all holes that are waited for returned once more: who was asked is gone."""
        self._unasked = [gap for hold in self._holds.values() for gap in hold.gaps]

    def extend(self, symbol: Symbol, deadline: int) -> None:
        """Wait for a symbol's holes until `deadline`: their history is on its way."""
        hold = self._holds.get(symbol)
        if hold is not None:
            hold.deadline = max(hold.deadline, deadline)

    def conclude(self, symbol: Symbol) -> list[Event]:
        """Wait no more: return what a symbol held, with what is missing told."""
        return self._fill(symbol) + self.outages.conclude(symbol)

    def next_wake(self) -> int | None:
        """Return when the first time is up, or None."""
        outage = self.outages.next_wake()
        wakes = [] if outage is None else [outage]
        return min((*wakes, *(hold.deadline for hold in self._holds.values())), default=None)

    def expire(self, now: int) -> list[Event]:
        """Return what was held for what did not come in time."""
        due = [symbol for symbol, hold in self._holds.items() if hold.deadline <= now]
        return [event for symbol in due for event in self._fill(symbol)] + self.outages.expire(now)

    def drain(self) -> list[Event]:
        """Return all that is held: nothing will follow."""
        held = [event for symbol in list(self._holds) for event in self._fill(symbol)]
        return held + self.outages.drain()

    # --- one symbol ----------------------------------------------------------------------------

    def _fill(self, symbol: Symbol) -> list[Event]:
        hold = self._holds.pop(symbol, None)
        return [] if hold is None else self._release(hold)

    def _take_gap(self, gap: Gap, now: int, out: list[Event]) -> None:
        if gap.symbol is None or gap.missing is None or gap.first is None:
            self._gaps += 1
            if gap.symbol is not None:  # a new count: what was held belongs to the old one
                out += self._fill(gap.symbol)
            out.append(gap)
            return
        hold = self._holds.get(gap.symbol)
        if hold is None:
            hold = self._holds[gap.symbol] = _Hold(now + self._window, [], {}, 0)
        hold.gaps.append(gap)
        hold.missing += gap.missing
        self._unasked.append(gap)

    def _take_trade(self, trade: Trade, out: list[Event]) -> None:
        hold = self._holds.get(trade.symbol)
        if hold is None:
            out.append(trade)
            return
        number = int(trade.trade_id)
        hold.trades[number] = trade
        if any(number in gap.numbers for gap in hold.gaps):
            hold.missing -= 1
        if not hold.missing or len(hold.trades) >= HELD_AT_MOST:
            out += self._fill(trade.symbol)

    def _release(self, hold: _Hold) -> list[Event]:
        """Order a symbol's trades by number and put a Gap where some are missing."""
        rows: list[tuple[int, Event]] = list(hold.trades.items())
        numbers = sorted(hold.trades)
        times = {number: trade.time for number, trade in hold.trades.items()}
        for gap in hold.gaps:
            rows += _holes(gap, numbers, times)
        self._filled += sum(gap.missing or 0 for gap in hold.gaps) - hold.missing
        self._gaps += len(rows) - len(hold.trades)
        return [event for _, event in sorted(rows, key=lambda row: row[0])]


def _holes(gap: Gap, numbers: Iterable[int], times: dict[int, int]) -> list[tuple[int, Gap]]:
    """Return what is left of a gap, in pieces: (number of its first missing trade, piece)."""
    pieces: list[tuple[int, Gap]] = []
    first, beyond = gap.numbers.start, gap.numbers.stop
    start = gap.start
    for number in [*(n for n in numbers if n in gap.numbers), beyond]:
        end = times[number] if number < beyond else gap.end
        if number > first:
            missing = number - first
            words = f"{missing} missing by number"
            piece = Gap(gap.symbol, start, max(start, end), gap.received, words, missing, first)
            pieces.append((first, piece))
        first, start = number + 1, end
    return pieces
