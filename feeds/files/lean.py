"""LEAN's zipped CSV files; what a file holds stands in its path, not in the file.

.../equity/usa/tick/spy/20131007_trade.zip: kind, market, resolution, symbol, date. Hourly and daily
files, .../equity/usa/daily/spy.zip, hold many dates. Crypto ticks and options are not read.
"""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from feeds.base import Audit
from feeds.columns import TradeColumns
from feeds.events import AssetClass, MarketEvent, Symbol
from feeds.files.lean_columns import read_block
from feeds.files.lean_rows import (
    EQUITY_SCALE,
    SPANS,
    Bars,
    EquityQuotes,
    EquityTrades,
    ForexTicks,
    RowClock,
    RowParser,
)
from feeds.files.lines import check_archive, read_blocks, read_lines, split_lines
from feeds.symbols import BINANCE_QUOTES, QUOTES, currency_pair, split_pair

_NEW_YORK = ZoneInfo("America/New_York")
# LEAN's market-hours database; a market it does not list here keeps UTC, as crypto does.
_ZONES: dict[str, tzinfo] = {"usa": _NEW_YORK, "fxcm": timezone(timedelta(hours=-5))}

_BY_DAY = re.compile(
    r"(?:^|/)(equity|forex|crypto)/([a-z0-9]+)/(tick|second|minute)/([^/]+)/(\d{8})_(trade|quote)\.zip$"
)
_BY_SYMBOL = re.compile(
    r"(?:^|/)(equity|forex|crypto)/([a-z0-9]+)/(hour|daily)/([^/_]+)(?:_(trade|quote))?\.zip$"
)


class LeanPath(msgspec.Struct, frozen=True):
    """What a path says of its file; `date` is None where each row tells its own."""

    asset_class: AssetClass
    market: str
    resolution: str
    symbol: Symbol
    kind: str
    date: date | None

    @property
    def zone(self) -> tzinfo:
        """The zone of the time column."""
        return _ZONES.get(self.market, UTC)


def parse_path(path: Path) -> LeanPath | None:
    """Read what a path says, or None where it is not one of LEAN's that we read."""
    text = path.as_posix().lower()
    if found := _BY_DAY.search(text):
        asset, market, resolution, name, digits, kind = found.groups()
        try:
            day = datetime.strptime(digits, "%Y%m%d").replace(tzinfo=UTC).date()
        except ValueError:
            return None
    elif found := _BY_SYMBOL.search(text):
        asset, market, resolution, name, kind = found.groups()
        day = None
        kind = kind or ("quote" if asset == "forex" else "trade")
    else:
        return None
    asset_class = AssetClass(asset)
    if (asset_class, resolution) == (AssetClass.CRYPTO, "tick"):
        return None
    if (asset_class, kind) == (AssetClass.FOREX, "trade"):
        return None
    symbol = _symbol(asset_class, market, name)
    return LeanPath(asset_class, market, resolution, symbol, kind, day)


def row_parser(what: LeanPath, audit: Audit) -> RowParser:
    """Make the parser for a file of this kind; it counts every row in `audit`."""
    clock = RowClock(what.date, what.zone)
    if what.resolution != "tick":
        return Bars(
            what.symbol,
            clock,
            audit,
            span=SPANS[what.resolution],
            kind=what.kind,
            scale=EQUITY_SCALE if what.asset_class is AssetClass.EQUITY else 1,
        )
    if what.asset_class is AssetClass.FOREX:
        return ForexTicks(what.symbol, clock, audit)
    if what.kind == "trade":
        return EquityTrades(what.symbol, clock, audit)
    return EquityQuotes(what.symbol, clock, audit)


class LeanFile:
    """One LEAN zip, read lazily."""

    def __init__(self, path: Path, what: LeanPath) -> None:
        self.path = path
        self.series = f"{path.parent.as_posix()}:{what.symbol}:{what.kind}"
        self.symbols = {what.symbol: what.asset_class}
        self.gaps = 0
        self._what = what
        self._audit = Audit()

    def audit(self) -> Audit:
        """Return the counts of the latest reading."""
        return self._audit

    def check(self) -> None:
        """Look into the archive.

        Raises:
            DecodeError: it is damaged.
        """
        check_archive(self.path)

    def events(self) -> Iterator[MarketEvent]:
        """Read from the start.

        Raises:
            DecodeError: the archive is damaged.
        """
        if self.has_columns:
            for block in self.columns():
                yield from block.events() if isinstance(block, TradeColumns) else block
            return
        self._audit = Audit()
        parser = row_parser(self._what, self._audit)
        for lines in read_lines(self.path):
            yield from parser.feed(lines)
        yield from parser.finish()

    @property
    def symbol(self) -> Symbol:
        """Of every row."""
        return self._what.symbol

    @property
    def has_columns(self) -> bool:
        """Whether `columns` reads it: it holds trades, tick by tick."""
        what = self._what
        return (what.asset_class, what.resolution, what.kind) == (
            AssetClass.EQUITY,
            "tick",
            "trade",
        )

    def columns(self) -> Iterator[TradeColumns | list[MarketEvent]]:
        """Read from the start, block by block: as columns, or as events where it has none.

        Raises:
            DecodeError: the archive is damaged.
        """
        self._audit = Audit()
        clock = RowClock(self._what.date, self._what.zone)
        parser = EquityTrades(self._what.symbol, clock, self._audit)
        for block in read_blocks(self.path):
            columns = read_block(block, self._what.symbol, clock, self._audit)
            if columns is not None:
                yield columns
            elif events := parser.feed(split_lines(block)):
                yield TradeColumns.of(events) or events


def _symbol(asset_class: AssetClass, market: str, name: str) -> Symbol:
    if asset_class is AssetClass.EQUITY:
        return Symbol(name.upper())
    if asset_class is AssetClass.FOREX:
        return currency_pair(name)
    return split_pair(name, BINANCE_QUOTES if market.startswith("binance") else QUOTES)
