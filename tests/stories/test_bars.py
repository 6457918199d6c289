"""Slices of ticks, of bars, of bars of bars: each at its own moment, and never ahead of it."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise

import anyio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.base import Deliver, Subscription
from feeds.events import SECOND, Bar, Event, MarketEvent, Quote, QuoteBar, Trade
from feeds.moments import due
from runtime import Resolution, Slice
from runtime.clock import SystemClock
from runtime.testing import ScriptedFeed, run_on_events, scripted_run
from tests.stories.market import (
    EUR,
    SPY,
    T0,
    Recorder,
    at,
    bar,
    events_of,
    moments,
    quote,
    quote_bar,
    trade,
)


async def test_tick_slices_hold_a_batch_each() -> None:
    strategy = Recorder()
    first: list[Event] = [trade(1), quote(1), trade(1, 101.0)]
    await run_on_events(strategy, [first, [trade(2)]])
    assert [moment.events for moment in strategy.slices] == [first, [trade(2)]]
    assert strategy.seconds == [1.0, 2.0]


async def test_second_bars_come_at_the_end_of_each_second() -> None:
    strategy = Recorder(resolution=Resolution.SECOND)
    await run_on_events(strategy, moments(trade(0.2), quote(0.4), trade(1.5), trade(9.0)))
    assert strategy.seconds == [1.0, 2.0]  # nothing was traded from 2 to 9, and 9 has not ended
    first, second = strategy.slices
    assert set(first.bars) == set(first.quote_bars) == {SPY}
    assert set(second.bars) == {SPY}
    assert second.quote_bars == {}
    assert first.bars[SPY].end_time == at(1)


async def test_missed_spans_of_many_symbols_come_one_by_one_in_order() -> None:
    """A gap in the tape: each bar and each handler's bar is told at its own end."""
    told: list[tuple[float, float]] = []

    class Two(Recorder):
        def initialize(self) -> None:
            super().initialize()
            self.add_forex("EURUSD", Resolution.MINUTE)
            for span in (1.5, 7, 45):
                self.consolidate("SPY", timedelta(seconds=span), self.on_bar)

        def on_bar(self, made: Bar) -> None:
            told.append(((self.time_ns - T0) / SECOND, (made.end_time - T0) / SECOND))

    strategy = Two(resolution=Resolution.SECOND)
    tape: list[list[Event]] = [[trade(0.1), quote(0.2, symbol=EUR)], [trade(300)]]
    await run_on_events(strategy, tape)
    assert strategy.seconds == [1.0, 60.0]
    assert [sorted(moment.keys()) for moment in strategy.slices] == [[SPY], [EUR]]
    seven = (at(0) - at(0) % (7 * SECOND) + 7 * SECOND - T0) / SECOND
    assert told == sorted([(1.5, 1.5), (seven, seven), (45.0, 45.0)])


async def test_minutes_are_made_of_second_bars() -> None:
    strategy = Recorder(resolution=Resolution.MINUTE)
    tape: list[Event] = [
        e for n in range(120) for e in (bar(n, 1, 100.0 + n), quote_bar(n, 1, 100.0 + n))
    ]
    await run_on_events(strategy, moments(*tape))
    assert strategy.seconds == [60.0, 60.0, 120.0, 120.0]
    made = [e for e in events_of(strategy.slices) if isinstance(e, Bar | QuoteBar)]
    assert {e.span for e in made} == {60 * SECOND}
    assert [e.volume for e in made if isinstance(e, Bar)] == [60.0, 60.0]
    assert [e.close for e in made] == [159.0, 159.0, 219.0, 219.0]


async def test_a_bar_that_fills_its_span_after_a_gap_is_told_at_once() -> None:
    """It ends an old minute and fills its own: both are told, even at the end of the tape."""
    strategy = Recorder(resolution=Resolution.MINUTE)
    await run_on_events(strategy, moments(bar(3), bar(119)))
    assert strategy.seconds == [60.0, 120.0]


