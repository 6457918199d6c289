"""One line per symbol: an event goes in, what on_data should see of it comes out.

A bar that has ended waits in `take_ended` and becomes history when it is shown: a batch may end
several, and no callback reads in the history what comes after its own slice.

At Resolution.TICK the events themselves come out. At any other the symbol's trades and quotes
become bars; bars that the feed sends ready-made are used only where no trades come, quote bars
only where no quotes come. Where nothing trades, quote bars are the history.
"""

from collections.abc import Callable
from typing import NamedTuple

from feeds.columns import Span
from feeds.events import SECOND, Bar, MarketEvent, Quote, QuoteBar, Trade
from runtime.consolidate import (
    BarConsolidator,
    QuoteBarConsolidator,
    QuoteConsolidator,
    TradeConsolidator,
)
from runtime.errors import StrategyError
from runtime.history import BarHistory, BarWindow, TickHistory, TickWindow
from runtime.securities import Resolution, Security

BarHandler = Callable[[Bar], None]
Consolidator = TradeConsolidator | QuoteConsolidator | BarConsolidator | QuoteBarConsolidator
INFINITY = float("inf")


class Ended(NamedTuple):
    """A bar that has ended: one of the symbol's own resolution, or one for an author's handler."""

    bar: Bar | QuoteBar
    handler: BarHandler | None = None


