"""The manager under a virtual clock: what runs, what it costs, and how it ends."""

import sys
import threading
from collections.abc import Callable, Mapping

import anyio
import pytest

from feeds.events import MINUTE, SECOND
from runtime.errors import ConfigError, QuotaExhausted, StrategyError
from runtime.training.control import JobControl
from runtime.training.isolation.base import JobResult
from runtime.training.isolation.thread import ThreadIsolation
from runtime.training.jobs import JobId, JobRequest, JobState, TrainingHandle
from runtime.training.manager import TrainingManager
from runtime.training.readiness import ReadinessCause, ReadinessState
from runtime.training.slots import ModelSlot, Published
from runtime.training.supervision import TrainingRules
from runtime.training.updates import TrainingUpdateKind as Kind
from tests.runtime.training.support import T0, Bench, Gate, Obedient, nothing, request, settle


def fails() -> object:
    raise ValueError("no data")


async def test_a_job_runs_and_publishes_on_the_loop() -> None:
    slot, loop_thread, publishing = ModelSlot("model"), threading.current_thread(), []
    bench = Bench()
    slot.readiness.subscribe(lambda: publishing.append(threading.current_thread()))

    def fit() -> str:
        bench.manager.control.report(accuracy=0.75)
        return "trained"

    async with bench.running():
        handle = bench.manager.submit(asked := request(fit, slot))
        await handle.readiness.wait()
        await bench.manager.idle()
    assert handle.state is JobState.SUCCEEDED
    assert slot.bundle is not None
    assert (slot.current, slot.version, slot.bundle.job) == ("trained", 1, asked.id)
    assert (slot.bundle.trained_at, slot.bundle.metrics) == (T0, {"accuracy": 0.75})
    assert bench.kinds() == [Kind.QUEUED, Kind.STARTED, Kind.MODEL_PUBLISHED, Kind.FINISHED]
    assert bench.updates[-1].version == 1
    assert publishing == [loop_thread]


async def test_what_is_submitted_before_the_run_starts_with_it() -> None:
    bench = Bench()
    handles = [bench.manager.submit(request(nothing)), bench.manager.submit(request(lambda: 1))]
    assert [handle.state for handle in handles] == [JobState.QUEUED] * 2
    async with bench.running():
        await bench.manager.idle()
    assert [handle.state for handle in handles] == [JobState.SUCCEEDED] * 2


async def test_a_given_handle_is_bound() -> None:
    bench = Bench()
    handle = TrainingHandle(asked := request())
    async with bench.running():
        assert bench.manager.submit(asked, handle) is handle
        await handle.readiness.wait()
    assert handle.state is JobState.SUCCEEDED
    assert handle.readiness.version == 1


async def test_a_handle_cancelled_before_it_was_submitted_never_starts() -> None:
    bench = Bench()
    handle = TrainingHandle(asked := request())
    handle.cancel()
    async with bench.running():
        bench.manager.submit(asked, handle)
        await bench.manager.idle()
    assert handle.state is JobState.CANCELLED
    assert Kind.STARTED not in bench.kinds()


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("no data"), "ValueError: no data"),
        (SystemExit("bye"), "SystemExit: bye"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
    ],
)
async def test_a_failure_is_the_jobs_and_not_the_runs(error: BaseException, sentence: str) -> None:
    """Row 59: named, with its traceback; the last good model serves on, and the next job runs."""

    def fit() -> object:
        raise error

    bench, slot = Bench(), ModelSlot("model")
    slot.publish("good", "before", T0)
    async with bench.running():
        failed = bench.manager.submit(request(fit, slot))
        after = bench.manager.submit(request(lambda: "better", slot))
        await bench.until(Kind.FAILED)
        assert (slot.current, slot.is_ready) == ("good", True)
        await bench.manager.idle()
    assert (failed.state, failed.last_error) == (JobState.FAILED, sentence)
    assert "in fit" in failed.traceback
    update = bench.of(Kind.FAILED)[0]
    assert (update.text, update.traceback) == (sentence, failed.traceback)
    assert after.state is JobState.SUCCEEDED
    assert (slot.current, slot.version) == ("better", 2)


async def test_a_first_training_that_fails_leaves_its_cause() -> None:
    bench, slot = Bench(), ModelSlot("model")
    async with bench.running():
        bench.manager.submit(request(fails, slot))
        await bench.manager.idle()
    assert slot.readiness.state is ReadinessState.FAILED
    assert slot.readiness.reason == "failed: ValueError: no data"


