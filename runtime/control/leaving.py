"""How the process ends: with its own code, whatever still runs or can't be said any more."""

import os
import sys
import threading
from contextlib import suppress
from typing import NoReturn

from runtime.redaction import KNOWN

FLUSH_SECONDS = 1.0
HELD_SECONDS = 4.0
_last_word = threading.Lock()  # taken by the first that gives up waiting, and never given back


def leave(code: int, *, at_once: bool = False, words: str = "") -> NoReturn:
    """Leave with this code, even where what is left to say can't be said any more.

    The interpreter's own last flush would fail on a full disk, and never end on a pipe that nobody
    reads; neither is a failure of the run.
    """
    said = threading.Event()

    def flush() -> None:
        with suppress(OSError, ValueError):
            sys.stderr.write(KNOWN.hide(words))
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
            said.set()

    threading.Thread(target=flush, name="last-words", daemon=True).start()
    if not said.wait(FLUSH_SECONDS) or at_once:
        os._exit(code)
    see_out(code)
    sys.exit(code)


def see_out(code: int) -> None:
    """Have the process leave with `code` a few seconds from now, if it has not by then.

    An author's threads, tasks and exit handlers may hold up the interpreter for ever.
    """
    ours = {threading.main_thread(), threading.current_thread()}

    def watch() -> None:
        threading.Event().wait(HELD_SECONDS)
        if not _last_word.acquire(blocking=False):
            return
        held = [f"thread {t.name}" for t in threading.enumerate() if not t.daemon and t not in ours]
        what = ", ".join(held) or "a task or an exit handler that did not end"
        leave(code, at_once=True, words=f"tidegate: left without {what}\n")

    threading.Thread(target=watch, name="see-out", daemon=True).start()
