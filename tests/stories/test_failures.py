"""Whatever a strategy does wrong becomes one sentence with its place, and the run ends in order."""

import asyncio
import io
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from feeds.base import Deliver, Subscription
from feeds.errors import FeedError
from feeds.events import Bar, FeedState, Status
from runtime import ModelSlot, Resolution, Slice, when_ready
from runtime.clock import Clock, SystemClock
from runtime.control.logs import open_log
from runtime.errors import InternalError, RunFailed, StrategyError
from runtime.settings import LogSettings
from runtime.testing import ScriptedFeed, VirtualClock, run_on_events, scripted_run
from runtime.trading.orders import OrderEvent, OrderState
from tests.stories.market import Endless, Recorder, at, listening, moments, once, quote, trade

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


@pytest.mark.parametrize("kind", [asyncio.CancelledError, KeyboardInterrupt, GeneratorExit])
@pytest.mark.parametrize("clock", [SystemClock, VirtualClock])
async def test_what_a_callback_raises_is_no_message_to_the_loop(
    kind: type[BaseException], clock: Callable[[], Clock]
) -> None:
    def fail(_: Recorder) -> None:
        raise kind

    run = scripted_run(Recorder(act=once(fail)), Endless(), clock())
    outcome = await run.run()
    assert isinstance(outcome.failure, StrategyError)
    assert f"Recorder.on_data raised {kind.__name__}" in outcome.reason


@pytest.mark.parametrize("clock", [SystemClock, VirtualClock])
async def test_a_strategy_that_cancels_what_is_not_its_own_fails_the_run(
    clock: Callable[[], Clock],
) -> None:
    def cancel(_: Recorder) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    run = scripted_run(Recorder(act=once(cancel)), Endless(), clock())
    with anyio.fail_after(10):
        outcome = await run.run()
    assert isinstance(outcome.failure, StrategyError)
    assert outcome.reason == "the strategy cancelled a task that is not its own"


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


async def test_an_exception_that_cannot_say_what_it_is_is_named() -> None:
    def fail(_: Recorder) -> None:
        raise Mute

    outcome = await run_on_events(Recorder(act=once(fail)), moments(trade(1)))
    assert "Recorder.on_data raised Mute (" in str(outcome.failure)


# ---- callbacks that would never run ------------------------------------------------------------


class Awaits(Recorder):
    async def on_data(self, slice: Slice) -> None:  # type: ignore[override]  # the mistake
        self.calls.append("on_data")


class Yields(Recorder):
    def on_order_event(self, order_event: OrderEvent) -> Iterator[None]:  # type: ignore[override]
        yield


class Streams(Recorder):
    async def on_end_of_algorithm(self) -> AsyncIterator[None]:  # type: ignore[override]
        yield


class Guarded(Recorder):
    model = ModelSlot("guarded")

    @when_ready("model")  # type: ignore[arg-type]  # the mistake
    async def on_data(self, slice: Slice) -> None: ...


@pytest.mark.parametrize(
    ("kind", "callback"),
    [
        (Awaits, "on_data"),
        (Yields, "on_order_event"),
        (Streams, "on_end_of_algorithm"),
        (Guarded, "on_data"),
    ],
)
async def test_a_callback_that_would_never_run_is_refused_at_the_start(
    kind: type[Recorder], callback: str
) -> None:
    strategy = kind()
    outcome = await run_on_events(strategy, moments(trade(1)))
    assert isinstance(outcome.failure, StrategyError)
    assert outcome.failure.where == "load"
    assert f"{kind.__name__}.{callback} is a coroutine or has a yield in it" in outcome.reason
    assert strategy.calls == []


async def test_a_bar_handler_that_would_never_run_is_refused_at_the_start() -> None:
    async def on_bar(bar: Bar) -> None: ...

    handlers: list[object] = [on_bar, 3]
    for handler in handlers:
        strategy = Recorder(
            begin=lambda s, h=handler: s.consolidate("SPY", timedelta(seconds=1), h)  # type: ignore[misc]
        )
        outcome = await run_on_events(strategy, moments(trade(1)))
        assert isinstance(outcome.failure, StrategyError)
        assert "consolidate" in outcome.reason


