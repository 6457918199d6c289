"""Fills become trades, and no cent is lost between them."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.events import Symbol
from runtime.report.trades import match_trades
from runtime.results import FillRow
from runtime.trading.orders import Side
from tests.runtime.report.books import DAY, T0, fill

QUANTITIES = st.integers(1, 400).map(lambda n: Decimal(n) / 8)
PRICES = st.integers(1, 99_999).map(lambda n: Decimal(n) / 100)
FEES = st.integers(-300, 999).map(lambda n: Decimal(n) / 700)


@st.composite
def histories(draw: st.DrawFn) -> list[FillRow]:
    """Orders of up to three fills, of one symbol and side each, one after the other or at once."""
    fills = []
    for n in range(draw(st.integers(0, 30))):
        symbol = draw(st.sampled_from([Symbol("A"), Symbol("B")]))
        side = draw(st.sampled_from([Side.BUY, Side.SELL]))
        fill_of = (str(draw(QUANTITIES)), str(draw(PRICES)), str(draw(FEES)))
        order = f"{symbol}-{side}-{n // draw(st.integers(1, 3))}"
        fills.append(FillRow(T0 + n * DAY, symbol, side, *fill_of, order))
    return fills


@given(histories())
def test_trades_and_what_is_open_are_what_was_gained(fills: list[FillRow]) -> None:
    """Cash moved by all fills == profits - what the open lots cost, fees of both included."""
    trades, lots = match_trades(fills)
    cash = Decimal(0)
    for each in fills:
        value = Decimal(each.quantity) * Decimal(each.price)
        cash += (-value if each.side is Side.BUY else value) - Decimal(each.fee)
    held = sum(
        ((1 if lot.is_long else -1) * lot.quantity * lot.price + lot.fee for lot in lots),
        Decimal(0),
    )
    # Money of that size has fewer than 28 digits: nothing here rounds but the shares of fees.
    assert sum((trade.profit for trade in trades), Decimal(0)) == pytest.approx(
        cash + held, abs=Decimal("1e-9")
    )
    fees = sum((Decimal(each.fee) for each in fills), Decimal(0))
    told = sum((trade.fees for trade in trades), Decimal(0)) + sum(
        (lot.fee for lot in lots), Decimal(0)
    )
    assert told == pytest.approx(fees, abs=Decimal("1e-18"))


@given(histories())
def test_what_is_open_is_the_position_and_on_one_side(fills: list[FillRow]) -> None:
    trades, lots = match_trades(fills)
    for symbol in ("A", "B"):
        held = sum(
            (
                Decimal(each.quantity) * (1 if each.side is Side.BUY else -1)
                for each in fills
                if each.symbol == symbol
            ),
            Decimal(0),
        )
        mine = [lot for lot in lots if lot.symbol == symbol]
        assert sum((lot.quantity * (1 if lot.is_long else -1) for lot in mine), Decimal(0)) == held
        assert len({lot.is_long for lot in mine}) <= 1
    assert all(trade.quantity > 0 and trade.entry_time <= trade.exit_time for trade in trades)


def test_a_long_trade_by_hand() -> None:
    (trade,), lots = match_trades([fill(0, "10", "100", "1"), fill(1, "-10", "110", "2")])
    assert lots == []
    assert (trade.is_long, trade.quantity, trade.profit, trade.fees) == (True, 10, 97, 3)  # type: ignore[comparison-overlap]
    assert (trade.entry_time, trade.exit_time) == (T0, T0 + DAY)


def test_a_short_trade_by_hand() -> None:
    (trade,), _ = match_trades([fill(0, "-10", "100", "1"), fill(1, "10", "110", "1")])
    assert (trade.is_long, trade.profit) == (False, -102)  # type: ignore[comparison-overlap]


def test_what_was_bought_first_is_sold_first() -> None:
    fills = [fill(0, "5", "100"), fill(1, "5", "200"), fill(2, "-7", "300")]
    trades, (lot,) = match_trades(fills)
    assert [(trade.quantity, trade.profit) for trade in trades] == [(5, 1000), (2, 200)]  # type: ignore[comparison-overlap]
    assert (lot.quantity, lot.price) == (3, 200)  # type: ignore[comparison-overlap]


def test_one_order_that_fills_in_parts_is_one_trade() -> None:
    fills = [
        fill(0, "3", "100", order="in"),
        fill(0.1, "7", "110", order="in"),
        fill(1, "-4", "120", "0.4", order="out"),
        fill(1.1, "-6", "130", "0.6", order="out"),
    ]
    (trade,), _ = match_trades(fills)
    assert (trade.quantity, trade.entry_price, trade.exit_price) == (10, 107, 126)  # type: ignore[comparison-overlap]
    assert (trade.profit, trade.fees) == (189, 1)  # type: ignore[comparison-overlap]
    assert (trade.entry_time, trade.exit_time) == (fills[0].time, fills[-1].time)


def test_a_turn_from_long_to_short_closes_and_opens() -> None:
    trades, (lot,) = match_trades([fill(0, "10", "100", "1"), fill(1, "-15", "110", "3")])
    assert [(trade.quantity, trade.profit) for trade in trades] == [(10, 97)]  # type: ignore[comparison-overlap]
    assert (lot.is_long, lot.quantity, lot.fee) == (False, 5, 1)  # type: ignore[comparison-overlap]


def test_no_fills_are_no_trades() -> None:
    assert match_trades([]) == ([], [])
