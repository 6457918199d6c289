"""Lines leave the loop as text and are written by threads: a blocked pipe never blocks trading.

A value too large for a line is cut, secrets are hidden, the same line over and over is counted
rather than told. Text on a terminal, JSON lines elsewhere; `at` is engine time where that is not
now.
"""

import os
import reprlib
import sys
import threading
import time
import traceback
from collections.abc import Callable, Container, Hashable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import structlog
from structlog.typing import FilteringBoundLogger, Processor

from feeds.errors import ConfigError
from runtime.control.repeats import Repeated, Repeats
from runtime.control.rotation import LogFile
from runtime.control.sinks import Sink, Sinks, file_sink, stream_sink
from runtime.printable import printable
from runtime.redaction import KNOWN
from runtime.settings import LogSettings

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
# Words with a meaning of their own on the way to a line: an author's field of that name gets a "_".
OUR_WORDS = frozenset(
    {
        *("self", "method_name", "event", "level", "timestamp", "run", "strategy"),
        *("exc_info", "exception", "traceback", "stack", "stack_info"),
    }
)
Tap = Callable[[str, str, Mapping[str, Any]], None]
Renderer = Callable[[str, MutableMapping[str, Any]], str]
PLAIN = (str, int, float, bool, type(None))
VALUE_CHARS = 20_000
VALUE_PARTS = 1_000
MEGABYTE = 1_000_000


def free_names(fields: Mapping[str, object], taken: Container[str] = ()) -> dict[str, object]:
    """Return an author's fields under names that are neither ours nor `taken`."""
    named: dict[str, object] = {}
    for key, value in fields.items():
        name = key
        while name in OUR_WORDS or name in taken or name in named:
            name += "_"
        named[name] = value
    return named


class _QueueLogger:
    """The end of structlog's chain: each place gets the line as it is shown there."""

    def __init__(self, shown: list[tuple[Renderer, Sink]]) -> None:
        self._shown = shown

    def info(self, level: str, event: Mapping[str, Any]) -> None:
        """Queue one line."""
        is_grave = LEVELS[level] >= LEVELS["warning"]
        for render, sink in self._shown:
            sink.put(render(level, dict(event)), grave=is_grave)

    debug = warning = error = info


def _short(text: str) -> str:
    """Hide what is secret, and cut what is long."""
    if len(text) <= VALUE_CHARS:
        return KNOWN.hide(text)
    return f"{KNOWN.hide_cut(text, VALUE_CHARS)}... ({len(text)} characters)"


def _text(value: object) -> str:
    try:
        return _short(str(value))
    except Exception:  # noqa: BLE001  # a value that cannot be shown does not end the run
        return f"<{type(value).__name__}>"


class _Excerpt(reprlib.Repr):
    """Shows a few of many parts, and no part of a secret."""

    def repr_str(self, text: str, level: int) -> str:
        return super().repr_str(_short(text), level)

    def repr_instance(self, value: object, level: int) -> str:
        return super().repr_str(_text(value), level)


_excerpt = _Excerpt().repr


