"""When markets trade."""

from datetime import date, timedelta

import pytest

from feeds.events import SECOND, AssetClass
from runtime.schedule.calendars import Hours, market_of
from runtime.schedule.local_time import DayOfWeek
from tests.models import schedule as slow
from tests.runtime.schedule.kit import NYSE, utc

FOREX, CRYPTO = market_of(AssetClass.FOREX), market_of(AssetClass.CRYPTO)
HALF_DAYS = ["2013-07-03", "2013-11-29", "2013-12-24"]


@pytest.mark.parametrize(
    ("day", "opens", "closes"),
    [
        ("2000-01-03", "2000-01-03 14:30", "2000-01-03 21:00"),  # LEAN's own case
        ("2013-07-02", "2013-07-02 13:30", "2013-07-02 20:00"),
        ("2013-07-03", "2013-07-03 13:30", "2013-07-03 17:00"),
        ("2013-11-29", "2013-11-29 14:30", "2013-11-29 18:00"),
        ("2013-12-24", "2013-12-24 14:30", "2013-12-24 18:00"),
    ],
)
def test_equities_trade_from_open_to_close_of_the_exchange(
    day: str, opens: str, closes: str
) -> None:
    assert NYSE.hours(date.fromisoformat(day)) == Hours(utc(opens), utc(closes))


@pytest.mark.parametrize(
    "day", ["2013-07-04", "2013-11-28", "2013-12-25", "2001-09-12", "2024-07-06", "2024-07-07"]
)
def test_holidays_and_weekends_have_no_hours(day: str) -> None:
    assert NYSE.hours(date.fromisoformat(day)) is None


def test_extended_hours_are_four_to_eight_in_new_york() -> None:
    assert NYSE.hours(date(2024, 7, 5), extended=True) == Hours(
        utc("2024-07-05 08:00"), utc("2024-07-06 00:00")
    )


@pytest.mark.parametrize("day", HALF_DAYS)
def test_an_early_close_ends_extended_hours_too(day: str) -> None:
    regular, extended = (NYSE.hours(date.fromisoformat(day), extended=x) for x in (False, True))
    assert regular is not None
    assert extended is not None
    assert extended.close == regular.close


def test_outside_of_the_calendar_nothing_trades() -> None:
    assert NYSE.day_until(date(1969, 12, 31)) is None
    assert NYSE.day_from(date(2100, 1, 1)) is None
    assert NYSE.next_change(utc("2100-01-01")) is None
    assert not NYSE.is_open(utc("2100-01-05 15:00"))


def test_open_and_closed_go_over_at_the_very_second() -> None:
    opens, closes = utc("2013-07-03 13:30"), utc("2013-07-03 17:00")
    assert [NYSE.is_open(m) for m in (opens - 1, opens, closes - 1, closes)] == [
        False,
        True,
        True,
        False,
    ]
    assert NYSE.next_change(opens - 1) == opens
    assert NYSE.next_change(opens) == closes
    assert NYSE.next_change(closes) == utc("2013-07-05 13:30")  # over the fourth of July


@pytest.mark.parametrize(
    ("day", "hours"),
    [
        ("2024-07-06", None),
        ("2024-07-07", ("2024-07-07 21:00", None)),
        ("2024-07-08", (None, None)),
        ("2024-07-12", (None, "2024-07-12 21:00")),
        ("2024-01-07", ("2024-01-07 22:00", None)),  # the same wall time in winter
    ],
)
def test_forex_opens_on_sundays_and_closes_on_fridays(
    day: str, hours: tuple[str | None, str | None] | None
) -> None:
    expected = None if hours is None else Hours(*(h and utc(h) for h in hours))  # type: ignore[arg-type]  # "" does not come
    assert FOREX.hours(date.fromisoformat(day)) == expected


def test_forex_is_open_between_them() -> None:
    opens, closes = utc("2024-07-07 21:00"), utc("2024-07-12 21:00")
    assert [FOREX.is_open(m) for m in (opens - 1, opens, closes - 1, closes)] == [
        False,
        True,
        True,
        False,
    ]
    assert FOREX.next_change(opens - SECOND) == opens
    assert FOREX.next_change(opens) == closes
    assert FOREX.day_from(date(2024, 7, 6)) == date(2024, 7, 7)
    assert FOREX.day_until(date(2024, 7, 6)) == date(2024, 7, 5)


def test_crypto_never_closes() -> None:
    assert CRYPTO.never_closes
    assert CRYPTO.is_open(utc("2024-12-25"))
    assert CRYPTO.next_change(utc("2024-12-25")) is None
    assert CRYPTO.hours(date(2024, 12, 25)) == Hours(None, None)
    assert CRYPTO.day_from(date(2024, 12, 25)) == date(2024, 12, 25)
    assert CRYPTO.day_until(date(2024, 12, 25)) == date(2024, 12, 25)


@pytest.mark.parametrize("asset_class", list(AssetClass))
def test_the_week_of_a_market_is_what_its_days_say(asset_class: AssetClass) -> None:
    market = market_of(asset_class)
    days = [d for d in slow.dates(date(2024, 7, 7), date(2024, 7, 13)) if market.day_from(d) == d]
    expected = [d for d in days if d != date(2024, 7, 4)]
    assert list(market.week) == [DayOfWeek.of(d) for d in expected]


@pytest.mark.parametrize("asset_class", list(AssetClass))
def test_days_before_and_after_are_the_nearest_that_have_hours(asset_class: AssetClass) -> None:
    market = market_of(asset_class)
    days = list(slow.dates(date(2013, 6, 20), date(2013, 7, 20)))
    trading = [d for d in days if market.hours(d) is not None]
    for day in days[7:-7]:
        assert market.day_from(day) == min(d for d in trading if d >= day)
        assert market.day_until(day) == max(d for d in trading if d <= day)


def test_every_session_is_open_inside_and_closed_around() -> None:
    day = NYSE.day_from(date(1999, 1, 1))
    while day is not None and day.year < 2000:
        for extended in (False, True):
            hours = NYSE.hours(day, extended=extended)
            assert hours is not None
            assert hours.open is not None
            assert hours.close is not None
            assert hours.open < hours.close
        day = NYSE.day_from(day + timedelta(days=1))
