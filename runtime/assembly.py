"""Settings become objects; with `sources`, the only file that knows every concrete class."""

import secrets
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from pathlib import Path

import anyio
from structlog.typing import FilteringBoundLogger

from feeds.base import Feed
from feeds.events import MINUTE, SECOND, AssetClass
from feeds.venue.process import EmbeddedVenue
from runtime.clock import Clock, SteadyClock, SystemClock
from runtime.control.heartbeat import end_heartbeat, write_heartbeat
from runtime.control.pace import Pace
from runtime.control.training_log import ReadinessLog, log_training
from runtime.control.watchdog import Watchdog
from runtime.desk import Desk
from runtime.engine import Engine
from runtime.errors import RunFailed
from runtime.live import LiveRun, Outcome
from runtime.settings import EngineSettings, Settings, TrainingSettings
from runtime.sources import Credentials, open_feed
from runtime.strategy import Strategy
from runtime.timeslice import Timeslice
from runtime.trading.paper import PaperBroker
from runtime.trading.portfolio import Portfolio
from runtime.trading.risk import RiskGate, standard_checks
from runtime.training.bucket import LeakyBucket
from runtime.training.isolation.base import Isolation
from runtime.training.isolation.process import ProcessIsolation
from runtime.training.isolation.thread import ThreadIsolation
from runtime.training.isolation.workers import WorkerLimits
from runtime.training.manager import TrainingManager
from runtime.training.queue import TrainingQueue
from runtime.training.quota import TrainingQuota
from runtime.training.shelf import ModelShelf
from runtime.training.supervision import TrainingRules

SHORTABLE = frozenset({AssetClass.EQUITY, AssetClass.FOREX})
MEGABYTE = 1 << 20
SHORTEST_LOOK, LONGEST_LOOK = 0.02, 0.25


async def run_strategy(
    strategy: Strategy,
    settings: Settings,
    log: FilteringBoundLogger,
    *,
    duration: float | None = None,
    credentials: Credentials | None = None,
    leave: Callable[[str], None] | None = None,
) -> Outcome:
    """Run one strategy to its end and return how it ended.

    `leave` is called from a thread, with one sentence, where a callback never returns: it ends the
    process.

    Raises:
        TidegateError: the run could not begin; nothing is left behind.
    """
    run_id = f"{type(strategy).__name__[:24]}-{secrets.token_hex(4)}"
    log = log.bind(run=run_id)
    folder = Path(settings.state_dir)

    def left(sentence: str) -> None:
        end_heartbeat(folder, run_id, sentence)
        if leave is not None:
            leave(sentence)

    reason = "it broke"
    try:
        async with open_feed(settings.feed, log, credentials) as opened:
            run = build_run(
                strategy,
                settings,
                opened.feed,
                opened.clock,
                log,
                run_id,
                None if leave is None else left,
            )
            async with anyio.create_task_group() as tasks:
                if opened.venue is not None:
                    tasks.start_soon(_watch, opened.venue, run)
                outcome = await run.run(duration)
                tasks.cancel_scope.cancel()
            reason = outcome.reason
            return outcome
    finally:
        with anyio.CancelScope(shield=True):  # no sign of life stays behind
            await anyio.to_thread.run_sync(end_heartbeat, folder, run_id, reason)


async def _watch(venue: EmbeddedVenue, run: LiveRun) -> None:
    """End the run when its own venue has gone: no reconnect can bring it back."""
    code = await venue.wait()
    reason = f"the embedded paper venue ended by itself (exit code {code})"
    run.stop(reason, RunFailed(reason))


