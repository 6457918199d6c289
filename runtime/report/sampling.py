"""When the account is looked at for its returns, and how many such looks make a year.

A period without data is no sample: a weekend in which nothing was told has no return of zero. So a
year has as many periods as its market has, 252 days for shares, 365 for crypto.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, time, timedelta, tzinfo
from enum import StrEnum

import msgspec

from feeds.events import MINUTE, SECOND, AssetClass

HOUR = 60 * MINUTE


class Sampling(StrEnum):
    """The length of one return."""

    DAY = "day"
    HOUR = "hour"
    MINUTE = "minute"


class TradingYear(msgspec.Struct, frozen=True):
    """How much a market is open: `days` a year, `hours` a day."""

    days: int = 252
    hours: float = 6.5

    def periods(self, sampling: Sampling) -> float:
        """Return how many periods a year has."""
        match sampling:
            case Sampling.DAY:
                return float(self.days)
            case Sampling.HOUR:
                return self.days * self.hours
            case Sampling.MINUTE:
                return self.days * self.hours * 60


def trading_year(classes: Iterable[AssetClass]) -> TradingYear:
    """Return the year of the market that is open longest: crypto, then forex, then shares."""
    held = set(classes)
    if AssetClass.CRYPTO in held:
        return TradingYear(365, 24.0)
    if AssetClass.FOREX in held:
        return TradingYear(252, 24.0)
    return TradingYear()


def end_of_period(now: int, sampling: Sampling, zone: tzinfo = UTC) -> int:
    """Return the end of the period that `now` is in, ns UTC: later than `now`.

    Days end at midnight of `zone`; hours and minutes are those of UTC.
    """
    if sampling is not Sampling.DAY:
        span = HOUR if sampling is Sampling.HOUR else MINUTE
        return (now // span + 1) * span
    today = datetime.fromtimestamp(now // SECOND, zone).date()
    for days in (1, 2):  # where the clocks change at midnight, a day may end twice
        midnight = datetime.combine(today + timedelta(days), time(), zone)
        end = int(midnight.timestamp()) * SECOND
        if end > now:
            return end
    raise AssertionError(f"{now} lies in no day of {zone}")
