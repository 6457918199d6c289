"""The live engine under a for loop: the clock follows the data, and training is done at once.

No event loop, no socket: each moment of the data goes to the broker, then to the engine, as live.
A job runs inside the call of `train`, and its model serves when that returns; with a publication
delay it serves only once so much of the data's time has passed, as it would have live.
"""

import heapq
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

import anyio
import msgspec
from structlog.typing import FilteringBoundLogger

from feeds.base import Audit, FeedStatistics, Source, Subscription
from feeds.columns import Span
from feeds.events import SECOND, MarketEvent, Symbol
from feeds.files.strands import Stranded, Strands
from feeds.moments import due
from runtime.carrying import carry_out, earliest
from runtime.clock import VirtualClock
from runtime.commands import (
    Command,
    Halt,
    HoldTraining,
    Log,
    Register,
    Stop,
    Subscribe,
    Train,
    Unsubscribe,
)
from runtime.control.logs import free_names
from runtime.control.pace import Pace
from runtime.control.watchdog import Watchdog
from runtime.engine import Engine
from runtime.errors import QuotaExhausted, RunFailed, StrategyError, TidegateError
from runtime.folding import play
from runtime.live import Outcome, skipped_predictions, told_of
from runtime.report.curve import AccountCurve
from runtime.report.folds import FoldBooks
from runtime.report.prices import Prices
from runtime.report.record import RunRecord
from runtime.report.sampling import Sampling, trading_year
from runtime.report.trades import match_trades
from runtime.results import Journal, Sample
from runtime.schedule.agenda import ScheduledEvent
from runtime.schedule.local_time import in_zone
from runtime.trading.broker import Broker
from runtime.trading.orders import OrderUpdate
from runtime.trading.portfolio import Profit
from runtime.training.jobs import JobRequest
from runtime.training.manager import TrainingManager
from runtime.training.shelf import ModelShelf
from runtime.walk_forward import WalkForward

LOOK_EVENTS = 20_000
"""Events between two looks at what the outside wants to know: progress."""


class Data(Protocol):
    """What is played, once it is known for which symbols."""

    def open(self, subscriptions: Sequence[Subscription]) -> Source:
        """Return the data for these symbols."""
        ...

    def held(self) -> str:
        """Name what it holds."""
        ...


class Rules(msgspec.Struct, frozen=True):
    """What a backtest does otherwise than a live run.

    Attributes:
        start: data due before it is passed over, ns UTC; None is all.
        end: data due at it or later ends the run, ns UTC; None is all.
        job_cost: each job is billed as if it took this long, ns, whatever it really took; None
            bills its real time, as LEAN does.
        publish_after: ns of the data's time between the start of a job and the moment its model
            serves; None is at once, and REAL_TIME what the job really took.
        sampling: the length of one return in the statistics.
        walk_forward: train at its steps and at no other time, and report what came after the first.
    """

    start: int | None = None
    end: int | None = None
    job_cost: int | None = None
    publish_after: int | None = None
    sampling: Sampling = Sampling.DAY
    walk_forward: WalkForward | None = None


REAL_TIME = -1
NEVER = 2**63 - 1


class Progress(NamedTuple):
    """How far it has come: the time of the data (ns UTC) and the events so far."""

    time: int
    events: int


class _Priced(msgspec.Struct, frozen=True):
    """A training method that takes `cost` ns of the jobs' clock; equal where the method is."""

    method: Callable[[], object]
    clock: VirtualClock
    cost: int

    def __call__(self) -> object:
        try:
            return self.method()
        finally:
            self.clock.advance(self.cost)


class _Written:
    """A broker whose every report is in the journal."""

    def __init__(self, broker: Broker, journal: Journal) -> None:
        self._broker, self._journal = broker, journal
        self.name = broker.name
        self.submit, self.cancel, self.amend = broker.submit, broker.cancel, broker.amend
        self.on_market, self.next_wake, self.run = broker.on_market, broker.next_wake, broker.run
        self.listen, self.settle, self.close = broker.listen, broker.settle, broker.close

    def take_updates(self) -> list[OrderUpdate]:
        """Return the reports since the last call, in order."""
        updates = self._broker.take_updates()
        if updates:
            self._journal.reported(updates)
        return updates


