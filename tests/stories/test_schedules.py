"""What a strategy schedules happens at its moment of a tape: between ticks, and without any."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from feeds.base import Deliver, Subscription
from feeds.events import MINUTE, SECOND, Bar, Event, Symbol
from runtime import DayOfWeek, JobState, ModelSlot, Resolution, ScheduledEvent, TrainingHandle
from runtime.clock import VirtualClock
from runtime.live import LiveRun, Outcome
from runtime.settings import load_settings
from runtime.testing import ScriptedFeed, run_on_events, scripted_run
from tests.runtime.schedule.kit import utc
from tests.stories.market import (
    BTC,
    SPY,
    Recorder,
    at,
    bar,
    listening,
    moments,
    once,
    quote,
    trade,
)

SECONDS = timedelta(seconds=1)


def in_utc(
    begin: Callable[[Recorder], object], act: Callable[[Recorder], object] | None = None
) -> Recorder:
    """A strategy on UTC clocks that schedules in initialize."""

    def started(strategy: Recorder) -> None:
        strategy.set_time_zone("UTC")
        begin(strategy)

    return Recorder(begin=started, act=None if act is None else lambda s, _: act(s))


def note(strategy: Recorder, word: str = "") -> Callable[[], None]:
    """A callback that notes when it was called, in seconds after T0."""

    def callback() -> None:
        strategy.calls.append(f"{word}{(strategy.time_ns - at(0)) / SECOND:g}")

    return callback


def every(seconds: float) -> Callable[[Recorder], ScheduledEvent]:
    return lambda s: s.schedule.on(
        s.date_rules.every_day(), s.time_rules.every(seconds * SECONDS), note(s)
    )


async def heard(strategy: Recorder, *events: Event) -> list[str]:
    outcome = await run_on_events(strategy, moments(*events))
    assert outcome.failure is None
    return strategy.calls[1:-1]


class Patient(ScriptedFeed):
    """Lets training end before the data does."""

    idle: Callable[[], Awaitable[None]]

    async def run(self, subscriptions: Sequence[Subscription], deliver: Deliver) -> None:
        await super().run(subscriptions, deliver)
        await self.idle()


def run_of(strategy: Recorder, events: Sequence[Event], **tables: Any) -> LiveRun:
    feed = Patient(moments(*events))
    run = scripted_run(strategy, feed, VirtualClock(), load_settings(None, tables)[0])
    feed.idle = run.training.idle
    return run


# ---- callbacks ------------------------------------------------------------------------------


async def test_a_schedule_between_two_ticks_fires_at_its_own_time() -> None:
    assert await heard(in_utc(every(10)), trade(1), trade(25)) == ["on_data", "10", "20", "on_data"]


async def test_a_schedule_fires_on_days_without_data() -> None:
    days = await heard(in_utc(every(12 * 3600)), trade(1), trade(2 * 86_400 + 1))
    assert days == ["on_data", "43200", "86400", "129600", "172800", "on_data"]


async def test_at_its_very_moment_the_slices_prices_are_in_and_on_data_is_to_come() -> None:
    prices: list[float] = []
    strategy = in_utc(
        lambda s: s.schedule.on(
            s.date_rules.every_day(),
            s.time_rules.at(0, 0, 10),
            lambda: prices.append(s.securities[SPY].price),
        ),
        lambda _: prices.append(0.0),
    )
    await heard(strategy, trade(1, 90.0), trade(10, 100.0), trade(11, 110.0))
    assert prices == [0.0, 100.0, 0.0, 0.0]


async def test_a_bar_that_has_ended_is_history_when_the_schedule_fires() -> None:
    seen: list[list[float]] = []

    def begin(strategy: Recorder) -> None:
        strategy.set_time_zone("UTC")
        strategy.schedule.on(
            strategy.date_rules.every_day(),
            strategy.time_rules.at(0, 2),
            lambda: seen.append(list(strategy.history(SPY, 10).close)),
        )

    strategy = Recorder(resolution=Resolution.MINUTE, begin=begin)
    await heard(strategy, trade(5, 100.0), trade(65, 101.0), trade(119, 102.0), trade(130, 103.0))
    assert seen == [[100.0, 102.0]]


async def test_schedules_of_one_moment_fire_in_the_order_of_their_making() -> None:
    def begin(strategy: Recorder) -> None:
        for word in "bca":
            strategy.schedule.on(
                strategy.date_rules.every_day(), strategy.time_rules.at(0, 1), note(strategy, word)
            )

    assert await heard(in_utc(begin), trade(1), trade(90)) == [
        "on_data",
        "b60",
        "c60",
        "a60",
        "on_data",
    ]


async def test_nothing_fires_before_the_first_data_tells_the_time() -> None:
    assert await heard(in_utc(every(10)), trade(10), trade(15)) == ["10", "on_data", "on_data"]


async def test_today_is_the_date_of_the_first_data() -> None:
    def begin(strategy: Recorder) -> None:
        rules = strategy.date_rules
        strategy.schedule.on(rules.today, strategy.time_rules.at(0, 1), note(strategy, "today "))
        strategy.schedule.on(
            rules.tomorrow, strategy.time_rules.midnight, note(strategy, "tomorrow ")
        )
        strategy.schedule.on(rules.today, strategy.time_rules.now, note(strategy, "now "))

    assert await heard(in_utc(begin), trade(1), trade(3 * 86_400)) == [
        "now 1",
        "on_data",
        "today 60",
        "tomorrow 86400",
        "on_data",
    ]


async def test_the_zone_counts_that_is_set_after_the_rule_is_made() -> None:
    def begin(strategy: Recorder) -> None:
        strategy.schedule.on(
            strategy.date_rules.every_day(), strategy.time_rules.at(9, 0), note(strategy)
        )
        strategy.set_time_zone("Asia/Tokyo")

    assert await heard(Recorder(begin=begin), trade(0), trade(1)) == ["0", "on_data", "on_data"]


async def test_a_schedule_that_is_made_later_begins_then() -> None:
    strategy = Recorder(act=once(every(10)), begin=lambda s: s.set_time_zone("UTC"))
    assert await heard(strategy, trade(15), trade(35)) == ["on_data", "20", "30", "on_data"]


async def test_a_schedule_may_end_itself_and_knows_when_it_is_due() -> None:
    kept: list[ScheduledEvent] = []

    def begin(strategy: Recorder) -> None:
        def stop() -> None:
            strategy.calls.append(f"{kept[0].next_due:%H:%M:%S}")
            kept[0].cancel()

        rules = strategy.date_rules.every_day(), strategy.time_rules.every(10 * SECONDS)
        kept.append(strategy.schedule.on(*rules, stop))
        assert kept[0].next_due is None  # nobody knows the time yet
        assert kept[0].name == "EveryDay: Every 0.17 min"
        strategy.schedule.on(*rules, note(strategy), name="mine")

    assert await heard(in_utc(begin), trade(1), trade(25)) == [
        "on_data",
        "00:00:20",
        "10",
        "20",
        "on_data",
    ]
    assert kept[0].next_due is None


async def test_what_a_schedule_orders_is_filled_and_told() -> None:
    strategy = Recorder(
        BTC,
        begin=lambda s: s.schedule.on(
            s.date_rules.every_day(),
            s.time_rules.at(0, 0, 10, "UTC"),
            lambda: s.market_order(BTC, 1),
        ),
    )
    await heard(strategy, quote(1, symbol=BTC), quote(20, symbol=BTC), quote(21, symbol=BTC))
    assert strategy.filled == 1


async def test_a_schedule_fires_during_warm_up_and_the_strategy_can_tell() -> None:
    warm: list[bool] = []

    def begin(strategy: Recorder) -> None:
        strategy.set_warm_up(timedelta(seconds=15))
        strategy.schedule.on(
            strategy.date_rules.every_day(),
            strategy.time_rules.every(10 * SECONDS),
            lambda: warm.append(strategy.is_warming_up),
        )

    await heard(in_utc(begin), trade(1), trade(16), trade(25))
    assert warm == [True, False]


async def test_a_callback_that_raises_is_named_with_its_schedule() -> None:
    def wrong() -> None:
        raise ValueError("no luck")

    strategy = in_utc(
        lambda s: s.schedule.on(s.date_rules.every_day(), s.time_rules.at(0, 1), wrong)
    )
    outcome = await run_on_events(strategy, moments(trade(1), trade(90)))
    assert "Recorder.EveryDay: 0.02 raised ValueError: no luck" in str(outcome.failure)


async def test_a_strategy_that_schedules_without_end_is_stopped() -> None:
    def begin(strategy: Recorder) -> None:
        def again() -> None:
            strategy.schedule.on(strategy.date_rules.today, strategy.time_rules.now, again)

        again()

    outcome = await run_on_events(Recorder(begin=begin), moments(trade(1)))
    assert "schedules without end: more than 2000 scheduled events" in str(outcome.failure)


async def test_after_quit_nothing_more_fires() -> None:
    def begin(strategy: Recorder) -> None:
        rules = strategy.date_rules.every_day(), strategy.time_rules.every(10 * SECONDS)
        strategy.schedule.on(*rules, strategy.quit)
        strategy.schedule.on(*rules, note(strategy))

    assert await heard(in_utc(begin), trade(1), trade(90)) == ["on_data"]


async def test_what_falls_due_while_the_run_ends_does_not_fire() -> None:
    strategy = in_utc(every(10))
    engine = run_of(strategy, []).engine
    engine.start(at(0))
    engine.advance(at(1))
    engine.stop_orders()
    engine.process([], at(15))
    assert strategy.calls == ["initialize"]


async def mistaken() -> None:
    """No plain function."""


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            lambda s: s.schedule.on(s.time_rules.noon, s.date_rules.every_day(), print),
            "is no date rule: take one of date_rules",
        ),
        (
            lambda s: s.schedule.on(s.date_rules.every_day(), 5, print),
            "schedule.on: 5 is no time rule: take one of time_rules",
        ),
        (
            lambda s: s.schedule.on(s.date_rules.every_day(), s.time_rules.noon, mistaken),
            "schedule.on.mistaken is a coroutine or has a yield in it",
        ),
        (
            lambda s: s.schedule.on(s.date_rules.every_day(), s.time_rules.noon, 5),
            "schedule.on: 5 is no function without arguments",
        ),
        (
            lambda s: s.train(s.date_rules.every_day(), s.time_rules.noon),
            "train was given 2 things: a method, or a date rule, a time rule and a method",
        ),
        (
            lambda s: s.train(1, s.time_rules.noon, print),
            "train: 1 is no date rule: take one of date_rules",
        ),
        (
            lambda s: s.train(s.date_rules.every_day(), s.time_rules.noon, mistaken),
            "write it with a plain def",
        ),
        (
            lambda s: s.date_rules.every_day(s.securities[SPY]),
            'is no symbol: "SPY" would be one',
        ),
        (
            lambda s: s.time_rules.after_market_open("S P Y"),
            "time_rules.after_market_open: 'S P Y' is not a symbol",
        ),
    ],
)
async def test_a_bad_argument_is_one_sentence(
    wrong: Callable[[Recorder], object], sentence: str
) -> None:
    outcome = await run_on_events(Recorder(begin=wrong), moments(trade(1)))
    assert sentence in str(outcome.failure)
    assert "\n" not in str(outcome.failure)


async def test_a_symbol_that_was_not_added_is_warned_of_once() -> None:
    log, lines = listening()

    def begin(strategy: Recorder) -> None:
        strategy.date_rules.every_day("btc/usd")
        strategy.date_rules.every_day("BTC/USD")
        strategy.date_rules.every_day("spy")

    await run_on_events(Recorder(begin=begin), moments(trade(1)), log=log)
    (line,) = [line for line in lines if "was not added" in line["event"]]
    assert (line["level"], line["symbol"], line["hours_of"]) == ("warning", "BTC/USD", "crypto")


# ---- training -------------------------------------------------------------------------------


def daily(day: str) -> Bar:
    """SPY's bar of a trading day, as it is known at its close."""
    start, end = utc(f"{day} 13:30"), utc(f"{day} 20:00")
    return Bar(SPY, start, end, end - start, 100.0, 101.0, 99.0, 100.0, 1.0)


