"""How each stretch of a walk-forward went, by itself: from one training to the next.

The account is sampled at each training, so that the profits of all folds compound to that of the
run, and each period's close counts in one fold only.
"""

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from runtime.report.drawdown import Underwater
from runtime.report.returns import describe_returns, net_profit
from runtime.report.sampling import Sampling, TradingYear
from runtime.report.trades import Trade
from runtime.results import Sample, TrainingRow
from runtime.training.updates import TrainingUpdateKind


class Fold(msgspec.Struct, frozen=True):
    """One step: trained on [train_start, start), traded in [start, end); times ns UTC.

    `profit` a fraction of the equity at its start; `sharpe` of the periods that ended in it;
    `drawdown` from a peak within it; `trades` closed; `models` what came to serve in it.
    """

    train_start: int
    start: int
    end: int
    profit: float | None
    sharpe: float | None
    drawdown: float | None
    trades: int
    models: Sequence[str] = ()


class FoldBooks:
    """Follows the account from fold to fold.

    Attributes:
        starts: the account at each training.
    """

    def __init__(self) -> None:
        self.starts: list[Sample] = []
        self._water: list[Underwater] = []

    def turn(self, sample: Sample) -> None:
        """Begin a fold."""
        self.add(sample)
        self.starts.append(sample)
        self._water.append(Underwater())
        self.add(sample)

    def add(self, sample: Sample) -> None:
        """Take the account, in order of time; before the first fold it counts for nothing."""
        if self._water:
            self._water[-1].add(sample.time, sample.equity)

    def folds(
        self,
        train: int,
        closes: Sequence[Sample],
        trades: Iterable[Trade],
        rows: Iterable[TrainingRow],
        sampling: Sampling,
        year: TradingYear,
    ) -> list[Fold]:
        """Say how each fold went.

        Args:
            train: how far back each training could see, ns.
            closes: the account at the end of each period; the last is that of the run.
            trades: of the whole run.
            rows: what training did.
            sampling: the length of a period.
            year: how many of them a year has.
        """
        if not self.starts or not closes:
            return []
        trades, rows = list(trades), list(rows)
        ends = [*self.starts[1:], closes[-1]]
        folds = []
        for start, end, water in zip(self.starts, ends, self._water, strict=True):
            is_last = end is ends[-1]
            until = end.time + is_last  # the run's last moment is in its last fold
            inside = [close.equity for close in closes if start.time < close.time <= end.time]
            returns = describe_returns(np.array([start.equity, *inside]), year.periods(sampling))
            folds.append(
                Fold(
                    train_start=start.time - train,
                    start=start.time,
                    end=end.time,
                    profit=net_profit(start.equity, end.equity),
                    sharpe=returns.sharpe,
                    drawdown=water.worst().depth,
                    trades=sum(start.time <= trade.exit_time < until for trade in trades),
                    models=[
                        f"{row.text} v{row.version}"
                        for row in rows
                        if row.kind == TrainingUpdateKind.MODEL_PUBLISHED
                        and start.time <= row.time < until
                    ],
                )
            )
        return folds
