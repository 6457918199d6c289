"""Coinbase Exchange's WebSocket feed: frames in, events out, subscriptions to send; no socket.

Each frame becomes market events, or Malformed, or one count in `ignored`. A match is a trade, whose
`side` is the MAKER's; `last_match` is a point to catch up from and never a trade; a ticker repeats
a match and gives only its quote. Trade numbers rise by one per product.
"""

from collections.abc import Iterable, Sequence

import msgspec

from feeds.continuity import Continuity
from feeds.errors import VenueRefused
from feeds.events import (
    EXCERPT_CHARS,
    Aggressor,
    Event,
    FeedState,
    Quote,
    Status,
    Symbol,
    Trade,
)
from feeds.numbers import iso_ns, price, size
from feeds.protocols.frames import count_kind, malformed
from feeds.symbols import split_pair

NAME = "coinbase"

_encode = msgspec.json.Encoder().encode

Number = str | float


class _Head(msgspec.Struct):
    """What tells frames apart."""

    type: str


class _Match(msgspec.Struct):
    product_id: str
    trade_id: int
    side: str
    size: Number
    price: Number
    time: str


class _Ticker(msgspec.Struct):
    product_id: str
    best_bid: Number
    best_ask: Number
    time: str
    best_bid_size: Number = 0.0
    best_ask_size: Number = 0.0


class _Error(msgspec.Struct):
    message: str = ""
    reason: str = ""


_head = msgspec.json.Decoder(_Head)
_match = msgspec.json.Decoder(_Match)
_ticker = msgspec.json.Decoder(_Ticker)
_error = msgspec.json.Decoder(_Error)

# "sell" is the resting order's side: who came and took it was a buyer.
_TAKER = {"sell": Aggressor.BUYER, "buy": Aggressor.SELLER}


class CoinbaseDecoder:
    """One connection's decoder.

    Attributes:
        ignored: frames that made no event, by kind.
        refused: the last error the venue answered with, or None.
    """

    def __init__(self, continuity: Continuity | None = None) -> None:
        self.ignored: dict[str, int] = {}
        self.refused: VenueRefused | None = None
        self.continuity = continuity or Continuity()
        self._outgoing: list[bytes | str] = []

    def subscribe(
        self,
        symbols: Iterable[Symbol],
        channels: Sequence[str] = ("matches", "ticker", "heartbeat"),
    ) -> None:
        """Queue the frame that asks for these symbols ("BTC/USD"); due within 5 s of connecting."""
        products = [symbol.replace("/", "-") for symbol in symbols]
        frame = {"type": "subscribe", "product_ids": products, "channels": list(channels)}
        self._outgoing.append(_encode(frame).decode())

    def data_to_send(self) -> list[bytes | str]:
        """Return the frames that must go out now, and forget them."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def receive(self, data: bytes | str, received: int) -> list[Event]:
        """Take one frame and return what it says, in the venue's order; never raises on input."""
        try:
            frame = data.encode() if isinstance(data, str) else data
            kind = _head.decode(frame).type
            match kind:
                case "match":
                    return self._on_match(_match.decode(frame), received)
                case "ticker":
                    return self._on_ticker(_ticker.decode(frame), received)
                case "last_match":
                    return self._on_last_match(_match.decode(frame), received)
                case "error":
                    return self._on_error(_error.decode(frame), received)
                case _:
                    return self._ignore(kind)
        except (msgspec.DecodeError, ValueError, RecursionError, OverflowError) as error:
            return [malformed(NAME, error, data, received)]

    def _on_match(self, match: _Match, received: int) -> list[Event]:
        trade = Trade(
            _symbol(match.product_id),
            iso_ns(match.time),
            received,
            price(match.price),
            size(match.size),
            str(match.trade_id),
            _TAKER.get(match.side, Aggressor.UNKNOWN),
        )
        verdict = self.continuity.admit(trade.symbol, match.trade_id, trade.time, received)
        if not verdict.is_new:
            return self._ignore("duplicate")
        return [trade] if verdict.gap is None else [verdict.gap, trade]

    def _on_last_match(self, match: _Match, received: int) -> list[Event]:
        symbol, time = _symbol(match.product_id), iso_ns(match.time)
        gap = self.continuity.prime(symbol, match.trade_id, time, received)
        self._ignore("last_match")
        return [] if gap is None else [gap]

    def _on_ticker(self, it: _Ticker, received: int) -> list[Event]:
        quote = Quote(
            _symbol(it.product_id),
            iso_ns(it.time),
            received,
            price(it.best_bid),
            size(it.best_bid_size),
            price(it.best_ask),
            size(it.best_ask_size),
        )
        return [quote]

    def _on_error(self, error: _Error, received: int) -> list[Event]:
        said = ": ".join(part for part in (error.message, error.reason) if part)
        detail = f"Coinbase refused: {said[:EXCERPT_CHARS]}"
        self.refused = VenueRefused(detail)
        self._ignore("error")
        return [Status(NAME, FeedState.LIVE, received, detail)]

    def _ignore(self, kind: str) -> list[Event]:
        count_kind(self.ignored, kind)
        return []


def _symbol(product: str) -> Symbol:
    if not 0 < len(product) <= 32:
        raise ValueError(f"a product of {len(product)} characters")
    return split_pair(product)
