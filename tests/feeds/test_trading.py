"""The venue's trading core: what is asked, what the market does, and what the account comes to."""

from contextlib import suppress
from decimal import Decimal
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.events import SECOND, AssetClass, Quote, Symbol
from feeds.venue.accounts import Account, OrderStatus
from feeds.venue.costs import PercentFee
from feeds.venue.matching import Matcher
from feeds.venue.orders import EXACT, ZERO
from feeds.venue.trading import Change, Exchange
from feeds.venue.trading_words import (
    OrderRequest,
    Refusal,
    Replacement,
    order_body,
    parse,
    text,
    update_body,
)

SPY, BTC = Symbol("SPY"), Symbol("BTC/USD")
KEY = str(UUID(int=7))
NOW = 1_700_000_000 * SECOND


def quote(bid: float, ask: float, size: float = 100.0, symbol: Symbol = SPY, n: int = 0) -> Quote:
    return Quote(symbol, NOW + n, NOW + n, bid, size, ask, size)


def exchange(cash: str = "100000", account: Account | None = None) -> Exchange:
    return Exchange(
        account or Account(KEY, Decimal(cash), NOW),
        Matcher(fees=PercentFee(ZERO)),
        lambda symbol, asset_class, now: symbol != "NONE",
        NOW,
    )


def wanted(side: str = "buy", qty: str = "2", **more: object) -> OrderRequest:
    fields = {"symbol": "SPY", "side": side, "qty": qty, **more}
    return msgspec.convert(fields, OrderRequest, strict=False)


def events(changes: list[Change]) -> list[str]:
    return [change.event for change in changes]


def test_an_order_fills_moves_money_and_tells_of_it() -> None:
    it = exchange()
    it.on_market([quote(99.0, 100.0, 1.0)], NOW)
    order = it.place(wanted(), NOW)
    assert order.status is OrderStatus.PARTIALLY_FILLED
    it.on_market([quote(99.0, 101.0, 5.0, n=1)], NOW + 1)
    changes = it.take_changes()
    assert events(changes) == ["new", "partial_fill", "fill"]
    assert it.account.cash == Decimal(99799)
    assert it.account.held(SPY) == 2
    assert it.account.orders[order.id].average_price == Decimal("100.5")
    told = update_body("fill", changes[2].order, changes[2].execution, NOW + 1)
    assert (told["price"], told["qty"], told["position_qty"]) == ("101", "1", "2")
    assert told["order"]["filled_qty"] == "2"
    assert it.take_changes() == []


def test_a_client_order_id_is_good_once_also_after_its_end() -> None:
    it = exchange()
    it.place(wanted(client_order_id="a"), NOW)
    it.cancel(it.account.by_client_id("a").id, NOW)  # type: ignore[union-attr]
    with pytest.raises(Refusal, match="client_order_id must be unique") as refused:
        it.place(wanted(client_order_id="a"), NOW)
    assert refused.value.status == 422
    assert refused.value.body["code"] == 42210000
    assert len(it.account.orders) == 1


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        (wanted("hold"), 422, "invalid side"),
        (wanted(qty="0"), 422, "qty must be above 0"),
        (wanted(qty="-1"), 422, "qty must be above 0"),
        (wanted(qty="NaN"), 422, "qty must be above 0"),
        (wanted(qty="1e30"), 422, "qty must be above 0"),
        (wanted(type="limit"), 422, "limit orders require limit_price"),
        (wanted(limit_price="1"), 422, "market orders must not have limit_price"),
        (wanted(notional="5"), 422, "not both"),
        (wanted(type="iceberg"), 422, "invalid order type"),
        (wanted(time_in_force="fortnight"), 422, "invalid us_equity time_in_force"),
        (wanted(symbol="BTC/USD", time_in_force="day"), 422, "gtc, ioc are allowed"),
        (wanted(symbol="NONE"), 422, "asset NONE is not found"),
        (wanted(order_class="bracket"), 422, "is not offered"),
        (wanted(qty="100000"), 403, "insufficient buying power"),
        (wanted("sell", symbol="BTC/USD", time_in_force="gtc"), 403, "insufficient balance"),
    ],
)
def test_what_is_no_order_is_refused_and_changes_nothing(
    request_: OrderRequest, status: int, words: str
) -> None:
    it = exchange()
    it.on_market([quote(99.0, 100.0)], NOW)
    with pytest.raises(Refusal, match=words) as refused:
        it.place(request_, NOW)
    assert refused.value.status == status
    assert it.take_changes() == []
    assert it.account.orders == {}


def test_only_what_works_can_be_cancelled() -> None:
    it = exchange()
    order = it.place(wanted(type="limit", limit_price="1"), NOW)
    it.cancel(order.id, NOW)
    assert events(it.take_changes()) == ["new", "canceled"]
    with pytest.raises(Refusal, match='already in "canceled" state') as refused:
        it.cancel(order.id, NOW)
    assert refused.value.status == 422
    with pytest.raises(Refusal, match="order not found") as missing:
        it.cancel("nobody", NOW)
    assert missing.value.status == 404


