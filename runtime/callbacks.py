"""An author's code is called here; whatever it raises becomes one sentence with its place.

Callbacks are plain functions. Nothing that one raises is a message to the event loop: a
CancelledError or a SystemExit out of a callback is a failure like any other.
"""

import inspect
import traceback
from collections.abc import Callable
from typing import Protocol

from runtime.errors import StrategyError, TidegateError

TEXT_CHARS = 500
CALLBACKS = (
    "initialize",
    "on_data",
    "on_order_event",
    "on_feed_status",
    "on_warmup_finished",
    "on_end_of_algorithm",
)


class Watch(Protocol):
    """Told when a callback begins and ends; called on the loop, before and after each."""

    def enter(self, name: str) -> None:
        """Note that the callback of this name begins."""
        ...

    def leave(self) -> None:
        """Note that it has ended, in whatever way; once more does no harm."""
        ...


class Unwatched:
    """Lets every callback take its time."""

    def enter(self, name: str) -> None:
        """Do nothing."""

    def leave(self) -> None:
        """Do nothing."""


class Overtime(BaseException):
    """Raised inside a callback that has gone on for too long; the text says how long.

    Not an Exception, so that an author's `except Exception` does not keep it going.
    """


class Callbacks:
    """Calls the code of one author.

    Args:
        owner: the strategy's name, for messages.
        watch: told of each call.
    """

    def __init__(self, owner: str, watch: Watch) -> None:
        self._owner = owner
        self._watch = watch

    def call(self, name: str, callback: Callable[..., object], *args: object) -> None:
        """Run a callback to its end.

        Raises:
            StrategyError: it raised something, or was a coroutine after all.
        """
        try:
            try:
                self._watch.enter(name)
                returned = callback(*args)
            finally:
                self._watch.leave()
        except TidegateError as error:
            where = place(error, file_of(callback))
            raise StrategyError(f"{self._owner}.{name}: {error}{where}", name) from error
        except BaseException as error:  # a strategy may raise anything
            self._watch.leave()  # Overtime may have come while leaving
            if isinstance(error, Overtime):
                where = place(error, file_of(callback))
                raise StrategyError(f"{self._owner}.{name} {error}{where}", name) from error
            what = describe(error, file_of(callback))
            raise StrategyError(f"{self._owner}.{name} raised {what}", name) from error
        if returned is not None and (
            inspect.iscoroutine(returned) or inspect.isgenerator(returned)
        ):
            returned.close()
            raise _not_plain(f"{self._owner}.{name}", name)


def require_plain_callbacks(strategy: object) -> None:
    """Refuse a strategy with a callback that would never run.

    Raises:
        StrategyError: as `require_plain`.
    """
    for name in CALLBACKS:
        require_plain(type(strategy).__name__, name, getattr(strategy, name))


def require_plain(owner: str, name: str, callback: Callable[..., object]) -> None:
    """Refuse a callback whose code would never run when it is called.

    Raises:
        StrategyError: it is a coroutine function, or has a yield in it.
    """
    inner = inspect.unwrap(callback)
    if any(
        is_such(inner)
        for is_such in (
            inspect.iscoroutinefunction,
            inspect.isasyncgenfunction,
            inspect.isgeneratorfunction,
        )
    ):
        raise _not_plain(f"{owner}.{name}", "load")


def _not_plain(what: str, where: str) -> StrategyError:
    return StrategyError(
        f"{what} is a coroutine or has a yield in it, so its code would never run: write it with a "
        "plain def, without await and yield, and give what takes long to train",
        where,
    )


def describe(error: BaseException, file: str = "") -> str:
    """Say what was raised and where, in one line: "ValueError: no (momentum.py, line 12)".

    The line is the innermost one of `file`, where the error passed through it: a mistake shows in
    the author's line, not in the library that noticed it. Of a group, the first error is told.
    """
    first = error
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    try:
        text = " ".join(str(first).split())
    except Exception:  # noqa: BLE001  # an author's exception may be unable to say what it is
        text = ""
    if len(text) > TEXT_CHARS:
        text = f"{text[:TEXT_CHARS]}..."
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    what = f"{type(first).__name__}: {text}" if text else type(first).__name__
    return what + (place(first, file) or place(error, file))


def place(error: BaseException, file: str) -> str:
    """Return " (momentum.py, line 12)", or "" where the error was never raised."""
    places = [
        (frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    places = [place for place in places if place[0] == file] or places
    if not places:
        return ""
    name, line = places[-1]
    return f" ({name.rpartition('/')[2]}, line {line})"


def file_of(callback: Callable[..., object]) -> str:
    """The file that a callback is written in, behind any decorator."""
    code = getattr(inspect.unwrap(callback), "__code__", None)
    return code.co_filename if code is not None else ""
