"""What an author types: readiness three ways, and calls that say what is wrong with them."""

import inspect
import threading
from decimal import Decimal
from typing import Any

import anyio
import pytest

from runtime import ModelSlot, Resolution, Slice, Strategy, Symbol, when_ready
from runtime.clock import SystemClock
from runtime.errors import ConfigError, StrategyError
from runtime.strategy import Context
from runtime.testing import run_on_events, scripted_run
from runtime.trading.tickets import OrderTicket
from runtime.training.jobs import JobState, TrainingHandle
from tests.stories.market import SPY, Endless, Recorder, moments, once, quote, trade

# ---- readiness, three ways -------------------------------------------------------------------


async def test_leans_flag_works_unchanged() -> None:
    class Flag(Recorder):
        def initialize(self) -> None:
            super().initialize()
            self.model: str | None = None
            self.model_is_training = False
            self.used: list[float] = []

        def fit(self) -> None:
            self.model = "a model"
            self.model_is_training = False

        def on_data(self, slice: Slice) -> None:
            super().on_data(slice)
            if len(self.slices) == 2:
                self.model_is_training = True
                self.train(self.fit)
            if self.model_is_training or self.model is None:
                return
            self.used.append(self.seconds[-1])

    strategy = Flag()
    await run_on_events(strategy, moments(*(trade(n) for n in range(1, 6))))
    assert strategy.used == [3.0, 4.0, 5.0]


async def test_a_slot_is_ready_with_its_model() -> None:
    seen: list[tuple[bool, object, int]] = []

    def act(strategy: Recorder, _: Slice) -> None:
        seen.append((slot.is_ready, slot.current, slot.version))
        if len(strategy.slices) in {2, 4}:
            strategy.train(lambda: f"model {len(strategy.slices)}", into=slot, name="fit")

    slot = ModelSlot("m")
    await run_on_events(Recorder(act=act), moments(*(trade(n) for n in range(1, 6))))
    untrained, first, second = (False, None, 0), (True, "model 2", 1), (True, "model 4", 2)
    assert seen == [untrained, untrained, first, first, second]
    assert slot.previous is not None
    assert slot.previous.model == "model 2"


class Guarded(Strategy):
    """Has two models, trained one after the other."""

    def initialize(self) -> None:
        self.add_equity("SPY", Resolution.TICK)
        self.first, self.second = ModelSlot("first"), ModelSlot("second")
        self.slices = 0
        self.traded: list[tuple[int, str]] = []

    def on_data(self, slice: Slice) -> None:
        self.slices += 1
        if self.slices == 2:
            self.train(lambda: 1, into=self.first, name="one")
        if self.slices == 4:
            self.train(lambda: 2, into=self.second, name="two")
        self.trade(self.slices, how="now")

    @when_ready("first", "second")
    def trade(self, number: int, *, how: str) -> None:
        """Trade."""
        self.traded.append((number, how))


async def test_a_guarded_handler_waits_for_all_its_models_and_counts_the_skips() -> None:
    strategy = Guarded()
    outcome = await run_on_events(strategy, moments(*(trade(n) for n in range(1, 7))))
    assert outcome.failure is None
    assert strategy.traded == [(5, "now"), (6, "now")]
    assert (strategy.first.skipped, strategy.second.skipped) == (2, 2)


def test_a_guarded_handler_keeps_its_name_and_words() -> None:
    assert Guarded.trade.__name__ == "trade"
    assert Guarded.trade.__doc__ == "Trade."
    assert list(inspect.signature(Guarded.trade).parameters) == ["self", "number", "how"]


@pytest.mark.parametrize(("value", "kind"), [(None, "NoneType"), ("text", "str")])
async def test_a_guard_on_what_is_no_slot_says_so(value: object, kind: str) -> None:
    class Wrong(Recorder):
        def initialize(self) -> None:
            super().initialize()
            if value is not None:
                self.model = value

        @when_ready("model")
        def on_data(self, slice: Slice) -> None:
            super().on_data(slice)

    outcome = await run_on_events(Wrong(), moments(trade(1)))
    assert (
        f"Wrong.on_data: when_ready('model'): Wrong.model is {kind}, not a ModelSlot: "
        "set it in initialize"
    ) in str(outcome.failure)


