"""The venue's trading over real sockets: REST, trade_updates, faults, and kill -9."""

import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import httpx
import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from feeds.events import Quote
from feeds.venue.account_options import AccountOptions
from feeds.venue.faults import Fault, FaultPlan, Faults, What, Where
from feeds.venue.server import Venue
from tests.live.cli_kit import PATIENCE, TIDEGATE, free_port
from tests.live.venue_kit import AAPL, CREDENTIALS, Endless, serving

HEADERS = {"APCA-API-KEY-ID": CREDENTIALS.key, "APCA-API-SECRET-KEY": CREDENTIALS.secret}
LOGIN = {
    "action": "authenticate",
    "data": {"key_id": CREDENTIALS.key, "secret_key": CREDENTIALS.secret},
}
LISTEN = {"action": "listen", "data": {"streams": ["trade_updates"]}}
ORDER = {"symbol": "AAPL", "qty": "2", "side": "buy", "type": "market", "time_in_force": "day"}
LIMIT = {**ORDER, "type": "limit", "limit_price": "1"}


class Quotes(Endless):
    """A quote of each symbol at every step."""

    def advance(self, until: int) -> list[Any]:
        return [
            Quote(symbol, until, until, 99.0, 1000.0, 100.0, 1000.0) for symbol in self._symbols
        ]


@asynccontextmanager
async def trading(*faults: Fault) -> AsyncIterator[tuple[Venue, httpx.AsyncClient]]:
    plan = Faults(FaultPlan(1, faults))
    with anyio.fail_after(PATIENCE):
        async with (
            serving(Quotes(), account=AccountOptions(), faults=plan) as venue,
            httpx.AsyncClient(
                base_url=venue.trading_url, headers=HEADERS, trust_env=False
            ) as client,
        ):
            yield venue, client


async def listener(venue: Venue) -> ClientConnection:
    socket = await connect(
        venue.trading_url.replace("http", "ws") + "/stream", proxy=None, compression=None
    )
    await say(socket, LOGIN)
    assert await hear(socket) == {
        "stream": "authorization",
        "data": {"status": "authorized", "action": "authenticate"},
    }
    await say(socket, LISTEN)
    assert await hear(socket) == {"stream": "listening", "data": {"streams": ["trade_updates"]}}
    return socket


async def until_closed(socket: ClientConnection) -> AsyncIterator[bytes | str]:
    with suppress(ConnectionClosed):
        while True:
            yield await socket.recv()


async def say(socket: ClientConnection, message: object) -> None:
    await socket.send(msgspec.json.encode(message), text=True)


async def hear(socket: ClientConnection) -> Any:
    frame = await socket.recv()
    assert isinstance(frame, bytes)  # as Alpaca's paper accounts send it
    return msgspec.json.decode(frame)


async def test_an_order_is_answered_and_its_updates_are_heard() -> None:
    async with trading() as (venue, client):
        socket = await listener(venue)
        answer = await client.post("/v2/orders", json=ORDER | {"client_order_id": "mine"})
        assert answer.status_code == 200
        told = [(await hear(socket))["data"] for _ in range(2)]
        assert [each["event"] for each in told] == ["new", "fill"]
        assert told[1]["order"]["id"] == answer.json()["id"]
        assert (told[1]["price"], told[1]["qty"], told[1]["position_qty"]) == ("100", "2", "2")
        again = await client.post("/v2/orders", json=ORDER | {"client_order_id": "mine"})
        assert (again.status_code, again.json()["code"]) == (422, 42210000)
        found = await client.get(
            "/v2/orders:by_client_order_id", params={"client_order_id": "mine"}
        )
        assert found.json()["status"] == "filled"
        (held,) = (await client.get("/v2/positions")).json()
        assert (held["symbol"], held["qty"], held["avg_entry_price"]) == ("AAPL", "2", "100")
        assert (await client.get("/v2/account")).json()["cash"] == "99800"
        (fill,) = (await client.get("/v2/account/activities/FILL")).json()
        assert (fill["cum_qty"], fill["order_id"]) == ("2", answer.json()["id"])
        closed = await client.delete("/v2/positions/AAPL")
        assert closed.json()["side"] == "sell"
        await socket.close()


