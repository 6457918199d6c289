"""What venues with channels have in common: each channel of each symbol is asked for and answered.

A symbol is ACTIVE once all its channels are, REFUSED once one of them is. A decoder of recordings
asks for nothing and takes whatever comes. A row that cannot be read costs itself, not its frame.
"""

from collections.abc import Iterable, Sequence

import msgspec

from feeds.base import Subscription
from feeds.continuity import Continuity
from feeds.events import Event, Symbol
from feeds.protocols.base import SymbolState, VenueCore
from feeds.protocols.books import Books
from feeds.protocols.names import Names
from feeds.protocols.recovery import Recovery, Search

UNREADABLE = (msgspec.DecodeError, ValueError, RecursionError, ArithmeticError)
"""All that reading a venue's frame can raise."""


class ChannelCore(VenueCore):
    """A venue's protocol builds on it and says how a request is written.

    Args:
        venue: its name in what is told.
        channels: what is asked for of every symbol.
        subscriptions: the symbols; none for recordings.
        continuity: shared with other connections of the feed.
        names: the venue's spelling of symbols.
        depth: levels a side of its books; see Book.

    Attributes:
        books: the order books, if `channels` has such a channel.
        checks: messages of books whose checksum or sequence agreed.
    """

    batch = 100
    """Symbols in one request."""

    def __init__(
        self,
        venue: str,
        channels: Sequence[str],
        subscriptions: Iterable[Subscription],
        continuity: Continuity | None,
        names: Names,
        depth: int | None,
    ) -> None:
        wanted = list(subscriptions)
        super().__init__(venue, wanted, continuity)
        self.checks = 0
        self.books = Books(venue, depth, self._renew_book)
        self.names = names
        for subscription in wanted:
            names.ask(subscription.symbol)
        self.recovery = Recovery(self.continuity)
        self._channels = tuple(channels)
        self._awaited: dict[Symbol, set[str]] = {}
        self._is_connected = False

    def restart(self) -> None:
        """Forget the connection that was: every symbol is to be asked for again."""
        super().restart()
        self.books.restart()
        self.recovery.clear()
        self._awaited.clear()
        self._is_connected = False

    def connected(self, now: int) -> None:
        """Queue the subscriptions."""
        self._is_connected = True
        self._subscribe(list(self.symbols))

    def subscribe(self, subscriptions: Iterable[Subscription]) -> None:
        """Add symbols; while connected, queue the frames that ask for them."""
        new = [s.symbol for s in subscriptions if s.symbol not in self.symbols]
        for symbol in new:
            self.symbols[symbol] = SymbolState.ASKED
            self.names.ask(symbol)
        if self._is_connected:
            self._subscribe(new)

    def unsubscribe(self, symbols: Iterable[Symbol]) -> None:
        """Take symbols out; while connected, queue the frames that say so."""
        gone = [symbol for symbol in symbols if symbol in self.symbols]
        for symbol in gone:
            self.forget(symbol)
        if self._is_connected:
            self._in_batches("unsubscribe", gone)

    def _subscribe(self, symbols: Sequence[Symbol]) -> None:
        for symbol in symbols:
            self._awaited[symbol] = set(self._channels)
        self._in_batches("subscribe", symbols)

    def _in_batches(self, method: str, symbols: Sequence[Symbol]) -> None:
        for start in range(0, len(symbols), self.batch):
            for channel in self._channels:
                self.request(method, channel, symbols[start : start + self.batch])

    def _renew_book(self, symbol: Symbol) -> None:
        """Have the venue send a new snapshot."""
        if self._is_connected and symbol in self.symbols:
            self.request("unsubscribe", self.book_channel, [symbol])
            self.request("subscribe", self.book_channel, [symbol])

    # --- what a venue says for itself ----------------------------------------------------------

    book_channel = "book"

    def request(self, method: str, channel: str, symbols: Sequence[Symbol]) -> None:
        """Queue the frame that subscribes these symbols to a channel, or unsubscribes them."""
        raise NotImplementedError

    def forget(self, symbol: Symbol) -> None:
        """Drop what is known of a symbol that is no longer wanted."""
        del self.symbols[symbol]
        self.refused.pop(symbol, None)
        self._awaited.pop(symbol, None)
        self.names.forget(symbol)
        self.books.drop(symbol)

    # --- answers -------------------------------------------------------------------------------

    def give_up(self, search: Search, received: int, words: str) -> list[Event]:
        """Say that the trades of an outage are not to be had, in the venue's words."""
        lost = self.recovery.fail(search, received, f"the history was refused: {words[:80]}")
        return self.outcome(lost, "no history")

    def misread(self, search: Search, error: Exception, body: bytes, received: int) -> list[Event]:
        """Say that they came, and could not be read."""
        lost = self.recovery.fail(search, received, "the history cannot be read")
        return self.unreadable(error, body, received) + lost

    def accept(self, channel: str, symbols: Iterable[Symbol]) -> list[Event]:
        """Take note that the venue serves a channel of these symbols; a count, no event."""
        for symbol in symbols:
            awaited = self._awaited.get(symbol)
            if awaited is not None:
                awaited.discard(channel)
                if not awaited and self.symbols.get(symbol) is SymbolState.ASKED:
                    self.symbols[symbol] = SymbolState.ACTIVE
        return self.ignore("subscribed")

    def reject(self, symbols: Iterable[Symbol], words: str) -> list[Event]:
        """Take note that it does not, in its words; a refusal of nothing in particular is a fault.

        A symbol that is no longer wanted is no matter.
        """
        concerned = list(symbols)
        for symbol in concerned:
            if symbol in self.symbols:
                self.refuse(symbol, words)
        if not concerned:
            self.fault = f"{self.venue} said: {words[:200]}"
        return self.ignore("refused")
