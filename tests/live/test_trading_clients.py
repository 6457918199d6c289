"""Clients that nobody here wrote trade at our venue: Alpaca's SDK, and ccxt's Alpaca.

They are no dependencies of ours: a test is skipped where its client is absent.
"""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from importlib import import_module
from typing import Any

import anyio
import pytest
from anyio import to_thread

from feeds.events import Symbol, Trade
from feeds.venue.account_options import AccountOptions
from feeds.venue.faults import Fault, FaultPlan, What
from feeds.venue.server import Venue
from runtime.trading.ccxt_line import MOST, CcxtLine
from runtime.trading.orders import ClientOrderId, OrderState, OrderType, Side
from runtime.trading.reconciler import Ask
from runtime.trading.remote import Answered, Lost, Missing
from tests.live.cli_kit import PATIENCE
from tests.live.test_alpaca_broker import Bench
from tests.live.test_venue_trading import Quotes
from tests.live.venue_kit import BTC, CREDENTIALS, serving

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

TRANSCRIPT = logging.getLogger("transcript")
"""`pytest --log-cli-level=info` shows what the clients were told."""


class Ticking(Quotes):
    """Quotes, and a trade of each symbol at every step."""

    count = 0

    def advance(self, until: int) -> list[Any]:
        events = super().advance(until)
        for symbol in self._symbols:
            self.count += 1
            events.append(Trade(symbol, until, until, 99.5, 1.0, str(self.count)))
        return events


@asynccontextmanager
async def at_venue() -> AsyncIterator[Venue]:
    with anyio.fail_after(PATIENCE):
        async with serving(Ticking(), account=AccountOptions()) as venue:
            yield venue


# ---- Alpaca's own SDK ----------------------------------------------------------------------------


@pytest.fixture
def sdk() -> Any:
    return pytest.importorskip(
        "alpaca.trading", reason="alpaca-py is not installed: pip install alpaca-py to try it"
    )


def trade_by_sdk(sdk: Any, url: str) -> list[str]:
    """What an author types, with what came of it in words."""
    error_type: Any = import_module("alpaca.common.exceptions").APIError
    enums: Any = import_module("alpaca.trading.enums")
    requests: Any = import_module("alpaca.trading.requests")

    said: list[str] = []
    client = sdk.TradingClient(CREDENTIALS.key, CREDENTIALS.secret, url_override=url)
    account = client.get_account()
    said.append(f"account {account.status.value} cash {account.cash}")
    buy, day = enums.OrderSide.BUY, enums.TimeInForce.DAY
    bought = client.submit_order(
        requests.MarketOrderRequest(
            symbol="AAPL", qty=2, side=buy, time_in_force=day, client_order_id="mine"
        )
    )
    found = client.get_order_by_client_id("mine")
    while found.status is not enums.OrderStatus.FILLED:
        found = client.get_order_by_client_id("mine")
    assert found.id == bought.id
    said.append(f"{found.side.value} {found.filled_qty} at {found.filled_avg_price}")
    rests = client.submit_order(
        requests.LimitOrderRequest(symbol="AAPL", qty=1, side=buy, time_in_force=day, limit_price=1)
    )
    changed = client.replace_order_by_id(rests.id, requests.ReplaceOrderRequest(limit_price=2))
    said.append(f"replaced {changed.replaces == rests.id} at {changed.limit_price}")
    open_now = client.get_orders(requests.GetOrdersRequest(status=enums.QueryOrderStatus.OPEN))
    assert [order.id for order in open_now] == [changed.id]
    client.cancel_order_by_id(changed.id)
    said.append(str(client.get_order_by_id(changed.id).status.value))
    said += [
        f"{type(order).__name__} {order.status.value}"
        for order in (
            client.submit_order(
                requests.StopOrderRequest(
                    symbol="AAPL", qty=1, side=buy, time_in_force=day, stop_price=500
                )
            ),
            client.submit_order(
                requests.TrailingStopOrderRequest(
                    symbol="AAPL",
                    qty=1,
                    side=enums.OrderSide.SELL,
                    time_in_force=day,
                    trail_percent=5,
                )
            ),
        )
    ]
    said.append(f"cancelled {[each.status for each in client.cancel_orders()]}")
    (held,) = client.get_all_positions()
    said.append(f"held {held.qty} {held.symbol}, cost {held.cost_basis}")
    assert client.get_open_position("AAPL").qty == "2"
    closed = client.close_position("AAPL")
    said.append(f"closing: {closed.side.value} {closed.qty}")
    calls: dict[str, Callable[[], Any]] = {
        "404": lambda: client.get_order_by_client_id("nobody"),
        "422": lambda: client.submit_order(
            requests.MarketOrderRequest(
                symbol="AAPL", qty=1, side=buy, time_in_force=day, client_order_id="mine"
            )
        ),
    }
    for wrong, call in calls.items():
        with pytest.raises(error_type) as error:
            call()
        assert str(error.value.status_code) == wrong
        said.append(f"{wrong} {error.value.code}: {error.value.message}")
    assert client.get_clock().is_open
    assert client.get_asset("AAPL").tradable
    assert client.get_calendar()
    assert client.get_all_assets(requests.GetAssetsRequest(asset_class=enums.AssetClass.CRYPTO))
    return said


