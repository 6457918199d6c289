"""A strategy's hold on one order, and what it may want otherwise about it."""

from decimal import Decimal
from typing import Protocol

import msgspec

from feeds.events import Symbol
from runtime.trading.orders import ClientOrderId, Order, OrderState, Side
from runtime.trading.tracked import TrackedOrder


class Amendment(msgspec.Struct, frozen=True):
    """Other terms for an order that works; None leaves one as it is."""

    quantity: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    trailing_amount: Decimal | None = None

    def of(self, order: Order) -> Order:
        """Return the order with these terms."""
        terms = msgspec.structs.asdict(self)
        return msgspec.structs.replace(
            order, **{name: value for name, value in terms.items() if value is not None}
        )


class TicketDoor(Protocol):
    """What a ticket can ask for."""

    def cancel(self, order_id: ClientOrderId) -> None:
        """Ask for the end of an order."""
        ...

    def amend(self, order_id: ClientOrderId, amendment: Amendment) -> bool:
        """Ask for other terms; return whether the broker was asked."""
        ...


class OrderTicket:
    """A strategy's hold on one order: always shows how it stands now."""

    __slots__ = ("_door", "_tracked")

    def __init__(self, tracked: TrackedOrder, door: TicketDoor) -> None:
        self._tracked = tracked
        self._door = door

    @property
    def order_id(self) -> ClientOrderId:
        """The runtime's name for the order."""
        return self._tracked.order.id

    @property
    def order(self) -> Order:
        """The order with the terms it has now."""
        return self._tracked.order

    @property
    def symbol(self) -> Symbol:
        """What is traded."""
        return self._tracked.order.symbol

    @property
    def side(self) -> Side:
        """Buy or sell."""
        return self._tracked.order.side

    @property
    def tag(self) -> str:
        """The text given with the order."""
        return self._tracked.order.tag

    @property
    def status(self) -> OrderState:
        """Where the order stands."""
        return self._tracked.state

    @property
    def reason(self) -> str:
        """Why it was refused, rejected or cancelled, where that was said."""
        return self._tracked.reason

    @property
    def quantity(self) -> Decimal:
        """What was ordered, positive."""
        return self._tracked.order.quantity

    @property
    def quantity_filled(self) -> Decimal:
        """What of it is filled, positive."""
        return self._tracked.filled

    @property
    def average_fill_price(self) -> Decimal:
        """The mean price of the fills, 0 before the first."""
        return self._tracked.average_price

    def cancel(self) -> None:
        """Ask for the end of the order; what has ended stays as it is."""
        if self.status.is_open:
            self._door.cancel(self.order_id)

    def update(
        self,
        *,
        quantity: float | Decimal | None = None,
        limit_price: float | Decimal | None = None,
        stop_price: float | Decimal | None = None,
        trailing_amount: float | Decimal | None = None,
    ) -> bool:
        """Ask for other terms; the order loses its place in the venue's queue.

        Args:
            quantity: the whole of it, what is filled included; positive.
            limit_price: where the order has one.
            stop_price: where the order has one that was not reached.
            trailing_amount: where the order has one.

        Returns:
            Whether it was asked for: it works, nothing else is asked of it, and risk allows the
            terms; else the log says why not. The venue's answer comes as an order event.
        """
        given = (quantity, limit_price, stop_price, trailing_amount)
        exact = (None if value is None else Decimal(str(value)) for value in given)
        return self._door.amend(self.order_id, Amendment(*exact))

    def __repr__(self) -> str:
        order = self._tracked.order
        return (
            f"OrderTicket({order.id}: {order.side} {order.quantity} {order.symbol}, "
            f"{self.status}, {self.quantity_filled} filled at {self.average_fill_price})"
        )
