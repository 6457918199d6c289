"""Binance's market streams: frames in, events out, subscriptions to send; no socket.

Each frame becomes market events, or Malformed, or one count in `ignored`. Trades are numbered by
one, so a duplicate is dropped and a jump is told as a Gap before the trade that shows it. Raw
payloads and those of a combined stream are both taken. The best quotes of spot carry no time: they
get the moment of arrival. A candle counts once it is closed.
"""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from feeds.continuity import Continuity
from feeds.errors import VenueRefused
from feeds.events import (
    EXCERPT_CHARS,
    Aggressor,
    Bar,
    Event,
    FeedState,
    Quote,
    Status,
    Symbol,
    Trade,
)
from feeds.numbers import check_ns, check_ohlc, price, size
from feeds.protocols.frames import count_kind, malformed
from feeds.symbols import BINANCE_QUOTES, split_pair

NAME = "binance"
STREAMS_PER_FRAME = 200
"""Topics in one SUBSCRIBE: the venue takes five frames a second, and 1,024 topics a connection."""

_MICROSECONDS_FROM = 10**14  # an epoch time from here on is in us, which a connection may ask for
_encode = msgspec.json.Encoder().encode

Number = str | float


class _Head(msgspec.Struct):
    """What tells frames apart."""

    stream: str | None = None
    data: msgspec.Raw = msgspec.Raw()
    e: str | None = None
    u: msgspec.Raw = msgspec.Raw()
    b: msgspec.Raw = msgspec.Raw()
    a: msgspec.Raw = msgspec.Raw()
    id: msgspec.Raw = msgspec.Raw()
    result: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()
    code: int | None = None
    msg: str | None = None


class _Error(msgspec.Struct):
    code: int | None = None
    msg: str = ""


class _Trade(msgspec.Struct):
    s: str
    t: int
    p: Number
    q: Number
    T: int
    m: bool


class _AggregateTrade(msgspec.Struct):
    s: str
    p: Number
    q: Number
    T: int
    m: bool
    t: int = msgspec.field(name="a")


class _BookTicker(msgspec.Struct):
    s: str
    b: Number
    B: Number
    a: Number
    A: Number
    T: int | None = None


class _Candle(msgspec.Struct):
    t: int
    T: int
    o: Number
    h: Number
    l: Number  # noqa: E741  # the venue's name
    c: Number
    v: Number
    x: bool


class _Kline(msgspec.Struct):
    s: str
    k: _Candle


_head = msgspec.json.Decoder(_Head)
_error = msgspec.json.Decoder(_Error)
_trade = msgspec.json.Decoder(_Trade)
_aggregate = msgspec.json.Decoder(_AggregateTrade)
_book_ticker = msgspec.json.Decoder(_BookTicker)
_kline = msgspec.json.Decoder(_Kline)


def _moment(value: int) -> int:
    """Venue time, in milliseconds or microseconds, as ns."""
    return check_ns(value * (1_000 if value >= _MICROSECONDS_FROM else 1_000_000))


