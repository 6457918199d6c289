"""Every indicator gives what its definition gives over the whole series, slowly, with numpy."""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.indicators import (
    ExponentialMovingAverage,
    Indicator,
    RateOfChange,
    RelativeStrengthIndex,
    SimpleMovingAverage,
    StandardDeviation,
)

ALL = [
    ExponentialMovingAverage,
    RateOfChange,
    RelativeStrengthIndex,
    SimpleMovingAverage,
    StandardDeviation,
]
SERIES = st.lists(st.floats(0.01, 1e5), min_size=1, max_size=60)


def slow_ema(series: list[float], period: int) -> float:
    value = float(np.mean(series[:period]))
    for number in series[period:]:
        k = 2 / (period + 1)
        value = number * k + value * (1 - k)
    return value


def slow_sma(series: list[float], period: int) -> float:
    return float(np.mean(series[-period:]))


def slow_std(series: list[float], period: int) -> float:
    return float(np.std(series[-period:]))


def slow_roc(series: list[float], period: int) -> float:
    return series[-1] / series[max(0, len(series) - 1 - period)] - 1


def slow_rsi(series: list[float], period: int) -> float:
    changes = [after - before for before, after in pairwise(series)]
    averages = []
    for parts in ([max(c, 0.0) for c in changes], [max(-c, 0.0) for c in changes]):
        average = float(np.mean(parts[:period])) if parts else 0.0
        for part in parts[period:]:
            average = (average * (period - 1) + part) / period
        averages.append(average)
    gain, loss = averages
    return 100.0 if loss == 0 else 100 - 100 / (1 + gain / loss)


class Case(NamedTuple):
    """`beyond` the period it needs so many numbers; rounding may be as large as the rest says."""

    make: Callable[[int], Indicator]
    slow: Callable[[list[float], int], float]
    beyond: int
    of_largest: float
    absolute: float


@pytest.mark.parametrize(
    "case",
    [
        Case(ExponentialMovingAverage, slow_ema, 0, 1e-9, 0.0),
        Case(SimpleMovingAverage, slow_sma, 0, 1e-9, 0.0),
        Case(StandardDeviation, slow_std, 0, 1e-6, 0.0),
        Case(RateOfChange, slow_roc, 1, 0.0, 1e-6),
        Case(RelativeStrengthIndex, slow_rsi, 1, 0.0, 1e-6),
    ],
)
@given(series=SERIES, period=st.integers(1, 9))
def test_after_each_update_it_is_the_definition(
    case: Case, series: list[float], period: int
) -> None:
    indicator = case.make(period)
    for count, number in enumerate(series, 1):
        ready = indicator.update(number)
        tolerance = case.absolute + case.of_largest * max(series[:count])
        assert indicator.value == pytest.approx(case.slow(series[:count], period), abs=tolerance)
        assert indicator.samples == count
        assert ready == indicator.is_ready == (count >= period + case.beyond)


@pytest.mark.parametrize("make", [SimpleMovingAverage, StandardDeviation])
def test_a_huge_number_leaves_no_trace_when_it_has_left(make: Callable[[int], Indicator]) -> None:
    indicator, fresh = make(4), make(4)
    for number in (1e15, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0):
        indicator.update(number)
    for number in (4.0, 5.0, 6.0, 7.0):
        fresh.update(number)
    assert indicator.value == fresh.value


@pytest.mark.parametrize("make", ALL)
def test_what_is_no_number_is_skipped_and_counted(make: Callable[[int], Indicator]) -> None:
    with_holes, without = make(2), make(2)
    for number in (1.0, float("nan"), 2.0, float("inf"), 1.5, float("-inf")):
        with_holes.update(number)
    for number in (1.0, 2.0, 1.5):
        without.update(number)
    assert with_holes.value == without.value
    assert (with_holes.samples, with_holes.skipped) == (3, 3)
    assert with_holes.is_ready


@pytest.mark.parametrize("make", ALL)
def test_a_period_of_nothing_is_refused(make: Callable[[int], Indicator]) -> None:
    with pytest.raises(ValueError, match="over 0 numbers"):
        make(0)


def test_rsi_of_the_extremes() -> None:
    up, down = RelativeStrengthIndex(3), RelativeStrengthIndex(3)
    for number in range(1, 9):
        up.update(number)
        down.update(-number)
    assert (up.value, down.value) == (100.0, 0.0)


def test_rate_of_change_from_zero_is_zero() -> None:
    roc = RateOfChange(1)
    roc.update(0.0)
    assert roc.update(5.0)
    assert roc.value == 0.0


def test_it_reads_as_lean_and_shows_itself() -> None:
    sma = SimpleMovingAverage(2)
    sma.update(4.0)
    assert sma.current.value == 4.0
    assert repr(sma) == "SimpleMovingAverage(2) = 4.0 after 1"
