"""What the tests of training share: requests, a manager with a virtual clock, a record to await."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import ClassVar

import anyio

from feeds.events import MINUTE, SECOND
from runtime.clock import VirtualClock
from runtime.training.bucket import LeakyBucket
from runtime.training.isolation.base import Isolation
from runtime.training.isolation.thread import ThreadIsolation
from runtime.training.jobs import JobId, JobRequest
from runtime.training.manager import TrainingManager
from runtime.training.queue import TrainingQueue
from runtime.training.quota import TrainingQuota
from runtime.training.slots import ModelSlot
from runtime.training.supervision import TrainingRules
from runtime.training.updates import TrainingUpdate, TrainingUpdateKind

T0 = 1_700_000_000 * SECOND
_numbers = count(1)


def nothing() -> None:
    """A training that is done at once."""


def request(
    method: Callable[[], object] = nothing,
    slot: ModelSlot | None = None,
    name: str = "",
    isolation: str = "thread",
    **options: int,
) -> JobRequest:
    name = name or getattr(method, "__name__", "job")
    job = JobId(f"{name}#{next(_numbers)}")
    return JobRequest(job, name, method, slot, isolation, T0, **options)


async def settle() -> None:
    """Let every task go as far as it can; no chain of wake-ups here is nearly as long."""
    for _ in range(20):
        await asyncio.sleep(0)


class Gate:
    """A training that runs until it is let go, deaf to everything else."""

    made: ClassVar[list["Gate"]] = []

    def __init__(self, value: object = None) -> None:
        self.made.append(self)
        self.runs = 0
        self.begun = threading.Event()
        self.release = threading.Event()
        self._value = value

    def train(self) -> object:
        self.runs += 1
        self.begun.set()
        self.release.wait()
        return self._value


class Obedient(Gate):
    """A training that runs until it is told to stop, and then returns what it has."""

    def __init__(self, bench: "Bench", value: object = None) -> None:
        super().__init__(value)
        self._bench = bench

    def train(self) -> object:
        self.begun.set()
        while not (self._bench.manager.control.cancelled or self.release.wait(0.001)):
            pass
        return self._value


class Bench:
    """A manager with everything around it at hand."""

    def __init__(
        self,
        *,
        capacity: int = 120,
        refill: int = 18,
        interval_ns: int = 1440 * MINUTE,
        workers: int = 1,
        rules: TrainingRules | None = None,
        isolations: Mapping[str, Isolation] | None = None,
        on_inline_minute: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.clock = VirtualClock(T0)
        self.queue = TrainingQueue(workers)
        self.bucket = LeakyBucket(capacity, refill, interval_ns, T0)
        self.quota = TrainingQuota(self.bucket, self.clock.now)
        self.updates: list[TrainingUpdate] = []
        self._seen = anyio.Event()
        self.manager = TrainingManager(
            self.queue,
            self.quota,
            isolations or {"thread": ThreadIsolation()},
            self.clock,
            self._take,
            rules=rules or TrainingRules(),
            on_inline_minute=on_inline_minute,
        )

    def _take(self, update: TrainingUpdate) -> None:
        self.updates.append(update)
        self._seen.set()

    def kinds(self, name: str | None = None) -> list[TrainingUpdateKind]:
        """What happened, of one job or of all."""
        return [update.kind for update in self.updates if name is None or update.name == name]

    def of(self, kind: TrainingUpdateKind) -> list[TrainingUpdate]:
        return [update for update in self.updates if update.kind is kind]

    async def until(self, kind: TrainingUpdateKind, times: int = 1) -> TrainingUpdate:
        """Wait until this has happened so often, and return the last of it."""
        while len(self.of(kind)) < times:
            self._seen = anyio.Event()
            await self._seen.wait()
        return self.of(kind)[times - 1]

    async def begun(self, gate: Gate) -> None:
        """Wait until the gate's training is under way."""
        await anyio.to_thread.run_sync(gate.begun.wait)

    async def pass_time(self, span_ns: int) -> None:
        """Let time go by, moment by moment of what matters: each wake-up at its own time."""
        end = self.clock.now() + span_ns
        await settle()
        while (wake := self.clock.next_wake) is not None and wake <= end:
            self.clock.advance_to(wake)
            await settle()
        self.clock.advance_to(end)
        await settle()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Bench"]:
        """Run the manager around the body; every thread has been let go by the end of it."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.manager.run)
            yield self
            await self.manager.close(0)
