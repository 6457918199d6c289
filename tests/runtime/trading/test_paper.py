"""The paper broker through its own door: approved orders in, updates out, in order."""

from decimal import Decimal

import msgspec

from feeds.events import MINUTE, AssetClass, Quote, Symbol
from runtime.trading.broker import Broker
from runtime.trading.orders import (
    ClientOrderId,
    Fill,
    Order,
    OrderState,
    OrderType,
    OrderUpdate,
    Side,
    TimeInForce,
    UpdateKind,
)
from runtime.trading.paper import PaperBroker
from runtime.trading.parts import make_broker
from runtime.trading.portfolio import Portfolio
from runtime.trading.risk import Approved, RiskGate, RiskView, standard_checks
from runtime.trading.settings import TradingSettings
from runtime.trading.tracked import TrackedOrder

AAPL, BTC = Symbol("AAPL"), Symbol("BTC/USD")
NOW = 5 * MINUTE
ID = ClientOrderId("run-1")


def quote(bid: float, ask: float, size: float = 0.0, symbol: Symbol = AAPL) -> Quote:
    return Quote(symbol, NOW, NOW, bid, size, ask, size)


def order(
    quantity: str = "10",
    side: Side = Side.BUY,
    limit: str | None = None,
    *,
    symbol: Symbol = AAPL,
    time_in_force: TimeInForce = TimeInForce.GTC,
) -> Order:
    return Order(
        id=ID,
        symbol=symbol,
        side=side,
        quantity=Decimal(quantity),
        type=OrderType.MARKET if limit is None else OrderType.LIMIT,
        limit_price=None if limit is None else Decimal(limit),
        time_in_force=time_in_force,
    )


def approved(proposed: Order) -> Approved:
    asset_class = AssetClass.CRYPTO if "/" in proposed.symbol else AssetClass.EQUITY
    view = RiskView(asset_class, 100.0, position=Decimal(10), free_cash=Decimal(10**6))
    verdict = RiskGate(standard_checks()).review(proposed, view)
    assert isinstance(verdict, Approved)
    return verdict


def kinds(updates: list[OrderUpdate]) -> list[UpdateKind]:
    return [update.kind for update in updates]


def test_an_order_is_accepted_and_filled_at_the_market() -> None:
    broker: Broker = PaperBroker()
    broker.on_market([quote(99.0, 100.0)], NOW)
    broker.submit(approved(order()), NOW + 1)
    fill = Fill("run-1-1", ID, AAPL, Side.BUY, Decimal(10), Decimal(100), Decimal("0.1"), NOW + 1)
    assert broker.take_updates() == [
        OrderUpdate(ID, UpdateKind.ACCEPTED, NOW + 1),
        OrderUpdate(ID, UpdateKind.FILL, NOW + 1, fill),
    ]
    assert broker.take_updates() == []
    assert broker.name == "paper"


def test_updates_gather_in_the_order_in_which_they_happened() -> None:
    broker = PaperBroker()
    broker.on_market([quote(99.0, 100.0, 4.0)], NOW)
    broker.submit(approved(order(side=Side.SELL)), NOW)
    broker.on_market([quote(98.0, 100.0, 4.0)], NOW)
    broker.cancel(ID, NOW)
    updates = broker.take_updates()
    assert kinds(updates) == [
        UpdateKind.ACCEPTED, UpdateKind.FILL, UpdateKind.FILL, UpdateKind.CANCELLED,
    ]  # fmt: skip
    assert [update.fill and update.fill.price for update in updates[1:3]] == [99, 98]
    assert all(update.fill is None or update.fill.side is Side.SELL for update in updates)
    assert updates[-1].reason == "cancelled on request"


def test_a_limit_waits_and_an_immediate_one_does_not() -> None:
    broker = PaperBroker()
    broker.on_market([quote(99.0, 100.0)], NOW)
    broker.submit(approved(order(limit="98")), NOW)
    assert kinds(broker.take_updates()) == [UpdateKind.ACCEPTED]
    broker.on_market([quote(97.0, 97.5)], NOW)
    assert kinds(broker.take_updates()) == [UpdateKind.FILL]
    at_once = PaperBroker()
    at_once.on_market([quote(99.0, 100.0)], NOW)
    at_once.submit(approved(order(limit="98", time_in_force=TimeInForce.IOC)), NOW)
    assert kinds(at_once.take_updates()) == [UpdateKind.ACCEPTED, UpdateKind.CANCELLED]


