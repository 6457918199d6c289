"""Runs jobs in worker processes: what a job does, however badly, happens to the worker only.

A job begins with a copy of the strategy, made on the event loop between two slices, and ends with a
result that is applied there, all of it or none. In between a thread follows it. A worker is kept
for the next job unless it died or something was left in it; another is then made ready at once.
"""

import asyncio
import concurrent.futures
import contextlib
import sys
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import numpy as np

from runtime.errors import StrategyError
from runtime.strategy import Context, Strategy
from runtime.training.control import JobControl, Line
from runtime.training.isolation.base import JobResult, failure
from runtime.training.isolation.footprint import FOOTPRINT
from runtime.training.isolation.launch import LAUNCHER
from runtime.training.isolation.messages import Prepare
from runtime.training.isolation.payload import Room
from runtime.training.isolation.pool import Hire, Pool
from runtime.training.isolation.session import Session
from runtime.training.isolation.transaction import class_at_top
from runtime.training.isolation.workers import Worker, WorkerDied, WorkerLimits
from runtime.training.jobs import JobId, JobRequest

SLOW_COPY_SECONDS = 0.05
LARGE_BYTES = 1 << 18
"""From so many bytes on the memory for a copy is made ready off the loop."""
SPARE_BYTES = 1 << 10
LOOKED_INTO = 1000
"""Containers of more things are not looked into for arrays."""
GIVE_UP_SECONDS = 6.0
"""How long a job's thread may take to end once its worker is killed."""
NOT_COPIED = "what the job works on could not be copied: "
Load = Callable[[Room | None], None]
"""Copies what a job works on, on the loop."""
Task = tuple[Prepare, Load | None, int]
"""What a worker imports; what is to be copied yet, and about how many bytes that is."""
Array = np.ndarray[Any, Any]


def arrays_in(value: object) -> list[Array]:
    """Return an attribute that is an array, or the arrays in one that holds some."""
    if isinstance(value, np.ndarray):
        return [value]
    if isinstance(value, list | tuple | dict) and len(value) <= LOOKED_INTO:
        held = value.values() if isinstance(value, dict) else value
        return [array for array in held if isinstance(array, np.ndarray)]
    return []


