"""What a strategy asks of its desk: orders that are refused with a reason, or become commands."""

import math
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.base import Subscription
from feeds.events import SECOND, AssetClass, Symbol
from runtime.commands import CancelOrder, Command, Log, Submit, Train
from runtime.desk import Desk
from runtime.errors import StrategyError
from runtime.securities import Resolution
from runtime.testing import run_on_events
from runtime.trading.orders import (
    Fill,
    OrderState,
    OrderTerms,
    OrderType,
    OrderUpdate,
    UpdateKind,
)
from runtime.trading.portfolio import Portfolio
from runtime.trading.risk import RiskGate, lot_size, standard_checks
from runtime.trading.tickets import OrderTicket
from runtime.training.control import TrainingControl
from runtime.training.jobs import JobOptions
from tests.stories.market import BTC, SPY, T0, Recorder, moments, once, quote, trade

NO_FEE = {"fee_bps": 0.0}


def no_statistics() -> object:
    raise AssertionError("nobody asks")


def desk(
    cash: Decimal = Decimal(100_000),
    *,
    short: bool = True,
    max_orders_per_second: int | None = None,
) -> Desk:
    made = Desk(
        run_id="r",
        portfolio=Portfolio(cash),
        gate=RiskGate(
            standard_checks(
                short=frozenset({AssetClass.EQUITY}) if short else frozenset(),
                max_orders_per_second=max_orders_per_second,
            )
        ),
        training=TrainingControl(lambda: True, no_statistics),  # type: ignore[arg-type]  # unused
        parameters={},
        time_zone="America/New_York",
        history=100,
        isolations=("thread", "process", "thread"),
    )
    made.now_ns = T0
    made.add(SPY, AssetClass.EQUITY, Resolution.TICK)
    made.add(BTC, AssetClass.CRYPTO, Resolution.TICK)
    made.is_initializing = False
    return made


def price(target: Desk, value: float, symbol: Symbol = SPY) -> None:
    target.lines[symbol].take(trade(0, value, symbol=symbol), [])
    target.portfolio.mark(symbol, value)


def sent(target: Desk) -> list[Command]:
    return [command for command in target.commands if not isinstance(command, Log)]


def fill(target: Desk, ticket: OrderTicket, quantity: Decimal | None = None) -> None:
    """Let an order fill at the last price, whole or in part, without a fee."""
    order = ticket.order
    number = f"{order.id}-{ticket.quantity_filled}"
    amount = quantity or order.quantity
    at = Decimal(str(target.securities[order.symbol].price))
    done = Fill(number, order.id, order.symbol, order.side, amount, at, Decimal(0), T0)
    target.ordering.apply(OrderUpdate(order.id, UpdateKind.FILL, T0, done))


def held(target: Desk, quantity: int, symbol: Symbol = SPY) -> None:
    fill(target, target.order(symbol, Decimal(quantity), OrderTerms(), ""))
    target.commands.clear()
    target.ordering.take_events()


# ---- refused ---------------------------------------------------------------------------------

WRONG = {
    "0": "more than 0",
    "-0": "more than 0",
    "NaN": "the quantity is NaN",
    "-NaN": "the quantity is NaN",
    "sNaN": "the quantity is sNaN",
    "Infinity": "the quantity is Infinity",
    "-Infinity": "the quantity is Infinity",
    "1E+30": "at most 1000000000000000",
    "0.5": "not a multiple of 1",
}


@pytest.mark.parametrize(("quantity", "reason"), WRONG.items())
def test_a_quantity_that_is_none_is_refused_with_its_reason(quantity: str, reason: str) -> None:
    target = desk()
    price(target, 100.0)
    ticket = target.order(SPY, Decimal(quantity), OrderTerms(), "")
    assert ticket.status is OrderState.REJECTED
    assert reason in ticket.reason
    assert sent(target) == []
    (event,) = target.ordering.take_events()
    assert (event.status, event.message) == (OrderState.REJECTED, ticket.reason)


@pytest.mark.parametrize("limit", ["0", "-1", "NaN", "Infinity", "1E+30"])
def test_a_limit_that_is_none_is_refused(limit: str) -> None:
    target = desk()
    price(target, 100.0)
    ticket = target.order(SPY, Decimal(1), OrderTerms(OrderType.LIMIT, Decimal(limit)), "")
    assert "the limit price is" in ticket.reason
    assert sent(target) == []


