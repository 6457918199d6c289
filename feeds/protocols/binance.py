"""Binance's market streams (spot, US, USD-M futures): frames in, events out, subscriptions to send.

Trades are numbered by one: a duplicate is dropped, a jump is told as a Gap before the trade that
shows it. The best quotes of spot carry no time and get that of arrival. A candle counts once it is
closed. The venue acknowledges any name, so a list of its symbols says which exist.
"""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from feeds.base import Subscription
from feeds.continuity import Continuity
from feeds.events import SECOND, Event, Gap, Symbol
from feeds.protocols import binance_wire as wire
from feeds.protocols.base import (
    HttpGet,
    Limits,
    Make,
    Options,
    Rate,
    SymbolState,
    VenueProtocol,
    VenueSpec,
)
from feeds.protocols.binance_books import (
    FUTURES,
    PAGE,
    SPOT,
    UNREADABLE,
    US,
    BinanceBooks,
    BinanceMarket,
    Payload,
    name_of,
)

TOPICS_PER_FRAME = 200
"""Topics in one SUBSCRIBE."""
LIST_PATIENCE = 5 * SECOND
"""How long the list of symbols is waited for; without it, what is acknowledged counts as served."""

_KINDS = {
    "trade": "trade",
    "aggTrade": "aggTrade",
    "bookTicker": "bookTicker",
    "kline_1m": "kline",
    "depth@100ms": "depthUpdate",
}
_encode = msgspec.json.Encoder().encode


