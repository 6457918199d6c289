"""The state machine of one order.

Everything an order can go through is a row of TRANSITIONS; what has no row raises. A fill is money:
it is counted once by its id whenever it arrives, even after the order has ended, and never beyond
the order's quantity. A state that ended stays.
"""

from decimal import Decimal
from enum import StrEnum

import msgspec

from runtime.errors import IllegalTransition
from runtime.trading.orders import (
    EXACT,
    MEAN,
    ZERO,
    Fill,
    Order,
    OrderEvent,
    OrderState,
    OrderType,
    OrderUpdate,
    UpdateKind,
)


class Request(StrEnum):
    """What we ask of the venue."""

    SUBMIT = "submit"
    AMEND = "amend"
    CANCEL = "cancel"


def _transitions() -> dict[tuple[OrderState, Request | UpdateKind], OrderState]:
    s, u = OrderState, UpdateKind
    ended: dict[Request | UpdateKind, OrderState] = {
        u.REJECTED: s.REJECTED,
        u.CANCELLED: s.CANCELLED,
        u.EXPIRED: s.EXPIRED,
        u.LOST: s.UNKNOWN,
    }

    def stays(state: OrderState) -> dict[Request | UpdateKind, OrderState]:
        """What is about its terms changes no state; our own wish is possible while it works."""
        return dict.fromkeys((u.TRIGGERED, u.TRAILED, u.AMENDED, u.AMEND_REJECTED), state)

    rows: dict[OrderState, dict[Request | UpdateKind, OrderState]] = {
        # Refused by risk, or taken back, before it was sent.
        s.NEW: {Request.SUBMIT: s.SUBMITTED, Request.CANCEL: s.CANCELLED, u.REJECTED: s.REJECTED},
        # A fill may overtake the acceptance.
        s.SUBMITTED: {
            Request.CANCEL: s.CANCEL_PENDING,
            u.ACCEPTED: s.ACCEPTED,
            u.FILL: s.PARTIALLY_FILLED,
            **ended,
            **stays(s.SUBMITTED),
        },
        s.ACCEPTED: {
            Request.AMEND: s.ACCEPTED,
            Request.CANCEL: s.CANCEL_PENDING,
            u.ACCEPTED: s.ACCEPTED,
            u.FILL: s.PARTIALLY_FILLED,
            **ended,
            **stays(s.ACCEPTED),
        },
        s.PARTIALLY_FILLED: {
            Request.AMEND: s.PARTIALLY_FILLED,
            Request.CANCEL: s.CANCEL_PENDING,
            u.ACCEPTED: s.PARTIALLY_FILLED,
            u.FILL: s.PARTIALLY_FILLED,
            **{kind: to for kind, to in ended.items() if kind is not u.REJECTED},
            **stays(s.PARTIALLY_FILLED),
        },
        # A fill may cross our request to cancel.
        s.CANCEL_PENDING: {
            u.ACCEPTED: s.CANCEL_PENDING,
            u.FILL: s.CANCEL_PENDING,
            **ended,
            **stays(s.CANCEL_PENDING),
        },
        s.UNKNOWN: {
            Request.CANCEL: s.CANCEL_PENDING,
            u.ACCEPTED: s.ACCEPTED,
            u.FILL: s.PARTIALLY_FILLED,
            **ended,
            **stays(s.UNKNOWN),
        },
        # Ended: late and repeated news changes nothing, but a late fill is money and is counted.
        s.FILLED: {u.ACCEPTED: s.FILLED, u.LOST: s.FILLED, **stays(s.FILLED)},
        s.CANCELLED: {
            **stays(s.CANCELLED),
            u.ACCEPTED: s.CANCELLED,
            u.FILL: s.CANCELLED,
            u.CANCELLED: s.CANCELLED,
            u.LOST: s.CANCELLED,
        },
        s.REJECTED: {
            **stays(s.REJECTED),
            u.ACCEPTED: s.REJECTED,
            u.FILL: s.REJECTED,
            u.REJECTED: s.REJECTED,
            u.LOST: s.REJECTED,
        },
        s.EXPIRED: {
            **stays(s.EXPIRED),
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

    Attributes:
        order: with the terms it has now.
        wanted: the terms that were asked for and not answered, None where none were.
        filled: in base units.
        fees: in the currency of the price.
        triggered: whether its stop price was reached.
        duplicates: how many updates told nothing new.
        reason: the last one a broker gave.
    """

    __slots__ = (
        "_fill_ids",
        "_in_doubt",
        "_notional",
        "duplicates",
        "fees",
        "filled",
        "order",
        "reason",
        "state",
        "triggered",
        "wanted",
    )

    def __init__(self, order: Order) -> None:
        self.order = order
        self.state = OrderState.NEW
        self.filled = ZERO
        self.fees = ZERO
        self.reason = ""
        self.duplicates = 0
        self.triggered = False
        self.wanted: Order | None = None
        self._notional = ZERO
        self._fill_ids: set[str] = set()
        self._in_doubt = False

    @property
    def remaining(self) -> Decimal:
        """What is not filled, whether or not it still can be."""
        return EXACT.subtract(self.order.quantity, self.filled)

    @property
    def notional(self) -> Decimal:
        """What its fills were worth: each quantity times its price, in that currency."""
        return self._notional

    @property
    def is_amendable(self) -> bool:
        """Whether other terms may be asked for: it works, and nothing is asked of it already."""
        return (self.state, Request.AMEND) in TRANSITIONS and self.wanted is None

    @property
    def is_cancelling(self) -> bool:
        """Whether its end was asked for and has not come."""
        return self.state is OrderState.CANCEL_PENDING

    @property
    def is_unknown(self) -> bool:
        """Whether nobody can say what the venue has of it, also while its end is asked for."""
        return self._in_doubt and self.state.is_open

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

    def request_amend(self, terms: Order) -> None:
        """Note the wish for other terms, and that the broker is asked.

        Raises:
            IllegalTransition: it does not work, or is ending.
        """
        self.state = self._next(Request.AMEND)
        self.wanted = terms

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
        is_news = fill is not None or self._hear(update)
        state = self._settle(state)
        if state is OrderState.UNKNOWN:
            self._in_doubt = True
        elif update.kind is not UpdateKind.LOST:
            self._in_doubt = False
        if not is_news and state is self.state:
            self.duplicates += update.kind is not UpdateKind.TRAILED
            return None
        self.state = state
        self.reason = update.reason or self.reason
        return OrderEvent(
            order_id=order.id,
            symbol=order.symbol,
            side=order.side,
            status=state,
            time=update.time,
            quantity=self.order.quantity,
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

    def _hear(self, update: OrderUpdate) -> bool:
        """Take what was told about its terms; whether that was news."""
        if self.state.is_terminal:
            return False
        match update.kind:
            case UpdateKind.TRIGGERED:
                was, self.triggered = self.triggered, True
                return not was
            case UpdateKind.TRAILED:  # no news for a strategy, which asked for just that
                self.order = msgspec.structs.replace(self.order, stop_price=update.stop_price)
            case UpdateKind.AMENDED:
                before, self.wanted = self.order, None
                terms = update.terms or before
                if terms.type is OrderType.TRAILING_STOP:  # which moves its stop by itself
                    terms = msgspec.structs.replace(terms, stop_price=before.stop_price)
                self.order = terms
                return self.order != before
            case UpdateKind.AMEND_REJECTED:
                asked, self.wanted = self.wanted, None
                return asked is not None
        return False

    def _count(self, fill: Fill) -> None:
        # The fill may be told before the answer to our wish for a larger quantity.
        wanted = self.order.quantity if self.wanted is None else self.wanted.quantity
        most = max(self.order.quantity, wanted)
        if fill.quantity > EXACT.subtract(most, self.filled):
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
