"""Whole adapters over real sockets, each against a server that keeps to its venue's dialogue.

The server answers each subscription in the venue's way, tells its data, cuts the connection, and on
the next one tells the end of what it told again, and more. Nothing may be lost or told twice.
"""

import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import anyio
import pytest
from websockets.asyncio.server import ServerConnection, serve

from feeds.base import Subscription
from feeds.events import AssetClass, Event, FeedState, Gap, Quote, Status, Symbol, Trade
from feeds.protocols.base import Options, VenueSpec
from feeds.protocols.bybit import BYBIT
from feeds.protocols.kraken import KRAKEN
from feeds.protocols.okx import OKX
from feeds.session import END_OF_TAPE, ConnectionSettings
from feeds.stream import LiveFeed
from tests.feeds import test_bybit as bybit
from tests.feeds import test_kraken as kraken
from tests.feeds import test_okx as okx

SETTINGS = ConnectionSettings(backoff=timedelta(milliseconds=1))
Frames = Sequence[str]


class Venue(NamedTuple):
    """A venue's side: what it greets with, how it answers, what it tells on each connection."""

    spec: VenueSpec
    symbol: str
    path: str
    greeting: Frames
    answer: Callable[[str], Frames]
    tells: tuple[Frames, Frames]
    trades: list[str]


def kraken_answer(text: str) -> Frames:
    request = json.loads(text)
    params, number = request["params"], request["req_id"]
    return [kraken.answer(params["channel"], symbol, req_id=number) for symbol in params["symbol"]]


def bybit_answer(text: str) -> Frames:
    return [bybit.answer(json.loads(text)["req_id"])]


def okx_answer(text: str) -> Frames:
    args = json.loads(text)["args"]
    return [json.dumps({"event": "subscribe", "arg": arg, "connId": "a4d3ae55"}) for arg in args]


def bybit_trade(*ids: str) -> str:
    return bybit.trades(*[{**bybit.ROW, "i": each} for each in ids])


def okx_trade(*ids: str) -> str:
    return okx.push("trades", *[{**okx.ROW, "tradeId": each} for each in ids])


def kraken_trades(kind: str, *numbers: int) -> str:
    return kraken.message("trade", *[kraken.trade(n, n) for n in numbers], kind=kind)


KRAKEN_BOOK = kraken.book("snapshot", "BTC/USD", kraken.BIDS, kraken.ASKS, kraken.CHECKSUM)
BYBIT_BOOK = bybit.book("snapshot", 10, bybit.BIDS, bybit.ASKS, depth=50)
OKX_BOOK = okx.book("snapshot", okx.BIDS, okx.ASKS, -1, 10)
VENUES = [
    Venue(
        KRAKEN,
        "BTC/USD",
        "/v2",
        [kraken.message("status", {"system": "online"})],
        kraken_answer,
        (
            [KRAKEN_BOOK, kraken_trades("snapshot", 1, 2), kraken_trades("update", 3, 4)],
            [KRAKEN_BOOK, kraken_trades("snapshot", 3, 4, 5, 6), kraken_trades("update", 7)],
        ),
        ["3", "4", "5", "6", "7"],
    ),
    Venue(
        BYBIT,
        "BTC/USDT",
        "/v5/public/spot",
        [],
        bybit_answer,
        ([BYBIT_BOOK, bybit_trade("a", "b")], [BYBIT_BOOK, bybit_trade("b"), bybit_trade("c")]),
        ["a", "b", "c"],
    ),
    Venue(
        OKX,
        "BTC/USDT",
        "/ws/v5/public",
        [],
        okx_answer,
        ([OKX_BOOK, okx_trade("8", "9")], [OKX_BOOK, okx_trade("9"), okx_trade("12")]),
        ["8", "9", "12"],
    ),
]


@pytest.mark.parametrize("venue", VENUES, ids=lambda venue: venue.spec.name)
async def test_adapter_keeps_the_dialogue_and_loses_nothing_over_a_cut(venue: Venue) -> None:
    paths: list[str] = []

    async def talk(socket: ServerConnection) -> None:
        assert socket.request is not None
        paths.append(socket.request.path)
        for frame in venue.greeting:
            await socket.send(frame)
        for _ in range(2):  # trades and books
            text = await socket.recv()
            assert isinstance(text, str)
            for frame in venue.answer(text):
                await socket.send(frame)
        for frame in venue.tells[len(paths) - 1]:
            await socket.send(frame)
        if len(paths) == 1:
            await socket.close(1012, "service restart")
        else:
            await socket.close(1000, END_OF_TAPE)

    events: list[Event] = []

    async def deliver(batch: Sequence[Event]) -> None:
        events.extend(batch)

    async with serve(talk, "127.0.0.1", 0, compression=None) as server:
        port = server.sockets[0].getsockname()[1]
        feed = LiveFeed(
            venue.spec,
            url=f"ws://127.0.0.1:{port}",
            options=Options(book=True),
            settings=SETTINGS,
        )
        with anyio.fail_after(20):
            await feed.run([Subscription(Symbol(venue.symbol), AssetClass.CRYPTO)], deliver)
    assert paths == [venue.path] * 2
    assert [event.trade_id for event in events if isinstance(event, Trade)] == venue.trades
    assert sum(isinstance(event, Quote) for event in events) == 2
    assert [event.state for event in events if isinstance(event, Status)] == [
        FeedState.CONNECTING,
        FeedState.LIVE,
        FeedState.DISCONNECTED,
        FeedState.LIVE,
        FeedState.ENDED,
    ]
    outages: list[Any] = [event for event in events if isinstance(event, Gap)]
    assert [gap.symbol for gap in outages] == [None]
    assert feed.statistics().malformed == 0
