"""Where lines end up: each place has a queue and a thread of its own, so none waits for another.

A queue is bounded; what does not fit is dropped and counted, and the count is told in the next
line that fits; warnings and errors have room of their own. A place that cannot be written to (a
full disk, a closed pipe) costs its own lines and nothing else, and says what is wrong with it.
"""

import json
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TextIO

from runtime.control.board import LogPlace
from runtime.control.rotation import LogFile
from runtime.redaction import KNOWN

QUEUE_LINES = 10_000
GRAVE_LINES = 50_000
"""Bound of the queue for warnings and errors: a storm of signals must find room."""
DRAIN_SECONDS = 2.0
STUCK_NS = 2_000_000_000
"""A write that takes longer is told as trouble: nobody reads the pipe, or the disk hangs."""


class Sink:
    """Writes lines to one place from a thread of its own.

    The thread also calls `at_end`: a file that blocks its writer would block whoever else closes
    it.

    Args:
        name: what metrics and the API call it.
        write: takes one line with its end; may block, may raise OSError or ValueError.
        at_end: called once, after the last line.
        reopen: opens it anew, as `write` may block and fail; None where that means nothing.
    """

    def __init__(
        self,
        name: str,
        write: Callable[[str], None],
        at_end: Callable[[], None] = lambda: None,
        reopen: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self.written = self.dropped = 0
        self._write, self._at_end, self._reopen = write, at_end, reopen
        self._told = 0
        self._trouble = ""
        self._busy_since: int | None = None  # monotonic ns; written by the thread only
        self._counting = threading.Lock()
        self._items: queue.SimpleQueue[str | Callable[[], None] | None] = queue.SimpleQueue()
        # Daemon: a stream that nobody reads must not keep the process from leaving.
        self._thread = threading.Thread(target=self._run, name=f"log-{name}", daemon=True)
        self._thread.start()

    def put(self, line: str, *, grave: bool = False) -> None:
        """Queue one line; never blocks. A grave one has room where others have none."""
        with self._counting:
            if self._items.qsize() >= QUEUE_LINES + GRAVE_LINES * grave:
                self.dropped += 1
                return
            missing, self._told = self.dropped - self._told, self.dropped
        if missing:
            self._items.put(json.dumps({"event": "log lines dropped", "count": missing}))
        self._items.put(line)

    def reopen(self) -> None:
        """Have it opened anew by the thread, after what is queued; never blocks."""
        if self._reopen is not None:
            self._items.put(self._reopen)

    def statistics(self) -> LogPlace:
        """Return how it stands; from any thread."""
        trouble, since = self._trouble, self._busy_since
        if since is not None and (stuck := time.monotonic_ns() - since) > STUCK_NS:
            trouble = f"it has not taken a line for {stuck / 1e9:.0f} s"
        return LogPlace(self.name, self.written, self.dropped, self._items.qsize(), trouble)

    def end(self) -> None:
        """Let the thread end after what is queued; waits for nothing."""
        self._items.put(None)

    def wait(self, seconds: float) -> bool:
        """Wait so long for its end; whether all is written."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (item := self._items.get()) is not None:
            self._busy_since = time.monotonic_ns()
            try:
                if isinstance(item, str):
                    self._write(KNOWN.hide(item) + "\n")
                    self.written += 1
                else:
                    item()
                self._trouble = ""
            except (OSError, ValueError) as error:  # a full disk does not end the run
                self._trouble = (error.strerror if isinstance(error, OSError) else "") or str(error)
                if isinstance(item, str):
                    with self._counting:
                        self.dropped += 1
            finally:
                self._busy_since = None
        with suppress(OSError, ValueError):
            self._at_end()


class Sinks:
    """All the places that lines of one log go to.

    Attributes:
        least: lines below this level go nowhere; it may be changed at any time.
    """

    def __init__(self, sinks: Iterable[Sink], least: int = 0) -> None:
        self.least = least
        self.is_closed = False
        self._sinks = tuple(sinks)

    def __iter__(self) -> Iterator[Sink]:
        return iter(self._sinks)

    @property
    def dropped(self) -> int:
        """Lines that were dropped, over all places."""
        return sum(sink.dropped for sink in self._sinks)

    def statistics(self) -> tuple[LogPlace, ...]:
        """Return how each place stands; from any thread."""
        return tuple(sink.statistics() for sink in self._sinks)

    def reopen(self) -> None:
        """Open the files anew, by their threads: what was moved away is left behind."""
        for sink in self._sinks:
            sink.reopen()

    def close(self) -> bool:
        """Write what is queued, for at most two seconds in all; whether all of it is written."""
        self.is_closed = True
        for sink in self._sinks:
            sink.end()
        until = time.monotonic() + DRAIN_SECONDS
        ended = [sink.wait(max(0.0, until - time.monotonic())) for sink in self._sinks]
        return all(ended)


def stream_sink(stream: TextIO, name: str = "stdout") -> Sink:
    """Return a sink of a stream that somebody else has opened and closes."""

    def write(line: str) -> None:
        stream.write(line)
        stream.flush()

    return Sink(name, write)


def file_sink(file: LogFile, name: str = "file") -> Sink:
    """Return a sink of a file, which it closes."""
    return Sink(name, file.write, file.close, file.reopen)
