"""OKX's public channels, version 5: trades and the best quotes, or a book of 400 a side.

Trades come joined by taker and price, under the number of the last: a repetition is known, a loss
shows only as an outage, after which history is asked for over HTTP. Each change of a book names the
number that it follows, which may go down when the venue starts counting again. Its checksum is
checked where there is one: since June 2026 it is zero. An application's ping is the word "ping".
"""

import re
from collections.abc import Sequence
from decimal import Decimal
from zlib import crc32

import msgspec

from feeds.base import Subscription
from feeds.book import Book, Level
from feeds.continuity import Continuity, Mark
from feeds.events import SECOND, Aggressor, Event, Quote, Symbol, Trade
from feeds.numbers import exact_ns, price, size
from feeds.protocols.base import HttpGet, Limits, Options, Rate, VenueSpec
from feeds.protocols.channels import UNREADABLE, ChannelCore
from feeds.protocols.names import Names
from feeds.protocols.recovery import Search, read_tag
from feeds.protocols.requests import Requests
from feeds.symbols import split_pair

NAME = "okx"
PING_EVERY = 20 * SECOND
DEPTH = 400
PROVEN = 25
"""Levels a side that the checksum covers."""
ID_CHARS = 32
JOINED_AT_MOST = 500
"""Trades of one taker at one price whose ids are remembered."""
LATEST, PAGE = 500, 100
"""Trades in an answer over HTTP: of the latest, and of a page of older ones."""
TRADES, TOP, BOOK = "trades", "bbo-tbt", "books"

TOO_OFTEN = {"60014", "64007"}
"""Errors of the moment, which another connection may not meet."""
_NAMED = re.compile(r"instId:([A-Za-z0-9-]+)")
_AGGRESSORS = {"buy": Aggressor.BUYER, "sell": Aggressor.SELLER}
_encode = msgspec.json.Encoder().encode

Number = float | str


# --- what is on the wire -----------------------------------------------------------------------


class _Arg(msgspec.Struct, frozen=True, rename="camel"):
    channel: str = ""
    inst_id: str = ""


class _Head(msgspec.Struct):
    """What tells frames apart."""

    arg: _Arg = _Arg()
    action: str = ""
    data: msgspec.Raw = msgspec.Raw()
    event: str = ""
    code: str = ""
    msg: str = ""
    id: str = ""


class _Trade(msgspec.Struct, rename="camel"):
    trade_id: str
    px: Number
    sz: Number
    side: str
    ts: str
    count: str = "1"


class _Level(msgspec.Struct, array_like=True, gc=False):
    price: Decimal
    size: Decimal


class _Top(msgspec.Struct):
    asks: list[_Level]
    bids: list[_Level]
    ts: str


class _Book(msgspec.Struct, rename="camel"):
    asks: list[_Level]
    bids: list[_Level]
    ts: str
    seq_id: int
    prev_seq_id: int
    checksum: int = 0


class _History(msgspec.Struct):
    code: str
    data: list[_Trade] = []
    msg: str = ""


_head = msgspec.json.Decoder(_Head)
_history = msgspec.json.Decoder(_History)
_trades = msgspec.json.Decoder(list[_Trade])
_tops = msgspec.json.Decoder(list[_Top])
_books = msgspec.json.Decoder(list[_Book])