class BinanceProtocol(BinanceBooks):
    """One connection's protocol; without subscriptions it reads whatever comes, as of a capture."""

    def __init__(
        self,
        subscriptions: Iterable[Subscription] = (),
        options: Options = Options(),  # noqa: B008 - frozen
        continuity: Continuity | None = None,
        market: BinanceMarket = SPOT,
    ) -> None:
        super().__init__(market, subscriptions, continuity)
        self.path = market.path
        self._has_book = options.book
        self._channels = [market.trades, "depth@100ms" if options.book else "bookTicker"]
        if options.bars and market.has_bars:
            self._channels.append("kline_1m")
        self._read: dict[str, Callable[[Payload, int], list[Event]]] = {
            "trade": self._on_trade,
            "aggTrade": self._on_aggregate,
            "bookTicker": self._on_book_ticker,
            "kline": self._on_kline,
            "depthUpdate": self._on_depth if options.book else self._ignore_depth,
            "serverShutdown": self._on_shutdown,
        }
        self._forget()

    def _forget(self) -> None:
        self._is_connected = False
        self._next_id = 1
        self._unanswered: dict[int, list[Symbol]] = {}
        self._unlisted: dict[Symbol, None] = {}  # acknowledged, and the list is being waited for
        self._list_due: int | None = None
        self._quoted: set[Symbol] = set()

    # --- what goes out -------------------------------------------------------------------------

    def restart(self) -> None:
        """Forget the connection that was; counts and continuity stay."""
        super().restart()
        self._forget()
        self._forget_books()

    def connected(self, now: int) -> None:
        """Queue the subscriptions."""
        self._is_connected = True
        self._send_topics("SUBSCRIBE", list(self.symbols))

    def subscribe(self, subscriptions: Iterable[Subscription]) -> None:
        """Add symbols; while connected, ask for them."""
        new = [s.symbol for s in subscriptions if s.symbol not in self.symbols]
        for symbol in new:
            self.symbols[symbol] = SymbolState.ASKED
            self._names.ask(symbol)
        if self._is_connected:
            self._send_topics("SUBSCRIBE", new)

    def unsubscribe(self, symbols: Iterable[Symbol]) -> None:
        """Take symbols out; while connected, say so."""
        gone = [symbol for symbol in symbols if self.symbols.pop(symbol, None) is not None]
        for symbol in gone:
            self._drop_book(symbol)
            self.refused.pop(symbol, None)
            self._names.forget(symbol)
            self._unlisted.pop(symbol, None)
            self._quoted.discard(symbol)
        if self._is_connected:
            self._send_topics("UNSUBSCRIBE", gone)

    def _send_topics(self, method: str, symbols: Sequence[Symbol]) -> None:
        count = TOPICS_PER_FRAME // len(self._channels)
        for first in range(0, len(symbols), count):
            part = symbols[first : first + count]
            topics = [f"{name_of(s).lower()}@{channel}" for s in part for channel in self._channels]
            frame = {"method": method, "params": topics, "id": self._next_id}
            self.send(_encode(frame).decode())
            self._unanswered[self._next_id] = list(part) if method == "SUBSCRIBE" else []
            self._next_id += 1

    def next_wake(self) -> int | None:
        """Return when the list is waited for no longer, or a snapshot is to be asked for again."""
        due = [*self._snapshots_due.values()]
        if self._list_due is not None:
            due.append(self._list_due)
        return min(due, default=None)

    def tick(self, now: int) -> list[Event]:
        """Give up the list, or ask for snapshots again."""
        if self._list_due is not None and self._list_due <= now:
            self._activate(self._unlisted)
        for symbol in [s for s, due in self._snapshots_due.items() if due <= now]:
            self._ask_snapshot(symbol)
        return []

    # --- what comes in -------------------------------------------------------------------------

    def receive(self, data: bytes | str, received: int) -> list[Event]:
        """Take one frame and return what it says, in the venue's order; never raises on input."""
        try:
            frame = data.encode() if isinstance(data, str) else data
            head = wire.decode_head(frame)
            if head.stream is not None and head.data:
                return self._on_topic(head.stream, head.data, received)
            return self._on_frame(head, frame, received)
        except UNREADABLE as error:
            return self.unreadable(error, data, received)

    def _on_topic(self, stream: str, payload: msgspec.Raw, received: int) -> list[Event]:
        """Take a frame of a combined stream, whose topic mostly tells what it is."""
        read = self._read.get(_KINDS.get(stream.partition("@")[2], ""))
        if read is not None:
            return read(payload, received)
        return self._on_frame(wire.decode_head(payload), payload, received)

    def _on_frame(self, head: wire.Head, payload: Payload, received: int) -> list[Event]:
        kind = head.e
        if kind is None:
            if head.error or head.code is not None:
                return self._on_error(head, received)
            if head.result:
                return self._on_acknowledged(head.id, received)
            # Spot names no type here: the set of keys tells it.
            kind = "bookTicker" if head.u and head.b and head.a else "unknown"
        read = self._read.get(kind)
        return read(payload, received) if read else self.ignore(kind)

    def _on_trade(self, payload: Payload, received: int) -> list[Event]:
        return self._admit(wire.decode_trade(payload), "trade", received)

    def _on_aggregate(self, payload: Payload, received: int) -> list[Event]:
        return self._admit(wire.decode_aggregate(payload), "aggTrade", received)

    def _admit(
        self, it: wire.WireTrade | wire.AggregateTrade, channel: str, received: int
    ) -> list[Event]:
        symbol = self._names.find(it.s)
        if symbol is None:
            return self.ignore("symbol not asked for")
        if it.X != "MARKET":  # its number counts all the same
            gap = self.continuity.admit(symbol, it.t, wire.moment(it.T), received, channel).gap
            return self.outcome([] if gap is None else [gap], "trade outside the market")
        trade = wire.trade_of(it, symbol, received)
        verdict = self.continuity.admit(symbol, it.t, trade.time, received, channel)
        if not verdict.is_new:
            return self.ignore("duplicate")
        return [trade] if verdict.gap is None else [verdict.gap, trade]

    def _on_book_ticker(self, payload: Payload, received: int) -> list[Event]:
        it = wire.decode_book_ticker(payload)
        symbol = self._names.find(it.s)
        if symbol is None:
            return self.ignore("symbol not asked for")
        self._quoted.add(symbol)
        return [wire.quote_of(it, symbol, received)]

    def _on_kline(self, payload: Payload, received: int) -> list[Event]:
        it = wire.decode_kline(payload)
        symbol = self._names.find(it.s)
        if symbol is None:
            return self.ignore("symbol not asked for")
        return [wire.bar_of(it.k, symbol, received)] if it.k.x else self.ignore("kline unfinished")

    def _on_shutdown(self, payload: Payload, received: int) -> list[Event]:
        self.fault = "the venue announced that it shuts down"
        return self.ignore("serverShutdown")

    # --- answers -------------------------------------------------------------------------------

    def _on_acknowledged(self, answered: int | str | None, received: int) -> list[Event]:
        asked = self._unanswered.pop(_id(answered), [])
        self._unlisted.update((symbol, None) for symbol in asked if symbol in self.symbols)
        if self._unlisted and not any(self._unanswered.values()):
            self._list_due = received + LIST_PATIENCE
            self.ask(HttpGet(f"{self._market.rest}/ticker/bookTicker", "list"))
        return self.ignore("acknowledgement")

    def _on_error(self, head: wire.Head, received: int) -> list[Event]:
        error = (
            wire.decode_error(head.error) if head.error else wire.Error(head.code, head.msg or "")
        )
        answered = _id(head.id)
        if answered not in self._unanswered:  # the older form does not say to what it answers
            answered = min(self._unanswered, default=0)
        for symbol in self._unanswered.pop(answered, []):
            if symbol in self.symbols:
                self.refuse(symbol, f"{error.msg} (code {error.code})")
        return self.ignore("error")

    def _activate(self, symbols: Iterable[Symbol]) -> None:
        """Take these as served; the list has come, or will not."""
        for symbol in symbols:
            if self.symbols.get(symbol) is SymbolState.ASKED:
                self.symbols[symbol] = SymbolState.ACTIVE
                if self._has_book:
                    self._ask_snapshot(symbol)
        self._unlisted = {}
        self._list_due = None

    def http_response(self, tag: str, status: int, body: bytes, received: int) -> list[Event]:
        """Take the list of symbols, the snapshot of a book, or the trades of a gap."""
        kind, _, rest = tag.partition(":")
        try:
            if kind == "list":
                return self._on_list(status, body, received)
            if kind == "depth":
                return self._on_snapshot(rest, status, body, received)
            return self._on_history(rest, status, body, received)
        except UNREADABLE as error:
            if kind == "list":
                self._activate(self._unlisted)
            return self.unreadable(error, body, received)

    def _on_list(self, status: int, body: bytes, received: int) -> list[Event]:
        if status != 200:
            self._activate(self._unlisted)
            return self.ignore("no list of symbols")
        rows = {row.symbol: row for row in wire.decode_listed(body)}
        waiting = list(self._unlisted)
        for symbol in waiting:
            if name_of(symbol) not in rows:
                self.refuse(symbol, f"{self.venue} has no {symbol}")
        self._activate(waiting)
        quotes: list[Event] = [
            wire.quote_of(top, symbol, received)
            for symbol in waiting
            if symbol not in self._quoted and (top := _top(rows.get(name_of(symbol)))) is not None
        ]
        return self.outcome(quotes, "list of symbols")

    # --- gaps ----------------------------------------------------------------------------------

    def backfill(self, gap: Gap) -> HttpGet | None:
        """Return the request for the trades of a gap."""
        if gap.symbol is None or not gap.numbers:
            return None
        return self._history(name_of(gap.symbol), gap.numbers[0], gap.numbers[-1])

    def _history(self, name: str, first: int, last: int) -> HttpGet:
        rest, symbol = self._market.rest, self._names.find(name)
        if self._market.trades == "aggTrade":
            count = min(last - first + 1, PAGE)
            path = f"{rest}/aggTrades?symbol={name}&fromId={first}&limit={count}"
        else:  # the page of the latest is all that is to be had without a key
            path = f"{rest}/trades?symbol={name}&limit={PAGE}"
        return HttpGet(path, f"trades:{name}:{first}:{last}", symbol)

    def _on_history(self, rest: str, status: int, body: bytes, received: int) -> list[Event]:
        name, begin, until = rest.split(":")
        first, last = int(begin), int(until)
        symbol = self._names.find(name)
        if symbol is None:
            return self.ignore("answer for a symbol that is gone")
        if status != 200:
            return self.ignore("no history")
        channel = self._market.trades
        rows: Sequence[wire.HistoryTrade | wire.HistoryAggregate]
        rows = wire.decode_history(body, channel)
        # What is newer comes by itself, and is no jump.
        missing = sorted((row for row in rows if first <= row.t <= last), key=_number)
        trades = [wire.trade_of(row, symbol, received) for row in missing]
        events: list[Event] = []
        for row, trade in zip(missing, trades, strict=True):
            if self.continuity.admit(symbol, row.t, trade.time, received, channel).is_new:
                events.append(trade)
        end = missing[-1].t if missing else last
        if channel == "aggTrade" and end < last:
            self.ask(self._history(name, end + 1, last))
        return self.outcome(events, "history without news")


