"""Walk-forward: when to train again, and how each stretch between two trainings went.

A model is trained on the last `train` of the data, then trades the next `step`, which it has never
seen; then again. Only those steps count: all statistics are out of sample.
"""

from collections.abc import Sequence
from itertools import pairwise

import msgspec
import numpy as np

from runtime.report.returns import describe_returns, net_profit
from runtime.report.sampling import Sampling, TradingYear
from runtime.report.trades import Trade
from runtime.results import Sample


class Fold(msgspec.Struct, frozen=True):
    """One step: trained on [train_start, start), traded in [start, end); times ns UTC.

    `profit` a fraction of the equity at its start; `sharpe` of its own returns; `trades` closed.
    """

    train_start: int
    start: int
    end: int
    profit: float | None
    sharpe: float | None
    drawdown: float | None
    trades: int


def folds_of(
    starts: Sequence[int],
    train: int,
    closes: Sequence[Sample],
    samples: Sequence[Sample],
    trades: Sequence[Trade],
    sampling: Sampling,
    year: TradingYear,
) -> list[Fold]:
    """Say how each step went.

    Args:
        starts: when the trainings were, ns UTC, in order.
        train: how far back each could see, ns.
        closes: the account at the end of each period.
        samples: the account more often, for its drawdown.
        trades: of the whole run.
        sampling: the length of a period.
        year: how many of them a year has.
    """
    if not starts or not samples:
        return []
    edges = [*starts, max(samples[-1].time + 1, starts[-1])]
    return [
        Fold(
            train_start=start - train,
            start=start,
            end=min(end, samples[-1].time),
            profit=_profit(_within(samples, start, end)),
            sharpe=describe_returns(
                np.array([close.equity for close in _within(closes, start, end)]),
                year.periods(sampling),
            ).sharpe,
            drawdown=_drawdown(_within(samples, start, end)),
            trades=sum(start <= trade.exit_time < end for trade in trades),
        )
        for start, end in pairwise(edges)
    ]


def _within(samples: Sequence[Sample], start: int, end: int) -> list[Sample]:
    """The samples of a step, and the last one before it."""
    before = [sample for sample in samples if sample.time < start][-1:]
    return before + [sample for sample in samples if start <= sample.time < end]


def _profit(samples: Sequence[Sample]) -> float | None:
    return net_profit(samples[0].equity, samples[-1].equity) if samples else None


def _drawdown(samples: Sequence[Sample]) -> float | None:
    equity = np.array([sample.equity for sample in samples], dtype=np.float64)
    if not len(equity) or equity[0] <= 0:
        return None
    high = np.maximum.accumulate(equity)
    return float(np.max((high - equity) / high))
