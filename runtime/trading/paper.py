"""A broker that fills on paper: the venue's matching, in this process, on the data of the feed.

Only words are translated here; `feeds.venue.matching` says when, at what price and how much an
order fills. Nothing is delayed: a market order fills against the market the strategy has just seen.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal

import msgspec

from feeds.events import MINUTE, MarketEvent
from feeds.symbols import guess_class
from feeds.venue.matching import Accepted, Filled, Matcher, Rejected, Report, VenueOrder
from runtime.trading.orders import (
    ClientOrderId,
    Fill,
    Order,
    OrderUpdate,
    Side,
    TimeInForce,
    UpdateKind,
)
from runtime.trading.risk import Approved, lot_size


class PaperBroker:
    """Fill approved orders locally. The settings are those of `Matcher`."""

    name = "paper"

    def __init__(
        self,
        *,
        fee_bps: Decimal = Decimal(1),
        respect_size: bool = True,
        max_quote_age_ns: int = MINUTE,
    ) -> None:
        self._matcher = Matcher(
            fee_bps=fee_bps, respect_size=respect_size, max_quote_age_ns=max_quote_age_ns
        )
        self._updates: list[OrderUpdate] = []

    def submit(self, approved: Approved, now: int) -> None:
        """Hand the order to the matching; it may fill before this returns."""
        self._tell(self._matcher.submit(_to_venue(approved.order), now))

    def cancel(self, order_id: ClientOrderId, now: int) -> None:
        """End the order where it still works."""
        self._tell(self._matcher.cancel(order_id, now))

    def on_market(self, events: Sequence[MarketEvent], now: int) -> None:
        """Let the data fill what waits."""
        reports = self._matcher.on_market(events, now)
        if reports:
            self._tell(reports)

    def take_updates(self) -> list[OrderUpdate]:
        """Return the reports since the last call, in order."""
        updates, self._updates = self._updates, []
        return updates

    def restore(self, order: Order, remaining: Decimal, fills: int, now: int) -> None:
        """Go on with an order that was approved in a run before, and had so many fills there."""
        again = msgspec.structs.replace(_to_venue(order), quantity=remaining)
        self._tell(self._matcher.submit(again, now, fills))

    def listen(self, wake: Callable[[], None]) -> None:
        """Do nothing: reports come with what is asked and told."""

    async def settle(self) -> None:
        """Return at once: nothing is on the way."""

    def close(self) -> None:
        """Do nothing: nothing is held open."""

    async def run(self) -> None:
        """Return at once: nobody is talked to."""

    def _tell(self, reports: Sequence[Report]) -> None:
        self._updates += [_from_venue(report) for report in reports]


def _to_venue(order: Order) -> VenueOrder:
    return VenueOrder(
        order_id=order.id,
        symbol=order.symbol,
        is_buy=order.side is Side.BUY,
        quantity=order.quantity,
        limit_price=order.limit_price,
        immediate=order.time_in_force is TimeInForce.IOC,
        lot=lot_size(guess_class(order.symbol)),
    )


def _from_venue(report: Report) -> OrderUpdate:
    order_id = ClientOrderId(report.order_id)
    if isinstance(report, Accepted):
        return OrderUpdate(order_id, UpdateKind.ACCEPTED, report.time)
    if isinstance(report, Filled):
        fill = Fill(
            fill_id=report.fill_id,
            order_id=order_id,
            symbol=report.symbol,
            side=Side.BUY if report.is_buy else Side.SELL,
            quantity=report.quantity,
            price=report.price,
            fee=report.fee,
            time=report.time,
        )
        return OrderUpdate(order_id, UpdateKind.FILL, report.time, fill)
    kind = UpdateKind.REJECTED if isinstance(report, Rejected) else UpdateKind.CANCELLED
    return OrderUpdate(order_id, kind, report.time, reason=report.reason)
