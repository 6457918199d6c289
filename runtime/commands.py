"""What the engine asks for, as values; shells carry them out. Nothing here acts."""

import msgspec

from feeds.base import Subscription
from feeds.events import Symbol
from runtime.trading.daily_loss import DayBegun
from runtime.trading.orders import ClientOrderId
from runtime.trading.risk import Approved
from runtime.training.jobs import JobRequest, TrainingHandle


class Submit(msgspec.Struct, frozen=True):
    """Send an approved order to the broker."""

    approved: Approved


class AmendOrder(msgspec.Struct, frozen=True):
    """Ask the broker for other terms of an order; they are approved as a new order would be."""

    approved: Approved


class CancelOrder(msgspec.Struct, frozen=True):
    """Ask the broker to take an order back."""

    order_id: ClientOrderId


class Train(msgspec.Struct, frozen=True):
    """Queue a training job; the handle is already in the strategy's hands."""

    request: JobRequest
    handle: TrainingHandle


class Register(msgspec.Struct, frozen=True):
    """Know a training that is asked for later, so that a person may ask for it before."""

    request: JobRequest


class HoldTraining(msgspec.Struct, frozen=True):
    """Let training wait, because a market is open, or go on."""

    held: bool


class Subscribe(msgspec.Struct, frozen=True):
    """Have the feed bring a symbol that was added while the run goes on."""

    subscription: Subscription


class Unsubscribe(msgspec.Struct, frozen=True):
    """Have the feed bring a symbol no more."""

    symbol: Symbol


class Log(msgspec.Struct, frozen=True):
    """Write one line; `level` is debug, info, warning or error. Fields may have any name."""

    level: str
    event: str
    fields: dict[str, object] = msgspec.field(default_factory=dict)


class NoteDay(msgspec.Struct, frozen=True):
    """Keep what a day began with, for a run that begins amid it."""

    begun: DayBegun


class Halt(msgspec.Struct, frozen=True):
    """Let no order leave from now on, until a person has looked, also not in the next run."""

    reason: str


class Stop(msgspec.Struct, frozen=True):
    """End the run in order; `failed` decides the exit code."""

    reason: str
    failed: bool = False


Command = (
    Submit
    | AmendOrder
    | CancelOrder
    | Train
    | Register
    | HoldTraining
    | Subscribe
    | Unsubscribe
    | Log
    | NoteDay
    | Halt
    | Stop
)