class OkxProtocol(ChannelCore):
    """One connection to OKX."""

    path = "/ws/v5/public"

    def __init__(
        self,
        subscriptions: Sequence[Subscription] = (),
        options: Options = Options(),  # noqa: B008 - frozen
        continuity: Continuity | None = None,
    ) -> None:
        self.book_channel = BOOK
        channels = [TRADES, BOOK if options.book else TOP]
        names = Names(split_pair, _name)
        super().__init__(NAME, channels, subscriptions, continuity, names, DEPTH)
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
            self.send("ping")
            self._ping_at = now + PING_EVERY
        return []

    def request(self, method: str, channel: str, symbols: Sequence[Symbol]) -> None:
        """Queue the frame that subscribes these symbols to a channel, or unsubscribes them."""
        asked = self._requested
        number = asked.add(channel, symbols) if method == "subscribe" else asked.number()
        topics = [{"channel": channel, "instId": _name(symbol)} for symbol in symbols]
        self.send(_encode({"id": str(number), "op": method, "args": topics}).decode())

    # --- frames --------------------------------------------------------------------------------

    def receive(self, data: bytes | str, received: int) -> list[Event]:
        """Take one frame and return what it says, in the venue's order; never raises on input."""
        try:
            frame = data.encode() if isinstance(data, str) else data
            if frame == b"pong":
                return self.ignore("pong")
            head = _head.decode(frame)
            if head.event or not head.arg.channel:
                return self._on_event(head)
            channel = head.arg.channel
            if channel not in {TRADES, TOP, BOOK}:
                return self.ignore(channel)
            symbol = self.names.find(head.arg.inst_id)
            if symbol is None:
                return self.ignore("symbol not asked for")
            if channel == TRADES:
                return self._on_trades(symbol, head, frame, received)
            if channel == TOP:
                return self._on_tops(symbol, head, received)
            return self._on_books(symbol, head, frame, received)
        except UNREADABLE as error:
            return self.unreadable(error, data, received)

    def _on_trades(self, symbol: Symbol, head: _Head, frame: bytes, received: int) -> list[Event]:
        events: list[Event] = []
        for row in _trades.decode(head.data):
            try:
                trade = _trade(row, symbol, received)
            except ValueError as error:
                events += self.unreadable(error, frame, received)
                continue
            if self.continuity.admit_once(symbol, row.trade_id, trade.time):
                self.continuity.cover(symbol, _joined(row))
                events.append(trade)
        return self.outcome(events, "duplicate")

    def _on_tops(self, symbol: Symbol, head: _Head, received: int) -> list[Event]:
        events: list[Event] = []
        for row in _tops.decode(head.data):
            if not row.bids or not row.asks:
                continue
            (bid, bid_size), (ask, ask_size) = (
                (price(str(level.price)), size(str(level.size)))
                for level in (row.bids[0], row.asks[0])
            )
            time = exact_ns(row.ts, "ms")
            events.append(Quote(symbol, time, received, bid, bid_size, ask, ask_size))
        return self.outcome(events, "one-sided quote")

    def _on_books(self, symbol: Symbol, head: _Head, frame: bytes, received: int) -> list[Event]:
        events: list[Event] = []
        kind = "book"
        for row in _books.decode(head.data):
            try:
                time = exact_ns(row.ts, "ms")
            except ValueError as error:
                events += self.unreadable(error, frame, received)
                continue
            book = self.books.of(symbol)
            is_update = head.action != "snapshot"
            if is_update and not book.is_valid:
                kind = "book update without a snapshot"
                continue
            bids = [(level.price, level.size) for level in row.bids]
            asks = [(level.price, level.size) for level in row.asks]
            if is_update:
                good = book.update(bids, asks, row.seq_id, row.prev_seq_id)
            else:
                good = book.snapshot(bids, asks, row.seq_id)
            if good:
                self._check(book, row.checksum)
            events += self.books.settle(book, time, received, mended=is_update)
        return self.outcome(events, kind)

    def _check(self, book: Book, told: int) -> None:
        found = checksum(book.bids(PROVEN), book.asks(PROVEN)) if told else 0
        if found == told:
            self.checks += 1
        else:
            book.invalidate(f"its checksum is {found}, OKX's {told}")

    # --- back-fill -----------------------------------------------------------------------------

    def recover(self, symbol: Symbol, last: Mark, now: int) -> HttpGet | None:
        """Return the request for the latest trades; what is older follows page by page."""
        path = f"/api/v5/market/trades?instId={_name(symbol)}&limit={LATEST}"
        return HttpGet(path, Search(symbol, last).tag, symbol)

    def http_response(self, tag: str, status: int, body: bytes, received: int) -> list[Event]:
        """Take a page of trades, and ask for the one before while the last we had is not in it."""
        search = read_tag(tag)
        try:
            answer = _history.decode(body) if status == 200 else None
            if answer is None or answer.code != "0":
                words = answer.msg if answer else f"HTTP status {status}"
                return self.give_up(search, received, words)
            page = [_trade(row, search.symbol, received) for row in answer.data]
        except UNREADABLE as error:
            return self.misread(search, error, body, received)
        events, oldest = self.recovery.take(search, page, received, has_more=True)
        if oldest is not None:
            query = f"instId={_name(search.symbol)}&type=1&after={oldest.trade_id}&limit={PAGE}"
            self.ask(HttpGet(f"/api/v5/market/history-trades?{query}", tag, search.symbol))
        return self.outcome(events, "history without news")

    # --- answers -------------------------------------------------------------------------------

    def _on_event(self, head: _Head) -> list[Event]:
        match head.event:
            case "subscribe":
                symbol = self.names.find(head.arg.inst_id)
                return self.accept(head.arg.channel, [] if symbol is None else [symbol])
            case "error":
                return self._on_error(head)
            case "notice" | "channel-conn-count-error":
                # 64008: the connection will be closed within a minute, for an upgrade
                words = head.msg or "too many connections for a channel"
                self.fault = f"OKX said: {words[:200]} ({head.code})"
        return self.ignore(head.event or "unknown")

    def _on_error(self, head: _Head) -> list[Event]:
        """Say who is refused, if that can be told, and ask for the others of the request again."""
        words = f"{head.msg} ({head.code})"
        channel, symbols = self._requested.take(head.id)
        waiting = [symbol for symbol in symbols if channel in self._awaited.get(symbol, ())]
        named = {self.names.find(name[:32]) for name in _NAMED.findall(head.msg)}
        refused = waiting if len(waiting) == 1 else [s for s in waiting if s in named]
        if head.code in TOO_OFTEN or not symbols:
            return self.reject([], words)
        others = [symbol for symbol in waiting if symbol not in refused]
        if not waiting:
            return self.ignore("refused")
        if refused and others:
            self.request("subscribe", channel, others)
        elif others:
            for symbol in others:
                self.request("subscribe", channel, [symbol])
            return self.ignore("refused together")
        return self.reject(refused, words)


