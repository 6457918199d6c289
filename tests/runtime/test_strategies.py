"""The examples do what they say, on the seeded market, after fees and spread.

A model here is trained on nothing but the past: it is fitted in the run, while the run goes on.
"""

import asyncio
import math
from decimal import Decimal
from pathlib import Path

import pytest

from feeds.events import SECOND
from runtime import JobState, OrderEvent, OrderTicket, Quote, Strategy, Symbol
from runtime.live import Outcome
from runtime.loading import load_strategy
from runtime.testing import run_on_events, run_on_synthetic
from strategies import folder
from strategies.ema_cross import EmaCross
from strategies.online_learner import OnlineLearner
from strategies.order_flow_model import OrderFlowModel
from strategies.readiness_flag import ReadinessFlag
from strategies.scheduled_training import ScheduledTraining

EXAMPLES = sorted(path for path in folder().glob("*.py") if path.name != "__init__.py")
SEEDS = (1, 2, 3)
CASH = Decimal(100_000)


async def play(strategy: Strategy, seed: int, **options: object) -> Outcome:
    parameters = {key: str(value) for key, value in options.items()}
    return await run_on_synthetic(strategy, minutes=15, seed=seed, rate=15, parameters=parameters)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_says_how_to_try_it(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) < 100
    assert f"Try it: tidegate run strategies/{path.name}" in text


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path: Path) -> None:
    strategy = load_strategy(str(path))
    outcome = asyncio.run(run_on_synthetic(strategy, minutes=3, rate=5))
    assert outcome.failure is None
    assert outcome.left_running == ()
    assert outcome.engine.events == 3 * 60 * 5 * len(strategy.securities)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_bears_a_market_that_is_almost_silent(path: Path) -> None:
    strategy = load_strategy(str(path))
    assert asyncio.run(run_on_synthetic(strategy, minutes=15, rate=0.05)).failure is None


@pytest.mark.parametrize("symbols", ["SPY,AAPL", "SPY,AAPL,MSFT"])  # and one that never speaks
async def test_the_order_flow_model_bears_a_symbol_that_falls_silent(symbols: str) -> None:
    moments = []
    for second in range(60):
        now, mid = second * SECOND, 100 + round(math.sin(second), 2)
        names = ["SPY", "AAPL"] if second < 30 else ["SPY"]
        moments.append([Quote(Symbol(n), now, now, mid, 100, mid + 0.01, 200) for n in names])
    strategy = OrderFlowModel()
    outcome = await run_on_events(strategy, moments, parameters={"symbols": symbols})
    assert outcome.failure is None
    assert strategy.model.version > 0


async def profits(target: str) -> list[Decimal]:
    outcomes = [await play(OrderFlowModel(), seed, target=target) for seed in SEEDS]
    for outcome in outcomes:
        assert outcome.failure is None
        assert outcome.training.finished == {JobState.SUCCEEDED: 59}
    return [Decimal(outcome.profit) for outcome in outcomes]


async def test_the_order_flow_model_earns_more_than_it_costs() -> None:
    assert min(await profits("later mid")) > 1_000


async def test_without_a_clue_the_order_flow_model_loses() -> None:
    earned = await profits("shuffled")
    assert sum(earned) < 0
    assert max(earned) < 500


@pytest.mark.parametrize("seed", SEEDS)
async def test_the_online_learner_learns_and_earns(seed: int) -> None:
    learner = OnlineLearner()
    outcome = await play(learner, seed)
    assert float(learner.score.get()) > 0.6
    assert Decimal(outcome.profit) > 0
    assert outcome.training.finished == {}  # it is no training job


class WatchedSchedule(ScheduledTraining):
    """Notes when it traded, by New York's clocks, and which model served."""

    def initialize(self) -> None:
        super().initialize()
        self.fills: list[tuple[str, int]] = []

    def on_order_event(self, order_event: OrderEvent) -> None:
        if order_event.fill_quantity:
            self.fills.append((f"{self.time:%H:%M}", self.model.version))


async def test_the_scheduled_one_trades_in_the_session_and_holds_nothing_overnight() -> None:
    strategy = WatchedSchedule()
    outcome = await run_on_synthetic(strategy, minutes=24 * 60, rate=0.1)
    assert outcome.failure is None
    # A trading day from midnight to the tape's end at 19:00: every two hours, and at 8:30.
    assert outcome.training.finished == {JobState.SUCCEEDED: 11}
    assert len(strategy.fills) > 4
    assert all("09:35" <= time <= "15:51" for time, _ in strategy.fills)
    versions = [version for _, version in strategy.fills]
    assert 6 <= min(versions) < max(versions) <= 9
    assert not strategy.portfolio.invested


class WatchedFlag(ReadinessFlag):
    """Notes what was known when it traded."""

    def initialize(self) -> None:
        super().initialize()
        self.states: list[tuple[float | None, bool]] = []

    def set_holdings(self, symbol: str, weight: float, tag: str = "") -> OrderTicket | None:
        self.states.append((self.slope, self.model_is_training))
        return super().set_holdings(symbol, weight, tag)


async def test_the_flag_is_looked_at_before_every_trade() -> None:
    strategy = WatchedFlag()
    outcome = await play(strategy, seed=1)
    assert outcome.failure is None
    assert outcome.training.finished[JobState.SUCCEEDED] > 10
    assert strategy.states
    assert all(slope is not None and not training for slope, training in strategy.states)


class WatchedModel(OrderFlowModel):
    """Notes which model served at each change of an order."""

    def initialize(self) -> None:
        super().initialize()
        self.versions: list[int] = []

    def on_order_event(self, order_event: OrderEvent) -> None:
        self.versions.append(self.model.version)


async def test_the_model_is_waited_for_and_then_replaced() -> None:
    strategy = WatchedModel()
    outcome = await run_on_synthetic(strategy, minutes=3, rate=15)
    assert outcome.engine.orders > 0
    assert strategy.model.skipped > 10
    assert strategy.versions[0] >= 1
    assert strategy.versions == sorted(strategy.versions)
    assert strategy.versions[-1] > 5


class WatchedCross(EmaCross):
    """Keeps its own books of what it is told, to be held against the runtime's."""

    def initialize(self) -> None:
        super().initialize()
        self.cash, self.held = CASH, Decimal(0)

    def on_order_event(self, order_event: OrderEvent) -> None:
        sign = 1 if order_event.side == "buy" else -1
        self.held += sign * order_event.fill_quantity
        self.cash -= sign * order_event.fill_quantity * order_event.fill_price + order_event.fee


async def test_the_books_of_the_crossing_averages_balance() -> None:
    strategy = WatchedCross()
    outcome = await play(strategy, seed=1)
    position = strategy.portfolio[strategy.symbol]
    assert outcome.engine.fills > 10
    assert strategy.portfolio.cash == strategy.cash
    assert position.quantity == strategy.held >= 0
    assert strategy.portfolio.equity == strategy.cash + strategy.held * position.last_price
    assert Decimal(outcome.profit) == round(strategy.portfolio.equity - CASH, 2)
