"""Jobs in real worker processes: a transaction when they are good, their own misfortune when not.

The rows are those of the list of failures that this isolation has to stand.
"""

import importlib.util
import json
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path

import anyio
import numpy as np
import psutil  # type: ignore[import-untyped]
import pytest

from runtime.strategy import Strategy
from runtime.training.isolation import process
from runtime.training.isolation.workers import WorkerLimits
from runtime.training.slots import ModelSlot
from tests.live.learners import Learner, score
from tests.live.patients import RELEASE, SPY, UNPICKLING, Held, Patient
from tests.live.ward import LIMITS, Ward, ended, family, handles, state
from tests.runtime.training.support import T0, request

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="looks at processes as Linux shows them"
)


@pytest.fixture(scope="module")
def ward() -> Iterator[Ward]:
    """One isolation for all: its worker is warm, and whoever kills it gets another one made."""
    made = Ward()
    yield made
    anyio.run(made.isolation.close)
    assert [one for one in family() if one.status() == psutil.STATUS_ZOMBIE] == []


@pytest.fixture
def patient(ward: Ward) -> Patient:
    strategy = Patient()
    ward.admit(strategy, depth="3")
    return strategy


# ---- the transaction -------------------------------------------------------------------------


async def test_what_a_job_returned_and_assigned_comes_back_together(
    ward: Ward, patient: Patient
) -> None:
    data = patient.data
    result = await ward.run(patient.learn, patient.slot)
    assert (result.error, result.accepted) == ("", True)
    assert result.value["mean"] == data.mean()
    assert result.value["pid"] != os.getpid()
    assert (patient.count, hasattr(patient, "fresh")) == (1, False), "not before it is applied"
    assert result.commit is not None
    result.commit()
    assert patient.count == 2
    assert np.array_equal(patient.fresh, data * 2)
    assert patient.same is patient.fresh
    assert patient.handles == {"last": patient.handle}, "what is the runtime's stays itself"
    assert patient.where is patient.spy is ward.desk.securities[SPY]
    assert not hasattr(patient, "doomed")
    assert patient.data is data, "what was not assigned is what it was"
    assert patient.notes == {"a": [1, 2]}, "a change inside is not seen"
    assert result.metrics == {"accuracy": 0.75}


async def test_what_a_job_says_comes_as_lines(ward: Ward, patient: Patient) -> None:
    await ward.run(patient.learn, patient.slot)
    said = {line.text: line for line in ward.lines}
    assert said["said"].fields == {"rows": 100_000, "kind": "Security", "what": "[1]"}
    assert {"printed", "complained", "by hand, without an end"} <= said.keys()
    assert said["printed"].fields == {"printed": True}
    assert [news.progress for news in ward.news if news.progress][-1] == (0.5, "half")


async def test_what_is_said_travels_whatever_it_is(ward: Ward, patient: Patient) -> None:
    result = await ward.run(patient.says_strange_things, patient.slot)
    assert (result.error, result.metrics) == ("", {"loss": 0.25})
    said = {line.text: line.fields for line in ward.lines}
    fields = said["strange \\ud800"]
    assert (fields["p"], fields["n"], fields["big"]) == (0.5, 3, str(10**30))
    assert str(fields["held"]).startswith("a Unsayable that cannot be written: ValueError('no")
    assert said["strange too"] == {"yes": True, "text": "a", "ring": "\x07"}
    assert [news.progress for news in ward.news if news.progress][-1] == (0.5, "3")
    assert (await ward.run(patient.fails_strangely)).error == "ValueError: \\ud800"


async def test_a_job_reads_the_run_as_it_was_and_the_past_as_it_asks(
    ward: Ward, patient: Patient
) -> None:
    slot = ModelSlot("seen")
    seen = (await ward.run(patient.look, slot)).value
    expected = ward.desk.tick_history(SPY, 1000)
    for name in expected.__struct_fields__:
        assert np.array_equal(
            getattr(seen["ticks"], name), getattr(expected, name), equal_nan=name != "is_trade"
        )
    assert list(seen["bars"].close) == [117.0, 119.0]
    assert (seen["time"], seen["cash"]) == (ward.desk.time, Decimal(12_345))
    assert (seen["price"], seen["same"], seen["on"]) == (119.0, True, True)
    assert (seen["parameter"], seen["warming"]) == ("3", False)


async def test_the_time_of_what_was_read_is_known(ward: Ward, patient: Patient) -> None:
    assert (await ward.run(patient.look)).data_until == ward.desk.now_ns
    nothing = await ward.run(patient.nothing)
    assert nothing.data_until == ward.desk.now_ns, "what it was given is of the start"