class SymbolLine:
    """The state of one subscribed symbol: prices, history, bars being built.

    Attributes:
        ready_made: bars of the feed that were not used because trades, or quotes, come as well.
        wake: when the first open bar ends, ns UTC, None while none is open; as of the last
            `settle`, `scan` or `fold`.
    """

    def __init__(self, security: Security, history: int) -> None:
        self.security = security
        self.ready_made = 0
        self.wake: int | None = None
        self._ticks = security.resolution is Resolution.TICK
        self._span = security.resolution.value
        self._tick_history = TickHistory(history)
        self._bar_history = BarHistory(history)
        self._authors: list[tuple[TradeConsolidator, BarConsolidator, BarHandler]] = []
        symbol, span, ticks = security.symbol, self._span, self._ticks
        self._trades = None if ticks else TradeConsolidator(symbol, span)
        self._quotes = None if ticks else QuoteConsolidator(symbol, span)
        self._bars = None if ticks else BarConsolidator(symbol, span)
        self._quote_bars = None if ticks else QuoteBarConsolidator(symbol, span)
        self._consolidators: list[Consolidator] = [
            each
            for each in (self._trades, self._quotes, self._bars, self._quote_bars)
            if each is not None
        ]
        self._ended: list[Ended] = []
        self._folded = [] if self._trades is None else [self._trades]
        self._has_trades = self._has_quotes = False

    @property
    def spans(self) -> list[int]:
        """Of the bars that trades are built into, ns; empty where some are shown one by one."""
        return [] if self._ticks else [trades.span_ns for trades in self._folded]

    def consolidate(self, span_ns: int, handler: BarHandler) -> None:
        """Build bars of `span_ns` as well and hand them to `handler`."""
        symbol = self.security.symbol
        trades, bars = TradeConsolidator(symbol, span_ns), BarConsolidator(symbol, span_ns)
        self._authors.append((trades, bars, handler))
        self._consolidators += (trades, bars)
        self._folded.append(trades)

    def take(self, event: MarketEvent, out: list[MarketEvent]) -> None:
        """Take one event; append what on_data should see to `out`."""
        if type(event) is Trade:
            if not 0.0 < event.price < INFINITY:  # shown as it came, but no price to reckon with
                if self._trades is None:
                    out.append(event)
                return
            self.security.on_trade(event)
            self._tick_history.append_trade(event)
            self._has_trades = True
            if self._trades is None:
                out.append(event)
            elif (bar := self._trades.update(event)) is not None:
                self._finished(bar, out)
            for trades, _, handler in self._authors:
                self._due_bar(handler, trades.update(event))
        elif type(event) is Quote:
            self.security.on_quote(event)
            self._tick_history.append_quote(event)
            if self._quotes is None:
                out.append(event)
            elif event.is_sane:
                self._has_quotes = True
                if (quote_bar := self._quotes.update(event)) is not None:
                    self._finished(quote_bar, out)
        elif type(event) is Bar:
            self._take_bar(event, out)
        elif type(event) is QuoteBar:
            self._take_quote_bar(event, out)

    def fold(self, span: Span) -> None:
        """Take rows that end no bar and are not shown: those before the end of any span."""
        self.security.on_rows(span)
        self._tick_history.append_span(span)
        self._has_trades = True
        for trades in self._folded:
            trades.fold(span)
            end = trades.next_wake
            if end is not None and (self.wake is None or end < self.wake):
                self.wake = end

    def _take_bar(self, bar: Bar, out: list[MarketEvent]) -> None:
        if self._has_trades:
            self.ready_made += 1
            return
        self.security.on_bar(bar)
        if self._bars is None or bar.span >= self._span or not _fits(bar, self._span):
            self._finished(bar, out)
        elif (longer := self._bars.update(bar)) is not None:
            self._finished(longer, out)
        for _, bars, handler in self._authors:
            if not _fits(bar, bars.span_ns):
                raise StrategyError(
                    f"consolidate({bar.symbol}): the feed sends bars of {bar.span / SECOND:g} s "
                    f"that start {bar.time % bar.span / SECOND:g} s past a whole one, they do not "
                    f"fill bars of {bars.span_ns / SECOND:g} s",
                    "consolidate",
                )
            self._due_bar(handler, bars.update(bar))

    def _take_quote_bar(self, bar: QuoteBar, out: list[MarketEvent]) -> None:
        if self._has_quotes:
            self.ready_made += 1
            return
        self.security.on_quote_bar(bar)
        if self._quote_bars is None or bar.span >= self._span or not _fits(bar, self._span):
            self._finished(bar, out)
        elif (longer := self._quote_bars.update(bar)) is not None:
            self._finished(longer, out)

    def scan(self, now: int, out: list[MarketEvent]) -> None:
        """Close the bars that ended at `now` or before."""
        for consolidator in (self._trades, self._bars):
            if consolidator is None or consolidator.next_wake is None:
                continue
            if (bar := consolidator.scan(now)) is not None:
                self._finished(bar, out)
        for quoted in (self._quotes, self._quote_bars):
            if quoted is None or quoted.next_wake is None:
                continue
            if (quote_bar := quoted.scan(now)) is not None:
                self._finished(quote_bar, out)
        for trades, bars, handler in self._authors:
            self._due_bar(handler, trades.scan(now) or bars.scan(now))
        self.settle()

    def settle(self) -> int | None:
        """After a batch: reckon and return `wake`."""
        first: int | None = None
        for consolidator in self._consolidators:
            wake = consolidator.next_wake
            if wake is not None and (first is None or wake < first):
                first = wake
        self.wake = first
        return first

    def take_ended(self) -> list[Ended]:
        """Return the bars that have ended since the last call, in order, and forget them."""
        if not self._ended:
            return []
        ended, self._ended = self._ended, []
        return ended

    def show(self, bar: Bar | QuoteBar) -> None:
        """Make a bar of the symbol's own resolution history, just before on_data is given it."""
        if isinstance(bar, Bar) or not self.security.has_traded:
            self._bar_history.append(bar)

    def bar_window(self, count: int) -> BarWindow:
        """Return the newest `count` bars; at Resolution.TICK each trade is a bar of its own."""
        if not self._ticks:
            return self._bar_history.last(count)
        trades = self._tick_history.last().trades
        newest = slice(max(0, len(trades) - max(0, count)), None)
        price = trades.price[newest]
        return BarWindow(
            trades.time[newest],
            price,
            price.copy(),
            price.copy(),
            price.copy(),
            trades.size[newest],
        )

    def tick_window(self, count: int) -> TickWindow:
        """Return the newest `count` trades and quotes."""
        return self._tick_history.last(count)

    def _finished(self, bar: Bar | QuoteBar, out: list[MarketEvent]) -> None:
        self._ended.append(Ended(bar))
        out.append(bar)

    def _due_bar(self, handler: BarHandler, bar: Bar | None) -> None:
        if bar is not None:
            self._ended.append(Ended(bar, handler))


def _fits(bar: Bar | QuoteBar, span_ns: int) -> bool:
    """Whether bars like this one fill a longer span, which starts at multiples of itself."""
    return not span_ns % bar.span and not bar.time % bar.span