def test_an_id_used_twice_is_rejected_with_the_reason() -> None:
    broker = PaperBroker()
    broker.submit(approved(order()), NOW)
    broker.submit(approved(order()), NOW)
    updates = broker.take_updates()
    assert kinds(updates) == [UpdateKind.ACCEPTED, UpdateKind.REJECTED]
    assert "used before" in updates[1].reason


def test_coins_fill_in_their_own_lots_and_shares_whole() -> None:
    coins = PaperBroker()
    coins.on_market([quote(99.0, 100.0, 0.123456789, BTC)], NOW)
    coins.submit(approved(order("1", symbol=BTC)), NOW)
    fill = coins.take_updates()[1].fill
    assert fill is not None
    assert fill.quantity == Decimal("0.12345678")
    shares = PaperBroker()
    shares.on_market([quote(99.0, 100.0, 2.9)], NOW)
    shares.submit(approved(order("10")), NOW)
    fill = shares.take_updates()[1].fill
    assert fill is not None
    assert fill.quantity == 2


def test_settings_reach_the_matching() -> None:
    settings = TradingSettings(fee_bps=20, respect_size=False, max_quote_age_seconds=1e-6)
    broker = make_broker(settings)
    broker.on_market([quote(99.0, 100.0, 1.0)], NOW)
    broker.submit(approved(order()), NOW)
    fill = broker.take_updates()[1].fill
    assert fill is not None
    assert (fill.quantity, fill.fee) == (Decimal(10), Decimal(2))
    stale = make_broker(settings)
    stale.on_market([quote(99.0, 100.0)], NOW)
    stale.submit(approved(order()), NOW + 1001)
    assert kinds(stale.take_updates()) == [UpdateKind.ACCEPTED]


async def test_nothing_runs_in_the_background() -> None:
    await PaperBroker().run()


def test_a_round_trip_ends_in_the_books() -> None:
    """Order, fills, order state and portfolio agree to the last digit."""
    broker, portfolio = PaperBroker(), Portfolio(Decimal(100_000))
    tracked = TrackedOrder(order())
    tracked.submit()
    broker.on_market([quote(99.0, 100.0, 4.0)], NOW)
    broker.submit(approved(tracked.order), NOW)
    broker.on_market([quote(99.0, 101.0, 9.0)], NOW)
    for update in broker.take_updates():
        assert tracked.apply(update) is not None
        if update.fill is not None:
            portfolio.apply(update.fill)
    assert tracked.state is OrderState.FILLED
    assert tracked.average_price == portfolio[AAPL].average_price == Decimal("100.6")
    assert tracked.fees == portfolio.fees == Decimal("0.1006")
    assert portfolio.cash == 100_000 - 1006 - Decimal("0.1006")


def test_a_trailing_stop_follows_from_where_it_was_in_the_run_before() -> None:
    tracked = TrackedOrder(
        msgspec.structs.replace(
            order(side=Side.SELL), type=OrderType.TRAILING_STOP, trailing_amount=Decimal(5)
        )
    )
    tracked.submit()
    before = PaperBroker()
    before.on_market([quote(100.0, 100.0)], NOW)
    before.submit(approved(tracked.order), NOW)
    before.on_market([quote(110.0, 110.0)], NOW)
    for update in before.take_updates():
        assert tracked.apply(update) is None or update.kind is UpdateKind.ACCEPTED
    assert tracked.order.stop_price == 105
    after = PaperBroker()  # which has not seen the 110
    after.restore(tracked, 0, NOW)
    after.on_market([quote(106.0, 106.0)], NOW)
    assert UpdateKind.TRIGGERED not in kinds(after.take_updates())
    after.on_market([quote(104.0, 104.0)], NOW)
    assert kinds(after.take_updates()) == [UpdateKind.TRIGGERED, UpdateKind.FILL]
