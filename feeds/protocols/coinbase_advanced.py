"""Coinbase Advanced Trade's WebSocket feed: frames in, events out, subscriptions to send.

All frames of a connection are numbered in one row: a jump means that frames are lost, so that no
book can be believed, and the connection is renewed. Trades come newest first and are put in order;
those of a snapshot fill what was missed and are no news at the first start. A trade's `side` is the
MAKER's, by the venue's documentation.
"""

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal

import msgspec

from feeds.base import Subscription
from feeds.book import BookState
from feeds.continuity import Continuity
from feeds.events import SECOND, Aggressor, Event, Gap, Quote, Symbol, Trade
from feeds.numbers import iso_ns, price, size
from feeds.protocols.base import HttpGet, Limits, Options, Rate, VenueProtocol, VenueSpec
from feeds.protocols.coinbase_base import PAGE, TAKER, CoinbaseCore, Levels, Number, product_of

NAME = "coinbase-advanced"

_encode = msgspec.json.Encoder().encode
_UNREADABLE = (msgspec.DecodeError, ValueError, RecursionError, OverflowError)


class _Head(msgspec.Struct):
    """What tells frames apart."""

    channel: str | None = None
    timestamp: str | None = None
    sequence_num: int | None = None
    events: msgspec.Raw = msgspec.Raw()
    type: str | None = None
    message: str = ""


class _Trade(msgspec.Struct):
    trade_id: int
    product_id: str
    price: Number
    size: Number
    side: str
    time: str


class _Trades(msgspec.Struct):
    type: str
    trades: list[_Trade]


class _Ticker(msgspec.Struct):
    product_id: str
    best_bid: Number
    best_bid_quantity: Number
    best_ask: Number
    best_ask_quantity: Number


class _Tickers(msgspec.Struct):
    tickers: list[_Ticker]


class _Level(msgspec.Struct):
    side: str
    price_level: Decimal
    new_quantity: Decimal


class _Changes(msgspec.Struct):
    type: str
    product_id: str
    updates: list[_Level]


class _Heartbeat(msgspec.Struct):
    heartbeat_counter: int


class _Subscribed(msgspec.Struct):
    subscriptions: dict[str, list[str]]


class _History(msgspec.Struct):
    trades: list[_Trade]


_head = msgspec.json.Decoder(_Head, strict=False).decode
_trades = msgspec.json.Decoder(list[_Trades], strict=False).decode
_tickers = msgspec.json.Decoder(list[_Tickers], strict=False).decode
_changes = msgspec.json.Decoder(list[_Changes], strict=False).decode
_heartbeats = msgspec.json.Decoder(list[_Heartbeat], strict=False).decode
_subscribed = msgspec.json.Decoder(list[_Subscribed], strict=False).decode
_history = msgspec.json.Decoder(_History, strict=False).decode


