"""First come first served, one run of a method at a time, nothing lost; by cases and by machine."""

from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from runtime.training.jobs import JobId, JobRequest
from runtime.training.queue import Outcome, TrainingQueue
from runtime.training.slots import ModelSlot
from tests.runtime.training.support import request


def first() -> None: ...
def second() -> None: ...
def third() -> None: ...


def test_first_come_first_served() -> None:
    queue = TrainingQueue()
    asked = [request(first), request(second), request(third)]
    for one in asked:
        assert queue.offer(one) == (Outcome.QUEUED, one)
    for one in asked:
        assert queue.take() is one
        assert queue.take() is None
        queue.finish(one.id)
    assert queue.is_idle


def test_a_pending_method_is_coalesced_into_its_pending_run() -> None:
    queue = TrainingQueue()
    queue.offer(pending := request(first))
    assert queue.offer(request(first)) == (Outcome.COALESCED, pending)
    assert queue.queued == (pending,)


def test_a_running_method_gets_one_pending_run_and_no_more() -> None:
    queue = TrainingQueue(workers=2)
    queue.offer(running := request(first))
    assert queue.take() is running
    assert queue.offer(again := request(first)) == (Outcome.QUEUED, again)
    assert queue.offer(request(first)) == (Outcome.COALESCED, again)
    assert queue.take() is None, "never two runs of one method at once"
    queue.finish(running.id)
    assert queue.take() is again


def test_a_free_worker_passes_by_a_method_that_runs() -> None:
    queue = TrainingQueue(workers=2)
    for one in (running := request(first), request(first), other := request(second)):
        queue.offer(one)
        if one is running:
            queue.take()
    assert queue.take() is other


def test_bound_methods_are_the_same_method_each_time_they_are_named() -> None:
    class Strategy:
        def train(self) -> None: ...

    one, other = Strategy(), Strategy()
    queue = TrainingQueue()
    assert queue.offer(request(one.train)).outcome is Outcome.QUEUED
    assert queue.offer(request(one.train)).outcome is Outcome.COALESCED
    assert queue.offer(request(other.train)).outcome is Outcome.QUEUED


def test_one_method_into_two_slots_is_two_runs_but_not_at_once() -> None:
    queue = TrainingQueue(workers=2)
    for name in ("left", "right"):
        assert queue.offer(request(first, ModelSlot(name))).outcome is Outcome.QUEUED
    assert queue.take() is not None
    assert queue.take() is None


def test_firings_while_off_become_one_run_when_on() -> None:
    queue = TrainingQueue(is_on=False)
    outcomes = [queue.offer(request(first)).outcome for _ in range(5)]
    assert outcomes == [Outcome.QUEUED] + [Outcome.COALESCED] * 4
    assert queue.take() is None
    assert queue.is_idle, "what cannot start is not waited for"
    assert queue.switch(True) == (False, True)
    assert not queue.is_idle
    assert queue.take() is not None
    assert not queue.queued


def test_held_by_an_open_market_nothing_starts_whatever_the_switch_says() -> None:
    queue = TrainingQueue()
    queue.is_held = True
    queue.offer(request(first))
    assert [queue.may_start, queue.take()] == [False, None]
    assert queue.is_idle, "what cannot start is not waited for"
    queue.switch(False)
    queue.is_held = False
    assert queue.take() is None
    queue.switch(True)
    assert queue.take() is not None


def test_a_switch_tells_what_it_changed() -> None:
    queue = TrainingQueue()
    assert [queue.switch(on) for on in (True, False, False, True)] == [
        (True, True),
        (True, False),
        (False, False),
        (False, True),
    ]


def test_withdrawing_takes_what_pends_and_only_that() -> None:
    queue = TrainingQueue()
    queue.offer(running := request(first))
    queue.take()
    queue.offer(pending := request(second))
    assert not queue.withdraw(running.id)
    assert queue.withdraw(pending.id)
    assert not queue.withdraw(pending.id)
    assert (queue.running, queue.queued) == ((running,), ())


def test_requeued_is_behind_what_waits_unless_the_same_training_does() -> None:
    queue = TrainingQueue()
    for one in (again := request(first), other := request(second)):
        queue.offer(one)
    assert queue.take() is again
    assert queue.requeue(again.id)
    assert (queue.running, queue.queued) == ((), (other, again))
    assert queue.take() is other
    queue.offer(newer := request(second))
    assert not queue.requeue(other.id)
    assert (queue.running, queue.queued) == ((other,), (again, newer))


def test_finishing_what_does_not_run_is_an_error() -> None:
    with pytest.raises(KeyError):
        TrainingQueue().finish(JobId("nobody"))


@pytest.mark.parametrize("workers", [0, -1])
def test_no_workers_is_an_error(workers: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        TrainingQueue(workers)


METHODS: list[Callable[[], object]] = [first, second, third]


class QueueMachine(RuleBasedStateMachine):
    """Every request offered is pending, running, coalesced, withdrawn or finished; none twice."""

    @initialize(workers=st.integers(1, 3))
    def make(self, workers: int) -> None:
        self.queue = TrainingQueue(workers)
        self.on = True
        self.waiting: list[JobRequest] = []
        self.running: list[JobRequest] = []

    @rule(method=st.sampled_from(METHODS))
    def offer(self, method: Callable[[], object]) -> None:
        outcome, serving = self.queue.offer(asked := request(method))
        pending = [one for one in self.waiting if one.method is method]
        if pending:
            assert (outcome, serving) == (Outcome.COALESCED, pending[0])
        else:
            assert (outcome, serving) == (Outcome.QUEUED, asked)
            self.waiting.append(asked)

    @rule()
    def take(self) -> None:
        busy = [one.method for one in self.running]
        may_start = [one for one in self.waiting if one.method not in busy]
        free = self.queue.is_on and len(self.running) < self.queue.workers
        expected = may_start[0] if free and may_start else None
        assert self.queue.take() is expected
        if expected is not None:
            self.waiting.remove(expected)
            self.running.append(expected)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        ended = data.draw(st.sampled_from(self.running))
        self.queue.finish(ended.id)
        self.running.remove(ended)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def requeue(self, data: st.DataObject) -> None:
        failed = data.draw(st.sampled_from(self.running))
        pending = any(one.method is failed.method for one in self.waiting)
        assert self.queue.requeue(failed.id) is not pending
        if not pending:
            self.running.remove(failed)
            self.waiting.append(failed)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        out = data.draw(st.sampled_from(self.waiting))
        assert self.queue.withdraw(out.id)
        self.waiting.remove(out)

    @rule(on=st.booleans())
    def switch(self, on: bool) -> None:
        assert self.queue.switch(on) == (self.on, on)
        self.on = on

    @invariant()
    def laws(self) -> None:
        assert list(self.queue.queued) == self.waiting
        assert list(self.queue.running) == self.running
        assert len({one.method for one in self.running}) == len(self.running)
        assert len(self.running) <= self.queue.workers
        blocked = not self.queue.is_on or not self.waiting
        assert self.queue.is_idle is (blocked and not self.running)


QueueMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestQueueMachine = QueueMachine.TestCase