async def test_none_for_a_slot_is_a_failure() -> None:
    bench, slot = Bench(), ModelSlot("model")
    async with bench.running():
        handle = bench.manager.submit(request(nothing, slot))
        await bench.manager.idle()
    assert handle.state is JobState.FAILED
    assert "returns the trained model" in handle.last_error
    assert slot.version == 0


async def test_a_model_that_its_gate_refuses_is_not_published() -> None:
    bench = Bench()
    slot = ModelSlot("model", validate=lambda candidate, _: candidate != "worse")
    async with bench.running():
        first = bench.manager.submit(request(lambda: "worse", slot))
        await bench.manager.idle()
        assert slot.readiness.cause is ReadinessCause.REJECTED
        bench.manager.submit(request(lambda: "better", slot))
        await bench.manager.idle()
    assert first.state is JobState.SUCCEEDED
    assert (slot.current, slot.version) == ("better", 1)
    assert len(bench.of(Kind.MODEL_REJECTED)) == 1


async def test_a_running_method_gets_one_further_run_however_often_it_is_asked_for() -> None:
    bench, gate = Bench(), Gate()
    async with bench.running():
        bench.manager.submit(request(gate.train))
        await bench.begun(gate)
        again = [bench.manager.submit(request(gate.train)) for _ in range(4)]
        gate.release.set()
        await bench.manager.idle()
    assert gate.runs == 2
    assert len({handle.id for handle in again}) == 1
    assert all(handle.readiness.is_ready for handle in again), "each asker is told"
    assert len(bench.of(Kind.COALESCED)) == 3


async def test_the_first_minute_is_free_and_then_each_is_paid_as_it_starts() -> None:
    bench, gate = Bench(), Gate()
    async with bench.running():
        handle = bench.manager.submit(request(gate.train))
        await bench.begun(gate)
        paid = []
        for span in (59 * SECOND, SECOND, 59 * SECOND, SECOND, 60 * SECOND):
            await bench.pass_time(span)
            paid.append(handle.spent_minutes)
        assert bench.manager.statistics().running[0].spent == 3
        assert bench.manager.statistics().running[0].elapsed == 180.0
        gate.release.set()
        await bench.manager.idle()
    assert paid == [0, 1, 1, 2, 3]
    assert bench.quota.statistics().available == 117
    minutes = bench.of(Kind.MINUTE_TAKEN)
    assert [(one.elapsed, one.spent, one.available) for one in minutes] == [
        (60.0, 1, 119),
        (120.0, 2, 118),
        (180.0, 3, 117),
    ]


async def test_out_of_quota_cancels_the_job_and_keeps_the_model() -> None:
    bench, slot = Bench(capacity=2), ModelSlot("model")
    slot.publish("good", "before", T0)

    obedient = Obedient(bench, "half trained")
    async with bench.running():
        handle = bench.manager.submit(request(obedient.train, slot, name="fit"))
        await bench.begun(obedient)
        await bench.pass_time(3 * MINUTE)
        await bench.manager.idle()
    assert handle.state is JobState.OUT_OF_QUOTA
    assert handle.spent_minutes == 2
    assert (slot.current, slot.version, slot.is_ready) == ("good", 1, True)
    text = bench.of(Kind.OUT_OF_QUOTA)[0].text
    assert text == (
        f"training 'fit' ({handle.id}) has spent 2 minutes and was refused another: "
        "the bucket holds 0 of 2, the next 18 come at 2023-11-15 22:13:20+00:00"
    )


async def test_out_of_quota_is_the_cause_where_nothing_serves() -> None:
    bench, slot, gate = Bench(capacity=1), ModelSlot("model"), Gate("model")
    async with bench.running():
        bench.manager.submit(request(gate.train, slot))
        await bench.begun(gate)
        await bench.pass_time(2 * MINUTE)
        gate.release.set()
        await bench.manager.idle()
    assert (slot.readiness.state, slot.readiness.cause) == (ReadinessState.FAILED, "out of quota")


async def test_minutes_are_settled_at_the_end_however_late_the_loop_is() -> None:
    """A replay's clock may jump over minutes at once: the bill is the same."""
    bench, gate, slot = Bench(capacity=2), Gate("model"), ModelSlot("model")
    async with bench.running():
        handle = bench.manager.submit(request(gate.train, slot))
        await bench.begun(gate)
        bench.clock.advance(10 * MINUTE)
        gate.release.set()
        await bench.manager.idle()
    assert (handle.state, handle.spent_minutes) == (JobState.OUT_OF_QUOTA, 2)
    assert slot.version == 0


