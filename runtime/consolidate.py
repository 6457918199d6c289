"""Ticks become bars, and bars longer bars, of any span.

A bar covers [start, start + span); starts are multiples of the span since the epoch, UTC, moved by
`anchor_ns`: a daily bar is a UTC day, seven-minute bars do not begin anew each day, and an anchor
does not follow daylight saving. An empty span makes no bar. A finished bar is never reopened: what
comes late goes into the next bar, and is counted.
"""

from abc import ABC, abstractmethod
from bisect import bisect_left
from functools import reduce
from operator import add
from typing import Generic, TypeVar

from feeds.columns import Span
from feeds.events import Bar, Ohlc, Quote, QuoteBar, Symbol, Trade

_In = TypeVar("_In", Trade, Quote, Bar, QuoteBar)
_Out = TypeVar("_Out", Bar, QuoteBar)


class _Consolidator(ABC, Generic[_In, _Out]):
    """Where spans begin and end; the subclasses know what a bar is made of.

    Open and close are the first and last to arrive, whatever their times within the bar.

    Raises:
        ValueError: the span is not positive.
    """

    def __init__(self, symbol: Symbol, span_ns: int, anchor_ns: int = 0) -> None:
        if span_ns <= 0:
            raise ValueError(f"a bar of {symbol} spans {span_ns} ns: make it longer than nothing")
        self.symbol = symbol
        self.span_ns = span_ns
        self.anchor_ns = anchor_ns
        self.late = 0
        """How many arrived too late for the bar they belong to."""
        self.next_wake: int | None = None
        """When to call `scan`: the end of the open bar, ns UTC; None while none is open."""
        self._start = 0
        self._finished_until: int | None = None

    def update(self, event: _In) -> _Out | None:
        """Take one event; return the bar that it finished, whose `received` is the event's."""
        time = event.time
        finished = None
        if self.next_wake is not None and time >= self.next_wake:
            finished = self._finish(event.received)
        if self.next_wake is not None:
            self._fold(event)
        else:
            self._open_at(time)
            self._begin(event)
        if time < self._start:
            self.late += 1
        return finished

    def scan(self, now: int) -> _Out | None:
        """Return the open bar if it ended at `now` or before, without waiting for a tick."""
        return self._finish_if_ended(now, now)

    def _finish_if_ended(self, until: int, received: int) -> _Out | None:
        end = self.next_wake
        return self._finish(received) if end is not None and end <= until else None

    def _open_at(self, time: int) -> None:
        start = time - (time - self.anchor_ns) % self.span_ns
        if self._finished_until is not None and start < self._finished_until:
            start = self._finished_until
        self._start = start
        self.next_wake = start + self.span_ns

    def _finish(self, received: int) -> _Out:
        self._finished_until = self.next_wake
        self.next_wake = None
        return self._bar(received)

    @abstractmethod
    def _begin(self, event: _In) -> None:
        """Open a bar with its first event."""

    @abstractmethod
    def _fold(self, event: _In) -> None:
        """Add an event to the open bar."""

    @abstractmethod
    def _bar(self, received: int) -> _Out:
        """Return the bar as it stands."""


class _OhlcvConsolidator(_Consolidator[_In, Bar]):
    """What trade bars are kept in, whether made of trades or of shorter bars."""

    _open = _high = _low = _close = _volume = 0.0

    def _bar(self, received: int) -> Bar:
        return Bar(
            self.symbol,
            self._start,
            received,
            self.span_ns,
            self._open,
            self._high,
            self._low,
            self._close,
            self._volume,
        )


class TradeConsolidator(_OhlcvConsolidator[Trade]):
    """Trades into bars."""

    def fold(self, span: Span) -> None:
        """Take rows of columns at once, none of which ends a bar: all lie before its end."""
        rows, begin, end = span.rows, span.begin, span.end
        prices = rows.prices[begin:end]
        if self.next_wake is None:
            self._open_at(rows.times[begin])
            self._open = prices[0]
            self._high, self._low = max(prices), min(prices)
            self._volume = 0.0
        else:
            self._high = max(self._high, *prices)
            self._low = min(self._low, *prices)
        if rows.times[begin] < self._start:
            self.late += bisect_left(rows.times, self._start, begin, end) - begin
        self._close = prices[-1]
        self._volume = reduce(add, rows.sizes[begin:end], self._volume)  # in order, as one by one

    def _begin(self, event: Trade) -> None:
        self._open = self._high = self._low = self._close = event.price
        self._volume = event.size

    def _fold(self, event: Trade) -> None:
        price = event.price
        if price > self._high:
            self._high = price
        elif price < self._low:
            self._low = price
        self._close = price
        self._volume += event.size


