"""Bitstamp's WebSocket feed (v2): frames in, events out, subscriptions to send; no socket.

Each channel of each pair is asked for by itself. Trade ids are of the whole venue, so they tell a
duplicate and never a gap; after an outage history is asked for. Best quotes come from the hundred
best levels, or from a book: a REST snapshot and the changes after it, which have no sequence but
the venue's time in microseconds.
"""

from collections import deque
from collections.abc import Iterable, Sequence

import msgspec

from feeds.base import Subscription
from feeds.book import Book, BookState, Level
from feeds.continuity import Continuity, Mark
from feeds.events import MINUTE, SECOND, Aggressor, Event, Quote, Symbol, Trade
from feeds.numbers import check_ns, price, size
from feeds.protocols.base import HttpGet, Limits, Options, Rate, VenueProtocol, VenueSpec
from feeds.protocols.channels import UNREADABLE, ChannelCore
from feeds.protocols.diffs import Diff, Diffs
from feeds.protocols.names import Names
from feeds.protocols.recovery import Search, read_tag
from feeds.symbols import split_pair

NAME = "bitstamp"
TRADES, TOP, CHANGES = "live_trades", "order_book", "diff_order_book"
SNAPSHOT_RETRY = 5 * SECOND
SPANS = {"minute": MINUTE, "hour": 60 * MINUTE, "day": 24 * 60 * MINUTE}
"""The spans of which all trades can be had over HTTP."""

_encode = msgspec.json.Encoder().encode

Number = str | float


class _Head(msgspec.Struct):
    """What tells frames apart."""

    event: str
    channel: str = ""
    data: msgspec.Raw = msgspec.Raw()


class _Trade(msgspec.Struct):
    id: int | str
    type: int
    microtimestamp: int
    price: Number
    amount: Number
    price_str: Number | None = None
    amount_str: Number | None = None


class _Top(msgspec.Struct):
    microtimestamp: int
    bids: list[tuple[Number, Number]]
    asks: list[tuple[Number, Number]]


class _Changes(msgspec.Struct):
    microtimestamp: int
    bids: list[Level]
    asks: list[Level]


class _Recent(msgspec.Struct):
    """A trade in an answer over HTTP; `date` is in seconds."""

    tid: int
    date: int
    type: int
    price: Number
    amount: Number


class _Error(msgspec.Struct):
    code: int | str | None = None
    message: str = ""


_head = msgspec.json.Decoder(_Head).decode
_trade = msgspec.json.Decoder(_Trade, strict=False).decode
_top = msgspec.json.Decoder(_Top, strict=False).decode
_changes = msgspec.json.Decoder(_Changes, strict=False).decode
_history = msgspec.json.Decoder(list[_Recent], strict=False).decode
_error = msgspec.json.Decoder(_Error, strict=False).decode

# 0 is a trade that a buyer's order came for, 1 a seller's.
_TAKER = {0: Aggressor.BUYER, 1: Aggressor.SELLER}