async def test_the_sdk_trades_and_hears_of_it(sdk: Any) -> None:
    stream_type: Any = import_module("alpaca.trading.stream").TradingStream
    heard: list[Any] = []
    closed = anyio.Event()

    async def hear(update: Any) -> None:
        heard.append(update)
        if update.event == "fill" and update.order.side.value == "sell":
            closed.set()

    async with at_venue() as venue, anyio.create_task_group() as tasks:
        stream = stream_type(
            CREDENTIALS.key,
            CREDENTIALS.secret,
            url_override=venue.trading_url.replace("http", "ws") + "/stream",
        )
        stream.subscribe_trade_updates(hear)
        tasks.start_soon(stream._run_forever)
        while not stream._running:  # noqa: ASYNC110
            await anyio.sleep(0.01)  # the SDK tells nobody that it listens
        said = await to_thread.run_sync(trade_by_sdk, sdk, venue.trading_url)
        await closed.wait()
        await stream.stop_ws()
        tasks.cancel_scope.cancel()
    told = [f"heard {each.event!s} {each.order.symbol}" for each in heard]
    TRANSCRIPT.info("\n".join(said + told))
    assert said[:4] == [
        "account ACTIVE cash 100000",
        "buy 2 at 100",
        "replaced True at 2",
        "canceled",
    ]
    assert said[-1] == "422 42210000: client_order_id must be unique"
    events = [str(each.event) for each in heard]
    assert events[:2] == ["new", "fill"]
    assert events.count("replaced") == 1
    assert events.count("canceled") == 3
    fill = heard[1]
    assert (fill.price, fill.qty, fill.position_qty) == (100.0, 2.0, 2.0)
    assert str(fill.order.client_order_id) == "mine"


# ---- ccxt ----------------------------------------------------------------------------------------


def ccxt_options(venue: Venue) -> dict[str, Any]:
    """What makes ccxt's Alpaca go to our venue."""
    return {
        "apiKey": CREDENTIALS.key,
        "secret": CREDENTIALS.secret,
        "urls": {
            "api": {
                **dict.fromkeys(("trader", "market", "broker"), venue.trading_url),
                "ws": {
                    "crypto": venue.url + "/v1beta3/crypto/us",
                    "trading": venue.trading_url.replace("http", "ws") + "/stream",
                },
            }
        },
    }


async def test_ccxt_watches_trades_and_orders() -> None:
    ccxt: Any = pytest.importorskip(
        "ccxt.pro", reason="ccxt is not installed: pip install ccxt to try it"
    )
    said: list[str] = []
    async with at_venue() as venue:
        client = ccxt.alpaca(ccxt_options(venue))
        try:
            markets = await client.load_markets()
            assert "BTC/USD" in markets
            trades = await client.watch_trades(BTC)
            said.append(f"trade {trades[-1]['symbol']} at {trades[-1]['price']}")
            made = await client.create_order(BTC, "market", "buy", 0.5)
            done = await client.fetch_order(made["id"])
            while done["status"] != "closed":
                done = await client.fetch_order(made["id"])
            said.append(f"{done['side']} {done['filled']} at {done['average']}: {done['status']}")
            rests = await client.create_order(BTC, "limit", "buy", 0.25, 1.0)
            assert [o["id"] for o in await client.fetch_open_orders(BTC)] == [rests["id"]]
            await client.cancel_order(rests["id"])
            ended = await client.fetch_order(rests["id"])
            said.append(f"{ended['type']} {ended['status']}")
            with pytest.raises(ccxt.ExchangeError) as error:
                await client.create_order(BTC, "market", "sell", 7.0)
            said.append(type(error.value).__name__)
        finally:
            await client.close()
    TRANSCRIPT.info("\n".join(said))
    assert said == [
        "trade BTC/USD at 99.5",
        "buy 0.5 at 100.0: closed",
        "limit canceled",
        "InsufficientFunds",
    ]


