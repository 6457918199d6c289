"""What may be asked of a run from another thread: each request is done on the run's own loop.

Whoever asks waits for the answer, for a bounded time: a loop that does not turn is told as that,
and what it has not begun by then is never done.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from runtime.control.board import Board
from runtime.control.snapshots import snapshot
from runtime.errors import ConfigError, RunFailed

if TYPE_CHECKING:
    from runtime.live import LiveRun

PATIENCE_SECONDS = 10.0
T = TypeVar("T")


class NotAnswered(RunFailed):
    """The run's loop did not take the request in time."""


class Operator:
    """Steers one run; its methods are awaited on any loop. `by` is who asks, for the log.

    Made on the run's own loop. `keep_halt` stores why no order may leave, for the next run; it may
    block.

    Raises:
        NotAnswered: the run's loop does not turn, or has ended; it says what is not done.
        ConfigError: what was asked for is not there.
    """

    def __init__(self, run: "LiveRun", board: Board, keep_halt: Callable[[str], None]) -> None:
        self._run = run
        self._board = board
        self._keep_halt = keep_halt
        self._loop = asyncio.get_running_loop()

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

    async def _ask(self, do: Callable[[], Coroutine[Any, Any, T]]) -> T:
        claim = _Claim()

        async def done() -> T:
            if not claim.take():
                raise NotAnswered("withdrawn")  # nobody hears it
            came = await do()
            self._board.snapshot = snapshot(self._run)  # whoever asked sees what has come of it
            return came

        try:
            future = asyncio.run_coroutine_threadsafe(done(), self._loop)
        except RuntimeError:
            raise NotAnswered("the run has ended") from None
        try:
            # Shielded: what has begun is not cut off in its middle, also where nobody waits.
            return await asyncio.wait_for(
                asyncio.shield(asyncio.wrap_future(future)), PATIENCE_SECONDS
            )
        except TimeoutError:
            future.add_done_callback(_forget)
            stuck = f"the run's loop has not answered for {PATIENCE_SECONDS:.0f} s"
            if claim.take():
                raise NotAnswered(f"{stuck}: nothing is done, ask again") from None
            raise NotAnswered(f"{stuck}: it has begun and may still be done") from None
        except asyncio.CancelledError:
            if future.cancelled():
                raise NotAnswered("the run has ended") from None
            raise


class _Claim:
    """Taken once: by the loop that does what was asked, or by who gives up waiting for it."""

    def __init__(self) -> None:
        self._free = threading.Lock()

    def take(self) -> bool:
        """Say whether it was still there."""
        return self._free.acquire(blocking=False)


def _forget(future: Future[Any]) -> None:
    """Look at how it ended, so that nothing says that nobody did."""
    if not future.cancelled():
        future.exception()
