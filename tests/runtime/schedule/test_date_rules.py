"""Which dates: LEAN's own cases by name, then every rule against looking at each date."""

from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import StrategyError
from runtime.schedule.date_rules import DateRules
from runtime.schedule.dates import DateRule, FuncDateRule, as_date
from runtime.schedule.local_time import DayOfWeek
from tests.models import schedule as slow
from tests.runtime.schedule.kit import CLASSES, Kit, dates_of, utc

RULES = Kit().date_rules


def days(*numbers: int, year: int = 2000, month: int = 1) -> list[date]:
    return [date(year, month, number) for number in numbers]


# ---- LEAN's cases ---------------------------------------------------------------------------


def test_every_day_of_2000_is_366_dates() -> None:
    assert len(dates_of(RULES.every_day(), "2000-01-01", "2000-12-31")) == 366


def test_every_trading_day_of_2000_is_252_dates_and_no_weekend() -> None:
    found = dates_of(RULES.every_day("SPY"), "2000-01-01", "2000-12-31")
    assert len(found) == 252
    assert not any(day.weekday() >= 5 for day in found)


def test_month_start_comes_twelve_times_a_year() -> None:
    found = dates_of(RULES.month_start(), "2000-01-01", "2000-12-31")
    assert found == [date(2000, month, 1) for month in range(1, 13)]


def test_month_start_from_mid_january_comes_eleven_times() -> None:
    assert len(dates_of(RULES.month_start(), "2000-01-15", "2000-12-31")) == 11


def test_a_start_before_the_offset_day_still_fires_in_that_month() -> None:
    found = dates_of(RULES.month_start(20), "2000-01-15", "2000-01-31")
    assert found == days(21)


def test_week_start_of_a_symbol_is_tuesday_after_a_holiday() -> None:
    found = dates_of(RULES.week_start("SPY"), "2000-01-01", "2000-01-31")
    assert found == days(3, 10, 18, 24, 31)


def test_week_offset_beyond_the_trading_days_names_the_range() -> None:
    for rule in (RULES.week_start, RULES.week_end):
        with pytest.raises(StrategyError, match=r"days_offset is 5: 0 to 4 is allowed for SPY"):
            rule("SPY", 5)


def test_month_start_offset_is_clamped_to_the_last_trading_day() -> None:
    found = dates_of(RULES.month_start("SPY", 30), "2000-01-01", "2000-03-31")
    assert found == [date(2000, 1, 31), date(2000, 2, 29), date(2000, 3, 31)]


def test_month_end_offset_is_clamped_to_the_first_trading_day() -> None:
    found = dates_of(RULES.month_end("SPY", 30), "2000-01-01", "2000-02-29")
    assert found == [date(2000, 1, 3), date(2000, 2, 1)]


# ---- the other members ----------------------------------------------------------------------


def test_given_dates_are_taken_in_order_and_once() -> None:
    assert dates_of(RULES.on(2000, 2, 29), "2000-01-01", "2000-12-31") == [date(2000, 2, 29)]
    many = [date(2000, 3, 1), datetime(2000, 1, 5, 14, 30), date(2000, 3, 1)]
    for rule in (RULES.on(many), RULES.on(*many)):
        assert dates_of(rule, "2000-01-01", "2000-12-31") == [date(2000, 1, 5), date(2000, 3, 1)]
    assert dates_of(RULES.on(many), "2000-01-06", "2000-02-28") == []


def test_days_of_the_week() -> None:
    rule = RULES.every(DayOfWeek.MONDAY, DayOfWeek.FRIDAY)
    assert dates_of(rule, "2000-01-01", "2000-01-14") == days(3, 7, 10, 14)


def test_today_and_tomorrow_are_those_of_the_moment_that_asks() -> None:
    kit = Kit()
    today, tomorrow = kit.date_rules.today, kit.date_rules.tomorrow
    kit.now = utc("2024-02-29 03:00")  # the 28th in New York
    assert dates_of(today, "2024-01-01", "2024-12-31") == [date(2024, 2, 28)]
    assert dates_of(tomorrow, "2024-01-01", "2024-12-31") == [date(2024, 2, 29)]
    kit.now = utc("2025-01-01 12:00")
    assert dates_of(today, "2024-01-01", "2025-12-31") == [date(2024, 2, 28)]
    assert dates_of(today, "2024-02-29", "2025-12-31") == []
    kit.date_rules.set_default_time_zone("Asia/Tokyo")
    kit.now = utc("2024-02-29 16:00")
    assert dates_of(kit.date_rules.today, "2024-01-01", "2024-12-31") == [date(2024, 3, 1)]


def test_leap_day_comes_with_its_year() -> None:
    rule = FuncDateRule("leap", lambda a, b: [d for d in span(a, b) if (d.month, d.day) == (2, 29)])
    found = dates_of(rule, "1999-01-01", "2009-01-01")
    assert found == [date(2000, 2, 29), date(2004, 2, 29), date(2008, 2, 29)]
    assert rule.first(date(2096, 3, 1)) == date(2104, 2, 29)


def span(start: datetime, end: datetime) -> Iterable[datetime]:
    day = start
    while day <= end:
        yield day
        day += timedelta(days=1)


def test_dates_of_your_own_are_asked_a_year_at_a_time_and_sorted() -> None:
    asked: list[tuple[datetime, datetime]] = []

    def mine(start: datetime, end: datetime) -> list[date]:
        asked.append((start, end))
        return [end.date(), date(start.year, 3, 5), date(1900, 1, 1)]

    rule = FuncDateRule("mine", mine)
    found = dates_of(rule, "2000-06-01", "2001-12-30")
    assert found == [date(2000, 12, 31), date(2001, 3, 5)]
    assert asked == [
        (datetime(2000, 1, 1), datetime(2000, 12, 31)),
        (datetime(2001, 1, 1), datetime(2001, 12, 31)),
    ]


