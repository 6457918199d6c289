"""The order books of Binance's markets: a REST snapshot, and the changes from it on.

Each change must follow the one before. Changes that come before their snapshot wait for it; a
snapshot that is too old for them is asked for again.
"""

from collections.abc import Iterable

import msgspec

from feeds.base import Subscription
from feeds.book import Book, BookState
from feeds.continuity import Continuity
from feeds.events import SECOND, Event, Symbol
from feeds.protocols import binance_wire as wire
from feeds.protocols.base import HttpGet, VenueCore
from feeds.protocols.books import Books
from feeds.protocols.diffs import Diff, Diffs
from feeds.protocols.names import Names
from feeds.symbols import BINANCE_QUOTES, split_pair

SNAPSHOT_RETRY = 5 * SECOND
PAGE = 1_000
"""Most rows of one REST answer: levels of a side, or trades."""

UNREADABLE = (msgspec.DecodeError, ValueError, RecursionError, OverflowError)
Payload = bytes | msgspec.Raw


class BinanceMarket(msgspec.Struct, frozen=True):
    """In what the venue's markets differ.

    `trades` is the stream of trades. `rest` is before every REST path. `has_bars`: candles are on
    the same connection. `is_chained`: changes of a book name the one before.
    """

    name: str
    path: str
    rest: str
    trades: str
    has_bars: bool
    is_chained: bool


SPOT = BinanceMarket("binance", "/stream", "/api/v3", "aggTrade", has_bars=True, is_chained=False)
US = msgspec.structs.replace(SPOT, name="binance-us")
# Since April 2026 futures serve trades, quotes and depth under /public, and everything else
# (aggTrade and candles) under /market; what is asked for in the wrong place is acknowledged and
# stays silent.
FUTURES = BinanceMarket(
    "binance-futures", "/public/stream", "/fapi/v1", "trade", has_bars=False, is_chained=True
)


class BinanceBooks(VenueCore):
    """What a protocol of Binance builds on: its names, and its books where it has any."""

    def __init__(
        self,
        market: BinanceMarket,
        subscriptions: Iterable[Subscription],
        continuity: Continuity | None,
    ) -> None:
        super().__init__(market.name, subscriptions, continuity)
        self._market = market
        self._names = Names(lambda name: split_pair(name, BINANCE_QUOTES), name_of)
        for symbol in self.symbols:
            self._names.ask(symbol)
        self._books = Books(market.name, None, self._ask_snapshot)
        self._diffs = Diffs()
        self._forget_books()

    def _forget_books(self) -> None:
        self._fresh: set[Symbol] = set()  # books whose snapshot has met no change yet
        self._snapshots_due: dict[Symbol, int] = {}
        self._diffs.clear()
        self._books.restart()

    def _drop_book(self, symbol: Symbol) -> None:
        self._books.drop(symbol)
        self._diffs.take(symbol)
        self._snapshots_due.pop(symbol, None)
        self._fresh.discard(symbol)

    def _ask_snapshot(self, symbol: Symbol) -> None:
        self._snapshots_due.pop(symbol, None)
        name = name_of(symbol)
        path = f"{self._market.rest}/depth?symbol={name}&limit={PAGE}"
        self.ask(HttpGet(path, f"depth:{name}", symbol))

    def _ignore_depth(self, payload: Payload, received: int) -> list[Event]:
        return self.ignore("depthUpdate")

    def _on_depth(self, payload: Payload, received: int) -> list[Event]:
        try:
            it = wire.decode_depth(payload)
            time = wire.moment(it.E if it.T is None else it.T)
        except UNREADABLE as error:
            return self._lose(payload, error, received)
        symbol = self._names.find(it.s)
        if symbol is None:
            return self.ignore("symbol not asked for")
        book = self._books.of(symbol)
        diff = Diff(it.U, it.u, it.pu if self._market.is_chained else it.U - 1, time, it.b, it.a)
        if book.state is BookState.EMPTY:
            self._diffs.keep(symbol, diff)
            return self.ignore("depthUpdate before its snapshot")
        self._apply(book, diff)
        return self.outcome(self._settle(book, time, received), "depthUpdate")

    def _lose(self, payload: Payload, error: Exception, received: int) -> list[Event]:
        """Give up the book of a change that cannot be read; if it names none, the next shows it."""
        events = self.unreadable(error, bytes(payload), received)
        try:
            symbol = self._names.find(wire.decode_depth_head(payload).s)
        except UNREADABLE:
            return events
        if symbol is not None and (book := self._books.of(symbol)).is_valid:
            book.invalidate("a change could not be read")
            events += self._settle(book, received, received)
        return events

    def _apply(self, book: Book, diff: Diff) -> None:
        if book.symbol not in self._fresh:
            book.update(diff.bids, diff.asks, diff.last, diff.follows)
            return
        assert book.sequence is not None  # noqa: S101 - every snapshot has one
        # The first change that counts is the one in which the snapshot was taken, or ends.
        wanted = book.sequence if self._market.is_chained else book.sequence + 1
        if diff.last < wanted:
            return
        if diff.first > wanted:
            book.invalidate(f"its snapshot is of {book.sequence}, the next change of {diff.first}")
            return
        self._fresh.discard(book.symbol)
        book.update(diff.bids, diff.asks, diff.last)

    def _on_snapshot(self, name: str, status: int, body: bytes, received: int) -> list[Event]:
        symbol = self._names.find(name)
        if symbol is None:
            return self.ignore("answer for a symbol that is gone")
        self._snapshots_due[symbol] = received + SNAPSHOT_RETRY
        if status != 200:
            return self.ignore("no snapshot")
        it = wire.decode_depth_snapshot(body)
        oldest = self._diffs.oldest(symbol)
        if oldest is not None and it.last + (not self._market.is_chained) < oldest.first:
            return self.ignore("snapshot older than the changes")
        del self._snapshots_due[symbol]
        book = self._books.of(symbol)
        time = received if it.T is None else wire.moment(it.T)
        is_whole = max(len(it.bids), len(it.asks)) < PAGE
        if book.snapshot(it.bids, it.asks, it.last, is_whole=is_whole):
            self._fresh.add(symbol)
            for diff in self._diffs.take(symbol):
                self._apply(book, diff)
                time = diff.time
        return self.outcome(self._settle(book, time, received), "snapshot")

    def _settle(self, book: Book, time: int, received: int) -> list[Event]:
        return self._books.settle(book, time, received, mended=book.symbol not in self._fresh)


def name_of(symbol: Symbol) -> str:
    """Spell a symbol as the venue does."""
    return symbol.replace("/", "").upper()
