"""The venue's own words for orders and what comes of them: it is another party than the runtime."""

from decimal import ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, InvalidOperation, Overflow

import msgspec

from feeds.events import Symbol

EXACT = Context(
    prec=120, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, DivisionByZero, Overflow]
)
"""No product or sum of real prices and sizes rounds in this context."""

ZERO = Decimal(0)

SMALLEST, LARGEST = 1e-15, 1e15
"""A price or size outside is a fault of the data, and would not fit the exact arithmetic."""


class VenueOrder(msgspec.Struct, frozen=True):
    """What a client asks for: without any price it is a market order.

    Attributes:
        limit_price: no worse price than this.
        immediate: what cannot fill at once is cancelled.
        lot: its quantity and its fills are multiples of it.
        stop_price: the order sleeps until the market has reached this.
        trail: a stop that follows the market at this distance, in the currency of the price.
        trail_share: the same as a share of the price, such as 0.05.
        whole: with `immediate`, it fills whole or not at all.
        at_open: it takes part in the first market at this time or after, ns.
        at_close: it takes part in the market as it stands at this time, ns.
        expires: what is left of it ends at this time, ns.
    """

    order_id: str
    symbol: Symbol
    is_buy: bool
    quantity: Decimal
    limit_price: Decimal | None = None
    immediate: bool = False
    lot: Decimal = Decimal(1)
    stop_price: Decimal | None = None
    trail: Decimal | None = None
    trail_share: Decimal | None = None
    whole: bool = False
    at_open: int | None = None
    at_close: int | None = None
    expires: int | None = None

    @property
    def sleeps(self) -> bool:
        """Whether it waits for a stop price first."""
        return not (self.stop_price is self.trail is self.trail_share is None)


class Changes(msgspec.Struct, frozen=True):
    """What a client wants otherwise about a working order; None leaves it as it is."""

    quantity: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    trail: Decimal | None = None
    trail_share: Decimal | None = None


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


class Triggered(msgspec.Struct, frozen=True):
    """The market has reached the stop price: from here on the order works as one without."""

    order_id: str
    time: int
    stop_price: Decimal


class Trailed(msgspec.Struct, frozen=True):
    """The stop price has moved by a tenth of its distance, or more, since that was last told."""

    order_id: str
    time: int
    stop_price: Decimal


class Amended(msgspec.Struct, frozen=True):
    """The order goes on with other terms."""

    order_id: str
    time: int
    order: VenueOrder


class AmendRejected(msgspec.Struct, frozen=True):
    """The order goes on, or has ended, as it was."""

    order_id: str
    time: int
    reason: str


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


class Expired(msgspec.Struct, frozen=True):
    """The order's time is over, with a part unfilled."""

    order_id: str
    time: int
    reason: str


Report = (
    Accepted
    | Filled
    | Triggered
    | Trailed
    | Amended
    | AmendRejected
    | Rejected
    | Cancelled
    | Expired
)


def objection(order: VenueOrder) -> str:
    """Return why this is no order, "" where it is one."""
    if not is_amount(order.quantity):
        return f"the quantity is {order.quantity}: above 0 and at most {LARGEST:g} is needed"
    if EXACT.remainder(order.quantity, order.lot):
        return f"the quantity {order.quantity} is not a multiple of the lot, {order.lot:f}"
    for name in ("limit_price", "stop_price", "trail"):
        value = getattr(order, name)
        if value is not None and not is_amount(value):
            words = name.replace("_", " ")
            return f"the {words} is {value}: above 0 and at most {LARGEST:g} is needed"
    share = order.trail_share
    if share is not None and not (share.is_finite() and 0 < share < 1):
        return f"the trail is {share} of the price: above 0 and below 1 is needed"
    if order.trail is not None and share is not None:
        return "the trail is an amount or a share of the price, not both"
    return ""


def is_amount(value: Decimal) -> bool:
    """Whether this can be a quantity or a price."""
    return value.is_finite() and 0 < value <= LARGEST
