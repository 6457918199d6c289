"""What a training method sees of the runtime: whether to stop, and a place to report to.

JobControl is the line between one job and the manager; TrainingControl is `self.training` of a
strategy, which finds the job it is called from. Both are safe in any thread.
"""

import math
from collections.abc import Callable
from contextvars import ContextVar
from typing import NamedTuple

from runtime.training.updates import TrainingStatistics


class Progress(NamedTuple):
    """How far a job says it is: 0 to 1, and a few words."""

    fraction: float
    text: str


class JobControl:
    """One job's line to the manager.

    Args:
        on_progress: called in the job's thread when a report waits to be taken; not again before
            it was taken, so a job that reports without end does not flood the loop.
    """

    def __init__(self, on_progress: Callable[[], None]) -> None:
        self.has_noticed = False
        self.metrics: dict[str, float] = {}
        self.data_until: int | None = None
        self.last = Progress(0.0, "")
        self._asked = False
        self._pending = False
        self._on_progress = on_progress

    @property
    def cancelled(self) -> bool:
        """Whether the job should stop; one that has read True is taken to be ending early."""
        if self._asked:
            self.has_noticed = True
        return self._asked

    def ask_to_stop(self) -> None:
        """Have `cancelled` read True from now on."""
        self._asked = True

    def take_back(self) -> None:
        """Let a job go on that has not noticed yet; one that has is ending already."""
        if not self.has_noticed:
            self._asked = False

    def progress(self, fraction: float, text: str) -> None:
        """Report; only the newest report counts."""
        sane = min(1.0, max(0.0, fraction)) if math.isfinite(fraction) else 0.0
        self.last = Progress(sane, text)
        if not self._pending:
            self._pending = True
            self._on_progress()

    def take_progress(self) -> Progress:
        """Return the newest report; the next one is announced again."""
        self._pending = False  # before the reading: a report in between is announced, not lost
        return self.last


CURRENT_JOB: ContextVar[JobControl | None] = ContextVar("CURRENT_JOB", default=None)
"""The job that the calling thread runs, set by the isolation."""


class TrainingControl:
    """`self.training` of a strategy."""

    def __init__(
        self, is_on: Callable[[], bool], statistics: Callable[[], TrainingStatistics]
    ) -> None:
        self._is_on = is_on
        self._statistics = statistics

    @property
    def cancelled(self) -> bool:
        """Whether the job this is called from should stop; False outside of a job.

        Ask between two steps of a long training and return when it is True: what the method
        returns after that is discarded.
        """
        job = CURRENT_JOB.get()
        return job is not None and job.cancelled

    def progress(self, fraction: float, text: str = "") -> None:
        """Report how far the job is, 0 to 1; outside of a job nobody listens."""
        job = CURRENT_JOB.get()
        if job is not None:
            job.progress(float(fraction), text)

    def report(self, /, **metrics: float) -> None:
        """Attach figures to the version being trained: `report(accuracy=0.71)`."""
        job = CURRENT_JOB.get()
        if job is not None:
            job.metrics.update({name: float(value) for name, value in metrics.items()})

    def note_data(self, now: int) -> None:
        """Note that the job this is called from reads data as of `now`, engine time in ns UTC."""
        job = CURRENT_JOB.get()
        if job is not None:
            job.data_until = now

    @property
    def is_on(self) -> bool:
        """Whether training may start."""
        return self._is_on()

    @property
    def statistics(self) -> TrainingStatistics:
        """Queue, running jobs, quota; to be read on the event loop."""
        return self._statistics()
