"""Raw captures as cryptofeed's recorder writes them: one WebSocket frame a line, with its arrival.

`T: TEXT` was received at T; `URL <-> T` opened the connection, `URL <- T: TEXT` was sent,
`URL -> T: TEXT` answered over HTTP. T is our clock, and its decimal text is kept to the
nanosecond. The frames go through the same decoder that a live connection feeds.
"""

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from feeds.base import Audit
from feeds.events import AssetClass, Bar, Gap, Malformed, MarketEvent, Quote, Symbol, Trade
from feeds.files.lines import check_archive, read_lines
from feeds.numbers import exact_ns
from feeds.protocols.base import VenueProtocol
from feeds.protocols.binance import BinanceProtocol
from feeds.protocols.binance_books import FUTURES
from feeds.protocols.bitstamp import BitstampProtocol
from feeds.protocols.bybit import BybitProtocol
from feeds.protocols.coinbase import CoinbaseProtocol
from feeds.protocols.kraken_v1 import KrakenV1Protocol

VENUES: dict[str, Callable[[], VenueProtocol]] = {
    "BINANCE": BinanceProtocol,
    "BINANCE_FUTURES": partial(BinanceProtocol, market=FUTURES),
    "BINANCE_US": BinanceProtocol,
    "BYBIT": BybitProtocol,
    "BITSTAMP": BitstampProtocol,
    "COINBASE": CoinbaseProtocol,
    "KRAKEN": KrakenV1Protocol,
}
_MARKET = (Trade, Quote, Bar)
_NAME = re.compile(r"([A-Z_]+)\.ws\.[\w.]+\.gz$")


def venue_of(path: Path) -> str | None:
    """Name the venue of a WebSocket capture that we can decode, from the file's name, or None."""
    found = _NAME.match(path.name)
    return found[1] if found and found[1] in VENUES else None


def parse_line(line: str) -> tuple[int, str] | str:
    """Read one line: (arrival in ns, frame text) of a frame, or the kind of a line that is none.

    Raises:
        ValueError: it is none of the documented shapes.
    """
    if not line:
        return "empty line"
    if line[0].isdigit():
        moment, colon, text = line.partition(": ")
        if not colon:
            raise ValueError("a time without a frame")
        return exact_ns(moment), text
    if line.startswith("configuration: "):
        return "configuration"
    for arrow, kind in ((" <-> ", "connection"), (" <- ", "sent"), (" -> ", "http answer")):
        if arrow in line:
            return kind
    raise ValueError("neither a frame nor a note of the recorder")


class CaptureParser:
    """Lines in, market events out; knows no file.

    Attributes:
        audit: what each line became; what the decoder ignored is in it by kind.
        gaps: jumps in the numbers of trades.
    """

    def __init__(self, decoder: VenueProtocol) -> None:
        self.audit = Audit(ignored=decoder.ignored)
        self.gaps = 0
        self._decoder = decoder

    def feed(self, lines: list[str]) -> list[MarketEvent]:
        """Take some lines and return the events of their frames, in order of arrival."""
        market: list[MarketEvent] = []
        audit = self.audit
        for line in lines:
            audit.rows += 1
            try:
                parsed = parse_line(line)
            except ValueError:
                audit.malformed += 1
                continue
            if isinstance(parsed, str):
                audit.ignore(parsed)
                continue
            received, text = parsed
            before = len(market)
            is_spoilt = False
            for event in self._decoder.receive(text, received):
                if isinstance(event, _MARKET):
                    market.append(event)
                elif isinstance(event, Malformed):
                    is_spoilt = True
                else:
                    self.gaps += isinstance(event, Gap)
            made = len(market) - before
            audit.malformed += is_spoilt  # though a part of it may have been read
            audit.rows_used += made > 0 and not is_spoilt
            audit.events += made
        return market


class CaptureFile:
    """One capture of one WebSocket connection, read lazily; its name does not tell its symbols."""

    def __init__(self, path: Path, venue: str) -> None:
        self.path = path
        self.series = path.as_posix()
        self.symbols: dict[Symbol, AssetClass] = {}
        self._venue = venue
        self._parser = CaptureParser(VENUES[venue]())

    @property
    def gaps(self) -> int:
        """Jumps in the numbers of trades, in the latest reading."""
        return self._parser.gaps

    def audit(self) -> Audit:
        """Return the counts of the latest reading."""
        return self._parser.audit

    def check(self) -> None:
        """Look at the beginning of the file.

        Raises:
            DecodeError: it is damaged.
        """
        check_archive(self.path)

    def events(self) -> Iterator[MarketEvent]:
        """Read from the start.

        Raises:
            DecodeError: the file is damaged or cut short.
        """
        parser = self._parser = CaptureParser(VENUES[self._venue]())
        for lines in read_lines(self.path):
            yield from parser.feed(lines)
