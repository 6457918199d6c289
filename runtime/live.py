"""The live shell: carries events to the engine and commands away from it, and ends in order.

Two rhythms, one engine. Where time goes on by itself, whatever has arrived since the last dispatch
becomes one slice. Where a tape is replayed, time follows the data; flat out, the tape also waits
for training, so the same tape gives the same run.
"""

import asyncio
import math
import signal
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import anyio
import msgspec
from structlog.typing import FilteringBoundLogger

from feeds.base import Audit, Feed, FeedStatistics, Subscription
from feeds.events import SECOND, Event
from feeds.moments import moments
from runtime.callbacks import describe
from runtime.carrying import carry_out, earliest
from runtime.clock import Clock, VirtualClock
from runtime.commands import (
    Command,
    Halt,
    HoldTraining,
    Log,
    NoteDay,
    Register,
    Stop,
    Subscribe,
    Train,
    Unsubscribe,
)
from runtime.control import signals
from runtime.control.burden import Burden
from runtime.control.lag import LagMonitor
from runtime.control.logs import free_names
from runtime.control.pace import Pace
from runtime.control.watchdog import Watchdog
from runtime.engine import Engine, EngineEvent, EngineStatistics
from runtime.errors import (
    ConfigError,
    FeedError,
    InternalError,
    RunFailed,
    StrategyError,
    TidegateError,
)
from runtime.settings import EngineSettings
from runtime.slices import MARKET_KINDS, MARKET_TYPES, Pending
from runtime.trading.account import Account
from runtime.trading.broker import Broker
from runtime.trading.portfolio import Profit
from runtime.training.jobs import JobState
from runtime.training.manager import TrainingManager
from runtime.training.shelf import ModelShelf
from runtime.training.slots import ModelSlot
from runtime.training.updates import RunningJob, TrainingStatistics, time_left

CLOSE_SECONDS = 2.0
TURN_SECONDS = 0.02

LOOK_AGAIN_SECONDS = 1.0
"""How soon a clock that was set, or a machine that has slept, is noticed."""


class Outcome(msgspec.Struct, frozen=True):
    """How a run ended, and its books: money in the account's currency, exact decimals as text.

    `failure` is None after a clean stop. `left_running` names jobs that ignored the stop. `skipped`
    counts predictions for want of a ready model, by slot and cause. `venue` accounts for the rows
    that the embedded venue has read, where it plays recorded data.
    """

    reason: str
    failure: TidegateError | None
    engine: EngineStatistics
    feed: FeedStatistics
    training: TrainingStatistics
    equity: str
    profit: str
    fees: str
    left_running: tuple[str, ...]
    skipped: Mapping[str, Mapping[str, int]] = {}
    venue: Audit | None = None

    def figures(self) -> dict[str, object]:
        """Return what a summary line shows."""
        rows: dict[str, object] = {
            "reason": self.reason,
            "equity": self.equity,
            "profit": self.profit,
            "fees": self.fees,
            "events": self.engine.events,
            "slices": self.engine.slices,
            "orders": self.engine.orders,
            "fills": self.engine.fills,
            "gaps": self.engine.gaps,
            "feed_frames": self.feed.frames,
            "feed_events": self.feed.events,
            "feed_malformed": self.feed.malformed,
            "feed_suspicious": self.feed.suspicious,
            "feed_reconnects": self.feed.reconnects,
            "jobs": {str(state): count for state, count in self.training.finished.items()},
            "quota_left": f"{self.training.quota.available}/{self.training.quota.capacity}",
            "next_refill": _quota(self.training)["next_refill"],
            "spent_minutes": self.training.spent,
        }
        if self.skipped:
            rows["skipped"] = self.skipped
        if self.engine.unused_bars:
            rows["unused_bars"] = self.engine.unused_bars
        if self.feed.ignored:
            rows["feed_ignored"] = self.feed.ignored
        if self.feed.rows_used is not None:  # a tape, whose rows and events add up
            rows["feed_rows_used"] = self.feed.rows_used
            if self.feed.rows_joined:
                rows["feed_rows_joined"] = self.feed.rows_joined
            rows["feed_not_subscribed"] = self.feed.foreign
            rows["feed_not_played"] = self.feed.unplayed
            rows["feed_out_of_order"] = self.feed.out_of_order
        if self.venue is not None:
            rows |= {
                f"venue_{name}": count
                for name, count in msgspec.structs.asdict(self.venue).items()
                if count
            }
        return rows