async def test_policy_stop_ends_the_run_with_its_reason() -> None:
    bench = Bench(capacity=1, rules=TrainingRules(policy="stop"))
    gate, other = Gate(), Gate()
    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            with pytest.raises(QuotaExhausted, match="was refused another"):
                await bench.manager.run()

        tasks.start_soon(run)
        handle = bench.manager.submit(request(gate.train))
        waiting = bench.manager.submit(request(other.train))
        await bench.begun(gate)
        await bench.pass_time(2 * MINUTE)
        gate.release.set()
    assert handle.state is JobState.OUT_OF_QUOTA
    assert waiting.state is JobState.CANCELLED
    assert other.runs == 0


async def test_a_job_that_ignores_everything_is_left_behind_and_its_place_is_free() -> None:
    """Row 61: out of quota, deaf, given up after the grace; the next job runs beside its thread."""
    bench, deaf = Bench(capacity=1), Gate("too late")
    slot = ModelSlot("model")
    async with bench.running():
        handle = bench.manager.submit(request(deaf.train, slot, name="deaf"))
        await bench.begun(deaf)
        after = bench.manager.submit(request(lambda: "model", slot, name="next"))
        await bench.pass_time(2 * MINUTE + 4 * SECOND)
        assert Kind.ABANDONED not in bench.kinds()
        await bench.pass_time(SECOND)
        await bench.manager.idle()
        assert handle.state is JobState.ABANDONED
        assert "left behind" in handle.last_error
        assert bench.manager.statistics().abandoned == ("deaf",)
        assert after.state is JobState.SUCCEEDED
        await release(deaf, "deaf")
        assert bench.manager.statistics().abandoned == ()
    assert (slot.current, slot.version) == ("model", 1)
    assert [update.name for update in bench.of(Kind.ABANDONED)] == ["deaf"]


async def release(gate: Gate, name: str) -> None:
    """Let a deaf training go and wait for the end of its thread."""
    threads = [one for one in threading.enumerate() if one.name == f"training {name}"]
    gate.release.set()
    for thread in threads:
        await anyio.to_thread.run_sync(thread.join)


