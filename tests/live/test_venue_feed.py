"""The feed when the venue fails it: absent, wrong, killed, silent. Real processes, real signals."""

import os
import signal
import socket as sockets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from random import Random

import anyio
import msgspec
import pytest
from anyio.abc import Process, SocketAttribute, SocketStream

from feeds.base import Subscription
from feeds.errors import ConfigError, FeedError
from feeds.events import AssetClass, Event, FeedState, Gap, Status, Trade
from feeds.session import ConnectionSettings
from feeds.stream import AlpacaFeed
from tests.live.venue_kit import (
    AAPL,
    CREDENTIALS,
    HASTY,
    WANTED,
    Endless,
    Listener,
    ListTape,
    feed,
    read_line,
    serving,
    trades,
)

IMPATIENT = msgspec.structs.replace(HASTY, connect_timeout=timedelta(milliseconds=300))


def free_port() -> int:
    with sockets.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def child(port: int) -> AsyncIterator[Process]:
    """A venue in a process of its own, gone at the end whatever was done to it."""
    command = [sys.executable, "-m", "tests.live.venue_child", str(port)]
    async with await anyio.open_process(command, stderr=None, stdin=subprocess.DEVNULL) as process:
        try:
            await read_line(process.stdout)
            yield process
        finally:
            if process.returncode is None:
                process.kill()


async def test_a_killed_venue_that_returns_is_an_outage_with_a_gap() -> None:
    port, listener = free_port(), Listener()
    with anyio.fail_after(40):
        async with anyio.create_task_group() as tasks:
            async with child(port) as process:
                client = feed(f"ws://127.0.0.1:{port}")
                tasks.start_soon(client.run, WANTED, listener.deliver)
                await listener.until(lambda: bool(listener.of(Trade)))
                process.send_signal(signal.SIGKILL)
                await process.wait()
            await listener.until_state(FeedState.DISCONNECTED)
            last = listener.of(Trade)[-1]
            async with child(port):
                await listener.until_state(FeedState.LIVE, 2)
                after = len(listener.events)
                await listener.until(lambda: len(listener.events) > after)
                tasks.cancel_scope.cancel()
    told = [event for event in listener.events if not isinstance(event, Trade)]
    assert [event.state if isinstance(event, Status) else type(event) for event in told] == [
        FeedState.CONNECTING,
        FeedState.LIVE,
        FeedState.DISCONNECTED,
        Gap,
        FeedState.LIVE,
    ]
    (gap,) = listener.of(Gap)
    assert (gap.symbol, gap.start) == (None, last.time)
    assert gap.start < gap.end <= gap.received
    assert isinstance(listener.events[after], Trade)
    assert client.statistics().reconnects == client.statistics().gaps == 1


async def test_a_silent_venue_is_noticed_by_the_missing_pong() -> None:
    """SIGSTOP leaves the connection open and mute, as a half-open one is."""
    port, listener = free_port(), Listener()
    with anyio.fail_after(40):
        async with child(port) as process, anyio.create_task_group() as tasks:
            tasks.start_soon(feed(f"ws://127.0.0.1:{port}").run, WANTED, listener.deliver)
            await listener.until(lambda: bool(listener.of(Trade)))
            process.send_signal(signal.SIGSTOP)
            await listener.until_state(FeedState.DISCONNECTED)
            process.send_signal(signal.SIGCONT)
            await listener.until_state(FeedState.LIVE, 2)
            tasks.cancel_scope.cancel()
    outage = next(s for s in listener.of(Status) if s.state is FeedState.DISCONNECTED)
    assert "not even a pong" in outage.detail


async def test_a_quiet_venue_that_answers_pings_is_not_an_outage() -> None:
    class Quiet(Endless):
        """Says nothing until many pings' time has passed."""

        def advance(self, until: int) -> list[Trade]:
            self.first: int = getattr(self, "first", until)
            return super().advance(until) if until > self.first + 500_000_000 else []

    settings = msgspec.structs.replace(HASTY, quiet=timedelta(milliseconds=20))
    listener = Listener()
    with anyio.fail_after(20):
        async with serving(Quiet()) as venue, anyio.create_task_group() as tasks:
            client = feed(venue.url, settings=settings)
            tasks.start_soon(client.run, WANTED, listener.deliver)
            await listener.until(lambda: bool(listener.of(Trade)))
            tasks.cancel_scope.cancel()
    assert listener.states == [FeedState.CONNECTING, FeedState.LIVE]


async def test_a_taker_that_holds_us_up_is_not_an_outage() -> None:
    """While it does, nothing is read, so no pong either: that silence is our own."""
    listener, held = Listener(), anyio.Event()
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1
        if steps == 400:  # of 2 ms and one frame each; reading stops after 256 frames
            held.set()

    async def deliver(events: Sequence[Event]) -> None:
        await listener.deliver(events)
        if listener.of(Trade):
            await held.wait()

    settings = msgspec.structs.replace(HASTY, quiet=timedelta(milliseconds=10))
    with anyio.fail_after(20):
        async with serving(Endless(1, count)) as venue, anyio.create_task_group() as tasks:
            tasks.start_soon(feed(venue.url, settings=settings).run, WANTED, deliver)
            await held.wait()
            released = time.time_ns()
            await listener.until(lambda: listener.of(Trade)[-1].time > released)
            tasks.cancel_scope.cancel()
    assert listener.states == [FeedState.CONNECTING, FeedState.LIVE]


