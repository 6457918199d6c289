"""A file that only grows so far: when it is full it becomes FILE.1, and the ones before move up.

It is written unbuffered, so that a line is on its way to the disk or has failed, never in between,
and is made for its owner only. Every method may block.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path


class LogFile:
    """Appends lines to a file; one thread at a time.

    Args:
        path: of the file.
        most_bytes: at which it is rotated; 0 is never. Only a plain file is.
        kept: how many older ones are kept, FILE.1 being the youngest.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path, most_bytes: int = 0, kept: int = 5) -> None:
        self._path, self._most, self._kept = path, most_bytes, kept
        self._handle: int | None = None
        self._bytes = 0
        self._torn = False  # the last line was written in part only
        self._open()

    def write(self, line: str) -> None:
        """Append one line.

        Raises:
            OSError: it is not written, or only its beginning is, which the next line ends.
        """
        content = line.encode("utf-8", "backslashreplace")
        if self._handle is None or (self._most and self._bytes + len(content) > self._most):
            self._turn_over()
        assert self._handle is not None  # noqa: S101  # _turn_over opens it or raises
        if self._torn:
            content = b"\n" + content
        while content:
            done = os.write(self._handle, content)
            self._bytes += done
            content = content[done:]
            self._torn = bool(content)

    def reopen(self) -> None:
        """Open the file of this name anew: the old one may have been moved away.

        Raises:
            OSError: it cannot be; the next line tries again.
        """
        self.close()
        self._open()

    def close(self) -> None:
        """Close it; once more is nothing."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._handle = os.open(self._path, flags, 0o600)
        found = os.fstat(self._handle)
        self._bytes = found.st_size
        self._torn = False
        if not stat.S_ISREG(found.st_mode):
            self._most = 0

    def _turn_over(self) -> None:
        if self._handle is not None and self._bytes:
            self.close()
            for number in range(self._kept, 0, -1):
                before = self._numbered(number - 1)
                with suppress(FileNotFoundError):
                    before.replace(self._numbered(number))
        if self._handle is None:
            self._open()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path
