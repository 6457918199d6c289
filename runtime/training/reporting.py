"""What the outside is told of training: one update for each thing that happens, and snapshots."""

from collections import Counter
from collections.abc import Callable, Mapping

from runtime.training.control import Line
from runtime.training.isolation.base import Isolation
from runtime.training.jobs import Job, JobId, JobState
from runtime.training.queue import TrainingQueue
from runtime.training.quota import TrainingQuota
from runtime.training.supervision import JobRun
from runtime.training.updates import (
    RunningJob,
    TrainingStatistics,
    TrainingUpdate,
    TrainingUpdateKind,
)

OnUpdate = Callable[[TrainingUpdate], None]


class Reporter:
    """Looks at the parts of one manager and puts them into words; changes nothing but a count."""

    def __init__(
        self,
        *,
        queue: TrainingQueue,
        quota: TrainingQuota,
        isolations: Mapping[str, Isolation],
        runs: Mapping[JobId, JobRun],
        engine_time: Callable[[], int],
        on_update: OnUpdate,
    ) -> None:
        self._queue = queue
        self._quota = quota
        self._isolations = isolations
        self._runs = runs
        self._engine_time = engine_time
        self._on_update = on_update
        self._finished: Counter[JobState] = Counter()
        self._toggles = 0
        self._spent = 0

    def count(self, job: Job) -> None:
        """Count a job that has ended."""
        self._finished[job.state] += 1
        self._spent += job.spent_minutes

    def abandoned(self) -> tuple[str, ...]:
        """Return the names of jobs left behind that still run."""
        return tuple(name for way in self._isolations.values() for name in way.abandoned().values())

    def statistics(self) -> TrainingStatistics:
        """Return a snapshot."""
        running = tuple(
            RunningJob(
                id=run.job.request.id,
                name=run.job.request.name,
                state=run.job.state,
                elapsed=run.elapsed,
                spent=run.job.spent_minutes,
                fraction=run.control.last.fraction,
                text=run.control.last.text,
            )
            for run in self._runs.values()
        )
        return TrainingStatistics(
            is_on=self._queue.is_on,
            queued=tuple(request.name for request in self._queue.queued),
            running=running,
            finished=dict(self._finished),
            abandoned=self.abandoned(),
            quota=self._quota.statistics(),
            spent=self._spent + sum(job.spent for job in running),
        )

    def toggled(self, by: str, text: str) -> None:
        """Tell that `by` switched training, and to what."""
        self._toggles += 1
        self._on_update(
            TrainingUpdate(
                kind=TrainingUpdateKind.TOGGLED,
                time=self._engine_time(),
                available=self._quota.statistics().available,
                is_on=self._queue.is_on,
                by=by,
                text=text,
                number=self._toggles,
            )
        )

    def said(self, job: Job, line: Line) -> None:
        """Tell what a job has written."""
        self._on_update(
            TrainingUpdate(
                kind=TrainingUpdateKind.SAID,
                time=self._engine_time(),
                available=self._quota.statistics().available,
                is_on=self._queue.is_on,
                job=job.request.id,
                name=job.request.name,
                text=line.text,
                level=line.level,
                fields=line.fields,
            )
        )

    def tell(
        self,
        kind: TrainingUpdateKind,
        job: Job,
        text: str = "",
        *,
        fraction: float = 0.0,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Tell what happened to a job."""
        run = self._runs.get(job.request.id)
        self._on_update(
            TrainingUpdate(
                kind=kind,
                time=self._engine_time(),
                available=self._quota.statistics().available,
                is_on=self._queue.is_on,
                job=job.request.id,
                name=job.request.name,
                isolation=job.request.isolation,
                version=job.version,
                elapsed=0.0 if run is None else run.elapsed,
                spent=job.spent_minutes,
                text=text,
                traceback=job.traceback,
                fraction=fraction,
                metrics=metrics or {},
            )
        )
