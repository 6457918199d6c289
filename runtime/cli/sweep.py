"""Backtest a strategy with every combination of some parameters: `tidegate sweep`."""

import hashlib
import os
import signal
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from runtime.cli.app import app
from runtime.cli.options import (
    STATE_DIR,
    Columns,
    Config,
    Data,
    Normalization,
    Param,
    Rate,
    Seed,
    StateDir,
    pairs,
)
from runtime.cli.simulating import (
    Cash,
    From,
    JobCost,
    Minutes,
    Model,
    PublicationDelay,
    Quota,
    Sampling,
    Spaced,
    To,
    Training,
    Walk,
    Wanted,
    overrides_of,
    rules_of,
)
from runtime.errors import ConfigError, RunFailed

if TYPE_CHECKING:
    from runtime.sweep.cell import Task
    from runtime.sweep.grid import CellResult
    from runtime.sweep.ledger import Inputs, Ledger
    from runtime.sweep.pool import Pool


@app.command(cls=Spaced)
def sweep(
    strategy: Annotated[str, typer.Argument(help="FILE.py or FILE.py:Class")],
    values: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE,VALUE,... of get_parameter; repeat for a grid"),
    ] = None,
    data: Data = None,
    start: From = None,
    end: To = None,
    minutes: Minutes = None,
    seed: Seed = None,
    rate: Rate = None,
    columns: Columns = None,
    data_normalization: Normalization = None,
    cash: Cash = None,
    param: Param = None,
    config: Config = None,
    quota: Quota = None,
    training: Training = None,
    model: Model = None,
    job_cost: JobCost = None,
    publication_delay: PublicationDelay = None,
    walk_forward: Walk = None,
    sampling: Sampling = None,
    rank: Annotated[str, typer.Option(help="the statistic to sort by")] = "Sharpe Ratio",
    top: Annotated[int, typer.Option(help="rows of the table; the JSON has all")] = 20,
    workers: Annotated[
        int | None, typer.Option(help="cells that run at once; as many as cores by default")
    ] = None,
    cell_minutes: Annotated[
        float | None, typer.Option(help="real minutes after which a cell is killed and has failed")
    ] = None,
    ledger: Annotated[
        Path | None, typer.Option(help="the file of what is done; one in the state folder if not")
    ] = None,
    anew: Annotated[bool, typer.Option("--anew", help="forget the cells that are done")] = False,
    retry: Annotated[
        bool, typer.Option("--retry-failed", help="run the cells again that have failed")
    ] = False,
    state_dir: StateDir = None,
    progress: Annotated[
        bool | None,
        typer.Option(
            "--progress/--no-progress",
            help="a bar on a terminal, else a line of JSON for each cell",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="the result as JSON on stdout")] = False,
) -> None:
    """Backtest a strategy with every combination of some parameters, and rank them.

    Each cell is a process of its own. What is done is kept: the same command goes on where it was
    stopped or killed, and a larger grid runs what is new.

    Examples:
    tidegate sweep strategies/ema_cross.py --minutes 60 --set fast=10,20,50 --set slow=100,200

    tidegate sweep my.py --data data/ --set depth=2,4,8 --walk-forward train=30d,step=7d --json
    """
    from runtime.loading import load_strategy  # noqa: PLC0415  # start fast
    from runtime.settings import load_settings  # noqa: PLC0415
    from runtime.simulation import Data as Source  # noqa: PLC0415
    from runtime.simulation import build_backtest  # noqa: PLC0415
    from runtime.sweep.cell import Task, silent_log  # noqa: PLC0415
    from runtime.sweep.grid import cells_of, check_rank, read_grid  # noqa: PLC0415
    from runtime.sweep.ledger import Ledger  # noqa: PLC0415
    from runtime.sweep.pool import Pool  # noqa: PLC0415

    grid = read_grid(values or [])
    cells = cells_of(grid)
    check_rank(rank)
    if workers is not None and workers < 1:
        raise ConfigError(f"--workers is {workers}: 1 or more are needed")
    if cell_minutes is not None and not cell_minutes > 0:  # nor is nan
        raise ConfigError(f"--cell-minutes is {cell_minutes:g}: more than 0 are needed")
    if twice := sorted(set(grid) & set(pairs("--param", param))):
        raise ConfigError(f"{twice[0]} is given by --set and by --param: give it once")
    overrides = overrides_of(
        data=data,
        seed=seed,
        rate=rate,
        minutes=minutes,
        columns=columns,
        normalization=data_normalization,
        cash=cash,
        param=param,
        quota=quota,
        training=training,
        model=model,
        walk_forward=walk_forward,
    )
    settings, _ = load_settings(config, overrides)
    wanted = Wanted(start, end, job_cost, publication_delay, sampling, walk_forward)
    rules = rules_of(ZoneInfo(settings.time_zone), wanted)
    # What is wrong with all cells is said once.
    begin = max(Source(settings.feed).begin, rules.start or 0)
    build_backtest(load_strategy(strategy), settings, begin, silent_log(), rules=rules)
    given = {
        "--from": start,
        "--to": end,
        "--job-cost": job_cost,
        "--sampling": sampling,
        "--publication-delay": publication_delay,
        "--walk-forward": rules.walk_forward,
        "--minutes": minutes,
        "--seed": seed,
        "--rate": rate,
        "--cash": cash,
        "--quota": quota,
        "--columns": columns,
        "--data-normalization": data_normalization,
        "--param": param,
        "--training": training,
    }
    inputs = _inputs(strategy, data, config, pairs("--model", model), given)
    place = ledger or _place(state_dir or STATE_DIR, strategy, data, inputs)
    with Ledger(place, inputs, anew=anew) as book:
        left = [
            Task(str(strategy), settings, rules, cell) for cell in book.missing(cells, again=retry)
        ]
        pool = Pool(
            min(workers or len(os.sched_getaffinity(0)), max(1, len(left))),
            None if cell_minutes is None else cell_minutes * 60,
        )
        from runtime.cli.sweep_view import show, watching  # noqa: PLC0415

        with watching(progress, len(cells), len(cells) - len(left), rank) as tell:
            _run(pool, left, book, tell)
        raise typer.Exit(show(book, cells, rank, top, as_json=as_json))


