"""Daylight saving, both ways, in every zone that a calendar of an exchange uses."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import exchange_calendars
import pytest

from runtime.errors import StrategyError
from runtime.schedule.local_time import (
    DayOfWeek,
    at_wall_time,
    in_zone,
    instant,
    later,
    utc_midnight,
    zone_named,
)
from tests.models import schedule as slow

AROUND = 6  # quarters of an hour looked at on both sides of a transition
ODD = {"Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca"}


def zones() -> dict[str, list[int]]:
    """The transitions of each zone, once for those that share all of them, as much of Europe."""
    calendars = exchange_calendars.calendar_utils._default_calendar_factories.values()
    names = sorted({str(calendar.tz) for calendar in calendars} | ODD)
    assert len(names) > 50
    found = {slow.offsets(ZoneInfo(name), 2000, 2037): name for name in names}
    return {n: slow.transitions(ZoneInfo(n), 2000, offsets) for offsets, n in found.items()}


def test_all_transitions_of_all_zones_of_the_calendars_as_the_slow_model_has_them() -> None:
    """2000 to 2037: a skipped time is the end of its gap, a repeated one the first of the two."""
    seen = 0
    for name, changes in zones().items():
        zone = ZoneInfo(name)
        for change in changes:
            walls = slow.clocks(zone, change)
            wall = in_zone(change, zone).replace(tzinfo=None) - AROUND * slow.QUARTER
            for _ in range(AROUND * 2):
                since_midnight = timedelta(hours=wall.hour, minutes=wall.minute)
                expected = slow.first_showing(walls, wall)
                assert at_wall_time(wall.date(), since_midnight, zone) == expected, (name, wall)
                wall += slow.QUARTER
                seen += 1
    assert seen > 10_000


@pytest.mark.parametrize(
    ("zone", "wall", "expected"),
    [
        ("America/New_York", "2024-03-10 01:59", "2024-03-10 06:59"),
        ("America/New_York", "2024-03-10 02:00", "2024-03-10 07:00"),
        ("America/New_York", "2024-03-10 02:30", "2024-03-10 07:00"),
        ("America/New_York", "2024-03-10 03:00", "2024-03-10 07:00"),
        ("America/New_York", "2024-11-03 01:00", "2024-11-03 05:00"),
        ("America/New_York", "2024-11-03 01:59", "2024-11-03 05:59"),
        ("America/New_York", "2024-11-03 02:00", "2024-11-03 07:00"),
        ("America/Sao_Paulo", "2018-11-04 00:00", "2018-11-04 03:00"),  # midnight does not exist
        ("Pacific/Apia", "2011-12-30 12:00", "2011-12-30 10:00"),  # nor does this whole day
        ("Pacific/Apia", "2011-12-31 00:00", "2011-12-30 10:00"),
        ("Australia/Lord_Howe", "2024-10-06 02:15", "2024-10-05 15:30"),  # half an hour of it
    ],
)
def test_skipped_is_the_first_valid_instant_and_repeated_the_first(
    zone: str, wall: str, expected: str
) -> None:
    day = datetime.fromisoformat(wall)
    since_midnight = timedelta(hours=day.hour, minutes=day.minute)
    found = at_wall_time(day.date(), since_midnight, ZoneInfo(zone))
    assert in_zone(found, UTC).replace(tzinfo=None) == datetime.fromisoformat(expected)


def test_instants_and_datetimes_are_the_same_both_ways() -> None:
    moment = datetime(2024, 2, 29, 12, 30, 15, 123456, UTC)
    assert in_zone(instant(moment), UTC) == moment
    assert instant(moment.replace(tzinfo=None)) == instant(moment)
    assert utc_midnight(date(2024, 2, 29)) == instant(datetime(2024, 2, 29, tzinfo=UTC))


def test_dates_end_where_the_calendar_does() -> None:
    assert later(date.max, 1) is None
    assert later(date.min, -1) is None
    assert later(date(2024, 2, 28), 1) == date(2024, 2, 29)


def test_days_of_the_week_are_leans() -> None:
    assert DayOfWeek.of(date(2024, 7, 7)) is DayOfWeek.SUNDAY
    assert [DayOfWeek.of(date(2024, 7, day)).value for day in range(7, 14)] == list(range(7))


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../etc/passwd", 5])
def test_unknown_zone_is_one_sentence(name: str) -> None:
    with pytest.raises(StrategyError, match=r"^time_rules\.at: the time zone .* is not known"):
        zone_named(name, "time_rules.at")
    assert zone_named(UTC, "x") is UTC