class BinanceDecoder:
    """One connection's decoder.

    Attributes:
        ignored: frames that made no event, by kind.
        refused: the last error the venue answered with, or None.
    """

    def __init__(self, continuity: Continuity | None = None) -> None:
        self.ignored: dict[str, int] = {}
        self.refused: VenueRefused | None = None
        self.continuity = continuity or Continuity()
        self._symbols: dict[str, Symbol] = {}
        self._outgoing: list[bytes | str] = []
        self._next_id = 1
        self._read: dict[str, Callable[[bytes | msgspec.Raw, int], list[Event]]] = {
            "trade": self._on_trade,
            "aggTrade": self._on_aggregate,
            "bookTicker": self._on_book_ticker,
            "kline": self._on_kline,
        }

    def subscribe(
        self, symbols: Iterable[Symbol], channels: Sequence[str] = ("trade", "bookTicker")
    ) -> None:
        """Queue the frames that ask for these symbols.

        Args:
            symbols: canonical names, "BTC/USDT".
            channels: "trade" or "aggTrade" (not both: they tell the same trades), "bookTicker",
                "kline_1m".
        """
        topics = []
        for symbol in symbols:
            name = symbol.replace("/", "")
            self._symbols[name] = symbol
            topics += [f"{name.lower()}@{channel}" for channel in channels]
        for first in range(0, len(topics), STREAMS_PER_FRAME):
            params = topics[first : first + STREAMS_PER_FRAME]
            frame = {"method": "SUBSCRIBE", "params": params, "id": self._next_id}
            self._outgoing.append(_encode(frame).decode())
            self._next_id += 1

    def data_to_send(self) -> list[bytes | str]:
        """Return the frames that must go out now, at least 200 ms apart, and forget them."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def receive(self, data: bytes | str, received: int) -> list[Event]:
        """Take one frame and return what it says, in the venue's order; never raises on input."""
        try:
            frame = data.encode() if isinstance(data, str) else data
            head = _head.decode(frame)
            payload: bytes | msgspec.Raw = frame
            stream = head.stream
            if stream is not None and head.data:
                payload = head.data
                head = _head.decode(payload)
            return self._on_frame(head, stream, payload, received)
        except (msgspec.DecodeError, ValueError, RecursionError, OverflowError) as error:
            return [malformed(NAME, error, data, received)]

    def _on_frame(
        self, head: _Head, stream: str | None, payload: bytes | msgspec.Raw, received: int
    ) -> list[Event]:
        kind = head.e
        if kind is None:
            if head.error or head.code is not None:
                return self._on_error(head, received)
            if head.result:
                return self._ignore("acknowledgement")
            # Spot names no type here: the topic or the set of keys tells it.
            is_quote = stream.endswith("@bookTicker") if stream else head.u and head.b and head.a
            kind = "bookTicker" if is_quote else "unknown"
        read = self._read.get(kind)
        return read(payload, received) if read else self._ignore(kind)

    def _on_trade(self, payload: bytes | msgspec.Raw, received: int) -> list[Event]:
        return self._admit(_trade.decode(payload), "trade", received)

    def _on_aggregate(self, payload: bytes | msgspec.Raw, received: int) -> list[Event]:
        return self._admit(_aggregate.decode(payload), "aggTrade", received)

    def _admit(self, it: _Trade | _AggregateTrade, channel: str, received: int) -> list[Event]:
        trade = Trade(
            self._symbol(it.s),
            _moment(it.T),
            received,
            price(it.p),
            size(it.q),
            str(it.t),
            Aggressor.SELLER if it.m else Aggressor.BUYER,  # m: the buyer was waiting in the book
        )
        verdict = self.continuity.admit(trade.symbol, it.t, trade.time, received, channel)
        if not verdict.is_new:
            return self._ignore("duplicate")
        return [trade] if verdict.gap is None else [verdict.gap, trade]

    def _on_book_ticker(self, payload: bytes | msgspec.Raw, received: int) -> list[Event]:
        it = _book_ticker.decode(payload)
        time = received if it.T is None else _moment(it.T)
        bid, ask = price(it.b), price(it.a)
        return [Quote(self._symbol(it.s), time, received, bid, size(it.B), ask, size(it.A))]

    def _on_kline(self, payload: bytes | msgspec.Raw, received: int) -> list[Event]:
        it = _kline.decode(payload)
        candle = it.k
        if not candle.x:
            return self._ignore("kline unfinished")
        prices = price(candle.o), price(candle.h), price(candle.l), price(candle.c)
        check_ohlc(*prices)
        start, last = _moment(candle.t), _moment(candle.T)
        unit = 1_000 if candle.T >= _MICROSECONDS_FROM else 1_000_000
        if last < start:
            raise ValueError(f"a candle from {candle.t} to {candle.T} ends before it starts")
        # T is the last instant that belongs to it.
        span = last + unit - start
        return [Bar(self._symbol(it.s), start, received, span, *prices, size(candle.v))]

    def _on_error(self, head: _Head, received: int) -> list[Event]:
        error = _error.decode(head.error) if head.error else _Error(head.code, head.msg or "")
        detail = f"Binance refused: {error.msg[:EXCERPT_CHARS]}"
        self.refused = VenueRefused(detail, error.code)
        self._ignore("error")
        return [Status(NAME, FeedState.LIVE, received, f"{detail} (code {error.code})")]

    def _symbol(self, name: str) -> Symbol:
        if not 0 < len(name) <= 32:
            raise ValueError(f"a symbol of {len(name)} characters")
        return self._symbols.get(name) or split_pair(name, BINANCE_QUOTES)

    def _ignore(self, kind: str) -> list[Event]:
        count_kind(self.ignored, kind)
        return []