async def test_too_many_left_behind_switch_training_off_until_they_end() -> None:
    rules = TrainingRules(timeout_ns=MINUTE // 2, abandon_limit=2)
    bench, gates = Bench(rules=rules), [Gate(), Gate(), Gate()]
    async with bench.running():
        for number, gate in enumerate(gates[:2]):
            bench.manager.submit(request(gate.train, name=f"deaf-{number}"))
            await bench.begun(gate)
            await bench.pass_time(MINUTE)
        toggled = bench.of(Kind.TOGGLED)
        assert [(one.is_on, one.by) for one in toggled] == [(False, "limit of 2 abandoned jobs")]
        assert bench.manager.switch(True, "operator") == (False, False)
        assert bench.of(Kind.TOGGLED)[-1].text == "left behind and still running: deaf-0, deaf-1"
        bench.manager.submit(request(gates[2].train))
        await release(gates[0], "deaf-0")
        gates[2].release.set()
        assert bench.manager.switch(True, "operator") == (False, True)
        await bench.manager.idle()
        await release(gates[1], "deaf-1")
    assert bench.kinds()[-1] is Kind.FINISHED


async def test_a_time_limit_fails_the_job() -> None:
    bench = Bench(rules=TrainingRules(timeout_ns=3 * MINUTE))
    gate = Gate("late")
    slot = ModelSlot("model")
    async with bench.running():
        handle = bench.manager.submit(request(gate.train, slot, name="fit"))
        await bench.begun(gate)
        await bench.pass_time(3 * MINUTE)
        gate.release.set()
        await bench.manager.idle()
    assert handle.state is JobState.FAILED
    assert handle.last_error == "fit ran longer than its limit of 3 min"
    assert slot.version == 0


async def test_a_jobs_own_time_limit_goes_before_the_rules() -> None:
    bench, gates = Bench(rules=TrainingRules(timeout_ns=3 * MINUTE)), [Gate(), Gate()]
    async with bench.running():
        for gate, limit in zip(gates, (MINUTE, 9 * MINUTE), strict=True):
            handle = bench.manager.submit(request(gate.train, name="fit", timeout_ns=limit))
            await bench.begun(gate)
            await bench.pass_time(min(limit, 4 * MINUTE))
            gate.release.set()
            await bench.manager.idle()
            assert handle.state is (JobState.FAILED if limit < 4 * MINUTE else JobState.SUCCEEDED)


async def test_a_job_that_fails_is_queued_again_as_often_as_it_may() -> None:
    outcomes = iter([ValueError("once"), ValueError("twice"), "model"])

    def fit() -> object:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    bench, slot = Bench(), ModelSlot("model")
    async with bench.running():
        handle = bench.manager.submit(request(fit, slot, retries=2))
        await bench.manager.idle()
    assert (handle.state, slot.current) == (JobState.SUCCEEDED, "model")
    assert [update.text for update in bench.of(Kind.RETRYING)] == [
        "run 1 of 3 failed: ValueError: once",
        "run 2 of 3 failed: ValueError: twice",
    ]
    assert "in fit" in bench.of(Kind.RETRYING)[0].traceback
    assert bench.manager.statistics().finished == {JobState.SUCCEEDED: 1}


async def test_a_last_retry_that_fails_is_a_failure_with_all_its_minutes() -> None:
    bench, gates = Bench(), [Gate(), Gate()]
    runs = iter(gates)

    def fit() -> object:
        next(runs).train()
        raise ValueError("no data")

    async with bench.running():
        handle = bench.manager.submit(request(fit, retries=1))
        for gate in gates:
            await bench.begun(gate)
            await bench.pass_time(2 * MINUTE)
            gate.release.set()
            await bench.until(Kind.RETRYING)
        await bench.manager.idle()
    assert (handle.state, handle.last_error) == (JobState.FAILED, "ValueError: no data")
    assert (handle.spent_minutes, bench.quota.statistics().available) == (4, 116)


async def test_a_pending_run_of_the_same_training_is_the_retry() -> None:
    bench, gate = Bench(), Gate()

    def fit() -> object:
        gate.train()
        raise ValueError("no data")

    async with bench.running():
        failed = bench.manager.submit(request(fit, retries=5))
        await bench.begun(gate)
        bench.manager.submit(request(fit))
        gate.release.set()
        await bench.manager.idle()
    assert failed.state is JobState.FAILED
    assert bench.manager.statistics().finished == {JobState.FAILED: 2}


async def test_what_was_cancelled_or_ran_out_of_quota_is_not_tried_again() -> None:
    bench, gates = Bench(capacity=1), [Gate(), Gate()]
    async with bench.running():
        for gate in gates:
            handle = bench.manager.submit(request(gate.train, retries=5))
            await bench.begun(gate)
            if gate is gates[0]:
                handle.cancel()
            else:
                await bench.pass_time(3 * MINUTE)
            gate.release.set()
            await bench.manager.idle()
    assert bench.of(Kind.RETRYING) == []


async def test_a_retry_that_waits_can_be_cancelled() -> None:
    bench, gate = Bench(), Gate()

    def fit() -> object:
        gate.train()
        raise ValueError("no data")

    async with bench.running():
        handle = bench.manager.submit(request(fit, retries=5))
        await bench.begun(gate)
        bench.manager.switch(on=False, by="test")
        gate.release.set()
        await bench.until(Kind.RETRYING)
        states = [handle.state]
        handle.cancel()
        states.append(handle.state)
    assert states == [JobState.QUEUED, JobState.CANCELLED]


async def test_a_handle_cancels_its_job_running_or_queued() -> None:
    bench, gate = Bench(), Gate("model")
    slot = ModelSlot("model")
    async with bench.running():
        running = bench.manager.submit(request(gate.train, slot))
        queued = bench.manager.submit(request(lambda: "other", slot))
        await bench.begun(gate)
        queued.cancel()
        assert (queued.state, queued.last_error) == (
            JobState.CANCELLED,
            "cancelled before it started",
        )
        assert slot.readiness.cause == "training"
        running.cancel()
        running.cancel()
        gate.release.set()
        await bench.manager.idle()
        running.cancel()
    assert (running.state, slot.version) == (JobState.CANCELLED, 0)
    assert slot.readiness.cause == "cancelled"
    assert len(bench.of(Kind.STOPPING)) == 1


async def test_a_job_cancelled_before_its_thread_is_up_never_runs() -> None:
    bench, gate = Bench(), Gate()
    async with bench.running():
        await settle()
        handle = bench.manager.submit(request(gate.train))
        handle.cancel()
        bench.manager.toggle("signal")
        bench.manager.toggle("signal")
        await bench.manager.idle()
    assert (handle.state, gate.runs) == (JobState.CANCELLED, 0)


async def test_off_starts_nothing_and_on_runs_each_method_once() -> None:
    bench, gate, slot = Bench(), Gate("model"), ModelSlot("model")
    gate.release.set()
    async with bench.running():
        assert bench.manager.toggle("signal") == (True, False)
        handles = [bench.manager.submit(request(gate.train, slot)) for _ in range(3)]
        await bench.pass_time(MINUTE)
        await bench.manager.idle()
        assert gate.runs == 0
        assert slot.readiness.cause == "off"
        assert bench.manager.statistics().queued == ("train",)
        assert bench.manager.toggle("console") == (False, True)
        assert bench.manager.switch(True, "console") == (True, True)
        await bench.manager.idle()
    assert gate.runs == 1
    assert {handle.state for handle in handles} == {JobState.SUCCEEDED}
    assert [(one.by, one.is_on) for one in bench.of(Kind.TOGGLED)] == [
        ("signal", False),
        ("console", True),
        ("console", True),
    ]


async def test_a_thread_job_that_does_not_notice_off_runs_out_and_counts() -> None:
    bench, gate, slot = Bench(), Gate("model"), ModelSlot("model")
    async with bench.running():
        handle = bench.manager.submit(request(gate.train, slot))
        await bench.begun(gate)
        bench.manager.toggle("signal")
        await bench.pass_time(10 * MINUTE)
        assert handle.state is JobState.RUNNING
        assert handle.spent_minutes == 10, "it runs, so it is billed"
        gate.release.set()
        await bench.manager.idle()
    assert (handle.state, slot.current) == (JobState.SUCCEEDED, "model")


@pytest.mark.parametrize("value", [None, "half trained"])
async def test_a_thread_job_that_notices_off_has_stopped_early(value: object) -> None:
    bench, slot = Bench(), ModelSlot("model")
    obedient = Obedient(bench, value)
    async with bench.running():
        handle = bench.manager.submit(request(obedient.train, slot))
        await bench.begun(obedient)
        bench.manager.toggle("signal")
        await bench.manager.idle()
    assert (handle.state, slot.version) == (JobState.CANCELLED, 0)
    assert handle.last_error == "stopped early: training was switched off"


async def test_off_and_on_again_before_a_job_notices_changes_nothing() -> None:
    bench, gate, slot = Bench(), Gate(), ModelSlot("model")

    def fit() -> object:
        gate.train()
        return "half" if bench.manager.control.cancelled else "whole"

    async with bench.running():
        bench.manager.submit(request(fit, slot))
        await bench.begun(gate)
        bench.manager.toggle("signal")
        bench.manager.toggle("signal")
        gate.release.set()
        await bench.manager.idle()
    assert slot.current == "whole"


class Freezer:
    """An isolation whose jobs can be frozen and killed, as a process can: the manager's side."""

    kills = True

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.frozen: list[bool] = []
        self.killed = False

    async def run(self, request: JobRequest, control: JobControl) -> JobResult:
        try:
            await self.done.wait()
        except anyio.get_cancelled_exc_class():
            self.killed = True
            raise
        return JobResult("model")

    def make_ready(self) -> None: ...
    async def close(self) -> None: ...

    def pause(self, job: JobId) -> bool:
        self.frozen.append(True)
        return True

    def resume(self, job: JobId) -> None:
        self.frozen.append(False)

    def abandoned(self) -> Mapping[JobId, str]:
        return {}


async def test_a_job_that_can_be_frozen_is_and_is_not_billed_meanwhile() -> None:
    freezer = Freezer()
    bench, slot = Bench(isolations={"process": freezer}), ModelSlot("model")
    async with bench.running():
        handle = bench.manager.submit(request(nothing, slot, isolation="process"))
        await bench.pass_time(90 * SECOND)
        bench.manager.toggle("signal")
        assert (handle.state, freezer.frozen) == (JobState.PAUSED, [True])
        await bench.pass_time(60 * MINUTE)
        assert handle.spent_minutes == 1
        bench.manager.toggle("signal")
        assert (handle.state, freezer.frozen) == (JobState.RUNNING, [True, False])
        await bench.pass_time(30 * SECOND)
        assert handle.spent_minutes == 2
        freezer.done.set()
        await bench.manager.idle()
    assert (handle.state, slot.current) == (JobState.SUCCEEDED, "model")
    assert Kind.PAUSED in bench.kinds()
    assert Kind.RESUMED in bench.kinds()


async def test_a_job_is_frozen_at_the_open_and_goes_on_at_the_close() -> None:
    freezer = Freezer()
    bench, slot = Bench(isolations={"process": freezer}), ModelSlot("model")
    async with bench.running():
        handle = bench.manager.submit(request(nothing, slot, isolation="process"))
        await bench.pass_time(SECOND)
        bench.manager.hold(True)
        assert handle.state is JobState.PAUSED
        assert bench.of(Kind.PAUSED)[0].text == "the market has opened"
        bench.manager.toggle("signal")  # off, and on: the market is open all the same
        bench.manager.toggle("signal")
        assert (handle.state, freezer.frozen) == (JobState.PAUSED, [True])
        bench.manager.hold(False)
        assert (handle.state, freezer.frozen) == (JobState.RUNNING, [True, False])
        freezer.done.set()
        await bench.manager.idle()
    assert slot.current == "model"


async def test_the_close_does_not_undo_that_training_was_switched_off() -> None:
    bench, slot = Bench(), ModelSlot("model")
    async with bench.running():
        bench.manager.hold(True)
        bench.manager.submit(request(lambda: "model", slot))
        assert slot.readiness.cause == "the market is open"
        bench.manager.toggle("signal")
        assert slot.readiness.cause == "off"
        bench.manager.hold(False)
        await bench.manager.idle()
        assert slot.version == 0
        bench.manager.toggle("signal")
        await bench.manager.idle()
    assert slot.version == 1


async def test_a_thread_job_that_notices_the_open_has_stopped_early() -> None:
    bench = Bench()
    obedient = Obedient(bench)
    async with bench.running():
        handle = bench.manager.submit(request(obedient.train))
        await bench.begun(obedient)
        bench.manager.hold(True)
        await bench.manager.idle()
    assert handle.last_error == "stopped early: the market has opened"


async def test_a_job_is_paused_by_its_handle_and_resumed_when_nobody_holds_it_any_more() -> None:
    freezer = Freezer()
    bench = Bench(isolations={"process": freezer})
    async with bench.running():
        handle = bench.manager.submit(request(nothing, isolation="process"))
        await bench.pass_time(90 * SECOND)
        handle.pause()
        handle.pause()
        assert handle.state is JobState.PAUSED
        bench.manager.switch(False, "test")
        handle.resume()
        assert handle.state is JobState.PAUSED, "training is off"
        bench.manager.switch(True, "test")
        states = [handle.state]
        bench.manager.switch(False, "test")
        handle.pause()
        bench.manager.switch(True, "test")
        states.append(handle.state)
        await bench.pass_time(60 * MINUTE)
        handle.resume()
        states.append(handle.state)
        freezer.done.set()
        await bench.manager.idle()
    assert states == [JobState.RUNNING, JobState.PAUSED, JobState.RUNNING]
    assert freezer.frozen == [True, False, True, False]
    assert handle.spent_minutes == 1


async def test_what_cannot_be_paused_says_so() -> None:
    bench, gate = Bench(), Gate()
    async with bench.running():
        handle = bench.manager.submit(request(gate.train, name="fit"))
        waiting = bench.manager.submit(request(nothing, name="next"))
        await bench.begun(gate)
        with pytest.raises(StrategyError, match="'fit' runs in a thread, which cannot be paused"):
            handle.pause()
        with pytest.raises(StrategyError, match="'next' is queued: only a job that runs"):
            waiting.pause()
        handle.resume()
        gate.release.set()
        await bench.manager.idle()
        with pytest.raises(StrategyError, match="'fit' is succeeded"):
            handle.pause()


async def test_a_result_that_was_on_its_way_to_a_frozen_job_counts() -> None:
    freezer = Freezer()
    bench, slot = Bench(isolations={"process": freezer}), ModelSlot("model")
    async with bench.running():
        handle = bench.manager.submit(request(nothing, slot, isolation="process"))
        await bench.pass_time(SECOND)
        bench.manager.toggle("signal")
        freezer.done.set()
        await bench.manager.idle()
    assert (handle.state, slot.current) == (JobState.SUCCEEDED, "model")


async def test_a_frozen_job_that_is_cancelled_is_thawed_and_then_killed() -> None:
    freezer = Freezer()
    bench = Bench(isolations={"process": freezer})
    async with bench.running():
        handle = bench.manager.submit(request(isolation="process"))
        await bench.pass_time(SECOND)
        bench.manager.toggle("signal")
        handle.cancel()
        assert freezer.frozen == [True, False]
        await bench.pass_time(SECOND)
        await bench.manager.idle()
    assert freezer.killed
    assert handle.state is JobState.CANCELLED, "killed is not abandoned"


async def test_an_isolation_that_breaks_fails_its_job() -> None:
    class Broken(Freezer):
        async def run(self, request: JobRequest, control: JobControl) -> JobResult:
            raise OSError("no worker")

    bench = Bench(isolations={"process": Broken(), "thread": ThreadIsolation()})
    async with bench.running():
        broken = bench.manager.submit(request(isolation="process"))
        sound = bench.manager.submit(request(lambda: None))
        await bench.manager.idle()
    assert (broken.state, broken.last_error) == (
        JobState.FAILED,
        "the isolation broke: OSError: no worker",
    )
    assert sound.state is JobState.SUCCEEDED


async def test_two_workers_run_two_methods_at_once() -> None:
    bench, one, other = Bench(workers=2), Gate(), Gate()
    async with bench.running():
        bench.manager.submit(request(one.train, name="one"))
        bench.manager.submit(request(other.train, name="other"))
        await bench.begun(one)
        await bench.begun(other)
        assert [run.name for run in bench.manager.statistics().running] == ["one", "other"]
        await bench.pass_time(MINUTE)
        assert bench.quota.statistics().available == 118
        one.release.set()
        other.release.set()
        await bench.manager.idle()


async def test_train_now_runs_every_known_method() -> None:
    bench, left, right = Bench(), ModelSlot("left"), ModelSlot("right")

    def fit() -> str:
        return "model"

    async with bench.running():
        bench.manager.register(request(fit, left))
        bench.manager.submit(request(fit, right))
        bench.manager.submit(request(nothing))
        await bench.manager.idle()
        handles = bench.manager.train_now("signal")
        await bench.manager.idle()
    assert (left.version, right.version) == (1, 2)
    assert {handle.state for handle in handles} == {JobState.SUCCEEDED}
    assert len({handle.id for handle in handles}) == 3


async def test_progress_reaches_the_loop() -> None:
    bench, gate = Bench(), Gate()

    def fit() -> None:
        bench.manager.control.progress(0.5, "half of it")
        gate.train()

    async with bench.running():
        bench.manager.submit(request(fit))
        update = await bench.until(Kind.PROGRESS)
        running = bench.manager.statistics().running[0]
        gate.release.set()
        await bench.manager.idle()
    assert (update.fraction, update.text) == (0.5, "half of it")
    assert (running.fraction, running.text) == (0.5, "half of it")


async def test_statistics_count_how_jobs_ended() -> None:
    bench = Bench()
    async with bench.running():
        for method in (nothing, fails, nothing):
            bench.manager.submit(request(method))
            await bench.manager.idle()
    statistics = bench.manager.statistics()
    assert statistics.finished == {JobState.SUCCEEDED: 2, JobState.FAILED: 1}
    assert (statistics.running, statistics.queued, statistics.is_on) == ((), (), True)
    assert statistics.quota.available == 120


def bad_isolation(manager: TrainingManager) -> None:
    manager.submit(request(isolation="cluster"))


def coroutine_function(manager: TrainingManager) -> None:
    async def fit() -> None: ...

    manager.submit(request(fit))


@pytest.mark.parametrize(
    ("submit", "message"),
    [
        (bad_isolation, "isolation 'cluster': allowed are thread"),
        (coroutine_function, "'fit' is a coroutine function"),
    ],
)
def test_what_could_never_run_is_the_users_error(
    submit: Callable[[TrainingManager], None], message: str
) -> None:
    bench = Bench()
    with pytest.raises(ConfigError, match=message):
        submit(bench.manager)
    assert bench.manager.statistics().queued == ()


async def test_close_waits_for_who_stops_and_names_who_does_not() -> None:
    bench, deaf = Bench(workers=2), Gate()
    polite = Obedient(bench)
    left: list[tuple[str, ...]] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.manager.run)
        stops = bench.manager.submit(request(polite.train))
        stays = bench.manager.submit(request(deaf.train, name="deaf"))
        queued = bench.manager.submit(request(fails))
        await bench.begun(polite)
        await bench.begun(deaf)

        async def close() -> None:
            left.append(await bench.manager.close(8 * SECOND))

        tasks.start_soon(close)
        await bench.until(Kind.CANCELLED, 2)
        await bench.pass_time(8 * SECOND)
    assert left == [("deaf",)]
    assert [one.state for one in (stops, stays, queued)] == [
        JobState.CANCELLED,
        JobState.ABANDONED,
        JobState.CANCELLED,
    ]
    await release(deaf, "deaf")