class BarConsolidator(_OhlcvConsolidator[Bar]):
    """Bars into longer bars; the last one of a span finishes it without waiting for the next.

    When one bar both ends an older span and fills its own, `update` returns the older and the next
    `scan` the newer: scan whenever `next_wake` has passed.
    """

    def update(self, event: Bar) -> Bar | None:
        """Take one bar; return the longer bar that it finished.

        Raises:
            ValueError: the bar does not fit into the longer one a whole number of times.
        """
        _require_fit(event, self.span_ns, self.anchor_ns)
        finished = super().update(event)
        return finished or self._finish_if_ended(event.end_time, event.received)

    def _begin(self, event: Bar) -> None:
        self._open, self._high, self._low = event.open, event.high, event.low
        self._close, self._volume = event.close, event.volume

    def _fold(self, event: Bar) -> None:
        self._high = max(self._high, event.high)
        self._low = min(self._low, event.low)
        self._close = event.close
        self._volume += event.volume


class _QuotedConsolidator(_Consolidator[_In, QuoteBar]):
    """What quote bars are kept in, whether made of quotes or of shorter bars."""

    _bid_open = _bid_high = _bid_low = _bid_close = _bid_size = 0.0
    _ask_open = _ask_high = _ask_low = _ask_close = _ask_size = 0.0

    def _bar(self, received: int) -> QuoteBar:
        return QuoteBar(
            self.symbol,
            self._start,
            received,
            self.span_ns,
            Ohlc(self._bid_open, self._bid_high, self._bid_low, self._bid_close),
            Ohlc(self._ask_open, self._ask_high, self._ask_low, self._ask_close),
            self._bid_size,
            self._ask_size,
        )


class QuoteConsolidator(_QuotedConsolidator[Quote]):
    """Quotes into quote bars."""

    def _begin(self, event: Quote) -> None:
        self._bid_open = self._bid_high = self._bid_low = self._bid_close = event.bid
        self._ask_open = self._ask_high = self._ask_low = self._ask_close = event.ask
        self._bid_size, self._ask_size = event.bid_size, event.ask_size

    def _fold(self, event: Quote) -> None:
        bid, ask = event.bid, event.ask
        if bid > self._bid_high:
            self._bid_high = bid
        elif bid < self._bid_low:
            self._bid_low = bid
        if ask > self._ask_high:
            self._ask_high = ask
        elif ask < self._ask_low:
            self._ask_low = ask
        self._bid_close, self._ask_close = bid, ask
        self._bid_size, self._ask_size = event.bid_size, event.ask_size


class QuoteBarConsolidator(_QuotedConsolidator[QuoteBar]):
    """Quote bars into longer quote bars, by the rules of `BarConsolidator`."""

    def update(self, event: QuoteBar) -> QuoteBar | None:
        """Take one quote bar; return the longer one that it finished.

        Raises:
            ValueError: the bar does not fit into the longer one a whole number of times.
        """
        _require_fit(event, self.span_ns, self.anchor_ns)
        finished = super().update(event)
        return finished or self._finish_if_ended(event.end_time, event.received)

    def _begin(self, event: QuoteBar) -> None:
        bid, ask = event.bid, event.ask
        self._bid_open, self._bid_high, self._bid_low = bid.open, bid.high, bid.low
        self._ask_open, self._ask_high, self._ask_low = ask.open, ask.high, ask.low
        self._take_close(event)

    def _fold(self, event: QuoteBar) -> None:
        bid, ask = event.bid, event.ask
        self._bid_high, self._bid_low = max(self._bid_high, bid.high), min(self._bid_low, bid.low)
        self._ask_high, self._ask_low = max(self._ask_high, ask.high), min(self._ask_low, ask.low)
        self._take_close(event)

    def _take_close(self, event: QuoteBar) -> None:
        self._bid_close, self._ask_close = event.bid.close, event.ask.close
        self._bid_size, self._ask_size = event.bid_size, event.ask_size


def _require_fit(bar: Bar | QuoteBar, span_ns: int, anchor_ns: int) -> None:
    if span_ns % bar.span or (bar.time - anchor_ns) % bar.span:
        raise ValueError(
            f"bars of {bar.symbol} span {bar.span} ns and start at {bar.time}: they do not fit a "
            f"whole number of times into {span_ns} ns with an anchor of {anchor_ns}"
        )