async def test_a_job_starts_from_the_model_that_serves(ward: Ward, patient: Patient) -> None:
    patient.slot.publish({"weights": np.arange(10_000.0)}, "before", T0, {"loss": 0.5})
    weights, metrics = (await ward.run(patient.warm_start, patient.slot)).value
    assert np.array_equal(weights, np.arange(10_000.0) + 1)
    assert metrics == {"loss": 0.5}


async def test_what_acts_is_refused_in_one_sentence(ward: Ward, patient: Patient) -> None:
    said = (await ward.run(patient.act, ModelSlot("said"))).value
    assert len(said) == 9
    assert all(one.startswith("StrategyError: ") for one in said)
    assert "'order' cannot be used in a training that runs in a process of its own" in said[0]
    assert said[-1] == "StrategyError: AAPL was not added in initialize (added: SPY)"


async def test_the_gate_is_asked_in_the_worker_and_a_refusal_changes_nothing(
    ward: Ward, patient: Patient
) -> None:
    patient.gated.publish(4, "before", T0)
    good = await ward.run(patient.candidate, patient.gated)
    assert (good.value, good.accepted) == (5, True)
    patient.gated.publish(6, "meanwhile", T0)
    bad = await ward.run(patient.candidate, patient.gated)
    assert not bad.accepted
    assert bad.commit is not None
    bad.commit()
    assert patient.count == 1


# ---- what cannot travel ----------------------------------------------------------------------


async def test_an_attribute_that_cannot_travel_is_named_once_and_explains_itself(
    ward: Ward, patient: Patient
) -> None:
    result = await ward.run(patient.read_missing)
    assert result.error.startswith(
        "runtime.errors.StrategyError: self.lock cannot be used in a training that runs in a "
        "process of its own: it cannot be pickled (TypeError: cannot pickle"
    )
    assert (await ward.run(patient.replace_missing, patient.slot)).value == "None"
    named = [line.text for line in ward.lines if "self.lock" in line.text]
    assert len(named) <= 1


@pytest.mark.parametrize("kind", ["lambda", "closure", "gate"])
async def test_a_method_that_cannot_travel_fails_at_once(
    ward: Ward, patient: Patient, kind: str
) -> None:
    inner = threading.Lock()

    def closure() -> object:
        return inner

    slot = ModelSlot("m", validate=lambda *_: True) if kind == "gate" else None
    method = {"lambda": lambda: 1, "closure": closure}.get(kind, patient.nothing)
    result = await ward.run(method, slot)
    assert "cannot run in a process of its own" in result.error
    assert result.error.endswith("a method of the strategy or a function at the top of its module")


async def test_a_class_inside_a_function_says_so(ward: Ward) -> None:
    class Inner(Strategy):
        def initialize(self) -> None:
            self.add_equity("SPY")

        def fit(self) -> None: ...

    strategy = Inner()
    ward.admit(strategy)
    assert "has to stand at the top of a module" in (await ward.run(strategy.fit)).error


@pytest.mark.parametrize(
    ("method", "bomb", "words"),
    [
        ("returns_lock", "", "the returned value cannot be handed back: TypeError: cannot pickle"),
        ("assigns_lock", "", "self.fresh cannot be handed back: TypeError: cannot pickle"),
        ("assigns_locks", "", "self.fresh cannot be handed back: TypeError: cannot pickle"),
        ("assigns_locks", "", "; self.lock cannot be handed back: TypeError: cannot pickle"),
        ("returns_bomb", "raises", "the returned value cannot be handed back: ValueError: not me"),
        ("assigns_bomb", "raises", "self.fresh cannot be handed back: ValueError: not me"),
        ("returns_bomb", "acts", "the returned value cannot be taken from the worker: "),
        ("assigns_bomb", "acts", "posix.system"),
        ("assigns_bomb", "reaches in", "runtime.training.manager.TrainingManager"),
        ("returns_bomb", "again", "the returned value cannot be taken from the worker: Value"),
        ("assigns_bomb", "again", "self.fresh cannot be taken from the worker: ValueError: never"),
        ("assigns_much", "", "self.fresh cannot be handed back: it has 32000"),
        ("fails", "", "ValueError: no data"),
    ],
)
async def test_row_66_a_bad_result_is_refused_by_name_and_changes_nothing(
    ward: Ward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, bomb: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    strategy = Patient()
    ward.admit(strategy, bomb=bomb)
    result = await ward.run(getattr(strategy, method), strategy.slot)
    assert words in result.error
    assert result.commit is None
    assert os.listdir(tmp_path) == [], "row 67: nothing was done while it was unpickled"


async def test_the_traceback_of_an_exception_comes_along(ward: Ward, patient: Patient) -> None:
    assert "in fails" in (await ward.run(patient.fails)).traceback


# ---- how a worker can end --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        ("segfault", "the worker was killed by SIGSEGV"),
        ("abort", "the worker was killed by SIGABRT"),
        ("leave", "the worker ended with exit code 0 before it had a result"),
        ("leave_with_three", "the worker ended with exit code 3 before it had a result"),
        ("leave_in_order", "SystemExit: 4"),
        ("kill_itself", "the worker was killed by SIGKILL"),
        ("close_everything", "the worker ended with exit code 0 before it had a result"),
    ],
)
async def test_row_63_a_crash_is_named_and_the_next_job_runs(
    ward: Ward, patient: Patient, method: str, sentence: str
) -> None:
    assert (await ward.run(getattr(patient, method))).error == sentence
    assert (await ward.run(patient.pid, patient.slot)).value != os.getpid()


