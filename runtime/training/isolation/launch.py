"""Threads are started from a thread: who starts one waits until it runs, and the loop should not.

On a busy machine that wait is as long as the scheduler's slice, some ms.
"""

import queue
import threading
from collections.abc import Callable

OnFailure = Callable[[RuntimeError], None]


class Launcher:
    """The thread that starts others."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[tuple[threading.Thread, OnFailure]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._is_there = False

    def make_ready(self) -> None:
        """Start it, where it is not there yet.

        Raises:
            RuntimeError: the system has no thread left.
        """
        with self._lock:
            if not self._is_there:
                threading.Thread(target=self._work, name="launcher", daemon=True).start()
                self._is_there = True

    def start(self, thread: threading.Thread, on_failure: OnFailure) -> None:
        """Have a thread started soon; `on_failure` is told, in another thread, if it cannot be.

        Raises:
            RuntimeError: the system has no thread left.
        """
        self.make_ready()
        self._waiting.put((thread, on_failure))

    def _work(self) -> None:
        while True:
            thread, on_failure = self._waiting.get()
            try:
                thread.start()
            except RuntimeError as error:
                on_failure(error)
            del thread, on_failure  # they are not to be kept until the next ones come


LAUNCHER = Launcher()
"""Of this process."""