def test_an_unknown_symbol_is_refused() -> None:
    target = desk()
    ticket = target.order(Symbol("QQQ"), Decimal(1), OrderTerms(), "")
    assert ticket.reason == "QQQ is unknown: add it in initialize"
    assert sent(target) == []


def test_without_a_price_nothing_is_ordered() -> None:
    target = desk()
    assert "no price yet" in target.order(SPY, Decimal(1), OrderTerms(), "").reason
    assert target.target(SPY, 1.0, "") is None
    assert sent(target) == []


def test_after_the_stop_everything_is_refused_and_the_unsent_is_taken_back() -> None:
    target = desk()
    price(target, 100.0)
    early = target.order(SPY, Decimal(1), OrderTerms(), "")
    target.stop()
    late = target.order(SPY, Decimal(1), OrderTerms(), "")
    assert early.status is late.status is OrderState.REJECTED
    assert "not sent" in early.reason
    assert "stopping" in late.reason
    assert sent(target) == []
    assert target.ordering.open_orders == []


@given(
    quantity=st.floats() | st.integers(-(10**20), 10**20) | st.decimals(allow_nan=False),
    limit=st.none() | st.floats(),
    last=st.floats(),
)
def test_only_sane_orders_leave(
    quantity: float | Decimal, limit: float | None, last: float
) -> None:
    target = desk()
    price(target, last)
    kind = OrderType.MARKET if limit is None else OrderType.LIMIT
    at = None if limit is None else Decimal(str(limit))
    ticket = target.order(SPY, Decimal(str(quantity)), OrderTerms(kind, at), "")
    if not sent(target):
        assert ticket.status is OrderState.REJECTED
        assert ticket.reason
        return
    (command,) = sent(target)
    assert isinstance(command, Submit)
    order = command.approved.order
    assert order.quantity.is_finite()
    assert order.quantity >= 1
    assert 0 < last < math.inf
    assert order.limit_price is None or order.limit_price > 0


# ---- set_holdings ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weight", "last", "expected"),
    [
        (1.0, 100.0, "997"),  # a quarter of a percent stays free
        (0.5, 100.0, "498"),
        (-0.5, 100.0, "-498"),  # towards zero on both sides
        (1.0, 99_000.0, "1"),
        (1.0, 99_800.0, None),  # less than a share
        (0.0, 100.0, None),
        (0.001, 100.0, None),  # less than a thousandth of the equity is not worth an order
        (0.0021, 100.0, "2"),
    ],
)
def test_set_holdings_orders_the_weight_in_whole_lots(
    weight: float, last: float, expected: str | None
) -> None:
    target = desk()
    price(target, last)
    ticket = target.target(SPY, weight, "")
    assert (None if ticket is None else str(ticket.order.signed_quantity)) == expected


def test_set_holdings_counts_what_is_held_and_what_is_on_the_way() -> None:
    target = desk()
    price(target, 100.0)
    first = target.target(SPY, 0.5, "")
    assert first is not None
    assert target.target(SPY, 0.5, "") is None
    fill(target, first, Decimal(100))
    assert target.target(SPY, 0.5, "") is None
    more = target.target(SPY, 0.6, "")
    assert more is not None
    assert more.order.signed_quantity == 598 - 498
    fill(target, first, Decimal(398))
    back = target.target(SPY, 0.0, "")
    assert back is not None
    assert back.order.signed_quantity == -598


def test_set_holdings_does_not_count_limit_orders() -> None:
    """A take-profit far away must not double the position, nor a low bid turn it short."""
    target = desk()
    price(target, 100.0)
    held(target, 997)
    target.order(SPY, Decimal(-997), OrderTerms(OrderType.LIMIT, Decimal(150)), "")
    assert target.target(SPY, 1.0, "") is None
    flat = desk()
    price(flat, 100.0)
    flat.order(SPY, Decimal(10), OrderTerms(OrderType.LIMIT, Decimal(50)), "")
    assert flat.target(SPY, 0.0, "") is None


