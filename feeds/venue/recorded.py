"""Recorded data as a market that the venue plays: what its files hold, no more.

Alpaca's stream has no words for quote bars and for bars that are not of a minute: a symbol that has
nothing else is on the venue's own stream only, and is refused elsewhere instead of being silent.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from feeds.events import MINUTE, SECOND, AssetClass, Bar, MarketEvent, QuoteBar, Symbol
from feeds.files import SourceTape, TableMapping, open_source


class RecordedMarket:
    """A tape as a market: it has the symbols that it holds, where the files tell.

    `untold` are the symbols that hold nothing Alpaca's stream has words for, and what they hold;
    `audit` accounts for the rows read so far.

    Args:
        paths: files and folders.
        table: the fields of a TableMapping.
        adjusted: as in `open_source`.

    Raises:
        ConfigError: a path is missing, is nothing we know, or needs another mapping.
        DecodeError: a file is damaged.
    """

    def __init__(
        self, paths: Sequence[str], table: Mapping[str, Any], *, adjusted: bool = True
    ) -> None:
        mapping = msgspec.convert(table, TableMapping)
        source = open_source([Path(path) for path in paths], mapping, adjusted=adjusted)
        self.audit = source.audit
        self.untold = _untold(source.first_events())
        self._symbols, self._tells_all = source.symbols, source.tells_all
        self._tape = SourceTape(source)

    @property
    def start(self) -> int | None:
        """The time of its first event; None where there is none."""
        return self._tape.start

    @property
    def exhausted(self) -> bool:
        """Whether all was played."""
        return self._tape.exhausted

    @property
    def upcoming(self) -> int | None:
        """The time of its next event; None where nothing is left."""
        return self._tape.upcoming

    def subscribe(self, symbol: Symbol, asset_class: AssetClass | None, now: int) -> bool:
        """Say whether it has this symbol, in this class and in Alpaca's words; None: at all."""
        held = self._symbols.get(symbol)
        if asset_class is None:
            return held is not None or not self._tells_all
        if held is None:
            return not self._tells_all and symbol not in self.untold
        return held is asset_class and symbol not in self.untold

    def advance(self, until: int) -> list[MarketEvent]:
        """Return what happened since the last call, up to `until`, in order."""
        return self._tape.advance(until)


def _untold(first: Sequence[MarketEvent]) -> dict[Symbol, str]:
    """Name what a client of Alpaca's stream would not hear, by the first event of each file."""
    kinds: dict[Symbol, set[str]] = {}
    for event in first:
        kinds.setdefault(event.symbol, set()).add(_unspoken(event))
    return {symbol: " and ".join(sorted(held)) for symbol, held in kinds.items() if "" not in held}


def _unspoken(event: MarketEvent) -> str:
    match event:
        case QuoteBar():
            return "quote bars"
        case Bar() if event.span != MINUTE:
            return f"bars of {event.span / SECOND:g} s"
        case _:
            return ""