async def test_close_without_a_run_and_twice_returns_at_once() -> None:
    bench = Bench()
    queued = bench.manager.submit(request())
    assert await bench.manager.close(MINUTE) == ()
    assert await bench.manager.close(MINUTE) == ()
    await bench.manager.run()
    late = bench.manager.submit(request())
    assert [queued.state, late.state] == [JobState.CANCELLED] * 2
    assert late.last_error == "training has ended"


async def test_cancelling_the_run_gives_up_what_runs() -> None:
    bench, deaf = Bench(), Gate()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.manager.run)
        running = bench.manager.submit(request(deaf.train, name="deaf"))
        queued = bench.manager.submit(request(fails))
        await bench.begun(deaf)
        tasks.cancel_scope.cancel()
    assert [running.state, queued.state] == [JobState.ABANDONED, JobState.CANCELLED]
    await bench.manager.idle()
    assert await bench.manager.close(0) == ("deaf",)
    await release(deaf, "deaf")


def test_inline_runs_here_and_now() -> None:
    bench, slot, threads = Bench(), ModelSlot("model"), []

    def fit() -> str:
        threads.append(threading.current_thread())
        bench.manager.control.progress(1.0, "done")
        bench.clock.advance(2 * MINUTE)
        return "model"

    handle = TrainingHandle(asked := request(fit, slot))
    job = bench.manager.run_inline(asked, handle)
    assert (job.state, job.version, job.spent_minutes) == (JobState.SUCCEEDED, 1, 2)
    assert (job.started, job.finished) == (T0, T0 + 2 * MINUTE)
    assert handle.state is JobState.SUCCEEDED
    assert (slot.current, slot.is_ready) == ("model", True)
    assert threads == [threading.current_thread()]
    assert bench.kinds() == [
        Kind.QUEUED,
        Kind.STARTED,
        Kind.PROGRESS,
        Kind.MINUTE_TAKEN,
        Kind.MINUTE_TAKEN,
        Kind.MODEL_PUBLISHED,
        Kind.FINISHED,
    ]


