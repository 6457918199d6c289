"""Rows of LEAN's CSV files: each becomes an event, or one count in the Audit.

Times are milliseconds since midnight in the market's zone, equity prices 1/10,000 dollar. A row is
used, suspicious (the recorder's own flag), malformed, or ignored by kind.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from feeds.base import Audit
from feeds.events import (
    MINUTE,
    SECOND,
    Bar,
    MarketEvent,
    Ohlc,
    Quote,
    QuoteBar,
    Symbol,
    Trade,
)
from feeds.numbers import check_ohlc, number, price, size

EQUITY_SCALE = 10_000
SPANS = {"second": SECOND, "minute": MINUTE, "hour": 60 * MINUTE, "daily": 1440 * MINUTE}
_HOUR_MS = 3_600_000


class RowParser(Protocol):
    """Rows in, events out, counts kept; knows no file."""

    audit: Audit

    def feed(self, lines: list[str]) -> list[MarketEvent]:
        """Take some rows and return the events they make."""
        ...

    def finish(self) -> list[MarketEvent]:
        """Return what was still waiting for a further row."""
        ...


class RowClock:
    """Turns the time column into ns UTC: local milliseconds of a day, or a date with a time.

    The offset from UTC is looked up per hour, so that a day on which the clocks change is right.
    """

    def __init__(self, day: date | None, zone: tzinfo) -> None:
        self._zone = zone
        self._midnights: list[int] = []
        if day is not None:
            midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
            utc_midnight = int(midnight.replace(tzinfo=UTC).timestamp())
            for hour in range(24):
                offset = midnight.replace(hour=hour).utcoffset() or timedelta()
                self._midnights.append((utc_midnight - int(offset.total_seconds())) * SECOND)

    def ns(self, text: str) -> int:
        """Read one time.

        Raises:
            ValueError: not a time of the day.
        """
        if not self._midnights:
            moment = datetime.strptime(text, "%Y%m%d %H:%M").replace(tzinfo=self._zone)
            return int(moment.timestamp()) * SECOND
        if text.isdigit():
            milliseconds = int(text)
            nanoseconds = milliseconds * 1_000_000
        else:
            number(text)
            nanoseconds = int(Decimal(text) * 1_000_000)
            milliseconds = nanoseconds // 1_000_000
        if not 0 <= milliseconds < 24 * _HOUR_MS:
            raise ValueError(f"{text[:40]!r} is no time of the day")
        return self._midnights[milliseconds // _HOUR_MS] + nanoseconds

    def many(self, milliseconds: npt.NDArray[np.int64]) -> npt.NDArray[np.int64] | None:
        """Read a column of whole milliseconds, 0 or more; None where one is no time of the day."""
        if not self._midnights or milliseconds.max(initial=0) >= 24 * _HOUR_MS:
            return None
        midnights = np.array(self._midnights, np.int64)
        return midnights[milliseconds // _HOUR_MS] + milliseconds * 1_000_000


class _Parser:
    """What the row parsers share: a symbol, a clock, an audit, and a loop over rows."""

    def __init__(self, symbol: Symbol, clock: RowClock, audit: Audit) -> None:
        self.audit = audit
        self._symbol = symbol
        self._ns = clock.ns

    def finish(self) -> list[MarketEvent]:
        """Nothing waits."""
        return []


class EquityTrades(_Parser):
    """time, price, size, exchange, condition, suspicious."""

    def feed(self, lines: list[str]) -> list[MarketEvent]:
        """Take some rows and return the events they make."""
        ns, symbol = self._ns, self._symbol
        events: list[MarketEvent] = []
        suspicious = malformed = 0
        for line in lines:
            try:
                time, paid, amount, _, _, flag = line.split(",")
                if flag != "0":
                    suspicious += flag == "1"
                    malformed += flag != "1"
                    continue
                moment = ns(time)
                # An exact quotient, rounded once: the float's text is the price's decimal text.
                event = Trade(symbol, moment, moment, int(paid) / EQUITY_SCALE, float(int(amount)))
                if event.price <= 0.0 or event.size < 0.0:
                    malformed += 1
                    continue
            except (ValueError, ArithmeticError):
                malformed += 1
                continue
            events.append(event)
        _count(self.audit, len(lines), len(events), suspicious, malformed)
        return events


class ForexTicks(_Parser):
    """time, bid, ask; no sizes."""

    def feed(self, lines: list[str]) -> list[MarketEvent]:
        """Take some rows and return the events they make."""
        ns, symbol = self._ns, self._symbol
        events: list[MarketEvent] = []
        malformed = 0
        for line in lines:
            try:
                time, bid, ask = line.split(",")
                moment = ns(time)
                event = Quote(symbol, moment, moment, price(bid), 0.0, price(ask), 0.0)
            except (ValueError, ArithmeticError):
                malformed += 1
                continue
            events.append(event)
        _count(self.audit, len(lines), len(events), 0, malformed)
        return events


class _Side(msgspec.Struct):
    """A row of one side that may be followed by the other side of the same moment."""

    time: int
    bid: tuple[int, int]


class EquityQuotes(_Parser):
    """time, bid price, bid size, ask price, ask size, exchange, condition, suspicious.

    A row tells one side, 0,0 on the other: unchanged. The rows of all exchanges together are one
    stream of the best bid and ask (the exchange named is the one that shows it): taken so, they
    make LEAN's own quote bars; kept per exchange, nearly every top would be crossed by old quotes.
    A bid and the ask of the same moment that follows it are one change. A crossed or locked top is
    delivered as it was: whoever trades looks at `Quote.is_sane`.
    """

    def __init__(self, symbol: Symbol, clock: RowClock, audit: Audit) -> None:
        super().__init__(symbol, clock, audit)
        self._held: _Side | None = None
        self._bid = self._ask = (0, 0)
        self._told: tuple[tuple[int, int], tuple[int, int]] | None = None

    def feed(self, lines: list[str]) -> list[MarketEvent]:
        """Take some rows and return the events they make."""
        events: list[MarketEvent] = []
        for line in lines:
            try:
                time, bid, bid_size, ask, ask_size, _, _, flag = line.split(",")
                moment = self._ns(time)
                new_bid, new_ask = (int(bid), int(bid_size)), (int(ask), int(ask_size))
                if flag not in {"0", "1"} or min(*new_bid, *new_ask) < 0:
                    raise ValueError(line)
            except (ValueError, ArithmeticError):
                _count(self.audit, 1, 0, 0, 1)
                continue
            if flag == "1":
                _count(self.audit, 1, 0, 1, 0)
            else:
                self._take(moment, new_bid, new_ask, events)
        return events

    def finish(self) -> list[MarketEvent]:
        """Return the change that a held bid makes."""
        events: list[MarketEvent] = []
        self._settle(events)
        return events

    def _take(
        self, time: int, bid: tuple[int, int], ask: tuple[int, int], events: list[MarketEvent]
    ) -> None:
        rows = 1
        if self._held is not None and self._held.time == time and ask[0] and not bid[0]:
            self._bid = self._held.bid
            self._held = None
            rows = 2
        self._settle(events)
        if bid[0] and not ask[0]:
            self._held = _Side(time, bid)
        elif ask[0]:
            self._bid = bid if bid[0] else self._bid
            self._ask = ask
            self._tell(time, rows, events)
        else:
            self.audit.rows += 1
            self.audit.ignore("no side")

    def _settle(self, events: list[MarketEvent]) -> None:
        """The other side did not change: a held bid stands alone."""
        if self._held is not None:
            held, self._held = self._held, None
            self._bid = held.bid
            self._tell(held.time, 1, events)

    def _tell(self, time: int, rows: int, events: list[MarketEvent]) -> None:
        self.audit.rows += rows
        if not (self._bid[0] and self._ask[0]):
            self.audit.ignore("other side unknown", rows)
        elif self._told == (top := (self._bid, self._ask)):
            self.audit.ignore("top unchanged", rows)
        else:
            self._told = top
            (bid, bid_size), (ask, ask_size) = top
            self.audit.rows_used += rows
            self.audit.joined += rows - 1
            self.audit.events += 1
            events.append(
                Quote(
                    self._symbol,
                    time,
                    time,
                    bid / EQUITY_SCALE,
                    float(bid_size),
                    ask / EQUITY_SCALE,
                    float(ask_size),
                )
            )


class Bars(_Parser):
    """Trades: time, o, h, l, c, volume. Quotes: time, bid o, h, l, c, size, ask o, h, l, c, size.

    The time is the bar's start; it is received at its end. A quote bar with an empty side is
    ignored: that side had no quote.
    """

    def __init__(
        self, symbol: Symbol, clock: RowClock, audit: Audit, *, span: int, kind: str, scale: int
    ) -> None:
        super().__init__(symbol, clock, audit)
        self._span = span
        self._scale = scale
        self._bar = self._trade_bar if kind == "trade" else self._quote_bar

    def feed(self, lines: list[str]) -> list[MarketEvent]:
        """Take some rows and return the events they make."""
        events: list[MarketEvent] = []
        malformed = ignored = 0
        for line in lines:
            try:
                event = self._bar(line.split(","))
            except (ValueError, ArithmeticError):
                malformed += 1
                continue
            if event is None:
                ignored += 1
            else:
                events.append(event)
        _count(self.audit, len(lines), len(events), 0, malformed)
        if ignored:
            self.audit.ignore("one-sided bar", ignored)
        return events

    def _trade_bar(self, row: list[str]) -> Bar:
        time, opened, high, low, closed, volume = row
        start = self._ns(time)
        prices = self._prices((opened, high, low, closed))
        end = start + self._span
        return Bar(self._symbol, start, end, self._span, *prices, size(volume))

    def _quote_bar(self, row: list[str]) -> QuoteBar | None:
        time, *sides = row
        if len(sides) != 10:
            raise ValueError(f"{len(row)} columns, 11 are expected")
        start = self._ns(time)
        bid, bid_size, ask, ask_size = sides[:4], sides[4], sides[5:9], sides[9]
        if "" in bid or "" in ask:
            return None
        return QuoteBar(
            self._symbol,
            start,
            start + self._span,
            self._span,
            Ohlc(*self._prices(bid)),
            Ohlc(*self._prices(ask)),
            size(bid_size or "0"),
            size(ask_size or "0"),
        )

    def _prices(self, texts: Sequence[str]) -> tuple[float, float, float, float]:
        scale = self._scale
        if scale == 1:
            opened, high, low, closed = map(price, texts)
        else:
            opened, high, low, closed = (price(int(text) / scale) for text in texts)
        check_ohlc(opened, high, low, closed)
        return opened, high, low, closed


def _count(audit: Audit, rows: int, events: int, suspicious: int, malformed: int) -> None:
    """Book rows of which each makes at most one event."""
    audit.rows += rows
    audit.rows_used += events
    audit.events += events
    audit.suspicious += suspicious
    audit.malformed += malformed
