"""What Kraken's second API has on its wire: messages by channel, and answers that have none.

Prices and sizes are JSON numbers; those of books stay decimal text, since the checksum counts their
trailing zeros.
"""

from decimal import Decimal
from typing import Literal

import msgspec

Number = float | str


class TradeRow(msgspec.Struct):
    """A trade; `side` is the taker's."""

    symbol: str
    side: str
    price: Number
    qty: Number
    trade_id: int
    timestamp: str


class TickerRow(msgspec.Struct):
    """The best quotes; a halted symbol has zeros."""

    symbol: str
    bid: Number
    bid_qty: Number
    ask: Number
    ask_qty: Number
    timestamp: str | None = None  # newer than the rest


class Level(msgspec.Struct, gc=False):
    """A level of a book, its text exact."""

    price: Decimal
    qty: Decimal


class BookRow(msgspec.Struct):
    """All levels, or the changed ones, and the checksum of what results."""

    symbol: str
    bids: list[Level]
    asks: list[Level]
    checksum: int
    timestamp: str | None = None  # snapshots had none at first


class CandleRow(msgspec.Struct):
    """A minute as it is so far."""

    symbol: str
    open: Number
    high: Number
    low: Number
    close: Number
    volume: Number
    interval_begin: str


class SystemRow(msgspec.Struct):
    """What state the exchange is in."""

    system: str


class Trades(msgspec.Struct, tag_field="channel", tag="trade"):
    """The latest fifty trades at first, then new ones."""

    data: list[TradeRow]
    type: Literal["snapshot", "update"]


class Tickers(msgspec.Struct, tag_field="channel", tag="ticker"):
    """Best quotes as they change."""

    data: list[TickerRow]


class Books(msgspec.Struct, tag_field="channel", tag="book"):
    """Order books, whole at first, then their changes."""

    data: list[BookRow]
    type: Literal["snapshot", "update"]


class Candles(msgspec.Struct, tag_field="channel", tag="ohlc"):
    """Minutes in the making."""

    data: list[CandleRow]


class Systems(msgspec.Struct, tag_field="channel", tag="status"):
    """The exchange's state."""

    data: list[SystemRow]


class Heartbeat(msgspec.Struct, tag_field="channel", tag="heartbeat"):
    """A sign of life, each second in which nothing else comes."""


class Result(msgspec.Struct, frozen=True):
    """What was subscribed to."""

    channel: str = ""
    symbol: str = ""


class Answer(msgspec.Struct):
    """What is no channel's: the answer to something we sent."""

    method: str = ""
    channel: str = ""
    success: bool | None = None
    error: str = ""
    symbol: str = ""
    req_id: int | None = None
    result: Result = Result()


message = msgspec.json.Decoder(Trades | Tickers | Books | Candles | Systems | Heartbeat)
answer = msgspec.json.Decoder(Answer)
CHANNELS = {"trade", "ticker", "book", "ohlc", "status", "heartbeat"}
