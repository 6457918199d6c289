"""A thread that looks whether the loop still turns, for the loop cannot tell when it does not.

A callback that goes on for too long is shown with its stack, then interrupted: a signal to the main
thread raises inside it, which ends a Python loop and a wait. One that goes on all the same (a
blocked C call, an author's `except BaseException`) is left, and the process with it. A C call that
keeps the interpreter to itself stops this thread too: then faulthandler, which needs none,
shows the stacks and ends the process.
"""

import faulthandler
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from structlog.typing import FilteringBoundLogger

from feeds.events import SECOND
from runtime.callbacks import Callbacks, Overtime
from runtime.timeslice import Timeslice, Verdict

INTERRUPT = signal.SIGURG
"""Ignored unless someone listens, and used by nobody else."""
STARVED_SECONDS = 5.0
"""How much longer than its limits a callback may keep this thread itself from running."""
OURS = Callbacks.call.__code__


class Watchdog:
    """Watches one timeslice after the other.

    Args:
        timeslice: what the loop tells of itself.
        owner: the strategy's name, for messages.
        log: where it is told, from the thread.
        period: seconds between two looks.
        settle: called before each look: bills training that runs inside a callback.
        leave: called with one sentence where nothing else helps; it ends the process. None: the
            callback is interrupted again and again.
    """

    def __init__(
        self,
        timeslice: Timeslice,
        *,
        owner: str,
        log: FilteringBoundLogger,
        period: float,
        settle: Callable[[], None],
        leave: Callable[[str], None] | None,
    ) -> None:
        self.timeslice = timeslice
        self._owner = owner
        self._log = log
        self._period = period
        self._settle = settle
        self._leave = leave
        self._done = threading.Event()
        self._main = threading.get_ident()
        self._wanted = -1  # the serial of the callback to be interrupted
        self._why = ""

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the calling thread, which must be the main one, until the end of the context."""
        self._main = threading.get_ident()
        before = signal.signal(INTERRUPT, self._interrupt)
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        try:
            yield
        finally:
            self._done.set()
            faulthandler.cancel_dump_traceback_later()
            signal.signal(INTERRUPT, before or signal.SIG_DFL)

    # ---- in the main thread ------------------------------------------------------------------

    def _interrupt(self, _: int, __: object) -> None:
        """Raise inside the callback, unless it has just ended."""
        if self.timeslice.name is not None and self.timeslice.serial == self._wanted:
            raise Overtime(self._why)

    # ---- in the thread -----------------------------------------------------------------------

    def _watch(self) -> None:
        last = time.monotonic_ns()
        longest = round(2 * self._period * SECOND)  # the process may have been stopped meanwhile
        while not self._done.wait(self._period):
            self._keep_alive()
            now = time.monotonic_ns()
            self._settle()
            verdict = self.timeslice.look(min(now - last, longest))
            last = now
            if verdict is not None and not self._done.is_set():
                self._act(verdict)

    def _keep_alive(self) -> None:
        """Put off the end that comes where this thread cannot run any more."""
        if self._leave is not None:
            longest = self.timeslice.longest_ns / SECOND
            faulthandler.dump_traceback_later(longest + STARVED_SECONDS, exit=True)

    def _act(self, verdict: Verdict) -> None:
        name, serial = self.timeslice.name, self.timeslice.serial
        frame = sys._current_frames().get(self._main)
        what = "the event loop" if name is None else f"{self._owner}.{name}"
        place, stack = _author_of(frame) if name is not None else ("", _stack(frame))
        seconds = round(self.timeslice.stuck_ns / SECOND, 1)
        match verdict:
            case Verdict.TELL:
                self._log.warning(
                    "callback hangs", callback=what, seconds=seconds, at=place, traceback=stack
                )
            case Verdict.INTERRUPT:
                self._why, self._wanted = self.timeslice.why(), serial
                if self.timeslice.interrupts == 1:
                    self._log.error(
                        "callback interrupted",
                        callback=what,
                        seconds=seconds,
                        at=place,
                        traceback=stack,
                    )
                signal.pthread_kill(self._main, INTERRUPT)
            case Verdict.LEAVE if self._leave is not None:
                at = f" ({place})" if place else ""
                sentence = f"{what} {self.timeslice.why()}, and the process is left without it{at}"
                self._log.error("left", reason=sentence, seconds=seconds, traceback=stack)
                self._leave(sentence)
            case Verdict.LEAVE:
                self._wanted = serial
                signal.pthread_kill(self._main, INTERRUPT)


def _author_of(frame: FrameType | None) -> tuple[str, str]:
    """Return the author's line that runs, "mine.py, line 5", and the stack from the callback on."""
    frames: list[FrameType] = []
    while frame is not None and frame.f_code is not OURS:
        frames.append(frame)
        frame = frame.f_back
    if frame is None:
        return "", ""  # between two callbacks
    own = OURS.co_filename.rpartition("/")[0]
    authors = [each for each in frames if not each.f_code.co_filename.startswith(own)]
    if not authors:
        return "", _stack(frames[0] if frames else None)
    file = authors[-1].f_code.co_filename
    line = next(each.f_lineno for each in authors if each.f_code.co_filename == file)
    summary = traceback.StackSummary.extract((each, each.f_lineno) for each in reversed(frames))
    return f"{file.rpartition('/')[2]}, line {line}", "".join(summary.format())


def _stack(frame: FrameType | None) -> str:
    return "".join(traceback.format_stack(frame)) if frame is not None else ""