async def test_training_at_start_and_every_sunday_at_eight_runs_twice_in_a_week() -> None:
    """LEAN's own case: 2013-10-07 to 14, SPY daily; the Sunday has no data."""
    runs: list[str] = []

    def begin(strategy: Recorder) -> None:
        def fit() -> None:
            runs.append(f"{strategy.time:%Y-%m-%d %H:%M}")

        strategy.train(fit)
        strategy.train(
            strategy.date_rules.every(DayOfWeek.SUNDAY), strategy.time_rules.at(8, 0), fit
        )

    strategy = Recorder(resolution=Resolution.DAILY, begin=begin)
    days = [daily(f"2013-10-{day}") for day in ("07", "08", "09", "10", "11", "14")]
    outcome = await run_on_events(strategy, moments(*days))
    assert outcome.failure is None
    assert len(runs) == 2
    assert runs[1] == "2013-10-13 08:00"
    assert outcome.training.finished == {JobState.SUCCEEDED: 2}


async def test_training_in_initialize_with_a_warm_up_runs_exactly_once() -> None:
    """LEAN's own case (its issue 6410)."""
    runs: list[int] = []

    def begin(strategy: Recorder) -> None:
        strategy.set_warm_up(100)
        strategy.train(lambda: runs.append(1))

    strategy = Recorder(begin=begin)
    await heard(strategy, *(trade(n) for n in range(150)))
    assert strategy.calls.count("on_warmup_finished") == 1
    assert runs == [1]


