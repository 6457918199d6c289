"""What may be asked of a run from another thread: each request is done on the run's own loop.

Whoever asks waits for the answer, for a bounded time: a loop that does not turn is told as that.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from feeds.events import SECOND
from runtime.control.board import Board
from runtime.control.snapshots import snapshot
from runtime.errors import ConfigError, RunFailed

if TYPE_CHECKING:
    from runtime.live import LiveRun

PATIENCE_SECONDS, LOOK_SECONDS = 10.0, 1.0
FRESH_NS = SECOND // 5
"""No more snapshots than these are taken for whoever looks, however many look."""
T = TypeVar("T")


class NotAnswered(RunFailed):
    """The run's loop did not take the request in time."""


class Operator:
    """Steers one run; its methods are awaited on any loop. `by` is who asks, for the log.

    Made on the run's own loop. `keep_halt` stores why no order may leave, for the next run; it may
    block.

    Raises:
        NotAnswered: the run's loop does not turn, or has ended.
        ConfigError: what was asked for is not there.
    """

    def __init__(self, run: "LiveRun", board: Board, keep_halt: Callable[[str], None]) -> None:
        self._run = run
        self._board = board
        self._keep_halt = keep_halt
        self._loop = asyncio.get_running_loop()

    async def look(self) -> None:
        """Have a snapshot taken, unless there is one of this moment."""

        async def do() -> None:
            taken = self._board.snapshot
            if taken is None or time.time_ns() - taken.time > FRESH_NS:
                self._board.snapshot = snapshot(self._run)

        await self._ask(do, LOOK_SECONDS, looks=False)

    async def switch_training(self, on: bool, by: str) -> bool:
        """Switch training on or off; return whether it is on now."""

        async def do() -> bool:
            self._run.training.switch(on, by)
            return self._run.training.statistics().is_on

        return await self._ask(do)

    async def train_now(self, by: str) -> list[str]:
        """Train every known method, and return their names."""

        async def do() -> list[str]:
            return [str(handle.name) for handle in self._run.training.train_now(by)]

        return await self._ask(do)

    async def cancel_job(self, job: str) -> None:
        """Cancel one job by its id, or by its method's name."""

        async def do() -> None:
            if not self._run.training.cancel(job):
                statistics = self._run.training.statistics()
                there = [*(each.id for each in statistics.running), *statistics.queued]
                raise ConfigError(f"there is no job {job!r}: it has {', '.join(there) or 'none'}")

        await self._ask(do)

    async def roll_back(self, slot: str, to: int | None, by: str) -> int:
        """Let an older version serve again, and return its number."""
        return await self._ask(lambda: self._run.models.roll_back(slot, to, by))

    async def halt(self, reason: str, by: str) -> None:
        """Refuse every order from now on, and cancel those that work."""

        async def do() -> None:
            why = f"{reason} ({by})" if reason else by
            self._run.halt(why)
            await anyio.to_thread.run_sync(self._keep_halt, why)  # before it is confirmed

        await self._ask(do)

    async def resume(self, by: str) -> None:
        """Let orders leave again."""

        async def do() -> None:
            await anyio.to_thread.run_sync(self._keep_halt, "")
            self._run.resume(by)

        await self._ask(do)

    async def stop(self, by: str) -> None:
        """End the run in order."""

        async def do() -> None:
            self._run.stop(f"{by} asked for the end")

        await self._ask(do)

    async def _ask(
        self,
        do: Callable[[], Coroutine[Any, Any, T]],
        patience: float = PATIENCE_SECONDS,
        *,
        looks: bool = True,
    ) -> T:
        async def done() -> T:
            came = await do()
            if looks:  # whoever asked sees at once what has come of it
                self._board.snapshot = snapshot(self._run)
            return came

        try:
            future = asyncio.run_coroutine_threadsafe(done(), self._loop)
        except RuntimeError:
            raise NotAnswered("the run has ended") from None
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), patience)
        except TimeoutError:
            raise NotAnswered(f"the run's loop has not turned for {patience:.0f} s") from None
        except asyncio.CancelledError:
            if future.cancelled():
                raise NotAnswered("the run has ended") from None
            raise