class ProcessIsolation:
    """Starts a thread a job, which follows it in a worker of the pool.

    Args:
        limits: what a worker may use.
        warm: have a worker ready from the start.
        hire: starts a worker; on this machine unless it is told otherwise.
        let_go: called after the last worker is buried.
    """

    kills = True

    def __init__(
        self,
        limits: WorkerLimits,
        *,
        warm: bool,
        hire: Hire = Worker,
        let_go: Callable[[], None] = lambda: None,
    ) -> None:
        self._limits = limits
        self._is_warm = warm
        self._pool = Pool(limits, hire)
        self._let_go = let_go
        self._of: tuple[Strategy, Context] | None = None
        self._sessions: dict[JobId, Session] = {}
        self._unportable: dict[str, tuple[object, str]] = {}
        self._named: set[str] = set()
        self._last_size = 0
        # Of another machine's memory nothing is known here.
        self._most = limits.memory() if hire is Worker else limits.memory_bytes
        self._left: dict[JobId, tuple[str, threading.Thread]] = {}

    def attach(self, strategy: Strategy, context: Context) -> None:
        """Say whose methods will be run, and what is behind it."""
        self._of = strategy, context

    def make_ready(self) -> None:
        """Start a worker in the background, where one will surely be needed."""
        LAUNCHER.make_ready()
        if self._is_warm:
            with contextlib.suppress(StrategyError):  # a job says it, if there is one
                self._pool.warm(self._preparation())

    async def close(self) -> None:
        """Bury all workers."""
        if self._pool.is_used:
            await anyio.to_thread.run_sync(self._pool.close)
            await anyio.to_thread.run_sync(self._let_go)

    async def run(self, request: JobRequest, control: JobControl) -> JobResult:
        """Run the method in a worker; being cancelled kills it."""
        session: Session | None = None
        try:
            prepare = self._preparation()
            session = self._sessions[request.id] = Session(*self._attached(), control)
            load: Load | None = partial(self._load, session, request, control)
            if (size := self._size()) < LARGE_BYTES:
                self._load(session, request, control, None)
                load = None
            return await self._follow(request, control, session, (prepare, load, size))
        except StrategyError as error:
            return JobResult(error=str(error))
        except OSError as error:
            return failure(error, NOT_COPIED)
        finally:
            if session is not None:
                del self._sessions[request.id]
                session.close()

    async def _follow(
        self, request: JobRequest, control: JobControl, session: Session, task: Task
    ) -> JobResult:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[JobResult] = loop.create_future()
        thread = threading.Thread(
            target=self._work,
            args=(session, task, loop, done),
            name=f"training {request.name}",
            daemon=True,
        )
        control.follow(session.ask)
        try:
            LAUNCHER.start(thread, lambda error: _deliver(loop, done, failure(error)))
            return await asyncio.shield(done)
        except RuntimeError as error:  # the system has no thread left
            return failure(error)
        except asyncio.CancelledError:
            session.kill()
            self._pool.wake()
            # As long as killing takes; a thread that is stuck in the author's code, which runs
            # while a result is unpickled, is left.
            with anyio.move_on_after(GIVE_UP_SECONDS, shield=True):
                await asyncio.wait([done])
            if not done.done():
                self._left[request.id] = (request.name, thread)
            raise
        finally:
            control.follow(lambda _: None)

    def pause(self, job: JobId) -> bool:
        """Freeze a running job with all that it has started."""
        session = self._sessions.get(job)
        if session is not None:
            session.hold()
        return session is not None

    def resume(self, job: JobId) -> None:
        """Let a frozen job go on."""
        session = self._sessions.get(job)
        if session is not None:
            session.release()

    def abandoned(self) -> Mapping[JobId, str]:
        """Return the jobs whose threads here are stuck; what runs in a process can be killed."""
        self._left = {job: left for job, left in self._left.items() if left[1].is_alive()}
        return {job: name for job, (name, _) in self._left.items()}

    # ---- on the loop -------------------------------------------------------------------------

    def _preparation(self) -> Prepare:
        strategy, _ = self._attached()
        cls = class_at_top(strategy)
        file = getattr(sys.modules[cls.__module__], "__file__", None)
        return Prepare(
            module=cls.__module__,
            file=None if file is None else str(Path(file).absolute()),
            qualname=cls.__qualname__,
            native_threads=self._limits.native_threads,
            result_bytes=self._limits.result_bytes,
        )

    def _size(self) -> int:
        """Guess the bytes that a job works on: what the last one had, or the arrays there are.

        Raises:
            StrategyError: the arrays alone are more than a worker may have.
        """
        strategy, _ = self._attached()
        known: set[int] = set()  # what has two names travels once
        sizes: dict[str, int] = {}
        for name, value in vars(strategy).items():
            fresh = [array for array in arrays_in(value) if id(array) not in known]
            known.update(map(id, fresh))
            sizes[name] = sum(array.nbytes + SPARE_BYTES for array in fresh)
        size, most = sum(sizes.values()), self._most
        if most is None:
            return max(self._last_size, size)
        if size > most:
            largest = max(sizes, key=sizes.__getitem__)
            raise StrategyError(
                f"the strategy's arrays have {size >> 20} MB, self.{largest} "
                f"most of all: a worker may use {most >> 20} MB (training.memory_mb)",
                "",
            )
        return min(max(self._last_size, size), most)

    def _load(
        self, session: Session, request: JobRequest, control: JobControl, room: Room | None
    ) -> None:
        """Copy what the job works on; say what stays behind, once each, and what takes long."""
        began = time.perf_counter()
        captured, self._last_size = session.load(request, self._unportable, room)
        took = time.perf_counter() - began
        for name in captured.missing.keys() - self._named:
            self._named.add(name)
            text = f"self.{name} is not there in the worker: it cannot be pickled"
            control.pass_on(Line("warning", text, {"reason": captured.missing[name]}))
        if took > SLOW_COPY_SECONDS and captured.attributes:
            text = (
                f"copying the strategy for a training held up the loop, self.{captured.heaviest} "
                "most of all: keep what is large in history, in a slot's model, or in arrays"
            )
            control.pass_on(Line("warning", text, {"spent_ms": round(took * 1000, 1)}))

    def _attached(self) -> tuple[Strategy, Context]:
        assert self._of is not None  # noqa: S101  # the assembly attaches it
        return self._of

    # ---- in the job's thread -----------------------------------------------------------------

    def _work(
        self,
        session: Session,
        task: Task,
        loop: asyncio.AbstractEventLoop,
        done: "asyncio.Future[JobResult]",
    ) -> None:
        prepare, load, size = task
        room: Room | None = None
        try:
            if load is not None:
                with FOOTPRINT.brisk():
                    room = Room(size)
                _on_loop(loop, partial(load, room))
            result = self._result(session, prepare)
        except StrategyError as error:
            result = JobResult(error=str(error))
        except OSError as error:
            result = failure(error, NOT_COPIED)
        except Exception as error:  # noqa: BLE001  # a fault around the job is no reason to hang
            result = failure(error, "the isolation broke: ")
        finally:
            if room is not None:
                room.close()
        _deliver(loop, done, result)

    def _result(self, session: Session, prepare: Prepare) -> JobResult:
        try:
            worker = self._pool.take(session, prepare)
        except WorkerDied as error:
            return JobResult(error=str(error))
        is_reusable = False
        try:
            result, is_reusable = session.perform(worker)
        except OSError as error:
            result = failure(error, "the isolation broke: ")
        finally:
            if is_reusable and not session.is_killed:
                self._pool.give_back(worker)
            else:
                worker.bury()
                self._pool.warm(prepare)
        return result


def _on_loop(loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> None:
    """Have something done on the loop, between two slices, and wait for it."""
    done: concurrent.futures.Future[None] = concurrent.futures.Future()

    def do() -> None:
        try:
            what()
        except BaseException as error:  # noqa: BLE001  # for who waits
            done.set_exception(error)
        else:
            done.set_result(None)

    loop.call_soon_threadsafe(do)
    done.result()


def _deliver(
    loop: asyncio.AbstractEventLoop, done: "asyncio.Future[JobResult]", result: JobResult
) -> None:
    def deliver() -> None:
        if not done.done():
            done.set_result(result)

    with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits for it
        loop.call_soon_threadsafe(deliver)