async def test_training_now_by_rules_runs_exactly_once_too() -> None:
    runs: list[int] = []

    def begin(strategy: Recorder) -> None:
        strategy.set_warm_up(timedelta(seconds=5))
        strategy.train(strategy.date_rules.today, strategy.time_rules.now, lambda: runs.append(1))

    await heard(Recorder(begin=begin), *(trade(n) for n in range(1, 20)))
    assert runs == [1]


async def test_a_monthly_training_comes_in_each_month() -> None:
    runs: list[str] = []
    strategy = in_utc(
        lambda s: s.train(
            s.date_rules.month_start(SPY),
            s.time_rules.after_market_close(SPY, 10),
            lambda: runs.append(f"{s.time:%m-%d %H:%M}"),
        )
    )
    await heard(strategy, trade(1), trade(95 * 86_400))
    assert runs == ["01-02 21:10", "02-01 21:10", "03-01 21:10", "04-01 20:10"]


async def test_a_handle_shows_the_runs_of_its_schedule_and_ends_it() -> None:
    slot = ModelSlot("m")
    handles: list[TrainingHandle] = []
    seen: list[tuple[JobState, int, datetime | None]] = []

    def begin(strategy: Recorder) -> None:
        rules = strategy.date_rules.every_day(), strategy.time_rules.every(10 * SECONDS)
        handles.append(strategy.train(*rules, lambda: 42, into=slot, name="fit"))

    def act(_: Recorder) -> None:
        (handle,) = handles
        seen.append((handle.state, slot.version, handle.next_due))
        if slot.version == 2:
            handle.cancel()

    outcome = await run_on_events(in_utc(begin, act), moments(*(trade(n) for n in (1, 11, 25, 45))))

    def due(second: int) -> datetime:
        return datetime(2024, 1, 2, 0, 0, second, tzinfo=UTC)

    assert seen == [
        (JobState.QUEUED, 0, due(10)),
        (JobState.SUCCEEDED, 1, due(20)),
        (JobState.SUCCEEDED, 2, due(30)),
        (JobState.SUCCEEDED, 2, None),
    ]
    assert outcome.training.finished == {JobState.SUCCEEDED: 2}
    assert handles[0].name == "fit"


