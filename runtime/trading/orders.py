"""The words of trading, and the state machine of one order.

Everything an order can go through is a row of TRANSITIONS; what has no row raises. A fill is money:
it is counted once by its id whenever it arrives, even after the order has ended, and never beyond
the order's quantity. A state that ended stays. Quantities are positive: `side` holds the direction.
"""

from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, InvalidOperation, Overflow
from enum import StrEnum
from typing import NewType

import msgspec

from feeds.events import Symbol
from runtime.errors import IllegalTransition

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
    """What decides the price of a fill: the market, or a limit that it must not pass."""

    MARKET = "market"
    LIMIT = "limit"


class TimeInForce(StrEnum):
    """How long an order works: until cancelled, or once (the rest is cancelled at once)."""

    GTC = "gtc"
    IOC = "ioc"


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

    REJECTED is about the order, never about a request to cancel it.
    """

    ACCEPTED = "accepted"
    FILL = "fill"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    LOST = "lost"


class Request(StrEnum):
    """What we ask of the venue."""

    SUBMIT = "submit"
    CANCEL = "cancel"


class Order(msgspec.Struct, frozen=True):
    """A proposal as the strategy made it: nothing in it is checked until risk reviews it.

    `quantity` in base units, `limit_price` in the account's currency and None for a market order,
    `created` in ns.
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
    """What a broker reports about one order; `fill` comes with FILL and with nothing else.

    Raises:
        ValueError: a FILL without a fill, or a fill with another kind or of another order.
    """

    order_id: ClientOrderId
    kind: UpdateKind
    time: int
    fill: Fill | None = None
    reason: str = ""

    def __post_init__(self) -> None:
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


def _transitions() -> dict[tuple[OrderState, Request | UpdateKind], OrderState]:
    s, u = OrderState, UpdateKind
    ended: dict[Request | UpdateKind, OrderState] = {
        u.REJECTED: s.REJECTED,
        u.CANCELLED: s.CANCELLED,
        u.EXPIRED: s.EXPIRED,
        u.LOST: s.UNKNOWN,
    }
    rows: dict[OrderState, dict[Request | UpdateKind, OrderState]] = {
        # Refused by risk, or taken back, before it was sent.
        s.NEW: {Request.SUBMIT: s.SUBMITTED, Request.CANCEL: s.CANCELLED, u.REJECTED: s.REJECTED},
        # A fill may overtake the acceptance.
        s.SUBMITTED: {
            Request.CANCEL: s.CANCEL_PENDING,
            u.ACCEPTED: s.ACCEPTED,
            u.FILL: s.PARTIALLY_FILLED,
            **ended,
        },
        s.ACCEPTED: {
            Request.CANCEL: s.CANCEL_PENDING,
            u.ACCEPTED: s.ACCEPTED,
            u.FILL: s.PARTIALLY_FILLED,
            **ended,
        },
        s.PARTIALLY_FILLED: {
            Request.CANCEL: s.CANCEL_PENDING,
            u.ACCEPTED: s.PARTIALLY_FILLED,
            u.FILL: s.PARTIALLY_FILLED,
            **{kind: to for kind, to in ended.items() if kind is not u.REJECTED},
        },
        # A fill may cross our request to cancel.
        s.CANCEL_PENDING: {u.ACCEPTED: s.CANCEL_PENDING, u.FILL: s.CANCEL_PENDING, **ended},
        s.UNKNOWN: {
            Request.CANCEL: s.CANCEL_PENDING,
            u.ACCEPTED: s.ACCEPTED,
            u.FILL: s.PARTIALLY_FILLED,
            **ended,
        },
        # Ended: late and repeated news changes nothing, but a late fill is money and is counted.
        s.FILLED: {u.ACCEPTED: s.FILLED, u.LOST: s.FILLED},
        s.CANCELLED: {
            u.ACCEPTED: s.CANCELLED,
            u.FILL: s.CANCELLED,
            u.CANCELLED: s.CANCELLED,
            u.LOST: s.CANCELLED,
        },
        s.REJECTED: {
            u.ACCEPTED: s.REJECTED,
            u.FILL: s.REJECTED,
            u.REJECTED: s.REJECTED,
            u.LOST: s.REJECTED,
        },
        s.EXPIRED: {
            u.ACCEPTED: s.EXPIRED,
            u.FILL: s.EXPIRED,
            u.EXPIRED: s.EXPIRED,
            u.LOST: s.EXPIRED,
        },
    }
    return {(state, kind): to for state, row in rows.items() for kind, to in row.items()}


TRANSITIONS = _transitions()
"""(state, what came) -> state; no row means that it may not come.

Two things follow from the quantity, not from the row: an open order whose fills are complete is
FILLED, and one that is ACCEPTED with fills is PARTIALLY_FILLED.
"""