class LiveRun:
    """One run of one strategy on one feed.

    Attributes:
        id: its name in the log.
        timeslice: how long its callbacks go on.
        begun: set when initialize is done, the models are back, and data may flow.
        stopping: set when something has asked for the end.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        feed: Feed,
        broker: Broker,
        training: TrainingManager,
        models: ModelShelf,
        clock: Clock,
        log: FilteringBoundLogger,
        settings: EngineSettings,
        pace: Pace,
        watchdog: Watchdog,
        burden: Burden,
        on_status: Callable[[dict[str, object]], Awaitable[None]] | None = None,
        account: Account | None = None,
        on_reload: Callable[[], object] = lambda: None,
        keep_halt: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._account = account
        self._on_reload = on_reload
        self._keep_halt = keep_halt
        self.engine = engine
        self.id = engine.desk.run_id
        self.timeslice = watchdog.timeslice
        self.feed = feed
        self.broker = broker
        self.training = training
        self.models = models
        self.clock = clock
        self.log = log
        self.settings = settings
        self._on_status = on_status
        self._pace = pace
        self._watchdog = watchdog
        self.pending = Pending(settings.pending_bound)
        self._lag = LagMonitor(watchdog.timeslice.turned, burden.lag)
        self._late: dict[str, object] = {"lag_p99_ms": 0.0, "latency_p99_ms": 0.0}
        self._wake = anyio.Event()
        self._room = anyio.Event()
        self._rearm = anyio.Event()
        self._stop = self.stopping = anyio.Event()
        self.begun = anyio.Event()
        self._ending = anyio.CancelScope(shield=True)
        self._reason = ""
        self._failure: TidegateError | None = None
        self._is_ending = False
        self._is_due = False  # a bar's time has come without data
        self._trained = False
        self._out_of_order = self._told_until = 0  # of a tape's data: the latest time so far
        self._turned = 0.0  # when the loop last had its turn amid a tape, monotonic
        self._stop_heard: float | None = None  # monotonic
        self._loop: asyncio.AbstractEventLoop | None = None
        self._profit = Profit(engine.desk.portfolio)
        broker.listen(self._reports_came)
        if account is not None:
            account.alarm(self._alarmed)

    # ---- the run -----------------------------------------------------------------------------

    async def run(self, duration: float | None = None) -> Outcome:
        """Run until a signal, `duration` seconds, the end of the data, or a failure.

        Whatever ends it, orders stop first, then the strategy says goodbye, then training ends.
        Cancelling this call skips the goodbye and leaves no task behind.
        """
        with self._watchdog.watching():
            await self._run(duration)
        return self._outcome()

    async def _run(self, duration: float | None) -> None:
        self._loop = asyncio.get_running_loop()
        async with anyio.create_task_group() as tasks:
            for helper in (self._listen, self._lag.run, self._report, self.training.run):
                tasks.start_soon(self._guard, helper)
            for helper in (self.broker.run, self.models.run):
                tasks.start_soon(self._guard, helper)
            await anyio.lowlevel.checkpoint()
            if self._begin() and await self._restore():
                await self._take_data(duration)
            self._is_ending = True
            with self._ending:
                await self._end()
            tasks.cancel_scope.cancel()

    def stop(self, reason: str, failure: TidegateError | None = None) -> None:
        """Ask the run to end in order; the first reason stands.

        What breaks in this process after that still fails the run; a venue that goes then does not.
        """
        is_first = not self._stop.is_set()
        if is_first:
            self._reason = reason
            self._stop.set()
        if self._failure is None and (
            is_first or isinstance(failure, StrategyError | InternalError)
        ):
            self._failure = failure
            if failure is not None and failure.__cause__ is not None:
                self.log.debug("failed", traceback="".join(traceback.format_exception(failure)))

    def halt(self, reason: str) -> None:
        """Refuse every order from now on, and cancel those that work."""
        desk, now = self.engine.desk, self.clock.now()
        desk.ordering.halted = reason
        self.log.warning("halted", reason=reason)
        for tracked in desk.ordering.open_orders:
            if tracked.request_cancel():
                self.broker.cancel(tracked.order.id, now)
        self._carry_out(self.engine.process(self.broker.take_updates(), now), now)

    def _alarmed(self, reason: str) -> None:
        """Halt by ourselves, until a person has looked: also the next run begins halted."""
        self._keep_halt(reason)
        self.halt(reason)

    def resume(self, by: str) -> None:
        """Let orders leave again."""
        self.engine.desk.ordering.halted = ""
        self.log.warning("resumed", by=by)

    # ---- beginning and end -------------------------------------------------------------------

    def _begin(self) -> bool:
        """Call initialize; whether the run goes on."""
        now = self.clock.now()
        try:
            commands = self.engine.start(now)
            self._take_over(now)
            self._profit = Profit(self.engine.desk.portfolio)  # as initialize has set it
            for slot in self.engine.desk.slots.values():
                self.models.adopt(slot)
            self.models.check()  # before any training begins
            self._carry_out(commands, now)
            now = self.clock.now()  # initialize may have taken its time; schedules begin after it
            self._carry_out(self.engine.advance(now), now)
        except Exception as error:  # noqa: BLE001  # whatever it is, the run ends in order
            self._fail(error)
        return not self._stop.is_set()

    def _take_over(self, now: int) -> None:
        """Go on with the account of the run before, and with the orders that it had working."""
        desk = self.engine.desk
        if self._account is None:
            return
        if self._account.recovered.cash is None:
            self._account.begin(desk.portfolio.cash_book, now)
            return
        self.engine.recover(self._account.recovered)
        self._account.go_on(now)
        held = {position.symbol: str(position.quantity) for position in desk.portfolio}
        self.log.info(
            "account recovered",
            cash=f"{desk.portfolio.cash:.2f}",
            positions=held,
            open_orders=len(desk.ordering.open_orders),
            text="as the journal has it; --cash and set_cash do not count",
        )

    async def _restore(self) -> bool:
        """Have the models ready that were, before the first tick; whether the run goes on."""
        async with anyio.create_task_group() as tasks:

            async def give_up() -> None:
                await self._stop.wait()  # a disk that hangs must not hold up the end
                tasks.cancel_scope.cancel()

            tasks.start_soon(give_up)
            await self.models.restore()
            tasks.cancel_scope.cancel()
        return not self._stop.is_set()

    async def _take_data(self, duration: float | None) -> None:
        """Let data flow until something asks for the end; after that no slice is dispatched."""
        self.begun.set()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._guard, self._read)
            if not isinstance(self.clock, VirtualClock):
                tasks.start_soon(self._guard, self._dispatch)
                tasks.start_soon(self._guard, self._keep_time)
            with anyio.move_on_after(duration) as limit:
                await self._stop.wait()
            if limit.cancelled_caught:
                self.stop(f"the duration of {duration:g} s is over", self._never_reached())
            tasks.cancel_scope.cancel()

    def _never_reached(self) -> FeedError | None:
        """Say it where each connection has failed so far: a run of nothing is no clean one."""
        lines = self.feed.statistics().connections
        if not lines or not all(line.trouble for line in lines):
            return None
        return FeedError(f"{lines[0].name} was not reached before the end: {lines[0].trouble}")

    async def _end(self) -> None:
        """End in order: no new orders, cancel the open ones, goodbye, training out."""
        self.log.info("stopping", reason=self._reason)
        now = self.clock.now()
        self.engine.stop_orders()
        try:
            for tracked in self.engine.desk.ordering.open_orders:
                self.broker.cancel(tracked.order.id, now)
            await self._settle()
            self._carry_out(self.engine.process(self.broker.take_updates(), now), now)
            if not isinstance(self._failure, StrategyError):
                self._carry_out(self.engine.finish(now), now)
        except Exception as error:  # noqa: BLE001  # whatever it is, the end goes on
            told = told_of(error)
            self._failure = self._failure or told
            self.log.error("the end was not clean", error=str(told))
            self.log.debug("failed", traceback="".join(traceback.format_exception(error)))
        self.broker.close()
        grace = self.settings.stop_grace_seconds
        if self._stop_heard is not None:  # a callback may have used it up
            grace = max(0.0, grace - (time.monotonic() - self._stop_heard))
        with anyio.move_on_after(grace + CLOSE_SECONDS):  # also where training itself has broken
            await self.training.close(round(grace * SECOND))
            await self.models.close()

    async def _settle(self) -> None:
        """Hear what is still on its way to us; a disk that hangs is not waited for."""
        with anyio.move_on_after(CLOSE_SECONDS):
            await self.broker.settle()

    async def _guard(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run one part of the run; its failure ends the run with one sentence, not with a group."""
        try:
            await task()
        except Exception as error:  # noqa: BLE001  # whatever it is, the run ends in order
            self._fail(error)
        except anyio.get_cancelled_exc_class():
            if anyio.current_effective_deadline() == -math.inf:
                raise  # by the end of the run
            self._fail(StrategyError("the strategy cancelled a task that is not its own", ""))

    def _fail(self, error: Exception) -> None:
        """Ask for the end because of an error, of a strategy, of the venue or of our own."""
        told = told_of(error)
        self.stop(str(told), told)

    def _outcome(self) -> Outcome:
        portfolio = self.engine.desk.portfolio
        training = self.training.statistics()
        return Outcome(
            reason=self._reason,
            failure=self._failure,
            engine=self.engine.statistics(),
            feed=msgspec.structs.replace(self.feed.statistics(), out_of_order=self._out_of_order),
            training=training,
            equity=f"{portfolio.equity:.2f}",
            profit=f"{self._profit.value:.2f}",
            fees=f"{portfolio.fees:.2f}",
            left_running=training.abandoned,
            skipped=skipped_predictions(self.engine.desk.slots),
        )

    # ---- data in -----------------------------------------------------------------------------

    def _reports_came(self) -> None:
        """Have the dispatcher look, from whatever thread: a report came by itself."""
        with suppress(RuntimeError):  # the loop has closed: nobody looks
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._look)

    def _look(self) -> None:
        self._wake.set()

    async def _read(self) -> None:
        """Let the feed push batches until its data ends."""
        clock = self.clock
        await self._hold_for_training()
        if isinstance(clock, VirtualClock):
            await self.feed.run(self.engine.subscriptions, self._deliver_tape)
            await self._catch_up(clock, clock.now() + 1)
        else:
            await self.feed.run(self.engine.subscriptions, self._deliver)
        while len(self.pending):  # what the venue sent last still counts
            self._room = anyio.Event()
            await self._room.wait()
        self.stop("the data has ended")

    async def _deliver(self, batch: Sequence[Event]) -> None:
        """Take a live batch; when too much waits, the socket waits too."""
        if self._is_ending:
            # A socket that is never empty would otherwise never notice that it is cancelled.
            await anyio.lowlevel.checkpoint()
        self.pending.add(batch)
        self._wake.set()
        while self.pending.is_full:
            self._room = anyio.Event()
            await self._room.wait()

    async def _dispatch(self) -> None:
        """Make a slice of whatever has arrived, again and again."""
        while not self._stop.is_set():
            await self._wake.wait()
            self._wake = anyio.Event()
            events = self.pending.take()
            now = self.clock.now()
            wake = self._next_wake()
            self._pace.oldest = events[0].received if events else None
            self._step(events, now, closing=True)
            if self._is_due or self._next_wake() != wake:
                self._is_due = False
                self._rearm.set()
            self._room.set()
            # The reader and the timers get their turn however full the socket is.
            await anyio.lowlevel.checkpoint()

    async def _keep_time(self) -> None:
        """Wake the dispatcher when a bar or a schedule is due although no tick comes.

        The clock is looked at again and again: it may be set, or the machine may sleep, and
        neither shortens a wait.
        """
        while True:
            wake = self._next_wake()
            left = None if wake is None else max(0, wake - self.clock.now()) / SECOND
            with anyio.move_on_after(left and min(left, LOOK_AGAIN_SECONDS)) as due:
                await self._rearm.wait()
            if due.cancelled_caught:
                if left and left > LOOK_AGAIN_SECONDS:
                    continue
                # The dispatcher rearms in any case: a clock that was set back is asked again.
                self._is_due = True
                self._wake.set()
                await self._rearm.wait()
            self._rearm = anyio.Event()

    async def _deliver_tape(self, batch: Sequence[Event]) -> None:
        """Take a batch of a tape moment by moment, each after the bars that ended before it.

        A bar that ends with a moment waits for the next one: more of this one may come, such as
        the last second of a minute.
        """
        clock = self.clock
        assert isinstance(clock, VirtualClock)  # noqa: S101  # _read chose this way by it
        for at, events in moments(batch):
            now = clock.now() if at is None else max(clock.now(), at)
            if at is not None:
                if at < self._told_until:
                    self._out_of_order += sum(isinstance(event, MARKET_KINDS) for event in events)
                self._told_until = max(self._told_until, at)
            await self._catch_up(clock, now)
            clock.advance_to(now)
            self._step(events, now)
            await self._hold_for_training()

    async def _catch_up(self, clock: VirtualClock, before: int) -> None:
        """Close each bar that ended before `before`, at its own end."""
        while (wake := self._next_wake()) is not None and wake < before:
            clock.advance_to(wake)
            # It may be later than `wake` by now, where a tick came late for its bar.
            self._step((), clock.now(), closing=True)
            await self._hold_for_training()

    async def _hold_for_training(self) -> None:
        """Flat out, hold the tape until the jobs it asked for are done, as a backtest would.

        Once the run is to end, hold it for good: the end cancels whoever waits here. And let the
        loop turn where slow callbacks would keep it from hearing of that.
        """
        if time.monotonic() - self._turned > TURN_SECONDS:
            await anyio.lowlevel.checkpoint()
            self._turned = time.monotonic()
        if self._stop.is_set():
            await anyio.sleep_forever()
        if self._trained and self.feed.lockstep:
            await self.training.idle()
        self._trained = False

    def _next_wake(self) -> int | None:
        """When something is due although no data comes: a bar, a schedule, an order's time."""
        return earliest(self.engine.next_wake(), self.broker.next_wake())

    # ---- one step ----------------------------------------------------------------------------

    def _step(self, events: Sequence[EngineEvent], now: int, *, closing: bool = False) -> None:
        """Let the broker see the market first, then the engine both the market and its reports."""
        market: Any = events
        if not MARKET_TYPES.issuperset(map(type, events)):
            market = [event for event in events if type(event) in MARKET_TYPES]
        self.broker.on_market(market, now)
        if updates := self.broker.take_updates():
            events = [*events, *updates]
        self._carry_out(self.engine.process(events, now, closing=closing), now)

    def _carry_out(self, commands: list[Command], now: int) -> None:
        """Do what the engine asks, and tell it what came of it, until nothing more comes."""
        carry_out(commands, now, self.engine, self.broker, self._do)
        for name, spent_ms in self._pace.take_slow():
            self.log.warning(
                "slow callback",
                callback=name,
                spent_ms=round(spent_ms, 1),
                budget_ms=self.settings.slow_callback_ms,
            )

    def _do(self, command: Command) -> None:
        match command:
            case Train(request, handle):
                self._trained = True
                if request.slot is not None:
                    self.models.adopt(request.slot)
                self.training.submit(request, handle)
            case Register(request):
                if request.slot is not None:
                    self.models.adopt(request.slot)
                self.training.register(request)
            case HoldTraining(held):
                self._trained = True
                self.training.hold(held)
            case Subscribe(subscription):
                self._subscribe(subscription)
            case Unsubscribe(symbol):
                self.feed.unsubscribe([symbol])
            case Log(level, event, fields):
                getattr(self.log, level)(event, **free_names(fields))
            case NoteDay(begun):
                if self._account is not None:
                    self._account.note(begun)
            case Halt(reason):
                self._alarmed(reason)
            case Stop(reason, failed):
                self.stop(reason, RunFailed(reason) if failed else None)

    def _subscribe(self, subscription: Subscription) -> None:
        """Ask the feed for a symbol; one that it cannot have costs itself, not the run."""
        try:
            self.feed.subscribe([subscription])
        except ConfigError as error:
            self.log.warning("subscription refused", symbol=subscription.symbol, reason=str(error))

    # ---- what others see ---------------------------------------------------------------------

    async def _listen(self) -> None:
        await signals.listen(
            on_stop=self._on_stop_signal,
            on_toggle=self.training.toggle,
            on_train_now=self.training.train_now,
            on_reload=self._on_reload,
            on_heard=self._hear,
        )

    def _hear(self, number: signal.Signals) -> None:
        """Have the watchdog know of a stop at once, in whatever thread: the loop may be stuck."""
        if number in signals.STOPS:
            self._stop_heard = self._stop_heard or time.monotonic()
            self._watchdog.timeslice.ask_to_stop()

    def _on_stop_signal(self, name: str) -> None:
        """Stop in order at the first signal, at once at the second."""
        if self._is_ending:
            self.log.warning("stopping at once", signal=name)
            self._ending.cancel()
        self.stop(f"{name} received")

    async def _report(self) -> None:
        """Log and hand on the state of the run every few seconds."""
        while True:
            await anyio.sleep(self.settings.status_seconds)
            status = self.status()
            self.log.info("status", **status)
            if self._on_status is not None:
                await self._on_status(status)

    def status(self) -> dict[str, object]:
        """Return the figures of the run as they are now; the lag is since the last call."""
        lag, latency = self._lag.take(), self._pace.take_latency()
        self._late = {
            "lag_p99_ms": lag.p99_ms,
            "latency_p99_ms": round(latency.quantile(0.99), 3),
        }
        return self.figures()

    def histograms(self) -> tuple[dict[float, int], dict[float, int]]:
        """Return lag and latency since the start: counts by upper edge, ms."""
        return self._lag.total.counts(), self._pace.total.counts()

    def figures(self) -> dict[str, object]:
        """Return the figures as they are now, with the lag of the last `status`."""
        portfolio = self.engine.desk.portfolio
        engine, pending = self.engine.statistics(), self.pending.statistics()
        training = self.training.statistics()
        return {
            "equity": f"{portfolio.equity:.2f}",
            "pnl": f"{self._profit.value:.2f}",
            "ticks": engine.events,
            "slices": engine.slices,
            "fills": engine.fills,
            **self._late,
            **_skew(self.feed.statistics()),
            **({} if (warmed := self.engine.warmed) is None else {"warm_up": f"{warmed:.0%}"}),
            "pending": pending.pending,
            "conflated": pending.conflated_quotes,
            "training": "on" if training.is_on else "off",
            **_quota(training),
            "running": {job.id: _progress(job) for job in training.running},
            "models": {
                name: f"v{slot.version}" if slot.readiness.is_ready else slot.readiness.reason
                for name, slot in self.engine.desk.slots.items()
            },
            "skipped": skipped_predictions(self.engine.desk.slots),
        }