async def test_row_62_too_much_memory_is_the_jobs_misfortune(ward: Ward, patient: Patient) -> None:
    assert (await ward.run(patient.allocate)).error.startswith("out of memory: ")
    assert (await ward.run(patient.nothing)).error == ""


async def test_row_62_a_strategy_that_has_grown_too_large_is_told_so_and_may_shrink() -> None:
    ward, patient = Ward(WorkerLimits(400 << 20, result_bytes=1 << 30)), Patient()
    ward.admit(patient)
    try:
        result = await ward.run(patient.returns_more_than_there_is)
        if result.commit is not None:  # else it was too much for the worker already
            result.commit()
        patient.fresh = np.zeros(500 << 20, np.uint8)
        assert (await ward.run(patient.nothing)).error.startswith(
            "the strategy's arrays have 500 MB, self.fresh most of all: a worker may use 400 MB (t"
        )
        patient.fresh = bytes(500 << 20)
        for _ in range(2):
            assert (await ward.run(patient.nothing)).error == (
                "out of memory: MemoryError: no room for the strategy's attributes of 500 MB (a "
                "worker may use 400 MB: training.memory_mb)"
            )
        del patient.fresh
        pid = (await ward.run(patient.pid, patient.slot)).value
        assert (await ward.run(patient.allocate)).error.startswith("out of memory: ")
        assert (await ward.run(patient.pid, patient.slot)).value != pid
    finally:
        await ward.isolation.close()
    left = [line.fields for line in ward.lines if line.text.startswith("the worker is replaced")]
    assert left[-1] == {"left": "memory"}


async def test_row_62_what_children_take_counts(ward: Ward, patient: Patient) -> None:
    error = (await ward.run(patient.allocate_in_children)).error
    assert error == "the worker ran out of memory: it may use 400 MB (training.memory_mb)"


async def test_row_60_a_job_that_is_deaf_to_everything_is_killed(
    ward: Ward, patient: Patient
) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ward.run, patient.deaf)
        line = await ward.until("deaf")
        with handles(int(str(line.fields["pid"]))) as (worker,):
            tasks.cancel_scope.cancel()
            await ended(worker)
    assert (await ward.run(patient.nothing)).error == ""


async def test_a_job_that_stops_its_warden_is_killed_all_the_same(
    ward: Ward, patient: Patient
) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ward.run, patient.stop_its_warden)
        warden = int(str((await ward.until("stopping")).fields["warden"]))
        while state(warden) != "T":
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert not psutil.pid_exists(warden)
    assert (await ward.run(patient.nothing)).error == ""


async def test_a_result_that_hangs_while_it_is_unpickled_is_left_and_named(
    ward: Ward, patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "GIVE_UP_SECONDS", 0.1)
    asked = request(patient.returns_stuck, patient.slot, isolation="process")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ward.isolation.run, asked, ward.control())
        await anyio.to_thread.run_sync(UNPICKLING.wait)
        tasks.cancel_scope.cancel()
    assert ward.isolation.abandoned() == {asked.id: "returns_stuck"}
    RELEASE.set()
    for thread in threading.enumerate():
        if thread.name == "training returns_stuck":
            await anyio.to_thread.run_sync(thread.join)
    assert ward.isolation.abandoned() == {}


async def test_a_job_that_listens_is_told_to_stop(ward: Ward, patient: Patient) -> None:
    control = ward.control()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ward.run, patient.obedient, None, control)
        await ward.until("listening")
        control.ask_to_stop()
    assert control.has_noticed


async def test_a_job_that_was_told_before_it_began_stops_too(ward: Ward, patient: Patient) -> None:
    control = ward.control()
    control.ask_to_stop()
    await ward.run(patient.obedient, None, control)
    assert control.has_noticed


