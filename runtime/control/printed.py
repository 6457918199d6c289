"""What an author prints becomes lines of the log: whole, bounded; it waits for nobody."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import TextIOBase
from typing import Any, TextIO, cast

from structlog.typing import FilteringBoundLogger

from runtime.redaction import KNOWN

LINE_CHARS = 2_000
"""A printed line is cut after so many."""


class _Lines(TextIOBase):
    """Stands in for stdout; each thread has the beginning of its own line."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self._begun = threading.local()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, rest = (getattr(self._begun, "text", "") + text).split("\n")
        if len(rest) > LINE_CHARS:
            lines, rest = [*lines, rest], ""
        self._begun.text = rest
        for line in lines:
            if line.strip():
                self._log.info(KNOWN.hide_cut(line, LINE_CHARS).rstrip(), printed=True)
        return len(text)


class _Hidden:
    """Stands in for a stream, and hides what is secret in what is written to it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(KNOWN.hide(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def heard(log: FilteringBoundLogger) -> Iterator[None]:
    """Have what is printed told by the log, and secrets kept from stderr, in this context."""
    lines = cast("TextIO", _Lines(log))
    with redirect_stdout(lines), redirect_stderr(cast("TextIO", _Hidden(sys.stderr))):
        yield
