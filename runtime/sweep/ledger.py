"""What a sweep has done so far: one line of JSON for each cell, on the disk before it counts.

The first line says of what inputs the cells are. A line that was being written when the power went
is no line: its cell is run again, and no other one is.
"""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import msgspec

from runtime.disk import sync_folder
from runtime.errors import AlreadyRunning, ConfigError
from runtime.sweep.grid import Cell, CellResult, key_of

VERSION = 1
T = TypeVar("T")


class Inputs(msgspec.Struct, frozen=True):
    """What all cells have in common; each a digest, but for `options`, which are as given."""

    strategy: str
    data: str
    options: dict[str, str]


class Head(msgspec.Struct, frozen=True):
    """The first line."""

    sweep: int
    inputs: Inputs


class Ledger:
    """The file of one sweep, held by one process; a context that lets it go.

    Args:
        path: of the file, made where there is none.
        inputs: of this sweep.
        anew: begin with an empty file, whatever was in it.

    Attributes:
        results: by the key of their cells, in the order in which they ended.

    Raises:
        AlreadyRunning: another sweep holds it.
        ConfigError: it cannot be written, is no ledger, or is one of other inputs.
    """

    def __init__(self, path: Path, inputs: Inputs, *, anew: bool = False) -> None:
        self.path = path
        self.results: dict[str, CellResult] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"the ledger {path} cannot be written: {error.strerror}") from None
        try:
            self._hold()
            if anew:
                os.ftruncate(self._file, 0)
            self._take_up(inputs)
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._file)

    def missing(self, cells: list[Cell], *, again: bool = False) -> list[Cell]:
        """Return the cells without a result; with `again` also those that have failed."""
        return [
            cell
            for cell in cells
            if (known := self.results.get(key_of(cell))) is None
            or (again and known.state == "failed")
        ]

    def write(self, result: CellResult) -> None:
        """Write down what a cell came to; on the disk when this returns.

        Raises:
            OSError: it is not.
        """
        self._append(msgspec.json.encode(result) + b"\n")
        self.results[key_of(result.cell)] = result

    def _hold(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(
                f"another sweep writes {self.path}: wait for it, or name another one with --ledger"
            ) from None

    def _take_up(self, inputs: Inputs) -> None:
        content = self.path.read_bytes()
        head = msgspec.json.encode(Head(VERSION, inputs)) + b"\n"
        whole = content[: content.rfind(b"\n") + 1]
        lines = whole.split(b"\n")[:-1]
        if not lines and not head.startswith(content):  # it is somebody's, and not cut off
            self._read(1, content, Head)
        if lines:
            self._compare(self._read(1, lines[0], Head).inputs, inputs)
        for number, line in enumerate(lines[1:], 2):
            result = self._read(number, line, CellResult)
            self.results[key_of(result.cell)] = result
        os.ftruncate(self._file, len(whole))  # a line that was cut off is none
        if not lines:
            self._append(head)
            sync_folder(self.path.parent)

    def _read(self, number: int, line: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(line, type=kind)
        except msgspec.MsgspecError as error:
            raise ConfigError(
                f"{self.path} is no ledger of a sweep: line {number}: {error}; name another one "
                "with --ledger, or begin again with --anew"
            ) from None

    def _compare(self, before: Inputs, now: Inputs) -> None:
        changed = [
            name for name in ("strategy", "data") if getattr(before, name) != getattr(now, name)
        ]
        changed += [
            f"--{name}"
            for name in sorted({*before.options, *now.options})
            if before.options.get(name) != now.options.get(name)
        ]
        if changed:
            raise ConfigError(
                f"{' and '.join(changed)} changed since the cells in {self.path} were run: begin "
                "again with --anew, or keep them and name another file with --ledger"
            )

    def _append(self, line: bytes) -> None:
        os.write(self._file, line)
        os.fsync(self._file)
