"""Whoever sees ready also sees the model; whoever waits always wakes, from any thread."""

import asyncio
import gc
import threading
from collections.abc import Callable

import anyio
import pytest

from runtime.training import waiting
from runtime.training.readiness import STATES, Readiness, ReadinessCause, ReadinessState
from tests.runtime.training.support import settle


def test_it_starts_untrained_and_says_why() -> None:
    readiness = Readiness()
    assert not readiness.is_ready
    assert (readiness.state, readiness.version) == (ReadinessState.UNTRAINED, 0)
    assert readiness.cause == "never trained"
    assert repr(readiness) == "Readiness(untrained, version 0, 'never trained')"


def test_the_way_of_a_first_training() -> None:
    readiness, seen = Readiness(), []
    steps: list[Callable[[], None]] = [
        lambda: readiness.not_yet(ReadinessCause.OFF),
        lambda: readiness.not_yet(ReadinessCause.TRAINING),
        lambda: readiness.not_yet(ReadinessCause.FAILED, "ValueError: no data"),
        lambda: readiness.ready(1),
    ]
    for step in steps:
        step()
        seen.append((readiness.state, readiness.reason, readiness.is_ready))
    assert seen == [
        (ReadinessState.UNTRAINED, "off", False),
        (ReadinessState.TRAINING, "training", False),
        (ReadinessState.FAILED, "failed: ValueError: no data", False),
        (ReadinessState.READY, "", True),
    ]


def test_nothing_but_age_ends_readiness_once_a_version_serves() -> None:
    readiness = Readiness()
    readiness.ready(1)
    readiness.not_yet(ReadinessCause.TRAINING)
    readiness.not_yet(ReadinessCause.FAILED, "anything")
    readiness.not_yet(ReadinessCause.OFF)
    assert (readiness.is_ready, readiness.state) == (True, ReadinessState.READY)
    readiness.stale("older than a day")
    assert (readiness.is_ready, readiness.state) == (False, ReadinessState.STALE)
    assert (readiness.version, readiness.cause) == (1, ReadinessCause.EXPIRED)
    assert readiness.reason == "expired: older than a day"
    readiness.ready(2)
    assert (readiness.is_ready, readiness.version) == (True, 2)


def test_every_cause_has_its_state() -> None:
    assert set(STATES) == set(ReadinessCause)
    assert set(STATES.values()) == set(ReadinessState)


def test_each_change_is_told_once_and_a_change_that_is_none_is_not() -> None:
    readiness, told = Readiness(), []
    readiness.listen(lambda status: told.append((status.reason, status.version)))
    for _ in range(2):
        readiness.not_yet(ReadinessCause.QUEUED)
        readiness.not_yet(ReadinessCause.QUEUED)
        readiness.not_yet(ReadinessCause.FAILED, "no data")
    readiness.ready(1)
    readiness.not_yet(ReadinessCause.TRAINING)
    readiness.stale("a day old")
    readiness.stale("too old", version=3)
    assert told == [
        ("queued", 0),
        ("failed: no data", 0),
        ("queued", 0),
        ("failed: no data", 0),
        ("", 1),
        ("expired: a day old", 1),
        ("expired: too old", 3),
    ]


def test_without_a_version_nothing_is_stale() -> None:
    readiness = Readiness()
    readiness.stale("older than a day")
    assert readiness.state is ReadinessState.UNTRAINED


def test_a_thread_waits_until_ready() -> None:
    readiness = Readiness()
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(readiness.wait_blocking()))
    thread.start()
    readiness.ready(1)
    thread.join()
    assert answers == [True]
    assert readiness.wait_blocking(0)


def test_a_thread_stops_waiting_after_its_time() -> None:
    assert not Readiness().wait_blocking(0)


async def test_a_task_waits_until_ready_and_not_when_it_is() -> None:
    readiness = Readiness()
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(readiness.wait)
        await settle()
        readiness.ready(1)
    await readiness.wait()


async def test_a_short_moment_of_readiness_wakes_too() -> None:
    readiness = Readiness()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(readiness.wait)
        await settle()
        readiness.ready(1)
        readiness.stale("at once")


async def test_a_wait_that_is_cancelled_leaves_nothing_behind() -> None:
    readiness = Readiness()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(readiness.wait)
        await settle()
        tasks.cancel_scope.cancel()
    called: list[int] = []
    withdraw = readiness.subscribe(lambda: called.append(1))
    assert withdraw is not None
    withdraw()
    readiness.ready(1)
    assert called == []
    assert readiness.subscribe(lambda: called.append(2)) is None


async def test_without_a_runtime_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Readiness, "on_loop", None)
    with pytest.raises(RuntimeError, match=r"import runtime\.training\.waiting"):
        await Readiness().wait()


def test_made_before_any_loop_and_used_in_two() -> None:
    readiness = Readiness()

    async def wait_for_another_thread() -> None:
        thread = threading.Thread(target=readiness.ready, args=(1,))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(readiness.wait)
            await settle()
            thread.start()
        thread.join()

    asyncio.run(wait_for_another_thread())
    readiness.stale("between two runs")
    asyncio.run(wait_for_another_thread())
    assert readiness.is_ready


def test_setting_after_the_loop_has_closed_is_silent() -> None:
    """Row 69: a training that finishes during shutdown has nobody left to wake."""
    readiness = Readiness()

    async def begin_to_wait_and_leave() -> None:
        wait = waiting.wait_on_loop(readiness)
        wait.send(None)  # up to its future, and no further
        kept.append(wait)

    kept: list[object] = []
    asyncio.run(begin_to_wait_and_leave())
    readiness.ready(1)
    assert readiness.is_ready
    kept.clear()
    gc.collect()


async def test_many_races_of_set_and_wait_lose_nobody() -> None:
    """Each round a task, a thread that waits, and a thread that sets begin at the same moment."""
    rounds = 3000
    all_of_them = [Readiness() for _ in range(rounds)]
    models: list[object] = [None] * rounds
    blind: list[int] = []

    def publish() -> None:
        for number, readiness in enumerate(all_of_them):
            models[number] = object()
            readiness.ready(1)

    def look() -> None:
        for number, readiness in enumerate(all_of_them):
            assert readiness.wait_blocking()
            if not readiness.is_ready or models[number] is None:
                blind.append(number)

    threads = [threading.Thread(target=work) for work in (look, publish)]
    for thread in threads:
        thread.start()
    for number, readiness in enumerate(all_of_them):
        await readiness.wait()
        if models[number] is None:
            blind.append(number)
    for thread in threads:
        await anyio.to_thread.run_sync(thread.join)
    assert blind == []
