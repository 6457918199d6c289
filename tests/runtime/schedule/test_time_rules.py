"""At which times: LEAN's own cases by name, then the rules that count steps against counting."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import StrategyError
from runtime.schedule.agenda import LOOK_AHEAD, next_due
from runtime.schedule.dates import FuncDateRule
from runtime.schedule.local_time import at_wall_time
from runtime.schedule.time_rules import TimeRules
from runtime.schedule.times import CompositeTimeRule, FuncTimeRule, TimeRule
from tests.runtime.schedule.kit import Kit, times_of, utc

KIT = Kit()
DATES, TIMES = KIT.date_rules, KIT.time_rules


def of_day(times: TimeRule, day: str) -> list[str]:
    """All moments of one date of a rule, UTC."""
    return times_of(DATES.on(date.fromisoformat(day)), times, "1999-01-01", "2099-01-01")


# ---- LEAN's cases ---------------------------------------------------------------------------


def test_noon_in_new_york_is_17_utc_in_winter() -> None:
    assert of_day(TIMES.at(12, 0), "2000-01-01") == ["2000-01-01 17:00"]


def test_open_of_spy_is_14_30_utc_and_close_21_in_winter() -> None:
    assert of_day(TIMES.after_market_open("SPY"), "2000-01-03") == ["2000-01-03 14:30"]
    assert of_day(TIMES.before_market_close("SPY"), "2000-01-03") == ["2000-01-03 21:00"]


def test_market_rules_without_symbol_and_with_crypto_only_go_by_us_equities() -> None:
    times = Kit(added=["BTC/USD"]).time_rules
    assert of_day(times.after_market_open(), "2000-01-03") == ["2000-01-03 14:30"]
    assert of_day(times.before_market_close(), "2000-01-03") == ["2000-01-03 21:00"]


def test_markets_without_symbol_take_the_earliest_open_and_the_latest_close() -> None:
    times = Kit(added=["EUR/USD", "SPY"]).time_rules
    assert of_day(times.after_market_open(), "2024-07-07") == ["2024-07-07 21:00"]
    assert of_day(times.before_market_close(30), "2024-07-12") == ["2024-07-12 20:30"]
    assert of_day(times.before_market_close(), "2024-07-11") == ["2024-07-11 20:00"]


# ---- the other members ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "day", "moments"),
    [
        (lambda t: t.midnight, "2024-07-05", ["2024-07-05 04:00"]),
        (lambda t: t.noon, "2024-03-10", ["2024-03-10 16:00"]),  # 12 by the clocks, not 12 h later
        (lambda t: t.at(timedelta(hours=9.5)), "2024-07-05", ["2024-07-05 13:30"]),
        (lambda t: t.at(9, 30, "Europe/London"), "2024-07-05", ["2024-07-05 08:30"]),
        (lambda t: t.at(9, 30, 0, ZoneInfo("UTC")), "2024-07-05", ["2024-07-05 09:30"]),
        (lambda t: t.at(timedelta(hours=1), "Asia/Tokyo"), "2024-07-05", ["2024-07-04 16:00"]),
        (lambda t: t.after_market_open("SPY", 30), "2024-07-05", ["2024-07-05 14:00"]),
        (lambda t: t.before_market_open("SPY", 30), "2024-07-05", ["2024-07-05 13:00"]),
        (lambda t: t.before_market_close("SPY", 10), "2013-07-03", ["2013-07-03 16:50"]),
        (lambda t: t.after_market_close("SPY", 10), "2013-07-03", ["2013-07-03 17:10"]),
        (lambda t: t.after_market_open("SPY", 0, True), "2024-07-05", ["2024-07-05 08:00"]),
        (lambda t: t.before_market_close("SPY", 0, True), "2024-07-05", ["2024-07-06 00:00"]),
        (lambda t: t.after_market_close("SPY", 600), "2024-07-05", ["2024-07-06 06:00"]),
        (lambda t: t.before_market_open("SPY", 3000), "2024-07-05", ["2024-07-03 11:30"]),
        (lambda t: t.after_market_open("SPY"), "2024-07-04", []),
        (lambda t: t.after_market_open("EUR/USD", 5), "2024-07-07", ["2024-07-07 21:05"]),
        (lambda t: t.after_market_open("EUR/USD"), "2024-07-08", []),
        (lambda t: t.before_market_close("EUR/USD"), "2024-07-12", ["2024-07-12 21:00"]),
        (lambda t: t.every(timedelta(hours=36)), "2024-07-05", ["2024-07-05 04:00"]),
        (
            lambda t: t.every(timedelta(hours=7)),
            "2024-07-05",
            ["2024-07-05 04:00", "2024-07-05 11:00", "2024-07-05 18:00", "2024-07-06 01:00"],
        ),
    ],
)
def test_times_of_a_date(
    make: Callable[[TimeRules], TimeRule], day: str, moments: list[str]
) -> None:
    assert of_day(make(TIMES), day) == moments


def test_a_day_with_a_skipped_hour_has_23_hourly_times_and_none_twice() -> None:
    hourly = of_day(TIMES.every(timedelta(hours=1)), "2024-03-10")
    assert len(hourly) == 23
    half_hourly = of_day(TIMES.every(timedelta(minutes=30)), "2024-03-10")
    assert half_hourly[3:6] == ["2024-03-10 06:30", "2024-03-10 07:00", "2024-03-10 07:30"]


def test_a_day_with_a_repeated_hour_has_24_hourly_times_and_a_gap() -> None:
    hourly = of_day(TIMES.every(timedelta(hours=1)), "2024-11-03")
    assert len(hourly) == 24
    assert hourly[:3] == ["2024-11-03 04:00", "2024-11-03 05:00", "2024-11-03 07:00"]


def test_a_daily_time_that_is_skipped_fires_at_the_first_valid_instant_and_only_then() -> None:
    found = times_of(DATES.every_day(), TIMES.at(2, 30), "2024-03-09", "2024-03-12")
    assert found == ["2024-03-09 07:30", "2024-03-10 07:00", "2024-03-11 06:30"]


def test_a_daily_time_that_is_repeated_fires_once() -> None:
    found = times_of(DATES.every_day(), TIMES.at(1, 30), "2024-11-02", "2024-11-05")
    assert found == ["2024-11-02 05:30", "2024-11-03 05:30", "2024-11-04 06:30"]


def test_two_dates_that_fall_on_one_instant_are_one_time() -> None:
    """Samoa had no 30th of December in 2011: its midnight is that of the 31st."""
    kit = Kit("Pacific/Apia")
    found = times_of(
        kit.date_rules.every_day(), kit.time_rules.midnight, "2011-12-28 12:00", "2011-12-31 11:00"
    )
    assert found == ["2011-12-29 10:00", "2011-12-30 10:00", "2011-12-31 10:00"]


def test_now_is_the_moment_whatever_the_date_and_comes_once() -> None:
    kit = Kit(now="2024-07-05 12:34")
    for dates in (kit.date_rules.today, kit.date_rules.tomorrow, kit.date_rules.every_day()):
        rule = kit.time_rules.now
        assert next_due(dates, rule, kit.now - 1) == kit.now
        assert next_due(dates, rule, kit.now) is None


def test_the_default_zone_is_of_the_rules_that_name_no_other() -> None:
    kit = Kit()
    early = kit.time_rules.at(12, 0)
    kit.time_rules.set_default_time_zone("Asia/Tokyo")
    assert of_day(kit.time_rules.at(12, 0), "2000-01-01") == ["2000-01-01 03:00"]
    assert of_day(kit.time_rules.midnight, "2000-01-02") == ["2000-01-01 15:00"]
    assert of_day(kit.time_rules.at(12, 0, "UTC"), "2000-01-01") == ["2000-01-01 12:00"]
    assert of_day(early, "2000-01-01") == ["2000-01-01 17:00"]


def test_several_rules_are_merged_sorted_and_each_moment_comes_once() -> None:
    rule = CompositeTimeRule(TIMES.at(12, 0), TIMES.noon, TIMES.at(9, 0), TIMES.at(9, 0, "UTC"))
    assert of_day(rule, "2000-01-01") == [
        "2000-01-01 09:00",
        "2000-01-01 14:00",
        "2000-01-01 17:00",
    ]
    assert rule.name == "12,Noon,9,9"
    far = CompositeTimeRule(TIMES.noon, TIMES.after_market_close("SPY", 5000))
    assert far.reach == TIMES.after_market_close("SPY", 5000).reach


def test_times_of_your_own_are_utc_unless_they_say_otherwise() -> None:
    def mine(dates: list[datetime]) -> list[datetime]:
        (day,) = dates
        zone = ZoneInfo("Asia/Tokyo")
        return [day + timedelta(hours=10), day.replace(hour=9, tzinfo=zone), day]

    assert of_day(FuncTimeRule("mine", mine), "2000-01-01") == [  # type: ignore[arg-type]  # a list
        "2000-01-01 00:00",
        "2000-01-01 10:00",
    ]


@pytest.mark.parametrize("wrong", [lambda _: 1 / 0, lambda _: [5], lambda _: None])
def test_a_function_that_is_wrong_is_named(wrong: Callable[..., list[datetime]]) -> None:
    with pytest.raises(StrategyError, match=r"^FuncTimeRule 'mine' raised "):
        FuncTimeRule("mine", wrong).first(date(2000, 1, 1), 0)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda t: t.at(8, 0), "8"),
        (lambda t: t.at(9, 30), "9.5"),
        (lambda t: t.every(timedelta(minutes=10)), "Every 10 min"),
        (lambda t: t.midnight, "Midnight"),
        (lambda t: t.noon, "Noon"),
        (lambda t: t.now, "Now"),
        (lambda t: t.after_market_open("SPY", 10), "SPY: 10 min after MarketOpen"),
        (lambda t: t.before_market_open("SPY", 10), "SPY: -10 min after MarketOpen"),
        (lambda t: t.before_market_close("SPY", 2.5), "SPY: 2.5 min before MarketClose"),
        (lambda t: t.after_market_close(10), "-10 min before MarketClose"),
        (lambda t: t.after_market_open("SPY", 1, True), "SPY: 1 min after ExtendedMarketOpen"),
        (lambda t: t.before_market_close(5, True), "5 min before ExtendedMarketClose"),
    ],
)
def test_names_are_leans(make: Callable[[TimeRules], TimeRule], name: str) -> None:
    assert make(TIMES).name == name


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda t: t.at(24, 0), r"time_rules\.at\(24, 0, 0\): an hour of 0 to 23"),
        (lambda t: t.at(9, 60), "a minute and a second of 0 to 59"),
        (lambda t: t.at(9, 30, 60), "a minute and a second of 0 to 59"),
        (lambda t: t.at(9), "an hour of 0 to 23, a minute"),
        (lambda t: t.at("9:30"), "an hour of 0 to 23, a minute"),
        (lambda t: t.at(timedelta(hours=24)), "a timedelta of less than a day"),
        (lambda t: t.at(timedelta(hours=-1)), "a timedelta of less than a day"),
        (lambda t: t.at(9, 30, "UTC", "UTC"), "at most one time zone"),
        (lambda t: t.at(9, 30, "Mars"), r"time_rules\.at.*the time zone 'Mars' is not known"),
        (lambda t: t.every(timedelta(0)), r"time_rules\.every.*a timedelta of more than 0"),
        (lambda t: t.every(5), r"time_rules\.every\(5\): a timedelta"),
        (lambda t: t.after_market_open("SPY", float("nan")), "nan is not a number of minutes"),
        (lambda t: t.before_market_close("SPY", "5"), "'5' is not a number of minutes"),
        (lambda t: t.after_market_open("BTC/USD"), "BTC/USD trades around the clock"),
        (lambda t: t.set_default_time_zone("Mars"), "time_rules.set_default_time_zone: the time"),
        (lambda _: CompositeTimeRule(), "name at least one time rule"),
    ],
)
def test_a_bad_argument_is_one_sentence(
    make: Callable[[TimeRules], TimeRule], sentence: str
) -> None:
    with pytest.raises(StrategyError, match=sentence) as caught:
        make(TIMES)
    assert "\n" not in str(caught.value)


# ---- the next one of many -------------------------------------------------------------------


def test_rules_that_never_meet_are_given_up_not_searched_for_ever() -> None:
    asked: list[object] = []

    def never(dates: object) -> list[datetime]:
        asked.append(dates)
        return []

    times = FuncTimeRule("never", never)
    assert next_due(DATES.every_day(), times, utc("2024-01-01")) is None
    assert len(asked) == LOOK_AHEAD
    new_year = next_due(DATES.year_start(), TIMES.after_market_open("SPY"), utc("2024-01-01"))
    assert new_year is None  # a holiday, always


def test_a_leap_day_is_not_too_far_away() -> None:
    times = FuncTimeRule("leap", lambda dates: [d for d in dates if (d.month, d.day) == (2, 29)])
    assert next_due(DATES.every_day(), times, utc("2024-02-29")) == utc("2028-02-29")


def test_dates_that_end_are_due_no_more() -> None:
    rule = FuncDateRule("mine", lambda _a, _b: [date(2024, 1, 5)])
    assert next_due(rule, TIMES.noon, utc("2024-01-05 17:00")) is None


def test_a_time_far_before_its_date_is_found_from_before() -> None:
    """The open of Friday minus 50 hours is due on Wednesday, before the one of Thursday."""
    dates, times = DATES.every_day("SPY"), TIMES.before_market_open("SPY", 3000)
    found = times_of(dates, times, "2024-07-08", "2024-07-11")
    assert found == ["2024-07-08 11:30", "2024-07-09 11:30", "2024-07-10 11:30"]


@given(
    zone=st.sampled_from(["America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "UTC"]),
    interval=st.timedeltas(timedelta(minutes=7), timedelta(hours=30)),
    day=st.dates(date(2010, 1, 1), date(2013, 12, 31))
    | st.sampled_from([date(2024, 3, 10), date(2024, 11, 3), date(2011, 12, 30)]),
    after=st.integers(-2 * 86_400, 3 * 86_400),
)
def test_steps_of_a_date_are_as_if_each_was_counted(
    zone: str, interval: timedelta, day: date, after: int
) -> None:
    moment = utc(day.isoformat()) + after * 10**9
    steps, step = [], timedelta(0)
    while step < timedelta(days=1):
        steps.append(at_wall_time(day, step, ZoneInfo(zone)))
        step += interval
    expected = min((s for s in steps if s > moment), default=None)
    assert Kit(zone).time_rules.every(interval).first(day, moment) == expected
