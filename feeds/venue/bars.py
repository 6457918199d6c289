"""A market that also has bars: its own trades, folded, each sent when its minute is over.

A symbol whose tape holds ready-made bars keeps those. A minute without a trade has no bar, and the
minute that a tape breaks off in has none either. A late trade counts for the minute it arrives in.
Behind each bar of a minute comes its day as it is so far: a share's in New York, others' in UTC.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from feeds.base import Market
from feeds.events import MINUTE, SECOND, AssetClass, Bar, MarketEvent, Symbol, Trade
from feeds.symbols import guess_class

NEW_YORK = ZoneInfo("America/New_York")


class MadeBar(Bar, frozen=True, gc=False):
    """A bar of this module's making: it also knows its number of trades and their mean price."""

    trades: int
    vwap: float


class DayBar(MadeBar, frozen=True, gc=False):
    """A day as it is so far: it is known at the end of its latest minute, not at its own."""


class _Day:
    """What the minutes of a day have come to."""

    __slots__ = ("bar", "end", "value")

    def __init__(self, minute: Bar, start: int, end: int) -> None:
        self.end = end
        self.value = 0.0
        prices = minute.open, minute.high, minute.low, minute.close
        span = end - start
        self.bar = DayBar(minute.symbol, start, 0, span, *prices, 0.0, 0, minute.close)

    def fold(self, minute: Bar) -> DayBar:
        """Add a minute and return the day."""
        day, (count, mean) = self.bar, figures(minute)
        volume = day.volume + minute.volume
        self.value += mean * minute.volume
        self.bar = DayBar(
            day.symbol,
            day.time,
            minute.received,
            day.span,
            day.open,
            max(day.high, minute.high),
            min(day.low, minute.low),
            minute.close,
            volume,
            day.trades + count,
            self.value / volume if volume else minute.close,
        )
        return self.bar


def figures(bar: Bar) -> tuple[int, float]:
    """Return a bar's number of trades and their mean price.

    A recorded bar does not tell them: they are 0 and the mean of its high, low and close then.
    """
    if isinstance(bar, MadeBar):
        return bar.trades, bar.vwap
    return 0, (bar.high + bar.low + bar.close) / 3


class _Open:
    """The bar of a minute that is still going on."""

    __slots__ = ("close", "end", "high", "low", "open", "trades", "value", "volume")

    def __init__(self, trade: Trade, minute: int) -> None:
        self.end = minute + MINUTE
        self.open = self.high = self.low = self.close = trade.price
        self.volume = self.value = 0.0
        self.trades = 0
        self.fold(trade)

    def fold(self, trade: Trade) -> None:
        self.high, self.low = max(self.high, trade.price), min(self.low, trade.price)
        self.close = trade.price
        self.volume += trade.size
        self.value += trade.price * trade.size
        self.trades += 1

    def bar(self, symbol: Symbol) -> MadeBar:
        """Return it as it stands; trades of no size at all have their close for a mean price."""
        return MadeBar(
            symbol,
            self.end - MINUTE,
            self.end,
            MINUTE,
            *(self.open, self.high, self.low, self.close),
            self.volume,
            self.trades,
            self.value / self.volume if self.volume else self.close,
        )


class MinuteBars:
    """Wraps a market; what it adds are `MadeBar`s of 60 seconds and `DayBar`s, in their place."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._open: dict[Symbol, _Open] = {}
        self._ready_made: set[Symbol] = set()
        self._days: dict[Symbol, _Day] = {}
        self._first_end: int | None = None

    @property
    def start(self) -> int | None:
        """The time of the market's first event."""
        return self._market.start

    @property
    def exhausted(self) -> bool:
        """Whether nothing will ever follow."""
        return self._market.exhausted

    @property
    def upcoming(self) -> int | None:
        """The time of the next event or end of a bar, where the market knows its own."""
        coming, end = self._market.upcoming, self._first_end
        return coming if coming is None or end is None else min(coming, end)

    def subscribe(self, symbol: Symbol, asset_class: AssetClass | None, now: int) -> bool:
        """Have this symbol in the market from now on; False where it is not to be had."""
        return self._market.subscribe(symbol, asset_class, now)

    def advance(self, until: int) -> Sequence[MarketEvent]:
        """Return what happened up to `until`, with the bars of the minutes that ended by then."""
        events: list[MarketEvent] = []
        for event in self._market.advance(until):
            if isinstance(event, Trade):
                if self._first_end is not None and event.time >= self._first_end:
                    self._close(event.time, events)
                self._fold(event)
            elif isinstance(event, Bar):
                self._ready_made.add(event.symbol)
                self._open.pop(event.symbol, None)
                if event.span == MINUTE:
                    events += event, self._day(event)
                    continue
            events.append(event)
        if self._first_end is not None and until > self._first_end:
            self._close(until - 1, events)
        return events

    def _fold(self, trade: Trade) -> None:
        bar = self._open.get(trade.symbol)
        if bar is not None:
            bar.fold(trade)
        elif trade.symbol not in self._ready_made:
            bar = _Open(trade, trade.time - trade.time % MINUTE)
            self._open[trade.symbol] = bar
            if self._first_end is None or bar.end < self._first_end:
                self._first_end = bar.end

    def _close(self, now: int, events: list[MarketEvent]) -> None:
        """Append the bars whose minute ended at `now` or before."""
        for symbol, bar in list(self._open.items()):
            if bar.end <= now:
                del self._open[symbol]
                minute = bar.bar(symbol)
                events += minute, self._day(minute)
        self._first_end = min((bar.end for bar in self._open.values()), default=None)

    def _day(self, minute: Bar) -> DayBar:
        """Return a minute's day with the minute in it."""
        day = self._days.get(minute.symbol)
        if day is None or not day.bar.time <= minute.time < day.end:
            is_share = guess_class(minute.symbol) is AssetClass.EQUITY
            day = _Day(minute, *_day_of(minute.time, NEW_YORK if is_share else UTC))
            self._days[minute.symbol] = day
        return day.fold(minute)


def _day_of(time: int, zone: tzinfo) -> tuple[int, int]:
    """Return the start and end (ns) of the day that holds `time`; one in spring is shorter."""
    local = datetime.fromtimestamp(time // SECOND, zone)
    start = local.replace(hour=0, minute=0, second=0, fold=0)
    end = datetime.combine(start.date() + timedelta(days=1), start.timetz().replace(fold=0))
    return max(0, int(start.timestamp())) * SECOND, int(end.timestamp()) * SECOND