class CoinbaseAdvancedProtocol(CoinbaseCore):
    """One connection's protocol; without subscriptions it reads whatever comes, as of a capture."""

    def __init__(
        self,
        subscriptions: Iterable[Subscription] = (),
        options: Options = Options(),  # noqa: B008 - frozen
        continuity: Continuity | None = None,
    ) -> None:
        super().__init__(NAME, subscriptions, continuity)
        self._channels = ["market_trades", "level2" if options.book else "ticker"]
        self._sequence: int | None = None
        self._beat: int | None = None
        self._read: dict[str, Callable[[_Head, int], list[Event]]] = {
            "market_trades": self._on_trades,
            "ticker": self._on_tickers,
            "heartbeats": self._on_heartbeat,
            "subscriptions": self._on_subscribed,
        }
        if options.book:
            self._read["l2_data"] = self._on_changes

    def restart(self) -> None:
        """Forget the connection that was; counts and continuity stay."""
        super().restart()
        self._sequence = self._beat = None

    def connected(self, now: int) -> None:
        """Queue the subscriptions; without heartbeats the venue closes what is quiet."""
        if self.symbols:
            self.send(_encode({"type": "subscribe", "channel": "heartbeats"}).decode())
            self._unanswered += 1
        super().connected(now)

    def send_channels(
        self, method: str, products: Sequence[str], *, only_book: bool = False
    ) -> int:
        """Queue one frame for each channel."""
        channels = ["level2"] if only_book else self._channels
        for channel in channels:
            frame = {"type": method, "product_ids": list(products), "channel": channel}
            self.send(_encode(frame).decode())
        return len(channels)

    def receive(self, data: bytes | str, received: int) -> list[Event]:
        """Take one frame and return what it says, in the venue's order; never raises on input."""
        lost: list[Event] = []
        kind = "l2_data"  # what cannot be read at all may have been a change of a book
        try:
            head = _head(data.encode() if isinstance(data, str) else data)
            if head.sequence_num is not None:
                if head.sequence_num == self._sequence:
                    return self.ignore("repeated frame")
                lost = self._follow(head.sequence_num, received)
            if head.channel is None and head.type == "error":
                return self.failed(head.message)
            kind = head.channel or "unknown"
            read = self._read.get(kind)
            events = [] if read is None else read(head, received)
            return self.outcome(lost + events, kind)
        except _UNREADABLE as error:
            if kind == "l2_data":  # and whose book it was, cannot be told
                lost += self._lose(received)
            return self.unreadable(error, data, received) + lost

    def _follow(self, number: int, received: int) -> list[Event]:
        """Take the number of a frame; where some are missing, give up the books and the line."""
        latest, self._sequence = self._sequence, number
        if latest is None or number == latest + 1:
            return []
        self.fault = f"frames were lost: number {number} came after {latest}"
        return self._lose(received)

    def _lose(self, received: int) -> list[Event]:
        events: list[Event] = []
        for book in list(self._books):
            if book.is_valid:
                book.invalidate("a frame was lost")
                events += self._books.settle(book, received, received, mended=False)
        return events

    # --- trades --------------------------------------------------------------------------------

    def _on_trades(self, head: _Head, received: int) -> list[Event]:
        news: list[tuple[bool, dict[Symbol, list[Trade]]]] = []
        for part in _trades(head.events):  # all is read before any of it is admitted
            by_symbol: dict[Symbol, list[Trade]] = {}
            for row in part.trades:
                symbol = self._names.find(row.product_id)
                if symbol is not None:
                    by_symbol.setdefault(symbol, []).append(_trade(row, symbol, received))
            news.append((part.type == "snapshot", by_symbol))
        events: list[Event] = []
        for is_snapshot, by_symbol in news:
            for symbol, trades in by_symbol.items():
                trades.sort(key=_number)
                latest = trades[-1]
                if is_snapshot:  # what lies between the latest we had and this is missing
                    gap = self.continuity.prime(symbol, _number(latest), latest.time, received)
                    events += [] if gap is None else [gap]
                for trade in trades:
                    events += self.admit(trade)
        return events

    def backfill(self, gap: Gap) -> HttpGet | None:
        """Return the request for the trades of a gap, which go by their times here."""
        if gap.symbol is None or not gap.numbers:
            return None
        span = gap.start // SECOND, gap.end // SECOND + 1
        return self._history(gap.symbol, gap.numbers[0], gap.numbers[-1], *span)

    def _history(self, symbol: Symbol, first: int, last: int, start: int, end: int) -> HttpGet:
        """Return the request for the latest page of trades between two seconds."""
        product = product_of(symbol)
        path = f"/api/v3/brokerage/market/products/{product}/ticker?limit={PAGE}"
        tag = f"trades:{product}:{first}:{last}:{start}:{end}"
        return HttpGet(f"{path}&start={start}&end={end}", tag, symbol)

    def http_response(self, tag: str, status: int, body: bytes, received: int) -> list[Event]:
        """Take a page of trades; where older ones are missing, ask for the page before.

        A page begins anywhere within a second, so the one before ends with that second. More than
        a page of trades in one second are not to be had, and stay a gap.
        """
        product, numbers = tag.split(":")[1], tag.split(":")[2:]
        first, last, start, end = map(int, numbers)
        try:
            symbol = self._names.find(product)
            if status != 200 or symbol is None:
                return self.ignore("no history")
            trades = [_trade(row, symbol, received) for row in _history(body).trades]
        except _UNREADABLE as error:
            return self.unreadable(error, body, received)
        events = self.admit_history(trades, first, last)
        oldest = min(trades, key=_number, default=None)
        if oldest is not None and _number(oldest) > first:
            before = oldest.time // SECOND + 1
            if start < before < end:
                self.ask(self._history(symbol, first, last, start, before))
        return self.outcome(events, "history without news")

    # --- quotes and books ----------------------------------------------------------------------

    def _on_tickers(self, head: _Head, received: int) -> list[Event]:
        time = received if head.timestamp is None else iso_ns(head.timestamp)
        quotes: list[Event] = []
        for part in _tickers(head.events):
            for it in part.tickers:
                symbol = self._names.find(it.product_id)
                if symbol is not None:
                    bid, ask = price(it.best_bid), price(it.best_ask)
                    sizes = size(it.best_bid_quantity), size(it.best_ask_quantity)
                    quotes.append(Quote(symbol, time, received, bid, sizes[0], ask, sizes[1]))
        return quotes

    def _on_changes(self, head: _Head, received: int) -> list[Event]:
        time = received if head.timestamp is None else iso_ns(head.timestamp)
        events: list[Event] = []
        for part in _changes(head.events):
            symbol = self._names.find(part.product_id)
            if symbol is None:
                continue
            bids: Levels = []
            asks: Levels = []
            for level in part.updates:
                if level.side not in {"bid", "offer"}:
                    raise ValueError(f"a change of the side {level.side[:40]!r}")
                side = bids if level.side == "bid" else asks
                side.append((level.price_level, level.new_quantity))
            book = self._books.of(symbol)
            is_snapshot = part.type == "snapshot"
            if is_snapshot:
                book.snapshot(bids, asks, is_whole=True)
            elif book.state is not BookState.EMPTY:
                book.update(bids, asks)
            events += self._books.settle(book, time, received, mended=not is_snapshot)
        return events

    # --- control -------------------------------------------------------------------------------

    def _on_heartbeat(self, head: _Head, received: int) -> list[Event]:
        for beat in _heartbeats(head.events):
            latest, self._beat = self._beat, beat.heartbeat_counter
            if latest is not None and self._beat > latest + 1:
                self.fault = f"heartbeats were lost: {self._beat} came after {latest}"
        return []

    def _on_subscribed(self, head: _Head, received: int) -> list[Event]:
        served: set[str] = set()
        for part in _subscribed(head.events):
            served.update(part.subscriptions.get("market_trades", ()))
        self.answered(served)
        return []


def _number(trade: Trade) -> int:
    return int(trade.trade_id)


def _trade(it: _Trade, symbol: Symbol, received: int) -> Trade:
    return Trade(
        symbol,
        iso_ns(it.time),
        received,
        price(it.price),
        size(it.size),
        str(it.trade_id),
        TAKER.get(it.side.lower(), Aggressor.UNKNOWN),
    )


def _make(
    subscriptions: Sequence[Subscription], options: Options, continuity: Continuity
) -> VenueProtocol:
    return CoinbaseAdvancedProtocol(subscriptions, options, continuity)


COINBASE_ADVANCED = VenueSpec(
    name=NAME,
    url="wss://advanced-trade-ws.coinbase.com",
    rest_url="https://api.coinbase.com",
    limits=Limits(
        symbols=100,
        messages=Rate(4),  # of 8
        connects=Rate(4),  # of 8
        requests=Rate(5),
        max_frame=16 << 20,  # the snapshot of a large book
        quiet=5 * SECOND,
        heartbeat=5 * SECOND,  # one a second comes
    ),
    make=_make,
)
