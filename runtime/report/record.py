"""What a run leaves for its report, as one value, and what is made of it: statistics, trades, JSON.

The JSON is for other programs: `schema` grows when a name in it changes its meaning. Times are ns
UTC, money and prices of fills and trades are exact decimals as text, series are columns.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from feeds.events import Symbol
from runtime.report.drawdown import Drawdown
from runtime.report.folds import Fold
from runtime.report.sampling import Sampling, TradingYear
from runtime.report.statistics import Books, Statistics, statistics_of
from runtime.report.trades import Trade, match_trades
from runtime.results import FillRow, Sample, TrainingRow
from runtime.training.updates import TrainingUpdateKind

SCHEMA = 1


class RunRecord(msgspec.Struct, frozen=True):
    """One run, whole; times ns UTC.

    `samples` are for charts, `closes` for statistics; `invested` and `gross` as in Books; `prices`
    by symbol, `orders` counts by state; `capacity` of the training quota; `zone` the strategy's.
    With `walk_forward` everything but `training` and `events` is of the time since its first step.
    """

    strategy: str
    parameters: Mapping[str, str]
    reason: str
    failure: str
    zone: str
    sampling: Sampling
    year: TradingYear
    samples: Sequence[Sample]
    closes: Sequence[Sample]
    days: int
    drawdown: Drawdown
    invested: float | None
    gross: float | None
    prices: Mapping[Symbol, Sequence[tuple[int, float]]]
    fills: Sequence[FillRow]
    training: Sequence[TrainingRow]
    orders: Mapping[str, int]
    capacity: int
    events: int
    seconds: float
    orders_sha256: str
    walk_forward: str = ""
    folds: Sequence[Fold] = ()


class Job(msgspec.Struct, frozen=True):
    """One run of a training method, in the time of the data; `end` is None where it never ended.

    `took` are real seconds, `minutes` tokens of the quota, `version` what it published into `slot`.
    """

    id: str
    name: str
    start: int
    end: int | None
    state: str
    slot: str
    version: int
    took: float
    minutes: int
    text: str


class Report(msgspec.Struct, frozen=True):
    """A record and what was made of it."""

    record: RunRecord
    statistics: Statistics
    trades: Sequence[Trade]
    jobs: Sequence[Job]


def make_report(record: RunRecord) -> Report:
    """Make the statistics, trades and jobs of a run."""
    trades, _ = match_trades(record.fills)
    books = Books(
        closes=record.closes,
        sampling=record.sampling,
        year=record.year,
        days=record.days,
        drawdown=record.drawdown,
        invested=record.invested,
        gross=record.gross,
        fills=record.fills,
        trades=trades,
        orders=sum(record.orders.values()),
    )
    return Report(record, statistics_of(books), trades, jobs_of(record.training))


ENDINGS = {
    TrainingUpdateKind.FINISHED,
    TrainingUpdateKind.FAILED,
    TrainingUpdateKind.CANCELLED,
    TrainingUpdateKind.OUT_OF_QUOTA,
    TrainingUpdateKind.ABANDONED,
}


def jobs_of(rows: Iterable[TrainingRow]) -> list[Job]:
    """Gather what happened to each job; one that never began is none."""
    jobs: dict[str, Job] = {}
    for row in rows:
        job = jobs.get(row.job)
        if row.kind == TrainingUpdateKind.STARTED and job is None:
            jobs[row.job] = Job(row.job, row.name, row.time, None, "running", "", 0, 0.0, 0, "")
        elif job is None:
            continue
        elif row.kind in {TrainingUpdateKind.MODEL_PUBLISHED, TrainingUpdateKind.MODEL_REJECTED}:
            jobs[row.job] = msgspec.structs.replace(job, slot=row.text, version=row.version)
        elif row.kind in ENDINGS:
            jobs[row.job] = msgspec.structs.replace(
                job,
                end=row.time,
                state=str(row.kind),
                took=row.elapsed,
                minutes=row.spent,
                text=row.text,
            )
    return list(jobs.values())


def document(report: Report) -> dict[str, Any]:
    """Return the report as plain values."""
    record = report.record
    samples = record.samples
    return {
        "schema": SCHEMA,
        "strategy": record.strategy,
        "parameters": dict(record.parameters),
        "reason": record.reason,
        "failure": record.failure,
        "begin": record.closes[0].time if record.closes else None,
        "end": record.closes[-1].time if record.closes else None,
        "zone": record.zone,
        "sampling": record.sampling,
        "periods_a_year": record.year.periods(record.sampling),
        "statistics": report.statistics,
        "drawdown": record.drawdown,
        "orders": dict(record.orders),
        "orders_sha256": record.orders_sha256,
        "events": record.events,
        "seconds": record.seconds,
        "curve": {
            name: [getattr(sample, name) for sample in samples]
            for name in ("time", "equity", "cash", "exposure", "available")
        },
        "closes": {
            "time": [close.time for close in record.closes],
            "equity": [close.equity for close in record.closes],
        },
        "trades": report.trades,
        "fills": record.fills,
        "jobs": report.jobs,
        "walk_forward": record.walk_forward,
        "folds": record.folds,
    }


def to_json(report: Report) -> bytes:
    """Return the report as JSON, indented, with a newline at its end."""
    return msgspec.json.format(msgspec.json.encode(document(report)), indent=1) + b"\n"
