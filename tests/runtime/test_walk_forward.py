"""Walk-forward: trained at the steps only, on its window only, and nothing else is reported."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from feeds.events import MINUTE, SECOND, MarketEvent
from runtime import ModelSlot, Resolution, Slice, Strategy
from runtime.backtest import Rules
from runtime.errors import ConfigError
from runtime.report.record import make_report
from runtime.walk_forward import WalkForward, walk_forward_of
from tests.runtime.test_backtest import Told, run
from tests.stories.market import SPY, T0, at, quote, trade

HOUR = 60 * MINUTE
NEW_YORK = ZoneInfo("America/New_York")
WALK = WalkForward(train=60 * MINUTE, step=30 * MINUTE)


# ---- the steps -------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["train=30d,step=7d", "step=7d, train=30d", "train=30d step=7d"])
def test_spans_are_read_in_either_order(text: str) -> None:
    walk = walk_forward_of(text)
    assert walk == WalkForward(train=30 * 24 * HOUR, step=7 * 24 * HOUR)
    assert str(walk) == "train=30d,step=7d"


@pytest.mark.parametrize(
    "text",
    ["", "30d", "train=30d", "train=30d,step=", "train=30d,step=0d", "train=3w,step=1d",
     "train=1.5d,step=1d", "train=30d,step=7d,test=1d", "train=-1d,step=1d"],
)  # fmt: skip
def test_anything_else_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(ConfigError, match="train=30d,step=7d is needed"):
        walk_forward_of(text)


def test_steps_in_days_begin_at_midnight_of_the_zone_whatever_the_clocks_do() -> None:
    """New York puts its clocks forward on 10 March 2024: that day has 23 hours."""
    begin = int(datetime(2024, 3, 7, 9, 30, tzinfo=NEW_YORK).timestamp()) * SECOND
    walk = walk_forward_of("train=2d,step=1d")
    following = walk.steps(begin, NEW_YORK)
    moment, found = begin, []
    for _ in range(4):
        moment = following(moment)
        found.append(datetime.fromtimestamp(moment // SECOND, NEW_YORK).isoformat())
    assert found == [
        f"2024-03-{day:02d}T00:00:00-0{5 if day < 11 else 4}:00" for day in range(9, 13)
    ]


def test_steps_in_hours_follow_the_first_moment_of_the_data() -> None:
    following = walk_forward_of("train=1h,step=20m").steps(at(7), UTC)
    assert following(at(7)) == at(3607)
    assert following(at(3607)) == at(3607 + 1200)
    assert following(at(3607 + 1199)) == at(3607 + 1200)
    assert following(at(3607 + 12_000)) == at(3607 + 13_200)


# ---- a run -----------------------------------------------------------------------------------


def market(minutes: int) -> list[MarketEvent]:
    """A quote and a trade each half minute; the price of each trade is its own minute."""
    told: list[MarketEvent] = []
    for n in range(2 * minutes):
        price = 1000 + n / 2
        told += [quote(30 * n, price - 1, price + 1, 10), trade(30 * n, price)]
    return told


class Walker(Strategy):
    """Asks for training at each tick, and writes down what its jobs and it could see."""

    def __init__(self) -> None:
        self.trained: list[tuple[int, int, int]] = []
        self.bars: list[tuple[int, int]] = []
        self.traded: list[int] = []
        self.asked = 0

    def initialize(self) -> None:
        self.add_security(SPY, Resolution.TICK)
        self.model = ModelSlot("m")

    def fit(self) -> float:
        ticks, bars = self.tick_history(SPY, 10_000), self.history(SPY, 10_000)
        self.trained.append((self.time_ns, int(ticks.time[0]), int(ticks.time[-1])))
        self.bars.append((int(bars.time[0]), int(bars.time[-1])))
        return float(ticks.price.mean())

    def on_data(self, slice: Slice) -> None:
        self.asked += 1
        self.train(self.fit, into=self.model)
        if len(self.traded) % 5 == 0 or self.traded[-1] < self.time_ns - 4 * MINUTE:
            ticket = self.market_order(SPY, 1 if self.portfolio[SPY].quantity <= 0 else -1)
            if not self.is_warming_up:
                assert ticket.order_id
                self.traded.append(self.time_ns)
        elif not self.is_warming_up:
            self.traded.append(self.time_ns)


def walked(
    minutes: int, strategy: Strategy | None = None, **more: Any
) -> tuple[Walker, Any, Any, list[dict[str, Any]]]:
    walker = strategy or Walker()
    rules = Rules(walk_forward=WALK, **more)
    test, outcome, lines = run(walker, Told(market(minutes)), rules)
    assert isinstance(walker, Walker)
    return walker, test, outcome, lines


def test_it_trains_at_each_step_on_its_window_and_at_no_other_time() -> None:
    walker, test, outcome, _ = walked(150)
    assert outcome.failure is None
    steps = [at(60 * minute) for minute in (60, 90, 120)]
    assert [now for now, _, _ in walker.trained] == steps
    assert [(first, last) for _, first, last in walker.trained] == [
        (step - 60 * MINUTE, step) for step in steps
    ]
    assert walker.bars == [(step - 60 * MINUTE, step) for step in steps]
    assert walker.asked == 300
    kinds = [row.kind for row in test.journal.training]
    assert kinds.count("started") == 3
    assert kinds.count("coalesced") == 4  # one for each run, and the one that waits in the end


def test_what_is_read_outside_of_a_job_is_not_cut() -> None:
    class Reader(Walker):
        def on_data(self, slice: Slice) -> None:
            super().on_data(slice)
            self.oldest = int(self.tick_history(SPY, 10_000).time[0])

    reader = Reader()
    walked(150, reader)
    assert reader.oldest == T0


def test_nothing_is_traded_or_reported_before_the_first_training() -> None:
    walker, test, outcome, _ = walked(150)
    first = at(3600)
    assert walker.traded[0] == first
    record = test.record(outcome)
    assert min(fill.time for fill in record.fills) >= first
    assert record.samples[0].time == record.closes[0].time == first
    assert all(time >= first - MINUTE for time, _ in record.prices[SPY])
    # The orders that were refused while it warmed up are no orders of the result.
    assert sum(record.orders.values()) == sum(
        each.order.created >= first for each in test._engine.desk.ordering.orders.values()
    )
    assert record.walk_forward == "train=1h,step=30m"


def test_folds_follow_one_another_and_compound_to_the_profit_of_the_run() -> None:
    _, test, outcome, _ = walked(150)
    report = make_report(test.record(outcome))
    folds = report.record.folds
    assert [fold.start for fold in folds] == [at(60 * minute) for minute in (60, 90, 120)]
    assert [fold.end for fold in folds] == [at(5400), at(7200), at(149.5 * 60)]
    assert [fold.models for fold in folds] == [["m v1"], ["m v2"], ["m v3"]]
    made = np.prod([1 + (fold.profit or 0) for fold in folds])
    assert made == pytest.approx(1 + (report.statistics["Net Profit"] or 0))
    assert sum(fold.trades for fold in folds) == len(report.trades) > 0


def test_a_step_without_new_data_does_not_train_again() -> None:
    told = [*market(61), *(trade(n * 60, 1000) for n in range(605, 640))]
    walker = Walker()
    test, outcome, _ = run(walker, Told(told), Rules(walk_forward=WALK))
    assert outcome.failure is None
    # At minute 60; at 90, for what came in minute 60; nothing overnight; at 630.
    assert [(now - T0) // MINUTE for now, _, _ in walker.trained] == [60, 90, 630]
    assert len(test.record(outcome).folds) == 3


def test_a_schedule_of_the_strategys_own_makes_a_method_known_and_no_more() -> None:
    class Scheduled(Walker):
        def initialize(self) -> None:
            super().initialize()
            rules = self.date_rules.every_day(), self.time_rules.every(timedelta(minutes=7))
            self.train(*rules, self.fit, into=self.model)

        def on_data(self, slice: Slice) -> None:
            pass

    walker, _, _, _ = walked(130, Scheduled())
    assert [(now - T0) // MINUTE for now, _, _ in walker.trained] == [60, 90, 120]


def test_a_job_of_a_fixed_price_is_trained_once_a_step() -> None:
    walker, test, _, _ = walked(130, job_cost=3 * MINUTE)
    assert len(walker.trained) == 3
    spent = [row.spent for row in test.journal.training if row.kind == "finished"]
    assert spent == [2, 2, 2]


def test_a_model_that_serves_later_keeps_the_others_waiting_and_nothing_else_starts() -> None:
    class Two(Walker):
        def on_data(self, slice: Slice) -> None:
            self.train(self.fit, into=self.model)
            self.train(self.other, name="other")

        def other(self) -> None:
            self.trained.append((self.time_ns, 0, 0))

    walker, _, _, _ = walked(130, Two(), publish_after=90 * SECOND)
    # One worker: the second begins when the first one serves, and then both wait for the step.
    assert [(now - T0) / MINUTE for now, _, _ in walker.trained] == [60, 61.5, 90, 91.5, 120, 121.5]


def test_its_own_warm_up_may_be_longer_than_the_first_window() -> None:
    class Slow(Walker):
        def initialize(self) -> None:
            super().initialize()
            self.set_warm_up(timedelta(minutes=80))

    walker, _, _, _ = walked(120, Slow())
    assert walker.traded[0] == at(80 * 60)


def test_too_little_data_is_said_in_a_sentence() -> None:
    _, _, outcome, _ = walked(30)
    assert str(outcome.failure) == (
        "the data goes from 2024-01-01 19:00 to 2024-01-01 19:29 (America/New_York): with "
        "--walk-forward train=1h,step=30m the first training is at 2024-01-01 20:00"
    )


def test_a_history_that_is_shorter_than_the_window_is_told() -> None:
    walker = Walker()
    rules = Rules(walk_forward=WALK)
    _, _, lines = run(walker, Told(market(100)), rules, engine={"history": 50})
    told = [line for line in lines if "raise engine.history" in str(line["event"])]
    assert [line["symbol"] for line in told] == ["SPY"]


@pytest.mark.parametrize("poisoned", [60, 75, 90, 119])
def test_no_training_sees_a_poisoned_future(poisoned: int) -> None:
    """From a minute on all prices are absurd: what was trained before is as without them."""
    clean, _, _, _ = walked(150)
    told = [
        event if event.time < at(60 * poisoned) else trade((event.time - T0) / SECOND, 1e12)
        for event in market(150)
    ]
    walker = Walker()
    test, _, _ = run(walker, Told(told), Rules(walk_forward=WALK))
    published = [row for row in test.journal.training if row.kind == "model published"]
    before = [each for each in clean.trained if each[0] < at(60 * poisoned)]
    assert walker.trained[: len(before)] == before
    assert len(published) == 3
