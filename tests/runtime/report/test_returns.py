"""Ratios by their definitions: checked by hand, by scipy and pandas, and where there is nothing."""

import math
from statistics import NormalDist

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest
import scipy.stats  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from runtime.report.returns import (
    DAY_NS,
    YEAR_NS,
    annual_return,
    describe_returns,
    net_profit,
    returns_of,
)

MONEY = st.floats(1.0, 1e9)


def test_two_days_by_hand() -> None:
    """100 -> 110 -> 99: +10 % and -10 %; mean 0, deviation sqrt(0.02)."""
    told = describe_returns(np.array([100.0, 110.0, 99.0]), 252)
    assert told.periods == 2
    assert told.sharpe == pytest.approx(0, abs=1e-12)
    assert told.deviation == pytest.approx(math.sqrt(0.02) * math.sqrt(252))
    assert told.variance == pytest.approx(0.02 * 252)
    assert (told.best, told.worst) == (pytest.approx(0.1), pytest.approx(-0.1))  # type: ignore[comparison-overlap]


def test_ratios_by_hand() -> None:
    """Returns of 2, -1, 2 and 1 %: mean 1 %, deviation sqrt(2) %, downside 0.5 %."""
    equity = 100 * np.cumprod([1, 1.02, 0.99, 1.02, 1.01])
    told = describe_returns(equity, 100)  # type: ignore[arg-type]
    assert told.sharpe == pytest.approx(0.01 / math.sqrt(6e-4 / 3) * 10)
    assert told.sortino == pytest.approx(0.01 / 0.005 * 10)


def test_values_of_empyrical() -> None:
    """What empyrical-reloaded 0.7.1 said of ten daily returns: sharpe_ratio, sortino_ratio, ..."""
    equity = 1000 * np.cumprod([1.0, *(1 + np.array(TEN))])
    told = describe_returns(equity, 252)
    assert told.sharpe == pytest.approx(EMPYRICAL["sharpe_ratio"], rel=1e-9)
    assert told.sortino == pytest.approx(EMPYRICAL["sortino_ratio"], rel=1e-9)
    assert told.deviation == pytest.approx(EMPYRICAL["annual_volatility"], rel=1e-9)


TEN = [0.01, -0.004, 0.012, 0.003, -0.02, 0.007, 0.0, 0.015, -0.006, 0.002]
EMPYRICAL = {
    "sharpe_ratio": 2.940512756456591,
    "sortino_ratio": 4.486262216206981,
    "annual_volatility": 0.16282874439115472,
}


@given(st.lists(MONEY, min_size=3, max_size=60), st.sampled_from([252.0, 365.0, 98_280.0]))
def test_the_same_as_pandas_and_scipy(equity: list[float], year: float) -> None:
    told = describe_returns(np.array(equity), year)
    returns = pd.Series(equity).pct_change().dropna()
    assert told.periods == len(returns)
    assert told.deviation == pytest.approx(returns.std() * math.sqrt(year), rel=1e-6, abs=1e-9)
    if told.sharpe is not None and returns.std() > 1e-9:
        assert told.sharpe == pytest.approx(returns.mean() / returns.std() * math.sqrt(year))
    below = returns.clip(upper=0)
    if told.sortino is not None:
        downside = math.sqrt((below**2).mean())
        assert told.sortino == pytest.approx(returns.mean() / downside * math.sqrt(year))
    else:
        assert below.abs().max() < 1e-6
    if told.probabilistic_sharpe is not None and returns.std() > 1e-6:
        ratio = returns.mean() / returns.std()
        skew, kurtosis = scipy.stats.skew(returns), scipy.stats.kurtosis(returns, fisher=False)
        spread = 1 - skew * ratio + (kurtosis - 1) / 4 * ratio**2
        z = (ratio - 1 / math.sqrt(year)) * math.sqrt((len(returns) - 1) / spread)
        assert told.probabilistic_sharpe == pytest.approx(NormalDist().cdf(z), abs=1e-6)


@given(st.lists(MONEY, min_size=3, max_size=30), st.floats(0.01, 100))
def test_ratios_do_not_depend_on_how_much_money_there_is(equity: list[float], by: float) -> None:
    one, other = (describe_returns(np.array(equity) * times, 252) for times in (1.0, by))
    assert one.deviation == pytest.approx(other.deviation, rel=1e-6, abs=1e-9)
    if one.sharpe is not None and other.sharpe is not None and one.deviation:
        assert one.sharpe == pytest.approx(other.sharpe, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    "equity",
    [[], [100.0], [0.0, 100.0, 110.0], [100.0, -5.0, 10.0], [100.0, float("nan"), 100.0]],
    ids=["none", "one", "no money", "owed", "not a number"],
)
def test_an_account_without_returns_has_no_ratios(equity: list[float]) -> None:
    told = describe_returns(np.array(equity), 252)
    assert told.periods == 0
    assert {told.deviation, told.variance, told.sharpe, told.sortino, told.best} == {None}


def test_one_return_has_no_deviation() -> None:
    told = describe_returns(np.array([100.0, 101.0]), 252)
    assert (told.periods, told.best) == (1, pytest.approx(0.01))  # type: ignore[comparison-overlap]
    assert {told.deviation, told.sharpe, told.sortino, told.probabilistic_sharpe} == {None}


def test_an_account_that_stands_has_no_sharpe_ratio() -> None:
    told = describe_returns(np.array([100.0] * 5), 252)
    assert told.deviation == 0
    assert {told.sharpe, told.sortino, told.probabilistic_sharpe} == {None}


def test_an_even_gain_is_no_endless_ratio() -> None:
    """In float64 its deviation is some 1e-16, not 0."""
    told = describe_returns(100 * 1.001 ** np.arange(50), 252)  # type: ignore[arg-type]
    assert {told.sharpe, told.sortino, told.probabilistic_sharpe} == {None}


def test_money_that_is_lost_at_the_very_end_still_counts() -> None:
    returns = returns_of(np.array([100.0, 50.0, -50.0]))
    assert returns is not None
    assert returns.tolist() == [-0.5, -2.0]


@pytest.mark.parametrize(
    ("start", "end", "span", "rate"),
    [
        (100.0, 121.0, 2 * YEAR_NS, 0.1),
        (100.0, 110.0, YEAR_NS, 0.1),
        (100.0, 90.0, YEAR_NS, -0.1),
        (100.0, 100.0, DAY_NS, 0.0),
        (100.0, 110.0, DAY_NS - 1, None),
        (100.0, 0.0, YEAR_NS, None),
        (100.0, -1.0, YEAR_NS, None),
        (0.0, 10.0, YEAR_NS, None),
        (1.0, 1e9, DAY_NS, None),
    ],
)
def test_annual_return(start: float, end: float, span: int, rate: float | None) -> None:
    assert annual_return(start, end, span) == (None if rate is None else pytest.approx(rate))


def test_net_profit() -> None:
    assert net_profit(100.0, 90.0) == pytest.approx(-0.1)
    assert net_profit(100.0, -20.0) == pytest.approx(-1.2)
    assert net_profit(0.0, 10.0) is None
