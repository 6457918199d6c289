"""The broker at a venue over real sockets, while the venue does wrong whatever it can."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from random import Random
from typing import Any

import anyio
import httpx
import msgspec
import pytest
import structlog

from feeds.events import SECOND, AssetClass
from feeds.venue.accounts import AccountOrder
from feeds.venue.faults import Fault, FaultPlan, What, Where
from feeds.venue.server import Venue
from runtime.clock import SteadyClock
from runtime.errors import ConfigError
from runtime.trading.alpaca import AlpacaLine
from runtime.trading.orders import (
    ClientOrderId,
    Order,
    OrderState,
    OrderType,
    OrderUpdate,
    Side,
    TimeInForce,
)
from runtime.trading.reconciler import Reconciler
from runtime.trading.remote import Holdings, KeyRefused, Line, RemoteBroker, open_account
from runtime.trading.risk import Approved, RiskGate, RiskView
from runtime.trading.tracked import TrackedOrder
from tests.live.test_venue_trading import HEADERS, LIMIT, ORDER, trading
from tests.live.venue_kit import AAPL, CREDENTIALS

ACCEPTANCE = SECOND // 2
VIEW = RiskView(AssetClass.EQUITY, 100.0, free_cash=Decimal("1e9"))


class Bench:
    """A broker, and a desk's books: every report must be legal there."""

    def __init__(self, venue: Venue, period: float = 3600.0, line: Line | None = None) -> None:
        self.venue = venue
        self.line = line or AlpacaLine(venue.trading_url, CREDENTIALS.key, CREDENTIALS.secret)
        self.now = SteadyClock().now
        self.broker = RemoteBroker(
            self.line,
            Reconciler(ACCEPTANCE),
            structlog.get_logger(),
            self.now,
            period=period,
            since=self.now(),
        )
        self.orders: dict[str, TrackedOrder] = {}
        self.updates: list[OrderUpdate] = []
        self._changed = anyio.Event()
        self.broker.listen(self._wake)

    def _wake(self) -> None:
        self._changed.set()

    def submit(self, number: int, quantity: str = "2", **more: Any) -> TrackedOrder:
        fields: dict[str, Any] = {"symbol": AAPL, "side": Side.BUY, "created": self.now()} | more
        made = Order(ClientOrderId(f"b-{number}"), quantity=Decimal(quantity), **fields)
        tracked = self.orders[made.id] = TrackedOrder(made)
        tracked.submit()
        self.broker.submit(approved(made), self.now())
        return tracked

    def cancel(self, tracked: TrackedOrder) -> None:
        if tracked.request_cancel():
            self.broker.cancel(tracked.order.id, self.now())

    def hear(self) -> None:
        for update in self.broker.take_updates():
            if update.external is not None:
                tracked = self.orders[update.order_id] = TrackedOrder(update.external)
                tracked.submit()
            self.orders[update.order_id].apply(update)
            self.updates.append(update)

    async def until(self, condition: Callable[[], bool]) -> None:
        while True:
            self._changed = anyio.Event()
            self.hear()
            if condition():
                return
            await self._changed.wait()

    async def until_state(self, tracked: TrackedOrder, state: OrderState) -> None:
        await self.until(lambda: tracked.state is state)

    def there(self) -> dict[str, AccountOrder]:
        desk = self.venue.trading
        assert desk is not None
        return {order.client_order_id: order for order in desk.exchange.account.orders.values()}

    def assert_equal_books(self) -> None:
        """What each order has filled, and what that comes to, is what the venue has."""
        theirs = self.there()
        for name, tracked in self.orders.items():
            order = theirs.get(name)
            if order is None:
                assert tracked.state is OrderState.REJECTED
                continue
            assert (tracked.filled, tracked.notional) == (order.filled, order.notional)
            assert tracked.state.is_open == order.status.is_open, (tracked.state, order)
        assert set(theirs) <= set(self.orders)


def approved(order: Order) -> Approved:
    verdict = RiskGate(()).review(order, VIEW)
    assert isinstance(verdict, Approved), verdict
    return verdict


@asynccontextmanager
async def bench(*faults: Fault, period: float = 3600.0) -> AsyncIterator[Bench]:
    async with trading(*faults) as (venue, _):
        it = Bench(venue, period)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(it.broker.run)
            yield it
            tasks.cancel_scope.cancel()


async def test_orders_fill_and_end_as_the_venue_says() -> None:
    async with bench() as it:
        bought = it.submit(1)
        await it.until_state(bought, OrderState.FILLED)
        rests = it.submit(2, type=OrderType.LIMIT, limit_price=Decimal(1))
        await it.until_state(rests, OrderState.ACCEPTED)
        it.cancel(rests)
        await it.until_state(rests, OrderState.CANCELLED)
        refused = it.submit(3, "1000000")
        await it.until_state(refused, OrderState.REJECTED)
        assert refused.reason == "insufficient buying power"
        await it.broker.settle()
        it.assert_equal_books()


