"""Wall clocks and instants: what a clock on the wall shows is looked up, never computed with.

A time that daylight saving skips is the first instant after the gap; one that it repeats is the
first of the two. So later wall times are never earlier instants, and each comes at most once.
"""

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import Enum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from feeds.events import SECOND
from runtime.errors import StrategyError

DAY = timedelta(days=1)
DAY_NS = 86_400 * SECOND
NEW_YORK = "America/New_York"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = EPOCH.toordinal()


class DayOfWeek(Enum):
    """The days of a week; the values are LEAN's."""

    SUNDAY = 0
    MONDAY = 1
    TUESDAY = 2
    WEDNESDAY = 3
    THURSDAY = 4
    FRIDAY = 5
    SATURDAY = 6

    @classmethod
    def of(cls, day: date) -> "DayOfWeek":
        """Return the day of the week of a date."""
        return cls(day.isoweekday() % 7)


def span_ns(span: timedelta) -> int:
    """Return a span in ns."""
    return span // timedelta(microseconds=1) * 1000


def instant(moment: datetime) -> int:
    """Return an aware datetime as ns since the epoch; one without a zone is UTC."""
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return span_ns(aware - EPOCH)


def in_zone(ns: int, zone: tzinfo) -> datetime:
    """Return the datetime of an instant, aware, in a zone."""
    return (EPOCH + timedelta(microseconds=ns // 1000)).astimezone(zone)


def utc_midnight(day: date) -> int:
    """Return the start of a date in UTC, ns."""
    return (day.toordinal() - _EPOCH_DAY) * DAY_NS


def later(day: date, days: int) -> date | None:
    """Return the date `days` after (before, if negative); None beyond what a calendar can hold."""
    ordinal = day.toordinal() + days
    return date.fromordinal(ordinal) if 1 <= ordinal <= date.max.toordinal() else None


def at_wall_time(day: date, after_midnight: timedelta, zone: tzinfo) -> int:
    """Return when (ns UTC) the clocks of a zone show `after_midnight` on a date."""
    wall = datetime.combine(day, time()) + after_midnight
    first = wall.replace(tzinfo=zone, fold=0)
    before, after = first.utcoffset(), first.replace(fold=1).utcoffset()
    if before is None or after is None or before >= after:  # one moment, or the first of two
        return instant(first)
    return _end_of_gap(wall - after, wall - before, zone)


def _end_of_gap(early: datetime, late: datetime, zone: tzinfo) -> int:
    """Find the second in (early, late], UTC without zone, at which the clocks are put forward."""
    low, high = (instant(moment) // SECOND for moment in (early, late))
    old = in_zone(low * SECOND, zone).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        if in_zone(middle * SECOND, zone).utcoffset() == old:
            low = middle
        else:
            high = middle
    return high * SECOND


def zone_named(name: "str | tzinfo", asked: str) -> tzinfo:
    """Return a zone by its IANA name, or the zone itself.

    Raises:
        StrategyError: there is none of that name; `asked` is how the sentence begins.
    """
    if isinstance(name, tzinfo):
        return name
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError, TypeError):
        raise StrategyError(
            f"{asked}: the time zone {name!r} is not known: an IANA name such as "
            "America/New_York or UTC is needed",
            "",
        ) from None
