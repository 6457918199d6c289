"""Notices that training in threads makes the event loop late, and says so once for each method.

The lag beside such a job is held against the lag without one: a loop that is always late, or a
machine that is slow, is not the job's doing.
"""

from collections.abc import Callable

from runtime.control.lag import Histogram
from runtime.training.jobs import JobId
from runtime.training.updates import TrainingUpdate
from runtime.training.updates import TrainingUpdateKind as Kind

HURTS_MS, STALLS_MS = 5.0, 50.0
"""A p99, and a single lag, from which a job is worth a word."""
TIMES = 3.0
"""So many times the lag without a job it has to be."""
ENOUGH, LOOK_EVERY, RECENT = 20, 500, 3000
"""Samples, of 10 ms: the fewest to judge by, how often to judge, how many are those without."""
ENDS = {
    Kind.FINISHED,
    Kind.FAILED,
    Kind.CANCELLED,
    Kind.OUT_OF_QUOTA,
    Kind.ABANDONED,
    Kind.RETRYING,
}


class Burden:
    """Told of every update of training and of every lag of the loop, on the loop.

    Args:
        warn: writes a line with its fields.
    """

    def __init__(self, warn: Callable[..., object]) -> None:
        self._warn = warn
        self._running: dict[JobId, str] = {}  # what trains in threads now
        self._beside, self._without, self._before = Histogram(), Histogram(), Histogram()
        self._told: set[str] = set()

    def hear(self, update: TrainingUpdate) -> None:
        """Note that a job begins or ends."""
        if update.isolation != "thread":
            return
        if update.kind is Kind.STARTED:
            self._running[update.job] = update.name
        elif update.kind in ENDS and update.job in self._running:
            self._judge()
            del self._running[update.job]

    def lag(self, late_ms: float) -> None:
        """Take how late the loop has just been."""
        if self._running:
            self._beside.add(late_ms)
            if self._beside.samples >= LOOK_EVERY:
                self._judge()
        else:
            self._without.add(late_ms)
            if self._without.samples >= RECENT:
                self._before, self._without = self._without, Histogram()

    def _judge(self) -> None:
        """Say what the jobs that run have done to the loop, and measure anew."""
        beside, self._beside = self._beside, Histogram()
        usual = self._before if self._before.samples else self._without
        p99, usually = beside.quantile(0.99), usual.quantile(0.99)
        is_slow = beside.samples >= ENOUGH and p99 > max(HURTS_MS, TIMES * usually)
        if not is_slow and beside.max_ms <= max(STALLS_MS, TIMES * usual.max_ms):
            return
        for job, name in self._running.items():
            if name not in self._told:
                self._told.add(name)
                self._warn(
                    "training: it makes the loop late",
                    job=job,
                    lag_p99_ms=round(p99, 1),
                    lag_max_ms=round(beside.max_ms, 1),
                    lag_p99_without_ms=round(usually, 1),
                    text=f"{name} runs in a thread and shares the interpreter with trading: "
                    'isolation="process" does not',
                )