def test_a_replacement_keeps_what_has_filled() -> None:
    it = exchange()
    it.on_market([quote(99.0, 100.0, 1.0)], NOW)
    old = it.place(wanted(qty="3", type="limit", limit_price="100", client_order_id="a"), NOW)
    new = it.replace(old.id, Replacement(limit_price=Decimal(101), client_order_id="b"), NOW)
    it.on_market([quote(99.0, 101.0, 9.0, n=1)], NOW + 1)
    changes = it.take_changes()
    assert events(changes) == ["new", "partial_fill", "replaced", "new", "fill"]
    assert changes[2].order.replaced_by == new.id
    ended = it.account.orders[new.id]
    assert (ended.replaces, ended.filled, ended.status) == (old.id, Decimal(3), OrderStatus.FILLED)
    assert it.account.held(SPY) == 3


def test_a_position_is_closed_by_a_market_order() -> None:
    it = exchange()
    it.on_market([quote(99.0, 100.0)], NOW)
    it.place(wanted(), NOW)
    it.close("SPY", None, NOW)
    it.on_market([quote(99.0, 100.0, n=1)], NOW + 1)
    assert it.account.holdings == {}
    with pytest.raises(Refusal, match="position does not exist"):
        it.close("SPY", None, NOW)


def test_an_account_built_again_goes_on_with_what_worked() -> None:
    """As a restart does it: orders with what they lack, executions numbered on."""
    it = exchange()
    it.on_market([quote(99.0, 100.0, 1.0)], NOW)
    order = it.place(wanted(qty="3"), NOW)
    again = Account(KEY, Decimal(100000), NOW)
    for each in it.account.orders.values():
        again.put(msgspec.json.decode(msgspec.json.encode(each), type=type(each)))
    for execution in it.account.executions:
        again.execute(execution, AssetClass.EQUITY)
    after = exchange(account=again)
    after.on_market([quote(99.0, 100.0, 9.0, n=1)], NOW + 1)
    (change,) = after.take_changes()
    assert change.event == "fill"
    assert change.order.id == order.id
    assert change.execution is not None
    assert change.execution.quantity == 2
    assert len({each.id for each in again.executions}) == 2
    assert again.held(SPY) == 3


prices = st.integers(90, 110).map(float)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("quote"), prices, st.integers(1, 5)),
            st.tuples(st.sampled_from(["buy", "sell"]), prices, st.integers(1, 5)),
            st.tuples(st.just("cancel"), prices, st.integers(0, 9)),
        ),
        max_size=40,
    )
)
def test_money_is_moved_and_never_made(steps: list[tuple[str, float, int]]) -> None:
    """Cash and shares are those of the executions; totals of orders are too."""
    it = exchange("5000")
    for n, (what, price, amount) in enumerate(steps):
        try:
            if what == "quote":
                it.on_market([quote(price, price + 1, float(amount), n=n)], NOW + n)
            elif what == "cancel":
                it.cancel(list(it.account.orders)[amount], NOW + n)
            else:
                force, limit = ("ioc", None) if amount % 2 else ("gtc", str(price))
                kind = "market" if limit is None else "limit"
                it.place(
                    wanted(what, str(amount), type=kind, limit_price=limit, time_in_force=force),
                    NOW + n,
                )
        except (Refusal, IndexError):
            continue
    cash, held = Decimal(5000), ZERO
    for execution in it.account.executions:
        sign = 1 if execution.is_buy else -1
        cash -= sign * execution.quantity * execution.price
        held += sign * execution.quantity
    assert it.account.cash == cash
    assert it.account.held(SPY) == held
    for order in it.account.orders.values():
        own = [e.quantity for e in it.account.executions if e.order_id == order.id]
        assert order.filled == sum(own, ZERO) <= order.quantity
        assert (order.filled == order.quantity) == (order.status is OrderStatus.FILLED)
        assert order_body(order)["client_order_id"] == order.client_order_id
    told = [c.execution for c in it.take_changes() if c.execution is not None]
    assert told == it.account.executions


@given(st.lists(st.tuples(st.integers(-5, 5).filter(bool), st.integers(1, 200)), max_size=30))
def test_what_a_holding_cost_is_what_closing_it_releases(fills: list[tuple[int, int]]) -> None:
    """Flat again, nothing is left of the cost."""
    from feeds.venue.accounts import Holding

    holding = Holding(SPY, AssetClass.EQUITY)
    for change, price in fills:
        holding.take(Decimal(change), Decimal(price))
    if holding.quantity:
        assert (holding.cost > 0) == (holding.quantity > 0)
        holding.take(-holding.quantity, Decimal(1))
    assert holding.quantity == holding.cost == 0


@given(st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-1e9, max_value=1e9))
def test_money_is_written_without_an_exponent(value: Decimal) -> None:
    written = text(value)
    assert written is not None
    assert "e" not in written.lower()
    assert Decimal(written) == value


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_body_is_an_order_or_a_refusal(body: bytes) -> None:
    with suppress(Refusal):
        assert isinstance(parse(body, OrderRequest), OrderRequest)


def test_numbers_may_come_as_text_or_as_numbers() -> None:
    body = b'{"symbol":"SPY","side":"buy","qty":1.5,"limit_price":"2.25","unheard_of":1}'
    read = parse(body, OrderRequest)
    assert (read.qty, read.limit_price) == (Decimal("1.5"), Decimal("2.25"))
    assert EXACT.multiply(read.qty or ZERO, 2) == 3
