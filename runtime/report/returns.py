"""Statistics of a series of returns by their textbook definitions, annualised by the square root.

`equity` is float64[n + 1]: the account before the first period and at the end of each; a return is
equity[i] / equity[i - 1] - 1. What has no meaning is None: returns of an account without money, a
ratio to a risk of zero. The risk-free rate is 0, as it is in LEAN unless told otherwise.
"""

import math
from statistics import NormalDist

import msgspec
import numpy as np
from numpy.typing import NDArray

from feeds.events import SECOND

YEAR_NS = 365 * 24 * 3600 * SECOND
"""A year of the calendar, as LEAN counts it for what grows."""

DAY_NS = 24 * 3600 * SECOND

NO_RISK = 1e-13
"""A deviation below this is the rounding of float64, not a risk."""

Floats = NDArray[np.float64]


class ReturnStatistics(msgspec.Struct, frozen=True):
    """Of the returns of one account; fractions, not percent.

    `periods` are the returns there were; `deviation` and `variance` are of a year, of a sample (n -
    1). `sortino` is over the root mean square of the returns below 0, of all n.
    `probabilistic_sharpe` is the probability that the true Sharpe ratio is above 1 a year.
    """

    periods: int = 0
    deviation: float | None = None
    variance: float | None = None
    sharpe: float | None = None
    sortino: float | None = None
    probabilistic_sharpe: float | None = None
    best: float | None = None
    worst: float | None = None


def returns_of(equity: Floats) -> Floats | None:
    """Return the returns, float64[n]; None where one of them would be of no money."""
    before = equity[:-1]
    if not len(before) or bool(np.any(before <= 0)) or not bool(np.all(np.isfinite(equity))):
        return None
    return equity[1:] / before - 1


def describe_returns(equity: Floats, periods_a_year: float) -> ReturnStatistics:
    """Describe the returns of an account."""
    returns = returns_of(equity)
    if returns is None:
        return ReturnStatistics()
    count = len(returns)
    best, worst = float(returns.max()), float(returns.min())
    if count < 2:
        return ReturnStatistics(count, best=best, worst=worst)
    mean, deviation = float(returns.mean()), float(returns.std(ddof=1))
    downside = math.sqrt(float(np.mean(np.minimum(returns, 0) ** 2)))
    root = math.sqrt(periods_a_year)
    return ReturnStatistics(
        periods=count,
        deviation=deviation * root,
        variance=deviation**2 * periods_a_year,
        sharpe=None if deviation < NO_RISK else mean / deviation * root,
        sortino=None if downside < NO_RISK else mean / downside * root,
        probabilistic_sharpe=probabilistic_sharpe(returns, 1 / root),
        best=best,
        worst=worst,
    )


def probabilistic_sharpe(returns: Floats, benchmark: float) -> float | None:
    """Return the probability that the true Sharpe ratio of a period is above `benchmark`.

    Bailey and Lopez de Prado, "The Sharpe Ratio Efficient Frontier" (2012): it falls with few
    returns, a tail to the left, and fat tails. None for fewer than 3 returns or no deviation.
    """
    count = len(returns)
    deviation = float(returns.std())
    if count < 3 or deviation < NO_RISK:
        return None
    standard = (returns - returns.mean()) / deviation
    skew, kurtosis = float(np.mean(standard**3)), float(np.mean(standard**4))
    ratio = float(returns.mean()) / float(returns.std(ddof=1))
    spread = 1 - skew * ratio + (kurtosis - 1) / 4 * ratio**2
    if spread <= 0:
        return None
    return NormalDist().cdf((ratio - benchmark) * math.sqrt((count - 1) / spread))


def net_profit(start: float, end: float) -> float | None:
    """Return what was gained, as a fraction of what there was; None where there was nothing."""
    return end / start - 1 if start > 0 else None


def annual_return(start: float, end: float, span: int) -> float | None:
    """Return the rate that compounds to the same gain, a year of the calendar.

    None where there was no money before or after, and for a span (ns) below a day: what an hour
    brought says nothing of a year.
    """
    if start <= 0 or end <= 0 or span < DAY_NS:
        return None
    try:
        return math.expm1(math.log(end / start) * YEAR_NS / span)
    except OverflowError:
        return None
