"""Kraken's WebSocket API, version 1: kept because a recording of it proves the checksum of books.

Data are arrays [channel number, payload .., channel, pair] of decimal text. An update that touches
both sides of a book has two payloads; the last names the checksum, snapshots have none. Trades have
no numbers, so a repetition cannot be told from a trade. Bitcoin is XBT here, Dogecoin XDG.
"""

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from feeds.base import Subscription
from feeds.book import Level
from feeds.continuity import Continuity
from feeds.events import Aggressor, Event, FeedState, Quote, Status, Symbol, Trade
from feeds.numbers import exact_ns, price, size
from feeds.protocols.base import Options
from feeds.protocols.channels import UNREADABLE, ChannelCore
from feeds.protocols.kraken_checksum import Checksum
from feeds.protocols.names import Names
from feeds.symbols import split_pair

NAME = "kraken v1"
DEPTH = 1000
DEPTHS = {f"book-{depth}": depth for depth in (10, 25, 100, 500, 1000)}

_encode = msgspec.json.Encoder().encode
_AGGRESSORS = {"b": Aggressor.BUYER, "s": Aggressor.SELLER}
_TO_KRAKEN = {"BTC": "XBT", "DOGE": "XDG"}
_TO_US = {theirs: ours for ours, theirs in _TO_KRAKEN.items()}


class _Row(msgspec.Struct, array_like=True):
    price: str
    volume: str
    time: str
    side: str = ""


class _Level(msgspec.Struct, array_like=True, gc=False):
    price: Decimal
    volume: Decimal
    time: str


class _Side(msgspec.Struct, array_like=True):
    price: str
    whole: int
    volume: str


class _Ticker(msgspec.Struct):
    a: _Side
    b: _Side


class _Book(msgspec.Struct):
    """Payloads of a book: a snapshot has `as` and `bs`, an update `a`, `b` or both, and `c`."""

    bs: list[_Level] | None = None
    asks: list[_Level] | None = msgspec.field(name="as", default=None)
    b: list[_Level] = []
    a: list[_Level] = []
    c: str | None = None


class _Subscription(msgspec.Struct, frozen=True):
    name: str = ""


class _Notice(msgspec.Struct):
    event: str
    pair: str = ""
    status: str = ""
    subscription: _Subscription = _Subscription()
    message: str = msgspec.field(name="errorMessage", default="")


_array = msgspec.json.Decoder(list[msgspec.Raw])
_text = msgspec.json.Decoder(str)
_notice = msgspec.json.Decoder(_Notice)
_rows = msgspec.json.Decoder(list[_Row])
_ticker = msgspec.json.Decoder(_Ticker)
_book = msgspec.json.Decoder(_Book)