async def test_time_stands_where_a_tick_is_late_for_its_bar() -> None:
    """A print that reaches us ten seconds after its time makes a bar now, not in the past."""
    strategy = Recorder(resolution=Resolution.SECOND)
    late = Trade(SPY, at(0.5), at(10), 100.0, 1.0)
    await run_on_events(strategy, moments(late, trade(11.5), trade(13)))
    assert strategy.seconds == [10.0, 12.0]
    assert [moment.time_ns for moment in strategy.slices] == strategy.times


async def test_a_refusal_in_a_bar_handler_is_told_at_once() -> None:
    heard: list[float] = []

    class Handler(Recorder):
        def initialize(self) -> None:
            super().initialize()
            self.consolidate("SPY", timedelta(seconds=1), self.on_bar)

        def on_bar(self, made: Bar) -> None:
            self.market_order("SPY", 0)

        def on_order_event(self, order_event: object) -> None:
            heard.append((self.time_ns - T0) / SECOND)

    await run_on_events(Handler(), moments(trade(0.5), trade(5)))
    assert heard == [1.0]


async def test_a_slice_answers_to_leans_names() -> None:
    def look(strategy: Recorder, slice: Slice) -> None:
        assert slice.contains_key("SPY")
        assert "SPY" in slice
        tick = slice.ticks[SPY][0]
        if isinstance(tick, Trade):
            assert (tick.last_price, tick.quantity, tick.price) == (100.0, 1.0, 100.0)
        else:
            assert isinstance(tick, Quote)
            assert (tick.bid_price, tick.ask_price, tick.price) == (99.0, 101.0, 100.0)

    outcome = await run_on_events(Recorder(act=look), moments(trade(1), quote(2)))
    assert outcome.failure is None


async def test_warm_up_by_time_refuses_orders_and_ends_once() -> None:
    strategy = Recorder(
        begin=lambda s: s.set_warm_up(timedelta(seconds=3)),
        act=lambda s, _: s.market_order(s.symbol, 1),
    )
    await run_on_events(strategy, moments(*(quote(n) for n in range(6))))
    before, after = ["on_data"] * 3, ["on_warmup_finished", *["on_data"] * 3]
    assert strategy.calls == ["initialize", *before, *after, "on_end_of_algorithm"]
    refused = [e for e in strategy.order_events if "warming up" in e.message]
    assert len(refused) == 3
    assert strategy.filled == 3


async def test_warm_up_by_slices_refuses_orders_and_ends_once() -> None:
    flags: list[bool] = []
    strategy = Recorder(
        begin=lambda s: s.set_warm_up(2), act=lambda s, _: flags.append(s.is_warming_up)
    )
    await run_on_events(strategy, moments(*(quote(n) for n in range(5))))
    assert flags == [True, True, False, False, False]
    assert strategy.calls.count("on_warmup_finished") == 1


@pytest.mark.parametrize("span", [0, -1, timedelta(0), timedelta(seconds=-1)])
async def test_an_empty_warm_up_is_refused(span: timedelta | int) -> None:
    outcome = await run_on_events(Recorder(begin=lambda s: s.set_warm_up(span)), [])
    assert "more than 0 is needed" in str(outcome.failure)


@pytest.mark.parametrize("span", [timedelta(0), timedelta(seconds=-1)])
async def test_an_empty_span_is_refused(span: timedelta) -> None:
    strategy = Recorder(begin=lambda s: s.consolidate("SPY", span, lambda _: None))
    outcome = await run_on_events(strategy, [])
    assert "the span is empty" in str(outcome.failure)


async def test_bars_that_do_not_fit_a_handler_end_the_run_in_one_sentence() -> None:
    strategy = Recorder(
        resolution=Resolution.HOUR,
        begin=lambda s: s.consolidate("SPY", timedelta(hours=2), lambda _: None),
    )
    outcome = await run_on_events(strategy, moments(bar(1800, 3600)))
    assert "they do not fill bars of 7200 s" in str(outcome.failure)
    assert strategy.calls[-1] == "initialize"