class Backtest:
    """One run over one source; `run` it once.

    Attributes:
        curve: the account over time.
        prices: of each symbol over time.
        journal: fills and training.
        seconds: how long the data took, real time.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        broker: Broker,
        training: TrainingManager,
        models: ModelShelf,
        clock: VirtualClock,
        job_clock: VirtualClock | None,
        log: FilteringBoundLogger,
        pace: Pace,
        watchdog: Watchdog,
        journal: Journal,
        rules: Rules = Rules(),  # noqa: B008  # frozen
        on_progress: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        self.curve = AccountCurve()  # in the strategy's zone, once initialize has set it
        self.prices = Prices()
        self.journal = journal
        self.seconds = 0.0
        self._engine, self._training = engine, training
        self._broker: Broker = _Written(broker, journal)
        self._models, self._clock, self._job_clock = models, clock, job_clock
        self._log, self._pace, self._watchdog = log, pace, watchdog
        self._rules, self._on_progress = rules, on_progress
        self._held: list[tuple[int, int, Callable[[], None]]] = []  # models that serve later
        self._order = itertools.count()
        self._wanted: frozenset[Symbol] = frozenset()
        self._reason = ""
        self._failure: TidegateError | None = None
        self._delivered = self._foreign = self._out_of_order = 0
        self._told_until = 0  # the latest time of the data so far
        self._progress_at = LOOK_EVENTS
        self._profit = Profit(engine.desk.portfolio)
        self._folds = FoldBooks()
        self._trained_at = 0  # events told before the last step that trained
        journal.rate_of = engine.desk.portfolio.rate_of
        training.hold_back = self._hold_back
        engine.desk.train_at_once = self._train

    def stop(self, reason: str, failure: TidegateError | None = None) -> None:
        """Ask for the end after the moment that is being told; the first reason stands."""
        if not self._reason:
            self._reason, self._failure = reason, failure

    def run(self, data: Data, begin: int) -> Outcome:
        """Call initialize, let the data flow, say goodbye, and return how it went.

        Args:
            data: opened once with what `initialize` has subscribed to.
            begin: engine time of `initialize`, ns UTC: the first moment of the data.
        """
        began = time.perf_counter()
        audit = Audit()
        name = ""
        with self._watchdog.watching():
            try:
                self._clock.advance_to(begin)
                self._carry_out(self._engine.start(begin), begin)
                self._profit = Profit(self._engine.desk.portfolio)
                if self._rules.walk_forward is not None:
                    self._walk(self._rules.walk_forward, begin)
                self.curve = AccountCurve(self._engine.desk.zone, self._rules.sampling)
                for slot in self._engine.desk.slots.values():
                    self._models.adopt(slot)
                anyio.run(self._models.restore)
                self._wanted = frozenset(each.symbol for each in self._engine.subscriptions)
                self._carry_out(self._engine.advance(begin), begin)
                source = data.open(self._engine.subscriptions)
                name, audit = source.name, source.audit()
                if not self._reason:
                    self._play(source)
                audit = source.audit()
                if not (self._delivered or self._reason):
                    asked = ", ".join(each.symbol for each in self._engine.subscriptions)
                    raise RunFailed(f"the data held nothing for {asked}: it holds {data.held()}")
                if self._rules.walk_forward is not None and not (
                    self._reason or self._folds.starts
                ):
                    raise self._too_short(self._rules.walk_forward, begin)
                self.stop("the data has ended")
            except Exception as error:  # noqa: BLE001  # whatever it is, the run ends in order
                told = told_of(error)
                self.stop(str(told), told)
                self._log.debug("failed", error=str(told), exc_info=error)
            self._end()
        self.seconds = time.perf_counter() - began
        return self._outcome(name, audit)

    @property
    def unread_parameters(self) -> frozenset[str]:
        """The parameters that the strategy has not asked for."""
        return frozenset(self._engine.desk.parameters.unread)

    def record(self, outcome: Outcome) -> RunRecord:
        """Return all that a report is made of, once it has run."""
        desk, curve, journal = self._engine.desk, self.curve, self.journal
        since = self._folds.starts[0].time if self._folds.starts else 0
        orders = Counter(
            str(each.state) for each in desk.ordering.orders.values() if each.order.created >= since
        )
        year = trading_year(each.asset_class for each in desk.securities.values())
        walk = self._rules.walk_forward
        folds = []
        if walk is not None:
            trades, _ = match_trades(journal.fills)
            folds = self._folds.folds(
                walk.train, curve.closes, trades, journal.training, curve.sampling, year
            )
        return RunRecord(
            strategy=type(self._engine.strategy).__name__,
            parameters=dict(desk.parameters),
            reason=outcome.reason,
            failure="" if outcome.failure is None else str(outcome.failure),
            zone=desk.zone.key,
            sampling=curve.sampling,
            year=year,
            samples=curve.samples,
            closes=curve.closes,
            days=curve.days,
            drawdown=curve.drawdown(),
            invested=curve.invested,
            gross=curve.gross,
            prices=self.prices.series,
            fills=journal.fills,
            training=journal.training,
            orders=dict(sorted(orders.items())),
            capacity=outcome.training.quota.capacity,
            events=outcome.engine.events,
            seconds=self.seconds,
            orders_sha256=journal.orders_sha256,
            walk_forward="" if walk is None else str(walk),
            folds=folds,
        )

    # ---- the data ----------------------------------------------------------------------------

    def _play(self, source: Source) -> None:
        """Tell the data: by columns as far as it has any, in order of time, then by events."""
        start = self._rules.start or 0
        strands = source.strands() if isinstance(source, Stranded) else None
        if strands is None:
            self._play_events(itertools.dropwhile(lambda e: due(e) < start, source.events()))
        else:
            woven = Strands(strands, self._wanted)
            try:
                if not woven.skip(start):
                    self._play_events(itertools.dropwhile(lambda e: due(e) < start, woven.rest()))
                elif not play(woven, self._engine, self, self._rules.end):
                    self._play_events(woven.rest())
            finally:  # also where a callback raises: every row is accounted for
                self._foreign += woven.passed
        if not self._reason:
            self._catch_up(self._clock.now() + 1)

    def _play_events(self, events: Iterable[MarketEvent]) -> None:
        """Tell events moment by moment."""
        end = self._rules.end
        batch: list[MarketEvent] = []
        moment = 0
        for event in events:
            at = due(event)
            if at != moment:
                if batch:
                    self.tell(moment, batch)
                    batch = []
                    if self._reason:
                        return
                if end is not None and at >= end:
                    break
                moment = at
            if event.symbol in self._wanted:
                batch.append(event)
            else:
                self._foreign += 1
        if batch:
            self.tell(moment, batch)

    def tell(self, at: int, batch: Sequence[MarketEvent]) -> None:
        """Tell one moment: the broker first, then the engine both it and the broker's reports."""
        self.arrive(at)
        if at < self._told_until:
            self._out_of_order += len(batch)
        self._told_until = max(self._told_until, at)
        now = max(self._clock.now(), at)
        self._clock.advance_to(now)
        self._delivered += len(batch)
        self._broker.on_market(batch, now)
        reports = self._broker.take_updates()
        events = [*batch, *reports] if reports else batch
        commands = self._engine.process(events, now)
        if commands:
            self._carry_out(commands, now)

    def arrive(self, at: int) -> None:
        """Do what is due before the moment `at`: a look at the account, bars, schedules, models."""
        now = max(self._clock.now(), at)
        if now >= self.curve.due:
            self._look(now)
        wake = self._next_wake()
        if wake is not None and wake < now:
            self._catch_up(now)
        if self._delivered >= self._progress_at:
            self._progress_at = self._delivered + LOOK_EVENTS
            self._on_progress(Progress(now, self._delivered))

    def take(self, spans: Sequence[Span]) -> None:
        """Let the broker and the engine have trades that call nobody."""
        now = self._told_until = max([span.last_time for span in spans])
        self._clock.advance_to(now)
        self._delivered += sum([span.length for span in spans])
        # With nothing working the broker only remembers: each symbol's last trade is enough.
        self._broker.on_market([span.last for span in spans], now)
        self._engine.fold(spans, now)

    @property
    def next_stop(self) -> int:
        """When the account is looked at, a model comes to serve or an order is due, ns UTC."""
        due = self.curve.due
        if self._held:
            due = min(due, self._held[0][0])
        wake = self._broker.next_wake()
        return due if wake is None else min(due, wake)

    @property
    def wanted(self) -> frozenset[Symbol]:
        """The symbols that the strategy has added."""
        return self._wanted

    @property
    def is_over(self) -> bool:
        """Whether the run ends with the moment that is being told."""
        return bool(self._reason)

    def _next_wake(self) -> int | None:
        wake, due = self._engine.next_wake(), self._broker.next_wake()
        if due is not None:
            wake = earliest(wake, due)
        return earliest(wake, self._held[0][0]) if self._held else wake

    def _catch_up(self, before: int) -> None:
        """Do what is due before then, in order: models that come to serve, bars, schedules."""
        while (wake := self._next_wake()) is not None and wake < before and not self._reason:
            self._clock.advance_to(wake)
            now = self._clock.now()
            while self._held and self._held[0][0] <= now:
                heapq.heappop(self._held)[2]()
            self._broker.on_market((), now)
            reports = self._broker.take_updates()
            self._carry_out(self._engine.process(reports, now, closing=True), now)

    # ---- what the engine asks ----------------------------------------------------------------

    def _carry_out(self, commands: list[Command], now: int) -> None:
        carry_out(commands, now, self._engine, self._broker, self._do)
        if not self._pace.has_slow:
            return
        for name, spent_ms in self._pace.take_slow():
            self._log.debug("slow callback", callback=name, spent_ms=round(spent_ms, 1))

    def _do(self, command: Command) -> None:
        match command:
            case Train():
                self._train(command)
            case Register(request):
                self._adopt(request)
                self._training.register(self._billed(request))
            case HoldTraining() if self._rules.walk_forward is not None:
                pass  # its steps train, whatever the market does
            case HoldTraining(held):
                self._training.hold(held)
                self._training.run_waiting_inline()
            case Subscribe(subscription):
                self._wanted = self._wanted | {subscription.symbol}
            case Unsubscribe(symbol):
                self._wanted = self._wanted - {symbol}
            case Log(level, event, fields):
                getattr(self._log, level)(event, **free_names(fields))
            case Halt(reason):
                self._engine.desk.ordering.halted = reason
                self._log.warning("halted", reason=reason)
                self._cancel_all(self._clock.now())
            case Stop(reason, failed):
                self.stop(reason, RunFailed(reason) if failed else None)

    def _adopt(self, request: JobRequest) -> None:
        if request.slot is not None:
            self._models.adopt(request.slot)

    def _train(self, command: Train) -> None:
        """Run a job here and now, at a fixed price where there is one."""
        self._adopt(command.request)
        try:
            self._training.run_inline(self._billed(command.request), command.handle)
        except QuotaExhausted as error:  # the run's end, and not the callback's that asked for it
            self.stop(str(error), error)

    def _billed(self, request: JobRequest) -> JobRequest:
        if self._job_clock is None:
            return request
        cost = max(0, (self._rules.job_cost or 0) - 1)  # it ends before its last minute does
        method = _Priced(request.method, self._job_clock, cost)
        return msgspec.structs.replace(request, method=method)

    def _hold_back(self, elapsed: float, publish: Callable[[], None]) -> bool:
        """Have a job's result published when it would have been; False where that is at once.

        Args:
            elapsed: seconds that the job took.
            publish: to be called then.
        """
        after = self._rules.publish_after
        if after is None or self.is_over:
            return False
        span = round(elapsed * SECOND) if after == REAL_TIME else after
        heapq.heappush(self._held, (self._clock.now() + span, next(self._order), publish))
        return True

    # ---- walk-forward ------------------------------------------------------------------------

    def _walk(self, walk: WalkForward, begin: int) -> None:
        """Trade nothing before the first step, train nothing but at each."""
        desk = self._engine.desk
        desk.hold_orders_until(NEVER)
        desk.job_reach = walk.train
        self._training.hold_until_steps()
        # It leads: what else is due at a step finds the new model.
        steps = walk.steps(begin, desk.zone)
        desk.schedule.agenda.lead(ScheduledEvent("walk-forward", steps, self._step))

    def _step(self) -> None:
        """Begin a fold; a step before which nothing came goes on with the one before."""
        now = self._engine.desk.now_ns
        if self._delivered == self._trained_at:
            return
        self._trained_at = self._delivered
        sample = self._sample(now)
        if not self._folds.starts:  # nothing before it is reported
            self.curve = AccountCurve(self._engine.desk.zone, self._rules.sampling)
            self.curve.add(sample, now)
            self.prices = Prices()
            self._engine.desk.trade_from = now
        self._folds.turn(sample)
        try:
            self._training.train_step("walk-forward")
        except QuotaExhausted as error:
            self.stop(str(error), error)

    def _too_short(self, walk: WalkForward, begin: int) -> RunFailed:
        zone = self._engine.desk.zone
        last, first = self._clock.now(), walk.first(begin, zone)
        began, ended, needed = (
            f"{in_zone(moment, zone):%Y-%m-%d %H:%M}" for moment in (begin, last, first)
        )
        return RunFailed(
            f"the data goes from {began} to {ended} ({zone.key}): with --walk-forward {walk} the "
            f"first training is at {needed}"
        )

    # ---- the end -----------------------------------------------------------------------------

    def _end(self) -> None:
        """No new orders, cancel the open ones, goodbye; what was to serve later never does."""
        now = self._clock.now()
        self._engine.stop_orders()
        try:
            self._cancel_all(now)
            self._carry_out([], now)
            if not isinstance(self._failure, StrategyError):
                self._carry_out(self._engine.finish(now), now)
        except Exception as error:  # noqa: BLE001  # whatever it is, the end goes on
            told = told_of(error)
            self._failure = self._failure or told
            self._log.error("the end was not clean", error=str(told))
        sample = self._sample(now)
        self.curve.close(sample)
        self._folds.add(sample)
        self.prices.add(now, self._engine.desk.securities.values())

    def _cancel_all(self, now: int) -> None:
        for tracked in self._engine.desk.ordering.open_orders:
            self._broker.cancel(tracked.order.id, now)

    def _look(self, now: int) -> None:
        """Take the account as the moments before `now` have left it."""
        before = self._clock.now()
        sample = self._sample(before)
        self.curve.add(sample, now)
        self._folds.add(sample)
        if before >= self.prices.due:
            self.prices.add(before, self._engine.desk.securities.values())

    def _sample(self, now: int) -> Sample:
        portfolio = self._engine.desk.portfolio
        equity = float(portfolio.equity)
        exposure = float(portfolio.exposure)
        available = self._training.available
        return Sample(now, equity, float(portfolio.cash), exposure, available)

    def _outcome(self, name: str, audit: Audit) -> Outcome:
        portfolio = self._engine.desk.portfolio
        feed = FeedStatistics(
            name=name,
            frames=audit.rows,
            events=self._delivered,
            malformed=audit.malformed,
            suspicious=audit.suspicious,
            ignored=dict(audit.ignored),
            rows_used=audit.rows_used,
            rows_joined=audit.joined,
            foreign=self._foreign,
            unplayed=audit.events - self._delivered - self._foreign,
            out_of_order=self._out_of_order,
        )
        return Outcome(
            reason=self._reason,
            failure=self._failure,
            engine=self._engine.statistics(),
            feed=feed,
            training=self._training.statistics(),
            equity=f"{portfolio.equity:.2f}",
            profit=f"{self._profit.value:.2f}",
            fees=f"{portfolio.fees:.2f}",
            left_running=(),
            skipped=skipped_predictions(self._engine.desk.slots),
        )
