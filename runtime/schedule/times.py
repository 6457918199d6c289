"""When on a date something is due: each rule tells the first of a date's times after a moment.

All times are instants, ns UTC. A rule's times lie within its reach of their date, so whoever looks
for the next one knows where to stop.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, time, timedelta, tzinfo
from typing import NamedTuple, Protocol

from runtime.errors import StrategyError
from runtime.schedule.calendars import Market
from runtime.schedule.local_time import DAY, at_wall_time, in_zone, instant

ZONES_REACH = 2
"""Days between a date in UTC and the same date in the zones of the world, generously."""


class TimeRule(Protocol):
    """The times of a schedule."""

    @property
    def name(self) -> str:
        """How logs call it."""
        ...

    @property
    def reach(self) -> int:
        """How many days around their date (as in UTC) its times may lie."""
        ...

    def first(self, day: date, after: int) -> int | None:
        """Return the first of the date's times that is later than `after`, ns UTC; or None."""
        ...


class WallTime(NamedTuple):
    """What the clocks of a zone show, once a date."""

    name: str
    after_midnight: timedelta
    zone: Callable[[], tzinfo]
    reach: int = ZONES_REACH

    def first(self, day: date, after: int) -> int | None:
        """Return when they show it on this date."""
        moment = at_wall_time(day, self.after_midnight, self.zone())
        return moment if moment > after else None


class EveryInterval(NamedTuple):
    """From midnight in steps of wall time; each date begins anew."""

    name: str
    interval: timedelta
    zone: Callable[[], tzinfo]
    reach: int = ZONES_REACH

    def first(self, day: date, after: int) -> int | None:
        """Return the first step after `after`: later steps are never earlier instants."""
        zone, count = self.zone(), -(-DAY // self.interval)

        def is_later(step: int) -> bool:
            return at_wall_time(day, step * self.interval, zone) > after

        # The clocks say which step it is; only where they are changed one has to search.
        since_midnight = in_zone(after, zone).replace(tzinfo=None) - datetime.combine(day, time())
        step = min(max(since_midnight // self.interval + 1, 0), count)
        low, high = 0, count
        if step < count and not is_later(step):
            low = step + 1
        elif step == 0 or not is_later(step - 1):
            low = high = step
        else:
            high = step - 1
        step = bisect_left(range(count), True, low, high, key=is_later)
        return at_wall_time(day, step * self.interval, zone) if step < count else None


class MarketTime(NamedTuple):
    """So many minutes from an open or a close; a date without one has no such time.

    Of several markets the earliest open and the latest close count.
    """

    name: str
    markets: Callable[[], Iterable[Market]]
    minutes: float
    at_open: bool
    extended: bool

    @property
    def reach(self) -> int:
        """Return a day more for each day of minutes."""
        return ZONES_REACH + math.ceil(abs(self.minutes) / 1440)

    def first(self, day: date, after: int) -> int | None:
        """Return that of this date."""
        sessions = [market.hours(day, extended=self.extended) for market in self.markets()]
        if self.at_open:
            opens = [s.open for s in sessions if s is not None and s.open is not None]
            found = min(opens, default=None)
        else:
            closes = [s.close for s in sessions if s is not None and s.close is not None]
            found = max(closes, default=None)
        if found is None:
            return None
        moment = found + round(self.minutes * 60_000_000) * 1000
        return moment if moment > after else None


class Now(NamedTuple):
    """The moment at which it is asked, whatever the date: at once, and never again."""

    now: Callable[[], int]
    name: str = "Now"
    reach: int = ZONES_REACH

    def first(self, day: date, after: int) -> int | None:
        """Return the moment, unless something has fired at it."""
        del day
        moment = self.now()
        return moment if moment > after else None


class CompositeTimeRule:
    """The times of several rules, each moment once."""

    def __init__(self, *rules: TimeRule) -> None:
        if not rules:
            raise StrategyError("CompositeTimeRule(): name at least one time rule", "")
        self.name = ",".join(rule.name for rule in rules)
        self.reach = max(rule.reach for rule in rules)
        self._rules = rules

    def first(self, day: date, after: int) -> int | None:
        """Return the earliest that any of them has."""
        found = [rule.first(day, after) for rule in self._rules]
        return min((moment for moment in found if moment is not None), default=None)


class FuncTimeRule:
    """Times of your own.

    Args:
        name: how logs call it.
        func: called with a list of one datetime (midnight of the date, no zone), returns the
            datetimes of that date, in UTC or with a zone, at most two days away from it.
    """

    reach = ZONES_REACH

    def __init__(self, name: str, func: Callable[[Sequence[datetime]], Iterable[datetime]]) -> None:
        self.name = name
        self._func = func

    def first(self, day: date, after: int) -> int | None:
        """Return the first one after `after`.

        Raises:
            StrategyError: the function raised, or returned something else than datetimes.
        """
        try:
            moments = [instant(m) for m in self._func([datetime.combine(day, time())])]
        except Exception as error:
            raise StrategyError(
                f"FuncTimeRule {self.name!r} raised {type(error).__name__}: {error}", ""
            ) from error
        return min((moment for moment in moments if moment > after), default=None)
