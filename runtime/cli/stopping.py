"""A stop that comes before there is a loop that could hear it."""

import os
import threading
import warnings
from typing import NoReturn

from runtime.errors import Stopped

_stopped = threading.Event()


def stop_came_early() -> bool:
    """Say whether a stop has come already; a strategy's file may have swallowed it."""
    return _stopped.is_set()


def stop_before_start(_: int, __: object) -> NoReturn:
    """SIGTERM or Ctrl-C before the loop listens: nothing has begun, so the stop is clean."""
    if _stopped.is_set():
        os._exit(0)  # an author's `except BaseException` held up the first one
    _stopped.set()
    # A task that had been made and has not begun never will, which Python would tell on stderr.
    warnings.simplefilter("ignore", RuntimeWarning)
    raise Stopped(0)  # an author's `except Exception` does not hold it up
