"""Whatever a strategy does wrong becomes one sentence with its place, and the run ends in order."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from feeds.base import Deliver, Subscription
from feeds.errors import FeedError
from feeds.events import Bar, FeedState, Status
from runtime import Resolution, Slice
from runtime.errors import RunFailed, StrategyError
from runtime.testing import ScriptedFeed, VirtualClock, run_on_events, scripted_run
from runtime.trading.orders import OrderEvent, OrderState
from tests.stories.market import Recorder, at, moments, once, quote, trade

HERE = Path(__file__).name


class Fragile(Recorder):
    """Raises in the callback it is told."""

    def __init__(self, where: str) -> None:
        super().__init__(resolution=Resolution.SECOND)
        self.where = where

    def fail(self, where: str) -> None:
        if where == self.where:
            raise ValueError(f"in {where},\nof purpose")

    def initialize(self) -> None:
        super().initialize()
        self.set_warm_up(1)
        self.add_equity("SPY")
        from datetime import timedelta

        self.consolidate("SPY", timedelta(seconds=1), self.on_bar)
        self.fail("initialize")

    def on_bar(self, bar: Bar) -> None:
        del bar
        self.fail("on_bar")

    def on_data(self, slice: Slice) -> None:
        super().on_data(slice)
        self.market_order("SPY", 1)
        self.fail("on_data")

    def on_order_event(self, order_event: OrderEvent) -> None:
        super().on_order_event(order_event)
        self.fail("on_order_event")

    def on_feed_status(self, status: Status) -> None:
        del status
        self.fail("on_feed_status")

    def on_warmup_finished(self) -> None:
        self.fail("on_warmup_finished")

    def on_end_of_algorithm(self) -> None:
        super().on_end_of_algorithm()
        self.fail("on_end_of_algorithm")


CALLBACKS = [
    "initialize",
    "on_bar",
    "on_data",
    "on_order_event",
    "on_feed_status",
    "on_warmup_finished",
    "on_end_of_algorithm",
]


@pytest.mark.parametrize("where", CALLBACKS)
async def test_an_exception_names_callback_kind_file_and_line(where: str) -> None:
    strategy = Fragile(where)
    away = Status("scripted", FeedState.DISCONNECTED, at(2))
    outcome = await run_on_events(
        strategy, moments(trade(0.5), quote(0.6), trade(1.5), away, trade(2.5), trade(3.5))
    )
    failure = outcome.failure
    assert isinstance(failure, StrategyError)
    assert failure.where == where
    line = Fragile.fail.__code__.co_firstlineno + 2
    assert str(failure) == (
        f"Fragile.{where} raised ValueError: in {where}, of purpose ({HERE}, line {line})"
    )
    # A strategy that has failed isn't called again to say goodbye.
    assert strategy.calls.count("on_end_of_algorithm") == (where == "on_end_of_algorithm")
    assert outcome.reason == ("the data has ended" if where == CALLBACKS[-1] else str(failure))


async def test_the_line_is_the_authors_and_not_the_librarys() -> None:
    def parse(strategy: Recorder) -> None:
        json.loads("{")

    outcome = await run_on_events(Recorder(act=once(parse)), moments(trade(1)))
    # The innermost line of the file that on_data is written in, here that of Recorder.
    assert "JSONDecodeError" in str(outcome.failure)
    assert "(market.py, line " in str(outcome.failure)


async def test_a_misuse_of_ours_says_its_line_too() -> None:
    class Misuse(Recorder):
        def on_data(self, slice: Slice) -> None:
            self.history("QQQ", 3)

    outcome = await run_on_events(Misuse(), moments(trade(1)))
    line = Misuse.on_data.__code__.co_firstlineno + 1
    assert str(outcome.failure) == (
        f"Misuse.on_data: QQQ was not added in initialize (added: SPY) ({HERE}, line {line})"
    )


@pytest.mark.parametrize("leave", [lambda: sys.exit(3), lambda: sys.exit("no more")])
async def test_a_strategy_that_calls_exit_ends_the_run_in_order(leave: Callable[[], None]) -> None:
    outcome = await run_on_events(Recorder(act=lambda s, _: leave()), moments(trade(1)))
    assert "Recorder.on_data raised SystemExit" in str(outcome.failure)


async def test_a_failed_callback_leaves_no_order_behind() -> None:
    """What it had asked for before it raised was never sent, and is not sent at the end either."""

    def order_and_fail(strategy: Recorder) -> None:
        tickets.append(strategy.market_order(strategy.symbol, 1))
        raise ValueError("after the order")

    tickets: list[object] = []
    strategy = Recorder(act=once(order_and_fail))
    outcome = await run_on_events(strategy, moments(quote(1), quote(2)))
    assert "after the order" in str(outcome.failure)
    assert outcome.engine.fills == 0
    assert outcome.equity == "100000.00"
    assert [event.status for event in strategy.order_events] == [OrderState.REJECTED]


@pytest.mark.parametrize("orders", [1, 3])
@pytest.mark.parametrize("quantity", [0, 1])
async def test_orders_without_end_are_an_error_and_not_a_hang(orders: int, quantity: int) -> None:
    """Filled or refused: each order's event is answered by the next orders."""

    class Endless(Recorder):
        def on_order_event(self, order_event: OrderEvent) -> None:
            for _ in range(orders):
                self.market_order(self.symbol, quantity)

    strategy = Endless(act=once(lambda s: s.market_order(s.symbol, quantity)))
    outcome = await run_on_events(strategy, moments(quote(1)), cash=10**12)  # type: ignore[arg-type]  # an int is exact too
    assert isinstance(outcome.failure, StrategyError)
    assert outcome.failure.where == "on_order_event"
    assert "Endless orders without end" in str(outcome.failure)


