"""A bar for work that takes its time, where somebody watches; nothing elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.backtest import Progress

SECOND_NS = 1_000_000_000


@contextmanager
def bar(wanted: bool | None, begin: int, end: int | None) -> "Iterator[Callable[[Progress], None]]":
    """Show how far through the data's time a backtest is, with its rate and what is left.

    Args:
        wanted: None is yes on a terminal.
        begin: time of the first event, ns UTC.
        end: time of the last one; None where it is not known: then the bar has no end.
    """
    if wanted is False or (wanted is None and not sys.stderr.isatty()):
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415  # start fast
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars  # noqa: PLC0415

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[events]:,} events"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as shown:
        total = None if end is None else (end - begin) / SECOND_NS
        task = shown.add_task("backtest", total=total, events=0)

        def advance(reached: "Progress") -> None:
            shown.update(task, completed=(reached.time - begin) / SECOND_NS, events=reached.events)

        yield advance