@pytest.mark.parametrize("weight", [math.nan, math.inf, -math.inf])
def test_a_weight_must_be_finite(weight: float) -> None:
    target = desk()
    price(target, 100.0)
    with pytest.raises(StrategyError, match="a finite weight is needed"):
        target.target(SPY, weight, "")


@pytest.mark.parametrize("last", [math.nan, 0.0, -1.0, math.inf])
def test_set_holdings_without_a_sane_price_does_nothing(last: float) -> None:
    target = desk()
    target.securities[SPY].price = last
    target.securities[SPY].updated = 1
    assert target.target(SPY, 1.0, "") is None
    assert sent(target) == []


@given(
    weight=st.floats(-1.0, 1.0),
    last=st.floats(0.01, 1e6),
    cash=st.integers(0, 10**7),
    symbol=st.sampled_from([SPY, BTC]),
)
def test_set_holdings_never_asks_for_more_than_the_weight(
    weight: float, last: float, cash: int, symbol: Symbol
) -> None:
    target = desk(Decimal(cash))
    price(target, last, symbol)
    ticket = target.target(symbol, weight, "")
    if ticket is None:
        return
    amount = ticket.order.signed_quantity
    worth = amount * Decimal(str(last))
    assert not amount % lot_size(target.securities[symbol].asset_class)
    assert abs(worth) <= abs(Decimal(str(weight))) * cash
    assert (worth > 0) == (weight > 0)
    if weight > 0:
        assert ticket.status is OrderState.SUBMITTED, ticket.reason


# ---- liquidate -------------------------------------------------------------------------------


@pytest.mark.parametrize("short", [True, False])
def test_liquidate_cancels_limits_and_closes_what_is_held(short: bool) -> None:
    """Also where the symbol may not be sold short: the cancelled limit doesn't stand in the way."""
    target = desk(short=short)
    price(target, 100.0)
    held(target, 10)
    limit = target.order(SPY, Decimal(-10), OrderTerms(OrderType.LIMIT, Decimal(150)), "")
    target.commands.clear()
    (ticket,) = target.liquidate(SPY, "out")
    assert limit.status is OrderState.CANCEL_PENDING
    assert (str(ticket.order.signed_quantity), ticket.tag) == ("-10", "out")
    cancel, close = sent(target)
    assert isinstance(cancel, CancelOrder)
    assert isinstance(close, Submit)


def test_liquidate_counts_what_is_on_the_way_and_does_not_close_twice() -> None:
    target = desk()
    price(target, 100.0)
    assert target.liquidate(None, "") == []
    held(target, 10)
    target.order(SPY, Decimal(5), OrderTerms(), "")
    (ticket,) = target.liquidate(None, "")
    assert ticket.order.signed_quantity == -15
    assert target.liquidate(None, "") == []


def test_liquidate_one_symbol_leaves_the_others() -> None:
    target = desk(Decimal(10**6))
    price(target, 100.0)
    price(target, 50_000.0, BTC)
    held(target, 10)
    held(target, 1, BTC)
    (ticket,) = target.liquidate(BTC, "")
    assert ticket.symbol == BTC


# ---- the rest --------------------------------------------------------------------------------


def test_each_symbol_is_subscribed_once() -> None:
    target = desk()
    assert target.subscriptions == [
        Subscription(SPY, AssetClass.EQUITY),
        Subscription(BTC, AssetClass.CRYPTO),
    ]
    target.is_initializing = True
    assert target.add(SPY, AssetClass.EQUITY, Resolution.TICK) is target.securities[SPY]
    assert len(target.subscriptions) == 2


@pytest.mark.parametrize("zone", ["Mars/Base", "../etc/passwd", "", "\0"])
def test_a_zone_must_exist(zone: str) -> None:
    with pytest.raises(StrategyError, match="an IANA name such as UTC is needed"):
        desk().set_time_zone(zone)


def test_time_is_in_the_zone_that_was_set() -> None:
    target = desk()
    assert str(target.time) == "2024-01-01 19:00:00-05:00"
    target.set_time_zone("Asia/Tokyo")
    assert str(target.time) == "2024-01-02 09:00:00+09:00"


@pytest.mark.parametrize("ask", [Desk.history, Desk.tick_history])
def test_history_of_a_stranger_names_what_was_added(ask: Callable[..., object]) -> None:
    with pytest.raises(StrategyError, match=r"QQQ was not added .*\(added: SPY, BTC/USD\)"):
        ask(desk(), Symbol("QQQ"), 1)