def test_dates_of_your_own_that_are_none_end_after_ten_years() -> None:
    asked: list[int] = []

    def never(start: datetime, _end: datetime) -> list[date]:
        asked.append(start.year)
        return []

    rule = FuncDateRule("never", never)
    assert rule.first(date(2000, 1, 1)) is None
    assert asked == list(range(2000, 2011))
    assert rule.first(date.max) is None


@pytest.mark.parametrize("wrong", [lambda _a, _b: 1 / 0, lambda _a, _b: ["2000-01-01"]])
def test_a_function_that_is_wrong_is_named(wrong: Callable[..., list[date]]) -> None:
    with pytest.raises(StrategyError, match=r"^FuncDateRule 'mine' raised "):
        FuncDateRule("mine", wrong).first(date(2000, 1, 1))


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda r: r.every_day(), "EveryDay"),
        (lambda r: r.every_day("SPY"), "SPY: EveryDay"),
        (lambda r: r.today, "TodayOnly"),
        (lambda r: r.tomorrow, "TomorrowOnly"),
        (lambda r: r.month_start("SPY", 5), "SPY: MonthStart+5"),
        (lambda r: r.week_end(2), "WeekEnd-2"),
        (lambda r: r.week_start(days_offset=1), "WeekStart+1"),
        (lambda r: r.year_end(), "YearEnd"),
        (lambda r: r.every(DayOfWeek.MONDAY, DayOfWeek.FRIDAY), "Monday,Friday"),
        (lambda r: r.on(2013, 10, 7), "10/07/2013"),
    ],
)
def test_names_are_leans(make: Callable[[DateRules], DateRule], name: str) -> None:
    assert make(RULES).name == name


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda r: r.on(2001, 2, 29), r"date_rules\.on\(2001, 2, 29\): day .* dates are needed"),
        (lambda r: r.on("2001-02-28"), r"date_rules\.on.*is not a date"),
        (lambda r: r.on(), "name at least one date"),
        (lambda r: r.on([]), "name at least one date"),
        (lambda r: r.every(), r"date_rules\.every\(\): days such as DayOfWeek\.MONDAY"),
        (lambda r: r.every("MONDAY"), r"date_rules\.every.*DayOfWeek\.MONDAY"),
        (
            lambda r: r.week_start(7),
            r"date_rules\.week_start: days_offset is 7: 0 to 6 is allowed$",
        ),
        (lambda r: r.week_end(-1), r"date_rules\.week_end: days_offset is -1: 0 to 6"),
        (lambda r: r.month_start(31), r"month_start: days_offset is 31: 0 to 30"),
        (lambda r: r.month_end("SPY", 31), r"month_end: days_offset is 31: 0 to 30"),
        (lambda r: r.quarter_start(93), r"quarter_start: days_offset is 93: 0 to 92"),
        (lambda r: r.quarter_end(93), r"quarter_end: days_offset is 93: 0 to 92"),
        (lambda r: r.year_start(366), r"year_start: days_offset is 366: 0 to 365"),
        (lambda r: r.year_end("SPY", "x"), r"year_end: days_offset is 'x': 0 to 365"),
        (lambda r: r.week_start("EUR/USD", 6), r"days_offset is 6: 0 to 5 is allowed for EUR/USD"),
        (lambda r: r.set_default_time_zone("Mars"), r"set_default_time_zone: the time zone 'Mars'"),
    ],
)
def test_a_bad_argument_is_one_sentence(
    make: Callable[[DateRules], DateRule], sentence: str
) -> None:
    with pytest.raises(StrategyError, match=sentence) as caught:
        make(RULES)
    assert "\n" not in str(caught.value)


def test_a_datetime_stands_for_its_date() -> None:
    assert as_date(datetime(2000, 1, 2, 23, 59)) == date(2000, 1, 2)


# ---- against looking at each date -----------------------------------------------------------

LONGEST = {"week": 6, "month": 30, "quarter": 92, "year": 365}


def group(kind: str, anchor: int) -> Callable[[date], object]:
    """What dates of one period have in common; weeks begin on a weekday, Monday 0."""
    if kind == "week":
        return lambda d: (d - timedelta(days=(d.weekday() - anchor) % 7)).isoformat()
    size = {"month": 1, "quarter": 3, "year": 12}[kind]
    return lambda d: (d.year, (d.month - 1) // size)


@given(
    kind=st.sampled_from(sorted(LONGEST)),
    at_start=st.booleans(),
    symbol=st.sampled_from([None, *CLASSES]),
    offset=st.integers(0, 365),
    first=st.dates(date(1999, 1, 1), date(2036, 12, 31)),
    length=st.integers(0, 900),
)
def test_periods_are_as_if_each_date_was_looked_at(
    kind: str, at_start: bool, symbol: str | None, offset: int, first: date, length: int
) -> None:
    kit = Kit()
    offset %= LONGEST[kind] + 1
    if kind == "week" and symbol is not None:
        offset %= len(kit.market(symbol, "").week)
    rule: DateRule = getattr(kit.date_rules, f"{kind}_{'start' if at_start else 'end'}")(
        symbol, offset
    )
    last = first + timedelta(days=length)
    around = slow.dates(first - timedelta(days=400), last + timedelta(days=400))
    trading = [d for d in around if symbol is None or kit.market(symbol, "").hours(d) is not None]
    anchor = 6 if symbol is not None else 0 if at_start else 5
    every = slow.one_of_each(trading, group(kind, anchor), offset, from_start=at_start)
    expected = [d for d in every if first <= d <= last]
    assert dates_of(rule, first.isoformat(), last.isoformat()) == expected
