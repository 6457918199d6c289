"""A job in a thread: its result, its failures, its footprint, and being left behind."""

import sys
import threading

import anyio
import numpy as np
import pytest
from threadpoolctl import threadpool_info  # type: ignore[import-untyped]

from runtime.training.control import CURRENT_JOB, JobControl
from runtime.training.isolation.base import ERROR_CHARS, TRACEBACK_CHARS, JobResult, execute
from runtime.training.isolation.footprint import SWITCH_INTERVAL_SECONDS, Footprint
from runtime.training.isolation.launch import LAUNCHER
from runtime.training.isolation.thread import ThreadIsolation
from runtime.training.jobs import JobRequest
from runtime.training.slots import ModelSlot
from tests.runtime.training.support import Gate, request


def control() -> JobControl:
    return JobControl(lambda: None)


def raising(error: BaseException) -> JobRequest:
    def fit() -> object:
        raise error

    return request(fit)


def test_a_result_comes_with_its_metrics() -> None:
    job = control()

    def fit() -> object:
        current = CURRENT_JOB.get()
        assert current is job
        current.metrics["loss"] = 0.25
        return "model"

    assert execute(request(fit, ModelSlot("m")), job) == JobResult("model", True, {"loss": 0.25})
    assert CURRENT_JOB.get() is None


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("no data"), "ValueError: no data"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (GeneratorExit(), "GeneratorExit"),
        (MemoryError(), "MemoryError"),
        (Unspeakable(), "tests.runtime.training.test_isolation.Unspeakable: "),
    ],
)
def test_whatever_is_raised_is_a_failure_in_words(error: BaseException, sentence: str) -> None:
    result = execute(raising(error), control())
    assert result.error.startswith(sentence)
    assert "in fit" in result.traceback


def test_endless_words_are_cut() -> None:
    result = execute(raising(ValueError("x" * 10**6)), control())
    assert len(result.error) == ERROR_CHARS
    assert len(result.traceback) == TRACEBACK_CHARS


def test_in_the_callers_own_thread_an_interrupt_passes() -> None:
    with pytest.raises(KeyboardInterrupt):
        execute(raising(KeyboardInterrupt()), control(), passing=(KeyboardInterrupt,))
    assert execute(raising(SystemExit()), control(), passing=(KeyboardInterrupt,)).error


def test_none_is_no_model_for_a_slot_and_no_fault_without_one() -> None:
    assert execute(request(lambda: None), control()).error == ""
    asked = request(lambda: None, ModelSlot("model"), name="fit")
    assert execute(asked, control()).error.startswith("fit returned None")


def test_the_gate_is_asked_with_the_job_and_may_raise() -> None:
    threads: list[str] = []

    def gate(candidate: object, _: object) -> bool:
        threads.append(threading.current_thread().name)
        return {"good": True, "bad": False}[str(candidate)]

    slot = ModelSlot("model", validate=gate)
    assert execute(request(lambda: "good", slot), control()).accepted
    assert not execute(request(lambda: "bad", slot), control()).accepted
    assert execute(request(lambda: "ugly", slot), control()).error == "KeyError: 'ugly'"
    assert slot.version == 0, "the job asks, the loop publishes"


async def test_a_job_runs_in_a_daemon_thread_of_its_own() -> None:
    seen: list[threading.Thread] = []
    asked = request(lambda: seen.append(threading.current_thread()), name="fit")
    await ThreadIsolation().run(asked, control())
    assert seen[0].daemon
    assert seen[0].name == "training fit"
    assert seen[0] is not threading.current_thread()


async def test_the_loop_goes_on_while_a_job_runs() -> None:
    gate, isolation = Gate("model"), ThreadIsolation()
    async with anyio.create_task_group() as tasks:
        results: list[JobResult] = []

        async def run() -> None:
            results.append(await isolation.run(request(gate.train), control()))

        tasks.start_soon(run)
        await anyio.to_thread.run_sync(gate.begun.wait)
        assert results == []
        gate.release.set()
    assert results[0].value == "model"
    assert isolation.abandoned() == {}