def _cut(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Keep a line within bounds: rendering a million numbers would hold up the loop.

    What an exception says is text from here on, without the values of its variables.
    """
    raised = event.get("exc_info")
    if isinstance(raised, BaseException):
        del event["exc_info"]
        event["traceback"] = "".join(traceback.format_exception(raised))
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = _short(value)
        elif (
            isinstance(value, list | tuple | set | frozenset | dict) and _parts(value) > VALUE_PARTS
        ):
            event[key] = f"{_excerpt(value)} ({len(value)} at the top)"
        elif isinstance(value, int) and value.bit_length() > VALUE_PARTS:
            event[key] = _short(hex(value))  # Python has no decimal text for a huge one
    return event


def _parts(value: object) -> int:
    """Count what a collection holds, itself included; of more than VALUE_PARTS, only so many."""
    pending, count = [value], 0
    while pending and count <= VALUE_PARTS:
        each = pending.pop()
        count += 1
        if isinstance(each, list | tuple | set | frozenset):
            pending += islice(each, VALUE_PARTS)
        elif isinstance(each, dict):
            pending += islice(each.values(), VALUE_PARTS)
        elif isinstance(each, str):
            count += len(each) // 1000
    return count


def _tapped(tap: Tap) -> Processor:
    def told(_: object, level: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        fields = {key: _kept(value) for key, value in event.items() if key != "event"}
        tap(level, _text(event["event"]), fields)
        return event

    return told


def _kept(value: object) -> object:
    """Return a value that nobody changes later: as it is, or as text."""
    return value if type(value) in PLAIN else _text(value)


def _plain_values(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Show money and enums as people write them; a terminal shows one run, so not its name."""
    event.pop("run", None)
    event.pop("strategy", None)
    if "traceback" in event:
        event["exception"] = event.pop("traceback")  # the renderer's word for several lines
    for key, value in event.items():
        is_plain = type(value) in PLAIN  # a subclass may show itself otherwise, as an Enum does
        if key in {"exception", "stack"} or not (is_plain or key == "exc_info"):
            event[key] = _text(value)  # the renderer takes those two for text
    return event


def _no_control_characters(
    _: object, __: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Keep a log line one line: what a strategy or a venue says can't steer a terminal."""
    for key in [key for key in event if not key.isprintable()]:
        event[printable(key)] = event.pop(key)
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[key] = printable(value, allowed="\n" if key == "exception" else "")
    return event


class _Counted:
    """Holds back the same line over and over, and tells how often it came."""

    def __init__(self, most: int, tell: Callable[[Repeated], None]) -> None:
        self._repeats = Repeats(most)
        self._tell = tell
        self._looking = threading.Lock()  # lines come from the loop, from jobs and the watchdog

    def __call__(
        self, _: object, level: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Let a line pass, or not."""
        now = time.monotonic_ns()
        with self._looking:
            may_pass = self._repeats.may_pass(_same(level, event), _text(event["event"]), now)
            due = self._repeats.due(now)
        for each in due:
            self._tell(each)
        if not may_pass:
            raise structlog.DropEvent
        return event

    def rest(self) -> None:
        """Tell what was not told yet."""
        with self._looking:
            rest = self._repeats.rest()
        for each in rest:
            self._tell(each)


def _same(level: str, event: Mapping[str, Any]) -> Hashable:
    """Return what is equal for the same line: of its level and all that it says, nothing kept."""
    return hash((level, *((key, _kept(value)) for key, value in event.items())))


@contextmanager
def open_log(
    settings: LogSettings, stream: TextIO | None = None, tap: Tap | None = None
) -> Iterator[tuple[FilteringBoundLogger, Sinks]]:
    """Give a logger that never blocks its caller, and where its lines go.

    Args:
        settings: level, format, file.
        stream: where lines go, stdout by default.
        tap: told each line as well: its level, event and fields, which are plain values.

    Raises:
        ConfigError: log.file cannot be opened.
    """
    stream = stream or sys.stdout
    file = _file(settings)
    shown = [
        (
            _renderer(_as_text(settings, stream), _has_colours(stream)),
            stream_sink(stream, "stderr" if stream is sys.stderr else "stdout"),
        )
    ]
    if file is not None:
        shown.append((_renderer(settings.format == "text", colours=False), file_sink(file)))
    sinks = Sinks([sink for _, sink in shown], LEVELS[settings.level])

    def loud_enough(
        _: object, level: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        if LEVELS[level] < sinks.least:
            raise structlog.DropEvent
        return event

    def wrapped(*between: Processor) -> FilteringBoundLogger:
        logger: FilteringBoundLogger = structlog.wrap_logger(
            _QueueLogger(shown),
            processors=[
                *(loud_enough, _cut, *between, *([_tapped(tap)] if tap else [])),
                lambda _, level, event: ((level, event), {}),
            ],
            # All levels: which are told may change while the run goes on.
            wrapper_class=structlog.make_filtering_bound_logger(LEVELS["debug"]),
            cache_logger_on_first_use=True,
        )
        return logger

    plain = wrapped()
    counted = _Counted(
        settings.repeats,
        lambda each: plain.warning("the same line came again", line=each.event, count=each.count),
    )
    try:
        yield (wrapped(counted) if settings.repeats else plain), sinks
    finally:
        if not sinks.is_closed:
            counted.rest()
            sinks.close()


def _file(settings: LogSettings) -> LogFile | None:
    if settings.file is None:
        return None
    try:
        return LogFile(Path(settings.file), settings.file_mb * MEGABYTE)
    except OSError as error:
        raise ConfigError(f"log.file is {settings.file}: {error.strerror}") from None


def _as_text(settings: LogSettings, stream: TextIO) -> bool:
    return settings.format == "text" or (settings.format == "auto" and stream.isatty())


def _has_colours(stream: TextIO) -> bool:
    """Say whether colours are wanted: on a terminal that can, unless NO_COLOR says otherwise."""
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return wanted and stream.isatty()


def _renderer(as_text: bool, colours: bool) -> Renderer:
    """Return what makes one line of an event."""
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _head_first,
        _json,
    ]
    if as_text:
        processors = [
            _plain_values,
            _no_control_characters,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(
                colors=colours,
                pad_event_to=28,
                sort_keys=False,
                exception_formatter=structlog.dev.plain_traceback,
            ),
        ]

    def render(level: str, event: Any) -> str:
        for process in processors:
            event = process(None, level, event)
        return str(event)

    return render


def _head_first(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put when, how grave and what before the rest: a line is read from its left."""
    head = {key: event.pop(key) for key in ("timestamp", "level", "event")}
    return {**head, **event}


_STRICT_JSON = structlog.processors.JSONRenderer(default=_text, allow_nan=False)


def _json(logger: object, name: str, event: MutableMapping[str, Any]) -> str | bytes:
    """Render any event; what JSON has no word for, such as NaN, becomes text."""
    try:
        return _STRICT_JSON(logger, name, event)
    except (TypeError, ValueError, RecursionError):
        return _STRICT_JSON(logger, name, {key: _text(value) for key, value in event.items()})
