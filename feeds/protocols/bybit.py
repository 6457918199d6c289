"""Bybit's public streams, version 5: trades and the best quotes, or a book of fifty a side.

Trades have ids without order: a repetition is known, a loss shows only as an outage, after which
the latest trades are asked for over HTTP. A book's
updates are numbered by one; number 1, or a snapshot at any time, means to begin again. On the
first level each message tells the whole of a side that changed, so there no number is needed.
"""

from collections.abc import Sequence
from decimal import Decimal
from functools import partial
from typing import Literal

import msgspec

from feeds.base import Subscription
from feeds.book import Level
from feeds.continuity import Continuity, Mark
from feeds.events import SECOND, Aggressor, Bar, Event, Symbol, Trade
from feeds.numbers import check_ns, check_ohlc, price, size
from feeds.protocols.base import HttpGet, Limits, Options, Rate, VenueSpec
from feeds.protocols.channels import UNREADABLE, ChannelCore
from feeds.protocols.names import Names
from feeds.protocols.recovery import Search, read_tag
from feeds.protocols.requests import Requests
from feeds.symbols import split_pair

PING_EVERY = 20 * SECOND
DEPTH = 50
ID_CHARS = 64
"""Kept of a trade's id; a UUID has 36."""
TRADES, TOP, BOOK, BARS = "publicTrade", "orderbook.1", f"orderbook.{DEPTH}", "kline.1"

_MS = 1_000_000
_PING = '{"op":"ping"}'
_AGGRESSORS = {"Buy": Aggressor.BUYER, "Sell": Aggressor.SELLER}
_encode = msgspec.json.Encoder().encode

Number = float | str


# --- what is on the wire -----------------------------------------------------------------------


class _Head(msgspec.Struct):
    """What tells frames apart."""

    topic: str = ""
    type: str = ""
    ts: int = 0
    cts: int = 0  # when it was matched, where that is told
    data: msgspec.Raw = msgspec.Raw()
    op: str = ""
    success: bool | None = None
    ret_msg: str = ""
    req_id: str = ""


class _Trade(msgspec.Struct):
    T: int
    s: str
    S: str
    v: Number
    p: Number
    i: str


class _Level(msgspec.Struct, array_like=True, gc=False):
    price: Decimal
    size: Decimal


class _Book(msgspec.Struct):
    s: str
    b: list[_Level]
    a: list[_Level]
    u: int


class _Candle(msgspec.Struct):
    start: int
    end: int
    open: Number
    high: Number
    low: Number
    close: Number
    volume: Number
    confirm: bool


class _Recent(msgspec.Struct, rename="camel"):
    """A trade in an answer over HTTP."""

    exec_id: str
    price: Number
    size: Number
    side: str
    time: int


class _RecentList(msgspec.Struct):
    list: list[_Recent]


class _RecentAnswer(msgspec.Struct, rename="camel"):
    ret_code: int
    result: msgspec.Raw = msgspec.Raw()
    ret_msg: str = ""


_head = msgspec.json.Decoder(_Head)
_answer = msgspec.json.Decoder(_RecentAnswer)
_recent = msgspec.json.Decoder(_RecentList, strict=False)
_trades = msgspec.json.Decoder(list[_Trade])
_book = msgspec.json.Decoder(_Book)
_candles = msgspec.json.Decoder(list[_Candle])

Market = Literal["spot", "linear"]
PAGES: dict[Market, int] = {"spot": 60, "linear": 1_000}
"""The latest trades that are to be had over HTTP."""