# ---- training beside trading -----------------------------------------------------------------


async def test_a_job_that_raises_fails_alone_and_the_old_model_serves() -> None:
    def break_down() -> None:
        raise ValueError("no data")

    def act(strategy: Recorder, _: Slice) -> None:
        match len(strategy.slices):
            case 1:
                strategy.train(lambda: "good", into=slot, name="good")
            case 2:
                handles.append(strategy.train(break_down, into=slot))

    slot, handles = ModelSlot("m"), list[TrainingHandle]()
    strategy = Recorder(act=act)
    outcome = await run_on_events(strategy, moments(*(trade(n) for n in range(1, 5))))
    assert outcome.failure is None
    assert len(strategy.slices) == 4
    (handle,) = handles
    assert handle.state is JobState.FAILED
    assert handle.name == "break_down"
    assert "ValueError: no data" in handle.last_error
    assert "break_down" in handle.traceback
    assert (slot.is_ready, slot.current, slot.version) == (True, "good", 1)
    assert outcome.training.finished[JobState.FAILED] == 1


async def test_the_version_that_on_data_sees_never_goes_back() -> None:
    """Many trainings beside a live feed: version and model belong together, and only rise."""
    seen: list[tuple[int, int]] = []

    def act(strategy: Recorder, _: Slice) -> None:
        made = next_model[0]
        if slot.version + 1 == made and len(strategy.slices) % 3 == 0:
            next_model[0] += 1
            strategy.train(lambda: made, into=slot, name="fit")
        if slot.bundle is not None:
            seen.append((slot.bundle.version, slot.bundle.model))
        if slot.version == 20:
            strategy.quit("enough")

    slot, next_model = ModelSlot("m"), [1]
    run = scripted_run(Recorder(act=act), Endless(), SystemClock())
    with anyio.fail_after(30):
        await run.run()
    assert seen == sorted(seen)
    assert all(version == model for version, model in seen)
    assert seen[-1] == (20, 20)


async def test_trained_while_off_is_one_run_when_switched_on() -> None:
    trained: list[int] = []

    def fit() -> None:
        trained.append(1)

    def act(strategy: Recorder, _: Slice) -> None:
        number = len(strategy.slices)
        if number == 1:
            run.training.toggle("test")
        if number <= 5:
            assert not strategy.training.is_on
            handles.append(strategy.train(fit))
        if number == 6:
            assert trained == []
            run.training.toggle("test")
        if handles[0].state is JobState.SUCCEEDED:
            strategy.quit("trained")

    handles: list[TrainingHandle] = []
    run = scripted_run(Recorder(act=act), Endless(), SystemClock())
    with anyio.fail_after(30):
        await run.run()
    assert len(trained) == 1
    assert {handle.state for handle in handles} == {JobState.SUCCEEDED}
    assert len({handle.id for handle in handles}) == 1


async def test_a_job_sees_its_window_whole_while_ticks_go_on() -> None:
    """What history gave to a job does not change under it."""
    go = threading.Event()

    def fit() -> bool:
        window = strategy.tick_history(SPY, 50)
        before = window.time.copy()
        assert go.wait(30)
        return bool((window.time == before).all())

    def act(target: Recorder, _: Slice) -> None:
        if len(target.slices) == 20:
            target.train(fit, into=slot)
        if len(target.slices) == 200:
            go.set()
        if slot.is_ready:
            target.quit("trained")

    slot = ModelSlot("m")
    strategy = Recorder(act=act)
    with anyio.fail_after(30):
        await scripted_run(strategy, Endless(), SystemClock()).run()
    assert slot.current is True


# ---- calls -----------------------------------------------------------------------------------