# ---- no look-ahead ---------------------------------------------------------------------------

TAPES = st.lists(
    st.tuples(st.integers(0, 2_500), st.sampled_from("tqbB"), st.integers(0, 300)),
    min_size=1,
    max_size=40,
)


def tape_of(steps: Sequence[tuple[int, str, int]]) -> list[list[Event]]:
    """Ticks and ready-made bars; each price tells the moment from which it may be known."""
    made: list[MarketEvent] = []
    now = 0.0
    for wait, kind, latency in steps:
        now += wait / 1000
        time, received, price = at(now - latency / 1000), at(now), now + 1
        match kind:
            case "t":
                made.append(Trade(SPY, time, received, price, 1.0))
            case "q":
                made.append(Quote(SPY, time, received, price, 1.0, price, 1.0))
            case "b":
                made.append(bar(int(now) - 1, 1, int(now) + 1))
            case _:
                made.append(quote_bar(int(now) - 1, 1, int(now) + 1))
    return [[event] for event in sorted(made, key=due)]


class Suspicious(Recorder):
    """Looks at everything it can reach, in every callback, for what it cannot know yet."""

    def initialize(self) -> None:
        super().initialize()
        self.consolidate("SPY", timedelta(seconds=2), self.on_bar)
        self.past: list[int] = []

    def on_bar(self, made: Bar) -> None:
        assert made.end_time <= self.time_ns
        self.look()

    def on_data(self, slice: Slice) -> None:
        super().on_data(slice)
        assert slice.time_ns == self.time_ns
        for event in slice.events:
            assert isinstance(event, Trade | Quote | Bar | QuoteBar)
            assert due(event) <= self.time_ns
        self.look()

    def look(self) -> None:
        self.past.append(self.time_ns)
        known = (self.time_ns - T0) / SECOND + 1 + 1e-6
        bars, ticks = self.history("SPY", 1000), self.tick_history("SPY", 1000)
        for window in (bars.time, ticks.time):
            assert np.all(window <= self.time_ns)
        for prices in (bars.open, bars.close, ticks.price):
            assert np.all(prices <= known)
        price = self.securities[SPY].price
        assert not price > known


@given(
    steps=TAPES, resolution=st.sampled_from([Resolution.TICK, Resolution.SECOND, Resolution.MINUTE])
)
def test_nothing_that_a_strategy_reaches_is_from_the_future(
    steps: list[tuple[int, str, int]], resolution: Resolution
) -> None:
    strategy = Suspicious(resolution=resolution)
    outcome = anyio.run(run_on_events, strategy, tape_of(steps))
    assert outcome.failure is None, outcome.reason
    assert all(a <= b for a, b in pairwise(strategy.past)), "time went back"


# ---- time without ticks, on the real clock ----------------------------------------------------


class Silent(ScriptedFeed):
    """Says one thing and then nothing, but never ends."""

    async def run(self, subscriptions: Sequence[Subscription], deliver: Deliver) -> None:
        await super().run(subscriptions, deliver)
        await anyio.sleep_forever()


async def test_a_live_bar_is_closed_by_the_clock_without_a_tick() -> None:
    now = SystemClock().now()
    tick = Trade(SPY, now, now, 100.0, 1.0)
    strategy = Recorder(resolution=Resolution.SECOND, act=lambda s, _: s.quit("a bar came"))
    run = scripted_run(strategy, Silent([[tick]], lockstep=False), SystemClock())
    outcome = await run.run()
    assert outcome.reason == "a bar came"
    (made,) = events_of(strategy.slices)
    assert isinstance(made, Bar)
    assert made.time <= now < made.end_time <= strategy.times[0]
