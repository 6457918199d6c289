"""Lines leave the loop as text and are written by a thread: a blocked pipe never blocks trading.

The queue is bounded; what does not fit is dropped and counted, and the count is told in the next
line that fits; warnings and errors have room of their own. A value too large for a line is cut.
Text on a terminal, JSON lines elsewhere; `at` is engine time where that is not now.
"""

import json
import queue
import reprlib
import sys
import threading
from collections.abc import Callable, Container, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import structlog
from structlog.typing import FilteringBoundLogger, Processor

from feeds.errors import ConfigError
from runtime.settings import LogSettings

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
# Words with a meaning of their own on the way to a line: an author's field of that name gets a "_".
OUR_WORDS = frozenset(
    {
        *("self", "method_name", "event", "level", "timestamp", "run"),
        *("exc_info", "exception", "traceback", "stack", "stack_info"),
    }
)
Tap = Callable[[str, str, Mapping[str, Any]], None]
QUEUE_LINES = 10_000
GRAVE_LINES = 50_000
"""Bound of the queue for warnings and errors: a storm of signals must find room."""
PLAIN = (str, int, float, bool, type(None))
VALUE_CHARS = 20_000
VALUE_PARTS = 1_000
DRAIN_SECONDS = 2.0


def free_names(fields: Mapping[str, object], taken: Container[str] = ()) -> dict[str, object]:
    """Return an author's fields under names that are neither ours nor `taken`."""
    named: dict[str, object] = {}
    for key, value in fields.items():
        name = key
        while name in OUR_WORDS or name in taken or name in named:
            name += "_"
        named[name] = value
    return named


class LineWriter:
    """Writes lines to streams from a thread of its own.

    `dropped` counts lines that found the queue full, or a stream that refused them. The thread
    also calls `at_end`: a file that blocks its writer would block whoever else closes it.
    """

    def __init__(
        self, write: list[Callable[[str], None]], at_end: Callable[[], None] | None = None
    ) -> None:
        self.dropped = 0
        self.is_closed = False
        self._at_end = at_end
        self._told = 0
        self._write = write
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        # Daemon: a stream that nobody reads must not keep the process from leaving.
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        """Queue one line; never blocks."""
        self._put(line, QUEUE_LINES)

    def put_grave(self, line: str) -> None:
        """Queue a line that has room where others have none."""
        self._put(line, QUEUE_LINES + GRAVE_LINES)

    def _put(self, line: str, bound: int) -> None:
        if self._lines.qsize() >= bound:
            self.dropped += 1
            return
        if self.dropped > self._told:
            missing, self._told = self.dropped - self._told, self.dropped
            self._lines.put(json.dumps({"event": "log lines dropped", "count": missing}))
        self._lines.put(line)

    def close(self) -> bool:
        """Write what is queued, for at most two seconds; whether all of it is written."""
        self.is_closed = True
        self._lines.put(None)
        self._thread.join(DRAIN_SECONDS)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            for write in self._write:
                try:
                    write(line + "\n")
                except (OSError, ValueError):
                    self.dropped += 1  # a full disk or a closed pipe does not end the run
        if self._at_end is not None:
            with suppress(OSError):
                self._at_end()


class _QueueLogger:
    """The end of structlog's chain: every level is one rendered line."""

    def __init__(self, writer: LineWriter) -> None:
        self.debug = self.info = writer.put
        self.warning = self.error = writer.put_grave


def _short(text: str) -> str:
    if len(text) <= VALUE_CHARS:
        return text
    return f"{text[:VALUE_CHARS]}... ({len(text)} characters)"


def _text(value: object) -> str:
    try:
        return _short(str(value))
    except Exception:  # noqa: BLE001  # a value that cannot be shown does not end the run
        return f"<{type(value).__name__}>"


def _cut(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Keep a line within bounds: rendering a million numbers would hold up the loop."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = _short(value)
        elif (
            isinstance(value, list | tuple | set | frozenset | dict) and _parts(value) > VALUE_PARTS
        ):
            event[key] = f"{reprlib.repr(value)} ({len(value)} at the top)"
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
        event[_escaped(key)] = event.pop(key)
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[key] = _escaped(value, allowed="\n" if key == "exception" else "")
    return event


def _escaped(text: str, allowed: str = "") -> str:
    return "".join(c if c.isprintable() or c in allowed else repr(c)[1:-1] for c in text)


@contextmanager
def open_log(
    settings: LogSettings, stream: TextIO | None = None, tap: Tap | None = None
) -> Iterator[tuple[FilteringBoundLogger, LineWriter]]:
    """Give a logger that never blocks its caller, and the writer behind it.

    Args:
        settings: level, format, file.
        stream: where lines go, stdout by default.
        tap: told each line as well: its level, event and fields, which are plain values.

    Raises:
        ConfigError: log.file cannot be opened.
    """
    stream = stream or sys.stdout
    writes, at_end = [_flushing(stream)], None
    if settings.file is not None:
        try:
            file = Path(settings.file).open("a", encoding="utf-8")  # noqa: SIM115  # closed at_end
        except OSError as error:
            raise ConfigError(f"log.file is {settings.file}: {error.strerror}") from None
        writes.append(_flushing(file))
        at_end = file.close
    writer = LineWriter(writes, at_end)
    logger: FilteringBoundLogger = structlog.wrap_logger(
        _QueueLogger(writer),
        processors=[_cut, *([_tapped(tap)] if tap else []), *_processors(settings, stream)],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[settings.level]),
        cache_logger_on_first_use=True,
    )
    try:
        yield logger, writer
    finally:
        writer.close()


def _flushing(stream: TextIO) -> Callable[[str], None]:
    def write(line: str) -> None:
        stream.write(line)
        stream.flush()

    return write


def _processors(settings: LogSettings, stream: TextIO) -> list[Processor]:
    as_text = settings.format == "text" or (settings.format == "auto" and stream.isatty())
    if as_text:
        return [
            _plain_values,
            _no_control_characters,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(colors=stream.isatty(), pad_event_to=28, sort_keys=False),
        ]
    return [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _head_first,
        _json,
    ]


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
