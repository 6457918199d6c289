"""A broker that fills on paper: the venue's matching, in this process, on the data of the feed.

Only words are translated here; `feeds.venue.matching` says when, at what price and how much an
order fills. Nothing is delayed: a market order fills against the market the strategy has just seen.
"""

from collections.abc import Callable, Sequence

from feeds.events import MarketEvent
from feeds.symbols import guess_class
from feeds.venue.matching import Matcher
from feeds.venue.orders import (
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
)
from feeds.venue.working import Past
from runtime.trading.orders import (
    ClientOrderId,
    Fill,
    Order,
    OrderType,
    OrderUpdate,
    Side,
    TimeInForce,
    UpdateKind,
)
from runtime.trading.risk import Approved, lot_size
from runtime.trading.tracked import TrackedOrder


class PaperBroker:
    """Fill approved orders locally.

    Args:
        matcher: says when, at what price, how much and at what cost an order fills.
    """

    name = "paper"

    def __init__(self, matcher: Matcher | None = None) -> None:
        self._matcher = matcher or Matcher()
        self._terms: dict[str, Order] = {}  # of the orders that are amended, until that is answered
        self._updates: list[OrderUpdate] = []

    def submit(self, approved: Approved, now: int) -> None:
        """Hand the order to the matching; it may fill before this returns."""
        self._tell(self._matcher.submit(_to_venue(approved.order), now))

    def cancel(self, order_id: ClientOrderId, now: int) -> None:
        """End the order where it still works."""
        self._tell(self._matcher.cancel(order_id, now))

    def amend(self, approved: Approved, now: int) -> None:
        """Change the terms of the order where it still works."""
        order = approved.order
        changes = Changes(
            order.quantity,
            order.limit_price,
            # A trailing stop has moved by itself; only its distance is ours to change.
            None if order.type is OrderType.TRAILING_STOP else order.stop_price,
            None if order.trailing_as_percentage else order.trailing_amount,
            order.trailing_amount if order.trailing_as_percentage else None,
        )
        self._terms[order.id] = order
        self._tell(self._matcher.amend(order.id, changes, now))

    def on_market(self, events: Sequence[MarketEvent], now: int) -> None:
        """Let the data, or the time, fill what waits."""
        reports = self._matcher.on_market(events, now)
        if reports:
            self._tell(reports)

    def next_wake(self) -> int | None:
        """Return when an order arrives, expires or takes part in a close."""
        return self._matcher.next_wake()

    def take_updates(self) -> list[OrderUpdate]:
        """Return the reports since the last call, in order."""
        updates, self._updates = self._updates, []
        return updates

    def restore(self, tracked: TrackedOrder, fills: int, now: int) -> None:
        """Go on with an order that was approved in a run before, and had so many fills there.

        A trailing stop follows from where it was last told to be.
        """
        past = Past(fills, tracked.filled, tracked.notional, tracked.fees, tracked.triggered)
        self._tell(self._matcher.submit(_to_venue(tracked.order), now, past))

    def listen(self, wake: Callable[[], None]) -> None:
        """Do nothing: reports come with what is asked and told."""

    async def settle(self) -> None:
        """Return at once: nothing is on the way."""

    def close(self) -> None:
        """Do nothing: nothing is held open."""

    async def run(self) -> None:
        """Return at once: nobody is talked to."""

    def _tell(self, reports: Sequence[Report]) -> None:
        self._updates += [self._from_venue(report) for report in reports]

    def _from_venue(self, report: Report) -> OrderUpdate:
        order_id, time = ClientOrderId(report.order_id), report.time
        match report:
            case Filled():
                fill = Fill(
                    fill_id=report.fill_id,
                    order_id=order_id,
                    symbol=report.symbol,
                    side=Side.BUY if report.is_buy else Side.SELL,
                    quantity=report.quantity,
                    price=report.price,
                    fee=report.fee,
                    time=time,
                )
                return OrderUpdate(order_id, UpdateKind.FILL, time, fill)
            case Accepted():
                return OrderUpdate(order_id, UpdateKind.ACCEPTED, time)
            case Triggered(stop_price=price):
                reason = f"the stop price {price} was reached"
                return OrderUpdate(order_id, UpdateKind.TRIGGERED, time, reason=reason)
            case Trailed(stop_price=price):
                return OrderUpdate(order_id, UpdateKind.TRAILED, time, stop_price=price)
            case Amended():
                terms = self._terms.pop(order_id)
                return OrderUpdate(order_id, UpdateKind.AMENDED, time, terms=terms)
            case AmendRejected(reason=reason):
                self._terms.pop(order_id, None)
                return OrderUpdate(order_id, UpdateKind.AMEND_REJECTED, time, reason=reason)
            case Rejected(reason=reason) | Cancelled(reason=reason) | Expired(reason=reason):
                return OrderUpdate(order_id, _ENDS[type(report)], time, reason=reason)


_ENDS: dict[type[Report], UpdateKind] = {
    Rejected: UpdateKind.REJECTED,
    Cancelled: UpdateKind.CANCELLED,
    Expired: UpdateKind.EXPIRED,
}


def _to_venue(order: Order) -> VenueOrder:
    trail, is_share = order.trailing_amount, order.trailing_as_percentage
    return VenueOrder(
        order_id=order.id,
        symbol=order.symbol,
        is_buy=order.side is Side.BUY,
        quantity=order.quantity,
        limit_price=order.limit_price,
        immediate=order.time_in_force in {TimeInForce.IOC, TimeInForce.FOK},
        lot=lot_size(guess_class(order.symbol)),
        stop_price=order.stop_price,
        trail=None if is_share else trail,
        trail_share=trail if is_share else None,
        whole=order.time_in_force is TimeInForce.FOK,
        at_open=order.due if order.type is OrderType.MARKET_ON_OPEN else None,
        at_close=order.due if order.type is OrderType.MARKET_ON_CLOSE else None,
        expires=order.expires or None,
    )