def told_of(error: Exception) -> TidegateError:
    """Return an error as one that is meant for a person: as it is, or as a fault of ours."""
    if isinstance(error, TidegateError):
        return error
    told = InternalError(f"a part of the runtime broke: {describe(error)}")
    told.__cause__ = error
    return told


def _progress(job: RunningJob) -> str:
    words = [f"{job.elapsed:.0f} s", f"{job.spent} min paid"]
    left = time_left(job.elapsed, job.fraction)
    if left is not None:
        words += [f"{job.fraction:.0%} {job.text}".rstrip(), f"{left:.0f} s left"]
    return ", ".join([*words, *(["paused"] if job.state is JobState.PAUSED else [])])


def utc_text(when: int) -> str:
    """Return a time in ns UTC as people write it."""
    return datetime.fromtimestamp(when // SECOND, UTC).isoformat().replace("+00:00", "Z")


def _skew(feed: FeedStatistics) -> dict[str, object]:
    """How far the feed's clock leads ours, ms, less the way: where a live venue tells it."""
    return {} if feed.skew is None else {"feed_skew_ms": round(feed.skew / 1e6, 1)}


def _quota(training: TrainingStatistics) -> dict[str, object]:
    quota = training.quota
    return {
        "quota": f"{quota.available}/{quota.capacity}",
        "next_refill": utc_text(quota.next_refill),
    }


def skipped_predictions(slots: Mapping[str, ModelSlot]) -> dict[str, dict[str, int]]:
    """Predictions that were skipped, by slot and cause."""
    return {
        name: {str(cause): count for cause, count in slot.skips.items()}
        for name, slot in slots.items()
        if slot.skips
    }