async def test_a_held_job_does_not_run_until_it_is_released(ward: Ward, patient: Patient) -> None:
    asked, control = request(patient.obedient, isolation="process"), ward.control()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ward.isolation.run, asked, control)
        pid = int(str((await ward.until("listening")).fields["pid"]))
        assert ward.isolation.pause(asked.id)
        while state(pid) != "T":
            await anyio.lowlevel.checkpoint()
        control.ask_to_stop()
        ward.isolation.resume(asked.id)
    assert control.has_noticed
    assert not ward.isolation.pause(asked.id)


async def test_a_held_job_can_be_killed(ward: Ward, patient: Patient) -> None:
    asked = request(patient.deaf, isolation="process")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ward.isolation.run, asked, ward.control())
        pid = int(str((await ward.until("deaf")).fields["pid"]))
        ward.isolation.pause(asked.id)
        with handles(pid) as (worker,):
            tasks.cancel_scope.cancel()
            await ended(worker)


async def test_row_64_children_of_a_killed_job_die_with_it(ward: Ward, patient: Patient) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ward.run, patient.spawn_and_wait)
        pids = str((await ward.until("family")).fields["pids"])
        with handles(*map(int, pids.split(","))) as children:
            tasks.cancel_scope.cancel()
            for child in children:
                await ended(child)


async def test_row_64_children_that_a_good_job_leaves_die_too(ward: Ward, patient: Patient) -> None:
    left = (await ward.run(patient.spawn_and_return, patient.slot)).value
    assert len(left) == 2
    assert not [pid for pid in left if psutil.pid_exists(pid)]


async def test_a_worker_is_kept_unless_something_was_left_in_it(
    ward: Ward, patient: Patient
) -> None:
    first = (await ward.run(patient.pid, patient.slot)).value
    assert (await ward.run(patient.leave_thread, patient.slot)).value == first
    assert (await ward.run(patient.pid, patient.slot)).value != first
    assert "threads" in [line.fields.get("left") for line in ward.lines]


async def test_a_job_finds_the_directory_and_path_that_the_first_one_found(
    ward: Ward, patient: Patient
) -> None:
    before = (await ward.run(patient.where_am_i, patient.slot)).value
    first = (await ward.run(patient.wander, patient.slot)).value
    after = (await ward.run(patient.where_am_i, patient.slot)).value
    assert after == before
    assert after[1] > 0
    assert after[2] == first


async def test_a_worker_that_can_no_longer_read_the_strategy_is_replaced(
    ward: Ward, patient: Patient
) -> None:
    patient.fresh = Held()
    first = (await ward.run(patient.break_held, patient.slot)).value
    error = (await ward.run(patient.pid, patient.slot)).error
    assert error.startswith("self.fresh cannot be unpickled in the worker: ")
    assert (await ward.run(patient.pid, patient.slot)).value != first


# ---- floods ----------------------------------------------------------------------------------


async def test_row_65_a_flood_of_output_is_bounded_and_counted(
    ward: Ward, patient: Patient
) -> None:
    result = await ward.run(patient.print_much, patient.slot)
    assert result.value == "printed"
    kept = [line for line in ward.lines if line.text.startswith("xxx")]
    lost = sum(int(str(line.fields["lines"])) for line in ward.lines if "lines" in line.fields)
    assert 0 < len(kept) <= 250
    # A line that was cut in two is counted on either side or on none.
    assert len(kept) + lost == pytest.approx(200_000, rel=0.001)


async def test_a_job_does_not_pay_for_what_the_one_before_has_printed(
    ward: Ward, patient: Patient
) -> None:
    await ward.run(patient.print_much, patient.slot)
    ward.lines.clear()
    await ward.run(patient.learn, patient.slot)
    assert {"printed", "complained"} <= {line.text for line in ward.lines}


async def test_row_65_a_flood_of_lines_is_bounded_and_counted(ward: Ward, patient: Patient) -> None:
    result = await ward.run(patient.log_much, patient.slot)
    assert result.value == "logged"
    kept = [line for line in ward.lines if line.text == "line"]
    lost = sum(int(str(line.fields["lines"])) for line in ward.lines if "lines" in line.fields)
    assert len(kept) + lost == 200_000
    assert [news.progress for news in ward.news if news.progress][-1].fraction > 0.999


# ---- what a worker is ------------------------------------------------------------------------


