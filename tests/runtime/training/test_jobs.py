"""The table of states by its whole product, and the handle a strategy author holds."""

from datetime import timedelta
from itertools import product

import pytest

from feeds.events import MINUTE
from runtime.errors import IllegalTransition, StrategyError
from runtime.training.jobs import (
    TRANSITIONS,
    Job,
    JobEvent,
    JobOptions,
    JobState,
    TrainingHandle,
    job_options,
)
from runtime.training.readiness import ReadinessCause, ReadinessState
from runtime.training.slots import ModelSlot
from tests.runtime.training.support import request

S, E = JobState, JobEvent
LEGAL = {
    S.QUEUED: {E.START: S.RUNNING, E.CANCEL: S.CANCELLED},
    S.RUNNING: {
        E.PAUSE: S.PAUSED,
        E.SUCCEED: S.SUCCEEDED,
        E.FAIL: S.FAILED,
        E.RETRY: S.QUEUED,
        E.CANCEL: S.CANCELLED,
        E.EXHAUST: S.OUT_OF_QUOTA,
        E.ABANDON: S.ABANDONED,
    },
    S.PAUSED: {E.RESUME: S.RUNNING},
}


@pytest.mark.parametrize(("state", "event"), list(product(JobState, JobEvent)))
def test_every_pair_of_state_and_event(state: JobState, event: JobEvent) -> None:
    job = Job(request(), state=state)
    expected = LEGAL.get(state, {}).get(event)
    if expected is None:
        with pytest.raises(IllegalTransition) as caught:
            job.advance(event)
        assert (caught.value.state, caught.value.event) == (state, event)
        assert job.request.id in caught.value.subject
        assert job.state is state
    else:
        job.advance(event)
        assert job.state is expected


@pytest.mark.parametrize("state", list(JobState))
def test_an_ended_job_takes_nothing_more(state: JobState) -> None:
    assert state.is_terminal is not any(have == state for have, _ in TRANSITIONS)


def test_options_are_checked_where_they_are_given() -> None:
    assert job_options("process", timedelta(minutes=2), 3) == JobOptions("process", 2 * MINUTE, 3)
    assert job_options(None, None, 0) == JobOptions()
    with pytest.raises(StrategyError, match=r"timeout=0:00:00\): more than 0 is needed"):
        job_options(None, timedelta(0), 0)
    with pytest.raises(StrategyError, match=r"retries=-1\): 0 or more is needed"):
        job_options(None, None, -1)


def test_a_handle_shows_its_request_before_training_takes_it() -> None:
    handle = TrainingHandle(asked := request(name="fit"))
    assert (handle.id, handle.name, handle.state) == (asked.id, "fit", JobState.QUEUED)
    assert (handle.last_error, handle.traceback, handle.spent_minutes) == ("", "", 0)
    assert not handle.readiness.is_ready
    assert repr(handle) == f"TrainingHandle({asked.id}, queued)"


def test_a_handle_with_a_slot_shows_the_slots_readiness() -> None:
    slot = ModelSlot("model")
    assert TrainingHandle(request(slot=slot)).readiness is slot.readiness


def test_cancelling_before_training_takes_it_is_remembered() -> None:
    handle = TrainingHandle(request())
    handle.cancel()
    assert handle.wants_cancel


def test_cancelling_reaches_the_job_that_serves() -> None:
    asked: list[str] = []
    handle, serving = TrainingHandle(request()), Job(request(name="serving"))
    handle.bind(serving, lambda: asked.append("cancel"))
    handle.cancel()
    assert asked == ["cancel"]
    assert handle.name == "serving"


@pytest.mark.parametrize(
    ("event", "state", "cause"),
    [
        (JobEvent.FAIL, ReadinessState.FAILED, "failed: no data"),
        (JobEvent.EXHAUST, ReadinessState.FAILED, "out of quota: no data"),
        (JobEvent.ABANDON, ReadinessState.FAILED, "failed: no data"),
        (JobEvent.CANCEL, ReadinessState.UNTRAINED, "cancelled: no data"),
    ],
)
def test_whoever_waits_is_told_why_nothing_came(
    event: JobEvent, state: ReadinessState, cause: str
) -> None:
    handle = TrainingHandle(asked := request())
    job = Job(asked, started=1)
    handle.bind(job, lambda: None)
    job.advance(JobEvent.START)
    job.tell_training()
    assert handle.readiness.state is ReadinessState.TRAINING
    job.advance(event)
    job.error = "no data"
    job.tell_ended()
    assert (handle.readiness.state, handle.readiness.reason) == (state, cause)


def test_a_pending_run_does_not_speak_over_the_one_that_trains() -> None:
    slot = ModelSlot("model")
    running, pending = Job(request(slot=slot)), Job(request(slot=slot))
    running.tell_training()
    pending.tell_waiting(ReadinessCause.QUEUED)
    pending.advance(JobEvent.CANCEL)
    pending.tell_ended()
    assert slot.readiness.cause == "training"
