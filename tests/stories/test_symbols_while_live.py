"""Symbols come and go while a run goes on, and one that falls silent is known by its own pace."""

from collections.abc import Sequence
from decimal import Decimal

import structlog
from structlog.testing import capture_logs

from feeds.base import Subscription
from feeds.errors import ConfigError
from feeds.events import FeedState, Status
from runtime import Resolution, Symbol
from runtime.clock import VirtualClock
from runtime.testing import ScriptedFeed, run_on_events, scripted_run
from tests.stories.market import SPY, Recorder, at, moments, once, quote, trade

QQQ = Symbol("QQQ")


async def test_a_symbol_added_later_is_asked_of_the_feed_and_shown() -> None:
    strategy = Recorder(act=once(lambda s: s.add_equity("QQQ", Resolution.TICK)))
    feed = ScriptedFeed(moments(trade(1), trade(2, symbol=QQQ), trade(3)))
    await scripted_run(strategy, feed, VirtualClock()).run()
    assert feed.added == [QQQ]
    assert [moment.keys() for moment in strategy.slices] == [[SPY], [QQQ], [SPY]]


async def test_a_symbol_removed_is_closed_and_shown_no_more() -> None:
    def act(strategy: Recorder, _: object) -> None:
        if len(strategy.slices) == 1:
            strategy.add_equity("QQQ", Resolution.TICK)
            strategy.market_order(SPY, 10)
        elif len(strategy.slices) == 2:
            assert strategy.portfolio[SPY].quantity == 10
            assert strategy.remove_security(SPY)
            assert not strategy.remove_security(SPY)

    strategy = Recorder(act=act)
    batches = moments(quote(1), quote(2), quote(3), trade(4, symbol=QQQ))
    feed = ScriptedFeed(batches)
    run = scripted_run(strategy, feed, VirtualClock())
    outcome = await run.run()
    assert outcome.failure is None
    assert feed.removed == [SPY]
    assert [moment.keys() for moment in strategy.slices] == [[SPY], [SPY], [QQQ]]
    assert strategy.portfolio[SPY].quantity == Decimal(0)
    assert SPY not in strategy.securities
    assert outcome.engine.foreign == 1


async def test_a_symbol_that_the_feed_cannot_have_is_refused_and_the_run_goes_on() -> None:
    class CryptoOnly(ScriptedFeed):
        def subscribe(self, subscriptions: Sequence[Subscription]) -> None:
            raise ConfigError(f"{subscriptions[0].symbol} is equity: binance has crypto only")

    strategy = Recorder(act=once(lambda s: s.add_equity("QQQ", Resolution.TICK)))
    run = scripted_run(
        strategy,
        CryptoOnly(moments(trade(1), trade(2), trade(3))),
        VirtualClock(),
        log=structlog.get_logger(),
    )
    with capture_logs() as logs:
        outcome = await run.run()
    assert outcome.failure is None
    assert [moment.keys() for moment in strategy.slices] == [[SPY], [SPY], [SPY]]
    (refused,) = [line for line in logs if line["event"] == "subscription refused"]
    assert refused["symbol"] == QQQ
    assert refused["reason"] == "QQQ is equity: binance has crypto only"


async def test_one_symbol_of_many_that_falls_silent_is_stale_by_its_own_pace() -> None:
    seen: dict[int, tuple[bool, bool]] = {}

    def act(strategy: Recorder, slice: object) -> None:
        moment = strategy.slices[-1]
        seen[moment.time_ns] = moment.is_stale("SPY"), moment.is_stale("QQQ")

    strategy = Recorder(act=act, begin=lambda s: s.add_equity("QQQ", Resolution.TICK))
    both = [event for n in range(1, 21) for event in (trade(n), trade(n, symbol=QQQ))]
    alone = [trade(n) for n in range(21, 41)]
    await run_on_events(strategy, moments(*both, *alone))
    assert seen[at(30)] == (False, False)  # ten of its usual pauses are no silence yet
    assert seen[at(31)] == (False, True)
    assert seen[at(40)] == (False, True)


async def test_everything_is_stale_while_the_feed_is_away() -> None:
    stale: list[bool] = []
    away, back = Status("f", FeedState.DISCONNECTED, at(2)), Status("f", FeedState.LIVE, at(3))
    strategy = Recorder(act=lambda s, moment: stale.append(moment.is_stale("SPY")))
    await run_on_events(strategy, [[trade(1)], [away, trade(2)], [back, trade(3)]])
    assert stale == [False, True, False]
