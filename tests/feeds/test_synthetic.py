"""The synthetic tape plays what is subscribed, in order, as long as it was told, and ends."""

from collections.abc import Sequence

import anyio
import pytest

from feeds.base import Subscription
from feeds.errors import ConfigError
from feeds.events import (
    SECOND,
    AssetClass,
    Event,
    FeedState,
    MarketEvent,
    Quote,
    Status,
    Symbol,
    Trade,
)
from feeds.moments import due
from feeds.synthetic import START, SyntheticFeed

SPY = Subscription(Symbol("SPY"), AssetClass.EQUITY)
BTC = Subscription(Symbol("BTC/USD"), AssetClass.CRYPTO)


async def played(
    feed: SyntheticFeed, *subscriptions: Subscription
) -> tuple[list[Event], list[list[Event]]]:
    batches: list[list[Event]] = []

    async def deliver(batch: Sequence[Event]) -> None:
        batches.append(list(batch))

    await feed.run(subscriptions, deliver)
    return [event for batch in batches for event in batch], batches


async def test_it_plays_its_minutes_at_its_rate_and_then_ends() -> None:
    feed = SyntheticFeed(1, 10.0, 2.0, None)
    events, _ = await played(feed, SPY, BTC)
    *ticks, end = events
    assert isinstance(end, Status)
    assert end.state is FeedState.ENDED
    assert len(ticks) == 2 * 120 * 10
    assert {type(tick) for tick in ticks} == {Trade, Quote}
    times = [due(tick) for tick in ticks if isinstance(tick, MarketEvent)]
    assert times == sorted(times)
    assert times[0] >= START
    assert times[-1] < START + 120 * SECOND
    assert (feed.statistics().events, feed.statistics().frames) == (2400, 2400)
    assert feed.statistics().malformed == feed.statistics().suspicious == 0


async def test_the_same_seed_gives_the_same_ticks_and_another_others() -> None:
    first, _ = await played(SyntheticFeed(1, 10.0, 0.5, None), SPY)
    again, _ = await played(SyntheticFeed(1, 10.0, 0.5, None), SPY)
    other, _ = await played(SyntheticFeed(2, 10.0, 0.5, None), SPY)
    assert first == again
    assert first != other


async def test_a_symbol_is_the_same_beside_others() -> None:
    alone, _ = await played(SyntheticFeed(1, 10.0, 0.5, None), SPY)
    both, _ = await played(SyntheticFeed(1, 10.0, 0.5, None), BTC, SPY)
    spy = [e for e in both if isinstance(e, MarketEvent) and e.symbol == "SPY"]
    assert spy == alone[:-1]


async def test_flat_out_a_batch_is_one_moment_and_the_tape_waits() -> None:
    feed = SyntheticFeed(1, 10.0, 0.5, None)
    assert feed.lockstep
    _, batches = await played(feed, SPY, BTC)
    for batch in batches[:-1]:
        assert len({due(event) for event in batch if isinstance(event, MarketEvent)}) == 1


async def test_at_a_pace_nothing_is_lost() -> None:
    feed = SyntheticFeed(1, 100.0, 1.0, 1e6)
    assert not feed.lockstep
    paced, _ = await played(feed, SPY)
    flat, _ = await played(SyntheticFeed(1, 100.0, 1.0, None), SPY)
    assert paced[:-1] == flat[:-1]


async def test_nothing_subscribed_is_an_empty_tape() -> None:
    events, _ = await played(SyntheticFeed(1, 10.0, 1.0, None))
    (end,) = events
    assert isinstance(end, Status)


async def test_cancelled_it_leaves_nothing_running() -> None:
    taken = 0

    async def deliver(batch: Sequence[Event]) -> None:
        nonlocal taken
        taken += len(batch)
        if taken > 50:
            scope.cancel()
            await anyio.lowlevel.checkpoint()

    feed = SyntheticFeed(1, 10.0, 1e6, None)
    with anyio.CancelScope() as scope:
        await feed.run([SPY], deliver)
    assert scope.cancelled_caught
    assert 50 < taken < 100


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan"), float("inf")])
def test_a_speed_must_be_above_zero(speed: float) -> None:
    with pytest.raises(ConfigError, match="is not above zero"):
        SyntheticFeed(1, 10.0, 1.0, speed)
