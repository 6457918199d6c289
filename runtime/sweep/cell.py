"""One cell of a sweep, in a process of its own: a backtest, and what it came to.

It ends with whoever started it, whatever ends that; it has no terminal, and its strategy's words go
nowhere. `tidegate backtest` with the same parameters says them.
"""

import logging
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

import msgspec
import structlog
from structlog.typing import FilteringBoundLogger

from runtime.backtest import Rules
from runtime.errors import TidegateError
from runtime.live import told_of
from runtime.loading import load_strategy
from runtime.report.record import make_report
from runtime.settings import Settings
from runtime.simulation import Data, build_backtest
from runtime.sweep.grid import Cell, CellResult
from runtime.training.isolation.warden import PR_SET_PDEATHSIG, prctl


class Task(msgspec.Struct, frozen=True):
    """What to run: `settings` without the cell's parameters."""

    strategy: str
    settings: Settings
    rules: Rules
    cell: Cell


def run_cell(task: Task) -> CellResult:
    """Run one backtest; whatever fails is a result."""
    cell = dict(task.cell)
    try:
        parameters = {**task.settings.parameters, **cell}
        settings = msgspec.structs.replace(task.settings, parameters=parameters)
        data = Data(settings.feed)
        begin = max(data.begin, task.rules.start or 0)
        strategy = load_strategy(task.strategy)
        test = build_backtest(strategy, settings, begin, silent_log(), rules=task.rules)
        outcome = test.run(data, begin)
        report = make_report(test.record(outcome))
    except Exception as error:  # noqa: BLE001  # the strategy's file is foreign code
        return CellResult(cell, "failed", str(told_of(error)))
    failure: TidegateError | None = outcome.failure
    return CellResult(
        cell=cell,
        state="done" if failure is None else "failed",
        error="" if failure is None else str(failure),
        statistics=report.statistics,
        folds=msgspec.to_builtins(report.record.folds),
        orders_sha256=report.record.orders_sha256,
        seconds=round(test.seconds, 3),
        unread=[name for name in cell if name in test.unread_parameters],
    )


def silent_log() -> FilteringBoundLogger:
    """Return a logger that says nothing."""
    log: FilteringBoundLogger = structlog.wrap_logger(
        structlog.ReturnLogger(),
        processors=[lambda *_: ""],
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
    )
    return log


def main() -> NoReturn:
    """Read a task, run it, answer in one line, and leave: the whole of a process."""
    answer = _be_alone()
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    line = msgspec.json.encode(run_cell(task)) + b"\n"
    with os.fdopen(answer, "wb") as stream:
        stream.write(line)
    os._exit(0)  # an author's threads and exit handlers hold up nobody


def _be_alone() -> int:
    """End with who started us, say nothing, and return where the answer goes."""
    parent = int(sys.argv[1])
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it went before we asked to be told
        os._exit(1)
    answer = os.dup(1)
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    return answer
