"""One order at the venue that is not done: whether it sleeps, waits for its price, or fills."""

from decimal import Decimal

import msgspec

from feeds.events import Bar, MarketEvent, Quote, QuoteBar, Trade
from feeds.venue.orders import EXACT, LARGEST, ZERO, VenueOrder

TOLD_AT = 10
"""A trailing stop is told whenever it has moved by its distance over this."""


class Past(msgspec.Struct, frozen=True):
    """What an order has had elsewhere, before it came here."""

    fills: int = 0
    quantity: Decimal = ZERO
    notional: Decimal = ZERO
    fees: Decimal = ZERO
    triggered: bool = False


class Working:
    """An order, what is left of it, and what it has seen of the market.

    Attributes:
        rests: it was seen waiting for its limit, and fills at it.
        sleeps: its stop price has not been reached.
        stop: the price that wakes it, moving where it trails; None before the first price.
        since: when it came, ns: what a bar reached before that counts for nothing.
        reached: the price at which a bar took the order, while that bar is the market.
    """

    __slots__ = (
        "_limit",
        "_moved",
        "_told",
        "_trails",
        "fees",
        "filled",
        "fills",
        "notional",
        "order",
        "reached",
        "remaining",
        "rests",
        "since",
        "sleeps",
        "stop",
    )

    def __init__(self, order: VenueOrder, past: Past, since: int) -> None:
        self.order = order
        self.remaining = EXACT.subtract(order.quantity, past.quantity)
        self.filled, self.notional, self.fees = past.quantity, past.notional, past.fees
        self.fills = past.fills
        self.since = since
        self.rests = False
        self.sleeps = order.sleeps and not past.triggered
        self.stop = order.stop_price
        self.reached: Decimal | None = None
        self._limit = float(order.limit_price or 0)
        self._told = order.stop_price
        self._moved: Decimal | None = None
        self._trails = not (order.trail is order.trail_share is None)

    def stays(self, top: tuple[float, float], event: MarketEvent | None, has_trades: bool) -> bool:
        """Whether it surely goes on waiting for its price, with these bid and ask and this event.

        Floats are enough to say so: rounding to them never turns an order around. Only where they
        are equal the exact prices must decide.
        """
        is_buy = self.order.is_buy
        if not self.sleeps:
            return self.rests and (top[1] > self._limit if is_buy else top[0] < self._limit)
        if self._trails or event is None or self.stop is None:
            return False
        if type(event) is not Trade:
            return has_trades
        return event.price < float(self.stop) if is_buy else event.price > float(self.stop)

    def hear(self, event: MarketEvent, *, has_trades: bool) -> bool:
        """Follow the market with the stop; return whether the order woke just now.

        Trades decide; a quote does by the side that would fill, for a symbol without trades.
        """
        self.reached = None
        is_buy = self.order.is_buy
        if type(event) is Bar:
            first, highest, lowest = self._span(event)
            self._reach(event, first, lowest if is_buy else highest)
        elif type(event) is Trade:
            highest = lowest = first = event.price
        elif has_trades:
            return False
        else:
            highest = lowest = first = _side(event, is_buy=is_buy)
        if not (self.sleeps and lowest > 0):
            return False
        if self.stop is not None and self._is_reached(highest if is_buy else lowest):
            self.sleeps = False
            # A bar went through the stop somewhere: there, or where it opened beyond it.
            there = Decimal(str(first))
            self.reached = max(there, self.stop) if is_buy else min(there, self.stop)
            return True
        self._follow(Decimal(str(lowest if is_buy else highest)))
        return False

    def take_moved(self) -> Decimal | None:
        """Return where the stop trails now, once it has moved enough to be told."""
        moved, self._moved = self._moved, None
        if moved is not None:
            self._told = moved
        return moved

    def amend(self, order: VenueOrder) -> None:
        """Go on with other terms, behind the others."""
        self.remaining = EXACT.subtract(order.quantity, self.filled)
        if order.stop_price != self.order.stop_price:
            self.stop = order.stop_price
        self.order = order
        self.rests = False
        self._limit = float(order.limit_price or 0)

    def count(self, quantity: Decimal, price: Decimal, fee: Decimal) -> None:
        """Note one fill."""
        self.remaining = EXACT.subtract(self.remaining, quantity)
        self.filled = EXACT.add(self.filled, quantity)
        self.notional = EXACT.fma(quantity, price, self.notional)
        self.fees = EXACT.add(self.fees, fee)
        self.fills += 1

    def _span(self, bar: Bar) -> tuple[float, float, float]:
        """Where a bar opened, its highest and its lowest price, as far as the order saw it."""
        if (
            bar.time >= self.since
            and 0
            < bar.low
            <= min(bar.open, bar.close)
            <= max(bar.open, bar.close)
            <= bar.high
            <= LARGEST
        ):
            return bar.open, bar.high, bar.low
        return bar.close, bar.close, bar.close

    def _reach(self, bar: Bar, first: float, farthest: float) -> None:
        """A bar that traded through the limit of an order that waited has filled it there."""
        order, limit = self.order, self.order.limit_price
        if order.at_open is not None and bar.time >= order.at_open:
            self.reached = Decimal(str(first))
        elif (
            limit is not None
            and self.rests
            and not self.sleeps
            and (farthest < self._limit if order.is_buy else farthest > self._limit)
        ):
            self.reached = limit

    def _is_reached(self, farthest: float) -> bool:
        stop = float(self.stop or 0)
        return farthest >= stop if self.order.is_buy else farthest <= stop

    def _follow(self, best: Decimal) -> None:
        """Move a trailing stop behind the best price so far, never back."""
        order = self.order
        distance = order.trail
        if order.trail_share is not None:
            distance = EXACT.multiply(best, order.trail_share)
        if distance is None:
            return
        if order.is_buy:
            stop = EXACT.add(best, distance)
            self.stop = stop if self.stop is None else min(self.stop, stop)
        else:
            stop = EXACT.subtract(best, distance)
            self.stop = stop if self.stop is None else max(self.stop, stop)
        if self._told is None or abs(self.stop - self._told) * TOLD_AT >= distance:
            self._moved = self.stop


def _side(event: MarketEvent, *, is_buy: bool) -> float:
    if type(event) is Quote:
        return event.ask if is_buy else event.bid
    if type(event) is QuoteBar:
        return event.ask.close if is_buy else event.bid.close
    return event.price
