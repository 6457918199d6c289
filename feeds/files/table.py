"""Rows of a table of market data: what each column means, and the event that each row makes.

A column is known by its header, or declared in a TableMapping, which wins. A row that cannot be
read is counted as malformed; a table whose columns make no event is a ConfigError.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from feeds.base import Audit
from feeds.errors import ConfigError
from feeds.events import Aggressor, AssetClass, Bar, MarketEvent, Quote, Symbol, Trade
from feeds.numbers import (
    NANOSECONDS,
    check_ns,
    check_ohlc,
    epoch_unit,
    exact_ns,
    iso_ns,
    price,
    size,
    utc_seconds,
)
from feeds.symbols import currency_pair, split_pair

ROLES: dict[str, tuple[str, ...]] = {
    "time": ("time", "timestamp", "ts", "datetime", "date", "ts_event", "open_time", "event_time"),
    "received": ("received", "local_timestamp", "ts_init", "ts_recv"),
    "symbol": ("symbol", "ticker", "instrument", "product_id"),
    "price": ("price", "last", "last_price", "px"),
    "size": ("size", "amount", "quantity", "qty", "last_size"),
    "trade_id": ("trade_id", "tradeid", "id"),
    "side": ("side", "aggressor", "aggressor_side", "taker_side"),
    "buyer_maker": ("buyer_maker", "is_buyer_maker", "isbuyermaker"),
    "bid": ("bid", "bid_price", "best_bid", "bids[0].price"),
    "bid_size": ("bid_size", "bid_amount", "bid_qty", "best_bid_size", "bids[0].amount"),
    "ask": ("ask", "ask_price", "best_ask", "asks[0].price"),
    "ask_size": ("ask_size", "ask_amount", "ask_qty", "best_ask_size", "asks[0].amount"),
    "open": ("open", "o"),
    "high": ("high", "h"),
    "low": ("low", "l"),
    "close": ("close", "c"),
    "volume": ("volume", "vol", "v"),
}
"""What a column can mean, and the header names it is known by."""

_BAR = ("open", "high", "low", "close")
_AGGRESSORS = {
    "buy": Aggressor.BUYER,
    "buyer": Aggressor.BUYER,
    "b": Aggressor.BUYER,
    "sell": Aggressor.SELLER,
    "seller": Aggressor.SELLER,
    "s": Aggressor.SELLER,
}


class TableMapping(msgspec.Struct, frozen=True, kw_only=True):
    """What the columns of a table mean, where its header does not say it.

    `symbol` is that of every row (else a column tells it); `asset_class` is guessed from the name
    where it is None; `columns` maps a key of ROLES to a header name or a column number from 0.
    `time_format` is "auto", "s", "ms", "us", "ns" since the epoch, "iso", or a strptime pattern;
    `zone` is that of times which name none. `span` is the length of a bar in ns.
    """

    symbol: Symbol | None = None
    asset_class: AssetClass | None = None
    columns: Mapping[str, str | int] = {}
    header: bool = True
    time_format: str = "auto"
    zone: str = "UTC"
    span: int | None = None
    delimiter: str = ","


class TableParser:
    """Rows in, events out, counts kept; knows no file.

    Args:
        name: the file, for messages.
        mapping: what is declared.
        header: the names of the columns, if it has one.
        typed_times: columns whose values are times in ns, whatever the mapping says.

    Raises:
        ConfigError: the columns make no event, or the mapping names what is not there.
    """

    def __init__(
        self,
        name: str,
        mapping: TableMapping,
        header: Sequence[str] | None,
        typed_times: frozenset[int] = frozenset(),
    ) -> None:
        self.audit = Audit()
        self._name = name
        self._mapping = mapping
        self._typed_times = typed_times
        self.columns = self._locate(header)
        self._build = self._builder(header)
        self._symbols: dict[str, Symbol] = {}
        try:
            self._zone = ZoneInfo(mapping.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ConfigError(
                f"{mapping.zone!r} is no time zone: name one as UTC or EST"
            ) from error
        known = {"auto", "iso", *NANOSECONDS}
        if mapping.time_format not in known and "%" not in mapping.time_format:
            raise ConfigError(
                f"time_format {mapping.time_format!r} is none of {', '.join(sorted(known))}, "
                "nor a strptime pattern such as %Y%m%d"
            )

    def feed(self, rows: Iterable[Sequence[Any]]) -> list[MarketEvent]:
        """Take rows, each a list of text or numbers by column, and return the events they make."""
        events: list[MarketEvent] = []
        audit = self.audit
        for row in rows:
            audit.rows += 1
            try:
                event = self._build(row)
            except (ValueError, ArithmeticError, LookupError, TypeError):
                audit.malformed += 1
                continue
            audit.rows_used += 1
            audit.events += 1
            events.append(event)
        return events

    def _locate(self, header: Sequence[str] | None) -> dict[str, int]:
        """Find the column of each role; what is declared wins over what is recognised."""
        names = [name.strip().lower() for name in header or ()]
        found: dict[str, int] = {}
        for role, aliases in ROLES.items():
            for alias in aliases:
                if alias in names:
                    found[role] = names.index(alias)
                    break
        for role, column in self._mapping.columns.items():
            if role not in ROLES:
                raise ConfigError(f"{role!r} is nothing a column can mean: {', '.join(ROLES)}")
            if isinstance(column, str):
                if column.strip().lower() not in names:
                    has = ", ".join(names) or "no header"
                    raise ConfigError(f"{self._name} has no column {column!r}: it has {has}")
                found[role] = names.index(column.strip().lower())
            else:
                found[role] = column
        return found

    def _builder(self, header: Sequence[str] | None) -> Callable[[Sequence[Any]], MarketEvent]:
        columns = self.columns
        if self._mapping.symbol is None and "symbol" not in columns:
            raise ConfigError(
                f"{self._name} has no column of symbols: name one with --columns symbol=COLUMN, or "
                "declare the one symbol in the settings, as symbol in [feed.table]"
            )
        if "time" in columns:
            if all(role in columns for role in _BAR):
                if self._mapping.span is None:
                    raise ConfigError(
                        f"{self._name} holds bars: declare their span in the table mapping"
                    )
                return self._bar
            if "bid" in columns and "ask" in columns:
                return self._quote
            if "price" in columns:
                return self._trade
        has = f"columns {', '.join(header)}" if header else "no header"
        raise ConfigError(
            f"{self._name} has {has}: declare the columns of time with price, with bid and ask, or "
            "with open, high, low and close in the table mapping"
        )

    def _trade(self, row: Sequence[Any]) -> Trade:
        columns = self.columns
        moment = self._time(row, "time")
        aggressor = Aggressor.UNKNOWN
        if "side" in columns:
            aggressor = _AGGRESSORS.get(str(row[columns["side"]]).lower(), aggressor)
        elif "buyer_maker" in columns:
            maker_bought = str(row[columns["buyer_maker"]]).lower() in {"true", "1"}
            aggressor = Aggressor.SELLER if maker_bought else Aggressor.BUYER
        return Trade(
            self._symbol(row),
            moment,
            self._received(row, moment),
            price(row[columns["price"]]),
            self._size(row, "size"),
            str(row[columns["trade_id"]]) if "trade_id" in columns else "",
            aggressor,
        )

    def _quote(self, row: Sequence[Any]) -> Quote:
        columns = self.columns
        moment = self._time(row, "time")
        return Quote(
            self._symbol(row),
            moment,
            self._received(row, moment),
            price(row[columns["bid"]]),
            self._size(row, "bid_size"),
            price(row[columns["ask"]]),
            self._size(row, "ask_size"),
        )

    def _bar(self, row: Sequence[Any]) -> Bar:
        columns, span = self.columns, self._mapping.span or 0
        start = self._time(row, "time")
        opened, high, low, closed = (price(row[columns[role]]) for role in _BAR)
        check_ohlc(opened, high, low, closed)
        volume = self._size(row, "volume")
        end = start + span
        return Bar(self._symbol(row), start, end, span, opened, high, low, closed, volume)

    def _size(self, row: Sequence[Any], role: str) -> float:
        """A size; a table without that column does not know it: 0."""
        return size(row[self.columns[role]]) if role in self.columns else 0.0

    def _received(self, row: Sequence[Any], moment: int) -> int:
        return self._time(row, "received") if "received" in self.columns else moment

    def _symbol(self, row: Sequence[Any]) -> Symbol:
        if self._mapping.symbol is not None:
            return self._mapping.symbol
        name = str(row[self.columns["symbol"]])
        if name not in self._symbols:
            if not 0 < len(name) <= 32:
                raise ValueError(f"a symbol of {len(name)} characters")
            self._symbols[name] = self._canonical(name)
        return self._symbols[name]

    def _canonical(self, name: str) -> Symbol:
        match self._mapping.asset_class:
            case AssetClass.CRYPTO:
                return split_pair(name)
            case AssetClass.FOREX:
                return currency_pair(name)
            case _:
                return Symbol(name.upper())

    def _time(self, row: Sequence[Any], role: str) -> int:
        value = row[self.columns[role]]
        if self.columns[role] in self._typed_times:
            return check_ns(value)
        form = self._mapping.time_format
        if form == "auto":
            text = str(value)
            if text.replace(".", "", 1).isdigit() and (epoch := float(text)) >= 1e8:
                return exact_ns(text, epoch_unit(epoch))
            return iso_ns(text, self._zone)
        if form == "iso":
            return iso_ns(str(value), self._zone)
        if form in NANOSECONDS:
            return exact_ns(str(value), form)
        moment = datetime.strptime(str(value), form)
        return check_ns(
            utc_seconds(moment, self._zone) * NANOSECONDS["s"] + moment.microsecond * 1000
        )