async def test_nobody_there_is_one_sentence_with_the_reason() -> None:
    port = free_port()
    with anyio.fail_after(20), pytest.raises(FeedError) as error:
        await feed(f"ws://localhost:{port}", settings=IMPATIENT).run(WANTED, Listener().deliver)
    assert str(error.value) == (f"no live feed from localhost:{port} in 0.3 s: Connection refused")


async def test_a_venue_that_comes_up_late_is_waited_for() -> None:
    port, listener = free_port(), Listener()
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(feed(f"ws://127.0.0.1:{port}").run, WANTED, listener.deliver)
            await listener.until_state(FeedState.CONNECTING)
            async with serving(ListTape(trades(5)), port=port):
                await listener.until_state(FeedState.ENDED)
    assert len(listener.of(Trade)) == 5
    assert listener.of(Gap) == []


@asynccontextmanager
async def answering(reply: bytes) -> AsyncIterator[int]:
    """Something on a port that is no venue: it answers every connection with these bytes."""

    async def answer(stream: SocketStream) -> None:
        with suppress(anyio.BrokenResourceError, anyio.EndOfStream):  # the feed's time is up
            async with stream:
                await stream.receive()
                await stream.send(reply)

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, answer)
        yield listener.extra(SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


def http(status: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "Content-Length: 0", "", ""]).encode()


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "does not speak WebSocket"),
        (http("404 Not Found"), "HTTP status 404"),
        (http("403 Forbidden"), "HTTP status 403"),
        (http("503 Busy"), "HTTP status 503"),
        (http("302 Found", "Location: wss://elsewhere.example/"), "HTTP status 302"),
        (b"", "does not speak WebSocket"),
    ],
)
async def test_what_is_no_venue_is_one_sentence(reply: bytes, words: str) -> None:
    with anyio.fail_after(20):
        async with answering(reply) as port:
            client = feed(f"ws://127.0.0.1:{port}", settings=IMPATIENT)
            with pytest.raises(FeedError, match=words) as error:
                await client.run(WANTED, Listener().deliver)
    assert f"127.0.0.1:{port}" in str(error.value)
    assert "\n" not in str(error.value)


async def test_an_unanswered_connection_is_bounded() -> None:
    """A port that accepts and never says a word."""
    with anyio.fail_after(20), sockets.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        port = mute.getsockname()[1]
        with pytest.raises(FeedError, match=f"127.0.0.1:{port} in 0.3 s: no answer"):
            await feed(f"ws://127.0.0.1:{port}", settings=IMPATIENT).run(WANTED, Listener().deliver)


@pytest.mark.parametrize(
    "url",
    [
        "ws://stream.example.com",
        "ws://10.0.0.1:80",
        "ws://localhost.evil:80",
        "ws://127.0.0.1.evil",
        "http://127.0.0.1:1",
        "127.0.0.1:1",
        "",
        "ws://127.0.0.1:99999",
        "ws://",
    ],
)
async def test_a_login_is_sent_in_clear_text_to_this_machine_only(url: str) -> None:
    with pytest.raises(ConfigError):
        await feed(url).run(WANTED, Listener().deliver)


async def test_what_the_taker_raises_comes_out_as_it_is() -> None:
    class PlantedError(Exception):
        pass

    async def deliver(events: Sequence[Event]) -> None:
        if any(isinstance(event, Trade) for event in events):
            raise PlantedError

    wanted = [*WANTED, Subscription(AAPL, AssetClass.EQUITY)]
    with anyio.fail_after(20):
        async with serving(Endless()) as venue:
            with pytest.raises(PlantedError):
                await feed(venue.url).run(wanted, deliver)


def test_secrets_do_not_show() -> None:
    made = AlpacaFeed("ws://127.0.0.1:1", CREDENTIALS.key, CREDENTIALS.secret)
    assert CREDENTIALS.secret not in f"{made!r} {made.statistics()!r} {ConnectionSettings()!r}"


async def test_reconnects_leave_nothing_behind() -> None:
    """Tasks and descriptors after many outages are as many as after the second.

    With the longest of delays: were they not reset by data, they would soon pass the time allowed.
    """

    class Longest(Random):
        def random(self) -> float:
            return 0.999

    settings = msgspec.structs.replace(HASTY, backoff_cap=timedelta(seconds=30))
    listener, left = Listener(), []
    port = free_port()
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            client = feed(f"ws://127.0.0.1:{port}", settings=settings, random=Longest())
            tasks.start_soon(client.run, WANTED, listener.deliver)
            for outage in range(1, 16):
                async with serving(Endless(), port=port):
                    await listener.until_state(FeedState.LIVE, outage)
                    seen = len(listener.of(Trade))
                    await listener.until(lambda seen=seen: len(listener.of(Trade)) > seen)  # type: ignore[misc]
                await listener.until_state(FeedState.DISCONNECTED, outage)
                left.append((len(anyio.get_running_tasks()), len(os.listdir("/proc/self/fd"))))
            tasks.cancel_scope.cancel()
    assert len(listener.of(Gap)) == 14
    assert max(left[1:]) == left[1]
