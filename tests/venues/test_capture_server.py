"""The whole adapter against a venue on this machine that plays recorded frames."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from feeds.base import Subscription
from feeds.continuity import Continuity
from feeds.errors import FeedError, VenueRefused
from feeds.events import AssetClass, Event, FeedState, Gap, Quote, Status, Symbol, Trade
from feeds.protocols.base import Options, VenueSpec
from feeds.session import ConnectionSettings
from feeds.stream import LiveFeed
from tests.live.venue_kit import Listener
from tests.venues.chaos import FREE, HASTY, SPEC, Ledger, free
from tests.venues.server import CaptureServer
from tests.venues.tape import Tape

CALM = msgspec.structs.replace(HASTY, quiet=timedelta(seconds=5))
PLAYED = {
    "coinbase": "COINBASE.ws.28.0.gz",
    "binance": "BINANCE.ws.1.0.gz",
    "bitstamp": "BITSTAMP.ws.1.0.gz",
}

pytestmark = pytest.mark.usefixtures("either")


def wanted(symbols: Iterable[str]) -> list[Subscription]:
    return [Subscription(Symbol(s.replace("-", "/")), AssetClass.CRYPTO) for s in sorted(symbols)]


@asynccontextmanager
async def playing(
    shared_data: Path,
    subscriptions: Sequence[Subscription],
    deliver: Any,
    *,
    venue: str = "coinbase",
    spec: VenueSpec | None = None,
    settings: ConnectionSettings = CALM,
    rounds: int = 1,
    kinds: tuple[str, ...] = ("match", "ticker"),
) -> AsyncIterator[tuple[CaptureServer, LiveFeed]]:
    """A venue that plays a capture, and a feed that is subscribed; the feed ends with the block."""
    tape = Tape(shared_data / "wire" / PLAYED[venue], rounds=rounds, kinds=kinds)
    server = CaptureServer(venue, tape)
    with anyio.fail_after(30):
        async with server.listening(), anyio.create_task_group() as tasks:
            feed = LiveFeed(
                spec or free(venue),
                url=f"ws://127.0.0.1:{server.port}",
                rest_url=f"http://127.0.0.1:{server.port}",
                settings=settings,
            )
            tasks.start_soon(feed.run, subscriptions, deliver)
            await server.until_subscribed()
            yield server, feed
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize("venue", PLAYED)
async def test_a_capture_over_a_socket_says_what_it_says_from_the_file(
    shared_data: Path, venue: str
) -> None:
    spec, told = free(venue), list[Event]()
    tape = Tape(shared_data / "wire" / PLAYED[venue])
    symbols = _symbols(venue, tape)
    protocol = spec.make(symbols, Options(), Continuity())
    listener = Listener()
    async with playing(shared_data, symbols, listener.deliver, venue=venue, kinds=()) as (
        server,
        feed,
    ):
        await listener.until_state(FeedState.LIVE)
        client = next(iter(server.dialogues))
        for frame in tape.play():
            if (told_frame := client.tell(frame)) is not None:
                told += protocol.receive(told_frame, 0)
        await server.play()
        await server.end()
        await listener.until_state(FeedState.ENDED)
    market = [event for event in told if isinstance(event, Trade | Quote)]
    seen = listener.of(Trade, Quote)
    assert [_unstamped(event) for event in seen] == [_unstamped(event) for event in market]
    assert sum(isinstance(event, Trade) for event in seen) > 0
    assert listener.of(Gap) == []
    assert feed.statistics().malformed == 0


def _unstamped(event: Trade | Quote) -> Trade | Quote:
    """Without our own clock; a quote may have no other."""
    time = 0 if isinstance(event, Quote) else event.time
    return msgspec.structs.replace(event, received=0, time=time)


def _symbols(venue: str, tape: Tape) -> list[Subscription]:
    if venue == "coinbase":
        return wanted(tape.products)
    if venue == "bitstamp":
        return wanted(["BTC/USD", "ETH/USD", "XRP/USD", "LTC/USD", "BTC/EUR"])
    return wanted(["LRC/BTC", "NKN/USDT", "RUNE/EUR"])


async def test_a_renewal_before_the_planned_cut_loses_nothing_and_repeats_nothing(
    shared_data: Path,
) -> None:
    ledger = Ledger()
    settings = msgspec.structs.replace(
        CALM, life=timedelta(milliseconds=200), overlap=timedelta(milliseconds=20)
    )
    symbols = wanted(["SKL-USD", "SKL-BTC", "DASH-BTC"])
    async with playing(shared_data, symbols, ledger.deliver, rounds=10**6, settings=settings) as (
        server,
        feed,
    ):
        await ledger.until(lambda: ledger.states[FeedState.LIVE] > 0)
        await server.play(until=lambda: feed.statistics().connections[0].renewals >= 4)
        await server.end()
        await ledger.until(lambda: ledger.states[FeedState.ENDED] > 0)
    verdict = ledger.verdict(server.tape)
    assert verdict["played"] == verdict["seen once"] > 100
    assert verdict["seen twice"] == verdict["out of order"] == verdict["told as gaps"] == 0
    assert ledger.states[FeedState.DISCONNECTED] == ledger.outages == 0
    assert server.connections >= 5


async def test_symbols_are_spread_over_connections_within_the_venues_limit(
    shared_data: Path,
) -> None:
    ledger = Ledger()
    spec = msgspec.structs.replace(SPEC, limits=msgspec.structs.replace(FREE, symbols=3))
    tape = Tape(shared_data / "wire" / PLAYED["coinbase"])
    async with playing(shared_data, wanted(tape.products), ledger.deliver, spec=spec) as (
        server,
        feed,
    ):
        await ledger.until(lambda: ledger.states[FeedState.LIVE] == 3)
        await server.play()
        await server.end()
        await ledger.until(lambda: ledger.states[FeedState.ENDED] == 3)
        statistics = feed.statistics()
    assert [line.active for line in statistics.connections] == [3, 3, 1]
    assert [line.name for line in statistics.connections] == [f"coinbase {n}" for n in (1, 2, 3)]
    assert all(len(said["product_ids"]) <= 3 for said in server.heard)
    verdict = ledger.verdict(server.tape)
    assert verdict["played"] == verdict["seen once"] == 88


async def test_symbols_are_added_and_taken_out_while_live(shared_data: Path) -> None:
    listener = Listener()
    spec = msgspec.structs.replace(SPEC, limits=msgspec.structs.replace(FREE, symbols=2))
    first, second, third = wanted(["DASH-BTC", "SKL-BTC", "SKL-USD"])
    async with playing(shared_data, [first], listener.deliver, spec=spec, rounds=10**6) as (
        server,
        feed,
    ):
        await listener.until_state(FeedState.LIVE)
        feed.subscribe([first, second, third])  # one has room, the third needs another connection
        await listener.until_state(FeedState.LIVE, 2)
        have = {first.symbol, second.symbol, third.symbol}
        await server.play(until=lambda: {t.symbol for t in listener.of(Trade)} == have)
        feed.unsubscribe([third.symbol, first.symbol])
        await _until(lambda: any(said["type"] == "unsubscribe" for said in server.heard))
        left = feed.statistics()
        seen = len(listener.of(Trade))
        await server.play(until=lambda: len(listener.of(Trade)) > seen + 50)
    assert {t.symbol for t in listener.of(Trade)[seen + 10 :]} == {second.symbol}
    assert [line.active for line in left.connections] == [1]
    assert listener.of(Gap) == []


async def _until(condition: Any) -> None:
    while not condition():
        await anyio.lowlevel.checkpoint()


async def test_a_symbol_refused_at_the_start_ends_the_feed_in_one_sentence(
    shared_data: Path,
) -> None:
    server = CaptureServer("coinbase", Tape(shared_data / "wire" / PLAYED["coinbase"]))
    async with server.listening():
        feed = LiveFeed(SPEC, url=f"ws://127.0.0.1:{server.port}", settings=CALM)
        with anyio.fail_after(20), pytest.raises(VenueRefused, match="serve NOPE/USD") as error:
            await feed.run(wanted(["SKL-USD", "NOPE-USD"]), Listener().deliver)
    assert "not a valid product" in str(error.value)


async def test_a_symbol_refused_later_is_told_and_the_others_go_on(shared_data: Path) -> None:
    listener = Listener()
    async with playing(shared_data, wanted(["SKL-USD"]), listener.deliver, rounds=10**6) as (
        server,
        feed,
    ):
        await listener.until_state(FeedState.LIVE)
        feed.subscribe(wanted(["NOPE-USD"]))

        def said() -> list[Status]:
            return [status for status in listener.of(Status) if "NOPE/USD" in status.detail]

        await server.play(until=lambda: bool(said()))
        seen = len(listener.of(Trade))
        await server.play(until=lambda: len(listener.of(Trade)) > seen)
    (status,) = said()
    assert (status.state, "valid product" in status.detail) == (FeedState.LIVE, True)
    assert list(feed.statistics().connections[0].refused) == ["NOPE/USD"]


async def test_a_message_over_the_limit_is_refused_and_the_connection_renewed(
    shared_data: Path,
) -> None:
    listener = Listener()
    settings = msgspec.structs.replace(CALM, max_size=300)  # a match is larger, an answer is not
    async with playing(
        shared_data, wanted(["SKL-USD"]), listener.deliver, settings=settings, rounds=10**6
    ) as (server, _):
        await listener.until_state(FeedState.LIVE)
        await server.play(until=lambda: FeedState.DISCONNECTED in listener.states)
    lost = next(s for s in listener.of(Status) if s.state is FeedState.DISCONNECTED)
    assert "1009" in lost.detail
    assert listener.of(Trade) == []


async def test_a_venue_of_another_kind_is_a_mistake_of_the_user(shared_data: Path) -> None:
    feed = LiveFeed(SPEC, url="ws://127.0.0.1:1")
    share = [Subscription(Symbol("SPY"), AssetClass.EQUITY)]
    with pytest.raises(Exception, match="SPY is equity: coinbase has crypto only"):
        await feed.run(share, Listener().deliver)


async def test_nobody_there_is_one_sentence() -> None:
    settings = msgspec.structs.replace(CALM, connect_timeout=timedelta(milliseconds=200))
    feed = LiveFeed(SPEC, url="ws://127.0.0.1:1", settings=settings)
    with pytest.raises(FeedError) as error:
        await feed.run(wanted(["SKL-USD"]), Listener().deliver)
    assert str(error.value) == "no live feed from 127.0.0.1:1 in 0.2 s: Connection refused"