@pytest.mark.parametrize("is_cancelling", [False, True])
@pytest.mark.parametrize("answer", [UpdateKind.ACCEPTED, UpdateKind.REJECTED])
def test_nothing_opens_beside_an_order_nobody_knows_of(
    is_cancelling: bool, answer: UpdateKind
) -> None:
    """Row 43: a lost answer, and a strategy that orders once more."""
    target = desk()
    price(target, 100.0)
    price(target, 50_000.0, BTC)
    orders = target.ordering
    first = orders.propose(SPY, Decimal(10), OrderTerms(), "")
    orders.apply(OrderUpdate(first.order_id, UpdateKind.LOST, T0))
    if is_cancelling:
        orders.cancel(first.order_id)
    for quantity in (1, -1):
        again = orders.propose(SPY, Decimal(quantity), OrderTerms(), "")
        assert again.status is OrderState.REJECTED
        assert (
            again.reason
            == f"nobody can say yet what became of {first.order_id}: nothing of SPY opens"
        )
    assert orders.propose(BTC, Decimal(1), OrderTerms(), "").status is OrderState.SUBMITTED
    orders.apply(OrderUpdate(first.order_id, answer, T0))
    assert orders.propose(SPY, Decimal(1), OrderTerms(), "").status is OrderState.SUBMITTED


def test_what_closes_may_leave_beside_an_order_nobody_knows_of() -> None:
    target = desk()
    price(target, 100.0)
    orders = target.ordering
    held(target, 10)
    lost = orders.propose(SPY, Decimal(5), OrderTerms(), "")
    orders.apply(OrderUpdate(lost.order_id, UpdateKind.LOST, T0))
    assert orders.propose(SPY, Decimal(-10), OrderTerms(), "").status is OrderState.SUBMITTED
    assert orders.propose(SPY, Decimal(-1), OrderTerms(), "").status is OrderState.REJECTED


def test_liquidate_closes_what_is_surely_held_beside_an_order_nobody_knows_of() -> None:
    target = desk()
    price(target, 100.0)
    held(target, 10)
    lost = target.order(SPY, Decimal(5), OrderTerms(), "")
    target.ordering.apply(OrderUpdate(lost.order_id, UpdateKind.LOST, T0))
    (ticket,) = target.liquidate(SPY, "")
    assert ticket.order.signed_quantity == -10
    assert ticket.status is OrderState.SUBMITTED


def test_a_share_of_what_nobody_can_value_is_not_ordered() -> None:
    """5,000 euros without a rate count nothing: half of the rest would sell what is held."""
    target = desk()
    target.portfolio.cash_book.settle("USD")
    price(target, 100.0)
    held(target, 500)
    target.portfolio.deposit(Decimal(100_000), "EUR")
    assert target.target(SPY, 0.25, "") is None
    (line,) = target.commands
    assert isinstance(line, Log)
    assert line.fields == {"symbol": SPY, "currency": "EUR"}
    ticket = target.target(SPY, 0, "")  # nothing has to be valued for that
    assert ticket is not None
    assert ticket.order.signed_quantity == -500


def test_other_terms_count_among_the_orders_of_a_second() -> None:
    target = desk(max_orders_per_second=3)
    price(target, 100.0)
    ticket = target.order(SPY, Decimal(1), OrderTerms(OrderType.LIMIT, Decimal(50)), "")
    target.ordering.apply(OrderUpdate(ticket.order_id, UpdateKind.ACCEPTED, T0))

    def amend(limit: int) -> bool:
        asked = ticket.update(limit_price=limit)
        terms = target.ordering.orders[ticket.order_id].wanted
        if terms is not None:
            target.ordering.apply(OrderUpdate(ticket.order_id, UpdateKind.AMENDED, T0, terms=terms))
        return asked

    assert [amend(limit) for limit in (51, 52, 53)] == [True, True, False]
    refused = target.order(SPY, Decimal(1), OrderTerms(), "")
    assert refused.reason == "3 orders have left within a second, the limit"
    target.now_ns += SECOND
    assert amend(54)