@pytest.mark.parametrize("what", [None, What.LOSE_ACK, What.LOSE_REQUEST])
async def test_our_broker_over_ccxt_trades_there(what: What | None) -> None:
    pytest.importorskip("ccxt.pro", reason="ccxt is not installed: pip install ccxt to try it")
    async with at_venue() as venue, anyio.create_task_group() as tasks:
        line = await to_thread.run_sync(CcxtLine, "alpaca", ccxt_options(venue))
        it = Bench(venue, 0.5, line)
        tasks.start_soon(it.broker.run)
        first = it.submit(1, "0.5", symbol=BTC)
        await it.until_state(first, OrderState.FILLED)
        if what is not None:
            venue.faults.begin(FaultPlan(0, (Fault(what, count=1, request="POST"),)))
        second = it.submit(2, "0.25", symbol=BTC)
        ends = OrderState.REJECTED if what is What.LOSE_REQUEST else OrderState.FILLED
        await it.until_state(second, ends)
        rests = it.submit(3, "1", symbol=BTC, type=OrderType.LIMIT, limit_price=Decimal(1))
        await it.until_state(rests, OrderState.ACCEPTED)
        it.cancel(rests)
        await it.until_state(rests, OrderState.CANCELLED)
        refused = it.submit(4, "7", symbol=BTC, side=Side.SELL)
        await it.until_state(refused, OrderState.REJECTED)
        it.assert_equal_books()
        found = await line.holdings(priced=False)
        held = sum((tracked.filled for tracked in it.orders.values()), Decimal(0))
        assert {symbol: each[0] for symbol, each in found.positions.items()} == {BTC: held}
        assert found.cash == 100_000 - 100 * held
        tasks.cancel_scope.cancel()


LISTED = {"id": "77", "symbol": "BTC/USD", "status": "open", "side": "buy", "amount": 1, "price": 1}


@pytest.mark.parametrize(
    ("ways", "listed", "answer"),
    [
        ((), [], Lost),  # nothing can be asked
        (("fetchOpenOrders",), [], Lost),  # those that have ended are not listed
        (("fetchOrders",), [LISTED], Lost),  # it may be this one: the venue shows no names
        (("fetchOrders",), [LISTED | {"clientOrderId": "other"}] * MOST, Lost),  # there are more
        (("fetchOrders",), [LISTED | {"clientOrderId": "other"}], Missing),
        (("fetchOpenOrders", "fetchClosedOrders"), [LISTED | {"clientOrderId": "other"}], Missing),
        (("fetchOrders",), [LISTED | {"clientOrderId": "ours"}], Answered),
    ],
)
async def test_silence_over_ccxt_is_no_answer(
    ways: tuple[str, ...], listed: list[dict[str, object]], answer: type
) -> None:
    """Rows 43, 44: an order ends by the venue's word, and what is not listed is not that."""
    line = CcxtLine("alpaca", {"apiKey": "k", "secret": "s"})
    async with line.open():
        exchange = line._exchange
        for way in ("fetchOrders", "fetchOpenOrders", "fetchClosedOrders", "fetchCanceledOrders"):
            exchange.has[way] = way in ways

        async def found(*_: object) -> list[dict[str, object]]:
            return listed

        async def loaded() -> None: ...

        exchange.load_markets = loaded
        exchange.fetch_orders = exchange.fetch_open_orders = exchange.fetch_closed_orders = found
        told = await line.carry_out(Ask(ClientOrderId("ours"), "", Symbol("BTC/USD")))
    assert isinstance(told, answer), told