async def test_orders_are_listed_replaced_and_cancelled() -> None:
    async with trading() as (_, client):
        first = (await client.post("/v2/orders", json=LIMIT)).json()
        second = (await client.post("/v2/orders", json=LIMIT)).json()
        assert first["status"] == "new"
        open_now = (await client.get("/v2/orders", params={"direction": "asc"})).json()
        assert [order["id"] for order in open_now] == [first["id"], second["id"]]
        late = {"status": "all", "after": first["submitted_at"]}
        assert [o["id"] for o in (await client.get("/v2/orders", params=late)).json()] == [
            second["id"]
        ]
        changed = await client.patch(f"/v2/orders/{first['id']}", json={"limit_price": "2"})
        assert (changed.json()["limit_price"], changed.json()["replaces"]) == ("2", first["id"])
        assert (await client.delete(f"/v2/orders/{second['id']}")).status_code == 204
        assert (await client.delete(f"/v2/orders/{second['id']}")).status_code == 422
        rest = await client.delete("/v2/orders")
        assert (rest.status_code, len(rest.json())) == (207, 1)
        assert (await client.get("/v2/orders")).json() == []
        assert (await client.get("/v2/orders/nobody")).json()["code"] == 40410000


async def test_who_has_no_key_hears_nothing() -> None:
    async with trading() as (venue, client):
        refused = await client.get("/v2/account", headers={"APCA-API-SECRET-KEY": "wrong"})
        assert (refused.status_code, refused.json()["code"]) == (401, 40110000)
        assert (await client.get("/admin/faults", headers=dict.fromkeys(HEADERS, "x"))).is_error
        socket = await connect(
            venue.trading_url.replace("http", "ws") + "/stream", proxy=None, compression=None
        )
        await say(socket, {"action": "auth", "key": "wrong", "secret": "wrong"})
        assert (await hear(socket))["data"]["status"] == "unauthorized"
        with pytest.raises(ConnectionClosed):
            await socket.recv()


async def test_clock_calendar_and_assets_answer() -> None:
    async with trading() as (_, client):
        assert (await client.get("/v2/clock")).json()["is_open"] is True
        days = {"start": "2026-11-23", "end": "2026-11-29"}
        assert len((await client.get("/v2/calendar", params=days)).json()) == 5
        coins = (await client.get("/v2/assets", params={"asset_class": "crypto"})).json()
        assert {"BTC/USD", "ETH/USD"} <= {coin["symbol"] for coin in coins}
        assert (await client.get("/v2/assets/AAPL")).json()["class"] == "us_equity"
        assert (await client.get("/v2/calendar", params={"start": "x"})).status_code == 422


async def test_an_ack_is_lost_after_the_order_was_taken() -> None:
    async with trading(Fault(What.LOSE_ACK, request="POST", count=1)) as (venue, client):
        socket = await listener(venue)
        with pytest.raises(httpx.RemoteProtocolError):
            await client.post("/v2/orders", json=ORDER | {"client_order_id": "a"})
        assert (await hear(socket))["data"]["order"]["client_order_id"] == "a"
        assert len((await client.get("/v2/orders", params={"status": "all"})).json()) == 1
        await socket.close()


async def test_a_request_is_lost_before_it_was_taken() -> None:
    async with trading(Fault(What.LOSE_REQUEST, request="POST", count=1)) as (_, client):
        with pytest.raises(httpx.HTTPError):
            await client.post("/v2/orders", json=ORDER)
        assert (await client.get("/v2/orders", params={"status": "all"})).json() == []


