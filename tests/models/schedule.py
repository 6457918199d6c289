"""The slow obvious schedule: it looks at every date and every quarter of an hour."""

from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from feeds.events import MINUTE
from runtime.schedule.local_time import in_zone, utc_midnight

QUARTER = timedelta(minutes=15)
QUARTER_NS = 15 * MINUTE
DAY_NS = 96 * QUARTER_NS


def dates(first: date, last: date) -> Iterator[date]:
    day = first
    while day <= last:
        yield day
        day += timedelta(days=1)


def clocks(zone: ZoneInfo, around: int) -> list[tuple[int, datetime]]:
    """What the clocks show at each quarter of an hour, from a bit before to a day after."""
    moments = range(around - 16 * QUARTER_NS, around + 112 * QUARTER_NS, QUARTER_NS)
    return [(moment, in_zone(moment, zone).replace(tzinfo=None)) for moment in moments]


def first_showing(walls: list[tuple[int, datetime]], wall: datetime) -> int:
    """The first quarter of an hour at which the clocks show this time or a later one."""
    return next(moment for moment, shown in walls if shown >= wall)


def offsets(zone: ZoneInfo, first_year: int, last_year: int) -> tuple[timedelta | None, ...]:
    """How far the clocks of a zone are ahead of UTC at each midnight of it."""
    start, end = (utc_midnight(date(year, 1, 1)) for year in (first_year, last_year + 1))
    return tuple(in_zone(day, zone).utcoffset() for day in range(start, end, DAY_NS))


def transitions(
    zone: ZoneInfo, first_year: int, midnights: tuple[timedelta | None, ...]
) -> list[int]:
    """The quarters of an hour from which the clocks are put forward or back."""
    start = utc_midnight(date(first_year, 1, 1))
    days = [d for d, (before, after) in enumerate(pairwise(midnights)) if before != after]
    return [
        next(
            moment
            for moment in range(start + d * DAY_NS, start + (d + 1) * DAY_NS + 1, QUARTER_NS)
            if in_zone(moment, zone).utcoffset() != midnights[d]
        )
        for d in days
    ]


def one_of_each(
    days: Iterable[date], key: Callable[[date], object], offset: int, *, from_start: bool
) -> list[date]:
    """Of each group of days, one: so many from its start or its end, or the last on that way."""
    groups: dict[object, list[date]] = {}
    for day in days:
        groups.setdefault(key(day), []).append(day)
    return [
        (group if from_start else group[::-1])[min(offset, len(group) - 1)]
        for group in groups.values()
    ]


class SlowAgenda:
    """Entries with all their moments written out; firing is looking through them."""

    def __init__(self, entries: list[list[int]], now: int) -> None:
        self.entries = entries
        self.seen = now - 1

    def move_to(self, now: int) -> list[tuple[int, int]]:
        """(due, entry) of what fires, in order."""
        fired = []
        for number, moments in enumerate(self.entries):
            missed = [moment for moment in moments if self.seen < moment <= now]
            if missed:
                fired.append((missed[0], number))
        self.seen = max(self.seen, now)
        return sorted(fired)
