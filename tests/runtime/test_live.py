"""The live shell: nothing is lost between feed and strategy, and nothing is left when it ends."""

import asyncio
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from feeds.base import Deliver, Subscription
from feeds.events import SECOND, Event, Quote, Trade
from runtime import ModelSlot, Resolution, Slice
from runtime.assembly import build_run
from runtime.clock import Clock, SystemClock, VirtualClock
from runtime.control.heartbeat import check_heartbeat
from runtime.deployment import Deployment, fresh_quota
from runtime.live import LiveRun
from runtime.settings import EngineSettings, Settings, load_settings
from runtime.testing import ScriptedFeed, run_on_events, scripted_run
from tests.runtime.schedule.kit import utc
from tests.stories.market import (
    SPY,
    Endless,
    Recorder,
    events_of,
    listening,
    moments,
    once,
    quote,
    trade,
)


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """What a job that ignores its stop waits for; set at the end, so that no thread is left."""
    event = threading.Event()
    yield event
    event.set()
    patience = time.monotonic() + 30  # one that is only just starting cannot be joined
    while any(thread.name.startswith("training ") for thread in threading.enumerate()):
        assert time.monotonic() < patience
        time.sleep(0.01)


def settings(**engine: Any) -> Settings:
    return load_settings(None, {"engine": engine})[0]


def live(strategy: Recorder, feed: ScriptedFeed | None = None, **engine: Any) -> LiveRun:
    return scripted_run(strategy, feed or Endless(), SystemClock(), settings(**engine))


# ---- from feed to strategy -------------------------------------------------------------------


async def test_whatever_waits_becomes_one_slice() -> None:
    strategy = Recorder()
    feed = ScriptedFeed(moments(trade(1), quote(2), trade(3)), lockstep=False)
    outcome = await live(strategy, feed).run()
    assert len(events_of(strategy.slices)) == 3
    assert outcome.reason == "the data has ended"
    assert strategy.calls[-1] == "on_end_of_algorithm"


async def test_past_the_bound_quotes_conflate_and_no_trade_is_lost() -> None:
    batch: list[Event] = [e for n in range(1000) for e in (quote(n, 99 + n / 1e4), trade(n))]
    strategy = Recorder()
    run = live(strategy, ScriptedFeed([batch], lockstep=False), pending_bound=10)
    await run.run()
    seen = events_of(strategy.slices)
    assert [e for e in seen if isinstance(e, Trade)] == [e for e in batch if isinstance(e, Trade)]
    assert [e for e in seen if isinstance(e, Quote)] == [batch[-2]]
    assert run.status()["conflated"] == 999


async def test_too_many_trades_push_back_on_the_feed() -> None:
    """The feed is held while too much waits: it never gets further ahead than one batch."""
    waiting: list[object] = []

    class Fast(ScriptedFeed):
        async def run(self, subscriptions: Sequence[Subscription], deliver: Deliver) -> None:
            async def push(batch: Sequence[Event]) -> None:
                await deliver(batch)
                waiting.append(run.status()["pending"])

            await super().run(subscriptions, push)

    tape = [[trade(n + k / 10) for k in range(7)] for n in range(50)]
    strategy = Recorder()
    run = live(strategy, Fast(tape, lockstep=False), pending_bound=10)
    await run.run()
    assert events_of(strategy.slices) == [event for batch in tape for event in batch]
    assert set(waiting) == {0, 7}


@pytest.mark.parametrize("bound", [1, 3, 100])
async def test_every_trade_comes_once_and_in_order_whatever_the_bound(bound: int) -> None:
    tape: list[list[Event]] = [[trade(n), quote(n + 0.5), trade(n + 0.6)] for n in range(200)]
    strategy = Recorder()
    await live(strategy, ScriptedFeed(tape, lockstep=False), pending_bound=bound).run()
    trades = [event for event in events_of(strategy.slices) if isinstance(event, Trade)]
    assert trades == [event for batch in tape for event in batch if isinstance(event, Trade)]