class BybitProtocol(ChannelCore):
    """One connection to Bybit.

    Args:
        subscriptions: the symbols, "BTC/USDT"; none for recordings.
        options: what else is wanted.
        continuity: shared with other connections of the feed.
        market: "spot", or "linear" for perpetuals settled in dollars.
    """

    batch = 10  # topics that spot takes in one request

    def __init__(
        self,
        subscriptions: Sequence[Subscription] = (),
        options: Options = Options(),  # noqa: B008 - frozen
        continuity: Continuity | None = None,
        *,
        market: Market = "spot",
    ) -> None:
        self.path = f"/v5/public/{market}"
        self._market = market
        self.book_channel = BOOK if options.book else TOP
        channels = [TRADES, self.book_channel, *[BARS] * options.bars]
        names = Names(split_pair, _name)
        super().__init__("bybit", channels, subscriptions, continuity, names, DEPTH)
        self._requested = Requests()
        self._ping_at: int | None = None

    # --- what we send --------------------------------------------------------------------------

    def restart(self) -> None:
        """Forget the connection that was: every symbol is to be asked for again."""
        super().restart()
        self._requested.clear()
        self._ping_at = None

    def connected(self, now: int) -> None:
        """Queue the subscriptions, and begin to ping."""
        super().connected(now)
        self._ping_at = now + PING_EVERY

    def next_wake(self) -> int | None:
        """Return when the next ping is due."""
        return self._ping_at

    def tick(self, now: int) -> list[Event]:
        """Queue a ping when it is due."""
        if self._ping_at is not None and now >= self._ping_at:
            self.send(_PING)
            self._ping_at = now + PING_EVERY
        return []

    def request(self, method: str, channel: str, symbols: Sequence[Symbol]) -> None:
        """Queue the frame that subscribes these symbols to a channel, or unsubscribes them."""
        asked = self._requested
        number = asked.add(channel, symbols) if method == "subscribe" else asked.number()
        topics = [f"{channel}.{_name(symbol)}" for symbol in symbols]
        self.send(_encode({"op": method, "req_id": str(number), "args": topics}).decode())

    # --- frames --------------------------------------------------------------------------------

    def receive(self, data: bytes | str, received: int) -> list[Event]:
        """Take one frame and return what it says, in the venue's order; never raises on input."""
        try:
            frame = data.encode() if isinstance(data, str) else data
            head = _head.decode(frame)
            if not head.topic:
                return self._on_answer(head)
            channel, _, name = head.topic.rpartition(".")
            match channel:
                case "publicTrade":
                    return self._on_trades(head, frame, received)
                case "kline.1":
                    return self._on_candles(name, head, frame, received)
                case "orderbook.1" | "orderbook.50":
                    return self._on_book(channel, head, received)
            return self.ignore(head.topic.partition(".")[0])
        except UNREADABLE as error:
            return self.unreadable(error, data, received)

    def _on_trades(self, head: _Head, frame: bytes, received: int) -> list[Event]:
        events: list[Event] = []
        kind = "no trade"
        for row in _trades.decode(head.data):
            try:
                symbol = self.names.find(row.s)
                if symbol is None:
                    kind = "symbol not asked for"
                    continue
                by = _AGGRESSORS.get(row.S, Aggressor.UNKNOWN)
                time, numbers = check_ns(row.T * _MS), (price(row.p), size(row.v))
            except ValueError as error:
                events += self.unreadable(error, frame, received)
                continue
            if self.continuity.admit_once(symbol, row.i[:ID_CHARS], time):
                events.append(Trade(symbol, time, received, *numbers, row.i[:ID_CHARS], by))
            else:
                kind = "duplicate"
        return self.outcome(events, kind)

    def _on_book(self, channel: str, head: _Head, received: int) -> list[Event]:
        it = _book.decode(head.data)
        symbol = self.names.find(it.s)
        if symbol is None or channel != self.book_channel:
            return self.ignore("book not asked for")
        time = check_ns((head.cts or head.ts) * _MS)
        book = self.books.of(symbol, 1 if channel == TOP else DEPTH)
        bids = [(level.price, level.size) for level in it.b]
        asks = [(level.price, level.size) for level in it.a]
        is_update = head.type == "delta" and it.u != 1
        if not is_update:
            book.snapshot(bids, asks, it.u, is_whole=True)
        elif not book.is_valid:
            return self.ignore("book update without a snapshot")
        elif channel == TOP:
            if book.sequence is not None and it.u < book.sequence:
                return self.ignore("book update of the past")
            book.snapshot(_side(book.bids(1), bids), _side(book.asks(1), asks), it.u)
        elif book.update(bids, asks, it.u, None if it.u == book.sequence else it.u - 1):
            self.checks += 1
        return self.outcome(self.books.settle(book, time, received, mended=is_update), "book")

    def _on_candles(self, name: str, head: _Head, frame: bytes, received: int) -> list[Event]:
        events: list[Event] = []
        symbol = self.names.find(name)
        if symbol is None:
            return self.ignore("symbol not asked for")
        for row in _candles.decode(head.data):
            if not row.confirm:
                continue
            try:
                prices = price(row.open), price(row.high), price(row.low), price(row.close)
                check_ohlc(*prices)
                start = check_ns(row.start * _MS)
                span = check_ns(row.end * _MS + _MS) - start  # `end` is its last millisecond
                if span <= 0:
                    raise ValueError(f"a bar from {row.start} to {row.end} ends before it starts")
                events.append(Bar(symbol, start, received, span, *prices, size(row.volume)))
            except ValueError as error:
                events += self.unreadable(error, frame, received)
        return self.outcome(events, "kline unfinished")

    # --- back-fill -----------------------------------------------------------------------------

    def recover(self, symbol: Symbol, last: Mark, now: int) -> HttpGet | None:
        """Return the request for the latest trades: a page, and there is no other."""
        query = f"category={self._market}&symbol={_name(symbol)}&limit={PAGES[self._market]}"
        return HttpGet(f"/v5/market/recent-trade?{query}", Search(symbol, last).tag, symbol)

    def http_response(self, tag: str, status: int, body: bytes, received: int) -> list[Event]:
        """Take the latest trades."""
        search = read_tag(tag)
        try:
            answer = _answer.decode(body) if status == 200 else None
            if answer is None or answer.ret_code:
                words = answer.ret_msg if answer else f"HTTP status {status}"
                return self.give_up(search, received, words)
            rows = _recent.decode(answer.result).list
            page = [_recent_trade(row, search.symbol, received) for row in rows]
        except UNREADABLE as error:
            return self.misread(search, error, body, received)
        events, _ = self.recovery.take(search, page, received, has_more=False)
        return self.outcome(events, "history without news")

    # --- answers -------------------------------------------------------------------------------

    def _on_answer(self, head: _Head) -> list[Event]:
        if head.op == "subscribe":
            return self._on_subscribed(head)
        if head.success is False:
            self.fault = f"Bybit said: {head.ret_msg[:200]}"
            return self.ignore("error")
        return self.ignore(head.ret_msg if head.ret_msg == "pong" else head.op or "answer")

    def _on_subscribed(self, head: _Head) -> list[Event]:
        """Answers are for a request; one that names none is for the oldest without an answer."""
        channel, symbols = self._requested.take(head.req_id or self._requested.oldest())
        if head.success or "already" in head.ret_msg:
            return self.accept(channel, symbols)
        if len(symbols) > 1:  # one name that is wrong costs all of them
            for symbol in symbols:
                if symbol in self.symbols:
                    self.request("subscribe", channel, [symbol])
            return self.ignore("refused together")
        return self.reject(symbols, head.ret_msg)


