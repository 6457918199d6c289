"""Two trainings on a stage: everything that can be asked of them, and what must hold after each."""

import asyncio
from collections import Counter
from collections.abc import Mapping

from feeds.events import SECOND
from runtime.training.control import JobControl
from runtime.training.isolation.base import JobResult, execute
from runtime.training.jobs import JobId, JobRequest, JobState, TrainingHandle
from runtime.training.slots import ModelSlot
from runtime.training.supervision import TrainingRules
from tests.runtime.training.support import T0, Bench, request

ENDED = {"finished", "failed", "cancelled", "out of quota", "abandoned"}
SIDES = ("left", "right")
RULES = TrainingRules(abandon_limit=2, timeout_ns=150 * SECOND)


class Scripted:
    """An isolation whose jobs end when the test says so.

    The left method can be frozen, and given up it is gone; the right one is left behind.
    """

    kills = False

    def __init__(self) -> None:
        self.open: dict[str, asyncio.Future[bool]] = {}
        self.left: dict[JobId, str] = {}
        self.frozen: set[JobId] = set()
        self.overlaps: list[JobId] = []

    async def run(self, request: JobRequest, control: JobControl) -> JobResult:
        end: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if request.name in self.open:
            self.overlaps.append(request.id)
        self.open[request.name] = end
        try:
            sound = await end
        except asyncio.CancelledError:
            if request.name == "right":
                self.left[request.id] = request.name
            raise
        finally:
            self.open.pop(request.name, None)  # None where a run overlapped, which `check` tells
            self.frozen.discard(request.id)
        return execute(request, control) if sound else JobResult(error="ValueError: no data")

    def make_ready(self) -> None: ...
    async def close(self) -> None: ...

    def pause(self, job: JobId) -> bool:
        if job.startswith("right"):
            return False
        self.frozen.add(job)
        return True

    def resume(self, job: JobId) -> None:
        self.frozen.remove(job)

    def abandoned(self) -> Mapping[JobId, str]:
        return self.left


class Stage:
    """A manager with two methods and their slots; to be made and used on one event loop."""

    def __init__(self, capacity: int, refill: int, interval_s: int) -> None:
        self.isolation = Scripted()
        self.bench = Bench(
            capacity=capacity,
            refill=refill,
            interval_ns=interval_s * SECOND,
            workers=2,
            rules=RULES,
            isolations={"thread": self.isolation},
        )
        self.slots = {side: ModelSlot(side) for side in SIDES}
        self.handles: list[TrainingHandle] = []
        self.drained = 0
        self._methods = {"left": lambda: ["left"], "right": lambda: ["right"]}
        self._versions = dict.fromkeys(SIDES, 0)
        self._highest = dict.fromkeys(SIDES, 0)
        self._task = asyncio.get_running_loop().create_task(self.bench.manager.run())

    # ---- what can happen

    def submit(self, side: str, retries: int) -> None:
        asked = request(self._methods[side], self.slots[side], side, retries=retries)
        self.handles.append(self.bench.manager.submit(asked))

    def train_now(self) -> None:
        self.handles += self.bench.manager.train_now("test")

    def end(self, side: str, sound: bool) -> bool:
        """Let the method return, or raise; False where it does not run."""
        end = self.isolation.open.get(side)
        if end is None or end.done():
            return False
        end.set_result(sound)
        return True

    def drain(self, tokens: int) -> bool:
        """Somebody else takes minutes."""
        taken = self.bench.quota.try_consume(tokens)
        self.drained += tokens * taken
        return taken

    def publish(self, side: str) -> None:
        """The strategy swaps in a model of its own."""
        self.slots[side].publish([side], "by hand", self.bench.clock.now())

    def roll_back(self, side: str) -> bool:
        """The only way back; False where there is none."""
        try:
            self._versions[side] = self.slots[side].rollback("test").version
        except ValueError:
            return False
        return True

    def forget_one(self) -> bool:
        """One thread that was left behind ends; False where none was."""
        left = self.isolation.left
        if left:
            del left[next(iter(left))]
            return True
        return False

    # ---- what must hold

    def check(self) -> None:
        """Hold the invariants, each named in its line; see the tests for them in words."""
        statistics = self.bench.manager.statistics()
        jobs = {handle.id: handle for handle in self.handles}

        bucket = self.bench.bucket
        refills = (self.bench.clock.now() - T0) // bucket.interval_ns * bucket.refill_amount
        spent = sum(handle.spent_minutes for handle in jobs.values()) + self.drained
        assert 0 <= bucket.available <= bucket.capacity, "the bucket's bounds"
        assert spent + bucket.available <= bucket.capacity + refills, "never over-spent"
        if not refills:
            assert spent + bucket.available == bucket.capacity, "no minute unaccounted for"

        assert not self.isolation.overlaps, "never two runs of one method at once"
        assert len(statistics.running) <= 2, "no more than the workers"
        if not statistics.is_on:
            frozen = {run.id for run in statistics.running if run.name == "left"}
            stopping = {one.job for one in self.bench.updates if one.kind == "stopping"}
            assert frozen <= self.isolation.frozen | stopping, "off is off"

        for side, slot in self.slots.items():
            assert slot.is_ready is (slot.current == [side]), "ready means a model"
            assert slot.version >= self._versions[side], "back only by a rollback"
            if slot.version > self._versions[side]:
                assert slot.version > self._highest[side], "a number of its own"
            self._versions[side] = slot.version
            self._highest[side] = max(self._highest[side], slot.version)

        ended = Counter(one.job for one in self.bench.updates if one.kind in ENDED)
        over = {job for job, handle in jobs.items() if handle.state.is_terminal}
        assert ended == Counter(over), "each job ends once, and is told once"
        assert sum(statistics.finished.values()) == len(over), "the counts add up"
        alive = {run.id for run in statistics.running} | {one.id for one in self.bench.queue.queued}
        assert jobs.keys() - over == alive, "no job lost"

    async def close(self) -> None:
        """End the run; every job has an end."""
        left = await self.bench.manager.close(0)
        await self._task
        assert left == tuple(self.isolation.left.values()), "who is left behind is named"
        self.check()
        assert all(handle.state.is_terminal for handle in self.handles), "no job lost"
        finished = self.bench.manager.statistics().finished
        told = [one.job for one in self.bench.updates if one.kind == "model published"]
        assert finished.get(JobState.SUCCEEDED, 0) == len(told) == len(set(told))
