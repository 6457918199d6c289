"""Settings become objects; with `sources`, the only file that knows every concrete class."""

import inspect
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from functools import partial

import anyio
import msgspec
from structlog.typing import FilteringBoundLogger

from feeds.base import Feed
from feeds.events import MINUTE, SECOND
from feeds.venue.process import EmbeddedVenue
from runtime.brokers import check_broker, open_broker, own_books, venue_account
from runtime.clock import Clock, SteadyClock
from runtime.control.api.operator import Operator
from runtime.control.api.server import serving
from runtime.control.board import Board, Identity
from runtime.control.burden import Burden
from runtime.control.halts import keep_halt
from runtime.control.heartbeat import end_heartbeat
from runtime.control.logfile import keep_log
from runtime.control.notify import Supervisor
from runtime.control.pace import Pace
from runtime.control.snapshots import publish
from runtime.control.training_log import ReadinessLog, log_training
from runtime.control.watchdog import Watchdog
from runtime.deployment import (
    Deployment,
    fresh_quota,
    halt_keeper,
    heartbeat,
    look_after,
    open_deployment,
)
from runtime.desk import Desk
from runtime.engine import Engine
from runtime.errors import RunFailed
from runtime.live import LiveRun, Outcome, utc_text
from runtime.sessions.beginning import begin_recording, end_recording, hear_training
from runtime.sessions.engine import RecordedEngine
from runtime.sessions.recorder import SessionRecorder
from runtime.settings import EngineSettings, Settings, TrainingSettings
from runtime.sources import Credentials, open_feed
from runtime.strategy import Strategy
from runtime.timeslice import Timeslice
from runtime.trading.broker import Broker
from runtime.trading.cash import currency_named
from runtime.trading.paper import PaperBroker
from runtime.trading.parts import make_broker, make_daily_loss, make_gate
from runtime.trading.portfolio import Portfolio
from runtime.trading.remote import RemoteBroker
from runtime.training.isolation.base import Isolation
from runtime.training.isolation.cluster import Cluster
from runtime.training.isolation.process import ProcessIsolation
from runtime.training.isolation.thread import ThreadIsolation
from runtime.training.isolation.workers import WorkerLimits
from runtime.training.keeper import ModelKeeper
from runtime.training.manager import TrainingManager
from runtime.training.queue import TrainingQueue
from runtime.training.quota import TrainingClock, TrainingQuota
from runtime.training.reporting import OnUpdate
from runtime.training.shelf import ModelShelf
from runtime.training.supervision import TrainingRules
from runtime.training.updates import TrainingUpdate

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
    supervisor: Supervisor | None = None,
    board: Board | None = None,
    token: str | None = None,
    on_reload: Callable[[], object] = lambda: None,
) -> Outcome:
    """Run one strategy to its end and return how it ended.

    `leave` is called from a thread, with one sentence, where a callback never returns: it ends the
    process. `supervisor` is told when the run has begun, that it lives, and that it stops.
    `board` is written for who watches; with one the control API is served, `token` being what it
    takes over TCP. `on_reload` is called on the loop at SIGHUP; it must be short.

    Raises:
        TidegateError: the run could not begin; nothing is left behind.
    """
    check_broker(settings)
    name = type(strategy).__name__
    run_id = f"{name[:24]}-{secrets.token_hex(4)}"
    log = log.bind(run=run_id, strategy=name)
    async with open_deployment(settings, name, log, _file_of(strategy)) as deployment:

        def left(sentence: str) -> None:
            end_heartbeat(deployment.path, run_id, sentence)
            if leave is not None:
                leave(sentence)

        reason = "it broke"
        recorder = None
        if settings.record:
            about = (settings, deployment.path, run_id, _file_of(strategy), name, log)
            recorder = await anyio.to_thread.run_sync(begin_recording, *about)
        try:
            own = venue_account(settings, deployment.path)
            async with open_feed(settings.feed, log, credentials, own) as opened:
                broker = await open_broker(settings, opened, credentials, deployment, log)
                run = build_run(
                    strategy,
                    settings,
                    opened.feed,
                    opened.clock,
                    log,
                    run_id,
                    None if leave is None else left,
                    deployment,
                    board,
                    on_reload,
                    recorder,
                    broker,
                )
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(look_after, deployment, run.models, log)
                    if supervisor is not None:
                        tasks.start_soon(supervisor.keep_told, run.begun, run.stopping)
                    if opened.venue is not None:
                        tasks.start_soon(_watch, opened.venue, run)
                    async with _watched(run, board, settings, deployment, log, token):
                        outcome = await run.run(duration)
                    tasks.cancel_scope.cancel()
                reason = outcome.reason
            if opened.venue is not None:  # it has ended, and said what it read
                outcome = msgspec.structs.replace(outcome, venue=opened.venue.audit)
            return outcome
        finally:
            with anyio.CancelScope(shield=True):  # no sign of life stays behind
                if recorder is not None:
                    await end_recording(recorder, reason, log)
                await anyio.to_thread.run_sync(end_heartbeat, deployment.path, run_id, reason)


