"""Records by hand, in few words: days after T0, orders by number."""

from collections.abc import Sequence
from typing import Any

import msgspec

from feeds.events import SECOND, Symbol
from runtime.report.drawdown import Underwater
from runtime.report.record import RunRecord
from runtime.report.sampling import Sampling, TradingYear
from runtime.results import FillRow, Sample, TrainingRow
from runtime.trading.orders import Side

T0 = 1_704_067_200 * SECOND  # 2024-01-01 00:00 UTC
DAY = 86_400 * SECOND
SPY = Symbol("SPY")


def sample(days: float, equity: float, exposure: float = 0.0, available: int = 120) -> Sample:
    return Sample(T0 + round(days * DAY), equity, equity - exposure, exposure, available)


def fill(
    days: float,
    quantity: str,
    price: str,
    fee: str = "0",
    order: str = "",
    symbol: Symbol = SPY,
) -> FillRow:
    """A quantity below 0 is sold."""
    side = Side.SELL if quantity.startswith("-") else Side.BUY
    when = T0 + round(days * DAY)
    return FillRow(when, symbol, side, quantity.lstrip("-"), price, fee, order or f"o{days}")


def trained(days: float, kind: str, job: str = "fit-1", **more: Any) -> TrainingRow:
    row = TrainingRow(T0 + round(days * DAY), kind, job, "fit", 0, 0.0, 0, 120, "")
    return msgspec.structs.replace(row, **more)


def record(equity: Sequence[float], fills: Sequence[FillRow] = (), **more: Any) -> RunRecord:
    """A run with one sample a day."""
    samples = [sample(day, value) for day, value in enumerate(equity)]
    water = Underwater()
    for each in samples:
        water.add(each.time, each.equity)
    made = RunRecord(
        strategy="Mine",
        parameters={},
        reason="the data has ended",
        failure="",
        zone="UTC",
        sampling=Sampling.DAY,
        year=TradingYear(),
        samples=samples,
        closes=samples,
        days=max(0, len(samples) - 1),
        drawdown=water.worst(),
        invested=0.5 if samples else None,
        gross=0.25 if samples else None,
        prices={},
        fills=fills,
        training=(),
        orders={"filled": len(fills)} if fills else {},
        capacity=120,
        events=10,
        seconds=1.0,
        orders_sha256="00",
    )
    return msgspec.structs.replace(made, **more)
