"""A sweep as it goes, and what it came to: a bar or lines, then a table or JSON."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import msgspec
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from runtime.report.statistics import shown
from runtime.sweep.grid import Cell, CellResult, key_of, ranked, words_of
from runtime.sweep.ledger import Ledger

COLUMNS = ("Net Profit", "Sharpe Ratio", "Drawdown", "Total Trades")
FAILURES = 10
"""So many failed cells are shown; the JSON has all."""

Tell = Callable[[CellResult], None]


@contextmanager
def watching(wanted: bool | None, total: int, done: int, rank: str) -> Iterator[Tell]:
    """Show how far a sweep has come; `done` of its cells were there before."""
    if wanted is False:
        yield lambda _: None
    elif sys.stderr.isatty():
        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
            task = bars.add_task("", total=total, completed=done)

            def advance(result: CellResult) -> None:
                bars.update(task, advance=1, description=words_of(result.cell))

            yield advance
    else:
        yield _lines(total, done, rank)


def _lines(total: int, done: int, rank: str) -> Tell:
    def tell(result: CellResult) -> None:
        nonlocal done
        done += 1
        line = {
            "event": "cell",
            "done": done,
            "of": total,
            "cell": result.cell,
            "state": result.state,
            **({"error": result.error} if result.error else {rank: result.statistics.get(rank)}),
        }
        with suppress(OSError):
            sys.stderr.write(msgspec.json.encode(line).decode() + "\n")

    return tell


def show(book: Ledger, cells: Sequence[Cell], rank: str, top: int, *, as_json: bool) -> int:
    """Show the cells, the best first, and return the exit code: 1 where one has failed."""
    found = [known for cell in cells if (known := book.results.get(key_of(cell))) is not None]
    best = ranked(found, rank)
    failed = [result for result in found if result.state == "failed"]
    left = len(cells) - len(found)
    unread = sorted({name for result in best for name in result.unread})
    unread = [name for name in unread if all(name in each.unread for each in best)]
    if as_json:
        result = {
            "ledger": str(book.path),
            "rank": rank,
            "cells": best,
            "failed": failed,
            "left": left,
            "unread": unread,
        }
        typer.echo(msgspec.json.encode(result))
    else:
        console = Console(markup=False, highlight=False)
        console.print(_table(best[:top], cells, rank))
        for text in _notes(best, failed, left, unread, rank, top):
            console.print(text)
        console.print(f"ledger: {book.path}", soft_wrap=True)
    return 1 if failed else 0


def _table(best: Sequence[CellResult], cells: Sequence[Cell], rank: str) -> Table:
    statistics = list(dict.fromkeys((rank, *COLUMNS)))
    has_folds = any(each.folds for each in best)
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("", justify="right")
    names = list(cells[0])
    for name in [*names, *statistics, *(["folds up"] if has_folds else []), "seconds"]:
        table.add_column(name, justify="right")
    for place, each in enumerate(best, 1):
        up = sum((fold.get("profit") or 0) > 0 for fold in each.folds)
        table.add_row(
            str(place),
            *(each.cell[name] for name in names),
            *(shown(name, each.statistics.get(name)) for name in statistics),
            *([f"{up}/{len(each.folds)}"] if has_folds else []),
            f"{each.seconds:.1f}",
        )
    return table


def _notes(
    best: Sequence[CellResult],
    failed: Sequence[CellResult],
    left: int,
    unread: Sequence[str],
    rank: str,
    top: int,
) -> Iterator[str]:
    if best and all(each.statistics.get(rank) is None for each in best):
        yield f"no cell has a {rank} here: see --sampling for shorter periods, or --rank"
    if len(best) > top:
        yield f"and {len(best) - top} more: --top shows more of them"
    for result in failed[:FAILURES]:
        yield f"failed: {words_of(result.cell)}: {result.error}"
    if len(failed) > FAILURES:
        yield f"and {len(failed) - FAILURES} more have failed"
    if left:
        yield f"{left} of the cells are left: the same command goes on with them"
    if unread:
        yield f"no cell has asked for {', '.join(unread)}: is it misspelt?"
