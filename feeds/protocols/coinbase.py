"""Coinbase Exchange's WebSocket feed: frames in, events out, subscriptions to send; no socket.

A match is a trade, whose `side` is the MAKER's; `last_match` is a point to catch up from and never
a trade; a ticker repeats a match and gives only its quote. Trade numbers rise by one per product.
The level2 book has no sequence: what cannot be read of it makes it invalid; it is asked for anew.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal

import msgspec

from feeds.base import Subscription
from feeds.book import BookState
from feeds.continuity import Continuity
from feeds.events import SECOND, Aggressor, Event, Gap, Quote, Symbol, Trade
from feeds.numbers import iso_ns, price, size
from feeds.protocols.base import HttpGet, Limits, Options, Rate, VenueProtocol, VenueSpec
from feeds.protocols.coinbase_base import PAGE, TAKER, CoinbaseCore, Levels, Number, product_of

NAME = "coinbase"

_encode = msgspec.json.Encoder().encode
_UNREADABLE = (msgspec.DecodeError, ValueError, RecursionError, OverflowError)


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


class _Snapshot(msgspec.Struct):
    product_id: str
    bids: Levels
    asks: Levels
    time: str | None = None


class _Update(msgspec.Struct):
    product_id: str
    changes: list[tuple[str, Decimal, Decimal]]
    time: str


class _Product(msgspec.Struct):
    product_id: str


class _Channel(msgspec.Struct):
    name: str
    product_ids: list[str] = []


class _Subscriptions(msgspec.Struct):
    channels: list[_Channel]


class _Error(msgspec.Struct):
    message: str = ""
    reason: str = ""


class _HistoryTrade(msgspec.Struct):
    trade_id: int
    side: str
    size: Number
    price: Number
    time: str


_head = msgspec.json.Decoder(_Head)
_match = msgspec.json.Decoder(_Match, strict=False)
_ticker = msgspec.json.Decoder(_Ticker, strict=False)
_snapshot = msgspec.json.Decoder(_Snapshot, strict=False)
_update = msgspec.json.Decoder(_Update, strict=False)
_product = msgspec.json.Decoder(_Product)
_subscriptions = msgspec.json.Decoder(_Subscriptions)
_error = msgspec.json.Decoder(_Error)
_history = msgspec.json.Decoder(list[_HistoryTrade], strict=False)


class CoinbaseProtocol(CoinbaseCore):
    """One connection's protocol; without subscriptions it reads whatever comes, as of a capture."""

    def __init__(
        self,
        subscriptions: Iterable[Subscription] = (),
        options: Options = Options(),  # noqa: B008 - frozen
        continuity: Continuity | None = None,
    ) -> None:
        super().__init__(NAME, subscriptions, continuity)
        self._has_book = options.book
        self._book_channel = "level2_batch"  # level2 itself needs a login
        quotes = self._book_channel if options.book else "ticker"
        self._channels = ["matches", "heartbeat", quotes]

    def send_channels(
        self, method: str, products: Sequence[str], *, only_book: bool = False
    ) -> int:
        """Queue one frame for all channels."""
        channels = [self._book_channel] if only_book else self._channels
        frame = {"type": method, "product_ids": list(products), "channels": channels}
        self.send(_encode(frame).decode())
        return 1

    def receive(self, data: bytes | str, received: int) -> list[Event]:
        """Take one frame and return what it says, in the venue's order; never raises on input."""
        kind = ""
        frame = b""
        try:
            frame = data.encode() if isinstance(data, str) else data
            kind = _head.decode(frame).type
            match kind:
                case "match":
                    return self._on_match(_match.decode(frame), received)
                case "l2update" if self._has_book:
                    return self._on_update(_update.decode(frame), received)
                case "ticker":
                    return self._on_ticker(_ticker.decode(frame), received)
                case "snapshot" if self._has_book:
                    return self._on_snapshot(_snapshot.decode(frame), received)
                case "last_match":
                    return self._on_last_match(_match.decode(frame), received)
                case "subscriptions":
                    return self._on_subscriptions(_subscriptions.decode(frame))
                case "error":
                    error = _error.decode(frame)
                    return self.failed(": ".join(filter(None, (error.message, error.reason))))
                case _:
                    return self.ignore(kind)
        except _UNREADABLE as error:
            events = self.unreadable(error, data, received)
            if self._has_book and kind in {"snapshot", "l2update"}:
                events += self._lose(frame, received)
            return events

    # --- trades --------------------------------------------------------------------------------

    def _on_match(self, it: _Match, received: int) -> list[Event]:
        symbol = self._names.find(it.product_id)
        if symbol is None:
            return self.ignore("product not asked for")
        return self.admit(_trade(it, symbol, received)) or self.ignore("duplicate")

    def _on_last_match(self, it: _Match, received: int) -> list[Event]:
        symbol = self._names.find(it.product_id)
        if symbol is None:
            return self.ignore("product not asked for")
        gap = self.continuity.prime(symbol, it.trade_id, iso_ns(it.time), received)
        return self.outcome([] if gap is None else [gap], "last_match")

    def backfill(self, gap: Gap) -> HttpGet | None:
        """Return the request for the trades of a gap."""
        if gap.symbol is None or not gap.numbers:
            return None
        return self._history(gap.symbol, gap.numbers[0], gap.numbers[-1])

    def _history(self, symbol: Symbol, first: int, last: int) -> HttpGet:
        """Return the request for the trades `first` to `last`, or the newest page of them."""
        product = product_of(symbol)
        path = f"/products/{product}/trades?limit={PAGE}&after={last + 1}"
        return HttpGet(path, f"trades:{product}:{first}:{last}", symbol)

    def http_response(self, tag: str, status: int, body: bytes, received: int) -> list[Event]:
        """Take a page of trades; where older ones are missing, ask for the page before."""
        _, product, begin, end = tag.split(":")
        first, last = int(begin), int(end)
        try:
            symbol = self._names.find(product)
            if status != 200 or symbol is None:
                return self.ignore("no history")
            rows = _history.decode(body)
            trades = [_trade(row, symbol, received) for row in rows]
        except _UNREADABLE as error:
            return self.unreadable(error, body, received)
        events = self.admit_history(trades, first, last)
        oldest = min((row.trade_id for row in rows), default=0)
        if first < oldest <= last:
            self.ask(self._history(symbol, first, oldest - 1))
        return self.outcome(events, "history without news")

    # --- quotes and books ----------------------------------------------------------------------

    def _on_ticker(self, it: _Ticker, received: int) -> list[Event]:
        symbol = self._names.find(it.product_id)
        if symbol is None:
            return self.ignore("product not asked for")
        bid, ask = price(it.best_bid), price(it.best_ask)
        sizes = size(it.best_bid_size), size(it.best_ask_size)
        return [Quote(symbol, iso_ns(it.time), received, bid, sizes[0], ask, sizes[1])]

    def _on_snapshot(self, it: _Snapshot, received: int) -> list[Event]:
        symbol = self._names.find(it.product_id)
        if symbol is None:
            return self.ignore("product not asked for")
        time = received if it.time is None else iso_ns(it.time)
        book = self._books.of(symbol)
        book.snapshot(it.bids, it.asks, is_whole=True)
        events = self._books.settle(book, time, received, mended=False)
        return self.outcome(events, "snapshot")

    def _on_update(self, it: _Update, received: int) -> list[Event]:
        symbol = self._names.find(it.product_id)
        if symbol is None:
            return self.ignore("product not asked for")
        book = self._books.of(symbol)
        if book.state is BookState.EMPTY:
            return self.ignore("l2update before its snapshot")
        bids: Levels = []
        asks: Levels = []
        for side, level, amount in it.changes:
            if side not in TAKER:
                raise ValueError(f"a change of the side {side[:40]!r}")
            (bids if side == "buy" else asks).append((level, amount))
        time = iso_ns(it.time)
        book.update(bids, asks)
        return self.outcome(self._books.settle(book, time, received, mended=True), "l2update")

    def _lose(self, frame: bytes, received: int) -> list[Event]:
        """Give up the book whose change could not be read; all of them, where it names none."""
        try:
            symbol = self._names.find(_product.decode(frame).product_id)
            books = [] if symbol is None else [self._books.of(symbol)]
        except _UNREADABLE:
            books = list(self._books)
        events: list[Event] = []
        for book in books:
            if book.is_valid:
                book.invalidate("a change could not be read")
                events += self._books.settle(book, received, received, mended=False)
        return events

    # --- control -------------------------------------------------------------------------------

    def _on_subscriptions(self, it: _Subscriptions) -> list[Event]:
        trades = [channel.product_ids for channel in it.channels if channel.name == "matches"]
        self.answered(set(trades[0]) if trades else ())
        return self.ignore("subscriptions")


def _trade(it: _Match | _HistoryTrade, symbol: Symbol, received: int) -> Trade:
    return Trade(
        symbol,
        iso_ns(it.time),
        received,
        price(it.price),
        size(it.size),
        str(it.trade_id),
        TAKER.get(it.side, Aggressor.UNKNOWN),
    )


def _make(
    subscriptions: Sequence[Subscription], options: Options, continuity: Continuity
) -> VenueProtocol:
    return CoinbaseProtocol(subscriptions, options, continuity)


COINBASE = VenueSpec(
    name=NAME,
    url="wss://ws-feed.exchange.coinbase.com",
    rest_url="https://api.exchange.coinbase.com",
    limits=Limits(
        symbols=100,
        messages=Rate(20),  # of 100
        connects=Rate(4),  # of 8
        requests=Rate(5),  # of 10
        max_frame=16 << 20,  # the snapshot of a large book
        quiet=5 * SECOND,
        heartbeat=5 * SECOND,  # one a second comes of each product
    ),
    make=_make,
)
