"""The log of a deployment in its folder: JSON lines, rotated, for `tidegate logs` after the run.

Written from the board by a thread: a full disk or one that hangs costs lines of this file, which
say how many, and nothing else.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import anyio
import msgspec

from runtime.control.board import Board, Line, LogPlace
from runtime.control.rotation import LogFile
from runtime.disk import DiskThread
from runtime.redaction import KNOWN

FILE = "log.jsonl"
MOST_BYTES, KEPT = 10_000_000, 5
PACE_SECONDS = 0.5
CHUNK = 2_000


async def keep_log(board: Board, folder: Path) -> None:
    """Write what the board is told, until cancelled; then what is left of it."""
    disk, file = DiskThread("log-file"), _File(folder / FILE)
    board.places.append(file.statistics)
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


class _File:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: LogFile | None = None
        self._written = self._dropped = 0
        self._trouble = ""

    def take(self, board: Board, after: int) -> int:
        """Write the lines above a number, and return the newest number."""
        while True:
            lines, missing = board.lines(after, CHUNK)
            if missing:
                self._dropped += missing
                self._write(b'{"dropped": %d}' % missing, 0)
            for line in lines:
                self._write(msgspec.json.encode(line, enc_hook=str), 1)
                after = line.number
            if len(lines) < CHUNK:
                return after

    def statistics(self) -> tuple[LogPlace, ...]:
        """Return how it stands; from any thread."""
        return (LogPlace("kept", self._written, self._dropped, 0, self._trouble),)

    def _write(self, text: bytes, lines: int) -> None:
        try:
            if self._file is None:
                self._file = LogFile(self._path, MOST_BYTES, KEPT)
            self._file.write(KNOWN.hide(text.decode()) + "\n")
        except OSError as error:  # the disk is full or gone: trading goes on
            self._trouble = error.strerror or str(error)
            self._dropped += lines
        else:
            self._trouble = ""
            self._written += lines

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


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
