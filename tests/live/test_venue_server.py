"""The venue's sockets, spoken to by our own feed and by a bare WebSocket client."""

import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

import anyio
import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from feeds.base import Subscription
from feeds.errors import ConfigError, VenueRefused
from feeds.events import SECOND, AssetClass, Event, FeedState, Symbol, Trade
from feeds.protocols.alpaca import Codec
from feeds.venue.bars import MinuteBars
from feeds.venue.protocol import ERRORS, Credentials, Limits
from feeds.venue.server import END_OF_TAPE, Venue, serve
from tests.live.venue_kit import (
    AAPL,
    BTC,
    CREDENTIALS,
    START,
    WANTED,
    Endless,
    Listener,
    ListTape,
    feed,
    serving,
    trades,
)

AUTH = {"action": "auth", "key": CREDENTIALS.key, "secret": CREDENTIALS.secret}
CRYPTO = "/v1beta3/crypto/us"


def without_received(events: Sequence[Event]) -> list[Event]:
    return [msgspec.structs.replace(event, received=0) for event in events]


async def bare(venue: Venue, path: str = CRYPTO, **options: Any) -> ClientConnection:
    return await connect(venue.url + path, proxy=None, compression=None, **options)


async def say(socket: ClientConnection, message: object) -> None:
    await socket.send(msgspec.json.encode(message), text=True)


async def hear(socket: ClientConnection) -> list[Any]:
    items: list[Any] = msgspec.json.decode(await socket.recv())
    return items


async def until_closed(socket: ClientConnection) -> AsyncIterator[bytes | str]:
    try:
        while True:
            yield await socket.recv()
    except ConnectionClosed:
        return


async def log_in(socket: ClientConnection, **subscription: object) -> list[Any]:
    await say(socket, AUTH)
    if subscription:
        await say(socket, {"action": "subscribe", **subscription})
    return [await hear(socket) for _ in range(3 if subscription else 2)]


@pytest.mark.parametrize("codec", list(Codec))
@pytest.mark.parametrize("speed", [None, 100.0])
async def test_a_tape_arrives_whole_and_as_recorded(codec: Codec, speed: float | None) -> None:
    """From its first tick to its last, with the recorded times, then a normal end."""
    tape = trades(3000)
    listener = Listener()
    with anyio.fail_after(20):
        async with serving(ListTape(tape), speed=speed) as venue:
            client = feed(venue.url, codec=codec)
            await client.run(WANTED, listener.deliver)
    assert without_received(listener.of(Trade)) == tape
    assert listener.states == [FeedState.CONNECTING, FeedState.LIVE, FeedState.ENDED]
    assert listener.events[1] == listener.of(type(listener.events[1]))[1]  # LIVE before any data
    statistics = client.statistics()
    assert (statistics.malformed, statistics.reconnects, statistics.ignored) == (0, 0, {})
    assert statistics.events == len(tape)


async def test_a_slow_taker_loses_nothing_flat_out() -> None:
    """Each batch is taken only after others had their turn: the tape waits."""
    listener = Listener()

    async def deliver(events: Sequence[Event]) -> None:
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        await listener.deliver(events)

    tape = trades(50_000, interval=1000)
    with anyio.fail_after(30):
        async with serving(ListTape(tape), speed=None) as venue:
            await feed(venue.url).run(WANTED, deliver)
    assert len(listener.of(Trade)) == len(tape)


async def test_a_patient_paced_tape_waits_as_well() -> None:
    """At a speed that no taker can follow; one who is not waited for is cut."""
    listener = Listener()

    async def deliver(events: Sequence[Event]) -> None:
        await anyio.lowlevel.checkpoint()
        await listener.deliver(events)

    tape = trades(50_000, interval=1000)
    with anyio.fail_after(30):
        async with serving(ListTape(tape), speed=1e9, patient=True) as venue:
            await feed(venue.url).run(WANTED, deliver)
            assert venue.statistics().cut == 0
    assert without_received(listener.of(Trade)) == tape


