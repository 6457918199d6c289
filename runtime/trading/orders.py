"""The words of trading. Quantities are positive: `side` holds the direction."""

from decimal import ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, InvalidOperation, Overflow
from enum import StrEnum
from typing import NewType

import msgspec

from feeds.events import Symbol

ClientOrderId = NewType("ClientOrderId", str)
"""Our name for an order: given by the runtime, unique for ever, known to the venue."""

EXACT = Context(
    prec=120, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, DivisionByZero, Overflow]
)
"""Money is added and multiplied in this context: no product or sum of real prices rounds in it."""

MEAN = Context(prec=28)
"""Averages are shown in this context: they are for reading, no money is kept in them."""

ZERO = Decimal(0)

LARGEST = Decimal("1e15")
"""No quantity or price above this is meant: it is a fault of a strategy or of the data."""


class Side(StrEnum):
    """Which way the position moves."""

    BUY = "buy"
    SELL = "sell"


class OrderType(StrEnum):
    """When an order takes part in the market, and what decides the price of its fills.

    A stop order sleeps until the market has reached its stop price, a trailing one until the market
    has turned by its distance; then it is a market order, or a limit order where it has a limit.
    """

    MARKET = "market"
    LIMIT = "limit"
    STOP_MARKET = "stop_market"
    STOP_LIMIT = "stop_limit"
    TRAILING_STOP = "trailing_stop"
    MARKET_ON_OPEN = "market_on_open"
    MARKET_ON_CLOSE = "market_on_close"


class TimeInForce(StrEnum):
    """How long an order works.

    GTC until it is cancelled; DAY until its market closes; IOC once, what does not fill at once is
    cancelled; FOK once, and whole or not at all.
    """

    GTC = "gtc"
    DAY = "day"
    IOC = "ioc"
    FOK = "fok"


class OrderState(StrEnum):
    """Where an order stands. UNKNOWN: sent, and whether the venue has it cannot be said now."""

    NEW = "new"
    SUBMITTED = "submitted"
    ACCEPTED = "accepted"
    PARTIALLY_FILLED = "partially_filled"
    CANCEL_PENDING = "cancel_pending"
    UNKNOWN = "unknown"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CANCELED = "cancelled"  # LEAN's spelling
    INVALID = "rejected"  # LEAN's word

    @property
    def is_terminal(self) -> bool:
        """Whether the order has ended; a late fill can still add to it."""
        return self in _TERMINAL

    @property
    def is_open(self) -> bool:
        """Whether it works, or may work, at the venue."""
        return self not in _TERMINAL


_TERMINAL = frozenset(
    {OrderState.FILLED, OrderState.CANCELLED, OrderState.REJECTED, OrderState.EXPIRED}
)


class UpdateKind(StrEnum):
    """What a broker reports. LOST: the answer to a request did not come, so it may or may not be.

    REJECTED is about the order, never about a request to cancel it. TRIGGERED: its stop price was
    reached; TRAILED: it has moved by itself. AMENDED and AMEND_REJECTED answer a request for other
    terms.
    """

    ACCEPTED = "accepted"
    FILL = "fill"
    TRIGGERED = "triggered"
    TRAILED = "trailed"
    AMENDED = "amended"
    AMEND_REJECTED = "amend_rejected"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    LOST = "lost"


class Order(msgspec.Struct, frozen=True):
    """A proposal as the strategy made it: nothing in it is checked until risk reviews it.

    Attributes:
        quantity: in base units, above 0.
        limit_price: no worse than this, in the currency of the price; None where the type has none.
        created: when, ns.
        stop_price: wakes a stop order; None for other types, and for a trailing one that begins to
            follow at the first price it sees.
        trailing_amount: how far a trailing stop follows the best price.
        trailing_as_percentage: whether that is a share of the price (0.05) and no amount.
        due: when the open or close is that an order for it takes part in, ns; 0 for other types.
        expires: when what is left of it ends, ns; 0 for never.
    """

    id: ClientOrderId
    symbol: Symbol
    side: Side
    quantity: Decimal
    type: OrderType = OrderType.MARKET
    limit_price: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    tag: str = ""
    created: int = 0
    stop_price: Decimal | None = None
    trailing_amount: Decimal | None = None
    trailing_as_percentage: bool = False
    due: int = 0
    expires: int = 0

    @property
    def signed_quantity(self) -> Decimal:
        """The change of position it asks for: negative for a sell."""
        return self.quantity if self.side is Side.BUY else self.quantity.copy_negate()