async def test_a_long_chain_of_orders_that_ends_is_allowed() -> None:
    class Chain(Recorder):
        def on_order_event(self, order_event: OrderEvent) -> None:
            super().on_order_event(order_event)
            if order_event.fill_quantity and len(self.order_events) < 1000:
                self.market_order(self.symbol, 1)

    strategy = Chain(act=once(lambda s: s.market_order(s.symbol, 1)))
    outcome = await run_on_events(strategy, moments(quote(1)))
    assert outcome.failure is None
    assert strategy.filled == 500


class Broken(ScriptedFeed):
    """Delivers, then fails as a venue does."""

    async def run(self, subscriptions: list[Subscription], deliver: Deliver) -> None:  # type: ignore[override]  # narrower
        await super().run(subscriptions, deliver)
        raise FeedError("the venue has gone")


async def test_a_feed_that_fails_is_the_outcome_and_the_goodbye_is_said() -> None:
    strategy = Recorder()
    run = scripted_run(strategy, Broken(moments(trade(1))), VirtualClock())
    outcome = await run.run()
    assert isinstance(outcome.failure, FeedError)
    assert outcome.reason == "the venue has gone"
    assert strategy.calls == ["initialize", "on_data", "on_end_of_algorithm"]


async def test_the_first_reason_stands() -> None:
    strategy = Recorder()
    run = scripted_run(strategy, ScriptedFeed(moments(trade(1))), VirtualClock())
    run.stop("first", RunFailed("first"))
    run.stop("second")
    outcome = await run.run()
    assert (outcome.reason, str(outcome.failure)) == ("first", "first")


async def test_a_coroutine_cannot_be_trained_and_says_so() -> None:
    async def fit() -> None: ...

    strategy = Recorder(act=once(lambda s: s.train(fit)))
    outcome = await run_on_events(strategy, moments(trade(1)))
    assert "write it with a plain def" in str(outcome.failure)


async def test_what_is_no_method_cannot_be_trained() -> None:
    strategy = Recorder(act=once(lambda s: s.train(3)))  # type: ignore[arg-type]  # the mistake
    outcome = await run_on_events(strategy, moments(trade(1)))
    assert "train(3): a method without arguments is needed" in str(outcome.failure)


async def test_a_log_field_may_have_any_name() -> None:
    strategy = Recorder(act=once(lambda s: s.log("note", event="x", level="y", exc_info=1)))
    outcome = await run_on_events(strategy, moments(trade(1)))
    assert outcome.failure is None
