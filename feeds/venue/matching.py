"""Orders against the market as it is told: buys at the ask, sells at the bid, no kinder than that.

Only the newest quote of a symbol counts, while it is sane and fresh; where a symbol never had one,
its newest trade. A quote gives the size it shows once, to all orders together as they arrived (0.0:
no size was told, no limit). An order that waited for its limit fills at its limit, one that did not
at the market's price. These are the venue's own words: it is another party than the runtime.
"""

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, InvalidOperation, Overflow

import msgspec

from feeds.events import MINUTE, Bar, MarketEvent, Quote, QuoteBar, Symbol, Trade
from feeds.sanity import is_far_off

FEE_QUANTUM = Decimal("1e-8")
"""A fee is rounded to this, half even, in the currency of the price."""

_EXACT = Context(
    prec=120, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, DivisionByZero, Overflow]
)
_ZERO = Decimal(0)
# A price or size outside is a fault of the data, and would not fit the exact arithmetic.
_SMALLEST, _LARGEST = 1e-15, 1e15


class VenueOrder(msgspec.Struct, frozen=True):
    """What a client asks for.

    `limit_price` None is a market order; `immediate`: what cannot fill at once is cancelled;
    `lot`: its quantity and its fills are multiples of it.
    """

    order_id: str
    symbol: Symbol
    is_buy: bool
    quantity: Decimal
    limit_price: Decimal | None = None
    immediate: bool = False
    lot: Decimal = Decimal(1)


class Accepted(msgspec.Struct, frozen=True):
    """The order works."""

    order_id: str
    time: int


class Filled(msgspec.Struct, frozen=True):
    """One execution; `fill_id` is the order's id and a count from 1, `remaining` what is left."""

    order_id: str
    time: int
    fill_id: str
    symbol: Symbol
    is_buy: bool
    quantity: Decimal
    price: Decimal
    fee: Decimal
    remaining: Decimal


class Rejected(msgspec.Struct, frozen=True):
    """The order was not taken."""

    order_id: str
    time: int
    reason: str


class Cancelled(msgspec.Struct, frozen=True):
    """The order ended with a part unfilled."""

    order_id: str
    time: int
    reason: str


Report = Accepted | Filled | Rejected | Cancelled
_Top = tuple[float, float, float, float]  # bid, its size, ask, its size


class _Working:
    """An order that is not done; `rests`: it was seen waiting for its limit, and fills at it."""

    __slots__ = ("_limit", "fills", "order", "remaining", "rests")

    def __init__(self, order: VenueOrder, fills: int) -> None:
        self.order = order
        self.remaining = order.quantity
        self.fills = fills
        self.rests = False
        self._limit = float(order.limit_price or 0)

    def stays(self, bid: float, ask: float) -> bool:
        """Whether it surely goes on waiting for its limit at these prices.

        Floats are enough to say so: rounding to them never turns an order around. Only where they
        are equal the exact prices must decide.
        """
        return self.rests and (ask > self._limit if self.order.is_buy else bid < self._limit)


class _Book:
    """One quote (or trade) as money, with what is left of the sizes it shows; None is no limit."""

    __slots__ = ("ask", "ask_left", "bid", "bid_left", "source")

    def __init__(self, source: MarketEvent, top: _Top) -> None:
        self.source = source
        self.bid, self.ask = Decimal(str(top[0])), Decimal(str(top[2]))
        self.bid_left, self.ask_left = _displayed(top[1]), _displayed(top[3])


