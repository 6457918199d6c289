"""What is due, for clocks that go on, jump, and go back."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.events import MINUTE, SECOND
from runtime.schedule.agenda import Agenda, ScheduledEvent, next_due
from runtime.schedule.dates import DateRule
from runtime.schedule.local_time import DayOfWeek
from runtime.schedule.times import CompositeTimeRule, TimeRule
from tests.models.schedule import SlowAgenda
from tests.runtime.schedule.kit import Kit, utc

KIT = Kit()
DATES, TIMES = KIT.date_rules, KIT.time_rules
HOUR = 3600 * SECOND
TEN_YEARS = 3653 * 24 * HOUR


def event(name: str, dates: DateRule, times: TimeRule) -> ScheduledEvent:
    return ScheduledEvent(name, lambda after: next_due(dates, times, after), lambda: None)


def agenda(start: str, *events: ScheduledEvent) -> Agenda:
    made = Agenda()
    for one in events:
        made.add(one, 0)
    made.begin(utc(start))
    return made


def fired(made: Agenda, now: int) -> list[str]:
    names = []
    while (firing := made.take(now)) is not None:
        names.append(firing.event.name)
    return names


def noon() -> ScheduledEvent:
    return event("noon", DATES.every_day(), TIMES.at(12, 0, "UTC"))


def test_entries_of_one_moment_fire_in_the_order_in_which_they_were_made() -> None:
    made = agenda("2024-01-01", *(event(n, DATES.every_day(), TIMES.noon) for n in "bca"))
    for day in ("2024-01-01", "2024-01-02"):
        assert fired(made, utc(f"{day} 17:00")) == ["b", "c", "a"]


def test_an_entry_that_leads_fires_before_all_others_of_its_moment() -> None:
    made = Agenda()
    made.add(event("first", DATES.every_day(), TIMES.noon), 0)
    made.lead(event("leader", DATES.every_day(), TIMES.noon))
    made.begin(utc("2024-01-01"))
    assert fired(made, utc("2024-01-01 17:00")) == ["leader", "first"]
    with pytest.raises(RuntimeError, match="time has begun"):
        made.lead(noon())


def test_an_entry_fires_at_its_moment_and_not_before() -> None:
    made = agenda("2024-01-01", noon())
    assert made.next_wake() == utc("2024-01-01 12:00")
    assert fired(made, utc("2024-01-01 12:00") - 1) == []
    firing = made.take(utc("2024-01-01 12:00"))
    assert firing is not None
    assert (firing.due, firing.late) == (utc("2024-01-01 12:00"), 0)
    assert made.next_wake() == utc("2024-01-02 12:00")


def test_an_entry_made_at_its_very_moment_fires() -> None:
    made = agenda("2024-01-01 12:00", noon())
    assert fired(made, utc("2024-01-01 12:00")) == ["noon"]
    late = noon()
    made.add(late, utc("2024-01-01 12:00") + 1)
    assert late.due == utc("2024-01-02 12:00")


def test_a_clock_that_steps_ten_years_ahead_fires_each_entry_once() -> None:
    every = event("every", DATES.every_day(), TIMES.every(timedelta(seconds=1)))
    made = agenda("2024-01-01", noon(), every)
    now = utc("2024-01-01") + TEN_YEARS + 1
    firing = made.take(now)
    assert firing is not None
    assert (firing.event.name, firing.late) == ("every", TEN_YEARS + 1)
    assert fired(made, now) == ["noon"]
    assert every.due == utc("2024-01-01") + TEN_YEARS + SECOND


def test_the_next_moment_is_found_without_listing_those_between() -> None:
    """Whoever counted would ask for each of the 316 million seconds of ten years."""
    asked = 0

    class Counted:
        name, reach = "counted", 2

        def first(self, day: object, after: int) -> int | None:
            nonlocal asked
            asked += 1
            return TIMES.every(timedelta(seconds=1)).first(day, after)  # type: ignore[arg-type]  # a date

    made = agenda("2024-01-01", event("every", DATES.every_day(), Counted()))
    fired(made, utc("2024-01-01") + TEN_YEARS)
    assert asked < 20


def test_a_clock_that_is_set_back_fires_nothing_twice() -> None:
    hourly = event("hourly", DATES.every_day(), TIMES.every(timedelta(hours=1)))
    made = agenda("2024-01-01", hourly)
    now = utc("2024-01-01 06:00")
    assert fired(made, now) == ["hourly"]
    for moment in range(now - HOUR, now + HOUR, HOUR // 60):
        assert fired(made, moment) == []
    assert fired(made, now + HOUR) == ["hourly"]


def test_a_weekly_entry_made_on_its_day_fires_in_later_weeks() -> None:
    sunday = event("sunday", DATES.every(DayOfWeek.SUNDAY), TIMES.at(8, 0))
    made = agenda("2024-07-07 15:00", sunday)
    for week in ("2024-07-14", "2024-07-21", "2024-07-28"):
        assert made.next_wake() == utc(f"{week} 12:00")
        assert fired(made, utc(f"{week} 12:00")) == ["sunday"]


def test_a_cancelled_entry_never_fires() -> None:
    first, second = noon(), event("second", DATES.every_day(), TIMES.at(12, 0, "UTC"))
    made = agenda("2024-01-01", first, second)
    first.cancel()
    assert first.next_due is None
    assert fired(made, utc("2024-01-01 12:00")) == ["second"]
    second.cancel()
    assert made.next_wake() is None


def test_an_entry_that_is_cancelled_before_time_begins_never_fires() -> None:
    never = noon()
    never.cancel()
    assert agenda("2024-01-01", never).next_wake() is None


def test_an_entry_whose_dates_are_over_is_gone() -> None:
    once = event("once", DATES.on(2024, 1, 1), TIMES.noon)
    made = agenda("2024-01-01", once)
    assert fired(made, utc("2024-01-05")) == ["once"]
    assert (once.next_due, made.next_wake()) == (None, None)


def test_before_time_has_begun_nothing_is_due() -> None:
    made = Agenda()
    waiting = noon()
    made.add(waiting, 0)
    assert (made.next_wake(), waiting.next_due) == (None, None)
    made.begin(utc("2024-01-01"))
    assert waiting.next_due == datetime(2024, 1, 1, 12, tzinfo=UTC)
    made.begin(utc("2030-01-01"))  # only the first beginning counts
    assert waiting.next_due == datetime(2024, 1, 1, 12, tzinfo=UTC)


RULES: list[tuple[DateRule, TimeRule]] = [
    (DATES.every_day(), TIMES.at(2, 30)),
    (DATES.every_day(), TIMES.at(1, 30)),
    (DATES.every_day("SPY"), TIMES.before_market_close("SPY", 10)),
    (DATES.every_day(), TIMES.every(timedelta(hours=5))),
    (DATES.week_start("SPY"), TIMES.after_market_close("SPY", 700)),
    (DATES.month_end(), TIMES.midnight),
    (DATES.every_day("EUR/USD"), TIMES.before_market_open("EUR/USD", 4000)),
    (  # the times of one date lie days apart, around those of others
        DATES.every_day("SPY"),
        CompositeTimeRule(
            TIMES.after_market_close("SPY", 4000), TIMES.before_market_open("SPY", 4100)
        ),
    ),
]
START = utc("2023-10-20")
END = START + 500 * 24 * HOUR


def moments(dates: DateRule, times: TimeRule) -> list[int]:
    """Every moment of two rules in the time of the test, by asking each date by itself."""
    found: set[int] = set()
    for number in range(-10, 520):
        day = datetime.fromtimestamp(START / 1e9, UTC).date() + timedelta(days=number)
        if dates.first(day) == day:
            after = 0
            while (moment := times.first(day, after)) is not None:
                found.add(moment)
                after = moment
    return sorted(moment for moment in found if START <= moment <= END + 24 * HOUR)


MOMENTS = [moments(*rules) for rules in RULES]


# In minutes and hours: of integers in ns hypothesis mostly tries a few.
MINUTES = st.integers(-180, 180).map(lambda minutes: minutes * MINUTE)
HOURS = st.integers(-40 * 24, 90 * 24).map(lambda hours: hours * HOUR)


@settings(max_examples=60)
@given(st.lists(MINUTES | HOURS, min_size=10, max_size=40))
def test_whatever_the_clock_does_each_entry_fires_once_for_what_has_passed(
    steps: list[int],
) -> None:
    made = agenda("2023-10-20", *(event(str(n), *rules) for n, rules in enumerate(RULES)))
    model = SlowAgenda(MOMENTS, START)
    now = START
    for step in steps:
        now = min(max(now + step, START), END)
        found = []
        while (firing := made.take(now)) is not None:
            assert firing.late == now - firing.due
            found.append((firing.due, int(firing.event.name)))
        assert found == model.move_to(now)
        wakes = [m for entry in MOMENTS for m in entry if m > model.seen]
        assert made.next_wake() == min(wakes)
