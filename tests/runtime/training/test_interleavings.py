"""Row 72: whatever is asked in whatever order, ready means a model; only a rollback goes back."""

import asyncio
from collections.abc import Mapping

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.events import SECOND
from runtime.training.control import JobControl
from runtime.training.isolation.base import JobResult, execute
from runtime.training.jobs import JobId, JobRequest, JobState, TrainingHandle
from runtime.training.slots import ModelSlot
from runtime.training.supervision import TrainingRules
from runtime.training.updates import TrainingUpdateKind as Kind
from tests.runtime.training.support import Bench, request

OPERATIONS = [
    "submit left",
    "submit right",
    "toggle",
    "train now",
    "cancel",
    "end",
    "fail",
    "back left",
    "back right",
]
OPERATIONS += ["market opens", "market closes"]
ENDED = {"finished", "failed", "cancelled", "out of quota", "abandoned"}
RULES = TrainingRules(abandon_limit=2, timeout_ns=150 * SECOND)


class Scripted:
    """An isolation whose jobs end when the test says so; given up, it leaves each second behind."""

    kills = False

    def __init__(self) -> None:
        self.open: list[asyncio.Future[bool]] = []
        self.left: dict[JobId, str] = {}
        self._given_up = 0

    async def run(self, request: JobRequest, control: JobControl) -> JobResult:
        end: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.open.append(end)
        try:
            sound = await end
        except asyncio.CancelledError:
            self._given_up += 1
            if self._given_up % 2:
                self.left[request.id] = request.name
            raise
        finally:
            self.open.remove(end)
        return execute(request, control) if sound else JobResult(error="ValueError: no data")

    def make_ready(self) -> None: ...
    async def close(self) -> None: ...

    def pause(self, job: JobId) -> bool:
        return False

    def resume(self, job: JobId) -> None: ...

    def abandoned(self) -> Mapping[JobId, str]:
        return self.left


async def play(steps: list[tuple[str, int]], capacity: int) -> None:
    isolation = Scripted()
    bench = Bench(capacity=capacity, workers=2, rules=RULES, isolations={"thread": isolation})
    slots = {side: ModelSlot(side) for side in ("left", "right")}
    methods = {"left": lambda: ["left"], "right": lambda: ["right"]}
    handles: list[TrainingHandle] = []
    versions, highest = dict.fromkeys(slots, 0), dict.fromkeys(slots, 0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.manager.run)
        for operation, span in steps:
            word, _, side = operation.partition(" ")
            if word == "submit":
                handles.append(bench.manager.submit(request(methods[side], slots[side], side)))
            elif word == "toggle":
                bench.manager.toggle("test")
            elif word == "market":
                bench.manager.hold(side == "opens")
            elif word == "train":
                handles += bench.manager.train_now("test")
            elif word == "cancel" and handles:
                handles[span % len(handles)].cancel()
            elif word in {"end", "fail"} and isolation.open:
                isolation.open[span % len(isolation.open)].set_result(word == "end")
            elif word == "back" and slots[side].previous is not None:
                before = slots[side].previous
                assert slots[side].rollback("test") is before
                versions[side] = before.version
            await bench.pass_time(span * SECOND)
            for side, slot in slots.items():
                assert slot.is_ready is (slot.current == [side])
                assert slot.version == versions[side] or slot.version > highest[side]
                versions[side] = slot.version
                highest[side] = max(highest[side], slot.version)
            statistics = bench.manager.statistics()
            names = [run.name for run in statistics.running]
            assert len(names) == len(set(names)) <= 2
            assert statistics.quota.available >= 0
            assert (
                statistics.quota.available
                + sum(one.spent for one in bench.updates if one.kind in ENDED)
                + sum(run.spent for run in statistics.running)
                == capacity
            )
        assert await bench.manager.close(0) == tuple(isolation.left.values())
    assert all(handle.state.is_terminal for handle in handles)
    finished = bench.manager.statistics().finished
    published = bench.of(Kind.MODEL_PUBLISHED)
    assert finished.get(JobState.SUCCEEDED, 0) == len(published)
    for side, slot in slots.items():
        numbers = [one.version for one in published if one.name == side]
        assert numbers == list(range(1, highest[side] + 1)), "each its own, also after a rollback"
        assert slot.version <= highest[side]


@given(
    steps=st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 90)), max_size=25),
    capacity=st.integers(1, 12),
)
@settings(max_examples=200, deadline=None)
def test_any_order_of_anything(steps: list[tuple[str, int]], capacity: int) -> None:
    asyncio.run(play(steps, capacity))


def test_the_day_of_a_model() -> None:
    """One order by hand: trained, retrained, off, on, failed."""
    steps = [("submit left", 1), ("end", 0), ("submit left", 61), ("toggle", 1), ("end", 0)]
    steps += [("toggle", 1), ("submit left", 1), ("fail", 0)]
    asyncio.run(play(steps, 12))