def _side(held: Sequence[Level], changes: Sequence[Level]) -> list[Level]:
    """The best level of a side: what a message says of it, or what it was."""
    alive = [level for level in changes if level[1]]
    gone = [level[0] for level in changes]
    return alive or [level for level in held if level[0] not in gone]


def _recent_trade(row: _Recent, symbol: Symbol, received: int) -> Trade:
    if not 0 < len(row.exec_id) <= ID_CHARS:
        raise ValueError(f"a trade's id of {len(row.exec_id)} characters")
    by = _AGGRESSORS.get(row.side, Aggressor.UNKNOWN)
    time, numbers = check_ns(row.time * _MS), (price(row.price), size(row.size))
    return Trade(symbol, time, received, *numbers, row.exec_id, by)


def _name(symbol: Symbol) -> str:
    return symbol.replace("/", "")


_LIMITS = Limits(symbols=100, messages=Rate(5), connects=Rate(200, 300 * SECOND))

BYBIT = VenueSpec(
    name="bybit",
    url="wss://stream.bybit.com",
    rest_url="https://api.bybit.com",
    limits=_LIMITS,
    make=BybitProtocol,
)
BYBIT_LINEAR = VenueSpec(
    name="bybit-linear",
    url="wss://stream.bybit.com",
    rest_url="https://api.bybit.com",
    limits=_LIMITS,
    make=partial(BybitProtocol, market="linear"),
)
