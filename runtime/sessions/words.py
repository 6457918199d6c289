"""What a recorded session is made of: every call of the engine, in order, and what it answered.

Between two calls stands what else has changed for the strategy: a model, whether training is on,
a halt, attributes that a job has assigned. All that a replay needs is in here, but for the models
themselves, which lie beside it.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from feeds.events import Bar, Gap, Malformed, Quote, QuoteBar, Status, Trade
from runtime.commands import AmendOrder, CancelOrder, Command, Submit
from runtime.trading.daily_loss import DayBegun
from runtime.trading.orders import (
    ClientOrderId,
    Fill,
    Order,
    OrderState,
    OrderUpdate,
    UpdateKind,
)
from runtime.trading.recovered import Recovered
from runtime.trading.tracked import TrackedOrder

FORMAT = 1
ATTRIBUTES = "attributes that jobs assigned"
"""The name under which they lie beside the models; the number stands for the version."""

KINDS: tuple[type[Any], ...] = (Trade, Quote, Bar, QuoteBar, Gap, Status, Malformed, OrderUpdate)
_PLACES = {kind: place for place, kind in enumerate(KINDS)}
_READ = [msgspec.msgpack.Decoder(kind) for kind in KINDS]

Told = Sequence[tuple[int, Any]]
"""Events: the place of each one's class in KINDS, and the event."""


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What the session was: `settings` as plain values, `strategy` a reference to its file.

    `digest` is that of the strategy's file and of the modules beside it.
    """

    format: int = FORMAT
    run: str
    strategy: str
    name: str
    digest: str
    began: int
    tidegate: str
    python: str
    settings: dict[str, Any]


class Submitted(msgspec.Struct, frozen=True, tag="submit"):
    """An order that was sent."""

    order: Order


class Amended(msgspec.Struct, frozen=True, tag="amend"):
    """Other terms of an order that were sent."""

    order: Order


class Cancelled(msgspec.Struct, frozen=True, tag="cancel"):
    """A cancel that was sent."""

    order_id: ClientOrderId


Out = Submitted | Amended | Cancelled


class Started(msgspec.Struct, frozen=True, tag="start"):
    """`initialize`; `raised` is the error's sentence, "" where there was none."""

    now: int
    out: list[Out] = []
    raised: str = ""


class Stepped(msgspec.Struct, frozen=True, tag="step"):
    """Data, reports or time alone; times ns UTC."""

    now: int
    closing: bool
    events: list[tuple[int, msgspec.Raw]]
    out: list[Out] = []
    raised: str = ""


class Held(msgspec.Struct, frozen=True, tag="stop"):
    """From here on every order is refused."""


class Finished(msgspec.Struct, frozen=True, tag="finish"):
    """`on_end_of_algorithm`."""

    now: int
    out: list[Out] = []
    raised: str = ""


class Halted(msgspec.Struct, frozen=True, tag="halt"):
    """A person lets no order leave, or with "" lets them again."""

    reason: str


class Switched(msgspec.Struct, frozen=True, tag="training"):
    """Training was switched on or off."""

    is_on: bool


class SlotStood(msgspec.Struct, frozen=True, tag="slot"):
    """How a slot stood from here on; versions are 0 where there is none."""

    slot: str
    version: int
    previous: int
    cause: str
    ready_version: int
    text: str


class Assigned(msgspec.Struct, frozen=True, tag="assigned"):
    """What jobs have assigned: `plain` are here, `number` is where others lie, 0 for none."""

    number: int
    removed: list[str]
    plain: dict[str, bytes] = {}


class TakenOver(msgspec.Struct, frozen=True, tag="account"):
    """The account of the run before: orders with their states and reasons, fills in order."""

    cash: str | None
    orders: list[tuple[Order, OrderState, str]]
    fills: list[Fill]
    day: DayBegun | None = None
    currency: str = ""
    balances: dict[str, str] = {}


class Ended(msgspec.Struct, frozen=True, tag="end"):
    """The recording ended in order; the digest is that of all reports, as in a backtest."""

    orders_sha256: str
    reason: str = ""


Entry = (
    Started
    | Stepped
    | Held
    | Finished
    | Halted
    | Switched
    | SlotStood
    | Assigned
    | TakenOver
    | Ended
)


def told(events: Iterable[object]) -> list[tuple[int, Any]]:
    """Return events as they are written."""
    return [(_PLACES[type(event)], event) for event in events]


def heard(events: Iterable[tuple[int, msgspec.Raw]]) -> list[Any]:
    """Return events as they were.

    Raises:
        msgspec.MsgspecError: they are not.
    """
    return [_READ[place].decode(event) for place, event in events]


def out_of(commands: Iterable[Command]) -> list[Out]:
    """Return what of the engine's commands is an order."""
    found: list[Out] = []
    for command in commands:
        if isinstance(command, Submit):
            found.append(Submitted(command.approved.order))
        elif isinstance(command, AmendOrder):
            found.append(Amended(command.approved.order))
        elif isinstance(command, CancelOrder):
            found.append(Cancelled(command.order_id))
    return found


def describe(out: Out | None) -> str:
    """Write an order as people read it."""
    match out:
        case None:
            return "nothing"
        case Cancelled(order_id):
            return f"a cancel of {order_id}"
        case Amended(order):
            return f"an amendment to {_words_of(order)}"
        case Submitted(order):
            return _words_of(order)


def _words_of(order: Order) -> str:
    stop = "" if order.stop_price is None else f" stop {order.stop_price}"
    limit = "" if order.limit_price is None else f" at {order.limit_price}"
    return f"{order.side} {order.quantity} {order.symbol}{stop}{limit} ({order.type}, {order.id})"


def taken_over(found: Recovered) -> TakenOver:
    """Return an account as it is written."""
    return TakenOver(
        None if found.cash is None else str(found.cash),
        [(each.order, each.state, each.reason) for each in found.orders],
        list(found.fills),
        found.day,
        found.currency,
        {name: str(amount) for name, amount in found.balances.items()},
    )


def recovered(entry: TakenOver) -> Recovered:
    """Return an account as it was."""
    orders = []
    for order, state, reason in entry.orders:
        tracked = TrackedOrder(order)
        tracked.submit()
        for fill in entry.fills:
            if fill.order_id == order.id:
                tracked.apply(OrderUpdate(order.id, UpdateKind.FILL, fill.time, fill))
        tracked.state, tracked.reason = state, reason
        orders.append(tracked)
    cash = None if entry.cash is None else Decimal(entry.cash)
    return Recovered(
        cash,
        tuple(orders),
        tuple(entry.fills),
        day=entry.day,
        currency=entry.currency,
        balances={name: Decimal(amount) for name, amount in entry.balances.items()},
    )