class KrakenV1Protocol(ChannelCore):
    """One connection to the first version of Kraken's API."""

    def __init__(
        self,
        subscriptions: Sequence[Subscription] = (),
        options: Options = Options(),  # noqa: B008 - frozen
        continuity: Continuity | None = None,
    ) -> None:
        channels = ["trade", "book" if options.book else "ticker"]
        names = Names(_to_us, _to_kraken)
        super().__init__(NAME, channels, subscriptions, continuity, names, DEPTH)
        self._checksum = Checksum()

    def request(self, method: str, channel: str, symbols: Sequence[Symbol]) -> None:
        """Queue the frame that subscribes these symbols to a channel, or unsubscribes them."""
        wanted: dict[str, object] = {"name": channel}
        if channel == "book":
            wanted["depth"] = DEPTH
        pairs = [_to_kraken(symbol) for symbol in symbols]
        frame = {"event": method, "pair": pairs, "subscription": wanted}
        self.send(_encode(frame).decode())

    def receive(self, data: bytes | str, received: int) -> list[Event]:
        """Take one frame and return what it says, in the venue's order; never raises on input."""
        try:
            frame = data.encode() if isinstance(data, str) else data
            if not frame.startswith(b"["):
                return self._on_notice(_notice.decode(frame), received)
            parts = _array.decode(frame)
            if len(parts) < 4:
                raise ValueError(f"an array of {len(parts)}: 4 or more are the protocol's")
            channel, pair = _text.decode(parts[-2]), _text.decode(parts[-1])
            symbol = self.names.find(pair)
            if symbol is None:
                return self.ignore("symbol not asked for")
            if channel == "trade":
                return self._on_trades(symbol, parts[1], received)
            if channel == "ticker":
                return self._on_ticker(symbol, parts[1], received)
            if channel in DEPTHS:
                books = [_book.decode(part) for part in parts[1:-2]]
                return self._on_book(symbol, DEPTHS[channel], books, received)
            return self.ignore(channel)
        except UNREADABLE as error:
            return self.unreadable(error, data, received)

    def _on_trades(self, symbol: Symbol, payload: msgspec.Raw, received: int) -> list[Event]:
        events: list[Event] = []
        for row in _rows.decode(payload):
            try:
                by = _AGGRESSORS.get(row.side, Aggressor.UNKNOWN)
                numbers = price(row.price), size(row.volume)
                events.append(Trade(symbol, exact_ns(row.time), received, *numbers, "", by))
            except ValueError as error:
                events += self.unreadable(error, bytes(payload), received)
        return self.outcome(events, "no trade")

    def _on_ticker(self, symbol: Symbol, payload: msgspec.Raw, received: int) -> list[Event]:
        it = _ticker.decode(payload)
        bid, ask = price(it.b.price), price(it.a.price)
        # It tells no time.
        return [Quote(symbol, received, received, bid, size(it.b.volume), ask, size(it.a.volume))]

    def _on_book(
        self, symbol: Symbol, depth: int, parts: Sequence[_Book], received: int
    ) -> list[Event]:
        book = self.books.of(symbol, depth)
        is_update = parts[0].asks is None and parts[0].bs is None
        if is_update and not book.is_valid:
            return self.ignore("book update without a snapshot")
        if is_update:
            asks = [level for part in parts for level in part.a]
            bids = [level for part in parts for level in part.b]
        else:
            asks, bids = parts[0].asks or [], parts[0].bs or []
        times = [level.time for level in (*asks, *bids)]
        time = exact_ns(max(times)) if times else received  # of one width: text sorts as numbers do
        apply = book.update if is_update else book.snapshot
        good, told = apply(_levels(bids), _levels(asks)), parts[-1].c
        if good and told is not None:
            found = self._checksum.of(book)
            if str(found) == told:
                self.checks += 1
            else:
                book.invalidate(f"its checksum is {found}, Kraken's {told[:20]}")
        return self.outcome(self.books.settle(book, time, received, mended=is_update), "book")

    def _on_notice(self, notice: _Notice, received: int) -> list[Event]:
        if notice.event == "subscriptionStatus":
            if notice.status == "error":
                symbols = [_to_us(notice.pair)] if notice.pair else []
                return self.reject(symbols, notice.message)
            if notice.status == "subscribed":
                return self.accept(notice.subscription.name, [_to_us(notice.pair)])
        elif notice.event == "systemStatus" and notice.status != "online":
            words = f"Kraken says that it is in {notice.status[:40]}"
            return self.outcome([Status(NAME, FeedState.LIVE, received, words)], notice.event)
        return self.ignore(notice.event)


def _levels(levels: Sequence[_Level]) -> list[Level]:
    return [(level.price, level.volume) for level in levels]


def _to_us(pair: str) -> Symbol:
    base, slash, quote = pair.upper().partition("/")
    if not slash:
        return split_pair(pair)
    return Symbol(f"{_TO_US.get(base, base)}/{_TO_US.get(quote, quote)}")


def _to_kraken(symbol: Symbol) -> str:
    return "/".join(_TO_KRAKEN.get(asset, asset) for asset in symbol.split("/"))