async def test_firings_while_training_is_off_become_one_run_when_it_is_on() -> None:
    runs: list[int] = []

    def act(strategy: Recorder) -> None:
        if len(strategy.slices) == 2:
            run.training.switch(on=True, by="test")

    strategy = in_utc(
        lambda s: s.train(
            s.date_rules.every_day(),
            s.time_rules.every(10 * SECONDS),
            lambda: runs.append(s.time_ns),
        ),
        act,
    )
    run = run_of(strategy, [trade(1), trade(95), trade(96)], training={"enabled": False})
    outcome: Outcome = await run.run()
    assert outcome.failure is None
    assert len(runs) == 1
    assert outcome.training.finished == {JobState.SUCCEEDED: 1}


async def test_a_person_may_ask_for_a_scheduled_training_before_its_time() -> None:
    slot = ModelSlot("m")
    strategy = in_utc(
        lambda s: s.train(s.date_rules.every_day(), s.time_rules.at(8, 0), lambda: 1, into=slot),
        lambda _: run.training.train_now("test"),
    )
    run = run_of(strategy, [trade(1)])
    outcome = await run.run()
    assert outcome.failure is None
    assert slot.version == 1


async def test_options_of_a_job_hold_for_each_of_its_runs() -> None:
    def fail() -> None:
        raise ValueError("again")

    strategy = in_utc(
        lambda s: s.train(
            s.date_rules.every_day(), s.time_rules.every(10 * SECONDS), fail, retries=1
        )
    )
    log, lines = listening()
    await run_on_events(strategy, moments(trade(1), trade(25)), log=log)
    events = [line["event"] for line in lines]
    assert events.count("training: retrying") == events.count("training: failed") == 2


