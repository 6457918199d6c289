"""A run begins with initialize, ends with on_end_of_algorithm, and each comes once."""

import pytest

from feeds.events import FeedState, Gap, Malformed, Status
from runtime.errors import StrategyError
from runtime.testing import run_on_events, run_on_synthetic
from runtime.trading.orders import OrderState
from tests.stories.market import Recorder, at, moments, once, quote, trade


async def test_initialize_comes_once_and_first_and_goodbye_once_and_last() -> None:
    strategy = Recorder()
    outcome = await run_on_events(strategy, moments(trade(1), trade(2)))
    assert strategy.calls == ["initialize", "on_data", "on_data", "on_end_of_algorithm"]
    assert outcome.failure is None
    assert outcome.reason == "the data has ended"
    assert (outcome.engine.events, outcome.engine.slices) == (2, 2)


async def test_no_symbol_is_an_error_that_says_what_to_call() -> None:
    class Empty(Recorder):
        def initialize(self) -> None:
            self.calls.append("initialize")

    strategy = Empty()
    outcome = await run_on_events(strategy, moments(trade(1)))
    assert isinstance(outcome.failure, StrategyError)
    assert "added no symbol: call add_equity" in str(outcome.failure)
    assert strategy.calls == ["initialize"]


async def test_an_order_in_initialize_is_refused_with_its_reason() -> None:
    strategy = Recorder(begin=lambda s: s.market_order(s.symbol, 1))
    outcome = await run_on_events(strategy, moments(trade(1)))
    (event,) = strategy.order_events
    assert event.status is OrderState.REJECTED
    assert "no price yet" in event.message
    assert outcome.engine.fills == 0
    assert outcome.failure is None


async def test_training_asked_for_in_initialize_is_done_before_the_first_slice() -> None:
    done: list[str] = []
    strategy = Recorder(
        begin=lambda s: s.train(lambda: done.append("trained"), name="first"),
        act=lambda s, _: done.append("on_data"),
    )
    await run_on_events(strategy, moments(trade(1)))
    assert done == ["trained", "on_data"]


async def test_quit_ends_the_run_after_this_slice() -> None:
    """However much of the tape is left: nothing more is dispatched, and nothing ordered."""
    strategy = Recorder(act=once(lambda s: s.quit("enough")))
    outcome = await run_on_events(strategy, moments(*(trade(n) for n in range(1, 500))))
    assert strategy.calls == ["initialize", "on_data", "on_end_of_algorithm"]
    assert outcome.reason == "enough"
    assert outcome.failure is None


async def test_quit_in_initialize_brings_no_data() -> None:
    strategy = Recorder(begin=lambda s: s.quit("no day for it"))
    outcome = await run_on_events(strategy, moments(trade(1)))
    assert strategy.calls == ["initialize", "on_end_of_algorithm"]
    assert outcome.reason == "no day for it"


async def test_orders_are_refused_in_the_goodbye() -> None:
    class Late(Recorder):
        def on_end_of_algorithm(self) -> None:
            super().on_end_of_algorithm()
            self.ticket = self.market_order(self.symbol, 1)

    strategy = Late()
    outcome = await run_on_events(strategy, moments(quote(1)))
    assert strategy.ticket.status is OrderState.REJECTED
    assert "stopping" in strategy.ticket.reason
    assert outcome.engine.fills == 0


async def test_what_still_works_at_the_end_is_cancelled() -> None:
    strategy = Recorder(act=once(lambda s: s.limit_order(s.symbol, 1, 50)))
    await run_on_events(strategy, moments(quote(1), quote(2)))
    assert [e.status for e in strategy.order_events] == [OrderState.ACCEPTED, OrderState.CANCELLED]
    assert strategy.calls[-1] == "on_end_of_algorithm"


async def test_profit_counts_from_the_cash_that_initialize_sets() -> None:
    strategy = Recorder(begin=lambda s: s.set_cash(5_000))
    outcome = await run_on_events(strategy, moments(trade(1)))
    assert (outcome.equity, outcome.profit) == ("5000.00", "0.00")


@pytest.mark.parametrize(
    ("what", "call"),
    [
        ("set_cash", lambda s: s.set_cash(1)),
        ("set_warm_up", lambda s: s.set_warm_up(1)),
    ],
)
async def test_what_belongs_into_initialize_is_refused_later(what: str, call: object) -> None:
    strategy = Recorder(act=once(call))  # type: ignore[arg-type]  # a lambda of the table
    outcome = await run_on_events(strategy, moments(trade(1)))
    assert f"on_data: {what}: only initialize may do that" in str(outcome.failure)


@pytest.mark.parametrize("cash", [-1, float("nan"), float("inf")])
async def test_cash_must_be_a_sum(cash: float) -> None:
    outcome = await run_on_events(Recorder(begin=lambda s: s.set_cash(cash)), [])
    assert "a sum of 0 or more is needed" in str(outcome.failure)


async def test_time_is_aware_and_in_the_strategys_zone() -> None:
    seen: list[str] = []
    strategy = Recorder(act=lambda s, moment: seen.extend([str(s.time), str(moment.time)]))
    await run_on_events(strategy, moments(trade(1.5)))
    assert seen == ["2024-01-01 19:00:01.500000-05:00"] * 2


async def test_what_is_no_price_is_told_and_counted() -> None:
    told: list[Status] = []

    class Listener(Recorder):
        def on_feed_status(self, status: Status) -> None:
            told.append(status)

    strategy = Listener()
    away = Status("scripted", FeedState.DISCONNECTED, at(2))
    gap = Gap(None, at(1), at(3), at(3), "away")
    outcome = await run_on_events(
        strategy, moments(trade(1), away, Malformed("no JSON", "{", at(2)), gap, trade(4))
    )
    assert told == [away]
    assert [moment.gaps for moment in strategy.slices] == [[], [gap], []]
    assert (outcome.engine.gaps, outcome.engine.malformed) == (1, 1)


async def test_other_symbols_are_counted_and_not_shown() -> None:
    strategy = Recorder()
    outcome = await run_on_events(strategy, moments(trade(1, symbol=Recorder("QQQ").symbol)))  # type: ignore[arg-type]  # any text
    assert strategy.slices == []
    assert (outcome.engine.foreign, outcome.engine.events) == (1, 0)


async def test_a_parameter_reaches_the_strategy() -> None:
    seen: list[str] = []
    strategy = Recorder(
        begin=lambda s: seen.append(s.get_parameter("k") + s.get_parameter("m", "?"))
    )
    await run_on_synthetic(strategy, minutes=0.1, parameters={"k": "v"})
    assert seen == ["v?"]