class TrackedOrder:
    """One order on its way: told what was asked and what the broker reported.

    `filled` in base units, `fees` in the account's currency; `duplicates` counts the updates that
    told nothing new; `reason` is the last one a broker gave.
    """

    __slots__ = (
        "_fill_ids",
        "_notional",
        "duplicates",
        "fees",
        "filled",
        "order",
        "reason",
        "state",
    )

    def __init__(self, order: Order) -> None:
        self.order = order
        self.state = OrderState.NEW
        self.filled = ZERO
        self.fees = ZERO
        self.reason = ""
        self.duplicates = 0
        self._notional = ZERO
        self._fill_ids: set[str] = set()

    @property
    def remaining(self) -> Decimal:
        """What is not filled, whether or not it still can be."""
        return EXACT.subtract(self.order.quantity, self.filled)

    @property
    def is_cancelling(self) -> bool:
        """Whether its end was asked for and has not come."""
        return self.state is OrderState.CANCEL_PENDING

    @property
    def average_price(self) -> Decimal:
        """The mean price of the fills by quantity (28 digits), 0 before the first."""
        return MEAN.divide(self._notional, self.filled) if self.filled else ZERO

    def submit(self) -> None:
        """Note that the order is handed to the broker.

        Raises:
            IllegalTransition: it is not NEW.
        """
        self.state = self._next(Request.SUBMIT)

    def request_cancel(self) -> bool:
        """Note the wish to cancel; return whether the broker must be asked.

        False where there is nothing to ask for: it has ended, was never sent, or was asked before.
        """
        if self.state.is_terminal or self.is_cancelling:
            return False
        self.state = self._next(Request.CANCEL)
        return self.is_cancelling

    def apply(self, update: OrderUpdate) -> OrderEvent | None:
        """Take what the broker reported; return the event of it, None where it tells nothing new.

        Raises:
            IllegalTransition: no row of the table allows it, or the fill is more than is left.
            ValueError: the update is of another order, or its fill of another symbol or side.
        """
        fill = update.fill
        order = self.order
        if update.order_id != order.id:
            raise ValueError(f"order {order.id} was told of order {update.order_id}")
        if fill is not None and (fill.symbol, fill.side) != (order.symbol, order.side):
            raise ValueError(f"order {order.id} cannot take a {fill.side} of {fill.symbol}")
        if fill is not None and fill.fill_id in self._fill_ids:
            self.duplicates += 1
            return None
        state = self._next(update.kind)
        if fill is not None:
            self._count(fill)
        state = self._settle(state)
        if fill is None and state is self.state:
            self.duplicates += 1
            return None
        self.state = state
        self.reason = update.reason or self.reason
        return OrderEvent(
            order_id=order.id,
            symbol=order.symbol,
            side=order.side,
            status=state,
            time=update.time,
            quantity=order.quantity,
            filled_quantity=self.filled,
            fill_quantity=ZERO if fill is None else fill.quantity,
            fill_price=ZERO if fill is None else fill.price,
            fee=ZERO if fill is None else fill.fee,
            message=update.reason,
            tag=order.tag,
        )

    def _next(self, kind: Request | UpdateKind) -> OrderState:
        to = TRANSITIONS.get((self.state, kind))
        if to is None:
            raise IllegalTransition(f"order {self.order.id}", self.state, kind)
        return to

    def _count(self, fill: Fill) -> None:
        if fill.quantity > self.remaining:
            raise IllegalTransition(
                f"order {self.order.id} ({self.filled} of {self.order.quantity} filled)",
                self.state,
                f"a fill of {fill.quantity}",
            )
        self._fill_ids.add(fill.fill_id)
        self.filled = EXACT.add(self.filled, fill.quantity)
        self.fees = EXACT.add(self.fees, fill.fee)
        self._notional = EXACT.fma(fill.quantity, fill.price, self._notional)

    def _settle(self, state: OrderState) -> OrderState:
        if state.is_open and self.filled >= self.order.quantity:
            return OrderState.FILLED
        if state is OrderState.ACCEPTED and self.filled:
            return OrderState.PARTIALLY_FILLED
        return state


class OrderTicket:
    """A strategy's hold on one order: always shows how it stands now; `cancel` asks for its end."""

    __slots__ = ("_cancel", "_tracked")

    def __init__(self, tracked: TrackedOrder, cancel: Callable[[ClientOrderId], None]) -> None:
        self._tracked = tracked
        self._cancel = cancel

    @property
    def order_id(self) -> ClientOrderId:
        """The runtime's name for the order."""
        return self._tracked.order.id

    @property
    def order(self) -> Order:
        """The order as it was made."""
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
            self._cancel(self.order_id)

    def __repr__(self) -> str:
        order = self._tracked.order
        return (
            f"OrderTicket({order.id}: {order.side} {order.quantity} {order.symbol}, "
            f"{self.status}, {self.quantity_filled} filled at {self.average_fill_price})"
        )