def test_inline_failures_are_the_jobs() -> None:
    bench, slot = Bench(), ModelSlot("model")
    job = bench.manager.run_inline(request(fails, slot))
    assert (job.state, job.error) == (JobState.FAILED, "ValueError: no data")
    assert "in fails" in job.traceback


def test_inline_a_person_at_the_keyboard_ends_the_backtest() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    bench = Bench()
    with pytest.raises(KeyboardInterrupt):
        bench.manager.run_inline(request(interrupted))
    assert bench.manager.statistics().finished == {JobState.CANCELLED: 1}


@pytest.mark.parametrize("policy", ["cancel", "stop"])
def test_row_21_inline_quota(policy: str) -> None:
    """One token, no refill, a training of 150 s: the second request is refused."""
    bench = Bench(capacity=1, rules=TrainingRules(policy=policy))  # type: ignore[arg-type]
    slot = ModelSlot("model")

    def fit() -> str:
        bench.clock.advance(150 * SECOND)
        return "model"

    if policy == "stop":
        with pytest.raises(QuotaExhausted, match="the bucket holds 0 of 1"):
            bench.manager.run_inline(request(fit, slot))
    else:
        bench.manager.run_inline(request(fit, slot))
    assert bench.manager.statistics().finished == {JobState.OUT_OF_QUOTA: 1}
    assert slot.version == 0


