"""Through an HTTP or a SOCKS proxy, to a venue by its name and under its certificate."""

import asyncio
import socket
import ssl
import struct
from asyncio import StreamReader as Reader
from asyncio import StreamWriter as Writer
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

import anyio
import msgspec
import pytest
import trustme

from feeds.base import Subscription
from feeds.errors import ConfigError, FeedError
from feeds.events import AssetClass, FeedState, Symbol, Trade
from feeds.session import ConnectionSettings
from feeds.stream import LiveFeed
from tests.live.venue_kit import Listener
from tests.venues.chaos import SPEC
from tests.venues.market import Market
from tests.venues.server import VenueServer
from tests.venues.speakers import Coinbase
from tests.venues.test_capture_server import CALM

BTC = Symbol("BTC/USD")
WANTED = [Subscription(BTC, AssetClass.CRYPTO)]
HOST = "feed.venue.example"


async def read_connect(reader: Reader, writer: Writer) -> str:
    """Speak as an HTTP proxy; return where to."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    return head.split()[1]


async def read_socks(reader: Reader, writer: Writer) -> str:
    """Speak as a SOCKS 5 proxy that asks for nothing; return where to."""
    _, methods = await reader.readexactly(2)
    await reader.readexactly(methods)
    writer.write(b"\x05\x00")
    *_, kind, length = await reader.readexactly(5)
    assert kind == 3, "a name is for the proxy to look up"
    name = (await reader.readexactly(length)).decode()
    (port,) = struct.unpack(">H", await reader.readexactly(2))
    writer.write(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
    return f"{name}:{port}"


@asynccontextmanager
async def proxy(
    speak: Callable[[Reader, Writer], Awaitable[str]], to: int
) -> AsyncIterator[tuple[int, list[str]]]:
    """A proxy whose only way leads to a port of this machine; what it was asked for."""
    asked: list[str] = []

    async def pump(reader: Reader, writer: Writer) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def accept(reader: Reader, writer: Writer) -> None:
        asked.append(await speak(reader, writer))
        there, up = await asyncio.open_connection("127.0.0.1", to)
        await asyncio.gather(pump(reader, up), pump(there, writer))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], asked
    finally:
        server.close()


@pytest.fixture
def tls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ssl.SSLContext:
    """A certificate of the venue's name, by an authority that this test trusts."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)
    return context


async def heard_through(
    speak: Callable[[Reader, Writer], Awaitable[str]],
    tls: ssl.SSLContext,
    choose: Callable[[int], ConnectionSettings],
) -> list[str]:
    """Hear trades of the venue through a proxy, which `choose` names by its port; what it heard."""
    market = Market([BTC])
    server, listener = VenueServer(lambda: Coinbase(market), market.play()), Listener()
    with anyio.fail_after(30):
        async with (
            server.listening(tls) as venue,
            proxy(speak, venue.port) as (port, asked),
            anyio.create_task_group() as tasks,
        ):
            feed = LiveFeed(SPEC, url=f"wss://{HOST}:7443", settings=choose(port))
            tasks.start_soon(feed.run, WANTED, listener.deliver)
            await listener.until_state(FeedState.LIVE)
            await server.play(until=lambda: len(listener.of(Trade)) > 10)
            tasks.cancel_scope.cancel()
    return asked


def at(scheme: str) -> Callable[[int], ConnectionSettings]:
    return lambda port: msgspec.structs.replace(CALM, proxy=f"{scheme}://127.0.0.1:{port}")


async def test_an_http_proxy_is_asked_for_the_venue_by_name(tls: ssl.SSLContext) -> None:
    assert await heard_through(read_connect, tls, at("http")) == [f"{HOST}:7443"]


@pytest.mark.usefixtures("either")
async def test_a_socks_proxy_is_asked_for_the_venue_by_name(tls: ssl.SSLContext) -> None:
    pytest.importorskip("python_socks", reason="needs the extra tidegate[socks]")
    assert await heard_through(read_socks, tls, at("socks5h")) == [f"{HOST}:7443"]


@pytest.mark.usefixtures("either")
async def test_a_proxy_of_the_environment_counts(
    tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def choose(port: int) -> ConnectionSettings:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        for name in ("https_proxy", "NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        return CALM

    assert await heard_through(read_connect, tls, choose) == [f"{HOST}:7443"]


@pytest.mark.parametrize(
    ("proxy_url", "error", "words"),
    [
        ("ftp://127.0.0.1:1", ConfigError, "the proxy cannot be used"),
        ("http://127.0.0.1:1", FeedError, "Connection refused"),
    ],
)
@pytest.mark.usefixtures("either")
async def test_a_proxy_that_is_none_is_one_sentence(
    proxy_url: str, error: type[Exception], words: str
) -> None:
    settings = msgspec.structs.replace(
        CALM, proxy=proxy_url, connect_timeout=timedelta(milliseconds=300)
    )
    feed = LiveFeed(SPEC, url=f"wss://{HOST}", settings=settings)
    with anyio.fail_after(20), pytest.raises(error, match=words):
        await feed.run(WANTED, Listener().deliver)


async def test_a_socks_proxy_without_its_library_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("websockets.asyncio.client.connect_socks_proxy", _missing)
    settings = msgspec.structs.replace(CALM, proxy="socks5h://127.0.0.1:1")
    feed = LiveFeed(SPEC, url=f"wss://{HOST}", settings=settings)
    with anyio.fail_after(20), pytest.raises(ConfigError, match=r"install tidegate\[socks\]"):
        await feed.run(WANTED, Listener().deliver)


async def _missing(*_: object, **__: object) -> None:
    raise ImportError("connecting through a SOCKS proxy requires python-socks")


@pytest.mark.parametrize("number", [socket.EAI_NONAME, socket.EAI_AGAIN])
async def test_a_name_that_nobody_knows_is_one_sentence(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = {socket.EAI_NONAME: "Name or service not known", socket.EAI_AGAIN: "Temporary failure"}

    def unknown(*_: object, **__: object) -> None:  # as without a network, and at once
        raise socket.gaierror(number, words[number])

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    settings = msgspec.structs.replace(CALM, connect_timeout=timedelta(milliseconds=300))
    feed = LiveFeed(SPEC, url="wss://nowhere.invalid", settings=settings)
    with anyio.fail_after(20), pytest.raises(FeedError) as error:
        await feed.run(WANTED, Listener().deliver)
    told = f"no live feed from nowhere.invalid:443 in 0.3 s: {words[number]}"
    assert str(error.value) == told


async def test_another_path_of_the_same_venue_is_a_custom_url() -> None:
    """A URL may have a path of its own, before the protocol's."""
    market = Market([BTC])
    server, listener = VenueServer(lambda: Coinbase(market), market.play()), Listener()
    with anyio.fail_after(30):
        async with server.listening(), anyio.create_task_group() as tasks:
            feed = LiveFeed(SPEC, url=f"ws://127.0.0.1:{server.port}/relay/", settings=CALM)
            tasks.start_soon(feed.run, WANTED, listener.deliver)
            await listener.until_state(FeedState.LIVE)
            tasks.cancel_scope.cancel()
    assert server.paths == ["/relay/"]
