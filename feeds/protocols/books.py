"""The order books of one connection: each is believed, or waits for the snapshot that is asked for.

A book that breaks is told once, as a Gap, and its snapshot is asked for once. Where new snapshots
break as well, RESYNCS in a row, the book is given up for this connection and that is told, too.
"""

from collections.abc import Callable, Iterator

from feeds.book import Book, BookState
from feeds.events import Event, FeedState, Status, Symbol

RESYNCS = 5
"""Snapshots asked for in a row that were no cure: after these a book stays invalid."""


class Books:
    """Keeps a book per symbol and sees to its repair.

    Args:
        venue: the feed's name in what is told.
        depth: levels a side that the venue tells; see Book.
        request: asks the venue for a new snapshot of this symbol.

    Attributes:
        resyncs: new snapshots asked for.
    """

    def __init__(self, venue: str, depth: int | None, request: Callable[[Symbol], None]) -> None:
        self.resyncs = 0
        self._venue, self._depth, self._request = venue, depth, request
        self._books: dict[Symbol, Book] = {}
        self._failures: dict[Symbol, int] = {}  # of the books that are being built again

    def __iter__(self) -> Iterator[Book]:
        return iter(self._books.values())

    def of(self, symbol: Symbol, depth: int | None = None) -> Book:
        """Return the book of this symbol, an empty one at first; `depth` where it has its own."""
        book = self._books.get(symbol)
        if book is None:
            book = self._books[symbol] = Book(symbol, depth or self._depth)
        return book

    def restart(self) -> None:
        """Forget what an earlier connection said."""
        self._failures.clear()
        for book in self._books.values():
            book.reset()

    def drop(self, symbol: Symbol) -> None:
        """Keep it no longer."""
        self._books.pop(symbol, None)
        self._failures.pop(symbol, None)

    def settle(self, book: Book, time: int, received: int, *, mended: bool) -> list[Event]:
        """Say what a message made of its book: a new top, the end of belief, or nothing.

        Args:
            book: the book after the message.
            time: the venue's time of the message, ns.
            received: ours.
            mended: the message shows that the latest snapshot was a good one.
        """
        quote = book.quote(time, received)
        if book.state is not BookState.INVALID:
            if mended:
                self._failures.pop(book.symbol, None)
            return [] if quote is None else [quote]
        failures = self._failures.get(book.symbol, 0)
        self._failures[book.symbol] = failures + 1
        gap = book.gap(time, received)
        book.reset()
        if failures < RESYNCS:
            self.resyncs += 1
            self._request(book.symbol)
            return [gap]
        words = f"the order book of {book.symbol} is given up: {failures} snapshots were no cure"
        return [gap, Status(self._venue, FeedState.LIVE, received, words)]
