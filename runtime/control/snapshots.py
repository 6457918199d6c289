"""Takes the snapshots of a run, on its loop: what is shown of it, and nothing that can change."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import anyio
import msgspec

from runtime.control.board import Board, Snapshot
from runtime.results import Sample
from runtime.trading.tracked import TrackedOrder
from runtime.training.slots import ModelSlot

if TYPE_CHECKING:
    from runtime.live import LiveRun

PERIOD_SECONDS = 1.0
ORDERS_SHOWN = 200
SYMBOLS_SHOWN = 200


async def publish(run: "LiveRun", board: Board) -> None:
    """Put a snapshot up every second, until cancelled; and the first at once."""
    while True:
        taken = snapshot(run)
        portfolio = run.engine.desk.portfolio
        equity, cash = float(portfolio.equity), float(portfolio.cash)
        available = taken.training["quota"]["available"]
        board.publish(taken, Sample(taken.time, equity, cash, float(portfolio.exposure), available))
        await anyio.sleep(PERIOD_SECONDS)


def snapshot(run: "LiveRun") -> Snapshot:
    """Return the run as it is now."""
    desk, engine = run.engine.desk, run.engine.statistics()
    feed, training = run.feed.statistics(), run.training.statistics()
    pending = run.pending.statistics()
    counts = {
        "events": engine.events,
        "slices": engine.slices,
        "orders": engine.orders,
        "fills": engine.fills,
        "gaps": engine.gaps + feed.gaps,
        "malformed": feed.malformed,
        "reconnects": feed.reconnects,
        "duplicates": feed.duplicates,
        "conflated": pending.conflated_quotes,
    }
    lag, latency = run.histograms()
    return Snapshot(
        time=time.time_ns(),
        engine_time=desk.now_ns,
        status=run.figures(),
        counts=counts,
        feed=msgspec.to_builtins(feed),
        training=_training(training),
        models=tuple(_model(slot) for slot in desk.slots.values()),
        positions=tuple(
            {
                "symbol": held.symbol,
                "quantity": str(held.quantity),
                "average_price": f"{held.average_price:f}",
                "last_price": str(held.last_price),
                "value": f"{held.holdings_value:.2f}",
                "unrealised_pnl": f"{held.unrealised_pnl:.2f}",
                "realised_pnl": f"{held.realised_pnl:.2f}",
                "fees": f"{held.fees:.2f}",
                "currency": held.currency,
            }
            for held in desk.portfolio
        ),
        orders=tuple(
            _order(tracked) for tracked in list(desk.ordering.orders.values())[-ORDERS_SHOWN:]
        ),
        prices={
            name: security.price
            for name, security in list(desk.securities.items())[:SYMBOLS_SHOWN]
            if security.price == security.price
        },
        halted=desk.ordering.halted,
        lag=lag,
        latency=latency,
        warm_up=run.engine.warmed,
    )


def _training(statistics: Any) -> Mapping[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(statistics)
    found["finished"] = {str(state): count for state, count in statistics.finished.items()}
    return found


def _model(slot: ModelSlot) -> Mapping[str, Any]:
    bundle, status = slot.bundle, slot.readiness.status
    return {
        "slot": slot.name,
        "ready": slot.readiness.is_ready,
        "cause": str(status.cause),
        "text": status.text,
        "version": slot.version,
        "trained_at": None if bundle is None else bundle.trained_at,
        "data_until": None if bundle is None else bundle.data_until,
        "job": None if bundle is None else bundle.job,
        "metrics": {} if bundle is None else dict(bundle.metrics),
        "made": slot.made,
        "skipped": {str(cause): count for cause, count in slot.skips.items()},
        "deployed": slot.deployed,
        "can_roll_back": slot.previous is not None,
    }


def _order(tracked: TrackedOrder) -> Mapping[str, Any]:
    order = tracked.order
    return {
        "id": order.id,
        "symbol": order.symbol,
        "side": str(order.side),
        "type": str(order.type),
        "quantity": str(order.quantity),
        "limit_price": None if order.limit_price is None else str(order.limit_price),
        "state": str(tracked.state),
        "filled": str(tracked.filled),
        "average_price": f"{tracked.average_price:f}",
        "fees": f"{tracked.fees:f}",
        "created": order.created,
        "tag": order.tag,
        "reason": tracked.reason,
    }
