"""A bar for work that takes its time, where somebody watches; lines of JSON elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from runtime.progress import Pace, PaceMeter

if TYPE_CHECKING:
    from runtime.backtest import Progress

SECOND_NS = 1_000_000_000
LINE_SECONDS = 1.0
"""Between two lines, and between two changes of the rate."""


@contextmanager
def bar(wanted: bool | None, begin: int, end: int | None) -> "Iterator[Callable[[Progress], None]]":
    """Show how far through the data's time a backtest is, with its rate and what is left.

    Args:
        wanted: None is yes on a terminal; yes elsewhere is a line of JSON each second.
        begin: time of the first event, ns UTC.
        end: time of the last one; None where it is not known: then the bar has no end.
    """
    if wanted is False or (wanted is None and not sys.stderr.isatty()):
        yield lambda _: None
    elif sys.stderr.isatty():
        with _shown(begin, end) as advance:
            yield advance
    else:
        yield _lines(begin, end)


def _lines(begin: int, end: int | None) -> "Callable[[Progress], None]":
    import msgspec  # noqa: PLC0415  # start fast

    meter = PaceMeter(begin, end, time.monotonic())
    told = 0.0

    def advance(reached: "Progress") -> None:
        nonlocal told
        now = time.monotonic()
        if now - told < LINE_SECONDS:
            return
        told = now
        pace = meter.look(reached.time, reached.events, now)
        line = {"event": "progress", **msgspec.structs.asdict(pace)}
        with suppress(OSError):
            sys.stderr.write(msgspec.json.encode(line).decode() + "\n")

    return advance


@contextmanager
def _shown(begin: int, end: int | None) -> "Iterator[Callable[[Progress], None]]":
    from rich.console import Console  # noqa: PLC0415  # start fast
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars  # noqa: PLC0415

    columns = (
        TextColumn("{task.fields[day]}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%" if end else ""),
        TextColumn("{task.fields[events]:,} events, {task.fields[rate]:,.0f}/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    meter = PaceMeter(begin, end, time.monotonic())
    with Bars(*columns, console=Console(stderr=True), transient=True) as shown:
        total = None if end is None else (end - begin) / SECOND_NS
        task = shown.add_task("", total=total, events=0, rate=0.0, day="backtest")
        pace: Pace | None = None
        looked = 0.0

        def advance(reached: "Progress") -> None:
            nonlocal pace, looked
            now = time.monotonic()
            if pace is None or now - looked >= LINE_SECONDS:
                looked, pace = now, meter.look(reached.time, reached.events, now)
            shown.update(
                task,
                completed=(reached.time - begin) / SECOND_NS,
                events=reached.events,
                rate=pace.rate,
                day=time.strftime("%Y-%m-%d", time.gmtime(reached.time // SECOND_NS)),
            )

        yield advance
