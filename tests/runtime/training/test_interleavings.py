"""Row 72: whatever is asked in whatever order, minutes, models and jobs stay accounted for."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from feeds.events import SECOND
from tests.models.training import SlowJob, SlowTraining
from tests.runtime.training.stage import SIDES, Stage
from tests.runtime.training.support import settle

T = TypeVar("T")

SCHEDULES = 1000
MOMENTS = 6
SPANS = (0, 0, 1, 5, 30, 60, 90)
OPERATIONS = ["submit"] * 5 + ["finish"] * 4 + ["fail", "cancel", "toggle", "market"] * 2
OPERATIONS += ["exhaust", "swap", "rollback", "train now", "thread ends"]


def happen(stage: Stage, random: Random) -> None:
    """Let one thing happen."""
    side = random.choice(SIDES)
    match random.choice(OPERATIONS):
        case "submit":
            stage.submit(side, retries=random.choice((0, 0, 1)))
        case "finish":
            stage.end(side, True)
        case "fail":
            stage.end(side, False)
        case "cancel" if stage.handles:
            random.choice(stage.handles[-3:]).cancel()
        case "toggle":
            stage.bench.manager.toggle("test")
        case "market":
            stage.bench.manager.hold(random.random() < 0.3)
        case "exhaust":
            stage.drain(random.randint(1, stage.bench.bucket.capacity))
        case "swap":
            stage.publish(side)
        case "rollback":
            stage.roll_back(side)
        case "train now":
            stage.train_now()
        case "thread ends":
            stage.forget_one()


def test_a_thousand_random_schedules_keep_the_invariants() -> None:
    """After each of start, finish, fail, cancel, toggle, exhaust, swap, rollback and the market's:

    - never over-spent: minutes taken and minutes left are what the bucket held and was refilled;
    - never two runs of one method at once, and no more runs than workers;
    - off is off: what can be frozen is, and nothing starts;
    - a slot is ready if and only if a model serves;
    - its version never goes back except by a rollback, and a new one has a number of its own;
    - no job is lost: it waits, runs or has ended, ends once and is told once, and the counts add
      up; after the end of the run every handle is in a terminal state.
    """

    async def schedule(seed: int) -> None:
        random = Random(seed)
        try:
            stage = Stage(random.randint(1, 8), random.randint(0, 3), random.choice((120, 600)))
            for _ in range(MOMENTS):
                for _ in range(random.randint(1, 3)):
                    happen(stage, random)
                await stage.bench.pass_time(random.choice(SPANS) * SECOND)
                stage.check()
            await stage.close()
        except BaseException as error:
            error.add_note(f"the schedule of seed {seed}")
            raise

    async def all_schedules() -> None:
        for first in range(0, SCHEDULES, 100):  # side by side, each on a clock of its own
            await asyncio.gather(*(schedule(seed) for seed in range(first, first + 100)))

    asyncio.run(all_schedules())


class TrainingMachine(RuleBasedStateMachine):
    """Bucket, meter and manager together do what the slow obvious training does."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()

    @initialize(
        capacity=st.integers(1, 6), refill=st.integers(0, 2), interval=st.sampled_from([90, 400])
    )
    def make(self, capacity: int, refill: int, interval: int) -> None:
        self.stage = self.on_the_loop(lambda: Stage(capacity, refill, interval))
        self.slow = SlowTraining(capacity, refill, interval)
        self.jobs: list[SlowJob] = []

    def on_the_loop(self, what: Callable[[], T]) -> T:
        """Do it, and let every task go as far as it can."""

        async def doing() -> T:
            done = what()
            await settle()
            return done

        return self.loop.run_until_complete(doing())

    @rule(side=st.sampled_from(SIDES), retries=st.integers(0, 1))
    def submit(self, side: str, retries: int) -> None:
        self.on_the_loop(lambda: self.stage.submit(side, retries))
        self.jobs.append(self.slow.submit(side, retries))

    @rule()
    def train_now(self) -> None:
        self.on_the_loop(self.stage.train_now)
        self.jobs += self.slow.train_now()

    @rule(side=st.sampled_from(SIDES), sound=st.booleans())
    def end(self, side: str, sound: bool) -> None:
        if self.on_the_loop(lambda: self.stage.end(side, sound)):
            self.slow.end(side, sound)

    @rule(which=st.integers(0, 50))
    def cancel(self, which: int) -> None:
        if self.jobs:
            which %= len(self.jobs)
            self.on_the_loop(self.stage.handles[which].cancel)
            self.slow.cancel(self.jobs[which])

    @rule()
    def toggle(self) -> None:
        self.on_the_loop(lambda: self.stage.bench.manager.toggle("test"))
        self.slow.toggle()

    @rule(is_open=st.booleans())
    def market(self, is_open: bool) -> None:
        self.on_the_loop(lambda: self.stage.bench.manager.hold(is_open))
        self.slow.hold(is_open)

    @rule(tokens=st.integers(1, 6))
    def drain(self, tokens: int) -> None:
        if tokens <= self.stage.bench.bucket.capacity:
            assert self.stage.drain(tokens) is self.slow.drain(tokens)

    @rule(side=st.sampled_from(SIDES))
    def swap(self, side: str) -> None:
        self.stage.publish(side)
        self.slow.publish(side)

    @rule(side=st.sampled_from(SIDES))
    def roll_back(self, side: str) -> None:
        assert self.stage.roll_back(side) is self.slow.roll_back(side)

    @rule()
    def a_thread_ends(self) -> None:
        self.slow.left_behind -= self.stage.forget_one()

    @rule(seconds=st.one_of(st.sampled_from([5, 60]), st.integers(1, 130)))
    def pass_time(self, seconds: int) -> None:
        self.loop.run_until_complete(self.stage.bench.pass_time(seconds * SECOND))
        for _ in range(seconds):
            self.slow.second()

    @invariant()
    def they_agree(self) -> None:
        stage, slow = self.stage, self.slow
        assert [handle.state for handle in stage.handles] == [job.state for job in self.jobs]
        assert [handle.spent_minutes for handle in stage.handles] == [
            one.spent for one in self.jobs
        ]
        assert stage.bench.bucket.available == slow.bucket.available
        assert {side: slot.version for side, slot in stage.slots.items()} == {
            side: versions[-1] for side, versions in slow.serving.items()
        }
        statistics = stage.bench.manager.statistics()
        assert [run.name for run in statistics.running] == [job.side for job in slow.running]
        assert [one.name for one in stage.bench.queue.queued] == [job.side for job in slow.queued]
        assert statistics.is_on is slow.on
        stage.check()

    def teardown(self) -> None:
        if hasattr(self, "stage"):
            self.loop.run_until_complete(self.stage.close())
        self.loop.close()


TrainingMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=25)
TestTrainingMachine = TrainingMachine.TestCase


def test_the_last_that_may_be_left_behind_gives_its_place_to_nobody() -> None:
    """Found by the machine above: training goes off before the one that waits could start."""
    machine = TrainingMachine()
    machine.make(capacity=1, refill=0, interval=90)
    machine.submit(side="right", retries=0)
    machine.train_now()
    machine.cancel(which=0)
    machine.drain(tokens=1)
    machine.pass_time(seconds=60)
    machine.train_now()
    machine.pass_time(seconds=60)
    machine.they_agree()
    machine.teardown()