async def test_faults_are_switched_while_the_venue_runs() -> None:
    async with trading() as (venue, client):
        rule = {"what": "refuse", "request": "GET /v2/account", "code": 503, "count": 1}
        told = await client.put("/admin/faults", json={"fault": [rule]})
        assert told.json()["struck"] == [0]
        assert (await client.get("/v2/account")).status_code == 503
        assert (await client.get("/v2/account")).status_code == 200
        wrong = await client.put("/admin/faults", json={"fault": [{"what": "drip"}]})
        assert wrong.status_code == 400
        mute = {"what": "drop", "where": "updates", "count": 1}
        thin = {"what": "partial", "size": 1.0}
        await client.put("/admin/faults", json={"fault": [mute, thin]})
        socket = await listener(venue)
        await client.post("/v2/orders", json=ORDER)
        told_of = [(await hear(socket))["data"]["event"] for _ in range(2)]
        assert told_of == ["partial_fill", "fill"]  # "new" was dropped
        await client.put("/admin/faults", json={"fault": [{"what": "reject"}]})
        refused = await client.post("/v2/orders", json=ORDER)
        assert (refused.status_code, refused.json()["code"]) == (403, 40310000)
        await socket.close()


async def test_updates_are_cut_and_keys_expire() -> None:
    cut = Fault(What.CUT, Where.UPDATES, count=1)
    async with trading(cut) as (venue, client):
        socket = await listener(venue)
        await client.post("/v2/orders", json=LIMIT)
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        expiry = {"what": "auth_expiry", "seconds": 3600.0, "count": 1}
        await client.put("/admin/faults", json={"fault": [expiry]})
        assert (await client.get("/v2/account")).status_code == 401
        assert (await client.post("/v2/orders", json=ORDER)).status_code == 401
        await client.put("/admin/faults", json={})
        assert (await client.get("/v2/account")).status_code == 200


@pytest.mark.parametrize(
    ("rule", "broken"),
    [
        (Fault(What.REFUSE, Where.DATA, code=406, count=1), [406]),
        (Fault(What.REFUSE, Where.DATA, code=407, count=1), [407]),
        (Fault(What.HALF_CLOSE, Where.DATA, count=1), []),
        (Fault(What.CUT, Where.DATA, count=1), []),
    ],
)
async def test_market_data_breaks_as_asked(rule: Fault, broken: list[int]) -> None:
    async with trading(rule) as (venue, _):
        socket = await connect(venue.url + "/v2/iex", proxy=None, compression=None)
        auth = {"action": "auth", "key": CREDENTIALS.key, "secret": CREDENTIALS.secret}
        await say(socket, auth)
        await say(socket, {"action": "subscribe", "quotes": [AAPL]})
        codes: list[int] = []
        async for frame in until_closed(socket):
            told = msgspec.json.decode(frame)
            codes += [item["code"] for item in told if item["T"] == "error"]
        assert [code for code in codes if code != 401] == broken


@contextmanager
def venue_process(port: int, folder: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [
            *(TIDEGATE, "venue", "--port", "0", "--trading-port", str(port)),
            *("--account", folder / "account.db"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        lines = [process.stdout.readline(), process.stdout.readline()]
        assert f"it takes orders on http://127.0.0.1:{port}" in lines[1]
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_venue_that_was_killed_comes_back_with_its_account(tmp_path: Path) -> None:
    port = free_port()
    keys = dict.fromkeys(HEADERS, "paper")
    paths = ("/v2/account", "/v2/orders?status=all", "/v2/account/activities")
    with httpx.Client(
        base_url=f"http://127.0.0.1:{port}", headers=keys, trust_env=False, timeout=PATIENCE
    ) as client:

        def books() -> list[Any]:
            cash = client.get(paths[0]).json()
            return [
                (cash["id"], cash["cash"]),
                *(client.get(path).json() for path in paths[1:]),
                [(p["symbol"], p["qty"]) for p in client.get("/v2/positions").json()],
            ]

        with venue_process(port, tmp_path) as venue:
            for n in range(5):
                made = client.post("/v2/orders", json=ORDER | {"client_order_id": f"m{n}"})
                assert made.status_code == 200
            client.post("/v2/orders", json=LIMIT | {"client_order_id": "rests"})
            before = books()
            venue.send_signal(signal.SIGKILL)
            venue.wait()
        with venue_process(port, tmp_path):
            assert books() == before
            again = client.post("/v2/orders", json=ORDER | {"client_order_id": "m0"})
            assert again.status_code == 422
            (rests,) = client.get("/v2/orders").json()
            assert client.delete(f"/v2/orders/{rests['id']}").status_code == 204
