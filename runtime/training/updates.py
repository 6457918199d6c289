"""What training tells the outside, as values: the shell logs them, the engine reacts to them."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from runtime.training.jobs import JobId, JobState


class TrainingUpdateKind(StrEnum):
    """What happened; the first word of the log line."""

    QUEUED = "queued"
    COALESCED = "coalesced"
    STARTED = "started"
    PROGRESS = "progress"
    SAID = "said"
    MINUTE_TAKEN = "minute taken"
    PAUSED = "paused"
    RESUMED = "resumed"
    STOPPING = "stopping"
    RETRYING = "retrying"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    OUT_OF_QUOTA = "out of quota"
    ABANDONED = "abandoned"
    MODEL_PUBLISHED = "model published"
    MODEL_REJECTED = "model rejected"
    TOGGLED = "toggled"


class TrainingUpdate(msgspec.Struct, frozen=True):
    """One thing that happened.

    `time` is engine time (ns UTC); `job` and `name` are "" where it is about training as a whole;
    `isolation` is how the job is run; `elapsed` are seconds it has run, without pauses; `spent`
    tokens it has taken; `available` tokens in the bucket; `by` who asked, and `number` which toggle
    of the run it is; `is_on` whether training is on; `text` one sentence; `traceback` of a method's
    exception; `fraction` of a progress report, 0 to 1; `level` and `fields` of a line that the job
    has written.
    """

    kind: TrainingUpdateKind
    time: int
    available: int
    is_on: bool
    job: JobId = JobId("")
    name: str = ""
    isolation: str = ""
    version: int = 0
    elapsed: float = 0.0
    spent: int = 0
    by: str = ""
    number: int = 0
    text: str = ""
    traceback: str = ""
    fraction: float = 0.0
    metrics: Mapping[str, float] = {}
    level: str = ""
    fields: Mapping[str, object] = {}

    @property
    def eta(self) -> float | None:
        """Seconds until the job is done, at its pace so far; None where it has not said."""
        return time_left(self.elapsed, self.fraction)


def time_left(elapsed: float, fraction: float) -> float | None:
    """Return the seconds that are left, from those that have passed and the share that is done."""
    return elapsed * (1 - fraction) / fraction if fraction > 0 else None


class QuotaStatistics(msgspec.Struct, frozen=True):
    """The bucket as a consumer would find it: tokens, and the next refill (ns UTC)."""

    available: int
    capacity: int
    next_refill: int
    refill_amount: int
    interval_ns: int


class RunningJob(msgspec.Struct, frozen=True):
    """One job that runs: `elapsed` in seconds without pauses, `spent` in tokens."""

    id: JobId
    name: str
    state: JobState
    elapsed: float
    spent: int
    fraction: float
    text: str


class TrainingStatistics(msgspec.Struct, frozen=True):
    """A snapshot of all training.

    `finished` counts ended jobs by state; `spent` are the minutes that all jobs took from the
    bucket, those that run included; `abandoned` names jobs whose threads still run although nobody
    waits for them.
    """

    is_on: bool
    queued: tuple[str, ...]
    running: tuple[RunningJob, ...]
    finished: Mapping[JobState, int]
    abandoned: tuple[str, ...]
    quota: QuotaStatistics
    spent: int