def _trade(row: _Trade, symbol: Symbol, received: int) -> Trade:
    if not 0 < len(row.trade_id) <= ID_CHARS:
        raise ValueError(f"a trade's id of {len(row.trade_id)} characters")
    by = _AGGRESSORS.get(row.side, Aggressor.UNKNOWN)
    time, numbers = exact_ns(row.ts, "ms"), (price(row.px), size(row.sz))
    return Trade(symbol, time, received, *numbers, row.trade_id, by)


def _joined(row: _Trade) -> list[str]:
    """The ids before its own that a trade was joined of: history has them one by one."""
    if row.count == "1" or not (row.trade_id.isdecimal() and row.count.isdecimal()):
        return []
    last, count = int(row.trade_id), min(int(row.count), JOINED_AT_MOST)
    return [str(number) for number in range(last - count + 1, last)]


def checksum(bids: Sequence[Level], asks: Sequence[Level]) -> int:
    """The CRC32, as a signed number, of price:size of the best bid, the best ask, the next bid."""
    parts = [
        f"{side[place][0]:f}:{side[place][1]:f}"
        for place in range(max(len(bids), len(asks)))
        for side in (bids, asks)
        if place < len(side)
    ]
    found = crc32(":".join(parts).encode())
    return found - (1 << 32) if found >= 1 << 31 else found


def _name(symbol: Symbol) -> str:
    return symbol.replace("/", "-")


OKX = VenueSpec(
    name=NAME,
    url="wss://ws.okx.com:8443",
    rest_url="https://www.okx.com",
    limits=Limits(
        symbols=200,
        messages=Rate(450, 3600 * SECOND),  # 480 requests an hour and connection
        connects=Rate(2),  # 3 a second and address
    ),
    make=OkxProtocol,
)