async def test_a_worker_is_humble_and_knows_no_secret(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = {
        "APCA_API_SECRET_KEY": "s3cret",
        "APCA_API_KEY_ID": "s3cret",
        "TIDEGATE_TOKEN": "s3cret",
        "TIDEGATE_VENUE_SECRET": "s3cret",
        "MY_BROKER_PASSWORD": "s3cret",
        "GITHUB_TOKEN": "s3cret",
        "OPENAI_KEY": "s3cret",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HARMLESS", "seen")
    ours = socket.socket()
    ours.set_inheritable(True)
    ward = Ward()
    try:
        ward.admit(patient)
        result = await ward.run(patient.describe, patient.slot)
    finally:
        await ward.isolation.close()
        ours.close()
    assert result.error == ""
    seen = result.value
    assert "s3cret" not in json.dumps(seen["environment"])
    assert seen["environment"]["HARMLESS"] == "seen"
    assert seen["environment"]["OMP_NUM_THREADS"] == "1"
    assert (seen["nice"], seen["scheduler"], seen["oom"]) == (19, os.SCHED_IDLE, "1000")
    # Linux weighs sessions against each other: only within ours does the worker stand behind us.
    assert seen["session"] == os.getsid(0)
    assert seen["group"] == seen["pid"], "the terminal's Ctrl+C is not for it"
    assert not seen["terminal"]
    assert seen["threads"] in ([], [1])
    assert (seen["data"], seen["core"]) == (LIMITS.memory_bytes, 0)
    # Standard input; output and errors; our socket; what the job came in, which is mapped.
    assert seen["open"] == ["/dev/null", "/memfd", "pipe", "pipe", "socket"]
    assert seen["stdin"] == ""


async def what_there_is() -> tuple[int, set[str], list[int]]:
    """Descriptors, threads and processes, once the last job's thread has said its word.

    How many threads anyio keeps for its own use is its own affair.
    """
    for thread in threading.enumerate():
        if thread.name.startswith("training "):
            await anyio.to_thread.run_sync(thread.join)
    here = psutil.Process()
    ours = {each.name for each in threading.enumerate()} - {"AnyIO worker thread"}
    return here.num_fds(), ours, [one.pid for one in family()]


async def test_fifty_jobs_leave_nothing_behind(ward: Ward, patient: Patient) -> None:
    await ward.run(patient.learn, patient.slot)
    before = await what_there_is()
    for number in range(50):
        method = patient.nothing if number % 5 else patient.learn
        assert (await ward.run(method)).error == ""
    assert await what_there_is() == before


@pytest.fixture
async def fresh() -> AsyncIterator[Ward]:
    ward = Ward()
    ward.admit(Patient())
    yield ward
    await ward.isolation.close()
    assert [one for one in family() if one.status() == psutil.STATUS_ZOMBIE] == []


async def test_closing_ends_a_worker_that_is_only_being_made_ready(fresh: Ward) -> None:
    fresh.isolation.make_ready()
    await fresh.isolation.close()


async def test_a_job_cancelled_while_its_worker_starts_ends_at_once(fresh: Ward) -> None:
    strategy = fresh.strategy
    assert isinstance(strategy, Patient)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fresh.run, strategy.nothing)
        await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert (await fresh.run(strategy.nothing)).error == ""


async def test_an_idle_worker_that_was_killed_is_replaced(fresh: Ward) -> None:
    strategy = fresh.strategy
    assert isinstance(strategy, Patient)
    pid = (await fresh.run(strategy.pid, strategy.slot)).value
    with handles(pid) as (worker,):
        os.kill(pid, signal.SIGKILL)
        await ended(worker)
    result = await fresh.run(strategy.pid, strategy.slot)
    assert result.error in {"", "the worker was killed by SIGKILL"}


# ---- models of each kind -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def school() -> Iterator[Ward]:
    """An isolation for another strategy; torch by itself takes half a gigabyte."""
    made = Ward(WorkerLimits(memory_bytes=2 << 30))
    yield made
    anyio.run(made.isolation.close)


@pytest.fixture
def learner(school: Ward) -> Learner:
    strategy = Learner()
    school.admit(strategy)
    return strategy


@pytest.mark.parametrize("kind", ["sklearn", "lightgbm", "river", "torch"])
async def test_each_kind_of_model_is_trained_there_and_predicts_here(
    school: Ward, learner: Learner, kind: str
) -> None:
    """Twice: the second run begins with the model of the first, where its library can."""
    if importlib.util.find_spec(kind) is None:
        pytest.skip(f"{kind} is not installed")
    for _ in range(2):
        result = await school.run(getattr(learner, kind), learner.slot)
        assert result.error == ""
        assert score(result.value, learner) > 0.9
        learner.slot.publish(result.value, "test", T0)
    assert learner.slot.version == 2