async def test_a_coroutine_that_hides_in_a_plain_callback_is_a_failure() -> None:
    async def later() -> None: ...

    class Hidden(Recorder):
        on_data = staticmethod(lambda _: later())  # type: ignore[assignment]

    outcome = await run_on_events(Hidden(), moments(trade(1)))
    assert "Hidden.on_data is a coroutine" in str(outcome.failure)


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

    class Restless(Recorder):
        def on_order_event(self, order_event: OrderEvent) -> None:
            for _ in range(orders):
                self.market_order(self.symbol, quantity)

    strategy = Restless(act=once(lambda s: s.market_order(s.symbol, quantity)))
    outcome = await run_on_events(strategy, moments(quote(1)), cash=10**12)  # type: ignore[arg-type]  # an int is exact too
    assert isinstance(outcome.failure, StrategyError)
    assert outcome.failure.where == "on_order_event"
    assert "Restless orders without end" in str(outcome.failure)


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
    strategy = Recorder(act=once(lambda s: s.train(3)))  # type: ignore[call-overload]  # the mistake
    outcome = await run_on_events(strategy, moments(trade(1)))
    assert "train(3): a method without arguments is needed" in str(outcome.failure)


ANY_NAME = [
    *("event", "level", "timestamp", "run", "self", "method_name", "exc_info", "stack_info"),
    *("exception", "stack", "traceback", "event_", "args", "kw", "_record", "job", "quota_left"),
    *("message", "metric", "progress", "training", "text", "by", "", "a b", "\x1b[31m", "\n"),
]


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_log_field_may_have_any_name(style: Any) -> None:
    """And hides none of ours."""
    out = io.StringIO()
    strategy = Recorder(act=once(lambda s: s.log("note", **dict.fromkeys(ANY_NAME, "mine"))))
    with open_log(LogSettings(format=style), out) as (log, _):
        bound = log.bind(run="the run")
        outcome = anyio.run(partial(run_on_events, strategy, moments(trade(1)), log=bound))
    assert outcome.failure is None
    (line,) = (line for line in out.getvalue().splitlines() if "note" in line)
    assert line.count("mine") == len(ANY_NAME)
    assert line.isprintable()
    if style == "json":
        told = json.loads(line)
        assert (told["event"], told["level"], told["run"]) == ("note", "info", "the run")


async def test_a_figure_may_have_any_name() -> None:
    def fit() -> int:
        strategy.training.report(**dict.fromkeys(ANY_NAME, 1.0))
        return 1

    log, lines = listening()
    slot = ModelSlot("m")
    strategy = Recorder(act=once(lambda s: s.train(fit, into=slot)))
    outcome = await run_on_events(strategy, moments(trade(1), trade(2)), log=log)
    assert outcome.failure is None
    (line,) = (line for line in lines if line["event"] == "training: model published")
    assert list(line.values()).count(1.0) >= len(ANY_NAME)


# ---- faults of our own -------------------------------------------------------------------------


async def test_an_error_that_nobody_expected_ends_the_run_in_order_all_the_same() -> None:
    class Odd(ScriptedFeed):
        async def run(self, subscriptions: object, deliver: Deliver) -> None:
            async with anyio.create_task_group():
                await deliver([trade(1)])
                raise LookupError("nobody thought of it")

    strategy = Recorder()
    log, lines = listening()
    run = scripted_run(strategy, Odd([]), VirtualClock(), log=log)
    outcome = await run.run()
    line = Odd.run.__code__.co_firstlineno + 3
    assert isinstance(outcome.failure, InternalError)
    assert outcome.reason == (
        f"a part of the runtime broke: LookupError: nobody thought of it ({HERE}, line {line})"
    )
    assert strategy.calls == ["initialize", "on_data", "on_end_of_algorithm"]
    (failed,) = (line for line in lines if line["event"] == "failed")
    assert (failed["level"], "nobody thought of it" in failed["traceback"]) == ("debug", True)


@pytest.mark.parametrize("part", ["on_market", "cancel", "take_updates", "run"])
async def test_a_broker_that_breaks_ends_the_run_in_order(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise LookupError("nobody thought of it")

    run = scripted_run(
        Recorder(act=once(lambda s: s.limit_order(s.symbol, 1, 50))),
        ScriptedFeed(moments(quote(1), quote(2))),
        VirtualClock(),
    )
    monkeypatch.setattr(run.broker, part, broken)
    outcome = await run.run()
    assert isinstance(outcome.failure, InternalError)
    assert "nobody thought of it" in str(outcome.failure)
