"""The disk, off the event loop: one daemon thread does blocking work in order; files change whole.

A disk that hangs holds up nobody but those who wait for it, and never the end of the process.
"""

import asyncio
import contextlib
import os
import queue
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file whole, readable by its owner only: a reader finds the old or the new content.

    It is on the disk when this returns, also for a machine that loses power then.

    Raises:
        OSError: nothing has changed.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk: what was created, renamed or removed."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class DiskThread:
    """Does what it is given, one after the other, in a thread of its own.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._work: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def put(self, work: Callable[[], object]) -> None:
        """Have `work` done some time; from any thread. It must not raise."""
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
        self._work.put(work)

    async def run(self, work: Callable[[], T]) -> T:
        """Return what `work` returns or raise what it raises; being cancelled leaves it behind."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def answer(value: T | None, error: BaseException | None) -> None:
            if done.done():
                return
            if error is None:
                done.set_result(value)  # type: ignore[arg-type]  # T, where there is no error
            else:
                done.set_exception(error)

        def do() -> None:
            value, error = None, None
            try:
                value = work()
            except BaseException as raised:  # noqa: BLE001  # it is the caller's to handle
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits for it
                loop.call_soon_threadsafe(answer, value, error)

        self.put(do)
        return await done

    def close(self) -> None:
        """Let the thread end after what it was given; waits for nothing."""
        self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
