"""While a training thread runs the whole process treads lightly; after the last one, as before.

The interpreter switches threads often, so the event loop gets its turn soon, and native libraries
(BLAS, OpenMP) compute in one thread each. Both belong to the process, so they are counted in one
place for all threads. A library that a job is the first to load is limited from the next job on.
"""

import gc
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from threadpoolctl import (  # type: ignore[import-untyped]
    OpenBLASController,
    ThreadpoolController,
)

SWITCH_INTERVAL_SECONDS = 0.00001
"""It costs a training thread only when the loop wants its turn; of 200 and 10 microseconds the
second took the p99 of a tick beside a pure-Python job from 5.0 to 1.3 ms."""


class Footprint:
    """Counts the threads that want the process light."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads = self._brisk = self._taking = 0
        self._collects = True
        self._interval = 0.0
        self._native: dict[str, int] = {}  # library file -> its threads before the first limit

    @contextmanager
    def brisk(self) -> Iterator[None]:
        """Have threads switched often while the body runs."""
        with self._lock:
            self._brisk += 1
            if self._brisk == 1:
                self._interval = sys.getswitchinterval()
                sys.setswitchinterval(min(self._interval, SWITCH_INTERVAL_SECONDS))
        try:
            yield
        finally:
            with self._lock:
                self._brisk -= 1
                if self._brisk == 0:
                    sys.setswitchinterval(self._interval)

    @contextmanager
    def taking_in(self) -> Iterator[None]:
        """Have objects made in large numbers while the body runs: briskly, and not collected.

        The collector would look at all of them again and again, with every other thread standing.
        """
        with self.brisk():
            with self._lock:
                self._taking += 1
                if self._taking == 1:
                    self._collects = gc.isenabled()
                    gc.disable()
            try:
                yield
            finally:
                with self._lock:
                    self._taking -= 1
                    if self._taking == 0 and self._collects:
                        gc.enable()

    @contextmanager
    def light(self) -> Iterator[None]:
        """Keep the process light while the body runs; to be entered in the training thread.

        OpenMP's limit belongs to the thread that sets it, so every thread sets its own.
        """
        with self.brisk():
            with self._lock:
                self._threads += 1
            try:
                self._limit()
                yield
            finally:
                with self._lock:
                    self._threads -= 1
                    if self._threads == 0:
                        self._restore()

    def _limit(self) -> None:
        with self._lock:
            for library in _libraries():
                self._native.setdefault(library.filepath, library.get_num_threads())
                library.set_num_threads(1)

    def _restore(self) -> None:
        originals, self._native = self._native, {}
        for library in _libraries():
            if library.filepath in originals:
                library.set_num_threads(originals[library.filepath])
        OpenBLASController.clear_controlling_thread(force=True)


def _libraries() -> list[Any]:
    """Return the native libraries loaded by now, each ready to be set by this thread.

    threadpoolctl lets only the first thread that ever set OpenBLAS set it again, and is silent
    about it; but here it is often another thread that limits, and the last one that restores.
    """
    OpenBLASController.clear_controlling_thread(force=True)
    controllers: list[Any] = ThreadpoolController().lib_controllers
    return controllers


FOOTPRINT = Footprint()
"""Of this process."""