def build_run(
    strategy: Strategy,
    settings: Settings,
    feed: Feed,
    clock: Clock,
    log: FilteringBoundLogger,
    run_id: str,
    leave: Callable[[str], None] | None = None,
) -> LiveRun:
    """Put a run together from what is open already; it has not begun."""
    trading = settings.trading
    timeslice = _timeslice(settings.engine)
    pace = Pace(timeslice, settings.engine.slow_callback_ms)
    process = ProcessIsolation(
        worker_limits(settings.training), warm=settings.training.isolation == "process"
    )
    ways: dict[str, Isolation] = {"thread": ThreadIsolation(), "process": process}
    training = _training(settings.training, ways, clock, log, timeslice)
    desk = Desk(
        run_id=run_id,
        portfolio=Portfolio(Decimal(str(trading.cash))),
        gate=RiskGate(
            standard_checks(
                max_order_value=(
                    None
                    if trading.max_order_value is None
                    else Decimal(str(trading.max_order_value))
                ),
                max_open_orders=trading.max_open_orders,
                short=SHORTABLE if trading.allow_short else frozenset(),
            )
        ),
        training=training.control,
        parameters=settings.parameters,
        time_zone=settings.time_zone,
        history=settings.engine.history,
        isolations=(settings.training.isolation, *ways),
        train_when=settings.training.when,
    )
    process.attach(strategy, desk)
    return LiveRun(
        engine=Engine(strategy, desk, pace),
        feed=feed,
        broker=PaperBroker(
            fee_bps=Decimal(str(trading.fee_bps)),
            max_quote_age_ns=round(trading.max_quote_age_seconds * SECOND),
        ),
        training=training,
        models=ModelShelf(clock, ReadinessLog(log)),
        clock=clock,
        log=log,
        settings=settings.engine,
        on_status=_heartbeat(Path(settings.state_dir), run_id),
        pace=pace,
        watchdog=Watchdog(
            timeslice,
            owner=type(strategy).__name__,
            log=log,
            period=_looks(settings.engine),
            settle=training.settle_inline,
            leave=leave,
        ),
    )


def _timeslice(settings: EngineSettings) -> Timeslice:
    return Timeslice(
        round(settings.timeslice_minutes * MINUTE),
        round(settings.hung_callback_seconds * SECOND),
        round(settings.stop_grace_seconds * SECOND),
    )


def _looks(settings: EngineSettings) -> float:
    """Seconds between two looks of the watchdog: a few within the shortest of its limits."""
    shortest = min(
        settings.timeslice_minutes * 60, settings.hung_callback_seconds, settings.stop_grace_seconds
    )
    return min(LONGEST_LOOK, max(SHORTEST_LOOK, shortest / 4))


def worker_limits(settings: TrainingSettings) -> WorkerLimits:
    """Say what a worker may use."""
    memory = None if settings.memory_mb is None else settings.memory_mb * MEGABYTE
    return WorkerLimits(memory, settings.native_threads, settings.result_mb * MEGABYTE)


def _training(
    settings: TrainingSettings,
    ways: Mapping[str, Isolation],
    engine_clock: Clock,
    log: FilteringBoundLogger,
    timeslice: Timeslice,
) -> TrainingManager:
    """Give training its bucket, on the wall clock whatever the engine's time does.

    Jobs are timed by a steady clock: a wall clock that is set must not bill them.
    """
    capacity, refill, interval = settings.bucket()
    clock = SystemClock()
    log.info(
        "training quota",
        available=capacity,
        capacity=capacity,
        refill=refill,
        every_minutes=interval // MINUTE,
        training="on" if settings.enabled else "off",
    )
    return TrainingManager(
        TrainingQueue(settings.workers, is_on=settings.enabled),
        TrainingQuota(LeakyBucket(capacity, refill, interval, clock.now()), clock.now),
        ways,
        SteadyClock(),
        on_update=lambda update: log_training(log, update),
        rules=TrainingRules(
            policy=settings.policy,
            grace_ns=round(settings.grace_minutes * MINUTE),
            quantum_ns=round(settings.quantum_seconds * SECOND),
            timeout_ns=(
                None
                if settings.timeout_minutes is None
                else round(settings.timeout_minutes * MINUTE)
            ),
        ),
        engine_time=engine_clock.now,
        on_inline_minute=timeslice.extend,
    )


def _heartbeat(folder: Path, run_id: str) -> Callable[[dict[str, object]], Awaitable[None]]:
    async def beat(status: dict[str, object]) -> None:
        await anyio.to_thread.run_sync(write_heartbeat, folder, run_id, status)

    return beat
