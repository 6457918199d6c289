"""The portfolio against hand-worked cases and against a slow exact model."""

from collections.abc import Sequence
from decimal import Decimal, getcontext, localcontext
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.events import Symbol
from runtime.trading.orders import ClientOrderId, Fill, Side
from runtime.trading.portfolio import RELEASE, Portfolio
from tests.models.portfolio import book_of

A, B = Symbol("AAPL"), Symbol("BTC/USD")
START = Decimal(100_000)


def fill(
    signed: str | Decimal, price: str | Decimal, fee: str | Decimal = "0", symbol: Symbol = A
) -> Fill:
    quantity = Decimal(signed)
    return Fill(
        fill_id="f",
        order_id=ClientOrderId("o"),
        symbol=symbol,
        side=Side.BUY if quantity > 0 else Side.SELL,
        quantity=abs(quantity),
        price=Decimal(price),
        fee=Decimal(fee),
        time=0,
    )


def after(*fills: Fill) -> Portfolio:
    portfolio = Portfolio(START)
    for each in fills:
        portfolio.apply(each)
    return portfolio


def test_a_new_portfolio_is_flat_in_every_symbol() -> None:
    portfolio = Portfolio(START)
    position = portfolio[Symbol("NEVER SEEN")]
    assert position.quantity == position.average_price == position.last_price == 0
    assert position.holdings_value == position.unrealised_pnl == position.realised_pnl == 0
    assert not any([position.invested, position.is_long, position.is_short, portfolio.invested])
    assert portfolio.equity == portfolio.free_cash == START


@pytest.mark.parametrize(
    ("fills", "quantity", "average", "realised"),
    [
        ([("10", "5")], "10", "5", "0"),
        ([("10", "5"), ("10", "7")], "20", "6", "0"),
        ([("10", "5"), ("-4", "8")], "6", "5", "12"),
        ([("10", "5"), ("-10", "8")], "0", "0", "30"),
        ([("10", "5"), ("-15", "8")], "-5", "8", "30"),
        ([("-10", "5"), ("-10", "7")], "-20", "6", "0"),
        ([("-10", "5"), ("4", "3")], "-6", "5", "8"),
        ([("-10", "5"), ("25", "6")], "15", "6", "-10"),
        ([("10", "5"), ("-15", "8"), ("5", "8"), ("1", "9")], "1", "9", "30"),
    ],
    ids=[
        "open",
        "add",
        "reduce",
        "close",
        "long to short",
        "add short",
        "reduce short",
        "short to long",
        "flat again",
    ],
)
def test_fills_move_the_position_by_the_average_price_method(
    fills: Sequence[tuple[str, str]], quantity: str, average: str, realised: str
) -> None:
    position = after(*(fill(*each) for each in fills))[A]
    assert position.quantity == Decimal(quantity)
    assert position.average_price == Decimal(average)
    assert position.realised_pnl == Decimal(realised)
    assert position.is_long == (position.quantity > 0)
    assert position.is_short == (position.quantity < 0)


def test_fees_leave_cash_and_not_the_profit() -> None:
    portfolio = after(fill("10", "5", "0.25"), fill("-10", "6", "0.30"))
    assert portfolio.cash == START + 10 - Decimal("0.55")
    assert portfolio.realised_pnl == portfolio.total_profit == 10
    assert portfolio.fees == portfolio.total_fees == portfolio[A].fees == Decimal("0.55")
    assert portfolio.equity == portfolio.total_portfolio_value == portfolio.cash


def test_marks_move_what_is_unrealised_to_the_last_digit() -> None:
    portfolio = after(fill("3", "0.1"), fill("-2", "50000", symbol=B))
    portfolio.mark(A, 0.3)
    portfolio.mark(B, 50_000.1)
    assert portfolio[A].last_price == Decimal("0.3")
    assert portfolio[A].unrealised_pnl == Decimal("0.6")
    assert portfolio[B].unrealised_pnl == Decimal("-0.2")
    assert portfolio.unrealised_pnl == portfolio.total_unrealized_profit == Decimal("0.4")
    assert portfolio.holdings_value == Decimal("0.9") - Decimal("100000.2")
    assert portfolio.invested
    assert {position.symbol for position in portfolio} == {A, B}


def test_books_read_well_in_a_log() -> None:
    portfolio = after(fill("3", "0.1"))
    assert repr(portfolio[A]) == "Position(AAPL: 3 at 0.1)"
    assert repr(portfolio) == (
        "Portfolio(cash 99999.7, equity 100000.0, [Position(AAPL: 3 at 0.1)])"
    )


def test_before_any_mark_a_position_is_worth_what_was_paid() -> None:
    assert after(fill("3", "7"))[A].unrealised_pnl == 0
    marked = Portfolio(START)
    marked.mark(A, 9.0)
    marked.apply(fill("3", "7"))
    assert marked[A].last_price == 9


