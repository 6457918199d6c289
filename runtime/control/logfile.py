"""The log of a deployment in its folder: JSON lines, rotated, for `tidegate logs` after the run.

Written from the board by a thread: a full disk or one that hangs costs lines of this file, which
say how many, and nothing else.
"""

import contextlib
import logging
import os
from collections.abc import Iterator
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

import anyio
import msgspec

from runtime.control.board import Board, Line
from runtime.disk import DiskThread

FILE = "log.jsonl"
MOST_BYTES, KEPT = 10_000_000, 5
PACE_SECONDS = 0.5
CHUNK = 2_000


async def keep_log(board: Board, folder: Path) -> None:
    """Write what the board is told, until cancelled; then what is left of it."""
    disk, file = DiskThread("log-file"), _File(folder / FILE)
    after = 0
    try:
        while True:
            after = await disk.run(lambda: file.take(board, after))  # noqa: B023  # awaited here
            await anyio.sleep(PACE_SECONDS)
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(2.0):
            await disk.run(lambda: file.take(board, after))
            await disk.run(file.close)
        disk.close()


class _Handler(RotatingFileHandler):
    """Makes files for their owner only, and fails as it is told to: the caller counts."""

    def _open(self) -> TextIOWrapper:
        handle = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        return open(handle, "a", encoding=self.encoding)  # closed by the handler

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        raise  # noqa: PLE0704  # it is called while the error is handled


class _File:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._handler: RotatingFileHandler | None = None

    def take(self, board: Board, after: int) -> int:
        """Write the lines above a number, and return the newest number."""
        while True:
            lines, missing = board.lines(after, CHUNK)
            if missing:
                self._write(b'{"dropped": %d}' % missing)
            for line in lines:
                self._write(msgspec.json.encode(line, enc_hook=str))
                after = line.number
            if len(lines) < CHUNK:
                return after

    def _write(self, text: bytes) -> None:
        with contextlib.suppress(OSError):  # the disk is full or gone: trading goes on
            if self._handler is None:
                self._handler = _Handler(
                    self._path, maxBytes=MOST_BYTES, backupCount=KEPT, encoding="utf-8"
                )
            record = logging.makeLogRecord({"msg": text.decode()})
            self._handler.emit(record)

    def close(self) -> None:
        if self._handler is not None:
            self._handler.close()


def kept_lines(folder: Path) -> Iterator[Line]:
    """Return the lines of the newest file and of the one before it; what is damaged is left out.

    Raises:
        OSError: there is none.
    """
    for path in (folder / f"{FILE}.1", folder / FILE):
        if not path.exists() and path.name != FILE:
            continue
        with path.open("rb") as file:
            for text in file:
                with contextlib.suppress(msgspec.DecodeError):
                    yield msgspec.json.decode(text, type=Line)
