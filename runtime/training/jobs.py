"""The words of training jobs and the table of their states; whatever the table lacks is an error.

A job is one run of one training method. Its record changes only through `advance`, on the event
loop; the strategy author holds a TrainingHandle, which only looks.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType

import msgspec

from runtime.errors import IllegalTransition, StrategyError
from runtime.schedule.agenda import ScheduledEvent
from runtime.training.readiness import Readiness, ReadinessCause
from runtime.training.slots import ModelSlot

JobId = NewType("JobId", str)


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    OUT_OF_QUOTA = "out of quota"
    ABANDONED = "abandoned"

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended, whatever its thread may still do."""
        return self not in {JobState.QUEUED, JobState.RUNNING, JobState.PAUSED}


class JobEvent(StrEnum):
    """What happens to a job.

    EXHAUST: a minute was refused. ABANDON: it was told to stop, did not, and cannot be killed.
    RETRY: it failed and is queued again.
    """

    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    SUCCEED = "succeed"
    FAIL = "fail"
    RETRY = "retry"
    CANCEL = "cancel"
    EXHAUST = "exhaust"
    ABANDON = "abandon"


TRANSITIONS: Mapping[tuple[JobState, JobEvent], JobState] = {
    (JobState.QUEUED, JobEvent.START): JobState.RUNNING,
    (JobState.QUEUED, JobEvent.CANCEL): JobState.CANCELLED,
    (JobState.RUNNING, JobEvent.PAUSE): JobState.PAUSED,
    (JobState.RUNNING, JobEvent.SUCCEED): JobState.SUCCEEDED,
    (JobState.RUNNING, JobEvent.FAIL): JobState.FAILED,
    (JobState.RUNNING, JobEvent.RETRY): JobState.QUEUED,
    (JobState.RUNNING, JobEvent.CANCEL): JobState.CANCELLED,
    (JobState.RUNNING, JobEvent.EXHAUST): JobState.OUT_OF_QUOTA,
    (JobState.RUNNING, JobEvent.ABANDON): JobState.ABANDONED,
    # A paused job that ends (cancelled, its result on the way, its worker dead) is resumed first.
    (JobState.PAUSED, JobEvent.RESUME): JobState.RUNNING,
}


class JobOptions(msgspec.Struct, frozen=True):
    """How one job is run, as `train` was asked.

    `isolation` names the way, None is the run's own; `timeout_ns` limits its run time, None is the
    run's limit; a job that fails is queued again up to `retries` times.
    """

    isolation: str | None = None
    timeout_ns: int | None = None
    retries: int = 0


def job_options(isolation: str | None, timeout: timedelta | None, retries: int) -> JobOptions:
    """Check what an author gave to `train`.

    Raises:
        StrategyError: a time limit that is not positive, or fewer than 0 retries.
    """
    if timeout is not None and timeout <= timedelta(0):
        raise StrategyError(f"train(timeout={timeout}): more than 0 is needed", "")
    if retries < 0:
        raise StrategyError(f"train(retries={retries}): 0 or more is needed", "")
    limit = None if timeout is None else timeout // timedelta(microseconds=1) * 1000
    return JobOptions(isolation, limit, retries)


class JobRequest(msgspec.Struct, frozen=True):
    """What to train: `method` is called without arguments, off the event loop.

    What it returns is published into `slot`, where there is one. `isolation` names how it is run;
    `requested` is ns UTC. `name` is what people read, `id` names this one run. `timeout_ns` and
    `retries` are those of JobOptions.
    """

    id: JobId
    name: str
    method: Callable[[], object]
    slot: ModelSlot | None
    isolation: str
    requested: int
    timeout_ns: int | None = None
    retries: int = 0


