"""A callback that trains inline may take as much longer as the quota grants it: LEAN's rule.

A watching thread settles the bill and looks, here once a second of a virtual clock, from within the
training itself. The rows are those of LEAN's own tests.
"""

import pytest

from feeds.events import MINUTE, SECOND
from runtime.callbacks import Overtime
from runtime.timeslice import Timeslice, Verdict
from runtime.training.jobs import JobState
from runtime.training.supervision import TrainingRules
from tests.runtime.training.support import Bench, request

NEVER = 10**18


class Watched:
    """A bench whose minutes extend the timeslice, and a training that takes its time."""

    def __init__(self, limit_ns: int, capacity: int = 120) -> None:
        self.timeslice = Timeslice(limit_ns, tell_ns=NEVER, stop_grace_ns=NEVER)
        self.bench = Bench(
            capacity=capacity, rules=TrainingRules(), on_inline_minute=self.timeslice.extend
        )
        self.seconds = 0

    def train(self, seconds: int) -> JobState:
        """Train for so long within one callback; Overtime is raised where it is over."""

        def fit() -> None:
            for self.seconds in range(1, seconds + 1):
                self.bench.clock.advance(SECOND)
                self.bench.manager.settle_inline()
                if self.timeslice.look(SECOND) is Verdict.INTERRUPT:
                    raise Overtime(self.timeslice.why())

        self.timeslice.enter("on_data")
        self.timeslice.look(0)
        job = self.bench.manager.run_inline(request(fit))
        self.timeslice.leave()
        return job.state


def test_each_minute_granted_is_a_minute_more() -> None:
    watched = Watched(limit_ns=2 * MINUTE)
    assert watched.train(30 * 60) is JobState.SUCCEEDED
    assert watched.bench.quota.statistics().available == 120 - 30


def test_row_20_the_free_minute_grants_nothing() -> None:
    watched = Watched(limit_ns=3 * SECOND)
    with pytest.raises(Overtime, match=r"took longer than 0\.05 minutes"):
        watched.train(150)
    assert watched.seconds == 4
    assert watched.bench.manager.statistics().finished == {JobState.CANCELLED: 1}


def test_row_21_a_minute_that_is_refused_grants_nothing() -> None:
    watched = Watched(limit_ns=90 * SECOND, capacity=1)
    with pytest.raises(Overtime, match="and the 1 granted to training"):
        watched.train(300)
    assert watched.seconds == 151  # a minute and a half, and the one there was
    assert watched.bench.manager.statistics().finished == {JobState.CANCELLED: 1}


def test_row_29_the_next_timeslice_has_none_of_it_and_the_tokens_stay_spent() -> None:
    watched = Watched(limit_ns=90 * SECOND)
    assert watched.train(200) is JobState.SUCCEEDED
    available = watched.bench.quota.statistics().available
    watched.timeslice.enter("on_data")
    watched.timeslice.look(0)
    verdicts = [watched.timeslice.look(SECOND) for _ in range(91)]
    assert verdicts == [None] * 90 + [Verdict.INTERRUPT]
    assert watched.bench.quota.statistics().available == available


def test_two_trainings_in_one_timeslice_add_up() -> None:
    """Three minutes each, of which two are paid: four more in all."""
    watched = Watched(limit_ns=3 * MINUTE)
    watched.timeslice.enter("on_data")
    watched.timeslice.look(0)
    for _ in range(2):

        def fit() -> None:
            for _ in range(179):
                watched.bench.clock.advance(SECOND)
                watched.bench.manager.settle_inline()
                assert watched.timeslice.look(SECOND) is None

        watched.bench.manager.run_inline(request(fit))
    assert watched.bench.manager.statistics().finished == {JobState.SUCCEEDED: 2}


def test_without_a_job_there_is_nothing_to_settle() -> None:
    watched = Watched(limit_ns=MINUTE)
    watched.bench.manager.settle_inline()
    assert watched.bench.quota.statistics().available == 120
