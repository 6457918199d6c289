"""A strategy with its desk and real worker processes, for tests that run jobs one by one."""

import asyncio
import os
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import anyio
import psutil  # type: ignore[import-untyped]

from feeds.events import Symbol
from runtime.desk import Desk
from runtime.strategy import Strategy
from runtime.trading.portfolio import Portfolio
from runtime.trading.risk import RiskGate, standard_checks
from runtime.training.control import JobControl, Line, TrainingControl
from runtime.training.isolation.base import JobResult
from runtime.training.isolation.pool import Hire
from runtime.training.isolation.process import ProcessIsolation
from runtime.training.isolation.workers import Worker, WorkerLimits
from runtime.training.slots import ModelSlot
from tests.runtime.training.support import request
from tests.stories.market import SPY, at, quote, trade

PATIENCE = 30.0
ZoneInfo("Europe/Berlin")  # read from disk here, not on the loop of whichever test comes first
LIMITS = WorkerLimits(memory_bytes=400 << 20, result_bytes=24 << 20)


def no_statistics() -> Any:
    raise AssertionError("nobody asks")


class Ward:
    """One strategy at a time, and the isolation that its jobs run in."""

    def __init__(
        self,
        limits: WorkerLimits = LIMITS,
        hire: Hire = Worker,
        let_go: Callable[[], None] = lambda: None,
    ) -> None:
        self.isolation = ProcessIsolation(limits, warm=True, hire=hire, let_go=let_go)

    def admit(self, strategy: Strategy, **parameters: str) -> None:
        """Begin a strategy, with twenty ticks behind it."""
        self.desk = Desk(
            run_id="r",
            portfolio=Portfolio(Decimal(12_345)),
            gate=RiskGate(standard_checks(short=frozenset())),
            training=TrainingControl(lambda: True, no_statistics),
            parameters=parameters,
            time_zone="Europe/Berlin",
            history=100,
        )
        self.desk.now_ns = at(20)
        self.strategy = strategy
        strategy.bind(self.desk)
        strategy.initialize()
        for n in range(20):
            event = trade(n, 100 + n) if n % 2 else quote(n, 99 + n, 101 + n)
            self.desk.lines[Symbol(SPY)].take(event, [])
        self.isolation.attach(strategy, self.desk)
        self.lines: list[Line] = []
        self.heard = anyio.Event()

    def control(self) -> JobControl:
        """Return a control whose lines are collected as they come."""
        loop = asyncio.get_running_loop()

        def take() -> None:
            news = control.take()
            self.lines += news.lines
            self.news.append(news)
            self.heard.set()

        self.news: list[Any] = []

        def on_news() -> None:
            loop.call_soon_threadsafe(take)

        control = JobControl(on_news)
        return control

    async def run(
        self,
        method: Callable[[], object],
        slot: ModelSlot | None = None,
        control: JobControl | None = None,
    ) -> JobResult:
        control = control or self.control()
        with anyio.fail_after(PATIENCE):
            result = await self.isolation.run(request(method, slot, isolation="process"), control)
        await anyio.lowlevel.checkpoint()
        return result

    async def until(self, text: str) -> Line:
        """Wait for a line of the job."""
        with anyio.fail_after(PATIENCE):
            while True:
                for line in self.lines:
                    if line.text == text:
                        return line
                self.heard = anyio.Event()
                await self.heard.wait()


def family() -> list[psutil.Process]:
    """Every process that descends from this one."""
    return list(psutil.Process().children(recursive=True))


@contextmanager
def handles(*pids: int) -> Iterator[list[int]]:
    """Hold on to processes that are about to end."""
    found = [os.pidfd_open(pid) for pid in pids]
    try:
        yield found
    finally:
        for handle in found:
            os.close(handle)


async def ended(handle: int) -> None:
    """Wait for the end of a process."""

    def look() -> bool:
        return bool(select.select([handle], [], [], PATIENCE)[0])

    assert await anyio.to_thread.run_sync(look), "it still runs"


def state(pid: int) -> str:
    """The letter of a process's state: R, S, T ..."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
