"""When the venue's day opens and closes, for orders that name it: New York's hours, all days alike.

The market itself never closes, as the clock says: what is made up or recorded trades when it does.
"""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from feeds.events import SECOND

NEW_YORK = ZoneInfo("America/New_York")
OPEN, CLOSE = time(9, 30), time(16, 0)


def here(now: int) -> datetime:
    """Return a time, ns UTC, as New York's clocks have it."""
    return datetime.fromtimestamp(now // SECOND, UTC).astimezone(NEW_YORK)


def next_open(now: int) -> int:
    """Return the first 9:30 after `now`, ns UTC."""
    return _next(OPEN, now)


def next_close(now: int) -> int:
    """Return the first 16:00 after `now`, ns UTC."""
    return _next(CLOSE, now)


def _next(at: time, now: int) -> int:
    day = here(now).date()
    moment = datetime.combine(day, at, NEW_YORK)
    if int(moment.timestamp()) * SECOND <= now:
        moment = datetime.combine(day + timedelta(days=1), at, NEW_YORK)
    return int(moment.timestamp()) * SECOND
