"""The words of Binance's market streams and REST answers, as they are on the wire, read with care.

Prices and sizes are decimal strings and may come as numbers, ids as strings; times are ms, or us on
a connection that asked for them. What contradicts that is a ValueError.
"""

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from feeds.events import Aggressor, Bar, Quote, Symbol, Trade
from feeds.numbers import check_ns, check_ohlc, price, size

_MICROSECONDS_FROM = 10**14  # an epoch time from here on is in us

Number = str | float
Levels = list[tuple[Decimal, Decimal]]


class Head(msgspec.Struct):
    """What tells frames apart."""

    stream: str | None = None
    data: msgspec.Raw = msgspec.Raw()
    e: str | None = None
    u: msgspec.Raw = msgspec.Raw()
    b: msgspec.Raw = msgspec.Raw()
    a: msgspec.Raw = msgspec.Raw()
    id: int | str | None = None
    result: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()
    code: int | None = None
    msg: str | None = None


class Error(msgspec.Struct):
    """What is wrong, in the venue's words."""

    code: int | None = None
    msg: str = ""


class WireTrade(msgspec.Struct):
    """A single trade; X tells on futures that it was none of the market's (liquidation fund)."""

    s: str
    t: int
    p: Number
    q: Number
    T: int
    m: bool
    X: str = "MARKET"


class AggregateTrade(msgspec.Struct):
    """What one taker's order traded at one price."""

    s: str
    p: Number
    q: Number
    T: int
    m: bool
    t: int = msgspec.field(name="a")
    X: str = "MARKET"


class BookTicker(msgspec.Struct):
    """The top of the book; only futures say when."""

    s: str
    b: Number
    B: Number
    a: Number
    A: Number
    T: int | None = None


class Candle(msgspec.Struct):
    """A bar; x says that it is closed."""

    t: int
    T: int
    o: Number
    h: Number
    l: Number  # noqa: E741  # the venue's name
    c: Number
    v: Number
    x: bool


class Kline(msgspec.Struct):
    """A bar and whose it is."""

    s: str
    k: Candle


class Depth(msgspec.Struct):
    """The updates U to u of a book; futures say which came before (pu), and when (T)."""

    s: str
    U: int
    u: int
    E: int
    b: Levels
    a: Levels
    pu: int | None = None
    T: int | None = None


class DepthHead(msgspec.Struct):
    """Whose book it is, where its changes cannot be read."""

    s: str


class DepthSnapshot(msgspec.Struct):
    """A REST answer: the best levels of a book."""

    last: int = msgspec.field(name="lastUpdateId")
    bids: Levels
    asks: Levels
    T: int | None = None


class Listed(msgspec.Struct, rename="camel"):
    """One row of all best quotes; zeros where there is none."""

    symbol: str
    bid_price: Number
    bid_qty: Number
    ask_price: Number
    ask_qty: Number
    time: int | None = None


class HistoryAggregate(msgspec.Struct):
    """One row of earlier aggregate trades."""

    p: Number
    q: Number
    T: int
    m: bool
    t: int = msgspec.field(name="a")


class HistoryTrade(msgspec.Struct):
    """One row of earlier trades."""

    t: int = msgspec.field(name="id")
    p: Number = msgspec.field(name="price")
    q: Number = msgspec.field(name="qty")
    T: int = msgspec.field(name="time")
    m: bool = msgspec.field(name="isBuyerMaker")


decode_head = msgspec.json.Decoder(Head).decode
decode_error = msgspec.json.Decoder(Error, strict=False).decode
decode_trade = msgspec.json.Decoder(WireTrade, strict=False).decode
decode_aggregate = msgspec.json.Decoder(AggregateTrade, strict=False).decode
decode_book_ticker = msgspec.json.Decoder(BookTicker, strict=False).decode
decode_kline = msgspec.json.Decoder(Kline, strict=False).decode
decode_depth = msgspec.json.Decoder(Depth, strict=False).decode
decode_depth_head = msgspec.json.Decoder(DepthHead, strict=False).decode
decode_depth_snapshot = msgspec.json.Decoder(DepthSnapshot, strict=False).decode
decode_listed = msgspec.json.Decoder(list[Listed], strict=False).decode
_decode_trades = msgspec.json.Decoder(list[HistoryTrade], strict=False).decode
_decode_aggregates = msgspec.json.Decoder(list[HistoryAggregate], strict=False).decode


def decode_history(
    body: bytes, channel: str
) -> Sequence[HistoryTrade] | Sequence[HistoryAggregate]:
    """Read the REST answer that holds earlier trades of a stream."""
    return _decode_aggregates(body) if channel == "aggTrade" else _decode_trades(body)


def moment(value: int) -> int:
    """Venue time, in milliseconds or microseconds, as ns."""
    return check_ns(value * (1_000 if value >= _MICROSECONDS_FROM else 1_000_000))


def trade_of(
    it: WireTrade | AggregateTrade | HistoryTrade | HistoryAggregate, symbol: Symbol, received: int
) -> Trade:
    """Make the event of a trade."""
    return Trade(
        symbol,
        moment(it.T),
        received,
        price(it.p),
        size(it.q),
        str(it.t),
        Aggressor.SELLER if it.m else Aggressor.BUYER,  # m: the buyer was waiting in the book
    )


def quote_of(it: BookTicker, symbol: Symbol, received: int) -> Quote:
    """Make the event of a top of the book."""
    time = received if it.T is None else moment(it.T)
    bid, ask = price(it.b), price(it.a)
    return Quote(symbol, time, received, bid, size(it.B), ask, size(it.A))


def bar_of(it: Candle, symbol: Symbol, received: int) -> Bar:
    """Make the event of a closed candle."""
    prices = price(it.o), price(it.h), price(it.l), price(it.c)
    check_ohlc(*prices)
    start, last = moment(it.t), moment(it.T)
    if last < start:
        raise ValueError(f"a candle from {it.t} to {it.T} ends before it starts")
    # T is the last instant that belongs to it.
    unit = 1_000 if it.T >= _MICROSECONDS_FROM else 1_000_000
    return Bar(symbol, start, received, last + unit - start, *prices, size(it.v))
