"""The words of market data: frozen structs, every time an int of nanoseconds since the epoch, UTC.

`time` is the venue's clock, `received` is ours; the venue's may lead ours, so never assume a
latency >= 0. Prices and sizes are float64 (quote currency per base unit; base units): the shortest
decimal text of the float is the text the venue sent, so `Decimal(str(price))` is exact for money.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import NewType

import msgspec

Symbol = NewType("Symbol", str)
"""Canonical name: "AAPL" for a share, "BTC/USD" (base/quote) for crypto and currency pairs."""

SECOND = 1_000_000_000
MINUTE = 60 * SECOND


class AssetClass(StrEnum):
    """What kind of thing a symbol names; it decides the venue path and the lot size."""

    EQUITY = "equity"
    CRYPTO = "crypto"
    FOREX = "forex"


class Aggressor(StrEnum):
    """Who crossed the spread in a trade."""

    BUYER = "buyer"
    SELLER = "seller"
    UNKNOWN = ""


class FeedState(StrEnum):
    """Where a feed stands; told to the strategy as it changes."""

    CONNECTING = "connecting"
    LIVE = "live"
    DISCONNECTED = "disconnected"
    ENDED = "ended"


class Trade(msgspec.Struct, frozen=True, gc=False):
    """One print on the tape."""

    symbol: Symbol
    time: int
    received: int
    price: float
    size: float
    trade_id: str = ""
    aggressor: Aggressor = Aggressor.UNKNOWN

    @property
    def quantity(self) -> float:
        """LEAN's name for `size`."""
        return self.size

    @property
    def last_price(self) -> float:
        """LEAN's name for `price`."""
        return self.price


class Quote(msgspec.Struct, frozen=True, gc=False):
    """The top of the book. Both sides are always present."""

    symbol: Symbol
    time: int
    received: int
    bid: float
    bid_size: float
    ask: float
    ask_size: float

    @property
    def price(self) -> float:
        """The mid, so that every tick has a price."""
        return (self.bid + self.ask) * 0.5

    @property
    def bid_price(self) -> float:
        """LEAN's name for `bid`."""
        return self.bid

    @property
    def ask_price(self) -> float:
        """LEAN's name for `ask`."""
        return self.ask

    @property
    def is_sane(self) -> bool:
        """Whether an order may fill against it: finite, positive and not crossed."""
        return 0.0 < self.bid <= self.ask < float("inf")


class Bar(msgspec.Struct, frozen=True, gc=False):
    """Trades of one span: `time` is the START, `span` the length in ns, `volume` in base units."""

    symbol: Symbol
    time: int
    received: int
    span: int
    open: float
    high: float
    low: float
    close: float
    volume: float

    @property
    def end_time(self) -> int:
        """The first nanosecond after the bar; no strategy sees the bar before it."""
        return self.time + self.span

    @property
    def price(self) -> float:
        """The close."""
        return self.close


class Ohlc(msgspec.Struct, frozen=True, gc=False):
    """One side of a quote bar."""

    open: float
    high: float
    low: float
    close: float


class QuoteBar(msgspec.Struct, frozen=True):
    """Best bid and ask over one span; sizes are the last ones seen."""

    symbol: Symbol
    time: int
    received: int
    span: int
    bid: Ohlc
    ask: Ohlc
    bid_size: float
    ask_size: float

    @property
    def end_time(self) -> int:
        """The first nanosecond after the bar."""
        return self.time + self.span

    @property
    def close(self) -> float:
        """The mid at the end of the span."""
        return (self.bid.close + self.ask.close) * 0.5

    @property
    def price(self) -> float:
        """The mid at the end of the span."""
        return self.close


class Gap(msgspec.Struct, frozen=True, gc=False):
    """Data that we know we do not have, between two venue times.

    `symbol` is None when the whole connection was away; `missing` is the number of trades where
    the venue's sequence tells it, and `first` the number of the first of them.
    """

    symbol: Symbol | None
    start: int
    end: int
    received: int
    reason: str
    missing: int | None = None
    first: int | None = None

    @property
    def numbers(self) -> range:
        """The numbers of the trades that are missing; empty where the venue has none."""
        if self.first is None or self.missing is None:
            return range(0)
        return range(self.first, self.first + self.missing)


class Status(msgspec.Struct, frozen=True, gc=False):
    """A change in the state of a feed."""

    feed: str
    state: FeedState
    received: int
    detail: str = ""


class Malformed(msgspec.Struct, frozen=True, gc=False):
    """What the venue sent and we could not read: an event, never an exception.

    `excerpt` holds at most 256 characters of it.
    """

    reason: str
    excerpt: str
    received: int


Tick = Trade | Quote
MarketEvent = Trade | Quote | Bar | QuoteBar
Event = MarketEvent | Gap | Status | Malformed
Batch = Sequence[Event]
EXCERPT_CHARS = 256