class Job(msgspec.Struct, eq=False):
    """The record of one run.

    `started` and `finished` are engine times, ns UTC; `spent_minutes` are tokens taken; `error` is
    one sentence and `traceback` the text behind it; `version` is what it published, 0 for nothing;
    `retried` counts the runs that failed and were followed by another.
    `watchers` are the readinesses of handles without a slot.
    """

    request: JobRequest
    state: JobState = JobState.QUEUED
    started: int | None = None
    finished: int | None = None
    spent_minutes: int = 0
    error: str = ""
    traceback: str = ""
    version: int = 0
    retried: int = 0
    watchers: list[Readiness] = msgspec.field(default_factory=list)

    def advance(self, event: JobEvent) -> None:
        """Move on by the table.

        Raises:
            IllegalTransition: the table has no row for this.
        """
        state = TRANSITIONS.get((self.state, event))
        if state is None:
            raise IllegalTransition(f"training job {self.request.id}", self.state, event)
        self.state = state

    def tell_waiting(self, cause: ReadinessCause, text: str = "") -> None:
        """Tell whoever waits for the result what it waits for; not while another run trains it."""
        for readiness in self._readinesses():
            if readiness.cause is not ReadinessCause.TRAINING:
                readiness.not_yet(cause, text)

    def tell_retrying(self) -> None:
        """Tell whoever waits for the result that a run failed, and that another is queued."""
        for readiness in self._readinesses():
            readiness.not_yet(ReadinessCause.QUEUED, "again, after a failure")

    def tell_training(self) -> None:
        """Tell whoever waits for the result that it is being made."""
        for readiness in self._readinesses():
            readiness.not_yet(ReadinessCause.TRAINING)

    def tell_done(self) -> None:
        """Tell who watches a job without a slot that it has succeeded; a slot tells by itself."""
        for readiness in self.watchers:
            readiness.ready(1)

    def tell_ended(self) -> None:
        """Tell whoever waits for the result that none came, and why."""
        if self.started is None:
            self.tell_waiting(ReadinessCause.CANCELLED, self.error)
            return
        cause = {
            JobState.CANCELLED: ReadinessCause.CANCELLED,
            JobState.OUT_OF_QUOTA: ReadinessCause.OUT_OF_QUOTA,
        }.get(self.state, ReadinessCause.FAILED)
        for readiness in self._readinesses():
            readiness.not_yet(cause, self.error)

    def _readinesses(self) -> list[Readiness]:
        slot = self.request.slot
        return self.watchers if slot is None else [slot.readiness]


class TrainingHandle:
    """What `train` returns: how the job that serves this request stands.

    It is made with the request and bound to a job when training takes it; a request that is
    coalesced is bound to the run that was pending already. To be used on the event loop; its
    readiness may be waited for from anywhere.
    """

    def __init__(self, request: JobRequest) -> None:
        self._job = Job(request)
        self._cancel: Callable[[], None] | None = None
        self._pause: Callable[[bool], None] | None = None
        self.wants_cancel = False
        self.scheduled: ScheduledEvent | None = None
        """What queues the job at each of its times; None for one that was asked for at once."""
        self.readiness = Readiness() if request.slot is None else request.slot.readiness
        """Of the slot; of this request alone where there is none."""

    def bind(
        self, job: Job, cancel: Callable[[], None], pause: Callable[[bool], None] | None = None
    ) -> None:
        """Show `job` from now on; cancel it by `cancel`, pause it by `pause(True)`."""
        self._job, self._cancel, self._pause = job, cancel, pause
        if job.request.slot is None:
            job.watchers.append(self.readiness)

    @property
    def id(self) -> JobId:
        """Which run serves the request."""
        return self._job.request.id

    @property
    def name(self) -> str:
        """What is trained."""
        return self._job.request.name

    @property
    def state(self) -> JobState:
        """Where the job stands."""
        return self._job.state

    @property
    def last_error(self) -> str:
        """Why it failed or was ended, in one sentence; "" where it was not."""
        return self._job.error

    @property
    def traceback(self) -> str:
        """The traceback of the method's exception; "" where there was none."""
        return self._job.traceback

    @property
    def spent_minutes(self) -> int:
        """Tokens the job has taken from the bucket."""
        return self._job.spent_minutes

    @property
    def next_due(self) -> datetime | None:
        """When the job is queued next, in UTC; None where it is not scheduled, or no more."""
        return None if self.scheduled is None else self.scheduled.next_due

    def cancel(self) -> None:
        """Take the job out of the queue, or ask it to stop and discard its result.

        A schedule ends with it.
        """
        self.wants_cancel = True
        if self.scheduled is not None:
            self.scheduled.cancel()
        if self._cancel is not None:
            self._cancel()

    def pause(self) -> None:
        """Freeze the job; what it does not run is not billed. A job that waits is not held back.

        Raises:
            StrategyError: it does not run, or in a thread, which cannot be frozen.
        """
        if self._pause is None or self.state not in {JobState.RUNNING, JobState.PAUSED}:
            raise StrategyError(
                f"training {self.name!r} is {self.state}: only a job that runs can be paused", ""
            )
        self._pause(True)

    def resume(self) -> None:
        """Let a job go on that `pause` has frozen; while training is off it stays frozen."""
        if self._pause is not None:
            self._pause(False)

    def __repr__(self) -> str:
        return f"TrainingHandle({self.id}, {self.state})"