def _number(row: wire.HistoryTrade | wire.HistoryAggregate) -> int:
    return row.t


def _id(answered: int | str | None) -> int:
    """Return the number we gave to what is answered, or 0, which is none of ours."""
    return int(answered) if str(answered).isdecimal() and len(str(answered)) < 20 else 0  # type: ignore[arg-type]


def _top(row: wire.Listed | None) -> wire.BookTicker | None:
    if row is None or not (float(row.bid_price) and float(row.ask_price)):
        return None
    return wire.BookTicker(
        row.symbol, row.bid_price, row.bid_qty, row.ask_price, row.ask_qty, row.time
    )


def _maker(market: BinanceMarket) -> Make:
    def make(
        subscriptions: Sequence[Subscription], options: Options, continuity: Continuity
    ) -> VenueProtocol:
        return BinanceProtocol(subscriptions, options, continuity, market)

    return make


# The venue takes five frames a second of us, pongs counted, and bans who repeatedly sends more. Its
# own pings come every 20 s. A snapshot weighs 50 of the 6,000 a minute.
_LIMITS = Limits(
    symbols=300,  # of 1,024 topics
    messages=Rate(3),
    connects=Rate(250, 300 * SECOND),
    requests=Rate(2),
    max_frame=1 << 20,
    quiet=5 * SECOND,
    life=24 * 3600 * SECOND,
)

BINANCE = VenueSpec(
    name=SPOT.name,
    url="wss://data-stream.binance.vision",
    rest_url="https://data-api.binance.vision",
    limits=_LIMITS,
    make=_maker(SPOT),
)
BINANCE_US = VenueSpec(
    name=US.name,
    url="wss://stream.binance.us:9443",
    rest_url="https://api.binance.us",
    limits=_LIMITS,
    make=_maker(US),
)
BINANCE_FUTURES = VenueSpec(
    name=FUTURES.name,
    url="wss://fstream.binance.com",
    rest_url="https://fapi.binance.com",
    limits=msgspec.structs.replace(_LIMITS, symbols=100),  # of 200 topics
    make=_maker(FUTURES),
)
