"""Kraken's history of trades over HTTP, to fill a gap: what to ask for, and how to read the answer.

GET /0/public/Trades tells a thousand trades from a moment on, with the numbers that the stream has.
Bitcoin is XBT and Dogecoin XDG there.
"""

from decimal import Decimal

import msgspec

from feeds.continuity import Continuity
from feeds.events import Aggressor, Event, Gap, Symbol, Trade
from feeds.numbers import exact_ns, price, size
from feeds.protocols.base import HttpGet
from feeds.protocols.frames import malformed

PAGE = 1_000
PAGES = 20
"""Pages asked for in one gap; what lies beyond stays missing."""

_ASSETS = {"BTC": "XBT", "DOGE": "XDG"}
_AGGRESSORS = {"b": Aggressor.BUYER, "s": Aggressor.SELLER}


class _Row(msgspec.Struct, array_like=True):
    price: str
    volume: str
    time: Decimal
    side: str
    kind: str
    more: str
    number: int


class _Answer(msgspec.Struct):
    error: list[str]
    result: dict[str, msgspec.Raw] = {}


class _Tag(msgspec.Struct, array_like=True):
    """What a request was for: the numbers `first` to `last`, and how many pages may follow."""

    symbol: Symbol
    first: int
    last: int
    pages: int


_answer = msgspec.json.Decoder(_Answer)
_rows = msgspec.json.Decoder(list[_Row])
_last = msgspec.json.Decoder(str)
_tag = msgspec.json.Decoder(_Tag)


def trades_request(gap: Gap) -> HttpGet | None:
    """Return the request for the trades that a gap lacks; None where their numbers are unknown."""
    if gap.symbol is None or not gap.numbers:
        return None
    tag = _Tag(gap.symbol, gap.numbers[0], gap.numbers[-1], PAGES)
    return _request(tag, str(gap.start - 1))


def read_trades(
    tag: str, body: bytes, received: int, continuity: Continuity
) -> tuple[list[Event], HttpGet | None]:
    """Return the trades that were still missing, and the request for the next page, if any."""
    events: list[Event] = []
    try:
        wanted = _tag.decode(tag)
        result = _answer.decode(body).result
        since = _last.decode(result.pop("last", msgspec.Raw(b'""')))
        rows = [row for raw in result.values() for row in _rows.decode(raw)]
        for row in rows:
            if wanted.first <= row.number <= wanted.last:
                events += _admit(row, wanted.symbol, received, continuity)
    except (msgspec.DecodeError, ValueError, RecursionError, OverflowError) as error:
        return [*events, malformed("kraken", error, body, received)], None
    if len(rows) < PAGE or rows[-1].number >= wanted.last or not wanted.pages or not since:
        return events, None
    return events, _request(msgspec.structs.replace(wanted, pages=wanted.pages - 1), since)


def _admit(row: _Row, symbol: Symbol, received: int, continuity: Continuity) -> list[Event]:
    time = exact_ns(str(row.time))
    by = _AGGRESSORS.get(row.side, Aggressor.UNKNOWN)
    trade = Trade(symbol, time, received, price(row.price), size(row.volume), str(row.number), by)
    verdict = continuity.admit(symbol, row.number, time, received)
    return [trade] if verdict.is_new else []


def _request(tag: _Tag, since: str) -> HttpGet:
    pair = "".join(_ASSETS.get(asset, asset) for asset in tag.symbol.split("/"))
    path = f"/0/public/Trades?pair={pair}&since={since}&count={PAGE}"
    return HttpGet(path, msgspec.json.encode(tag).decode(), tag.symbol)