async def test_a_job_given_up_is_named_until_its_thread_ends() -> None:
    gate, isolation = Gate(), ThreadIsolation()
    asked = request(gate.train, name="deaf")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(isolation.run, asked, control())
        await anyio.to_thread.run_sync(gate.begun.wait)
        tasks.cancel_scope.cancel()
    assert isolation.abandoned() == {asked.id: "deaf"}
    thread = next(one for one in threading.enumerate() if one.name == "training deaf")
    gate.release.set()
    await anyio.to_thread.run_sync(thread.join)
    assert isolation.abandoned() == {}


async def test_a_thread_cannot_be_frozen() -> None:
    isolation = ThreadIsolation()
    assert not isolation.pause(request().id)
    isolation.resume(request().id)


async def test_no_thread_to_be_had_fails_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    isolation = ThreadIsolation()
    result = await isolation.run(request(), control())
    assert result.error == "RuntimeError: can't start new thread"
    assert isolation.abandoned() == {}


def native_threads() -> list[int]:
    return [library["num_threads"] for library in threadpool_info()]


async def test_the_process_is_light_while_a_job_runs_and_as_before_after_the_last() -> None:
    assert np.linalg.norm(np.eye(4)) == 2, "BLAS is loaded"
    before = (sys.getswitchinterval(), native_threads())
    first, second, seen = Gate(), Gate(), []
    isolation = ThreadIsolation()

    def look() -> None:
        seen.append((sys.getswitchinterval(), native_threads()))

    async with anyio.create_task_group() as tasks:
        for gate in (first, second):
            tasks.start_soon(isolation.run, request(gate.train), control())
        await anyio.to_thread.run_sync(first.begun.wait)
        await anyio.to_thread.run_sync(second.begun.wait)
        first.release.set()
        await isolation.run(request(look), control())
        second.release.set()
    assert seen[0][0] == pytest.approx(SWITCH_INTERVAL_SECONDS)
    assert set(seen[0][1]) <= {1}
    assert (sys.getswitchinterval(), native_threads()) == before


def test_an_interval_that_is_shorter_already_is_kept() -> None:
    before = sys.getswitchinterval()
    try:
        sys.setswitchinterval(0.0001)
        with Footprint().light():
            assert sys.getswitchinterval() <= 0.0001
    finally:
        sys.setswitchinterval(before)


async def test_a_fault_around_the_method_fails_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Footprint) -> None:
        raise OSError("no such library")

    monkeypatch.setattr(Footprint, "_limit", broken)
    before = sys.getswitchinterval()
    result = await ThreadIsolation().run(request(), control())
    assert result.error == "OSError: no such library"
    assert sys.getswitchinterval() == before


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_job_that_ends_after_its_loop_has_closed_is_silent() -> None:
    gate, isolation = Gate(), ThreadIsolation()

    async def leave() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(isolation.run, request(gate.train, name="late"), control())
            await anyio.to_thread.run_sync(gate.begun.wait)
            tasks.cancel_scope.cancel()

    anyio.run(leave)
    thread = next(one for one in threading.enumerate() if one.name == "training late")
    gate.release.set()
    thread.join()
    assert isolation.abandoned() == {}


async def test_a_job_that_is_given_up_before_its_thread_runs_never_does() -> None:
    gate, isolation, waiting = Gate(), ThreadIsolation(), threading.Event()
    held = threading.Thread(target=lambda: None)
    # The launcher hands this one over before it comes to the job's.
    held.start = waiting.wait  # type: ignore[assignment]
    isolation.make_ready()
    LAUNCHER.start(held, lambda _: None)
    asked = request(gate.train, name="never")
    with anyio.move_on_after(0):
        await isolation.run(asked, control())
    assert isolation.abandoned() == {}
    waiting.set()
    done = threading.Event()
    LAUNCHER.start(threading.Thread(target=done.set), lambda _: None)
    await anyio.to_thread.run_sync(done.wait)
    for thread in threading.enumerate():
        if thread.name == "training never":
            await anyio.to_thread.run_sync(thread.join)
    assert gate.runs == 0
