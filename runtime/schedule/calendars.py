"""When markets trade, as data: the open and close of each date, ns UTC.

Equities go by the NYSE's calendar, holidays and half days included; crypto never closes; forex
trades from Sunday 17:00 to Friday 17:00 New York. An early close ends extended hours too, as in
LEAN. The calendar is loaded when first asked for: starting up does not pay for it.
"""

import warnings
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from datetime import date, timedelta
from functools import cache
from typing import NamedTuple, Protocol
from zoneinfo import ZoneInfo

from feeds.events import AssetClass
from runtime.schedule.local_time import (
    NEW_YORK,
    DayOfWeek,
    at_wall_time,
    in_zone,
    later,
)

FIRST_YEAR, LAST_YEAR = 1970, 2099
"""What the calendars of exchanges cover: outside of these years nothing trades."""

CLOCKS_OF_NYSE = (timedelta(hours=4), timedelta(hours=16), timedelta(hours=20))
WEEK_OF_FOREX = timedelta(hours=17)
MORE_THAN_A_WEEK = 8


class Hours(NamedTuple):
    """When a market opens and closes on a date, ns UTC; None where it was, or stays, open."""

    open: int | None
    close: int | None


class Market(Protocol):
    """The hours of one kind of security; dates are those of the market's own zone."""

    name: str
    never_closes: bool
    week: tuple[DayOfWeek, ...]
    """The days on which it trades in a week without holidays, Sunday first."""

    def day_from(self, day: date) -> date | None:
        """Return the first date on which it trades, `day` or later; None beyond the calendar."""
        ...

    def day_until(self, day: date) -> date | None:
        """Return the last date on which it trades, `day` or earlier; None beyond the calendar."""
        ...

    def hours(self, day: date, *, extended: bool = False) -> Hours | None:
        """Return when it opens and closes on a date; None where it does not trade."""
        ...

    def is_open(self, now: int) -> bool:
        """Whether it trades at `now` (ns UTC), in regular hours."""
        ...

    def next_change(self, now: int) -> int | None:
        """Return when, after `now`, it next opens or closes, in regular hours."""
        ...


class AlwaysOpen:
    """Crypto: every hour of every day."""

    name = "crypto"
    never_closes = True
    week = tuple(DayOfWeek)

    def day_from(self, day: date) -> date | None:
        """Every date is one."""
        return day

    def day_until(self, day: date) -> date | None:
        """Every date is one."""
        return day

    def hours(self, day: date, *, extended: bool = False) -> Hours | None:
        """It never opens, because it never closes."""
        del day, extended
        return Hours(None, None)

    def is_open(self, now: int) -> bool:
        """Always."""
        del now
        return True

    def next_change(self, now: int) -> int | None:
        """Never."""
        del now
        return None


class Forex:
    """Currencies: one session a week, from Sunday to Friday."""

    name = "forex"
    never_closes = False
    week = tuple(DayOfWeek)[:-1]

    def __init__(self) -> None:
        self._zone = ZoneInfo(NEW_YORK)

    def day_from(self, day: date) -> date | None:
        """Return the date, or Sunday where it is a Saturday."""
        return later(day, 1) if DayOfWeek.of(day) is DayOfWeek.SATURDAY else day

    def day_until(self, day: date) -> date | None:
        """Return the date, or Friday where it is a Saturday."""
        return later(day, -1) if DayOfWeek.of(day) is DayOfWeek.SATURDAY else day

    def hours(self, day: date, *, extended: bool = False) -> Hours | None:
        """It opens on Sundays and closes on Fridays; extended hours are the same."""
        del extended
        match DayOfWeek.of(day):
            case DayOfWeek.SATURDAY:
                return None
            case DayOfWeek.SUNDAY:
                return Hours(at_wall_time(day, WEEK_OF_FOREX, self._zone), None)
            case DayOfWeek.FRIDAY:
                return Hours(None, at_wall_time(day, WEEK_OF_FOREX, self._zone))
            case _:
                return Hours(None, None)

    def is_open(self, now: int) -> bool:
        """Whether the next change is a close."""
        change = self.next_change(now)
        return change is not None and self._day(change) is DayOfWeek.FRIDAY

    def next_change(self, now: int) -> int | None:
        """Return the next Sunday's open or Friday's close."""
        today = in_zone(now, self._zone).date()
        for days in range(MORE_THAN_A_WEEK):
            day = later(today, days)
            hours = None if day is None else self.hours(day)
            for moment in hours or ():
                if moment is not None and moment > now:
                    return moment
        return None

    def _day(self, now: int) -> DayOfWeek:
        return DayOfWeek.of(in_zone(now, self._zone))


