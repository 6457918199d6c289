"""Whole adapters over real sockets, each against a server that keeps to its venue's dialogue.

The server answers each subscription in the venue's way, tells its data, cuts the connection, and on
the next one tells more: with the end of what it told before, or with a gap that is to be had over
HTTP from the same address. Nothing may be lost or told twice.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import msgspec
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from feeds.base import Subscription
from feeds.continuity import Continuity
from feeds.events import AssetClass, Event, FeedState, Gap, Quote, Status, Symbol, Trade
from feeds.protocols.base import Options, VenueSpec
from feeds.protocols.binance import BINANCE
from feeds.protocols.bitstamp import BITSTAMP
from feeds.protocols.bybit import BYBIT
from feeds.protocols.coinbase import COINBASE
from feeds.protocols.coinbase_advanced import COINBASE_ADVANCED
from feeds.protocols.kraken import KRAKEN
from feeds.protocols.kraken_v1 import KrakenV1Protocol
from feeds.protocols.okx import OKX
from feeds.session import END_OF_TAPE, ConnectionSettings
from feeds.stream import LiveFeed
from tests.feeds import test_binance_protocol as binance
from tests.feeds import test_bitstamp as bitstamp
from tests.feeds import test_bybit as bybit
from tests.feeds import test_coinbase as coinbase
from tests.feeds import test_coinbase_advanced as advanced
from tests.feeds import test_kraken as kraken
from tests.feeds import test_okx as okx
from tests.feeds.venue_kit import frames_of

NOW_SECONDS = int(time.time())  # Bitstamp's history goes by how long ago it was
SETTINGS = ConnectionSettings(backoff=timedelta(milliseconds=1))
Frames = Sequence[str]


class Venue(NamedTuple):
    """A venue's side: what it greets with, how it answers, what it tells on each connection.

    `asks` frames come of us on each connection; `rest` are the beginnings of HTTP paths and what
    is answered to them.
    """

    spec: VenueSpec
    symbol: str
    path: str
    greeting: Frames
    answer: Callable[[str], Frames]
    tells: tuple[Frames, Frames]
    trades: list[str]
    asks: int = 2  # trades and books
    rest: Mapping[str, str] = {}


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


def binance_answer(text: str) -> Frames:
    return [json.dumps({"result": None, "id": json.loads(text)["id"]})]


def binance_trades(*numbers: int) -> Frames:
    return [json.dumps({**binance.TRADE, "a": number}) for number in numbers]


def bitstamp_answer(text: str) -> Frames:
    channel = json.loads(text)["data"]["channel"]
    return [json.dumps({"event": "bts:subscription_succeeded", "channel": channel, "data": {}})]


def bitstamp_trade(number: int) -> str:
    at = {"microtimestamp": str(NOW_SECONDS * 1_000_000), "id": number}
    return json.dumps({**bitstamp.TRADE, "data": {**bitstamp.TRADE["data"], **at}})


def coinbase_answer(text: str) -> Frames:
    request = json.loads(text)
    products = request["product_ids"]
    channels = [{"name": name, "product_ids": products} for name in request["channels"]]
    return [json.dumps({"type": "subscriptions", "channels": channels})]


def coinbase_match(number: int, kind: str = "match") -> str:
    return json.dumps({**coinbase.MATCH, "type": kind, "trade_id": number})


def advanced_answer(text: str) -> Frames:
    request = json.loads(text)
    channel = request["channel"]
    number = ("heartbeats", "market_trades", "level2").index(channel)
    served = {channel: request.get("product_ids", [channel])}
    return [advanced.frame("subscriptions", {"subscriptions": served}, number=number)]


def advanced_trades(number: int, kind: str, *trades: int) -> str:
    rows = [advanced.trade(each) for each in reversed(trades)]
    return advanced.frame("market_trades", advanced.trades(*rows, kind=kind), number=number)


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
        ([BYBIT_BOOK, bybit_trade("a", "b")], [BYBIT_BOOK, bybit_trade("b"), bybit_trade("d")]),
        ["a", "b", "c", "d"],
        2,
        {"/v5/market/recent-trade?category=spot&symbol=BTCUSDT": bybit.recent("c", "b", "a")},
    ),
    Venue(
        OKX,
        "BTC/USDT",
        "/ws/v5/public",
        [],
        okx_answer,
        ([OKX_BOOK, okx_trade("8", "9")], [OKX_BOOK, okx_trade("9"), okx_trade("17")]),
        ["8", "9", "12", "14", "17"],
        2,
        {
            "/api/v5/market/trades?instId=BTC-USDT": okx.recent("17", "16", "15", "14"),
            "/api/v5/market/history-trades?instId=BTC-USDT&type=1&after=14": okx.recent("12", "9"),
        },
    ),
    Venue(
        BINANCE,
        "BNB/BTC",
        "/stream",
        [],
        binance_answer,
        (
            [binance.depth(99, 101, [["1.01", "1"]]), *binance_trades(1, 2)],
            [binance.depth(99, 101, [["1.01", "1"]]), *binance_trades(5)],
        ),
        ["1", "2", "3", "4", "5"],
        1,
        {
            "/api/v3/ticker/bookTicker": binance.listed("BNBBTC").decode(),
            "/api/v3/depth?symbol=BNBBTC": binance.snapshot(100).decode(),
            "/api/v3/aggTrades?symbol=BNBBTC&fromId=3": f"[{','.join(binance_trades(3, 4))}]",
        },
    ),
    Venue(
        BITSTAMP,
        "ETH/USD",
        "/",
        [],
        bitstamp_answer,
        (
            [bitstamp.changes(bitstamp.US + 1, []), bitstamp_trade(1), bitstamp_trade(2)],
            [bitstamp.changes(bitstamp.US + 1, []), bitstamp_trade(2), bitstamp_trade(5)],
        ),
        ["1", "2", "3", "5"],
        2,
        {
            "/api/v2/order_book/ethusd/": bitstamp.snapshot(bitstamp.US).decode(),
            "/api/v2/transactions/ethusd/?time=": bitstamp.recent(NOW_SECONDS, 5, 3, 2, 1),
        },
    ),
    Venue(
        COINBASE,
        "BAND/GBP",
        "/",
        [],
        coinbase_answer,
        (
            [json.dumps(coinbase.SNAPSHOT), coinbase_match(10, "last_match"), coinbase_match(11)],
            [json.dumps(coinbase.SNAPSHOT), coinbase_match(13, "last_match"), coinbase_match(14)],
        ),
        ["11", "12", "13", "14"],
        1,
        {"/products/BAND-GBP/trades": coinbase.page(13, 12, 11).decode()},
    ),
    Venue(
        COINBASE_ADVANCED,
        "ETH/USDT",
        "/",
        [],
        advanced_answer,
        (
            [
                advanced.frame("l2_data", advanced.SNAPSHOT, number=3),
                advanced_trades(4, "snapshot", 1, 2),
                advanced_trades(5, "update", 3),
            ],
            [
                advanced.frame("l2_data", advanced.SNAPSHOT, number=3),
                advanced_trades(4, "snapshot", 2, 3, 4, 5),
                advanced_trades(5, "update", 6),
            ],
        ),
        ["3", "4", "5", "6"],
        3,
    ),
]


@pytest.mark.parametrize("venue", VENUES, ids=lambda venue: venue.spec.name)
async def test_adapter_keeps_the_dialogue_and_loses_nothing_over_a_cut(venue: Venue) -> None:
    paths: list[str] = []
    events: list[Event] = []
    came = anyio.Event()

    def rest(socket: ServerConnection, request: Request) -> Response | None:
        if "Upgrade" in request.headers:
            return None
        for path, body in venue.rest.items():
            if request.path.startswith(path):
                return socket.respond(HTTPStatus.OK, body)
        return socket.respond(HTTPStatus.NOT_FOUND, "")

    async def talk(socket: ServerConnection) -> None:
        nonlocal came
        assert socket.request is not None
        paths.append(socket.request.path)
        for frame in venue.greeting:
            await socket.send(frame)
        for _ in range(venue.asks):
            text = await socket.recv()
            assert isinstance(text, str)
            for frame in venue.answer(text):
                await socket.send(frame)
        for frame in venue.tells[len(paths) - 1]:
            await socket.send(frame)
        while not is_told(len(paths)):
            await came.wait()
            came = anyio.Event()
        if len(paths) == 1:
            await socket.close(1012, "service restart")
        else:
            await socket.close(1000, END_OF_TAPE)

    def is_told(connections: int) -> bool:
        """Whether each connection has shown its book, and the last one the last trade."""
        last = connections == 1 or any(
            isinstance(event, Trade) and event.trade_id == venue.trades[-1] for event in events
        )
        return last and sum(isinstance(event, Quote) for event in events) == connections

    async def deliver(batch: Sequence[Event]) -> None:
        events.extend(batch)
        came.set()

    async with serve(talk, "127.0.0.1", 0, compression=None, process_request=rest) as server:
        port = server.sockets[0].getsockname()[1]
        feed = LiveFeed(
            venue.spec,
            url=f"ws://127.0.0.1:{port}",
            rest_url=f"http://127.0.0.1:{port}",
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


async def test_kraken_recording_plays_over_a_real_socket(shared_data: Path) -> None:
    """Every trade, every top of the book and every checksum, after the dialogue of version 1."""
    made: list[KrakenV1Protocol] = []

    def make(
        subscriptions: Sequence[Subscription], options: Options, continuity: Continuity
    ) -> KrakenV1Protocol:
        made.append(KrakenV1Protocol(subscriptions, options, continuity))
        return made[-1]

    async def talk(socket: ServerConnection) -> None:
        for _ in range(2):
            request = json.loads(await socket.recv())
            wanted = request["subscription"]
            status = {"event": "subscriptionStatus", "status": "subscribed", "subscription": wanted}
            for pair in request["pair"]:
                await socket.send(json.dumps({**status, "pair": pair}))
        for number in ("50", "48"):
            for _, frame in frames_of(shared_data / "wire" / f"KRAKEN.ws.{number}.0.gz"):
                await socket.send(frame)
        await socket.close(1000, END_OF_TAPE)

    events: list[Event] = []

    async def deliver(batch: Sequence[Event]) -> None:
        events.extend(batch)

    spec = msgspec.structs.replace(KRAKEN, name="kraken v1", make=make)
    names = ("WAVES/EUR", "GRT/ETH", "SC/EUR", "OCEAN/BTC", "BTC/CHF", "ADA/BTC")
    wanted = [Subscription(Symbol(name), AssetClass.CRYPTO) for name in names]
    async with serve(talk, "127.0.0.1", 0, compression=None) as server:
        port = server.sockets[0].getsockname()[1]
        feed = LiveFeed(spec, url=f"ws://127.0.0.1:{port}", options=Options(book=True))
        with anyio.fail_after(20):
            await feed.run(wanted, deliver)
    assert sum(isinstance(event, Trade) for event in events) == 6
    assert sum(isinstance(event, Quote) for event in events) == 373
    assert not any(isinstance(event, Gap) for event in events)
    assert (made[-1].checks, made[-1].books.resyncs, made[-1].malformed) == (2198, 0, 0)
