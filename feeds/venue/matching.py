"""Orders against the market as it is told: buys at the ask, sells at the bid, no kinder than that.

Only the newest quote of a symbol counts, while it is sane and fresh; where a symbol never had one,
its newest trade or bar. A quote gives the size it shows once, to all orders together as they
arrived (0.0: no size was told, no limit). An order that waited for its limit fills at its limit,
one that did not at the market's price. A bar that traded through a price fills there what had
waited for that price since before the bar began.
"""

import heapq
import itertools
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial

import msgspec

from feeds.events import MINUTE, Bar, MarketEvent, Quote, QuoteBar, Symbol, Trade
from feeds.sanity import is_far_off
from feeds.venue.costs import Execution, FeeModel, PercentFee, SlippageModel
from feeds.venue.orders import (
    EXACT,
    LARGEST,
    SMALLEST,
    ZERO,
    Accepted,
    Amended,
    AmendRejected,
    Cancelled,
    Changes,
    Expired,
    Filled,
    Rejected,
    Report,
    Trailed,
    Triggered,
    VenueOrder,
    objection,
)
from feeds.venue.working import Past, Working

_Top = tuple[float, float, float, float]  # bid, its size, ask, its size
_Timers = list[tuple[int, int, str, Callable[[int], list[Report]]]]  # when, serial, order, what


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
        fees: what each fill costs.
        slippage: how much worse than the market an order fills that takes; None: not at all.
        respect_size: whether a fill takes at most the size displayed (the rest waits for the next
            quote); without it every order fills whole.
        participation: of a trade or bar, where there are no quotes, a fill takes at most this share
            of the size; None: no limit.
        max_quote_age_ns: data heard longer ago fills nothing; a bar stays good for its span.
        latency_ns: orders and what is asked about them arrive so much later.
        is_open: whether a symbol's market trades at a time; where it does not, nothing fills but
            orders for the close.
    """

    def __init__(
        self,
        *,
        fees: FeeModel = PercentFee(Decimal(1)),  # noqa: B008  # frozen
        slippage: SlippageModel | None = None,
        respect_size: bool = True,
        participation: Decimal | None = None,
        max_quote_age_ns: int = MINUTE,
        latency_ns: int = 0,
        is_open: Callable[[Symbol, int], bool] | None = None,
    ) -> None:
        self._fees = fees
        self._slippage = slippage
        self._respect_size = respect_size
        self._participation = participation
        self._max_age = max_quote_age_ns
        self._latency = latency_ns
        self._is_open = is_open
        self._quotes: dict[Symbol, Quote | QuoteBar] = {}
        self._trades: dict[Symbol, Trade | Bar] = {}
        self._books: dict[Symbol, _Book] = {}
        self._working: dict[Symbol, dict[str, Working]] = {}
        self._symbols: dict[str, Symbol] = {}  # of every id ever used: an id is good once
        self._serial = itertools.count()
        self._timers: _Timers = []
        self._closings: _Timers = []  # a market closes with the data of that moment, not before it

    # ---- what clients ask --------------------------------------------------------------------

    def submit(self, order: VenueOrder, now: int, past: Past = Past()) -> list[Report]:  # noqa: B008  # frozen
        """Take an order: match it at once as far as the market goes, then let it wait.

        Args:
            order: whose id was never used.
            now: ns.
            past: what it has had elsewhere; the numbers of those fills are not used again.
        """
        reason = objection(order)
        if order.order_id in self._symbols:
            reason = f"the id {order.order_id} was used before"
        if reason:
            return [Rejected(order.order_id, now, reason)]
        self._symbols[order.order_id] = order.symbol
        return self._later(now, partial(self._arrive, order, past), order.order_id)

    def cancel(self, order_id: str, now: int) -> list[Report]:
        """End a working order; nothing happens where none works under this id."""
        return self._later(now, partial(self._cancel, order_id), order_id)

    def amend(self, order_id: str, changes: Changes, now: int) -> list[Report]:
        """Change the terms of a working order; it loses its place in the queue."""
        return self._later(now, partial(self._amend, order_id, changes), order_id)

    # ---- what the market says ----------------------------------------------------------------

    def on_market(self, events: Sequence[MarketEvent], now: int) -> list[Report]:
        """Take a batch in order; what is no market data is passed over. It may be empty.

        A bar counts as a trade at its close, a quote bar as its closing quote.
        """
        reports: list[Report] = []
        if self._timers:
            reports += self._run(self._timers, now)
        # Hundreds of thousands of times a second with nothing working: only remember.
        quotes, trades, working = self._quotes, self._trades, self._working
        for event in events:
            kind = type(event)
            if kind is Quote or kind is QuoteBar:
                quotes[event.symbol] = event  # type: ignore[assignment]
            elif kind is Trade or kind is Bar:
                trades[event.symbol] = event  # type: ignore[assignment]
            else:
                continue
            if working and event.symbol in working:
                reports += self._match(event.symbol, now, event)
        if self._closings:
            reports += self._run(self._closings, now)
        return reports

    def on_quote(self, quote: Quote | QuoteBar, now: int) -> list[Report]:
        """Take one new top of the book."""
        return self.on_market((quote,), now)

    def on_trade(self, trade: Trade | Bar, now: int) -> list[Report]:
        """Take one new last price."""
        return self.on_market((trade,), now)

    def next_wake(self) -> int | None:
        """Return when `on_market` is next needed although no data comes, ns; None: not at all."""
        if not (self._timers or self._closings):  # as ever so often: it is asked at each step
            return None
        return min(
            (timers[0][0] for timers in (self._timers, self._closings) if timers), default=None
        )

    # ---- time --------------------------------------------------------------------------------

    def _later(self, now: int, what: Callable[[int], list[Report]], order_id: str) -> list[Report]:
        if not self._latency:
            return what(now)
        self._at(self._timers, now + self._latency, order_id, what)
        return []

    def _at(
        self, timers: _Timers, when: int, order_id: str, what: Callable[[int], list[Report]]
    ) -> None:
        heapq.heappush(timers, (when, next(self._serial), order_id, what))

    def _run(self, timers: _Timers, now: int) -> list[Report]:
        reports: list[Report] = []
        while timers and timers[0][0] <= now:
            reports += heapq.heappop(timers)[3](now)
        return reports

    def _expire(self, order_id: str, now: int) -> list[Report]:
        if self._working_order(order_id) is None:
            return []
        self._remove(order_id)
        return [Expired(order_id, now, "its time is over")]

    def _close(self, symbol: Symbol, now: int) -> list[Report]:
        return self._match(symbol, now, None) if symbol in self._working else []

    # ---- orders ------------------------------------------------------------------------------

    def _arrive(self, order: VenueOrder, past: Past, now: int) -> list[Report]:
        name, symbol = order.order_id, order.symbol
        if order.expires is not None:
            if order.expires <= now:
                return [Accepted(name, now), Expired(name, now, "its time is over")]
            self._at(self._timers, order.expires, name, partial(self._expire, name))
        working = Working(order, past, now)
        self._working.setdefault(symbol, {})[name] = working
        reports: list[Report] = [Accepted(name, now)]
        if order.at_close is not None and order.at_close > now:
            self._at(self._closings, order.at_close, name, partial(self._close, symbol))
        source = self._trades.get(symbol) or self._quotes.get(symbol)
        reports += self._match(symbol, now, source if working.sleeps else None)
        if order.immediate and self._working_order(name) is not None:
            self._remove(name)
            whole = "it could not fill whole at once" if order.whole else ""
            reports.append(Cancelled(name, now, whole or "nothing more could fill at once"))
        return reports

    def _cancel(self, order_id: str, now: int) -> list[Report]:
        if self._working_order(order_id) is None:
            return []
        self._remove(order_id)
        return [Cancelled(order_id, now, "cancelled on request")]

    def _amend(self, order_id: str, changes: Changes, now: int) -> list[Report]:
        working = self._working_order(order_id)
        if working is None:
            return [AmendRejected(order_id, now, "it does not work")]
        wanted = {
            name: value
            for name, value in msgspec.structs.asdict(changes).items()
            if value is not None
        }
        for name in wanted:
            if getattr(working.order, name) is None:
                words = name.replace("_", " ")
                return [AmendRejected(order_id, now, f"it has no {words} to change")]
        order = msgspec.structs.replace(working.order, **wanted)
        reason = objection(order)
        if order.quantity <= working.filled:
            reason = f"{working.filled} of it is filled already"
        if changes.stop_price is not None and not working.sleeps:
            reason = "its stop price was reached already"
        if reason:
            return [AmendRejected(order_id, now, reason)]
        working.amend(order)
        of_symbol = self._working[order.symbol]
        of_symbol[order_id] = of_symbol.pop(order_id)  # behind the others
        return [Amended(order_id, now, order), *self._match(order.symbol, now, None)]

    def _working_order(self, order_id: str) -> Working | None:
        symbol = self._symbols.get(order_id)
        return None if symbol is None else self._working.get(symbol, {}).get(order_id)

    def _remove(self, order_id: str) -> None:
        symbol = self._symbols[order_id]
        of_symbol = self._working[symbol]
        order = of_symbol.pop(order_id).order
        if not of_symbol:
            del self._working[symbol]
        if order.expires is not None or order.at_close is not None:  # nobody is to be woken for it
            for timers in (self._timers, self._closings):
                timers[:] = [each for each in timers if each[2] != order_id]
                heapq.heapify(timers)

    # ---- fills -------------------------------------------------------------------------------

    def _match(self, symbol: Symbol, now: int, event: MarketEvent | None) -> list[Report]:
        source = self._quotes.get(symbol) or self._trades.get(symbol)
        if source is None:
            return []
        top = _top(source)
        working = self._working[symbol].values()
        sides, has_trades = (top[0], top[2]), symbol in self._trades
        if type(event) is not Bar and all(each.stays(sides, event, has_trades) for each in working):
            return []
        book = self._book(source, top, now)
        if book is None:
            return []
        is_open = self._is_open is None or self._is_open(symbol, now)
        reports: list[Report] = []
        for each in list(working):
            order = each.order
            if not is_open and (order.at_close is None or now < order.at_close):
                continue
            if event is not None and each.hear(event, has_trades=has_trades):
                assert each.stop is not None  # noqa: S101  # it was reached
                reports.append(Triggered(order.order_id, now, each.stop))
            elif (stop := each.take_moved()) is not None:
                reports.append(Trailed(order.order_id, now, stop))
            if each.sleeps or not _may_trade(order, source, now):
                continue
            fill = self._fill(each, book, now)
            if fill is not None:
                reports.append(fill)
        return reports

    def _fill(self, working: Working, book: _Book, now: int) -> Filled | None:
        order = working.order
        price, left = (book.ask, book.ask_left) if order.is_buy else (book.bid, book.bid_left)
        if working.reached is not None and type(book.source) is Bar:
            price = working.reached
        limit = order.limit_price
        if limit is not None:
            if price > limit if order.is_buy else price < limit:
                working.rests = True
                return None
            price = limit if working.rests else price
        quantity = self._available(order, working.remaining, left)
        if not quantity or (order.whole and quantity < working.remaining):
            return None
        if not working.rests:
            price = self._slipped(order, price, quantity, left)
        if left is not None and self._respect_size:
            left = EXACT.subtract(left, quantity)
            if order.is_buy:
                book.ask_left = left
            else:
                book.bid_left = left
        fee = self._fees.fee(
            Execution(
                quantity, price, working.rests, working.filled, working.notional, working.fees
            )
        )
        working.count(quantity, price, fee)
        if not working.remaining:
            self._remove(order.order_id)
        return Filled(
            order_id=order.order_id,
            time=now,
            fill_id=f"{order.order_id}-{working.fills}",
            symbol=order.symbol,
            is_buy=order.is_buy,
            quantity=quantity,
            price=price,
            fee=fee,
            remaining=working.remaining,
        )

    def _available(self, order: VenueOrder, wanted: Decimal, left: Decimal | None) -> Decimal:
        if left is None or not self._respect_size:
            return wanted
        return min(wanted, EXACT.multiply(EXACT.divide_int(left, order.lot), order.lot))

    def _slipped(
        self, order: VenueOrder, price: Decimal, quantity: Decimal, left: Decimal | None
    ) -> Decimal:
        """The price of an order that takes: worse by the slippage, but never beyond its limit."""
        if self._slippage is None:
            return price
        share = self._slippage.share(quantity, left)
        change = EXACT.multiply(price, share)
        if order.is_buy:
            price = EXACT.add(price, change)
            return price if order.limit_price is None else min(price, order.limit_price)
        price = EXACT.subtract(price, change)
        return price if order.limit_price is None else max(price, order.limit_price)

    def _book(self, source: MarketEvent, top: _Top, now: int) -> _Book | None:
        """The market that may fill now: None where it is stale, no market, or off the trades."""
        if self._is_stale(source, now) or not SMALLEST <= top[0] <= top[2] <= LARGEST:
            return None
        trade = self._trades.get(source.symbol)
        is_measure = trade is not None and trade is not source and not self._is_stale(trade, now)
        if trade is not None and is_measure and is_far_off(top[0], top[2], trade.price):
            return None
        book = self._books.get(source.symbol)
        if book is None or book.source is not source:
            book = self._books[source.symbol] = _Book(source, top)
            if self._participation is not None and isinstance(source, Trade | Bar):
                size = source.size if isinstance(source, Trade) else source.volume
                shown = _displayed(size) or ZERO
                book.bid_left = book.ask_left = EXACT.multiply(shown, self._participation)
        return book

    def _is_stale(self, source: MarketEvent, now: int) -> bool:
        if isinstance(source, Bar | QuoteBar):
            heard = max(source.received, source.end_time)
            return now - heard > max(self._max_age, source.span)
        return now - source.received > self._max_age


def _may_trade(order: VenueOrder, source: MarketEvent, now: int) -> bool:
    """Whether an order for the open or the close takes part by now."""
    if order.at_open is not None and source.time < order.at_open:
        return False
    return order.at_close is None or now >= order.at_close


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
    return Decimal(str(size)) if SMALLEST <= size <= LARGEST else ZERO