class Fill(msgspec.Struct, frozen=True):
    """One execution: `quantity` > 0 at `price` > 0, `time` the venue's; a `fee` < 0 is a rebate.

    Raises:
        ValueError: the quantity or the price is not a positive finite number, or the fee is not
            finite.
    """

    fill_id: str
    order_id: ClientOrderId
    symbol: Symbol
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal
    time: int

    def __post_init__(self) -> None:
        for name, value in (("quantity", self.quantity), ("price", self.price)):
            if not (value.is_finite() and value > 0):
                raise ValueError(f"fill {self.fill_id}: {name} is {value}, it must be above 0")
        if not self.fee.is_finite():
            raise ValueError(f"fill {self.fill_id}: fee is {self.fee}, it must be finite")

    @property
    def signed_quantity(self) -> Decimal:
        """The change of position: negative for a sell."""
        return self.quantity if self.side is Side.BUY else self.quantity.copy_negate()


class OrderUpdate(msgspec.Struct, frozen=True):
    """What a broker reports about one order.

    `fill` comes with FILL and with nothing else, `terms` (the order as it is now) with AMENDED,
    `stop_price` with TRAILED.
    `external` is the order itself where somebody else has placed it and it was not heard of before.

    Raises:
        ValueError: one of them is missing, comes with another kind, or is of another order.
    """

    order_id: ClientOrderId
    kind: UpdateKind
    time: int
    fill: Fill | None = None
    reason: str = ""
    terms: Order | None = None
    external: Order | None = None
    stop_price: Decimal | None = None

    def __post_init__(self) -> None:
        if (self.stop_price is not None) != (self.kind is UpdateKind.TRAILED):
            raise ValueError(f"order {self.order_id}: {self.kind} with stop {self.stop_price!r}")
        if (self.terms is not None) != (self.kind is UpdateKind.AMENDED):
            raise ValueError(f"order {self.order_id}: {self.kind} with terms {self.terms!r}")
        if self.terms is not None and self.terms.id != self.order_id:
            raise ValueError(f"order {self.order_id}: the terms are of {self.terms.id}")
        if (self.fill is not None) != (self.kind is UpdateKind.FILL):
            raise ValueError(f"order {self.order_id}: {self.kind} with fill {self.fill!r}")
        if self.fill is not None and self.fill.order_id != self.order_id:
            raise ValueError(f"order {self.order_id}: the fill is of {self.fill.order_id}")


class OrderEvent(msgspec.Struct, frozen=True):
    """What `on_order_event` gets: an order has changed.

    `quantity` is the order's, `filled_quantity` all of it that is filled by now; `fill_quantity`,
    `fill_price` and `fee` belong to this event and are 0 where it is not a fill. All quantities
    are positive (LEAN's are negative for a sell): `side` holds the direction.
    """

    order_id: ClientOrderId
    symbol: Symbol
    side: Side
    status: OrderState
    time: int
    quantity: Decimal
    filled_quantity: Decimal
    fill_quantity: Decimal = ZERO
    fill_price: Decimal = ZERO
    fee: Decimal = ZERO
    message: str = ""
    tag: str = ""

    @property
    def direction(self) -> Side:
        """LEAN's name for `side`."""
        return self.side

    @property
    def absolute_fill_quantity(self) -> Decimal:
        """LEAN's name for `fill_quantity`."""
        return self.fill_quantity

    @property
    def order_fee(self) -> Decimal:
        """LEAN's name for `fee`."""
        return self.fee


class OrderTerms(msgspec.Struct, frozen=True):
    """What kind of order a strategy asks for: its type, prices, and how long it works."""

    type: OrderType = OrderType.MARKET
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    trailing_amount: Decimal | None = None
    trailing_as_percentage: bool = False
    time_in_force: TimeInForce = TimeInForce.GTC


AT_MARKET = OrderTerms()