def test_before_it_runs_a_strategy_has_nothing_to_say_and_says_so() -> None:
    class Eager(Strategy):
        def __init__(self) -> None:
            self.add_equity("SPY")

    with pytest.raises(StrategyError, match="Eager is not running yet: move the call into init"):
        Eager()
    for name in ("time", "time_ns", "portfolio", "securities", "training", "is_warming_up"):
        with pytest.raises(StrategyError, match="not running yet"):
            getattr(Strategy(), name)


async def test_orders_take_numbers_of_any_kind() -> None:
    tickets: list[OrderTicket] = []

    def act(strategy: Recorder) -> None:
        import numpy as np

        numbers: list[Any] = [1, 1.0, Decimal(1), np.float64(1), np.int64(1)]
        tickets.extend(strategy.market_order("SPY", number, tag="t") for number in numbers)

    await run_on_events(Recorder(act=once(act)), moments(quote(1)))
    assert [str(ticket.quantity) for ticket in tickets] == ["1", "1.0", "1", "1.0", "1"]
    assert {ticket.quantity_filled for ticket in tickets} == {Decimal(1)}
    assert {ticket.tag for ticket in tickets} == {"t"}


@pytest.mark.parametrize("quantity", [None, "many", [1]])
async def test_what_is_no_number_is_an_error_with_its_line(quantity: object) -> None:
    strategy = Recorder(act=once(lambda s: s.market_order("SPY", quantity)))  # type: ignore[arg-type]  # the mistake
    outcome = await run_on_events(strategy, moments(quote(1)))
    assert "Recorder.on_data raised" in str(outcome.failure)


@pytest.mark.parametrize("ticker", ["", " ", "S\nP", "EUR/", "x" * 40, "🎈"])
async def test_a_ticker_that_is_none_is_an_error_in_a_sentence(ticker: str) -> None:
    outcome = await run_on_events(Recorder(begin=lambda s: s.add_security(ticker)), [])
    assert isinstance(outcome.failure, StrategyError)
    assert isinstance(outcome.failure.__cause__, ConfigError)
    assert "Recorder.initialize: " in str(outcome.failure)
    assert "\n" not in str(outcome.failure)


async def test_tickers_of_each_kind_become_canonical() -> None:
    def begin(strategy: Recorder) -> None:
        strategy.add_equity(" brk.b ")
        strategy.add_crypto("btcusd")
        strategy.add_forex("eur/usd")
        assert [str(symbol) for symbol in strategy.securities] == [
            "SPY", "BRK.B", "BTC/USD", "EUR/USD",
        ]  # fmt: skip

    outcome = await run_on_events(Recorder(begin=begin), [])
    assert outcome.failure is None


def test_the_context_is_all_that_a_strategy_can_reach() -> None:
    """Each public call of Strategy goes through a name that Context declares."""
    names = {name for name in vars(Context) if not name.startswith("_")}
    source = inspect.getsource(Strategy)
    used = {part.split("(")[0].split(".")[0].split("\n")[0] for part in source.split("_door.")[1:]}
    assert {name.rstrip(")") for name in used} <= names


async def test_a_pair_goes_by_its_name_without_the_slash_too() -> None:
    """LEAN writes BTCUSD; a strategy that does must not see nothing in silence."""

    class Bare(Strategy):
        def initialize(self) -> None:
            self.add_crypto("BTCUSD", Resolution.TICK)
            self.seen: list[object] = []

        def on_data(self, slice: Slice) -> None:
            if slice.contains_key("BTCUSD") and "BTCUSD" in slice and not self.seen:
                ticket = self.market_order("BTCUSD", 2)
                self.seen = [slice["BTCUSD"], ticket.symbol, len(self.history("BTCUSD", 5))]
            self.held = self.portfolio["BTCUSD"].quantity

    strategy = Bare()
    pair = Symbol("BTC/USD")
    first = quote(0, 99, 101, symbol=pair)
    tape = moments(first, trade(1, 100, symbol=pair), trade(2, symbol=pair))
    outcome = await run_on_events(strategy, tape)
    assert outcome.failure is None
    assert strategy.seen == [[first], pair, 0]
    assert strategy.held == 2