@pytest.mark.parametrize("price", [float("nan"), float("inf"), float("-inf"), 0.0, -1.0, 1e116])
def test_a_mark_that_is_no_price_is_passed_over(price: float) -> None:
    portfolio = after(fill("1", "10"))
    portfolio.mark(A, price)
    assert portfolio.equity == START


def test_a_short_takes_twice_its_value_from_free_cash() -> None:
    long = after(fill("100", "200"))
    assert long.free_cash == long.cash == 80_000
    short = after(fill("-100", "200"))
    assert short.cash == 120_000
    assert short.free_cash == 80_000


def test_the_callers_decimal_context_changes_nothing() -> None:
    with localcontext() as context:
        context.prec = 3
        portfolio = after(fill("12345.67890123", "98765.4321"), fill("-0.00000001", "98765.4321"))
        portfolio.mark(A, 98765.4321)
        assert portfolio.equity == START
    assert getcontext().prec == 28


SYMBOLS = st.sampled_from([A, B])
QUANTITIES = st.one_of(
    st.integers(1, 10_000).map(Decimal),
    st.integers(1, 10**14).map(lambda n: Decimal(n).scaleb(-8)),
)
SIGNED = st.tuples(QUANTITIES, st.sampled_from([1, -1])).map(lambda pair: pair[0] * pair[1])
PRICES = st.floats(1e-6, 1e7, allow_nan=False).map(lambda price: Decimal(str(price)))
FEES = st.integers(0, 10**10).map(lambda n: Decimal(n).scaleb(-8))
FILLS = st.lists(st.builds(fill, SIGNED, PRICES, FEES, SYMBOLS), max_size=25)
MARKS = st.floats(1e-6, 1e7, allow_nan=False)


@settings(max_examples=150)
@given(FILLS, MARKS, MARKS)
def test_money_is_conserved_to_the_last_digit(
    fills: Sequence[Fill], mark_a: float, mark_b: float
) -> None:
    portfolio = after(*fills)
    portfolio.mark(A, mark_a)
    portfolio.mark(B, mark_b)
    earned = Fraction(portfolio.realised_pnl) + Fraction(portfolio.unrealised_pnl)
    value = sum(
        Fraction(p.quantity) * Fraction(Decimal(str(m)))
        for p, m in ((portfolio[A], mark_a), (portfolio[B], mark_b))
    )
    assert Fraction(portfolio.holdings_value) == value
    assert Fraction(portfolio.cash) + value == Fraction(START) + earned - Fraction(portfolio.fees)
    assert Fraction(portfolio.equity) == Fraction(portfolio.cash) + value


@settings(max_examples=150)
@given(FILLS)
def test_the_portfolio_agrees_with_the_slow_model(fills: Sequence[Fill]) -> None:
    portfolio = after(*fills)
    rounding = Fraction(RELEASE) * (len(fills) + 1)
    cash = Fraction(START)
    for symbol in (A, B):
        book = book_of([(f.signed_quantity, f.price) for f in fills if f.symbol == symbol])
        position = portfolio[symbol]
        assert Fraction(position.quantity) == book.quantity
        assert abs(Fraction(position.realised_pnl) - book.realised) <= rounding
        assert abs(Fraction(position.cost) - book.quantity * book.average) <= rounding
        cash += book.cash
    assert Fraction(portfolio.cash) == cash - sum(Fraction(f.fee) for f in fills)


def test_conservation_holds_over_many_fills() -> None:
    """Row 58: no drift in a long run of awkward thirds."""
    portfolio = Portfolio(START)
    for n in range(20_000):
        sign = 1 if n % 3 else -2
        portfolio.apply(
            fill(Decimal(sign * (1 + n % 7)).scaleb(-8), Decimal(str(1 / (3 + n % 11))))
        )
    portfolio.mark(A, 0.1)
    assert portfolio.realised_pnl
    assert portfolio.equity - START == portfolio.realised_pnl + portfolio.unrealised_pnl


STEPS = st.lists(
    st.one_of(
        st.builds(fill, SIGNED, PRICES, FEES, SYMBOLS),
        st.tuples(SYMBOLS, MARKS),
        st.just("look"),
    ),
    max_size=40,
)


@given(STEPS)
def test_sums_are_of_all_positions_whatever_was_looked_at_before(steps: Sequence[Any]) -> None:
    portfolio = Portfolio(START)
    for step in [*steps, "look"]:
        match step:
            case Fill():
                portfolio.apply(step)
            case (symbol, price):
                portfolio.mark(symbol, price)
            case _:
                values = [Fraction(portfolio[symbol].holdings_value) for symbol in (A, B)]
                short = sum(min(value, Fraction(0)) for value in values)
                assert Fraction(portfolio.holdings_value) == sum(values)
                assert Fraction(portfolio.free_cash) == Fraction(portfolio.cash) + 2 * short
                assert Fraction(portfolio.equity) == Fraction(portfolio.cash) + sum(values)
                assert Fraction(portfolio.exposure) == sum(map(abs, values))