class Matcher:
    """Match orders against market data; every method takes `now` in ns and returns what happened.

    Args:
        fee_bps: fee in 1/10,000 of the notional, added to every fill.
        respect_size: whether a fill takes at most the size displayed (the rest waits for the next
            quote); without it every order fills whole.
        max_quote_age_ns: data heard longer ago fills nothing; a bar stays good for its span.
    """

    def __init__(
        self,
        *,
        fee_bps: Decimal = Decimal(1),
        respect_size: bool = True,
        max_quote_age_ns: int = MINUTE,
    ) -> None:
        self._fee_bps = fee_bps
        self._respect_size = respect_size
        self._max_age = max_quote_age_ns
        self._quotes: dict[Symbol, Quote | QuoteBar] = {}
        self._trades: dict[Symbol, Trade | Bar] = {}
        self._books: dict[Symbol, _Book] = {}
        self._working: dict[Symbol, dict[str, _Working]] = {}
        self._symbols: dict[str, Symbol] = {}  # of every id ever used: an id is good once

    def submit(self, order: VenueOrder, now: int, fills: int = 0) -> list[Report]:
        """Take an order: match it at once as far as the market goes, then let it wait.

        `fills` are those that it has had elsewhere: their numbers are not used again.
        """
        reason = self._objection(order)
        if reason:
            return [Rejected(order.order_id, now, reason)]
        self._symbols[order.order_id] = order.symbol
        self._working.setdefault(order.symbol, {})[order.order_id] = _Working(order, fills)
        reports: list[Report] = [Accepted(order.order_id, now)]
        reports += self._match(order.symbol, now)
        if order.immediate:
            reports += self._end(order.order_id, now, "nothing more could fill at once")
        return reports

    def cancel(self, order_id: str, now: int) -> list[Report]:
        """End a working order; nothing happens where none works under this id."""
        return self._end(order_id, now, "cancelled on request")

    def on_market(self, events: Sequence[MarketEvent], now: int) -> list[Report]:
        """Take a batch in order; what is no market data is passed over.

        A bar counts as a trade at its close, a quote bar as its closing quote.
        """
        # Hundreds of thousands of times a second with nothing working: only remember.
        quotes, trades, working = self._quotes, self._trades, self._working
        reports: list[Report] = []
        for event in events:
            kind = type(event)
            if kind is Quote or kind is QuoteBar:
                quotes[event.symbol] = event  # type: ignore[assignment]
            elif kind is Trade or kind is Bar:
                trades[event.symbol] = event  # type: ignore[assignment]
            else:
                continue
            if working and event.symbol in working:
                reports += self._match(event.symbol, now)
        return reports

    def on_quote(self, quote: Quote | QuoteBar, now: int) -> list[Report]:
        """Take one new top of the book."""
        return self.on_market((quote,), now)

    def on_trade(self, trade: Trade | Bar, now: int) -> list[Report]:
        """Take one new last price."""
        return self.on_market((trade,), now)

    def _objection(self, order: VenueOrder) -> str:
        if order.order_id in self._symbols:
            return f"the id {order.order_id} was used before"
        if not _is_amount(order.quantity):
            return f"the quantity is {order.quantity}: above 0 and at most {_LARGEST:g} is needed"
        if _EXACT.remainder(order.quantity, order.lot):
            return f"the quantity {order.quantity} is not a multiple of the lot, {order.lot:f}"
        limit = order.limit_price
        if limit is not None and not _is_amount(limit):
            return f"the limit price is {limit}: above 0 and at most {_LARGEST:g} is needed"
        return ""

    def _end(self, order_id: str, now: int, reason: str) -> list[Report]:
        symbol = self._symbols.get(order_id)
        if symbol is None or order_id not in self._working.get(symbol, ()):
            return []
        self._remove(symbol, order_id)
        return [Cancelled(order_id, now, reason)]

    def _remove(self, symbol: Symbol, order_id: str) -> None:
        of_symbol = self._working[symbol]
        del of_symbol[order_id]
        if not of_symbol:
            del self._working[symbol]

    def _match(self, symbol: Symbol, now: int) -> list[Report]:
        source = self._quotes.get(symbol) or self._trades.get(symbol)
        if source is None:
            return []
        top = _top(source)
        working = self._working[symbol].values()
        if all(each.stays(top[0], top[2]) for each in working):
            return []
        book = self._book(source, top, now)
        if book is None:
            return []
        fills = [self._fill(each, book, now) for each in list(working)]
        return [fill for fill in fills if fill is not None]

    def _fill(self, working: _Working, book: _Book, now: int) -> Filled | None:
        order = working.order
        price, left = (book.ask, book.ask_left) if order.is_buy else (book.bid, book.bid_left)
        limit = order.limit_price
        if limit is not None:
            if price > limit if order.is_buy else price < limit:
                working.rests = True
                return None
            price = limit if working.rests else price
        quantity = working.remaining
        if left is not None and self._respect_size:
            whole_lots = _EXACT.multiply(_EXACT.divide_int(left, order.lot), order.lot)
            quantity = min(quantity, whole_lots)
            if not quantity:
                return None
            left = _EXACT.subtract(left, quantity)
            if order.is_buy:
                book.ask_left = left
            else:
                book.bid_left = left
        working.remaining = _EXACT.subtract(working.remaining, quantity)
        working.fills += 1
        if not working.remaining:
            self._remove(order.symbol, order.order_id)
        return Filled(
            order_id=order.order_id,
            time=now,
            fill_id=f"{order.order_id}-{working.fills}",
            symbol=order.symbol,
            is_buy=order.is_buy,
            quantity=quantity,
            price=price,
            fee=self._fee(quantity, price),
            remaining=working.remaining,
        )

    def _fee(self, quantity: Decimal, price: Decimal) -> Decimal:
        share = _EXACT.multiply(_EXACT.multiply(quantity, price), self._fee_bps)
        return share.scaleb(-4, _EXACT).quantize(FEE_QUANTUM, context=_EXACT)

    def _book(self, source: MarketEvent, top: _Top, now: int) -> _Book | None:
        """The market that may fill now: None where it is stale, no market, or off the trades."""
        if self._is_stale(source, now) or not _SMALLEST <= top[0] <= top[2] <= _LARGEST:
            return None
        trade = self._trades.get(source.symbol)
        is_measure = trade is not None and trade is not source and not self._is_stale(trade, now)
        if trade is not None and is_measure and is_far_off(top[0], top[2], trade.price):
            return None
        book = self._books.get(source.symbol)
        if book is None or book.source is not source:
            book = self._books[source.symbol] = _Book(source, top)
        return book

    def _is_stale(self, source: MarketEvent, now: int) -> bool:
        if isinstance(source, Bar | QuoteBar):
            heard = max(source.received, source.end_time)
            return now - heard > max(self._max_age, source.span)
        return now - source.received > self._max_age


def _top(source: MarketEvent) -> _Top:
    """Read the two sides; a last price stands for both, with no size told."""
    if type(source) is Quote:
        return source.bid, source.bid_size, source.ask, source.ask_size
    if type(source) is QuoteBar:
        return source.bid.close, source.bid_size, source.ask.close, source.ask_size
    return source.price, 0.0, source.price, 0.0


def _displayed(size: float) -> Decimal | None:
    if size == 0.0:
        return None
    return Decimal(str(size)) if _SMALLEST <= size <= _LARGEST else _ZERO


def _is_amount(value: Decimal) -> bool:
    return value.is_finite() and 0 < value <= _LARGEST