def test_a_report_on_an_unknown_order_is_logged_and_changes_nothing() -> None:
    target = desk()
    target.ordering.apply(OrderUpdate("x", UpdateKind.ACCEPTED, T0))  # type: ignore[arg-type]  # any text
    (line,) = target.commands
    assert isinstance(line, Log)
    assert line.event == "report on an unknown order"
    assert target.ordering.take_events() == []


def test_a_log_field_may_be_named_event() -> None:
    """Whoever writes the line keeps it apart from the message."""
    target = desk()
    target.log("info", "said", {"event": "x"})
    assert target.commands == [Log("info", "said", {"event": "x"})]


# ---- through the whole engine ----------------------------------------------------------------


@pytest.mark.parametrize("quantity", [0, -0.0, math.nan, math.inf, -math.inf, 1e30, 0.5])
async def test_no_wrong_order_reaches_the_broker(quantity: float) -> None:
    strategy = Recorder(act=once(lambda s: s.market_order(s.symbol, quantity)))
    outcome = await run_on_events(strategy, moments(quote(1), quote(2)))
    assert outcome.failure is None
    (event,) = strategy.order_events
    assert event.status is OrderState.REJECTED
    assert outcome.equity == "100000.00"


async def test_an_order_fills_in_parts_as_the_quotes_show_size() -> None:
    strategy = Recorder(act=once(lambda s: s.market_order(s.symbol, 10)))
    await run_on_events(
        strategy, moments(*(quote(n, size=4.0) for n in range(1, 5))), trading=NO_FEE
    )
    parts = [
        (e.status, int(e.fill_quantity), int(e.filled_quantity)) for e in strategy.order_events
    ]
    assert parts == [
        (OrderState.ACCEPTED, 0, 0),
        (OrderState.PARTIALLY_FILLED, 4, 4),
        (OrderState.PARTIALLY_FILLED, 4, 8),
        (OrderState.FILLED, 2, 10),
    ]
    assert strategy.portfolio[SPY].quantity == 10
    assert strategy.portfolio[SPY].average_price == 101


async def test_liquidate_in_a_run_ends_flat_with_no_order_left() -> None:
    def act(strategy: Recorder, _: object) -> None:
        match len(strategy.slices):
            case 1:
                strategy.market_order(BTC, 1)
            case 2:
                strategy.limit_order(BTC, -1, 200)
            case 3:
                strategy.liquidate()

    strategy = Recorder(BTC, act=act)
    tape = moments(*(quote(n, symbol=BTC) for n in range(1, 6)))
    outcome = await run_on_events(strategy, tape, trading=NO_FEE)
    assert outcome.failure is None
    assert not strategy.portfolio.invested
    assert [e.status for e in strategy.order_events].count(OrderState.CANCELLED) == 1
    assert outcome.profit == "-2.00"  # bought at 101, sold at 99


def test_a_job_is_run_as_it_asks_and_else_as_the_run_does() -> None:
    target = desk()
    options = [JobOptions(), JobOptions("process", timeout_ns=5, retries=2)]
    for one in options:
        target.train(lambda: 1, None, "fit", one)
    asked = [command.request for command in target.commands if isinstance(command, Train)]
    assert [one.isolation for one in asked] == ["thread", "process"]
    assert (asked[1].timeout_ns, asked[1].retries) == (5, 2)


def test_an_unknown_isolation_is_one_sentence_at_once() -> None:
    with pytest.raises(StrategyError) as caught:
        desk().train(lambda: 1, None, "fit", JobOptions("proces"))
    assert str(caught.value) == "train(isolation='proces'): allowed are process, thread"


def test_the_spans_of_bars_follow_what_is_added_consolidated_and_removed() -> None:
    """Trades may be taken together up to the end of one; where they are shown, never: 0."""
    made = desk()
    assert made.bar_spans == {0}
    made.remove(SPY)
    made.remove(BTC)
    assert made.bar_spans == frozenset()
    made.add(SPY, AssetClass.EQUITY, Resolution.SECOND)
    assert made.bar_spans == {10**9}
    made.consolidate(SPY, timedelta(seconds=7), lambda _: None)
    assert made.bar_spans == {10**9, 7 * 10**9}
    made.add(BTC, AssetClass.CRYPTO, Resolution.TICK)
    assert 0 in made.bar_spans