def test_inline_a_training_that_asks_for_another_gets_it_afterwards() -> None:
    bench, order = Bench(), []

    def inner() -> None:
        order.append("inner")

    def outer() -> None:
        asked = bench.manager.run_inline(request(inner))
        order.append(f"outer, inner {asked.state}")

    bench.manager.run_inline(request(outer))
    assert order == ["outer, inner queued", "inner"]


def test_inline_off_queues_until_on() -> None:
    bench = Bench()
    bench.manager.switch(False, "test")
    assert bench.manager.run_inline(waiting := request(nothing)).state is JobState.QUEUED
    bench.manager.switch(True, "test")
    assert bench.manager.run_inline(request(nothing)).request is waiting
    assert bench.manager.statistics().finished == {JobState.SUCCEEDED: 1}


async def test_a_version_that_comes_after_a_newer_one_does_not_serve_and_says_so() -> None:
    async with Bench().running() as bench:
        slot = ModelSlot("m")

        async def overtake(made: ModelSlot, bundle: Published, _: JobResult) -> None:
            made.publish(["newer"], "by hand", T0)

        bench.manager.on_made = overtake
        handle = bench.manager.submit(request(lambda: ["older"], slot))
        rejected = await bench.until(Kind.MODEL_REJECTED)
        assert rejected.text == "m: version 2 is newer, and serves already"
        assert (slot.current, slot.version) == (["newer"], 2)
        assert handle.state is JobState.SUCCEEDED


async def test_the_switch_interval_is_as_before_once_a_job_left_behind_has_ended() -> None:
    before, gate = sys.getswitchinterval(), Gate()
    async with Bench(rules=TrainingRules(stop_grace_ns=0)).running() as bench:
        handle = bench.manager.submit(request(gate.train))
        await bench.begun(gate)
        handle.cancel()
        await bench.until(Kind.ABANDONED)
        assert sys.getswitchinterval() < before, "it still takes its share"
        gate.release.set()
        for thread in threading.enumerate():
            if thread.name.startswith("training "):
                await anyio.to_thread.run_sync(thread.join)
        assert sys.getswitchinterval() == before
