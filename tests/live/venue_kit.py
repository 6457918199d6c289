"""Small markets and shorthands for the tests of the paper venue's sockets and processes."""

from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any

import anyio
from anyio.abc import ByteReceiveStream

from feeds.base import Market, Subscription
from feeds.events import (
    SECOND,
    Aggressor,
    AssetClass,
    Event,
    FeedState,
    MarketEvent,
    Status,
    Symbol,
    Trade,
)
from feeds.protocols.alpaca import Codec
from feeds.session import ConnectionSettings
from feeds.stream import AlpacaFeed
from feeds.venue.protocol import Credentials
from feeds.venue.server import Venue, serve

BTC, AAPL = Symbol("BTC/USD"), Symbol("AAPL")
WANTED = [Subscription(BTC, AssetClass.CRYPTO)]
CREDENTIALS = Credentials("AKTESTKEY", "test-secret-5e1f")
START = 1_380_000_000 * SECOND
HASTY = ConnectionSettings(
    quiet=timedelta(milliseconds=100),
    backoff=timedelta(milliseconds=10),
    backoff_cap=timedelta(milliseconds=50),
    health=timedelta(0),
)


def trades(count: int, symbol: Symbol = BTC, interval: int = SECOND // 1000) -> list[Trade]:
    buyer = Aggressor.BUYER if symbol == BTC else Aggressor.UNKNOWN
    return [
        Trade(symbol, START + n * interval, 0, 100.0 + n, 1.0, str(n + 1), buyer)
        for n in range(count)
    ]


class ListTape:
    """A tape of given events, for the symbols in them."""

    def __init__(self, events: Sequence[MarketEvent]) -> None:
        self.events = list(events)
        self.symbols = {event.symbol for event in events}
        self.start: int | None = events[0].time if events else None

    @property
    def exhausted(self) -> bool:
        return not self.events

    @property
    def upcoming(self) -> int | None:
        return self.events[0].time if self.events else None

    def subscribe(self, symbol: Symbol, asset_class: AssetClass | None, now: int) -> bool:
        return symbol in self.symbols

    def advance(self, until: int) -> list[MarketEvent]:
        cut = bisect_left(self.events, until, key=lambda event: event.time)
        due, self.events = self.events[:cut], self.events[cut:]
        return due


class Endless:
    """Any symbol, without end: `burst` trades of each at every step. `on_step` hears each step."""

    start = None
    upcoming = None
    exhausted = False

    def __init__(self, burst: int = 1, on_step: Callable[[], object] = lambda: None) -> None:
        self._burst, self._on_step = burst, on_step
        self._symbols: list[Symbol] = []

    def subscribe(self, symbol: Symbol, asset_class: AssetClass | None, now: int) -> bool:
        self._symbols.append(symbol)
        return True

    def advance(self, until: int) -> list[Trade]:
        self._on_step()
        return [
            Trade(symbol, until, 0, 100.0, 1.0, "1")
            for symbol in self._symbols
            for _ in range(self._burst)
        ]


@asynccontextmanager
async def serving(market: Market, **options: Any) -> AsyncIterator[Venue]:
    async with anyio.create_task_group() as tasks:
        yield await tasks.start(partial(serve, market, CREDENTIALS, **options))
        tasks.cancel_scope.cancel()


class Listener:
    """Collects what a feed delivers, and wakes whoever waits for something of it."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._changed = anyio.Event()

    async def deliver(self, events: Sequence[Event]) -> None:
        self.events += events
        self._changed.set()

    def of(self, *kinds: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kinds)]

    @property
    def states(self) -> list[FeedState]:
        return [status.state for status in self.of(Status)]

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed = anyio.Event()
            await self._changed.wait()

    async def until_state(self, state: FeedState, times: int = 1) -> None:
        await self.until(lambda: self.states.count(state) >= times)


def feed(
    url: str,
    credentials: Credentials = CREDENTIALS,
    codec: Codec = Codec.MSGPACK,
    settings: ConnectionSettings = HASTY,
    random: Random | None = None,
) -> AlpacaFeed:
    return AlpacaFeed(
        url,
        credentials.key,
        credentials.secret,
        codec=codec,
        settings=settings,
        random=random or Random(7),
    )


async def read_line(stream: ByteReceiveStream | None) -> str:
    assert stream is not None
    data = b""
    while not data.endswith(b"\n"):
        data += await stream.receive(1)
    return data.decode().strip()