async def test_a_clock_that_is_set_back_does_not_leave_a_bar_open() -> None:
    """The timer of a bar has fired, and then it is too early again: it is asked once more."""

    class SetBack(SystemClock):
        script = [0.98]

        def now(self) -> int:
            value = self.script.pop(0) if len(self.script) > 1 else self.script[0]
            return round(value * SECOND)

    class Silent(ScriptedFeed):
        async def run(self, subscriptions: Sequence[Subscription], deliver: Deliver) -> None:
            await super().run(subscriptions, deliver)
            while not run.status()["ticks"]:
                await anyio.lowlevel.checkpoint()
            for _ in range(5):
                await anyio.lowlevel.checkpoint()
            clock.script = [0.90, 1.0]  # the dispatcher finds it too early, then it is time
            await anyio.sleep_forever()

    clock = SetBack()
    strategy = Recorder(resolution=Resolution.SECOND, act=lambda s, _: s.quit("a bar came"))
    tick = Trade(SPY, SECOND // 2, SECOND // 2, 100.0, 1.0)
    run = scripted_run(strategy, Silent([[tick]], lockstep=False), clock)
    with anyio.fail_after(10):
        outcome = await run.run()
    assert outcome.reason == "a bar came"


class Wall(SystemClock):
    """A wall clock that somebody sets, as "2024-01-02 12:00" UTC."""

    def __init__(self, text: str) -> None:
        self.reads = 0
        self.set(text)

    def set(self, text: str) -> None:
        self.shown = utc(text)

    def now(self) -> int:
        self.reads += 1
        return self.shown

    async def looked_at(self) -> None:
        """Return when it was read a few times more."""
        reads = self.reads
        while self.reads < reads + 5:  # nobody tells us: it is only read
            await anyio.lowlevel.checkpoint()


class Silence(ScriptedFeed):
    """Delivers nothing, ever."""

    def __init__(self) -> None:
        super().__init__([], lockstep=False)

    async def run(self, subscriptions: Sequence[Subscription], deliver: Deliver) -> None:
        del subscriptions, deliver
        await anyio.sleep_forever()


async def test_a_schedule_fires_by_the_clock_without_a_tick_however_the_clock_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It jumps over the moment: once, late. It goes back: not again. It sleeps for days: once."""
    monkeypatch.setattr("runtime.live.LOOK_AGAIN_SECONDS", 0.001)
    clock, fired = Wall("2024-01-02 11:00"), anyio.Event()
    times: list[str] = []

    def noon() -> None:
        times.append(f"{strategy.time:%m-%d %H:%M}")
        fired.set()

    def begin(strategy: Recorder) -> None:
        strategy.set_time_zone("UTC")
        strategy.schedule.on(
            strategy.date_rules.every_day(), strategy.time_rules.at(12, 0), noon, name="noon"
        )

    async def somebody() -> None:
        nonlocal fired
        await clock.looked_at()
        assert times == []
        clock.set("2024-01-02 12:30")
        await fired.wait()
        for text in ("2024-01-02 11:30", "2024-01-02 12:00", "2024-01-02 13:00"):
            clock.set(text)
            await clock.looked_at()
        assert times == ["01-02 12:30"]
        fired = anyio.Event()
        clock.set("2024-01-09 12:00")
        await fired.wait()
        await clock.looked_at()
        run.stop("enough")

    log, lines = listening()
    strategy = Recorder(begin=begin)
    run = scripted_run(strategy, Silence(), clock, log=log)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(somebody)
            await run.run()
    assert times == ["01-02 12:30", "01-09 12:00"]
    late = [line for line in lines if line["event"] == "schedule late"]
    assert [(line["level"], line["name"], line["late_s"]) for line in late] == [
        ("warning", "noon", 1800.0),
        ("warning", "noon", 6 * 86_400.0),
    ]


async def test_schedules_begin_when_initialize_is_done() -> None:
    """What fell due while it loaded its data is not late: it was not asked for yet."""

    def begin(strategy: Recorder) -> None:
        strategy.set_time_zone("UTC")
        rules = strategy.date_rules.every_day(), strategy.time_rules.at(12, 0)
        event = strategy.schedule.on(*rules, lambda: strategy.calls.append("noon"))
        clock.set("2024-01-02 12:00:30")
        strategy.schedule.on(
            strategy.date_rules.today,
            strategy.time_rules.now,
            lambda: strategy.quit(f"{event.next_due}"),
        )

    clock = Wall("2024-01-02 11:59:59")
    strategy = Recorder(begin=begin)
    with anyio.fail_after(10):
        outcome = await scripted_run(strategy, Silence(), clock).run()
    assert outcome.reason == "2024-01-03 12:00:00+00:00"
    assert "noon" not in strategy.calls


async def test_a_job_does_not_hold_up_the_warm_up(release: threading.Event) -> None:
    def begin(strategy: Recorder) -> None:
        strategy.set_warm_up(3)
        strategy.train(release.wait)

    def act(strategy: Recorder, _: Slice) -> None:
        if not strategy.is_warming_up:
            strategy.quit("warm")

    strategy = Recorder(begin=begin, act=act)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            run = live(strategy)
            tasks.start_soon(run.run)
            while "on_warmup_finished" not in strategy.calls:  # it tells nobody
                await anyio.lowlevel.checkpoint()
            assert len(run.training.statistics().running) == 1
            release.set()
    assert strategy.calls[-1] == "on_end_of_algorithm"


# ---- training beside trading -----------------------------------------------------------------


async def test_trading_goes_on_while_a_job_runs(release: threading.Event) -> None:
    """The job waits for slices that come only if it does not hold them up."""
    model = ModelSlot("m")
    seen: list[int] = []

    def fit() -> str:
        assert release.wait(30)
        return "a model"

    def act(strategy: Recorder, _: object) -> None:
        seen.append(model.version)
        if len(strategy.slices) == 1:
            strategy.train(fit, into=model)
        if len(strategy.slices) == 100:
            assert not model.is_ready
            release.set()
        if model.is_ready:
            strategy.quit("trained")

    outcome = await live(Recorder(act=act)).run()
    assert outcome.failure is None
    assert outcome.reason == "trained"
    assert seen == sorted(seen)
    assert len(seen) > 100


async def test_flat_out_a_job_is_done_before_the_next_slice() -> None:
    order: list[str] = []

    def act(strategy: Recorder, _: object) -> None:
        order.append("data")
        strategy.train(lambda: order.append("job"), name="fit")

    await run_on_events(Recorder(act=act), moments(trade(1), trade(2), trade(3)))
    assert order == ["data", "job"] * 3


async def test_a_job_holds_the_tape_but_not_the_stop(release: threading.Event) -> None:
    """Asked to stop while the tape waits for a job of initialize, the run ends all the same."""
    loop = asyncio.get_running_loop()

    def fit() -> None:
        loop.call_soon_threadsafe(run.stop, "asked")
        while not strategy.training.cancelled and not release.wait(0.001):
            pass

    strategy = Recorder(begin=lambda s: s.train(fit))
    run = scripted_run(strategy, ScriptedFeed(moments(trade(1))), VirtualClock())
    with anyio.fail_after(10):
        outcome = await run.run()
    assert outcome.reason == "asked"
    assert strategy.calls == ["initialize", "on_end_of_algorithm"]


async def test_training_that_is_off_does_not_hold_the_tape() -> None:
    strategy = Recorder(begin=lambda s: s.train(lambda: 1))
    outcome = await run_on_events(strategy, moments(trade(1)), training={"enabled": False})
    assert strategy.calls[-1] == "on_end_of_algorithm"
    assert outcome.failure is None


# ---- the end ---------------------------------------------------------------------------------


async def test_no_slice_comes_after_the_goodbye(release: threading.Event) -> None:
    """However long a job takes to stop: the feed is closed by then."""
    feed = Endless()
    closed: list[bool] = []

    class Leaving(Recorder):
        def on_end_of_algorithm(self) -> None:
            super().on_end_of_algorithm()
            closed.append(feed.closed)

    def fit() -> None:
        while not strategy.training.cancelled and not release.wait(0.001):
            pass

    def act(target: Recorder, _: object) -> None:
        if len(target.slices) == 1:
            target.train(fit)
        if len(target.slices) == 20:
            target.quit("enough")

    strategy = Leaving(act=act)
    await live(strategy, feed).run()
    assert strategy.calls[-1] == "on_end_of_algorithm"
    assert strategy.calls.count("on_data") == 20
    assert closed == [True]


async def test_a_duration_ends_the_run_in_order() -> None:
    strategy = Recorder()
    outcome = await live(strategy).run(duration=0.001)
    assert outcome.reason == "the duration of 0.001 s is over"
    assert outcome.failure is None
    assert strategy.calls[-1] == "on_end_of_algorithm"


async def test_a_job_that_ignores_the_stop_is_named(release: threading.Event) -> None:
    started = threading.Event()

    def stubborn() -> None:
        started.set()
        release.wait(30)

    def act(strategy: Recorder, _: object) -> None:
        if len(strategy.slices) == 1:
            strategy.train(stubborn)
        if started.is_set():
            strategy.quit("enough")

    outcome = await live(Recorder(act=act), stop_grace_seconds=0.0).run()
    assert outcome.left_running == ("stubborn",)


def mine() -> set[asyncio.Task[Any]]:
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


@pytest.mark.parametrize("clock", [SystemClock, VirtualClock])
async def test_cancelled_anywhere_nothing_is_left(
    clock: Callable[[], Clock], release: threading.Event
) -> None:
    """Cancel after k turns of the loop, for every k: no task stays, no job goes on for ever."""
    for turns in range(40):

        def fit(strategy: Recorder) -> None:
            while not strategy.training.cancelled and not release.wait(0.001):
                pass

        strategy = Recorder(act=once(lambda s: s.train(lambda: fit(s), name="fit")))
        run = scripted_run(strategy, Endless(), clock(), settings(stop_grace_seconds=0.0))
        task = asyncio.create_task(run.run())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert mine() == set(), f"after {turns} turns"
        assert "on_end_of_algorithm" not in strategy.calls
    with anyio.fail_after(30):  # one that is only just starting cannot be joined
        while any(thread.name.startswith("training ") for thread in threading.enumerate()):  # noqa: ASYNC110  # nothing tells it
            await anyio.sleep(0.01)


@pytest.mark.parametrize("clock", [SystemClock, VirtualClock])
async def test_a_failure_leaves_no_task(clock: Callable[[], Clock]) -> None:
    def fail(_: Recorder) -> None:
        raise ValueError("on purpose")

    run = scripted_run(Recorder(act=once(fail)), Endless(), clock())
    outcome = await run.run()
    assert "on purpose" in outcome.reason
    assert mine() == set()


# ---- signals ---------------------------------------------------------------------------------


def kill(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


async def test_sigterm_stops_in_order_and_sigint_too() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        strategy = Recorder(act=once(lambda _, n=number: kill(n)))  # type: ignore[misc]  # bound now
        outcome = await live(strategy).run()
        assert outcome.reason == f"{number.name} received"
        assert outcome.failure is None
        assert strategy.calls[-1] == "on_end_of_algorithm"


async def test_a_second_sigterm_ends_it_at_once(release: threading.Event) -> None:
    """The first waits for a job that ignores it, a minute if need be; the second doesn't."""
    started = threading.Event()

    def stubborn() -> None:
        started.set()
        while not strategy.training.cancelled and not release.wait(0.001):
            pass
        kill(signal.SIGTERM)  # the stop is under way: the job has been asked
        release.wait(30)

    def act(target: Recorder, _: object) -> None:
        if len(target.slices) == 1:
            target.train(stubborn)
        if started.is_set():
            started.clear()
            kill(signal.SIGTERM)

    strategy = Recorder(act=act)
    log, lines = listening()
    run = scripted_run(strategy, Endless(), SystemClock(), settings(stop_grace_seconds=60.0), log)
    with anyio.fail_after(20):
        outcome = await run.run()
    assert outcome.reason == "SIGTERM received"
    assert outcome.left_running == ("stubborn",)
    assert any(line["event"] == "stopping at once" for line in lines)
    assert mine() == set()


async def test_sigusr1_toggles_and_sigusr2_trains_now() -> None:
    trained: list[int] = []

    def act(strategy: Recorder, _: object) -> None:
        on = strategy.training.is_on
        match len(strategy.calls), on:
            case 2, _:
                strategy.train(lambda: trained.append(1), name="fit")
                kill(signal.SIGUSR1)
            case _, False if not strategy.begin:
                strategy.begin = print  # asked once
                kill(signal.SIGUSR2)
                kill(signal.SIGUSR1)
            case _, True if len(trained) == 2:
                strategy.quit("trained again")

    log, lines = listening()
    run = scripted_run(Recorder(act=act), Endless(), SystemClock(), Settings(), log)
    with anyio.fail_after(20):
        outcome = await run.run()
    assert outcome.reason == "trained again"
    toggled = [line for line in lines if line["event"] == "training: toggled"]
    assert [(line["training"], line["by"]) for line in toggled] == [
        ("off", "SIGUSR1"), ("on", "SIGUSR1"),
    ]  # fmt: skip


async def test_a_storm_of_sigusr1_is_counted_and_its_parity_kept() -> None:
    """Signals coalesce in the kernel; each one delivered is one toggle and one line."""

    def storm() -> None:
        for _ in range(1000):
            kill(signal.SIGUSR1)

    thread = threading.Thread(target=storm)
    log, lines = listening()
    still = itertools.count()

    def act(strategy: Recorder, _: object) -> None:
        if len(strategy.slices) == 1:
            thread.start()
        if not thread.is_alive() and told() and next(still) > 50:
            strategy.quit("over")

    def told() -> list[str]:
        return [line["training"] for line in lines if line["event"] == "training: toggled"]

    run = scripted_run(Recorder(act=act), Endless(), SystemClock(), Settings(), log)
    with anyio.fail_after(30):
        outcome = await run.run()
    thread.join()
    toggled = told()
    assert 1 <= len(toggled) <= 1000
    assert toggled == [("off", "on")[n % 2] for n in range(len(toggled))]
    numbers = [line["toggle"] for line in lines if line["event"] == "training: toggled"]
    assert numbers == list(range(1, len(toggled) + 1))
    assert outcome.training.is_on == (len(toggled) % 2 == 0)
    assert outcome.failure is None


# ---- what others see -------------------------------------------------------------------------


async def test_a_run_leaves_a_sign_of_life(tmp_path: Path) -> None:
    class Watching(Endless):
        async def run(self, subscriptions: Sequence[Subscription], deliver: Deliver) -> None:
            while [line["event"] for line in lines].count("status") < 2:
                await anyio.lowlevel.checkpoint()  # the heartbeat of the first is written by then
            run.stop("seen")
            await anyio.sleep_forever()

    wanted = settings(status_seconds=0.001)
    log, lines = listening()
    deployment = Deployment(tmp_path, fresh_quota(wanted.training), {})
    run = build_run(
        Recorder(), wanted, Watching(), SystemClock(), log, "test", deployment=deployment
    )
    outcome = await run.run()
    assert outcome.reason == "seen"
    alive = await anyio.to_thread.run_sync(check_heartbeat, tmp_path)
    assert alive.startswith("test is alive")
    status = next(line for line in lines if line["event"] == "status")
    assert status["equity"] == "100000.00"
    assert status["training"] == "on"


async def test_latency_counts_the_oldest_event_of_each_slice_up_to_on_data() -> None:
    """Three slices of one batch: an event that waited an hour, and fresh ones behind it."""
    now = SystemClock().now()
    hour = 3600 * SECOND
    old = Trade(SPY, now - 4 * SECOND, now - hour, 100.0, 1.0)
    fresh = [Trade(SPY, now - n * SECOND, now, 100.0, 1.0) for n in (3, 2, 1)]
    seen: list[object] = []

    def act(strategy: Recorder, _: object) -> None:
        if len(strategy.slices) == 3:
            seen.append(run.status()["latency_p99_ms"])
            strategy.quit()

    strategy = Recorder(resolution=Resolution.SECOND, act=act)
    run = scripted_run(strategy, ScriptedFeed([[old, *fresh]], lockstep=False), SystemClock())
    await run.run()
    (latency,) = seen
    assert isinstance(latency, float)
    assert latency >= hour / 1e6 * 0.8  # a bucket of the histogram is that wide


async def test_a_slow_callback_is_named_in_the_log() -> None:
    log, lines = listening()
    wanted = settings(slow_callback_ms=1e-9)
    run = scripted_run(Recorder(), ScriptedFeed(moments(trade(1))), VirtualClock(), wanted, log)
    await run.run()
    slow = [line for line in lines if line["event"] == "slow callback"]
    callbacks = [line["callback"] for line in slow]
    assert callbacks == ["initialize", "on_data", "on_end_of_algorithm"]
    assert EngineSettings().slow_callback_ms == 50.0
