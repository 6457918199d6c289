"""Fees and slippage by the arithmetic of their sources."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.events import MINUTE, Bar, Quote, Symbol, Trade
from feeds.venue.costs import (
    Execution,
    FixedSlippage,
    PercentFee,
    PerShareFee,
    VolumeSlippage,
)
from feeds.venue.matching import Matcher
from feeds.venue.orders import Filled, VenueOrder

AAPL, NOW = Symbol("AAPL"), 10 * MINUTE


@pytest.mark.parametrize(
    ("quantity", "price", "fee"),
    [
        ("100", "50", "1"),  # 0.50 by share: the minimum
        ("1000", "50", "5"),
        ("1000", "0.5", "2.5"),  # 5 by share: at most 0.5 % of 500
        ("10", "0.5", "1"),  # the minimum, although it is more than 0.5 %
    ],
)
def test_the_fees_of_interactive_brokers_are_those_of_lean(
    quantity: str, price: str, fee: str
) -> None:
    assert PerShareFee().fee(Execution(Decimal(quantity), Decimal(price))) == Decimal(fee)


@given(st.lists(st.tuples(st.integers(1, 500), st.integers(1, 9999)), min_size=1, max_size=8))
def test_the_parts_of_an_order_pay_what_the_whole_would(fills: list[tuple[int, int]]) -> None:
    """The minimum once, the maximum of the sum: a later part may get some of it back."""
    model = PerShareFee()
    quantity = notional = fees = Decimal(0)
    for shares, cents in fills:
        price = Decimal(cents) / 100
        fees += model.fee(Execution(Decimal(shares), price, False, quantity, notional, fees))
        quantity += shares
        notional += shares * price
        whole = max(min(quantity * Decimal("0.005"), notional * Decimal("0.005")), Decimal(1))
        assert fees == pytest.approx(whole, abs=Decimal("1e-7"))


def test_makers_and_takers_pay_their_own_share() -> None:
    model = PercentFee(Decimal(10), Decimal(-2))
    assert model.fee(Execution(Decimal(10), Decimal(100))) == Decimal(1)
    assert model.fee(Execution(Decimal(10), Decimal(100), is_maker=True)) == Decimal("-0.2")
    assert PercentFee(Decimal(10)).fee(Execution(Decimal(10), Decimal(100), True)) == Decimal(1)


def test_slippage_by_volume_is_the_square_of_the_share_taken() -> None:
    model = VolumeSlippage()
    assert model.share(Decimal(10), Decimal(1000)) == Decimal("0.00001")
    assert model.share(Decimal(900), Decimal(1000)) == Decimal("0.0000625")  # 2.5 % at most
    assert model.share(Decimal(10), None) == model.share(Decimal(10), Decimal(0)) == 0


def buy(limit: str | None = None, quantity: str = "10", name: str = "o") -> VenueOrder:
    return VenueOrder(name, AAPL, True, Decimal(quantity), Decimal(limit) if limit else None)


def test_slippage_worsens_what_takes_and_never_passes_a_limit() -> None:
    matcher = Matcher(slippage=FixedSlippage(Decimal(100)))
    matcher.on_market([Quote(AAPL, NOW, NOW, 99.0, 0.0, 100.0, 0.0)], NOW)
    prices = [
        report.price
        for order in (buy(), buy("100.5", name="p"), VenueOrder("s", AAPL, False, Decimal(1)))
        for report in matcher.submit(order, NOW)
        if isinstance(report, Filled)
    ]
    assert prices == [Decimal(101), Decimal("100.5"), Decimal("98.01")]
    matcher.submit(buy("90", name="q"), NOW)  # it waits, and fills at its limit
    (report,) = matcher.on_market([Quote(AAPL, NOW, NOW, 88.0, 0.0, 89.0, 0.0)], NOW)
    assert isinstance(report, Filled)
    assert report.price == 90


def test_a_fill_takes_its_share_of_what_was_traded() -> None:
    matcher = Matcher(participation=Decimal("0.1"))
    matcher.on_market([Trade(AAPL, NOW, NOW, 100.0, 45.0)], NOW)
    reports = matcher.submit(buy(), NOW)
    reports += matcher.on_market([Trade(AAPL, NOW, NOW, 101.0, 5.0)], NOW)  # not one share
    reports += matcher.on_market([Bar(AAPL, NOW, NOW, MINUTE, 1, 200, 1, 102.0, 900.0)], NOW)
    assert [(each.quantity, each.price) for each in reports if isinstance(each, Filled)] == [
        (Decimal(4), Decimal(100)),
        (Decimal(6), Decimal(102)),
    ]
