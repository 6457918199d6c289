"""What a connection meets before it is one: statuses, waits, certificates; what stays behind."""

import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
import trustme
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from feeds.errors import FeedError
from feeds.events import FeedState, Status
from feeds.stream import LiveFeed
from tests.live.venue_kit import Listener
from tests.venues.chaos import HASTY, SPEC
from tests.venues.faults import Fault, FaultProxy
from tests.venues.server import CaptureServer
from tests.venues.tape import Tape
from tests.venues.test_capture_server import CALM, PLAYED, wanted

BRIEF = msgspec.structs.replace(CALM, connect_timeout=timedelta(milliseconds=500))
SKL = wanted(["SKL-USD"])

pytestmark = pytest.mark.usefixtures("either")


@asynccontextmanager
async def answering(*answers: tuple[int, dict[str, str]], tls: Any = None) -> AsyncIterator[Any]:
    """A server that turns clients away in these ways, one after the other, the last for ever."""
    left = list(answers)
    asked: list[float] = []

    async def turn_away(client: ServerConnection, request: Request) -> Response:
        asked.append(anyio.current_time())
        status, headers = left.pop(0) if len(left) > 1 else left[0]
        return Response(status, "No", Headers({"Content-Length": "0", **headers}), b"")

    async def never(client: ServerConnection) -> None:
        raise AssertionError

    async with serve(never, "127.0.0.1", 0, process_request=turn_away, ssl=tls) as server:
        yield server.sockets[0].getsockname()[1], asked


@pytest.mark.parametrize("status", [429, 418, 503])
async def test_a_venue_that_asks_to_wait_is_not_asked_again_before(status: int) -> None:
    """It asks for longer than the start may take: one attempt, one sentence."""
    async with answering((status, {"Retry-After": "120"})) as (port, asked):
        feed = LiveFeed(SPEC, url=f"ws://127.0.0.1:{port}", settings=BRIEF)
        with anyio.fail_after(10), pytest.raises(FeedError) as error:
            await feed.run(SKL, Listener().deliver)
    assert f"HTTP status {status} and asked to wait 120 s" in str(error.value)
    assert len(asked) == 1


async def test_all_connections_of_a_feed_wait_for_what_one_was_told() -> None:
    limits = msgspec.structs.replace(SPEC.limits, symbols=1)
    spec = msgspec.structs.replace(SPEC, limits=limits)
    async with answering((429, {"Retry-After": "120"})) as (port, asked):
        feed = LiveFeed(spec, url=f"ws://127.0.0.1:{port}", settings=BRIEF)
        with anyio.fail_after(10), pytest.raises(FeedError):
            await feed.run(wanted(["SKL-USD", "SKL-BTC"]), Listener().deliver)
    assert len(asked) <= 2  # each may have been under way


@pytest.mark.parametrize("is_trusted", [False, True])
async def test_a_certificate_is_checked(
    is_trusted: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    if is_trusted:
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    async with answering((404, {}), tls=tls) as (port, asked):
        feed = LiveFeed(SPEC, url=f"wss://127.0.0.1:{port}", settings=BRIEF)
        words = "HTTP status 404" if is_trusted else "no certificate we trust"
        with anyio.fail_after(10), pytest.raises(FeedError, match=words):
            await feed.run(SKL, Listener().deliver)
    assert len(asked) == is_trusted


async def test_many_reconnects_leave_nothing_behind(shared_data: Path) -> None:
    tape = Tape(shared_data / "wire" / PLAYED["coinbase"], rounds=10**6, kinds=("match",))
    server, listener = CaptureServer("coinbase", tape), Listener()
    left: list[tuple[int, int]] = []
    async with server.listening(), FaultProxy(server.port, 1, [Fault.RESET]).listening() as proxy:
        feed = LiveFeed(SPEC, url=f"ws://127.0.0.1:{proxy.port}", settings=HASTY)

        def lost(times: int) -> bool:
            return feed.statistics().reconnects >= times

        with anyio.fail_after(40):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(feed.run, SKL, listener.deliver)
                await listener.until_state(FeedState.LIVE)
                for times in (3, 40):
                    await server.play(until=lambda times=times: lost(times))  # type: ignore[misc]
                    proxy.calm = True
                    now = len(listener.events)
                    await server.play(until=lambda now=now: len(listener.events) > now + 200)  # type: ignore[misc]
                    files = await anyio.to_thread.run_sync(os.listdir, "/proc/self/fd")
                    left.append((len(anyio.get_running_tasks()), len(files)))
                    proxy.calm = False
                    for writer in proxy.open:
                        writer.transport.abort()
                tasks.cancel_scope.cancel()
    assert left[1] == left[0]
    reasons = {s.detail for s in listener.of(Status) if s.state is FeedState.DISCONNECTED}
    assert reasons == {"the connection was lost"}