@asynccontextmanager
async def _watched(
    run: LiveRun,
    board: Board | None,
    settings: Settings,
    deployment: Deployment,
    log: FilteringBoundLogger,
    token: str | None,
) -> AsyncIterator[None]:
    """Show the run on the board, and serve the control API, while the context lasts."""
    if board is None:
        yield
        return
    name = type(run.engine.strategy).__name__
    board.identity = Identity(deployment.path.name, run.id, name, time.time_ns(), os.getpid())
    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(anyio.create_task_group())
        tasks.start_soon(publish, run, board)
        if deployment.folder is not None:
            tasks.start_soon(keep_log, board, deployment.path)
        if settings.control.socket or settings.control.tcp:
            operator = Operator(run, board, partial(keep_halt, deployment.path))
            timeslice = run.timeslice
            await stack.enter_async_context(
                serving(
                    deployment.path,
                    board,
                    operator,
                    lambda: timeslice.stuck_ns / SECOND,
                    log,
                    settings.control.address,
                    token,
                )
            )
        try:
            yield
        finally:
            tasks.cancel_scope.cancel()


def _file_of(strategy: Strategy) -> str:
    try:
        return inspect.getfile(type(strategy))
    except (TypeError, OSError):  # a class that was made elsewhere than in a file
        return ""


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
    deployment: Deployment | None = None,
    board: Board | None = None,
    on_reload: Callable[[], object] = lambda: None,
    recorder: SessionRecorder | None = None,
    inner: PaperBroker | RemoteBroker | None = None,
) -> LiveRun:
    """Put a run together from what is open already; it has not begun.

    Without a deployment it leaves nothing on the disk.
    """
    timeslice = make_timeslice(settings.engine)
    pace = Pace(timeslice, settings.engine.slow_callback_ms)
    limits = worker_limits(settings.training)
    isolation, ray = settings.training.isolation, Cluster(settings.training.ray_address)
    process = ProcessIsolation(limits, warm=isolation == "process")
    cluster = ProcessIsolation(limits, warm=isolation == "cluster", hire=ray.hire, let_go=ray.close)
    ways: dict[str, Isolation] = {
        "thread": ThreadIsolation(),
        "process": process,
        "cluster": cluster,
    }
    quota = fresh_quota(settings.training) if deployment is None else deployment.quota
    burden = Burden(log.warning)

    def also_told(update: TrainingUpdate) -> None:
        burden.hear(update)
        if board is not None:
            board.trained(update)

    training = make_training(
        settings.training, ways, quota, clock, log, timeslice, also_told=also_told
    )
    models = _models(training, deployment, clock, log)
    desk = make_desk(settings, run_id, training, ways)
    inner = inner or make_broker(settings.trading)
    if isinstance(inner, RemoteBroker):
        inner.books = partial(own_books, desk.portfolio)
    broker: Broker = inner
    account = None if deployment is None else deployment.account
    if account is not None:
        broker = account.behind(inner, log, clock.now)
    desk.ordering.halted = "" if deployment is None else deployment.halted
    process.attach(strategy, desk)
    cluster.attach(strategy, desk)
    if recorder is not None:
        hear_training(training, recorder)
    return LiveRun(
        engine=(
            Engine(strategy, desk, pace)
            if recorder is None
            else RecordedEngine(strategy, desk, pace, recorder)
        ),
        feed=feed,
        broker=broker,
        account=account,
        on_reload=on_reload,
        keep_halt=halt_keeper(deployment, log),
        training=training,
        models=models,
        clock=clock,
        log=log,
        settings=settings.engine,
        on_status=None if deployment is None else heartbeat(deployment.path, run_id),
        pace=pace,
        burden=burden,
        watchdog=make_watchdog(strategy, settings.engine, timeslice, training, log, leave),
    )


