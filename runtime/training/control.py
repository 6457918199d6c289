"""What a training method sees of the runtime: whether to stop, and a place to report to.

JobControl is the line between one job and the manager; TrainingControl is `self.training` of a
strategy, which finds the job it is called from. Both are safe in any thread.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import NamedTuple

from feeds.events import SECOND
from runtime.training.updates import TrainingStatistics

NOTICE_NS = 5 * SECOND
"""How often it is said that lines are left out."""
BURST_LINES, LINES_PER_SECOND = 200, 50
"""What one job may write into the log; more is counted and left out."""


class Progress(NamedTuple):
    """How far a job says it is: 0 to 1, and a few words."""

    fraction: float
    text: str


class Line(NamedTuple):
    """A line for the log: debug, info, warning or error; its words; its further keys."""

    level: str
    text: str
    fields: Mapping[str, object]


class News(NamedTuple):
    """What a job has let be known since it was last asked; None where there is nothing."""

    progress: Progress | None
    lines: list[Line]
    metrics: Mapping[str, float] | None


class LineBudget:
    """How many lines may be written: a burst, and then so many a second.

    `dropped` counts those that might not be, ever.
    """

    def __init__(self, burst: int = BURST_LINES, per_second: int = LINES_PER_SECOND) -> None:
        self.dropped = 0
        self._burst = self._left = burst * SECOND  # in lines times ns: exact
        self._per_second = per_second
        self._asked: int | None = None

    def allow(self, now: int) -> bool:
        """Whether one more line may be written at `now`, ns; if not it is counted as dropped."""
        if self._asked is not None:
            gained = max(0, now - self._asked) * self._per_second
            self._left = min(self._burst, self._left + gained)
        self._asked = now
        if self._left < SECOND:
            self.dropped += 1
            return False
        self._left -= SECOND
        return True


class JobControl:
    """One job's line to the manager.

    Args:
        on_news: called in the job's thread when something waits to be taken; not again before it
            was taken, so a job that reports without end does not flood the loop.
        now: time in ns, for the budget of log lines.
    """

    def __init__(self, on_news: Callable[[], None], now: Callable[[], int] = lambda: 0) -> None:
        self.has_noticed = False
        self.metrics: dict[str, float] = {}
        self.data_until: int | None = None
        self.last = Progress(0.0, "")
        self._asked = False
        self._pending = self._progressed = self._reported = False
        self._lines: deque[Line] = deque()  # bounded by the budget
        self._budget = LineBudget()
        self._told_dropped = 0
        self._told_at: int | None = None
        self._is_over = False
        self._on_news = on_news
        self._now = now
        self._follower: Callable[[bool], None] | None = None

    @property
    def cancelled(self) -> bool:
        """Whether the job should stop; one that has read True is taken to be ending early."""
        if self._asked:
            self.has_noticed = True
        return self._asked

    def ask_to_stop(self) -> None:
        """Have `cancelled` read True from now on."""
        self._ask(True)

    def take_back(self) -> None:
        """Let a job go on that has not noticed yet; one that has is ending already."""
        if not self.has_noticed:
            self._ask(False)

    def follow(self, follower: Callable[[bool], None]) -> None:
        """Have `follower` told whether the job should stop, now and whenever that changes."""
        self._follower = follower
        follower(self._asked)

    def progress(self, fraction: float, text: str) -> None:
        """Report; only the newest report counts."""
        sane = min(1.0, max(0.0, fraction)) if math.isfinite(fraction) else 0.0
        self.last = Progress(sane, text)
        self._progressed = True
        self._announce()

    def report(self, metrics: Mapping[str, float]) -> None:
        """Attach figures."""
        self.metrics.update(metrics)
        self._reported = True
        self._announce()

    def say(self, level: str, text: str, fields: Mapping[str, object]) -> None:
        """Write a line, unless there were too many."""
        if self._budget.allow(self._now()):
            self.pass_on(Line(level, text, fields))

    def pass_on(self, line: Line) -> None:
        """Write a line that has been counted elsewhere."""
        self._lines.append(line)
        self._announce()

    def end(self) -> None:
        """Have the rest told at the next taking: no more will come."""
        self._is_over = True
        self._announce()

    def take(self) -> News:
        """Return what is new; what comes after it is announced again."""
        self._pending = False  # before the reading: a report in between is announced, not lost
        progressed, self._progressed = self._progressed, False
        reported, self._reported = self._reported, False
        lines = []
        while self._lines:
            lines.append(self._lines.popleft())
        dropped, now = self._budget.dropped, self._now()
        is_time = self._told_at is None or now - self._told_at >= NOTICE_NS or self._is_over
        if (missing := dropped - self._told_dropped) and is_time:
            self._told_dropped, self._told_at = dropped, now
            lines.append(Line("warning", "too many lines: some were left out", {"lines": missing}))
        return News(
            self.last if progressed else None, lines, dict(self.metrics) if reported else None
        )

    def _announce(self) -> None:
        if not self._pending:
            self._pending = True
            self._on_news()

    def _ask(self, stop: bool) -> None:
        self._asked = stop
        if self._follower is not None:
            self._follower(stop)


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
            job.progress(float(fraction), str(text))

    def report(self, /, **metrics: float) -> None:
        """Attach figures to the version being trained: `report(accuracy=0.71)`."""
        job = CURRENT_JOB.get()
        if job is not None:
            job.report({name: float(value) for name, value in metrics.items()})

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
