"""Settings become objects; the only file that knows every concrete class."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from functools import partial
from itertools import islice
from pathlib import Path

import anyio
import msgspec
from structlog.typing import FilteringBoundLogger

from feeds.base import Deliver, Feed, Subscription
from feeds.events import MINUTE, SECOND, AssetClass
from feeds.files import open_source
from feeds.protocols.base import Options
from feeds.protocols.registry import VENUES
from feeds.replay import ReplayFeed
from feeds.session import ConnectionSettings
from feeds.stream import AlpacaFeed, LiveFeed
from feeds.synthetic import SyntheticFeed
from feeds.venue.process import EmbeddedVenue, VenueOptions, embedded_venue
from runtime.clock import Clock, SteadyClock, SystemClock, VirtualClock
from runtime.control.heartbeat import write_heartbeat
from runtime.control.pace import Pace
from runtime.control.training_log import ReadinessLog, log_training
from runtime.control.watchdog import Watchdog
from runtime.desk import Desk
from runtime.engine import Engine
from runtime.errors import ConfigError, RunFailed
from runtime.live import LiveRun, Outcome
from runtime.settings import EngineSettings, FeedSettings, Settings, TrainingSettings
from runtime.strategy import Strategy
from runtime.timeslice import Timeslice
from runtime.trading.paper import PaperBroker
from runtime.trading.portfolio import Portfolio
from runtime.trading.risk import RiskGate, standard_checks
from runtime.training.bucket import LeakyBucket
from runtime.training.isolation.thread import ThreadIsolation
from runtime.training.manager import TrainingManager
from runtime.training.queue import TrainingQueue
from runtime.training.quota import TrainingQuota
from runtime.training.shelf import ModelShelf
from runtime.training.supervision import TrainingRules

SHORTABLE = frozenset({AssetClass.EQUITY, AssetClass.FOREX})
LOOK_EVENTS = 100_000
NAMED_SYMBOLS = 10
SHORTEST_LOOK, LONGEST_LOOK = 0.02, 0.25


class Credentials(msgspec.Struct, frozen=True):
    """Keys of a venue that runs already; never shown."""

    key: str
    secret: str

    def __repr__(self) -> str:
        return "Credentials(***)"


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
    async with _feed(settings, log, credentials) as (feed, clock, venue):
        run = build_run(strategy, settings, feed, clock, log, run_id, leave)
        if venue is None:
            return await run.run(duration)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_watch, venue, run)
            outcome = await run.run(duration)
            tasks.cancel_scope.cancel()
        return outcome


async def _watch(venue: EmbeddedVenue, run: LiveRun) -> None:
    """End the run when its own venue has gone: no reconnect can bring it back."""
    code = await venue.wait()
    reason = f"the embedded paper venue ended by itself (exit code {code})"
    run.stop(reason, RunFailed(reason))


@asynccontextmanager
async def _feed(
    settings: Settings, log: FilteringBoundLogger, credentials: Credentials | None
) -> AsyncIterator[tuple[Feed, Clock, EmbeddedVenue | None]]:
    """Open the feed, the clock that goes with it, and the venue where it is our own."""
    wanted = settings.feed
    if wanted.kind in VENUES:
        yield real_feed(wanted, credentials), SystemClock(), None
        return
    if wanted.kind != "paper":
        yield await anyio.to_thread.run_sync(_tape, wanted), VirtualClock(), None
        return
    async with AsyncExitStack() as stack:
        venue = None
        if wanted.url is None:
            venue = await stack.enter_async_context(embedded_venue(_venue_options(wanted)))
            url, key, secret = venue.url, venue.key, venue.secret
            log.info("paper venue ready", url=url, pid=venue.pid)
        elif credentials is None:
            raise ConfigError(
                f"{wanted.url} needs a key: set APCA_API_KEY_ID and APCA_API_SECRET_KEY"
            )
        else:
            url, key, secret = wanted.url, credentials.key, credentials.secret
        feed = AlpacaFeed(url, key, secret, name="paper", settings=_patience(wanted))
        yield feed, SystemClock(), venue


def real_feed(wanted: FeedSettings, credentials: Credentials | None) -> LiveFeed:
    """Make the feed of a real venue; nothing is connected yet.

    Raises:
        ConfigError: the venue needs a key and there is none.
    """
    spec = VENUES[wanted.kind]
    if spec.needs_key and credentials is None:
        raise ConfigError(f"{spec.name} needs a key: set APCA_API_KEY_ID and APCA_API_SECRET_KEY")
    key, secret = ("", "") if credentials is None else (credentials.key, credentials.secret)
    return LiveFeed(
        spec,
        url=wanted.url,
        rest_url=wanted.rest_url,
        options=Options(key=key, secret=secret, book=wanted.book, bars=wanted.bars),
        settings=_patience(wanted),
    )


def _patience(wanted: FeedSettings) -> ConnectionSettings:
    limit = timedelta(seconds=wanted.connect_timeout)
    return ConnectionSettings(connect_timeout=limit, proxy=wanted.proxy)


def _tape(wanted: FeedSettings) -> Feed:
    speed = wanted.speed or None
    if wanted.kind == "synthetic":
        return SyntheticFeed(wanted.seed, wanted.rate, wanted.minutes, speed)
    if not wanted.data:
        raise ConfigError("--feed replay needs --data: a file or folder of recorded market data")
    return _RecordedFeed(wanted, speed)


class _RecordedFeed(ReplayFeed):
    """A replay that fails where the data holds nothing of what the strategy asked for."""

    def __init__(self, wanted: FeedSettings, speed: float | None) -> None:
        self._open = partial(open_source, [Path(path) for path in wanted.data], wanted.table)
        super().__init__(self._open(), speed)

    async def run(self, subscriptions: Sequence[Subscription], deliver: Deliver) -> None:
        """Play; afterwards an empty run is told as what it is: most likely a wrong symbol.

        Raises:
            RunFailed: not one event was delivered.
        """
        await super().run(subscriptions, deliver)
        if not self.statistics().events:
            asked = ", ".join(subscription.symbol for subscription in subscriptions)
            held = await anyio.to_thread.run_sync(self._symbols)
            raise RunFailed(f"the data held nothing for {asked}: it holds {held}")

    def _symbols(self) -> str:
        """Name what is there, by the paths or else by a look at the beginning."""
        source = self._open()  # anew, so that the counts of the run stay as they are
        found = sorted(source.symbols or {e.symbol for e in islice(source.events(), LOOK_EVENTS)})
        more = f" and {len(found) - NAMED_SYMBOLS} more" if len(found) > NAMED_SYMBOLS else ""
        return (", ".join(found[:NAMED_SYMBOLS]) or "nothing at all") + more


def _venue_options(wanted: FeedSettings) -> VenueOptions:
    return VenueOptions(
        seed=wanted.seed,
        rate=wanted.rate,
        data=wanted.data,
        speed=wanted.speed or None,
    )


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
    training = _training(settings.training, clock, log, timeslice)
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
        isolations=(settings.training.isolation, *training.isolations),
        train_when=settings.training.when,
    )
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


def _training(
    settings: TrainingSettings,
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
        {"thread": ThreadIsolation()},
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