class BitstampProtocol(ChannelCore):
    """One connection's protocol; without subscriptions it reads whatever comes, as of a capture."""

    def __init__(
        self,
        subscriptions: Iterable[Subscription] = (),
        options: Options = Options(),  # noqa: B008 - frozen
        continuity: Continuity | None = None,
    ) -> None:
        channels = [TRADES, CHANGES if options.book else TOP]
        names = Names(split_pair, _name)
        super().__init__(NAME, channels, subscriptions, continuity, names, None)
        self._has_book = options.book
        self._diffs = Diffs()
        self._forget_connection()

    def _forget_connection(self) -> None:
        self._unanswered: deque[tuple[str, Symbol]] = deque()
        self._tops: dict[Symbol, tuple[int, Quote]] = {}  # the latest, by the venue's time
        self._snapshots_due: dict[Symbol, int] = {}
        self._fresh: set[Symbol] = set()  # books whose snapshot has met no newer change yet
        self._diffs.clear()

    def restart(self) -> None:
        """Forget the connection that was; counts and continuity stay."""
        super().restart()
        self._forget_connection()

    # --- what goes out -------------------------------------------------------------------------

    def request(self, method: str, channel: str, symbols: Sequence[Symbol]) -> None:
        """Queue a frame for each symbol."""
        for symbol in symbols:
            frame = {"event": f"bts:{method}", "data": {"channel": f"{channel}_{_name(symbol)}"}}
            self.send(_encode(frame).decode())
            if method == "subscribe":
                self._unanswered.append((channel, symbol))

    def forget(self, symbol: Symbol) -> None:
        """Drop what is known of a symbol that is no longer wanted."""
        super().forget(symbol)
        self._tops.pop(symbol, None)
        self._snapshots_due.pop(symbol, None)
        self._fresh.discard(symbol)
        self._diffs.take(symbol)

    def _renew_book(self, symbol: Symbol) -> None:
        """Ask for the snapshot of a book."""
        self._snapshots_due.pop(symbol, None)
        name = _name(symbol)
        self.ask(HttpGet(f"/api/v2/order_book/{name}/", name, symbol))

    def next_wake(self) -> int | None:
        """Return when a snapshot is to be asked for again."""
        return min(self._snapshots_due.values(), default=None)

    def tick(self, now: int) -> list[Event]:
        """Ask again for the snapshots that are due."""
        for symbol in [s for s, due in self._snapshots_due.items() if due <= now]:
            self._renew_book(symbol)
        return []

    # --- what comes in -------------------------------------------------------------------------

    def receive(self, data: bytes | str, received: int) -> list[Event]:
        """Take one frame and return what it says, in the venue's order; never raises on input."""
        channel = CHANGES  # what cannot be read at all may have been a change of a book
        symbol = None
        try:
            head = _head(data.encode() if isinstance(data, str) else data)
            if head.event not in {"trade", "data"}:
                channel = ""
                return self._on_control(head)
            channel, _, name = head.channel.rpartition("_")
            symbol = self.names.find(name)
            if symbol is None:
                return self.ignore("channel not asked for")
            if head.event == "trade" and channel == TRADES:
                return self._on_trade(_trade(head.data), symbol, received)
            if head.event == "data" and channel == TOP:
                return self._on_top(_top(head.data), symbol, received)
            if head.event == "data" and channel == CHANGES and self._has_book:
                return self._on_changes(_changes(head.data), symbol, received)
            return self.ignore(f"{channel} {head.event}")
        except UNREADABLE as error:
            events = self.unreadable(error, data, received)
            if channel == CHANGES:
                events += self._lose(symbol, received)
            return events

    def _on_trade(self, it: _Trade, symbol: Symbol, received: int) -> list[Event]:
        exact = it.price if it.price_str is None else it.price_str
        amount = it.amount if it.amount_str is None else it.amount_str
        taker = _TAKER.get(it.type, Aggressor.UNKNOWN)
        time, number = _moment(it.microtimestamp), str(it.id)[:40]
        trade = Trade(symbol, time, received, price(exact), size(amount), number, taker)
        is_new = self.continuity.admit_once(symbol, number, time)
        return [trade] if is_new else self.ignore("duplicate")

    def _on_top(self, it: _Top, symbol: Symbol, received: int) -> list[Event]:
        if not (it.bids and it.asks):
            return self.ignore("one-sided order book")
        (bid, bid_size), (ask, ask_size) = it.bids[0], it.asks[0]
        prices = price(bid), size(bid_size), price(ask), size(ask_size)
        quote = Quote(symbol, _moment(it.microtimestamp), received, *prices)
        latest = self._tops.get(symbol)
        if latest is not None:
            time, told = latest
            if it.microtimestamp < time:
                return self.ignore("order book older than the latest")
            if prices == (told.bid, told.bid_size, told.ask, told.ask_size):
                return self.ignore("order book without news")
        self._tops[symbol] = it.microtimestamp, quote
        return [quote]

    # --- books ---------------------------------------------------------------------------------

    def _on_changes(self, it: _Changes, symbol: Symbol, received: int) -> list[Event]:
        moment = it.microtimestamp
        diff = Diff(moment, moment, None, _moment(moment), it.bids, it.asks)
        book = self.books.of(symbol)
        if book.state is BookState.EMPTY:
            self._diffs.keep(symbol, diff)
            return self.ignore(f"{CHANGES} before its snapshot")
        self._apply(book, diff)
        mended = symbol not in self._fresh
        return self.outcome(self.books.settle(book, diff.time, received, mended=mended), CHANGES)

    def _apply(self, book: Book, diff: Diff) -> None:
        """Change a book; only what its snapshot holds already may be older than its latest."""
        is_older = book.sequence is not None and diff.last < book.sequence
        if not is_older:
            if diff.last != book.sequence:
                self._fresh.discard(book.symbol)
            book.update(diff.bids, diff.asks, diff.last)
        elif book.symbol not in self._fresh:
            book.invalidate(f"a change of {diff.last} us came after {book.sequence}")

    def _lose(self, symbol: Symbol | None, received: int) -> list[Event]:
        """Give up the book whose change could not be read; all of them, where it names none."""
        books = list(self.books) if symbol is None else [self.books.of(symbol)]
        events: list[Event] = []
        for book in books:
            if book.is_valid:
                book.invalidate("a change could not be read")
                events += self.books.settle(book, received, received, mended=False)
        return events

    def http_response(self, tag: str, status: int, body: bytes, received: int) -> list[Event]:
        """Take the snapshot of a book, or the trades since an outage."""
        if tag.startswith("["):
            return self._on_history(read_tag(tag), status, body, received)
        symbol = self.names.find(tag)
        if symbol is None:
            return self.ignore("answer for a symbol that is gone")
        self._snapshots_due[symbol] = received + SNAPSHOT_RETRY
        if status != 200:
            return self.ignore("no snapshot")
        try:
            it = _changes(body)
            time = _moment(it.microtimestamp)
        except UNREADABLE as error:
            return self.unreadable(error, body, received)
        del self._snapshots_due[symbol]
        book = self.books.of(symbol)
        if book.snapshot(it.bids, it.asks, it.microtimestamp, is_whole=True):
            self._fresh.add(symbol)
            for diff in self._diffs.take(symbol):
                self._apply(book, diff)
                time = max(time, diff.time)
        events = self.books.settle(book, time, received, mended=symbol not in self._fresh)
        return self.outcome(events, "snapshot")

    # --- back-fill -----------------------------------------------------------------------------

    def recover(self, symbol: Symbol, last: Mark, now: int) -> HttpGet | None:
        """Return the request for all trades of the shortest span that reaches back to `last`."""
        away = now - last.time
        span = next((name for name, length in SPANS.items() if away < length - SECOND * 10), None)
        if span is None:
            return None
        path = f"/api/v2/transactions/{_name(symbol)}/?time={span}"
        return HttpGet(path, Search(symbol, last).tag, symbol)

    def _on_history(self, search: Search, status: int, body: bytes, received: int) -> list[Event]:
        if status != 200:
            return self.give_up(search, received, f"HTTP status {status}")
        try:
            rows = sorted(_history(body), key=_number, reverse=True)
            page = [_recent(row, search.symbol, received) for row in rows]
        except UNREADABLE as error:
            return self.misread(search, error, body, received)
        events, _ = self.recovery.take(search, page, received, has_more=False)
        return self.outcome(events, "history without news")

    # --- control -------------------------------------------------------------------------------

    def _on_control(self, head: _Head) -> list[Event]:
        match head.event:
            case "bts:subscription_succeeded":
                return self._on_subscribed(head.channel)
            case "bts:error":
                return self._on_error(head)
            case "bts:request_reconnect":
                self.fault = "the venue asked for a new connection"
        return self.ignore(head.event)

    def _on_subscribed(self, name: str) -> list[Event]:
        channel, _, pair = name.rpartition("_")
        symbol = self.names.find(pair) if pair else None
        if symbol is None:
            return self.ignore("subscribed")
        if (channel, symbol) in self._unanswered:
            self._unanswered.remove((channel, symbol))
            if channel == CHANGES:
                self._renew_book(symbol)  # not before: what comes in between would be missed
        return self.accept(channel, [symbol])

    def _on_error(self, head: _Head) -> list[Event]:
        """Refuse what the error is about; where it does not say, that is the oldest request."""
        error = _error(head.data)
        words = error.message if error.code is None else f"{error.message} (code {error.code})"
        channel, _, pair = head.channel.rpartition("_")
        symbol = self.names.find(pair) if pair else None
        asked = (channel, symbol)
        if symbol is None or asked not in self._unanswered:
            if not self._unanswered:
                return self.ignore("error")
            asked = channel, symbol = self._unanswered[0]
        self._unanswered = deque(item for item in self._unanswered if item != asked)
        return self.reject([symbol], words)


def _moment(microseconds: int) -> int:
    return check_ns(microseconds * 1_000)


def _number(row: _Recent) -> int:
    return row.tid


def _recent(row: _Recent, symbol: Symbol, received: int) -> Trade:
    taker = _TAKER.get(row.type, Aggressor.UNKNOWN)
    time, numbers = check_ns(row.date * SECOND), (price(row.price), size(row.amount))
    return Trade(symbol, time, received, *numbers, str(row.tid)[:40], taker)


def _name(symbol: Symbol) -> str:
    return symbol.replace("/", "").lower()


def _make(
    subscriptions: Sequence[Subscription], options: Options, continuity: Continuity
) -> VenueProtocol:
    return BitstampProtocol(subscriptions, options, continuity)


BITSTAMP = VenueSpec(
    name=NAME,
    url="wss://ws.bitstamp.net",
    rest_url="https://www.bitstamp.net",
    limits=Limits(
        symbols=100,
        messages=Rate(20),  # two a symbol; the venue names no limit
        connects=Rate(10, 60 * SECOND),
        requests=Rate(5),
        max_frame=4 << 20,
        quiet=5 * SECOND,
        life=90 * 24 * 3600 * SECOND,
    ),
    make=_make,
)