async def test_years_between_two_recordings_take_no_time_flat_out() -> None:
    year = 365 * 86_400 * SECOND
    tape = trades(4, interval=5 * year)
    listener = Listener()
    with anyio.fail_after(20):
        async with serving(MinuteBars(ListTape(tape)), speed=None) as venue:
            await feed(venue.url).run(WANTED, listener.deliver)
    assert without_received(listener.of(Trade)) == tape


async def test_the_clock_waits_for_the_whole_audience() -> None:
    """Two asset classes are two sessions; neither misses the first tick."""
    tape = sorted(trades(50) + trades(50, AAPL), key=lambda trade: trade.time)
    wanted = [*WANTED, Subscription(AAPL, AssetClass.EQUITY)]
    listener = Listener()
    with anyio.fail_after(20):
        async with serving(ListTape(tape), speed=None, audience=2) as venue:
            await feed(venue.url).run(wanted, listener.deliver)
    for symbol in (BTC, AAPL):
        assert without_received([t for t in listener.of(Trade) if t.symbol == symbol]) == [
            t for t in tape if t.symbol == symbol
        ]


async def test_who_comes_after_the_end_is_told_so() -> None:
    with anyio.fail_after(20):
        async with serving(ListTape(trades(5)), speed=None) as venue:
            for count in (5, 0):
                listener = Listener()
                await feed(venue.url).run(WANTED, listener.deliver)
                assert len(listener.of(Trade)) == count
                assert listener.states[-1] is FeedState.ENDED


async def test_two_clients_hear_the_same() -> None:
    listeners = [Listener(), Listener()]
    with anyio.fail_after(20):
        async with (
            serving(ListTape(trades(500)), speed=None, audience=2) as venue,
            anyio.create_task_group() as tasks,
        ):
            for listener in listeners:
                tasks.start_soon(feed(venue.url).run, WANTED, listener.deliver)
    first, second = (without_received(listener.of(Trade)) for listener in listeners)
    assert first == second == trades(500)


async def test_wrong_credentials_are_refused() -> None:
    with anyio.fail_after(20):
        async with serving(Endless()) as venue:
            wrong = Credentials(CREDENTIALS.key, "wrong-canary")
            with pytest.raises(VenueRefused) as refused:
                await feed(venue.url, wrong).run(WANTED, Listener().deliver)
    assert refused.value.code == 402
    assert "wrong-canary" not in str(refused.value)


async def test_a_symbol_that_the_tape_has_not_is_refused() -> None:
    wanted = [*WANTED, Subscription(Symbol("XXX/USD"), AssetClass.CRYPTO)]
    with anyio.fail_after(20):
        async with serving(ListTape(trades(5))) as venue:
            with pytest.raises(VenueRefused, match="does not serve XXX/USD"):
                await feed(venue.url).run(wanted, Listener().deliver)


async def test_a_slow_client_is_told_407_and_cut() -> None:
    """Paced, the venue waits for nobody: others go on hearing it."""
    cut = anyio.Event()
    venues: list[Venue] = []

    def watch() -> None:
        if venues and venues[0].statistics().cut:
            cut.set()

    with anyio.fail_after(30):
        async with serving(Endless(20_000, watch)) as venue:
            venues.append(venue)
            socket = await bare(venue, max_queue=1)
            await log_in(socket, trades=[BTC])
            await cut.wait()
            frames = [frame async for frame in until_closed(socket)]
            assert msgspec.json.decode(frames[-1]) == [
                {"T": "error", "code": 407, "msg": "slow client"}
            ]
            assert (socket.close_code, socket.close_reason) == (1008, "slow client")
            assert venue.statistics().cut == 1