def make_desk(
    settings: Settings, run_id: str, training: TrainingManager, ways: Iterable[str]
) -> Desk:
    """Make the desk of one strategy."""
    trading = settings.trading
    return Desk(
        run_id=run_id,
        portfolio=Portfolio(Decimal(str(trading.cash)), currency_named(trading.currency or "")),
        gate=make_gate(trading),
        daily_loss=make_daily_loss(trading),
        training=training.control,
        parameters=settings.parameters,
        time_zone=settings.time_zone,
        history=settings.engine.history,
        isolations=(settings.training.isolation, *ways),
        train_when=settings.training.when,
    )


def make_watchdog(
    strategy: Strategy,
    settings: EngineSettings,
    timeslice: Timeslice,
    training: TrainingManager,
    log: FilteringBoundLogger,
    leave: Callable[[str], None] | None,
) -> Watchdog:
    """Make what looks whether callbacks return."""
    return Watchdog(
        timeslice,
        owner=type(strategy).__name__,
        log=log,
        period=_looks(settings),
        settle=training.settle_inline,
        leave=leave,
    )


def make_timeslice(settings: EngineSettings) -> Timeslice:
    """Make what knows how long a callback may go on."""
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


def _models(
    training: TrainingManager,
    deployment: Deployment | None,
    clock: Clock,
    log: FilteringBoundLogger,
) -> ModelShelf:
    """Give the models their shelf, and a keeper where the deployment has a store."""

    def tell(level: str, event: str, fields: dict[str, object]) -> None:
        getattr(log, level)(event, **fields)

    keeper = None
    if deployment is not None and deployment.store and deployment.disk:
        keeper = ModelKeeper(deployment.store, deployment.disk, deployment.catalog, clock.now, tell)
        training.on_made = keeper.store
    deployed = {} if deployment is None else deployment.deployed
    return ModelShelf(clock, ReadinessLog(log), tell, keeper, deployed)


def make_training(
    settings: TrainingSettings,
    ways: Mapping[str, Isolation],
    quota: TrainingQuota,
    engine_clock: Clock,
    log: FilteringBoundLogger,
    timeslice: Timeslice,
    job_clock: TrainingClock | None = None,
    also_told: OnUpdate = lambda _: None,
) -> TrainingManager:
    """Give training its minutes.

    Jobs are timed by a steady clock, unless another is given: a wall clock that is set must not
    bill them.
    """

    def on_update(update: TrainingUpdate) -> None:
        log_training(log, update)
        also_told(update)

    level = quota.statistics()
    log.info(
        "training quota",
        available=level.available,
        capacity=level.capacity,
        refill=level.refill_amount,
        every_minutes=level.interval_ns // MINUTE,
        next_refill=utc_text(level.next_refill),
        training="on" if settings.enabled else "off",
    )

    return TrainingManager(
        TrainingQueue(settings.workers, is_on=settings.enabled),
        quota,
        ways,
        job_clock or SteadyClock(),
        on_update=on_update,
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
