"""Bars below the log for what takes its time, where somebody watches: warm-up, and each training.

Lines go above them. They are drawn from the run's board by a thread of their own, so a terminal
that is held holds up nobody but itself.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOBase
from typing import TYPE_CHECKING, TextIO, cast

from runtime.control.board import Board, Snapshot
from runtime.printable import printable
from runtime.training.updates import time_left

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

LOOKS_A_SECOND = 4
END_SECONDS = 1.0


@contextmanager
def bars(stream: TextIO, board: Board, *, wanted: bool) -> Iterator[TextIO]:
    """Give the stream that lines are to be written to; on a terminal it has bars below."""
    if not (wanted and stream.isatty()):
        yield stream
        return
    from rich.console import Console  # noqa: PLC0415  # start fast
    from rich.live import Live  # noqa: PLC0415

    console = Console(file=stream)
    live = Live(
        console=console,
        refresh_per_second=LOOKS_A_SECOND,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        get_renderable=lambda: drawn(board.snapshot),
    )
    live.start()
    try:
        yield cast("TextIO", _Above(stream, console))
    finally:
        # A terminal that is held would hold up the end.
        ending = threading.Thread(target=live.stop, name="bars-end", daemon=True)
        ending.start()
        ending.join(END_SECONDS)


class _Above(TextIOBase):
    """Writes lines above the bars."""

    def __init__(self, stream: TextIO, console: "Console") -> None:
        self._stream, self._console = stream, console

    def write(self, text: str) -> int:
        from rich.text import Text  # noqa: PLC0415

        self._console.print(Text.from_ansi(text.rstrip("\n")), soft_wrap=True, highlight=False)
        return len(text)

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()


def drawn(snapshot: Snapshot | None) -> "RenderableType":
    """Return the bars of one snapshot; nothing where nothing takes its time."""
    from rich.console import Group  # noqa: PLC0415
    from rich.progress_bar import ProgressBar  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    if snapshot is None:
        return Group()
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(max_width=28, no_wrap=True)
    table.add_column(width=30)
    table.add_column(no_wrap=True)
    if snapshot.warm_up is not None:
        share = snapshot.warm_up
        table.add_row("warm-up", ProgressBar(1.0, share), f"{share:.0%}")
    quota = snapshot.training["quota"]
    for job in snapshot.training["running"]:
        share = job["fraction"]
        words = [f"{share:.0%}" if share else "", f"{job['elapsed']:.0f} s"]
        left = time_left(job["elapsed"], share)
        words += [f"{left:.0f} s left" if left is not None else "", f"{job['spent']} min paid"]
        words += [f"{quota['available']}/{quota['capacity']} left", printable(job["text"])]
        if job["state"] == "paused":
            words.insert(0, "paused")
        bar = ProgressBar(1.0, share) if share else ProgressBar(1.0, pulse=True)
        table.add_row(f"{job['id']}", bar, "  ".join(filter(None, words)))
    waiting = snapshot.training["queued"]
    if waiting:
        table.add_row(f"{len(waiting)} queued", "", printable(", ".join(waiting[:5])))
    return table if table.row_count else Group()
