"""What both of Coinbase's feeds share: products, subscriptions, their answers and refusals.

A subscription is answered by all that is subscribed, or by an error that names the products that
are none: those are refused, the others asked for again. An error that names no product that we
asked for is of the moment: the connection is renewed.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal

from feeds.base import Subscription
from feeds.continuity import Continuity
from feeds.events import EXCERPT_CHARS, Aggressor, Event, Symbol, Trade
from feeds.protocols.base import SymbolState, VenueCore
from feeds.protocols.books import Books
from feeds.protocols.names import Names
from feeds.symbols import split_pair

PAGE = 1_000
"""Most trades of one REST answer."""

Number = str | float
Levels = list[tuple[Decimal, Decimal]]
# "sell" is the resting order's side: who came and took it was a buyer.
TAKER = {"sell": Aggressor.BUYER, "buy": Aggressor.SELLER}
_PRODUCT = re.compile(r"[A-Z0-9]{1,20}-[A-Z0-9]{1,20}")  # bounded, as its text may be megabytes
WORDS_READ = 10_000
"""Characters of an error that are searched for products."""


class CoinbaseCore(VenueCore):
    """What a protocol of Coinbase builds on; it sends its frames in `send_channels`."""

    def __init__(
        self, venue: str, subscriptions: Iterable[Subscription], continuity: Continuity | None
    ) -> None:
        super().__init__(venue, subscriptions, continuity)
        self._names = Names(split_pair, product_of)
        for symbol in self.symbols:
            self._names.ask(symbol)
        self._books = Books(venue, None, self._resubscribe_book)
        self._is_connected = False
        self._unanswered = 0

    def send_channels(
        self, method: str, products: Sequence[str], *, only_book: bool = False
    ) -> int:
        """Queue the frames of "subscribe" or "unsubscribe"; return how many answers will come."""
        raise NotImplementedError

    def restart(self) -> None:
        """Forget the connection that was; counts and continuity stay."""
        super().restart()
        self._is_connected = False
        self._unanswered = 0
        self._books.restart()

    def connected(self, now: int) -> None:
        """Queue the subscriptions: the venue cuts who has none within 5 s."""
        self._is_connected = True
        self._ask(list(self.symbols))

    def subscribe(self, subscriptions: Iterable[Subscription]) -> None:
        """Add symbols; while connected, ask for them."""
        new = [s.symbol for s in subscriptions if s.symbol not in self.symbols]
        for symbol in new:
            self.symbols[symbol] = SymbolState.ASKED
            self._names.ask(symbol)
        if self._is_connected:
            self._ask(new)

    def unsubscribe(self, symbols: Iterable[Symbol]) -> None:
        """Take symbols out; while connected, say so."""
        gone = [symbol for symbol in symbols if self.symbols.pop(symbol, None) is not None]
        for symbol in gone:
            self.refused.pop(symbol, None)
            self._names.forget(symbol)
            self._books.drop(symbol)
        if self._is_connected and gone:
            products = [product_of(symbol) for symbol in gone]
            self._unanswered += self.send_channels("unsubscribe", products)

    def _ask(self, symbols: Sequence[Symbol]) -> None:
        if symbols:
            products = [product_of(symbol) for symbol in symbols]
            self._unanswered += self.send_channels("subscribe", products)

    def _resubscribe_book(self, symbol: Symbol) -> None:
        """Have the book of this symbol sent anew."""
        for method in ("unsubscribe", "subscribe"):
            self._unanswered += self.send_channels(method, [product_of(symbol)], only_book=True)

    def answered(self, served: Collection[str]) -> None:
        """Take an answer: the products whose trades are subscribed."""
        self._unanswered -= 1
        for symbol in self._asked():
            if product_of(symbol) in served:
                self.symbols[symbol] = SymbolState.ACTIVE
        if self._unanswered <= 0:
            for symbol in self._asked():
                self.refuse(symbol, f"{self.venue} left it out of its answer")

    def failed(self, words: str) -> list[Event]:
        """Take an error in the venue's words."""
        self._unanswered -= 1
        named = set(_PRODUCT.findall(words[:WORDS_READ].upper()))
        asked = self._asked()
        if not named and asked:
            self.fault = f"the venue said {words[:EXCERPT_CHARS]}"
        refused = [symbol for symbol in asked if product_of(symbol) in named]
        for symbol in refused:
            self.refuse(symbol, words)
        if refused:
            self._ask(self._asked())
        return self.ignore("error")

    def _asked(self) -> list[Symbol]:
        return [symbol for symbol, state in self.symbols.items() if state is SymbolState.ASKED]

    # --- trades --------------------------------------------------------------------------------

    def admit(self, trade: Trade) -> list[Event]:
        """Return a trade as an event, after the gap that it reveals; nothing if it is known."""
        verdict = self.continuity.admit(
            trade.symbol, int(trade.trade_id), trade.time, trade.received
        )
        if not verdict.is_new:
            return []
        return [trade] if verdict.gap is None else [verdict.gap, trade]

    def admit_history(self, trades: Iterable[Trade], first: int, last: int) -> list[Event]:
        """Return those that were missing, by number; what is newer than `last` comes by itself."""
        events: list[Event] = []
        for trade in sorted(trades, key=lambda trade: int(trade.trade_id)):
            if first <= int(trade.trade_id) <= last:
                events += self.admit(trade)
        return events


def product_of(symbol: Symbol) -> str:
    """Spell a symbol as the venue does."""
    return symbol.replace("/", "-").upper()