def _run(
    pool: "Pool", tasks: "list[Task]", book: "Ledger", tell: "Callable[[CellResult], None]"
) -> None:
    """Run what is left; the first signal stops it, what is done stays done."""

    def on_result(result: "CellResult") -> None:
        try:
            book.write(result)
        except OSError as error:
            raise RunFailed(f"the ledger {book.path} was not written: {error.strerror}") from None
        tell(result)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: pool.stop())
    pool.run(tasks, on_result)


def _inputs(
    strategy: str,
    data: list[str] | None,
    config: Path | None,
    models: Mapping[str, str],
    given: Mapping[str, object],
) -> "Inputs":
    """Say what all cells have in common."""
    from runtime.inputs import (  # noqa: PLC0415
        digest_of_files,
        files_of_data,
        files_of_strategy,
    )
    from runtime.sweep.ledger import Inputs  # noqa: PLC0415

    options = {name: str(value) for name, value in given.items() if value not in (None, [])}
    if config is not None:
        options["--config"] = digest_of_files([("config", config)])
    for slot, file in models.items():
        options[f"--model {slot}"] = digest_of_files([(slot, Path(file))])
    options["tidegate"] = version("tidegate")
    return Inputs(
        strategy=digest_of_files(files_of_strategy(strategy)),
        data=digest_of_files(files_of_data(data or [])),
        options=options,
    )


def _place(state: str, strategy: str, data: list[str] | None, inputs: "Inputs") -> Path:
    """Return where a sweep of these files with these options is kept, whatever is in the files."""
    file, _, name = strategy.partition(":")
    words = [str(Path(file).resolve()), name, *(str(Path(each).resolve()) for each in data or [])]
    words += [f"{option}={value}" for option, value in sorted(inputs.options.items())]
    digest = hashlib.sha256("\n".join(words).encode()).hexdigest()[:10]
    return Path(state) / "sweeps" / f"{Path(file).stem}-{digest}.jsonl"