async def test_a_late_batch_of_bars_fires_what_was_due_between_them_in_between() -> None:
    """A batch that ends several bars is told end by end, and so is what is scheduled."""
    strategy = Recorder(
        resolution=Resolution.MINUTE,
        begin=lambda s: s.schedule.on(
            s.date_rules.every_day(), s.time_rules.at(0, 2, 30, "UTC"), lambda: note_bars(s)
        ),
    )
    seen: list[int] = []

    def note_bars(strategy: Recorder) -> None:
        seen.append(len(strategy.history(SPY, 10).close))

    run = run_of(strategy, [])
    engine = run.engine
    engine.start(at(0))
    engine.advance(at(0))
    engine.process([bar(60 * n, 60) for n in range(4)], at(240) + MINUTE // 2)
    assert seen == [2]


# ---- training.when = "closed" ---------------------------------------------------------------

CLOSED = {"when": "closed"}
OPEN, CLOSE = 14.5 * 3600, 21 * 3600  # of the NYSE on the day of T0, in seconds after it


def trains(runs: list[str], *times: float) -> Recorder:
    """A strategy that asks for training at these seconds, and notes when it runs."""

    def begin(strategy: Recorder) -> None:
        strategy.set_time_zone("UTC")
        for seconds in times:
            strategy.train(
                strategy.date_rules.today,
                strategy.time_rules.at(timedelta(seconds=seconds)),
                lambda: runs.append(f"{strategy.time:%H:%M}"),
            )

    return Recorder(begin=begin)


async def test_for_closed_markets_training_waits_from_the_open_to_the_close() -> None:
    runs: list[str] = []
    strategy = trains(runs, OPEN - 60, OPEN, OPEN + 60, CLOSE, CLOSE + 60)
    tape = moments(trade(1), trade(OPEN + 90), trade(CLOSE + 90))
    log, lines = listening()
    outcome = await run_on_events(strategy, tape, log=log, training=CLOSED)
    assert outcome.failure is None
    assert runs == ["14:29", "21:00", "21:00", "21:00", "21:01"]
    said = [line["event"] for line in lines]
    assert said.count("training waits for the close") == 1
    assert said.count("training may run") == 2


async def test_when_a_run_begins_at_an_open_market_training_waits_from_the_start() -> None:
    runs: list[str] = []
    tape = moments(trade(OPEN + 30), trade(OPEN + 90), trade(CLOSE + 90))
    await run_on_events(trains(runs, OPEN + 30), tape, training=CLOSED)
    assert runs == ["21:00"]


async def test_what_initialize_asks_for_at_an_open_market_waits_too() -> None:
    """Where the clock tells the time at once, as it does live."""
    strategy = Recorder(begin=lambda s: s.train(lambda: 1))
    run = scripted_run(
        strategy,
        ScriptedFeed([]),
        VirtualClock(at(OPEN)),
        load_settings(None, {"training": CLOSED})[0],
    )
    outcome = await run.run()
    assert outcome.training.finished == {JobState.CANCELLED: 1}


@pytest.mark.parametrize("symbol", [BTC, SPY])
async def test_a_market_that_never_closes_is_told_in_one_sentence(symbol: Symbol) -> None:
    runs: list[int] = []
    log, lines = listening()
    strategy = Recorder(symbol, begin=lambda s: s.train(lambda: runs.append(1)))
    await run_on_events(strategy, moments(trade(1, symbol=symbol)), log=log, training=CLOSED)
    told = [line["event"] for line in lines if line["level"] == "warning"]
    assert told == (
        ['training.when is "closed", but BTC/USD never closes: it is not waited for']
        if symbol == BTC
        else []
    )
    assert runs == [1]
