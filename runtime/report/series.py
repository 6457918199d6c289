"""The columns that the charts of a page draw: few points, and no peak or trough lost among them."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feeds.events import Symbol
from runtime.report.record import Report
from runtime.results import FillRow, Sample, TrainingRow
from runtime.trading.orders import ZERO, Side
from runtime.training.updates import TrainingUpdateKind

POINTS = 2_400
"""A series on a page has at most this many: more than a screen has columns."""

MARKERS = 2_000
"""A symbol on a page shows at most so many fills, the newest."""

SYMBOLS = 24
"""A page shows the prices of at most so many symbols, those with the most fills."""


def thin(values: NDArray[np.float64], most: int = POINTS) -> NDArray[np.intp]:
    """Return which points of a series to keep, in order: of each stretch the lowest, the highest.

    The first and the last are always among them, and at most `most` in all (6 or more).
    """
    count = len(values)
    if count <= most:
        return np.arange(count)
    kept = {0, count - 1}
    for stretch in np.array_split(np.arange(1, count - 1), max(1, (most - 2) // 2)):
        kept |= {
            int(stretch[values[stretch].argmin()]),
            int(stretch[values[stretch].argmax()]),
        }
    return np.array(sorted(kept))


def series_of(report: Report) -> dict[str, Any]:
    """Return what the script of the page draws: times in seconds UTC, numbers, and words."""
    record = report.record
    samples = record.samples
    equity = np.array([sample.equity for sample in samples], dtype=np.float64)
    high = np.maximum.accumulate(equity) if len(equity) else equity
    fall = np.divide(equity - high, high, out=np.zeros_like(equity), where=high > 0)
    kept = sorted({*thin(equity, POINTS // 2).tolist(), *thin(fall, POINTS // 2).tolist()})
    shown = most_traded(record.prices, record.fills)
    return {
        "zone": record.zone,
        "begin": _seconds(samples[0].time) if samples else 0,
        "end": _seconds(samples[-1].time) if samples else 0,
        "equity": {
            "t": [_seconds(samples[n].time) for n in kept],
            "equity": [round(float(equity[n]), 2) for n in kept],
            "fall": [round(float(fall[n]), 6) for n in kept],
            "exposure": [round(samples[n].exposure, 2) for n in kept],
        },
        "symbols": {
            symbol: {
                "price": _columns(record.prices.get(symbol, ())),
                "fills": [
                    [
                        _seconds(fill.time),
                        float(fill.price),
                        float(fill.quantity) * (1 if fill.side is Side.BUY else -1),
                    ]
                    for fill in record.fills
                    if fill.symbol == symbol
                ][-MARKERS:],
                "position": _columns(position(record.fills, symbol)),
            }
            for symbol in shown
        },
        "jobs": [
            [
                _seconds(job.start),
                _seconds(job.end if job.end is not None else job.start),
                job.slot or job.name,
                job.version,
                job.state,
            ]
            for job in report.jobs
        ],
        "quota": _columns(quota(samples, record.training)),
        "capacity": record.capacity,
        "folds": [[_seconds(fold.start), _seconds(fold.end)] for fold in record.folds],
    }


def most_traded(
    prices: Mapping[Symbol, Sequence[tuple[int, float]]], fills: Sequence[FillRow]
) -> list[Symbol]:
    """Return the symbols to show: the most fills first, then as they were added."""
    counts = dict.fromkeys(prices, 0)
    for fill in fills:
        counts[fill.symbol] = counts.get(fill.symbol, 0) + 1
    return sorted(counts, key=lambda symbol: -counts[symbol])[:SYMBOLS]


def position(fills: Sequence[FillRow], symbol: Symbol) -> list[tuple[int, float]]:
    """Return the position after each fill of a symbol; of one moment the last."""
    held = ZERO
    steps: dict[int, float] = {}
    for fill in fills:
        if fill.symbol == symbol:
            change = Decimal(fill.quantity)
            held += change if fill.side is Side.BUY else -change
            steps[fill.time] = float(held)
    return list(steps.items())


def quota(samples: Sequence[Sample], rows: Sequence[TrainingRow]) -> list[tuple[int, float]]:
    """Return the level of the bucket whenever it has changed, first and last included."""
    levels = [(sample.time, float(sample.available)) for sample in samples]
    levels += [
        (row.time, float(row.available))
        for row in rows
        if row.kind != TrainingUpdateKind.QUEUED  # told before what is due is refilled
    ]
    levels.sort(key=lambda level: level[0])
    kept = [
        level
        for place, level in enumerate(levels)
        if not place or place == len(levels) - 1 or level[1] != levels[place - 1][1]
    ]
    return list(dict(kept).items())


def _columns(points: Sequence[tuple[int, float]]) -> list[list[float]]:
    values = np.array([value for _, value in points], dtype=np.float64)
    kept = thin(values).tolist()
    return [[_seconds(points[n][0]) for n in kept], [points[n][1] for n in kept]]


def _seconds(time: int) -> float:
    """Seconds with three decimals, made of whole numbers: a float of ns would lose them."""
    return (time // 1_000_000) / 1_000
