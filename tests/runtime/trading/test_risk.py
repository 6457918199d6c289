"""Each check of the gate meets someone who tries to get past it."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.events import AssetClass, Symbol
from runtime.trading.orders import (
    LARGEST,
    ClientOrderId,
    Fill,
    Order,
    OrderType,
    OrderUpdate,
    Side,
    UpdateKind,
)
from runtime.trading.portfolio import Portfolio
from runtime.trading.risk import (
    Approved,
    Refused,
    RiskGate,
    RiskView,
    lot_size,
    risk_view,
    standard_checks,
)
from runtime.trading.tracked import TrackedOrder

AAPL, BTC = Symbol("AAPL"), Symbol("BTC/USD")
GATE = RiskGate(standard_checks(max_order_value=Decimal(50_000), max_open_orders=3))
VIEW = RiskView(AssetClass.EQUITY, 100.0, free_cash=Decimal(10_000))
COIN = RiskView(AssetClass.CRYPTO, 100.0, free_cash=Decimal(10_000))


def order(
    quantity: str | Decimal = "10",
    side: Side = Side.BUY,
    limit: str | Decimal | None = None,
    symbol: Symbol = AAPL,
) -> Order:
    return Order(
        id=ClientOrderId("o1"),
        symbol=symbol,
        side=side,
        quantity=Decimal(quantity),
        type=OrderType.MARKET if limit is None else OrderType.LIMIT,
        limit_price=None if limit is None else Decimal(limit),
    )


def refusal(proposed: Order, view: RiskView = VIEW, gate: RiskGate = GATE) -> str:
    verdict = gate.review(proposed, view)
    assert isinstance(verdict, Refused)
    assert verdict.order is proposed
    return verdict.reason


def passes(proposed: Order, view: RiskView = VIEW) -> bool:
    verdict = GATE.review(proposed, view)
    return isinstance(verdict, Approved) and verdict.order is proposed


def test_a_sound_order_passes() -> None:
    assert passes(order())
    assert passes(order(limit="99.5"))
    assert passes(order("0.00000001", symbol=BTC), COIN)


def test_nobody_else_makes_an_approved() -> None:
    with pytest.raises(TypeError):
        Approved(order("NaN"), object())


def test_an_approved_cannot_be_given_another_order() -> None:
    verdict = GATE.review(order(), VIEW)
    assert isinstance(verdict, Approved)
    with pytest.raises(AttributeError):
        verdict.order = order("1e30")  # type: ignore[misc]


def test_approvals_of_the_same_order_are_equal() -> None:
    first, second = GATE.review(order(), VIEW), GATE.review(order(), VIEW)
    assert first == second
    assert hash(first) == hash(second)
    assert repr(first) == f"Approved({order()!r})"
    assert first != GATE.review(order("11"), VIEW)


@pytest.mark.parametrize(
    "quantity", ["NaN", "sNaN", "Infinity", "-Infinity", "0", "-0", "-1", "1e30", "1e999999"]
)
def test_a_quantity_that_is_no_quantity_is_refused(quantity: str) -> None:
    assert "the quantity is" in refusal(order(quantity))
    assert "the quantity is" in refusal(order(quantity), gate=RiskGate([]))


def test_a_float_is_no_quantity() -> None:
    sneaked = msgspec.structs.replace(order(), quantity=10.0)
    assert "a Decimal is needed" in refusal(sneaked)


@pytest.mark.parametrize("limit", ["NaN", "sNaN", "Infinity", "0", "-5", "1e30"])
def test_a_limit_that_is_no_price_is_refused(limit: str) -> None:
    assert "the limit price is" in refusal(order(limit=limit))


def test_a_limit_belongs_to_a_limit_order_and_to_no_other() -> None:
    missing = msgspec.structs.replace(order(limit="5"), limit_price=None)
    assert "a limit order needs a limit price" in refusal(missing)
    surplus = msgspec.structs.replace(order(), limit_price=Decimal(5))
    assert "a market order has no limit price" in refusal(surplus)


def test_an_unknown_symbol_is_refused() -> None:
    view = msgspec.structs.replace(VIEW, asset_class=None)
    assert refusal(order(symbol=Symbol("GME")), view) == "GME is unknown: add it in initialize"


@pytest.mark.parametrize("price", [float("nan"), float("inf"), 0.0, -1.0, 1e116])
def test_a_price_that_is_no_price_is_refused(price: float) -> None:
    view = msgspec.structs.replace(VIEW, price=price)
    assert "no sane price" in refusal(order(limit="100"), view)


def test_an_order_before_the_first_price_is_refused() -> None:
    view = msgspec.structs.replace(VIEW, price=None)
    assert refusal(order(), view) == "AAPL has no price yet"


def test_nothing_leaves_during_warm_up() -> None:
    view = msgspec.structs.replace(VIEW, warming_up=True)
    assert refusal(order(), view, RiskGate([])) == "the strategy is warming up"


def test_nothing_leaves_after_a_halt_not_even_what_reduces() -> None:
    view = msgspec.structs.replace(VIEW, halted="operator", position=Decimal(10))
    assert refusal(order(side=Side.SELL), view, RiskGate([])) == "trading is halted: operator"


@pytest.mark.parametrize(
    ("quantity", "view"),
    [("0.5", VIEW), ("10.00000000000000000000000000000000000001", VIEW), ("0.000000015", COIN)],
)
def test_a_quantity_between_lots_is_refused(quantity: str, view: RiskView) -> None:
    assert "not a multiple of" in refusal(order(quantity), view)


def test_lots_by_asset_class() -> None:
    assert lot_size(AssetClass.EQUITY) == 1
    assert lot_size(AssetClass.CRYPTO) == lot_size(AssetClass.FOREX) == Decimal("1e-8")


def test_one_order_over_the_largest_value_is_refused() -> None:
    rich = msgspec.structs.replace(VIEW, free_cash=Decimal(10**9))
    assert passes(order("500"), rich)
    assert "more than 50000" in refusal(order("501"), rich)
    # A high limit makes a small order large.
    assert "more than 50000" in refusal(order("500", limit="100.01"), rich)
    # A low limit does not make a large short sale small: it fills at the market.
    assert "more than 50000" in refusal(order("501", Side.SELL, limit="1"), rich)


def test_the_order_after_the_last_open_one_is_refused() -> None:
    assert passes(order(), msgspec.structs.replace(VIEW, open_orders=2))
    assert "3 orders are open" in refusal(order(), msgspec.structs.replace(VIEW, open_orders=3))


def test_what_is_opened_must_be_paid_for() -> None:
    assert passes(order("100"))
    assert "10000.00 is free" in refusal(order("101"))
    assert "10000.00 is free" in refusal(order("100", limit="100.01"))
    assert "10000.00 is free" in refusal(order("101", Side.SELL))


def test_what_is_closed_needs_no_cash() -> None:
    poor = msgspec.structs.replace(VIEW, free_cash=Decimal(-500))
    long = msgspec.structs.replace(poor, position=Decimal(10))
    short = msgspec.structs.replace(poor, position=Decimal(-10))
    assert passes(order("10", Side.SELL), long)
    assert passes(order("10", Side.BUY), short)
    assert "is free" in refusal(order("1", Side.BUY), long)
    assert "is free" in refusal(order("1", Side.SELL), short)


def test_what_is_closed_pays_for_what_is_opened() -> None:
    view = msgspec.structs.replace(VIEW, free_cash=Decimal(0), position=Decimal(10))
    assert passes(order("20", Side.SELL), view)
    assert "is free" in refusal(order("21", Side.SELL), view)
    view = msgspec.structs.replace(VIEW, free_cash=Decimal(0), position=Decimal(-10))
    assert passes(order("20", Side.BUY), view)
    # Covering at a limit above the market leaves less for the rest.
    assert "is free" in refusal(order("20", Side.BUY, limit="101"), view)


def test_coins_that_are_not_held_cannot_be_sold() -> None:
    assert "cannot be sold short" in refusal(order("1", Side.SELL, symbol=BTC), COIN)
    held = msgspec.structs.replace(COIN, position=Decimal(1))
    assert passes(order("1", Side.SELL, symbol=BTC), held)
    assert "cannot be sold short" in refusal(order("1.00000001", Side.SELL, symbol=BTC), held)


def test_coins_cannot_be_sold_twice() -> None:
    view = msgspec.structs.replace(COIN, position=Decimal(1), pending_sells=Decimal("0.4"))
    assert passes(order("0.6", Side.SELL, symbol=BTC), view)
    assert "cannot be sold short" in refusal(order("0.61", Side.SELL, symbol=BTC), view)


def test_short_selling_is_a_setting() -> None:
    gate = RiskGate(standard_checks(short=frozenset()))
    assert "cannot be sold short" in refusal(order("1", Side.SELL), gate=gate)


def test_checks_are_asked_in_order_and_the_first_decides() -> None:
    gate = RiskGate([lambda order, view: None, lambda order, view: "a", lambda order, view: "b"])
    assert refusal(order(), gate=gate) == "a"


def tracked(proposed: Order, filled: str = "0") -> TrackedOrder:
    result = TrackedOrder(proposed)
    result.submit()
    if Decimal(filled):
        fill = Fill(
            "f",
            proposed.id,
            proposed.symbol,
            proposed.side,
            Decimal(filled),
            Decimal(1),
            Decimal(0),
            0,
        )
        result.apply(OrderUpdate(proposed.id, UpdateKind.FILL, 0, fill))
    return result


def test_the_view_sets_cash_aside_for_open_orders() -> None:
    portfolio = Portfolio(Decimal(10_000))
    portfolio.mark(AAPL, 100.0)
    portfolio.mark(BTC, 50.0)
    view = risk_view(
        AAPL,
        asset_class=AssetClass.EQUITY,
        price=100.0,
        portfolio=portfolio,
        open_orders=[
            tracked(order("10"), filled="4"),  # 6 left at the last price of 100
            tracked(order("2", symbol=BTC, limit="60")),  # at its limit of 60
            tracked(order("3", Side.SELL, limit="90")),  # a short, at the last price of 100
        ],
    )
    assert view == RiskView(
        AssetClass.EQUITY,
        100.0,
        pending_buys=Decimal(6),
        pending_sells=Decimal(3),
        free_cash=Decimal(10_000 - 600 - 120 - 300),
        open_orders=3,
    )


def test_the_view_sets_nothing_aside_for_orders_that_close() -> None:
    portfolio = Portfolio(Decimal(10_000))
    bought = order("10")
    portfolio.apply(Fill("f", bought.id, AAPL, Side.BUY, Decimal(10), Decimal(100), Decimal(0), 0))
    view = risk_view(
        AAPL,
        asset_class=AssetClass.EQUITY,
        price=100.0,
        portfolio=portfolio,
        open_orders=[tracked(order("10", Side.SELL))],
        halted="operator",
    )
    assert view.free_cash == 9_000
    assert view.position == view.pending_sells == 10
    assert view.halted == "operator"


POSITION = RiskGate(standard_checks(max_position_value=Decimal(1_000)))


@pytest.mark.parametrize(
    ("proposed", "held", "buys", "sells"),
    [
        (order("11"), 0, 0, 0),  # in one step
        (order("1"), 10, 0, 0),  # in small ones
        (order("1"), 0, 10, 0),  # while all of it is still on its way
        (order("1"), 4, 6, 0),
        (order("4", limit="300"), 0, 0, 0),  # by a price that is far above the market
        (order("21", Side.SELL), 10, 0, 0),  # through the other side
        (order("11", Side.SELL), 0, 0, 0),
        (order("1", Side.SELL), 5, 0, 15),
    ],
)
def test_no_way_leads_to_a_position_over_the_largest_value(
    proposed: Order, held: int, buys: int, sells: int
) -> None:
    view = msgspec.structs.replace(
        VIEW, position=Decimal(held), pending_buys=Decimal(buys), pending_sells=Decimal(sells)
    )
    assert refusal(proposed, view, POSITION).startswith("the position would be worth 1")


def test_a_position_that_has_outgrown_the_largest_value_may_become_smaller() -> None:
    view = msgspec.structs.replace(VIEW, position=Decimal(50))
    assert isinstance(POSITION.review(order("30", Side.SELL), view), Approved)
    assert isinstance(POSITION.review(order("60", Side.SELL), view), Approved)  # 10 short
    assert refusal(order("61", Side.SELL), view, POSITION)
    assert isinstance(
        POSITION.review(order("10"), msgspec.structs.replace(VIEW, free_cash=Decimal(1_000))),
        Approved,
    )


def stop_limit(side: Side, stop: str, limit: str) -> Order:
    return msgspec.structs.replace(
        order("1", side, limit), type=OrderType.STOP_LIMIT, stop_price=Decimal(stop)
    )


@pytest.mark.parametrize(
    ("edge", "beyond"),
    [
        (order("1", limit="105"), order("1", limit="105.01")),
        (order("1", Side.SELL, "95"), order("1", Side.SELL, "94.99")),
        (stop_limit(Side.BUY, "200", "210"), stop_limit(Side.BUY, "200", "210.01")),
        (stop_limit(Side.SELL, "40", "38"), stop_limit(Side.SELL, "40", "37.99")),
    ],
)
def test_a_limit_beyond_the_collar_is_refused(edge: Order, beyond: Order) -> None:
    gate = RiskGate(standard_checks(price_collar=Decimal("0.05")))
    assert isinstance(gate.review(edge, VIEW), Approved)
    assert " is beyond " in refusal(beyond, VIEW, gate)
    # It gives nothing away on the other side, however far.
    assert isinstance(gate.review(order("1", limit="0.01"), VIEW), Approved)
    assert isinstance(gate.review(order("1", Side.SELL, "1000"), VIEW), Approved)


def test_more_orders_than_allowed_within_a_second_are_refused() -> None:
    gate = RiskGate(standard_checks(max_orders_per_second=3))
    full = msgspec.structs.replace(VIEW, recent_orders=3)
    assert isinstance(
        gate.review(order(), msgspec.structs.replace(VIEW, recent_orders=2)), Approved
    )
    for proposed in order(), order("1", Side.SELL), order("1", limit="1"):
        assert refusal(proposed, full, gate) == "3 orders have left within a second, the limit"


WILD = st.one_of(
    st.decimals(),
    st.sampled_from([Decimal(text) for text in ("1e30", "-0", "1e-30", "1e15", "7", "0.00000001")]),
    st.integers(-10, 10**16).map(Decimal),
)
ORDERS = st.builds(
    Order,
    id=st.just(ClientOrderId("o")),
    symbol=st.sampled_from([AAPL, BTC]),
    side=st.sampled_from(Side),
    quantity=WILD,
    type=st.sampled_from(OrderType),
    limit_price=st.none() | WILD,
)
VIEWS = st.builds(
    RiskView,
    asset_class=st.none() | st.sampled_from(AssetClass),
    price=st.none() | st.floats(),
    position=st.integers(-100, 100).map(Decimal),
    pending_buys=st.integers(0, 100).map(Decimal),
    pending_sells=st.integers(0, 100).map(Decimal),
    free_cash=st.integers(-(10**6), 10**18).map(Decimal),
    open_orders=st.integers(0, 4),
    warming_up=st.booleans(),
    halted=st.sampled_from(["", "", "operator"]),
)


@settings(max_examples=400)
@given(ORDERS, VIEWS)
def test_nothing_unsound_ever_leaves(proposed: Order, view: RiskView) -> None:
    """Row 55: whatever is asked, the gate answers, and what it lets through is sound."""
    gate = RiskGate(standard_checks(max_open_orders=3))
    verdict = gate.review(proposed, view)
    if isinstance(verdict, Refused):
        assert verdict.reason
        return
    quantity, limit = verdict.order.quantity, verdict.order.limit_price
    assert quantity.is_finite()
    assert 0 < quantity <= LARGEST
    assert view.asset_class is not None
    assert quantity == quantity.quantize(lot_size(view.asset_class))
    assert (limit is not None) == (proposed.type is OrderType.LIMIT)
    assert limit is None or (limit.is_finite() and 0 < limit <= LARGEST)
    assert view.price is not None
    assert 0 < view.price < float("inf")
    assert not view.warming_up
    assert not view.halted
    assert view.open_orders < 3
