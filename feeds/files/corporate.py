"""Splits, dividends and changes of ticker, as LEAN's factor and map files have them.

.../equity/usa/factor_files/aapl.csv: date, price factor, split factor[, reference price]; a row
holds for its date and those before it, down to the row before. Adjusted prices, LEAN's default, are
those of the files times both factors; sizes and volumes stay as they were. .../map_files/foxa.csv:
date, ticker; up to that date the share was in the files of that ticker.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import msgspec

from feeds.base import Audit
from feeds.errors import DecodeError
from feeds.events import SECOND, AssetClass, Bar, MarketEvent, Ohlc, Quote, QuoteBar, Symbol, Trade
from feeds.files.lean import LeanFile, LeanPath
from feeds.numbers import price

FACTORS, MAPS = "factor_files", "map_files"
Row = TypeVar("Row")


class Mapped(msgspec.Struct, frozen=True):
    """Who had a ticker on the dates after `after` up to `until`."""

    share: str
    ticker: str
    after: date
    until: date


class Actions:
    """The factor and map files of one market, which lie in its folder beside `tick` and `daily`."""

    def __init__(self, market: Path) -> None:
        self._market = market
        self._factors: dict[str, list[tuple[date, float]]] = {}

    def factor(self, share: str, day: date) -> float:
        """Return what the prices of a share on a date are multiplied by, to be adjusted.

        Raises:
            DecodeError: its file cannot be read.
        """
        if share not in self._factors:
            self._factors[share] = self._read_factors(share)
        rows = self._factors[share]
        place = bisect_left(rows, day, key=lambda row: row[0])
        return rows[place][1] if place < len(rows) else 1.0

    def share(self, ticker: str, day: date) -> str:
        """Return the name, as of today, of the share that had a ticker on a date; lower case.

        Raises:
            DecodeError: a map file cannot be read.
        """
        own = self._read_map(ticker)
        for row in own if _had(own, ticker, day) else self._all_maps:
            if row.ticker == ticker and row.after < day <= row.until:
                return row.share
        return ticker

    def shares(self, ticker: str) -> list[str]:
        """Return every share that ever had a ticker, the ticker's own name first."""
        others = [row.share for row in self._all_maps if row.ticker == ticker]
        return list(dict.fromkeys([ticker, *others]))

    @cached_property
    def _all_maps(self) -> list[Mapped]:
        files = sorted((self._market / MAPS).glob("*.csv"))
        return [row for file in files for row in self._read_map(file.stem)]

    def _read_map(self, share: str) -> list[Mapped]:
        path = self._market / MAPS / f"{share}.csv"
        rows = sorted(_rows(path, lambda words: (_day(words[0]), words[1].strip().lower())))
        before = [date.min, *(day for day, _ in rows)]
        return [
            Mapped(share, ticker, after, day)
            for (day, ticker), after in zip(rows, before, strict=False)
        ]

    def _read_factors(self, share: str) -> list[tuple[date, float]]:
        path = self._market / FACTORS / f"{share}.csv"
        return sorted(
            _rows(path, lambda words: (_day(words[0]), price(words[1]) * price(words[2])))
        )


class AdjustedFile:
    """A LEAN file of shares, its prices adjusted and its symbol the share's name of today."""

    def __init__(self, file: LeanFile, what: LeanPath, actions: Actions) -> None:
        self.path = file.path
        self._file, self._what, self._actions = file, what, actions
        self._ticker = what.symbol.lower()
        names = (
            actions.shares(self._ticker)
            if what.date is None
            else [actions.share(self._ticker, what.date)]
        )
        self.symbols = {_symbol(name): AssetClass.EQUITY for name in names}
        # By the share: the files of its tickers follow one another by their dates.
        self.series = f"{file.path.parent.parent.as_posix()}:{names[0]}:{what.kind}"
        if what.date is None:
            self.series = file.series

    @property
    def gaps(self) -> int:
        """Jumps in trade numbers, which these files do not have."""
        return self._file.gaps

    def audit(self) -> Audit:
        """Return the counts of the latest reading."""
        return self._file.audit()

    def check(self) -> None:
        """Look into the archive; raises as LeanFile.check."""
        self._file.check()

    def events(self) -> Iterator[MarketEvent]:
        """Read from the start; raises as LeanFile.events, and DecodeError for a damaged factor."""
        day: date | None = None
        symbol, factor = self._what.symbol, 1.0
        for event in self._file.events():
            today = self._what.date or self._day_of(event.time)
            if today != day:
                day = today
                share = self._actions.share(self._ticker, today)
                symbol, factor = _symbol(share), self._actions.factor(share, today)
            yield _adjusted(event, symbol, factor)

    def _day_of(self, time: int) -> date:
        return datetime.fromtimestamp(time // SECOND, UTC).astimezone(self._what.zone).date()


def with_actions(
    file: LeanFile, what: LeanPath, known: dict[Path, Actions]
) -> LeanFile | AdjustedFile:
    """Return a file of shares adjusted, where its market has factor or map files; else itself.

    Args:
        file: as it was recorded.
        what: what its path says.
        known: the actions of the markets seen so far, by their folders.
    """
    if what.asset_class is not AssetClass.EQUITY:
        return file
    market = file.path.absolute().parents[1 if what.date is None else 2]
    if not ((market / FACTORS).is_dir() or (market / MAPS).is_dir()):
        return file
    return AdjustedFile(file, what, known.setdefault(market, Actions(market)))


def is_action(path: Path) -> bool:
    """Whether a file is no market data but says what became of shares."""
    return path.parent.name in {FACTORS, MAPS}


def _adjusted(event: MarketEvent, symbol: Symbol, factor: float) -> MarketEvent:
    match event:
        case Trade():
            return msgspec.structs.replace(event, symbol=symbol, price=event.price * factor)
        case Quote():
            return msgspec.structs.replace(
                event, symbol=symbol, bid=event.bid * factor, ask=event.ask * factor
            )
        case Bar():
            return msgspec.structs.replace(
                event,
                symbol=symbol,
                open=event.open * factor,
                high=event.high * factor,
                low=event.low * factor,
                close=event.close * factor,
            )
        case QuoteBar():
            bid, ask = (_scaled(side, factor) for side in (event.bid, event.ask))
            return msgspec.structs.replace(event, symbol=symbol, bid=bid, ask=ask)


def _scaled(side: Ohlc, factor: float) -> Ohlc:
    return Ohlc(side.open * factor, side.high * factor, side.low * factor, side.close * factor)


def _symbol(share: str) -> Symbol:
    return Symbol(share.upper())


def _had(rows: list[Mapped], ticker: str, day: date) -> bool:
    return any(row.ticker == ticker and row.after < day <= row.until for row in rows)


def _rows(path: Path, read: Callable[[list[str]], Row]) -> list[Row]:
    """Read a file of rows; one that is not there has none."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise DecodeError(f"{path} cannot be read: {error}") from None
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found.append(read(line.split(",")))
        except (ValueError, ArithmeticError, IndexError):
            raise DecodeError(f"{path} line {number}: {line[:60]!r} is no row of it") from None
    return found


def _day(text: str) -> date:
    return datetime.strptime(text.strip(), "%Y%m%d").replace(tzinfo=UTC).date()