async def test_a_login_that_does_not_come_ends_in_404() -> None:
    with anyio.fail_after(20):
        async with serving(Endless(), limits=Limits(login=SECOND // 1000)) as venue:
            socket = await bare(venue)
            assert [await hear(socket) for _ in range(2)][1] == [
                {"T": "error", "code": 404, "msg": ERRORS[404]}
            ]
            with pytest.raises(ConnectionClosed):
                await socket.recv()


async def test_one_connection_too_many_gets_406_until_another_leaves() -> None:
    """Our feed comes again after 406, as Alpaca's rules have it."""
    listener = Listener()
    with anyio.fail_after(20):
        async with serving(Endless(), limits=Limits(connections=1)) as venue:
            first = await bare(venue)
            await log_in(first)
            second = await bare(venue)
            assert (await log_in(second))[1] == [{"T": "error", "code": 406, "msg": ERRORS[406]}]
            await second.wait_closed()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(feed(venue.url).run, WANTED, listener.deliver)
                await first.close()
                await listener.until_state(FeedState.LIVE)
                tasks.cancel_scope.cancel()


async def test_a_fault_of_ours_is_500_and_ends_one_session_only() -> None:
    class Broken(Endless):
        def subscribe(self, symbol: Symbol, asset_class: AssetClass | None, now: int) -> bool:
            if symbol == AAPL:
                raise RuntimeError("planted")
            return super().subscribe(symbol, asset_class, now)

    with anyio.fail_after(20):
        async with serving(Broken()) as venue:
            bad, good = await bare(venue), await bare(venue)
            assert (await log_in(bad, trades=[AAPL]))[2] == [
                {"T": "error", "code": 500, "msg": ERRORS[500]}
            ]
            await bad.wait_closed()
            assert (await log_in(good, trades=[BTC]))[2][0]["trades"] == [BTC]
            assert (await hear(good))[0]["T"] == "t"


async def test_a_market_that_breaks_ends_the_venue() -> None:
    def planted() -> None:
        raise RuntimeError("planted")

    async def story() -> None:
        async with serving(Endless(1, planted)) as venue:
            socket = await bare(venue)
            await log_in(socket, trades=[BTC])
            await anyio.sleep_forever()

    with anyio.fail_after(20), pytest.raises(ExceptionGroup) as group:
        await story()
    assert group.group_contains(RuntimeError, match="planted")


async def test_headers_log_in_a_client() -> None:
    headers = {"APCA-API-KEY-ID": CREDENTIALS.key, "APCA-API-SECRET-KEY": CREDENTIALS.secret}
    with anyio.fail_after(20):
        async with serving(Endless()) as venue:
            socket = await bare(venue, additional_headers=headers)
            assert [(await hear(socket))[0]["msg"] for _ in range(2)] == [
                "connected",
                "authenticated",
            ]


async def http(venue: Venue, target: str) -> str:
    port = int(venue.url.rpartition(":")[2])
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        answer = b""
        try:
            while True:
                answer += await stream.receive()
        except anyio.EndOfStream:
            return answer.decode()


async def test_plain_http() -> None:
    with anyio.fail_after(20):
        async with serving(Endless()) as venue:
            assert re.match(r"HTTP/1.1 200 OK\r\n", await http(venue, "/healthz"))
            assert re.match(r"HTTP/1.1 404 ", await http(venue, "/v9/nothing"))


async def test_web_pages_may_not_speak_to_it() -> None:
    with anyio.fail_after(20):
        async with serving(Endless()) as venue:
            with pytest.raises(InvalidStatus) as refused:
                await bare(venue, origin="http://127.0.0.1")
    assert refused.value.response.status_code == 403


async def test_a_taken_port_is_one_sentence() -> None:
    with anyio.fail_after(20):
        async with serving(Endless()) as venue:
            port = int(venue.url.rpartition(":")[2])
            with pytest.raises(ConfigError) as error:
                await serve(Endless(), CREDENTIALS, port=port)
    assert str(error.value) == (
        f"the venue cannot listen on 127.0.0.1:{port}: Address already in use; name another port"
    )


async def test_a_tape_is_not_played_to_an_empty_house() -> None:
    """Flat out, it stands still once its only listener has left."""
    market = ListTape(trades(200_000, interval=10_000))
    with anyio.fail_after(30):
        async with serving(market, speed=None) as venue:
            socket = await bare(venue)
            await log_in(socket, trades=[BTC])
            await hear(socket)
            await socket.close()
            while venue.statistics().sessions:
                await anyio.lowlevel.checkpoint()
            left = len(market.events)
            listener = Listener()
            await feed(venue.url).run(WANTED, listener.deliver)
            heard = listener.of(Trade)
    assert heard[0].time > START
    assert len(heard) == left > 0
    assert heard[-1].time == START + 199_999 * 10_000
    assert END_OF_TAPE in listener.events[-1].detail  # type: ignore[union-attr]
