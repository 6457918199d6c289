"""Runs a job in a daemon thread of its own, sharing memory with the strategy, as LEAN does.

A thread cannot be killed. One that does not stop when asked is left behind: counted, named, and
no obstacle to the next job or to the end of the process. Never the loop's default executor, whose
threads asyncio and the interpreter wait for.
"""

import asyncio
import contextlib
import threading
from collections.abc import Mapping

from runtime.training.control import JobControl
from runtime.training.isolation.base import JobResult, execute, failure
from runtime.training.isolation.footprint import FOOTPRINT
from runtime.training.isolation.launch import LAUNCHER
from runtime.training.jobs import JobId, JobRequest


def _deliver(
    loop: asyncio.AbstractEventLoop, done: "asyncio.Future[JobResult]", result: JobResult
) -> None:
    def deliver() -> None:
        if not done.done():  # the manager may have given the job up a moment ago
            done.set_result(result)

    with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits for it
        loop.call_soon_threadsafe(deliver)


class ThreadIsolation:
    """Starts one daemon thread a job."""

    kills = False

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards all: a thread ends while the loop gives it up
        self._alive: set[JobId] = set()  # from the moment they are asked for
        self._begun: set[JobId] = set()
        self._abandoned: dict[JobId, str] = {}

    def make_ready(self) -> None:
        """Have ready what starts threads."""
        LAUNCHER.make_ready()

    async def close(self) -> None:
        """Do nothing: what is left behind cannot be ended."""

    async def run(self, request: JobRequest, control: JobControl) -> JobResult:
        """Run the method to its end; being cancelled leaves the thread behind."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[JobResult] = loop.create_future()
        thread = threading.Thread(
            target=self._work,
            args=(request, control, loop, done),
            name=f"training {request.name}",
            daemon=True,
        )
        with self._lock:
            self._alive.add(request.id)

        def never_started(error: RuntimeError) -> None:
            with self._lock:
                self._alive.discard(request.id)
            _deliver(loop, done, failure(error))

        try:
            LAUNCHER.start(thread, never_started)
            return await done
        except RuntimeError as error:  # the system has no thread left
            with self._lock:
                self._alive.discard(request.id)
            return failure(error)
        except asyncio.CancelledError:
            control.ask_to_stop()  # whoever cancelled may not have asked
            with self._lock:
                if request.id in self._begun:
                    self._abandoned[request.id] = request.name
                else:
                    self._alive.discard(request.id)
            raise

    def pause(self, job: JobId) -> bool:
        """Return False: a thread cannot be frozen."""
        return False

    def resume(self, job: JobId) -> None:
        """Do nothing: a thread is never frozen."""

    def abandoned(self) -> Mapping[JobId, str]:
        """Return the jobs left behind whose threads still run, with their names."""
        with self._lock:
            return dict(self._abandoned)

    def _work(
        self,
        request: JobRequest,
        control: JobControl,
        loop: asyncio.AbstractEventLoop,
        done: asyncio.Future[JobResult],
    ) -> None:
        with self._lock:
            if request.id not in self._alive:
                return  # it was given up before it began
            self._begun.add(request.id)
        try:
            with FOOTPRINT.light():
                result = execute(request, control)
        except Exception as error:  # noqa: BLE001  # a fault around the method is no reason to hang
            result = failure(error)
        finally:
            with self._lock:
                self._alive.discard(request.id)
                self._begun.discard(request.id)
                self._abandoned.pop(request.id, None)
        _deliver(loop, done, result)
