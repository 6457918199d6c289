"""The installed command as a user runs it: a real process, heard through its pipes.

Every process that a run starts inherits its TMPDIR, a folder of this test alone: whatever still has
it in /proc was left behind.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "strategies"
TIDEGATE = Path(sys.executable).with_name("tidegate")
PATIENCE = 30.0
"""Seconds after which a test that waits has failed; nothing is ever asserted to be fast."""

HEAD = "import os, signal, threading, time\nfrom runtime import ModelSlot, Resolution, Strategy\n"


def strategy(folder: Path, body: str, name: str = "mine.py", head: str = HEAD) -> Path:
    """Write a strategy on SPY: `body` is more of its class, or a whole file with head=""."""
    if head:
        body = f"{head}\n\nclass Mine(Strategy):\n" + "".join(
            f"    {line}\n" for line in (INITIALIZE * ("initialize" not in body) + body).split("\n")
        )
    path = folder / name
    path.write_text(body)
    return path


INITIALIZE = "def initialize(self):\n    self.add_security('SPY', Resolution.TICK)\n"
CHATTY = """
def on_data(self, slice):
    self.log('data', time=self.time)
def on_end_of_algorithm(self):
    self.log('goodbye')
"""


class Ended(msgspec.Struct):
    """How it ended and what it said."""

    code: int
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log; every line must be JSON."""
        return [json.loads(line) for line in self.stdout.splitlines()]

    def of(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == event]

    @property
    def summary(self) -> dict[str, Any]:
        (summary,) = self.of("summary")
        return summary

    def assert_one_sentence(self, words: str) -> None:
        """What a person is told: one line, whose it is, and no traceback anywhere."""
        assert self.stderr.startswith("tidegate: "), self.stderr
        assert self.stderr.count("\n") == 1, self.stderr
        assert words in self.stderr, self.stderr
        assert "Traceback" not in self.stderr + self.stdout, self.stdout


class Running:
    """A command that runs; leaving the context kills it if it still does."""

    def __init__(
        self, folder: Path, *args: str | Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder / "tmp"
        self.folder.mkdir(exist_ok=True)
        self._errors = (self.folder / "stderr").open("w+")
        self._heard = b""
        self._read_up_to = 0
        self.process = subprocess.Popen(
            [TIDEGATE, *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=folder,
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith(("APCA_", "TIDEGATE_"))},
                **(env or {}),
                "TMPDIR": str(self.folder),
            },
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._errors.close()

    @property
    def pid(self) -> int:
        return self.process.pid

    def send(self, *signals: signal.Signals) -> None:
        for number in signals:
            self.process.send_signal(number)

    def until(self, event: str, **fields: object) -> dict[str, Any]:
        """Read the log on to a line of this event with these fields."""
        for line in self._lines():
            if line["event"] == event and line.items() >= fields.items():
                return line
        raise AssertionError(f"no {event} {fields} in {self._heard.decode()}\n{self._said()}")

    def end(self) -> Ended:
        """Wait for its end."""
        while self._hear():
            pass
        code = self.process.wait(PATIENCE)
        return Ended(code, self._heard.decode(), self._said())

    def family(self) -> list[int]:
        """Every process that has this run's TMPDIR: itself and all that descends from it."""
        mark = f"\0TMPDIR={self.folder}\0".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    environment = b"\0" + (entry / "environ").read_bytes()
                except OSError:
                    continue
                if mark in environment:
                    found.append(int(entry.name))
        return sorted(found)

    def line(self) -> str:
        """Read the next line, whatever it is."""
        while b"\n" not in self._heard[self._read_up_to :] and self._hear():
            pass
        rest, newline, _ = self._heard[self._read_up_to :].partition(b"\n")
        self._read_up_to += len(rest + newline)
        return rest.decode()

    def _lines(self) -> Iterator[dict[str, Any]]:
        """Yield the log from where it was last read, until it ends."""
        while line := self.line():
            yield json.loads(line)

    def _hear(self) -> bool:
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        if not readable:
            raise AssertionError(f"silent after {self._heard.decode()[-2000:]}\n{self._said()}")
        chunk = os.read(self.process.stdout.fileno(), 65536)
        self._heard += chunk
        return bool(chunk)

    def _said(self) -> str:
        self._errors.seek(0)
        return self._errors.read()


def run(folder: Path, *args: str | Path, env: Mapping[str, str] | None = None) -> Ended:
    """Run a command to its end; nothing that it started may be left."""
    with Running(folder, *args, env=env) as running:
        ended = running.end()
        until = time.monotonic() + PATIENCE  # a venue that was only just starting ends by itself
        while running.family() and time.monotonic() < until:
            time.sleep(0.05)
        assert running.family() == [], "left behind"
        return ended


@contextmanager
def watched(pid: int) -> Iterator[int]:
    """Hold on to a process that may end at any time."""
    handle = os.pidfd_open(pid)
    try:
        yield handle
    finally:
        os.close(handle)


def wait_for_end(handle: int) -> None:
    readable, _, _ = select.select([handle], [], [], PATIENCE)
    assert readable, "the process still runs"


def free_port() -> int:
    import socket

    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        port: int = it.getsockname()[1]
        return port
