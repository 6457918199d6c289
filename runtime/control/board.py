"""What others may know of a run: its newest snapshot, the last lines of its log, its curve.

The run's loop writes, any thread reads, and nobody waits: what is read is a value that was put
there whole. Lines are numbered; who reads too slowly learns how many he has missed.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

import msgspec

from runtime.results import Curve, Sample, TrainingRow, training_row
from runtime.training.updates import TrainingUpdate

LINES = 5_000
TRAINING_ROWS = 1_000
PRICES_OF, PRICES = 20, 3_600
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
Plain = str | int | float | bool | None | list[Any] | dict[str, Any]


class Line(msgspec.Struct, frozen=True):
    """One line of the log: `number` from 1 on, `time` in ns UTC, and what it says."""

    number: int
    time: int
    level: str
    event: str
    fields: Mapping[str, Any]


class Snapshot(msgspec.Struct, frozen=True):
    """A run at one moment of its loop; money is exact decimals as text.

    `time` is the wall clock's, `engine_time` the strategy's (both ns UTC). `status` are the figures
    of the status line; `counts` grow only. `lag` and `latency` count durations by upper edge in ms,
    since the start. `warm_up` is the share of it that lies behind, None where none goes on.
    """

    time: int
    engine_time: int
    status: Mapping[str, Any]
    counts: Mapping[str, int]
    feed: Mapping[str, Any]
    training: Mapping[str, Any]
    models: tuple[Mapping[str, Any], ...]
    positions: tuple[Mapping[str, Any], ...]
    orders: tuple[Mapping[str, Any], ...]
    prices: Mapping[str, float]
    halted: str
    lag: Mapping[float, int]
    latency: Mapping[float, int]
    warm_up: float | None = None


class LogPlace(msgspec.Struct, frozen=True):
    """How one place that lines of the log go to stands.

    `written` and `dropped` count lines since the start, `waiting` those in its queue now; `trouble`
    is one sentence while it cannot be written to, else "".
    """

    place: str
    written: int = 0
    dropped: int = 0
    waiting: int = 0
    trouble: str = ""


class Identity(msgspec.Struct, frozen=True):
    """Which run it is: `started` in ns UTC, `pid` its process."""

    name: str
    run: str
    strategy: str
    started: int
    pid: int


class Board:
    """The notice board of one run.

    Args:
        now: ns UTC, for the lines.
        lines: how many of them are kept.

    Attributes:
        snapshot: the newest, None before the first.
        training: the newest of what training did.
        curve: the account over the wall clock's time.
        prices: of the first symbols, each second: time (ns UTC) and price.
        places: each tells, from any thread, how places that lines go to stand.
    """

    def __init__(self, now: Callable[[], int], lines: int = LINES) -> None:
        self._now = now
        self.identity: Identity | None = None
        self.snapshot: Snapshot | None = None
        self.training: deque[TrainingRow] = deque(maxlen=TRAINING_ROWS)
        self.curve = Curve()
        self.prices: dict[str, deque[tuple[int, float]]] = {}
        self.places: list[Callable[[], tuple[LogPlace, ...]]] = []
        self._lines: deque[Line] = deque(maxlen=lines)
        self._number = 0
        self._writing = threading.Lock()  # lines come from the loop, from jobs and the watchdog

    @property
    def newest(self) -> int:
        """The number of the newest line, 0 before the first."""
        return self._number

    def wrote(self, level: str, event: str, fields: Mapping[str, Any]) -> None:
        """Take a line of the log; from any thread."""
        with self._writing:
            self._number += 1
            self._lines.append(Line(self._number, self._now(), level, event, fields))

    def lines(self, after: int, most: int) -> tuple[list[Line], int]:
        """Return the oldest lines with a number above `after`, and how many are missing before."""
        with self._writing:
            first = self._number - len(self._lines) + 1
            skip = max(0, after - first + 1)
            found = list(islice(self._lines, skip, skip + most))
        return found, max(0, first - after - 1)

    def log_places(self) -> list[LogPlace]:
        """Return how each place that lines go to stands; from any thread."""
        return [place for tell in self.places for place in tell()]

    def trained(self, update: TrainingUpdate) -> None:
        """Take one update of training; on the loop."""
        row = training_row(update)
        if row is not None:
            self.training.append(row)

    def publish(self, snapshot: Snapshot, sample: Sample) -> None:
        """Put a snapshot up; on the loop."""
        self.snapshot = snapshot
        if sample.time >= self.curve.due:
            self.curve.add(sample)
        for name, price in islice(snapshot.prices.items(), PRICES_OF):
            self.prices.setdefault(name, deque(maxlen=PRICES)).append((snapshot.time, price))


def chosen(lines: Iterable[Line], *, level: int, text: str, since: int) -> list[Line]:
    """Return the lines from a level up that hold a text (in any case), from a moment (ns) on."""
    wanted = text.lower()
    return [
        line
        for line in lines
        if LEVELS.get(line.level, 0) >= level
        and line.time >= since
        and (not wanted or wanted in f"{line.event} {dict(line.fields)}".lower())
    ]