class Exchange:
    """A calendar of sessions, each on one date.

    Args:
        name: what it is called.
        zone: of its clocks.
        sessions: regular hours by date, in order of time.
        clocks: what they show when extended hours begin, a full day ends, and extended hours end.
    """

    never_closes = False
    week = tuple(DayOfWeek)[1:-1]

    def __init__(
        self,
        name: str,
        zone: ZoneInfo,
        sessions: Mapping[date, tuple[int, int]],
        clocks: tuple[timedelta, timedelta, timedelta],
    ) -> None:
        self.name = name
        self._zone = zone
        self._sessions = sessions
        self._days = list(sessions)
        self._changes = [moment for session in sessions.values() for moment in session]
        self._clocks = clocks

    def day_from(self, day: date) -> date | None:
        """Return the first session's date, `day` or later."""
        place = bisect_left(self._days, day)
        return self._days[place] if place < len(self._days) else None

    def day_until(self, day: date) -> date | None:
        """Return the last session's date, `day` or earlier."""
        place = bisect_right(self._days, day)
        return self._days[place - 1] if place else None

    def hours(self, day: date, *, extended: bool = False) -> Hours | None:
        """Return the hours of the session; a half day ends extended hours at its early close."""
        session = self._sessions.get(day)
        if session is None:
            return None
        start, end = session
        if extended:
            early, usual, late = self._clocks
            start = min(start, at_wall_time(day, early, self._zone))
            if end >= at_wall_time(day, usual, self._zone):
                end = at_wall_time(day, late, self._zone)
        return Hours(start, end)

    def is_open(self, now: int) -> bool:
        """Whether `now` is in [open, close) of a session."""
        return bisect_right(self._changes, now) % 2 == 1

    def next_change(self, now: int) -> int | None:
        """Return the next open or close in the calendar."""
        place = bisect_right(self._changes, now)
        return self._changes[place] if place < len(self._changes) else None


def next_open(market: Market, now: int) -> int | None:
    """Return when, after `now`, the market next opens; None where it never does."""
    change = market.next_change(now)
    return market.next_change(change) if change is not None and market.is_open(now) else change


def next_close(market: Market, now: int) -> int | None:
    """Return when, after `now`, the market next closes; None where it never does."""
    change = market.next_change(now)
    return change if change is None or market.is_open(now) else market.next_change(change)


@cache
def market_of(asset_class: AssetClass) -> Market:
    """Return the hours that securities of a class go by."""
    match asset_class:
        case AssetClass.CRYPTO:
            return AlwaysOpen()
        case AssetClass.FOREX:
            return Forex()
        case AssetClass.EQUITY:
            return Exchange("NYSE", ZoneInfo(NEW_YORK), _sessions("XNYS"), CLOCKS_OF_NYSE)


def _sessions(code: str) -> dict[date, tuple[int, int]]:
    """Load a calendar: the one place that imports exchange_calendars, and pandas with it."""
    import exchange_calendars  # noqa: PLC0415  # half a second, for who uses a market's hours only

    with warnings.catch_warnings():
        # Its own use of pandas: nothing that who runs with -W error could do anything about.
        warnings.simplefilter("ignore", DeprecationWarning)
        calendar = exchange_calendars.get_calendar(
            code, start=f"{FIRST_YEAR}-01-01", end=f"{LAST_YEAR}-12-31"
        )
    days = calendar.schedule.index.date
    opens, closes = (
        calendar.schedule[name].dt.as_unit("ns").astype("int64") for name in ("open", "close")
    )
    return {day: (int(o), int(c)) for day, o, c in zip(days, opens, closes, strict=True)}