@pytest.mark.parametrize(
    "more",
    [
        {"type": OrderType.STOP_MARKET, "stop_price": Decimal(500)},
        {"type": OrderType.STOP_LIMIT, "stop_price": Decimal(500), "limit_price": Decimal(501)},
        {"type": OrderType.TRAILING_STOP, "trailing_amount": Decimal("9.5")},
        {
            "type": OrderType.TRAILING_STOP,
            "trailing_amount": Decimal("0.5"),
            "trailing_as_percentage": True,
        },
        {"type": OrderType.LIMIT, "limit_price": Decimal(1), "time_in_force": TimeInForce.DAY},
    ],
)
async def test_every_type_of_order_works_there(more: dict[str, Any]) -> None:
    async with bench() as it:
        made = it.submit(1, **more)
        await it.until_state(made, OrderState.ACCEPTED)
        it.cancel(made)
        await it.until_state(made, OrderState.CANCELLED)
        it.assert_equal_books()


@pytest.mark.parametrize("force", [TimeInForce.IOC, TimeInForce.FOK])
async def test_what_cannot_fill_at_once_ends_at_once(force: TimeInForce) -> None:
    async with bench() as it:
        await it.until_state(it.submit(1), OrderState.FILLED)  # the market is open
        made = it.submit(2, type=OrderType.LIMIT, limit_price=Decimal(1), time_in_force=force)
        await it.until_state(made, OrderState.CANCELLED)
        it.assert_equal_books()


async def test_other_terms_are_taken_and_filled() -> None:
    async with bench() as it:
        made = it.submit(1, type=OrderType.LIMIT, limit_price=Decimal(1))
        await it.until_state(made, OrderState.ACCEPTED)
        terms = Order(
            made.order.id,
            AAPL,
            Side.BUY,
            Decimal(3),
            OrderType.LIMIT,
            Decimal(150),
            created=made.order.created,
        )
        made.request_amend(terms)
        it.broker.amend(approved(terms), it.now())
        await it.until_state(made, OrderState.FILLED)
        assert made.filled == 3


@pytest.mark.parametrize("what", [What.LOSE_ACK, What.LOSE_REQUEST])
async def test_a_lost_answer_is_unknown_and_then_what_the_venue_says(what: What) -> None:
    async with bench(Fault(what, request="POST", count=1)) as it:
        made = it.submit(1)
        ends = OrderState.FILLED if what is What.LOSE_ACK else OrderState.REJECTED
        await it.until_state(made, ends)
        if (
            what is What.LOSE_REQUEST
        ):  # of the other the stream may tell before the answer is missed
            assert "lost" in [update.kind for update in it.updates]
        assert len(it.there()) == (what is What.LOSE_ACK)
        it.assert_equal_books()


async def test_a_fill_that_the_stream_lost_is_found_on_the_timer() -> None:
    mute = Fault(What.DROP, Where.UPDATES)
    async with bench(mute, period=0.2) as it:
        rests = it.submit(1, type=OrderType.LIMIT, limit_price=Decimal(1))
        await it.until_state(rests, OrderState.ACCEPTED)
        desk = it.venue.trading
        assert desk is not None
        desk.exchange.cancel(it.there()["b-1"].id, desk.now())  # by hand
        desk.note()
        await it.until_state(rests, OrderState.CANCELLED)
        it.assert_equal_books()


async def test_orders_of_others_are_told_and_left_alone() -> None:
    async with bench(period=0.2) as it:
        async with httpx.AsyncClient(
            base_url=it.venue.trading_url, headers=HEADERS, trust_env=False
        ) as other:
            await other.post("/v2/orders", json=ORDER | {"client_order_id": "theirs"})
            await other.post("/v2/orders", json=LIMIT | {"client_order_id": "rests"})
        await it.until(lambda: {"theirs", "rests"} <= set(it.orders))
        await it.until_state(it.orders["theirs"], OrderState.FILLED)
        assert it.orders["rests"].order.tag == "external"
        it.broker.cancel(ClientOrderId("rests"), it.now())
        await it.broker.settle()
        assert it.there()["rests"].status.is_open
        it.assert_equal_books()


async def test_an_account_is_looked_at_whole() -> None:
    async with bench() as it:
        await it.until_state(it.submit(1), OrderState.FILLED)
        rests = it.submit(2, type=OrderType.LIMIT, limit_price=Decimal(1))
        await it.until_state(rests, OrderState.ACCEPTED)
        found = await open_account(it.line, it.now)
        assert found.holdings == Holdings(Decimal(99_800), {AAPL: (Decimal(2), Decimal(100))})
        assert found.cash == 100_000
        assert [state.client_id for state in found.orders] == ["b-2"]


