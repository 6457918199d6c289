"""Runs the cells, so many at once, each in a process that may crash, hang or be killed.

Each is a fresh interpreter: no cell leaves anything behind for another, and none is forked from a
process that has threads.
"""

import math
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec

from runtime.sweep.cell import Task
from runtime.sweep.grid import CellResult

CHUNK = 1 << 16
COMMAND = "from runtime.sweep.cell import main; main()"


class _Running(msgspec.Struct, eq=False):
    """One cell that runs; `until` is its deadline, monotonic seconds."""

    task: Task
    process: subprocess.Popen[bytes]
    until: float
    heard: bytes = b""
    is_silent: bool = False

    @property
    def has_answered(self) -> bool:
        return self.heard.endswith(b"\n")


class Pool:
    """Runs tasks to their end; `stop` may be called from a signal's handler.

    Args:
        workers: how many run at once.
        timeout: seconds after which a cell has failed; None is never.
    """

    def __init__(self, workers: int, timeout: float | None = None) -> None:
        self._workers = workers
        self._timeout = math.inf if timeout is None else timeout
        self._running: list[_Running] = []
        self._selector = selectors.DefaultSelector()
        self._heard, self._told = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._selector.register(self._heard, selectors.EVENT_READ)
        self._is_stopping = False

    def stop(self) -> None:
        """Kill what runs and start nothing more; what is not done stays undone."""
        self._is_stopping = True
        os.write(self._told, b"!")

    def run(self, tasks: Sequence[Task], on_result: Callable[[CellResult], None]) -> None:
        """Run all tasks, in their order, and tell of each as it ends.

        Raises:
            OSError: no process can be started.
        """
        left = list(reversed(tasks))
        try:
            while (left or self._running) and not self._is_stopping:
                while left and len(self._running) < self._workers:
                    self._running.append(self._start(left.pop()))
                self._listen()
                now = time.monotonic()
                for each in list(self._running):
                    if each.has_answered or each.is_silent or each.until <= now:
                        self._running.remove(each)
                        on_result(self._end(each))
        finally:
            for each in self._running:
                self._bury(each)
            self._running = []
            self._selector.close()
            os.close(self._heard)
            os.close(self._told)

    def _start(self, task: Task) -> _Running:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", COMMAND, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us, and what it starts ends with it
        )
        running = _Running(task, process, time.monotonic() + self._timeout)
        assert process.stdin is not None  # noqa: S101  # as asked
        with suppress(BrokenPipeError), process.stdin:  # one that has died already is heard of
            process.stdin.write(msgspec.json.encode(task))
        self._selector.register(process.stdout, selectors.EVENT_READ, running)  # type: ignore[arg-type]
        return running

    def _listen(self) -> None:
        """Wait until a cell says something, one is late, or `stop` is called."""
        soonest = min(each.until for each in self._running)
        left = None if soonest == math.inf else max(0.0, soonest - time.monotonic())
        for key, _ in self._selector.select(left):
            if isinstance(key.data, _Running):
                chunk = os.read(key.fd, CHUNK)
                key.data.heard += chunk
                key.data.is_silent = not chunk

    def _end(self, each: _Running) -> CellResult:
        cell = dict(each.task.cell)
        if each.has_answered:
            self._bury(each)
            return msgspec.json.decode(each.heard, type=CellResult)
        if each.is_silent:
            return CellResult(cell, "failed", _death(self._bury(each)))
        self._bury(each)
        return CellResult(
            cell, "failed", f"it was not done after {self._timeout:g} s, and was killed"
        )

    def _bury(self, each: _Running) -> int:
        """Kill what is left of a cell and return its exit code."""
        process = each.process
        assert process.stdout is not None  # noqa: S101  # as asked
        self._selector.unregister(process.stdout)
        process.stdout.close()
        if each.is_silent and not each.has_answered:
            with suppress(subprocess.TimeoutExpired):  # it has let go of its end: it is leaving
                process.wait(1.0)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return process.wait()


def _death(code: int) -> str:
    if code >= 0:
        return f"its process ended without a result (exit code {code})"
    name = signal.Signals(-code).name
    hint = ": was there too little memory?" if name == "SIGKILL" else ""
    return f"its process was ended by {name}{hint}"
