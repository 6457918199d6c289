"""Values in, commands out: the engine by itself, with nobody to carry anything out."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from feeds.events import SECOND, AssetClass, Bar, Symbol
from runtime import Resolution, Slice
from runtime.callbacks import describe
from runtime.commands import Command, Log, Stop, Submit, Train
from runtime.desk import Desk
from runtime.engine import Engine
from runtime.errors import StrategyError
from runtime.trading.orders import Fill, OrderState, OrderUpdate, UpdateKind
from runtime.trading.portfolio import Portfolio
from runtime.trading.risk import RiskGate, standard_checks
from runtime.training.control import TrainingControl
from tests.stories.market import SPY, Recorder, at, bar, once, quote, trade


def desk(parameters: dict[str, str]) -> Desk:
    return Desk(
        run_id="r",
        portfolio=Portfolio(Decimal(100_000)),
        gate=RiskGate(standard_checks()),
        training=TrainingControl(lambda: True, lambda: None),  # type: ignore[arg-type,return-value]  # unused
        parameters=parameters,
        time_zone="UTC",
        history=100,
    )


def engine(strategy: Recorder) -> Engine:
    made = Engine(strategy, desk({}))
    made.start(at(0))
    return made


def kinds(commands: list[Command]) -> list[type[Any]]:
    return [type(command) for command in commands]


def test_the_strategys_symbols_are_the_subscriptions() -> None:
    made = engine(Recorder())
    (subscription,) = made.subscriptions
    assert (subscription.symbol, subscription.asset_class) == (SPY, AssetClass.EQUITY)


def test_wishes_come_back_as_commands_in_their_order() -> None:
    def act(strategy: Recorder) -> None:
        strategy.log("one")
        strategy.market_order(SPY, 1)
        strategy.train(lambda: 1)
        strategy.quit("four")

    made = engine(Recorder(act=once(act)))
    commands = made.process([quote(1)], at(1))
    assert kinds(commands) == [Log, Submit, Train, Stop]
    assert commands[-1] == Stop("four")
    assert made.process([quote(2)], at(2)) == []


def test_an_empty_batch_is_no_slice() -> None:
    strategy = Recorder()
    assert engine(strategy).process([], at(1)) == []
    assert strategy.slices == []


def test_a_report_alone_is_no_slice_but_an_order_event() -> None:
    strategy = Recorder(act=once(lambda s: s.market_order(SPY, 2)))
    made = engine(strategy)
    (submit,) = made.process([quote(1)], at(1))
    assert isinstance(submit, Submit)
    order = submit.approved.order
    fill = Fill("f", order.id, SPY, order.side, Decimal(2), Decimal(101), Decimal("0.5"), at(2))
    made.process([OrderUpdate(order.id, UpdateKind.FILL, at(2), fill)], at(2))
    assert [event.status for event in strategy.order_events] == [OrderState.FILLED]
    assert len(strategy.slices) == 1
    assert strategy.portfolio.cash == Decimal(100_000) - 202 - Decimal("0.5")
    assert made.statistics().fills == 1


def test_a_fill_told_twice_counts_once() -> None:
    strategy = Recorder(act=once(lambda s: s.market_order(SPY, 2)))
    made = engine(strategy)
    (submit,) = made.process([quote(1)], at(1))
    assert isinstance(submit, Submit)
    order = submit.approved.order
    fill = Fill("f", order.id, SPY, order.side, Decimal(1), Decimal(101), Decimal(0), at(2))
    for _ in range(2):
        made.process([OrderUpdate(order.id, UpdateKind.FILL, at(2), fill)], at(2))
    assert strategy.portfolio[SPY].quantity == 1
    assert len(strategy.order_events) == 1


def test_it_says_when_time_alone_must_wake_it() -> None:
    strategy = Recorder(resolution=Resolution.MINUTE)
    made = engine(strategy)
    assert made.next_wake() is None
    made.process([trade(10)], at(10))
    assert made.next_wake() == at(60)
    assert made.advance(at(59.999)) == []
    assert strategy.slices == []
    made.advance(at(60))
    assert strategy.seconds == [60.0]
    assert made.next_wake() is None
    made.advance(at(61))
    assert len(strategy.slices) == 1


def test_it_wakes_for_the_first_of_all_spans() -> None:
    strategy = Recorder(
        resolution=Resolution.MINUTE,
        begin=lambda s: s.consolidate(SPY, timedelta(seconds=20), lambda _: None),
    )
    made = engine(strategy)
    made.process([trade(10)], at(10))
    assert made.next_wake() == at(20)
    made.advance(at(20))
    assert made.next_wake() == at(60)
    assert strategy.slices == []


@pytest.mark.parametrize("own", [True, False], ids=["built", "ready-made"])
def test_no_bar_of_a_late_batch_is_missed(own: bool) -> None:
    """One slice an end; in each the history goes up to its bar, and handlers are told in turn."""
    told: list[tuple[str, float]] = []

    def look(strategy: Recorder, slice: Slice) -> None:
        (made,) = slice.bars.values()
        assert strategy.history(SPY, 1).time[0] == made.end_time
        told.append(("on_data", (made.end_time - at(0)) / SECOND))

    def on_bar(made: Bar) -> None:
        assert strategy.history(SPY, 1).time[0] <= made.end_time
        told.append(("handler", (made.end_time - at(0)) / SECOND))

    strategy = Recorder(
        resolution=Resolution.SECOND,
        act=look,
        begin=lambda s: s.consolidate(SPY, timedelta(seconds=2), on_bar),
    )
    batch = [trade(n) if own else bar(n) for n in range(4)]
    engine(strategy).process(batch, at(4), closing=True)
    assert told == [
        ("on_data", 1.0),
        ("handler", 2.0),
        ("on_data", 2.0),
        ("on_data", 3.0),
        ("handler", 4.0),
        ("on_data", 4.0),
    ]


def test_bars_of_several_symbols_meet_in_the_slice_of_their_end() -> None:
    """Also where one was closed by its own next tick and the other by time alone."""
    strategy = Recorder(
        resolution=Resolution.SECOND, begin=lambda s: s.add_equity("QQQ", Resolution.SECOND)
    )
    ticks = [trade(0), trade(0.5, symbol=Symbol("QQQ")), trade(1), trade(2)]
    engine(strategy).process(ticks, at(3), closing=True)
    assert [sorted(each.bars) for each in strategy.slices] == [["QQQ", "SPY"], ["SPY"], ["SPY"]]


def test_after_quit_no_further_slice_of_the_batch_comes() -> None:
    strategy = Recorder(resolution=Resolution.SECOND, act=lambda s, _: s.quit())
    commands = engine(strategy).process([bar(n) for n in range(3)], at(3))
    assert kinds(commands) == [Stop]
    assert len(strategy.slices) == 1


def test_time_never_goes_back() -> None:
    """Neither in a batch that says an earlier time, nor when time passes without data."""
    strategy = Recorder(resolution=Resolution.SECOND)
    made = engine(strategy)
    made.process([bar(4)], at(5))
    made.process([bar(3)], at(4))
    made.process([trade(5.5)], at(5.5))
    made.advance(at(1))
    made.process([trade(7)], at(7))
    made.advance(at(6))
    assert strategy.times == sorted(strategy.times)
    assert strategy.seconds[-1] == 7.0


def test_after_the_stop_orders_are_refused() -> None:
    strategy = Recorder(act=lambda s, _: s.market_order(SPY, 1))
    made = engine(strategy)
    made.stop_orders()
    assert kinds(made.process([quote(1)], at(1))) == [Log]
    assert "stopping" in strategy.order_events[0].message


def test_what_is_no_event_is_our_own_mistake() -> None:
    with pytest.raises(TypeError, match="the engine does not take str"):
        engine(Recorder()).process(["?"], at(1))  # type: ignore[list-item]  # the mistake


def test_other_symbols_do_not_move_the_price() -> None:
    strategy = Recorder()
    made = engine(strategy)
    made.process([trade(1, 5.0, symbol=Symbol("QQQ")), trade(1, 7.0)], at(1))
    assert strategy.securities[SPY].price == 7.0
    assert made.statistics().foreign == 1


def raised(*, text: str) -> BaseException:
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


def test_what_was_raised_is_described_in_one_line() -> None:
    line = raised.__code__.co_firstlineno + 2
    place = f"(test_engine.py, line {line})"
    assert describe(raised(text="no")) == f"ValueError: no {place}"
    assert describe(raised(text="")) == f"ValueError {place}"
    assert describe(raised(text="a\n  b")) == f"ValueError: a b {place}"
    assert describe(ValueError("never raised")) == "ValueError: never raised"
    assert describe(ValueError("a\x1b[31m\0")) == r"ValueError: a\x1b[31m\x00"
    assert len(describe(ValueError("x" * 10**6))) < 1000
    assert describe(ExceptionGroup("many", [ExceptionGroup("", [KeyError("a")])])) == (
        "KeyError: 'a'"
    )


def test_a_parameter_that_initialize_did_not_ask_for_is_told() -> None:
    """A slip of the pen in --param would be silent otherwise."""
    strategy = Recorder(begin=lambda s: s.get_parameter("fast"))
    made = Engine(strategy, desk({"fast": "1", "slwo": "2"}))
    (line,) = made.start(at(0))
    assert line == Log("warning", "parameters that initialize did not ask for", {"names": "slwo"})
    assert strategy.get_parameter("slwo") == "2"


def test_a_start_that_fails_says_where() -> None:
    def fail(_: Recorder) -> None:
        raise KeyError("x")

    with pytest.raises(
        StrategyError, match=r"^Recorder.initialize raised KeyError: 'x' \("
    ) as info:
        engine(Recorder(begin=fail))
    assert info.value.where == "initialize"
    assert isinstance(info.value.__cause__, KeyError)
