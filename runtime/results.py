"""What a backtest leaves: its books over time, its fills, its trainings; plain values, no clock.

Nothing in here grows with the length of the data but the fills and the jobs.
"""

import hashlib
from collections.abc import Sequence
from decimal import Decimal

import msgspec

from feeds.events import Symbol
from runtime.trading.orders import Fill, OrderUpdate, Side
from runtime.training.updates import TrainingUpdate, TrainingUpdateKind

SHOWN = frozenset(TrainingUpdateKind) - {TrainingUpdateKind.PROGRESS, TrainingUpdateKind.SAID}


class Sample(msgspec.Struct, frozen=True):
    """The account at a moment (ns UTC), in its currency: float64, for charts and statistics.

    `exposure` is what is held, shorts counted positive; `available` tokens of the training quota.
    """

    time: int
    equity: float
    cash: float
    exposure: float
    available: int


class FillRow(msgspec.Struct, frozen=True):
    """One execution of an order: quantity, price and fee are exact decimals as text."""

    time: int
    symbol: Symbol
    side: Side
    quantity: str
    price: str
    fee: str
    order: str


class TrainingRow(msgspec.Struct, frozen=True):
    """One thing that training did: `time` ns UTC of the run, `elapsed` real seconds of the job."""

    time: int
    kind: str
    job: str
    name: str
    version: int
    elapsed: float
    spent: int
    available: int
    text: str


class Journal:
    """What happened, in order: every report of the broker, and what training did.

    `orders_sha256` is the same for two runs whose orders, fills, prices and times are the same.
    """

    def __init__(self) -> None:
        self.fills: list[FillRow] = []
        self.training: list[TrainingRow] = []
        self._digest = hashlib.sha256()

    @property
    def orders_sha256(self) -> str:
        """The digest of all reports so far."""
        return self._digest.hexdigest()

    def reported(self, updates: Sequence[OrderUpdate]) -> None:
        """Take the broker's reports."""
        for update in updates:
            fill = update.fill
            self._digest.update(
                f"{update.time}|{update.order_id}|{update.kind}|{update.reason}|{_told(fill)}\n".encode()
            )
            if fill is not None:
                self.fills.append(
                    FillRow(
                        fill.time,
                        fill.symbol,
                        fill.side,
                        _plain(fill.quantity),
                        _plain(fill.price),
                        _plain(fill.fee),
                        fill.order_id,
                    )
                )

    def trained(self, update: TrainingUpdate) -> None:
        """Take one update of training; progress and lines are left to the log."""
        row = training_row(update)
        if row is not None:
            self.training.append(row)


def training_row(update: TrainingUpdate) -> TrainingRow | None:
    """Return what is kept of an update of training; None for progress and lines."""
    if update.kind not in SHOWN:
        return None
    return TrainingRow(
        update.time,
        update.kind,
        update.job,
        update.name,
        update.version,
        update.elapsed,
        update.spent,
        update.available,
        update.text,
    )


def _told(fill: Fill | None) -> str:
    if fill is None:
        return ""
    amounts = (fill.quantity, fill.price, fill.fee)
    return f"{fill.fill_id}|{fill.symbol}|{fill.side}|" + "|".join(map(_plain, amounts))


def _plain(value: Decimal) -> str:
    return f"{value.normalize():f}"