async def test_books_that_differ_are_told_twice_seen() -> None:
    with structlog.testing.capture_logs() as said:
        async with bench(period=0.1) as it:
            it.broker.books = lambda: Holdings(Decimal(7), {AAPL: (Decimal(1), Decimal(1))})
            async with anyio.create_task_group() as tasks:

                async def look() -> None:
                    while not any(line["log_level"] == "error" for line in said):  # noqa: ASYNC110
                        await anyio.sleep(0.05)  # a log tells nobody when it is written
                    tasks.cancel_scope.cancel()

                tasks.start_soon(look)
    errors = [line for line in said if line["log_level"] == "error"]
    assert len(errors) == 1
    assert errors[0]["text"] == "cash is 7 here and 100000 there, AAPL is 1 here and 0 there"


async def test_a_wrong_key_is_said_and_an_address_that_is_none_too() -> None:
    async with trading() as (venue, _):
        line = AlpacaLine(venue.trading_url, "wrong", "wrong")
        async with line.open():
            with pytest.raises(KeyRefused, match="not authorized"):
                await line.account()
    for url in ("ftp://127.0.0.1", "http://example.com", "nonsense"):
        with pytest.raises(ConfigError):
            AlpacaLine(url, "k", "s")


MIXTURES = (
    Fault(What.LOSE_ACK, chance=0.15, request="POST"),
    Fault(What.LOSE_REQUEST, chance=0.1, request="POST"),
    Fault(What.LOSE_ACK, chance=0.15, request="DELETE"),
    Fault(What.LOSE_REQUEST, chance=0.15, request="GET"),
    Fault(What.SLOW_ACK, chance=0.2, seconds=0.05),
    Fault(What.REFUSE, chance=0.15, code=503),
    Fault(What.REFUSE, chance=0.1, code=500, request="POST"),
    Fault(What.REFUSE, chance=0.1, code=429, request="GET"),
    Fault(What.DELAY, chance=0.2, seconds=0.05),
    Fault(What.AUTH_EXPIRY, chance=0.02, seconds=0.3, request="GET"),
    Fault(What.REJECT, chance=0.1),
    Fault(What.PARTIAL, size=1.0),
    Fault(What.DROP, Where.UPDATES, chance=0.2),
    Fault(What.REPEAT, Where.UPDATES, chance=0.3),
    Fault(What.REORDER, Where.UPDATES, chance=0.3),
    Fault(What.DELAY, Where.UPDATES, chance=0.2, seconds=0.05),
    Fault(What.STALL, Where.UPDATES, chance=0.05, seconds=0.3),
    Fault(What.HALF_CLOSE, Where.UPDATES, chance=0.05),
    Fault(What.CUT, Where.UPDATES, chance=0.1),
)


@pytest.mark.parametrize("number", range(len(MIXTURES) + 5))
async def test_the_books_are_the_venues_whatever_goes_wrong(number: int) -> None:
    """Each fault alone, then mixtures; once the faults are over, all comes to rest."""
    random = Random(number)
    single = [
        msgspec.structs.replace(fault, chance=max(fault.chance, 0.5))
        for fault in MIXTURES[number : number + 1]
    ]
    async with bench(*(single or random.sample(MIXTURES, 6)), period=0.3) as it:
        for n in range(16):
            side = Side.SELL if n % 3 == 2 else Side.BUY
            is_limit = n % 4 == 3
            made = it.submit(
                n,
                str(1 + n % 3),
                side=side,
                type=OrderType.LIMIT if is_limit else OrderType.MARKET,
                limit_price=Decimal(1 if side is Side.BUY else 999) if is_limit else None,
            )
            if is_limit and n % 8 == 3:
                it.cancel(made)
            await anyio.sleep(random.uniform(0.0, 0.04))  # orders come when they come
            it.hear()
        await it.until(lambda: it.venue.faults.has_struck or not single)
        it.venue.faults.begin(FaultPlan())

        def is_known() -> bool:
            return not any(
                tracked.state
                in {OrderState.UNKNOWN, OrderState.SUBMITTED, OrderState.CANCEL_PENDING}
                for tracked in it.orders.values()
            )

        def is_equal() -> bool:
            theirs = it.there()
            return is_known() and all(
                name not in theirs
                or (tracked.filled, tracked.state.is_open)
                == (theirs[name].filled, theirs[name].status.is_open)
                for name, tracked in it.orders.items()
            )

        await it.until(is_equal)
        it.assert_equal_books()
        fills = [u.fill.fill_id for u in it.updates if u.fill is not None]
        assert len(set(fills)) == len(fills)
