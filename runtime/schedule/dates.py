"""On which dates something is due: each rule tells the first of its dates from a given one.

Dates have no zone; the time rule beside it says whose clocks count. An offset counts calendar days,
or trading days where there is a market, and stops at the far end of its period, as in LEAN.
"""

import calendar
from bisect import bisect_left
from collections.abc import Callable, Iterable
from datetime import date, datetime, time
from typing import NamedTuple, Protocol

from runtime.errors import StrategyError
from runtime.schedule.calendars import Market
from runtime.schedule.local_time import DayOfWeek, later

YEARS_AHEAD = 10
"""How far a rule of the author's own is asked for its next date."""


class DateRule(Protocol):
    """The dates of a schedule."""

    @property
    def name(self) -> str:
        """How logs call it."""
        ...

    def first(self, day: date) -> date | None:
        """Return the first of its dates, `day` or later; None where there is no more."""
        ...


class GivenDates(NamedTuple):
    """These dates, in order of time."""

    name: str
    dates: list[date]

    def first(self, day: date) -> date | None:
        """Return the first one from `day` on."""
        place = bisect_left(self.dates, day)
        return self.dates[place] if place < len(self.dates) else None


class Weekdays(NamedTuple):
    """Each date that falls on one of these days of the week."""

    name: str
    days: frozenset[DayOfWeek]

    def first(self, day: date) -> date | None:
        """Return the first one from `day` on, at most six days away."""
        following = (later(day, days) for days in range(7))
        return next((d for d in following if d is not None and DayOfWeek.of(d) in self.days), None)


class TradingDays(NamedTuple):
    """Each date on which a market trades."""

    name: str
    market: Market

    def first(self, day: date) -> date | None:
        """Return the first one from `day` on."""
        return self.market.day_from(day)


class RelativeDay:
    """One date, so many days from today; today is when the rule is first asked."""

    def __init__(self, name: str, today: Callable[[], date], days: int) -> None:
        self.name = name
        self._today = today
        self._days = days
        self._date: date | None = None

    def first(self, day: date) -> date | None:
        """Return the date, unless it has passed."""
        if self._date is None:
            self._date = later(self._today(), self._days)
        return self._date if self._date is not None and self._date >= day else None


class Period(NamedTuple):
    """One week, month, quarter or year, both ends included."""

    begin: date
    end: date


class InEachPeriod(NamedTuple):
    """One date in each period: so many days, or trading days, from its start or from its end."""

    name: str
    period: Callable[[date], Period]
    market: Market | None
    offset: int
    from_start: bool

    def first(self, day: date) -> date | None:
        """Return that of the period of `day`, or of a later one."""
        start: date | None = day
        while start is not None:
            period = self.period(start)
            found = self._in(period)
            if found is not None and found >= day:
                return found
            start = later(period.end, 1)
            if found is None and start is not None and self.market is not None:
                start = self.market.day_from(start)
        return None

    def _in(self, period: Period) -> date | None:
        """Count the offset in days that trade; past the far end of the period, its last one."""
        step = 1 if self.from_start else -1
        near, far = (period.begin, period.end) if self.from_start else (period.end, period.begin)
        found = self._open_day(near, step)
        for _ in range(self.offset):
            after = None if found is None else later(found, step)
            found = None if after is None else self._open_day(after, step)
        if found is None or (found - far).days * step > 0:
            found = self._open_day(far, -step)
        return found if found is not None and period.begin <= found <= period.end else None

    def _open_day(self, day: date, step: int) -> date | None:
        if self.market is None:
            return day
        return self.market.day_from(day) if step > 0 else self.market.day_until(day)


class FuncDateRule:
    """Dates of your own.

    Args:
        name: how logs call it.
        func: called with the first and last datetime of a year (midnight, no zone), returns the
            dates between them, in any order. It is asked for later years as time goes on; after
            ten years without a date there is no more.
    """

    def __init__(
        self, name: str, func: Callable[[datetime, datetime], Iterable[date | datetime]]
    ) -> None:
        self.name = name
        self._func = func
        self._years: dict[int, list[date]] = {}

    def first(self, day: date) -> date | None:
        """Return the first one from `day` on, in this year or one of the next ten.

        Raises:
            StrategyError: the function raised, or returned something else than dates.
        """
        for year in range(day.year, min(day.year + YEARS_AHEAD, date.max.year) + 1):
            dates = self._dates(year)
            place = bisect_left(dates, day)
            if place < len(dates):
                return dates[place]
        return None

    def _dates(self, year: int) -> list[date]:
        if year not in self._years:
            start, end = date(year, 1, 1), date(year, 12, 31)
            try:
                found = {as_date(d) for d in self._func(_midnight(start), _midnight(end))}
            except Exception as error:
                raise StrategyError(
                    f"FuncDateRule {self.name!r} raised {type(error).__name__}: {error}", ""
                ) from error
            self._years[year] = sorted(d for d in found if start <= d <= end)
        return self._years[year]


def as_date(found: object) -> date:
    """Return a date; of a datetime, the date part as it is written.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(found, datetime):
        return found.date()
    if not isinstance(found, date):
        raise TypeError(f"{found!r} is not a date")
    return found


def week_from(first: DayOfWeek) -> Callable[[date], Period]:
    """Return the weeks that begin with a day, Sunday, Monday or Saturday."""

    def week(day: date) -> Period:
        since = (DayOfWeek.of(day).value - first.value) % 7
        return Period(later(day, -since) or date.min, later(day, 6 - since) or date.max)

    return week


def months(count: int) -> Callable[[date], Period]:
    """Return the periods of so many months that a year divides into, the first from January."""

    def period(day: date) -> Period:
        begin = (day.month - 1) // count * count + 1
        end = begin + count - 1
        last = calendar.monthrange(day.year, end)[1]
        return Period(date(day.year, begin, 1), date(day.year, end, last))

    return period


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time())
