"""A thousand symbols of each venue, over the connections that its limits ask for: none too full."""

from collections import Counter
from collections.abc import Sequence

import anyio
import msgspec
import pytest

from feeds.base import Subscription
from feeds.events import AssetClass, Event, FeedState, Status, Symbol, Trade
from feeds.protocols.base import Options, Rate, VenueSpec
from feeds.protocols.registry import VENUES
from feeds.stream import LiveFeed
from tests.venues.chaos import HASTY
from tests.venues.market import Market
from tests.venues.server import VenueServer
from tests.venues.speakers import SPEAKERS, Speaker

SYMBOLS = [Symbol(f"C{number:03}/USDT") for number in range(1_000)]
CALM = msgspec.structs.replace(HASTY, quiet=HASTY.connect_timeout * 10)
FASTER = 50
"""The venue's spans of time are shorter by this; what may go within one stays as it is."""


def hurried(name: str) -> VenueSpec:
    spec = VENUES[name]

    def sooner(rate: Rate) -> Rate:
        return Rate(rate.count, rate.span // FASTER)

    limits = spec.limits
    rates = [sooner(rate) for rate in (limits.connects, limits.messages, limits.requests)]
    connects, messages, requests = rates
    limits = msgspec.structs.replace(
        limits, connects=connects, messages=messages, requests=requests, heartbeat=None
    )
    return msgspec.structs.replace(spec, limits=limits)


@pytest.mark.parametrize("venue", sorted(SPEAKERS))
async def test_a_thousand_symbols_are_spread_within_the_limits(venue: str) -> None:
    market = Market(SYMBOLS, SPEAKERS[venue].joined)
    sides: list[Speaker] = []

    def speak() -> Speaker:
        sides.append(SPEAKERS[venue](market))
        return sides[-1]

    spec, most = hurried(venue), VENUES[venue].limits.symbols
    connections = -(-len(SYMBOLS) // most)
    seen: Counter[Symbol] = Counter()
    states: Counter[FeedState] = Counter()
    changed = anyio.Event()

    async def deliver(events: Sequence[Event]) -> None:
        seen.update(event.symbol for event in events if isinstance(event, Trade))
        states.update(event.state for event in events if isinstance(event, Status))
        changed.set()

    async def until_live() -> None:
        nonlocal changed
        while states[FeedState.LIVE] < connections:
            changed = anyio.Event()
            await changed.wait()

    server = VenueServer(speak, market.play())
    with anyio.fail_after(50):
        async with server.listening(), anyio.create_task_group() as tasks:
            feed = LiveFeed(
                spec,
                url=f"ws://127.0.0.1:{server.port}",
                rest_url=f"http://127.0.0.1:{server.port}",
                options=Options(key="k", secret="s"),
                settings=CALM,
            )
            wanted = [Subscription(symbol, AssetClass.CRYPTO) for symbol in SYMBOLS]
            tasks.start_soon(feed.run, wanted, deliver)
            await until_live()
            carried = [side.served for side in sides if side.served]
            step = SPEAKERS[venue].joined
            await server.play(50, until=lambda: market.played >= 2 * step * len(SYMBOLS))
            await server.end()
    assert server.connections == len(carried) == connections
    assert all(len(served) <= most for served in carried)
    assert sorted(symbol for served in carried for symbol in served) == SYMBOLS
    assert seen.keys() == set(SYMBOLS)
    assert all(count >= 2 for count in seen.values())
    assert states[FeedState.DISCONNECTED] == 0
    assert feed.statistics().malformed == feed.statistics().gaps == 0
