"""One line per symbol: an event goes in, what on_data should see of it comes out.

At Resolution.TICK the events themselves come out. At any other the symbol's trades and quotes
become bars; bars that the feed sends ready-made are used only where no trades come.
"""

from collections.abc import Callable

from feeds.events import SECOND, Bar, MarketEvent, Quote, QuoteBar, Trade
from runtime.consolidate import BarConsolidator, QuoteConsolidator, TradeConsolidator
from runtime.errors import StrategyError
from runtime.history import BarHistory, BarWindow, TickHistory, TickWindow
from runtime.securities import Resolution, Security

BarHandler = Callable[[Bar], None]


class SymbolLine:
    """The state of one subscribed symbol: prices, history, bars being built.

    `ready_made` counts bars of the feed that were not used because trades come as well.
    """

    def __init__(self, security: Security, history: int) -> None:
        self.security = security
        self.ready_made = 0
        self._ticks = security.resolution is Resolution.TICK
        self._span = security.resolution.value
        self._tick_history = TickHistory(history)
        self._bar_history = BarHistory(history)
        self._authors: list[tuple[TradeConsolidator, BarConsolidator, BarHandler]] = []
        self._trades = None if self._ticks else TradeConsolidator(security.symbol, self._span)
        self._quotes = None if self._ticks else QuoteConsolidator(security.symbol, self._span)
        self._bars = None if self._ticks else BarConsolidator(security.symbol, self._span)
        self._due: list[tuple[BarHandler, Bar]] = []
        self._has_trades = False

    def consolidate(self, span_ns: int, handler: BarHandler) -> None:
        """Build bars of `span_ns` as well and hand them to `handler`."""
        symbol = self.security.symbol
        self._authors.append(
            (TradeConsolidator(symbol, span_ns), BarConsolidator(symbol, span_ns), handler)
        )

    def take(self, event: MarketEvent, out: list[MarketEvent]) -> None:
        """Take one event; append what on_data should see to `out`."""
        if type(event) is Trade:
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
            elif event.is_sane and (quote_bar := self._quotes.update(event)) is not None:
                out.append(quote_bar)
        elif type(event) is Bar:
            self._take_bar(event, out)
        elif type(event) is QuoteBar:
            self.security.on_quote_bar(event)
            out.append(event)

    def _take_bar(self, bar: Bar, out: list[MarketEvent]) -> None:
        if self._has_trades:
            self.ready_made += 1
            return
        self.security.on_bar(bar)
        if self._bars is None or bar.span >= self._span or self._span % bar.span:
            self._finished(bar, out)
        else:
            longer = self._bars.update(bar)
            if longer is not None:
                self._finished(longer, out)
        for _, bars, handler in self._authors:
            if bars.span_ns % bar.span:
                raise StrategyError(
                    f"consolidate({bar.symbol}): the feed sends bars of {bar.span / SECOND:g} s, "
                    f"{bars.span_ns / SECOND:g} s is not a multiple of that",
                    "consolidate",
                )
            self._due_bar(handler, bars.update(bar))

    def scan(self, now: int, out: list[MarketEvent]) -> None:
        """Close the bars that ended at `now` or before."""
        for consolidator in (self._trades, self._bars):
            if consolidator is not None and (bar := consolidator.scan(now)) is not None:
                self._finished(bar, out)
        if self._quotes is not None and (quote_bar := self._quotes.scan(now)) is not None:
            out.append(quote_bar)
        for trades, bars, handler in self._authors:
            self._due_bar(handler, trades.scan(now) or bars.scan(now))

    def next_wake(self) -> int | None:
        """Return when the first open bar ends, ns UTC, or None while none is open."""
        wakes = [
            consolidator.next_wake
            for consolidator in (self._trades, self._quotes, self._bars)
            if consolidator is not None
        ]
        for trades, bars, _ in self._authors:
            wakes += (trades.next_wake, bars.next_wake)
        return min((wake for wake in wakes if wake is not None), default=None)

    def take_due(self) -> list[tuple[BarHandler, Bar]]:
        """Return the bars that author's handlers wait for, and forget them."""
        due, self._due = self._due, []
        return due

    def bar_window(self, count: int) -> BarWindow:
        """Return the newest `count` bars; at Resolution.TICK each trade is a bar of its own."""
        if not self._ticks:
            return self._bar_history.last(count)
        trades = self._tick_history.last().trades
        price = trades.price[-count:]
        return BarWindow(trades.time[-count:], price, price, price, price, trades.size[-count:])

    def tick_window(self, count: int) -> TickWindow:
        """Return the newest `count` trades and quotes."""
        return self._tick_history.last(count)

    def _finished(self, bar: Bar, out: list[MarketEvent]) -> None:
        self._bar_history.append(bar)
        out.append(bar)

    def _due_bar(self, handler: BarHandler, bar: Bar | None) -> None:
        if bar is not None:
            self._due.append((handler, bar))
