"""What a backtest leaves: its books over time, its fills, its trainings; plain values, no clock.

Nothing in here grows with the length of the data but the fills and the jobs: the curve halves its
own resolution when it is full.
"""

import hashlib
from collections.abc import Callable, Sequence
from decimal import Decimal

import msgspec

from feeds.events import SECOND, Symbol
from runtime.trading.cash import ONE
from runtime.trading.orders import Fill, OrderUpdate, Side
from runtime.training.updates import TrainingUpdate, TrainingUpdateKind

CURVE_SAMPLES = 8_000
"""The curve never holds more; a chart shows fewer."""
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
    """One execution of an order: quantity, price and fee are exact decimals as text.

    Price and fee are in what the symbol is paid in; `rate` is what one unit of that was worth to
    the account.
    """

    time: int
    symbol: Symbol
    side: Side
    quantity: str
    price: str
    fee: str
    order: str
    rate: str = "1"


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


class Curve:
    """Samples of the account, at most one in `step` ns, which doubles whenever they are too many.

    Attributes:
        samples: in order of time.
        step: the least ns between two of them.
    """

    def __init__(self, step: int = SECOND, most: int = CURVE_SAMPLES) -> None:
        self.samples: list[Sample] = []
        self.step = step
        self.due = 0
        self._most = most

    def add(self, sample: Sample) -> None:
        """Take a sample; ask `due` first, a moment before it is not worth one."""
        self.samples.append(sample)
        if len(self.samples) >= self._most:
            del self.samples[1::2]
            self.step *= 2
        self.due = sample.time + self.step

    def close(self, sample: Sample) -> None:
        """Take the last sample, whatever its time; it replaces another one of the same moment."""
        if self.samples and self.samples[-1].time == sample.time:
            self.samples.pop()
        self.samples.append(sample)


class Journal:
    """What happened, in order: every report of the broker, and what training did.

    `orders_sha256` is the same for two runs whose orders, fills, prices and times are the same.
    `rate_of` tells what a symbol's currency is worth to the account.
    """

    def __init__(self) -> None:
        self.fills: list[FillRow] = []
        self.training: list[TrainingRow] = []
        self.rate_of: Callable[[Symbol], Decimal | None] = lambda _: None
        self._coalesced = ""
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
                        _plain(self.rate_of(fill.symbol) or ONE),
                    )
                )

    def trained(self, update: TrainingUpdate) -> None:
        """Take one update of training; progress and lines are left to the log.

        Of the requests that a run serves in a row the first is kept: a strategy may ask at each
        tick.
        """
        is_coalesced = update.kind is TrainingUpdateKind.COALESCED
        if is_coalesced and update.job == self._coalesced:
            return
        self._coalesced = update.job if is_coalesced else ""
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
