"""A backtest is the live run's own engine: the same data, the same orders, and nothing early."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Self

import anyio
import pytest

from feeds.base import Audit, Subscription
from feeds.events import MINUTE, SECOND, Bar, MarketEvent, Symbol, Trade
from runtime import ModelSlot, Resolution, Slice, Strategy
from runtime.backtest import REAL_TIME, Backtest, Rules
from runtime.errors import ConfigError, QuotaExhausted
from runtime.live import Outcome
from runtime.loading import load_strategy
from runtime.settings import load_settings
from runtime.simulation import Data, build_backtest
from runtime.testing import run_on_synthetic
from runtime.training.jobs import JobState
from tests.live.cli_kit import EXAMPLES
from tests.stories.market import SPY, at, listening, trade

START = at(0)


class Told:
    """Events written by hand, as a source."""

    name = "told"

    def __init__(self, events: Sequence[MarketEvent]) -> None:
        self._events = events
        self.read = 0

    def open(self, _: Sequence[Subscription]) -> Self:
        return self

    def held(self) -> str:
        return "what was told"

    def events(self) -> Iterator[MarketEvent]:
        for event in self._events:
            self.read += 1
            yield event

    def audit(self) -> Audit:
        return Audit(rows=self.read, rows_used=self.read, events=self.read)


def run(
    strategy: Strategy,
    source: Told,
    rules: Rules = Rules(),  # noqa: B008  # frozen
    **tables: Any,
) -> tuple[Backtest, Outcome, list[dict[str, Any]]]:
    settings, _ = load_settings(None, tables)
    log, lines = listening()
    test = build_backtest(strategy, settings, START, log, rules=rules)
    return test, test.run(source, START), lines


def ticks(count: int, span: int = SECOND) -> list[MarketEvent]:
    return [trade(n * span / SECOND, 100 + n % 7) for n in range(count)]


# ---- the same as live ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ema_cross", "order_flow_model"])
def test_a_backtest_trades_as_the_live_run_does(name: str) -> None:
    """On the same made-up market: orders, fills, fees, models.

    Live, a model serves from the slice after the one that asked for it: a delay of nothing.
    """
    file = str(EXAMPLES / f"{name}.py")
    live = anyio.run(partial(run_on_synthetic, load_strategy(file), minutes=2))
    settings, _ = load_settings(None, {"feed": {"kind": "synthetic", "minutes": 2.0}})
    data = Data(settings.feed)
    log, _ = listening()
    rules = Rules(publish_after=0)
    test = build_backtest(load_strategy(file), settings, data.begin, log, rules=rules)
    outcome = test.run(data, data.begin)
    assert outcome.failure is live.failure is None
    assert outcome.engine == live.engine
    assert (outcome.equity, outcome.fees) == (live.equity, live.fees)
    assert outcome.training.finished == live.training.finished
    assert outcome.engine.fills > 0


class Chaser(Strategy):
    """Buys and sells in turn at each tick."""

    def initialize(self) -> None:
        self.add_security(SPY, Resolution.TICK)

    def on_data(self, slice: Slice) -> None:
        self.market_order(SPY, 1 if self.portfolio[SPY].quantity <= 0 else -1)


def test_two_runs_are_one() -> None:
    digests = {run(Chaser(), Told(ticks(50)))[0].journal.orders_sha256 for _ in range(3)}
    assert len(digests) == 1
    other, _, _ = run(Chaser(), Told(ticks(49)))
    assert other.journal.orders_sha256 not in digests


def test_books_add_up_over_the_curve_and_the_fills() -> None:
    test, outcome, _ = run(Chaser(), Told(ticks(50)))
    spent = sum(
        float(row.quantity) * float(row.price) * (1 if row.side == "buy" else -1) + float(row.fee)
        for row in test.journal.fills
    )
    last = test.curve.samples[-1]
    assert last.time == at(49)
    assert last.cash == pytest.approx(100_000 - spent)
    assert f"{last.equity:.2f}" == outcome.equity
    assert len(test.journal.fills) == outcome.engine.fills == 50


# ---- what is told when -----------------------------------------------------------------------


class Diary(Strategy):
    """Writes down what it could know, and when."""

    def __init__(self) -> None:
        self.known: list[tuple[int, float]] = []

    def initialize(self) -> None:
        self.add_security(SPY, Resolution.TICK)
        self.consolidate(SPY, timedelta(minutes=1), self.on_bar)
        self.bars: list[tuple[int, Bar]] = []

    def on_bar(self, bar: Bar) -> None:
        self.bars.append((self.time_ns, bar))

    def on_data(self, slice: Slice) -> None:
        window = self.tick_history(SPY, 1000)
        assert window.time[-1] <= self.time_ns
        self.known.append((self.time_ns, float(window.price[-1])))


def test_nothing_of_the_future_is_known() -> None:
    """The future is poisoned: each price tells its own moment."""
    told = [trade(n, 1 + n) for n in range(200)]
    diary = Diary()
    run(diary, Told(told))
    assert diary.known == [(at(n), 1.0 + n) for n in range(200)]
    assert [(time, bar.end_time) for time, bar in diary.bars] == [
        (at(60 * k), at(60 * k)) for k in (1, 2, 3)
    ]
    assert all(bar.close <= (time - START) / SECOND for time, bar in diary.bars)


def test_from_and_to_bound_what_is_told() -> None:
    diary = Diary()
    source = Told([trade(n, 1 + n) for n in range(200)])
    rules = Rules(start=at(50), end=at(60))
    _, outcome, _ = run(diary, source, rules)
    assert [time for time, _ in diary.known] == [at(n) for n in range(50, 60)]
    assert outcome.reason == "the data has ended"
    assert source.read < 70


def test_a_span_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ConfigError, match="--from is not before --to"):
        run(Diary(), Told([]), Rules(start=at(5), end=at(5)))


def test_a_stop_ends_it_after_the_moment_that_is_told() -> None:
    settings, _ = load_settings(None, {})
    log, _ = listening()

    class Stopper(Diary):
        def on_data(self, slice: Slice) -> None:
            super().on_data(slice)
            if len(self.known) == 5:
                test.stop("SIGTERM received")

        def on_end_of_algorithm(self) -> None:
            self.goodbye = True

    strategy = Stopper()
    test = build_backtest(strategy, settings, START, log)
    outcome = test.run(Told(ticks(100)), START)
    assert (outcome.reason, outcome.failure) == ("SIGTERM received", None)
    assert len(strategy.known) == 5
    assert strategy.goodbye


def test_a_strategy_that_raises_fails_the_run() -> None:
    class Broken(Chaser):
        def on_data(self, slice: Slice) -> None:
            raise KeyError("x")

    _, outcome, _ = run(Broken(), Told(ticks(3)))
    assert "Broken.on_data raised KeyError" in str(outcome.failure)


# ---- training --------------------------------------------------------------------------------


class Learner(Strategy):
    """Trains at the tenth tick, and notes since when there is a model."""

    def __init__(self, every: int = 10_000) -> None:
        self.every = every
        self.ticks = 0
        self.first = 0
        self.versions: list[int] = []

    def initialize(self) -> None:
        self.add_security(SPY, Resolution.TICK)
        self.model = ModelSlot("m")

    def fit(self) -> int:
        return self.ticks

    def on_data(self, slice: Slice) -> None:
        self.ticks += 1
        self.versions.append(self.model.version)
        if self.ticks % self.every == 10 % self.every:
            self.train(self.fit, into=self.model)
            self.first = self.model.version


def test_training_is_done_when_train_returns() -> None:
    learner = Learner()
    run(learner, Told(ticks(30)))
    assert learner.first == 1
    assert learner.versions == [0] * 10 + [1] * 20


def test_a_model_serves_only_once_it_would_have_been_there() -> None:
    learner = Learner()
    test, outcome, _ = run(learner, Told(ticks(30)), Rules(publish_after=5 * SECOND))
    assert learner.first == 0
    # Trained in the tick of second 9: there in the one of second 15, after the fifth has passed.
    assert learner.versions == [0] * 15 + [1] * 15
    published = [row for row in test.journal.training if row.kind == "model published"]
    assert [row.time for row in published] == [at(14)]
    assert outcome.training.finished == {JobState.SUCCEEDED: 1}


def test_the_real_time_of_a_job_may_count() -> None:
    learner = Learner()
    run(learner, Told(ticks(30)), Rules(publish_after=REAL_TIME))
    assert learner.versions == [0] * 10 + [1] * 20  # a few microseconds, before the next tick


def test_while_one_is_held_back_the_same_training_waits_for_it() -> None:
    learner = Learner(every=1)
    test, _, _ = run(learner, Told(ticks(12)), Rules(publish_after=4 * SECOND))
    # One runs, one waits, all others are the one that waits.
    assert learner.versions == [0] * 5 + [1] * 4 + [2] * 3
    kinds = [row.kind for row in test.journal.training if row.kind in {"started", "coalesced"}]
    assert kinds.count("started") == 3
    assert kinds.count("coalesced") == 3  # one row for each run that serves several requests


def test_jobs_of_a_fixed_price_are_paid_from_a_bucket_of_the_datas_time() -> None:
    """Each costs 30 minutes, the first of them free; the day after brings 18."""
    quota = {"capacity": 60, "refill_amount": 18, "interval_minutes": 1440}
    told = ticks(4 * 24, 3600 * SECOND)
    rules = Rules(job_cost=30 * MINUTE)
    runs = [run(Learner(12), Told(told), rules, training=quota) for _ in range(2)]
    levels = [[row.available for row in test.journal.training] for test, _, _ in runs]
    assert levels[0] == levels[1]
    _, outcome, _ = runs[0]
    assert outcome.training.finished == {JobState.SUCCEEDED: 2, JobState.OUT_OF_QUOTA: 6}


def test_policy_stop_ends_the_backtest() -> None:
    quota = {"capacity": 5, "refill_amount": 1, "policy": "stop"}
    _, outcome, _ = run(Learner(), Told(ticks(30)), Rules(job_cost=30 * MINUTE), training=quota)
    assert isinstance(outcome.failure, QuotaExhausted)


def test_data_without_the_symbol_says_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("time,symbol,price\n1600000000,QQQ,1.5\n")
    settings, _ = load_settings(None, {"feed": {"kind": "replay", "data": [str(path)]}})
    data = Data(settings.feed)
    log, _ = listening()
    test = build_backtest(Chaser(), settings, data.begin, log)
    outcome = test.run(data, data.begin)
    assert "SPY" in str(outcome.failure)
    assert "QQQ" in str(outcome.failure)


def test_what_runs_back_in_time_is_told_as_it_comes_and_counted() -> None:
    told = [trade(0, 1), trade(10, 2), trade(3, 3), trade(4, 4), trade(11, 5)]
    diary = Diary()
    _, outcome, _ = run(diary, Told(told))
    assert [(time, price) for time, price in diary.known] == [
        (at(0), 1.0), (at(10), 2.0), (at(10), 3.0), (at(10), 4.0), (at(11), 5.0)
    ]  # fmt: skip
    assert outcome.feed.out_of_order == outcome.figures()["feed_out_of_order"] == 2


def test_symbols_that_nobody_asked_for_are_counted() -> None:
    told: list[MarketEvent] = []
    for n in range(10):
        told += [trade(n, 1), Trade(Symbol("QQQ"), at(n), at(n), 5.0, 1.0)]
    _, outcome, _ = run(Chaser(), Told(told))
    assert (outcome.feed.events, outcome.feed.foreign, outcome.feed.unplayed) == (10, 10, 0)
