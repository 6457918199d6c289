"""Run a strategy over recorded or made-up data at once: `tidegate backtest`."""

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from runtime.cli.app import app, fail
from runtime.cli.options import (
    Columns,
    Config,
    Data,
    LogFormat,
    LogLevel,
    Normalization,
    Param,
    Rate,
    Seed,
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
from runtime.cli.stopping import stop_came_early
from runtime.control.leaving import leave, see_out
from runtime.errors import ConfigError, RunFailed, Stopped

if TYPE_CHECKING:
    from runtime.backtest import Backtest
    from runtime.live import Outcome


@app.command(cls=Spaced)
def backtest(
    strategy: Annotated[str, typer.Argument(help="FILE.py or FILE.py:Class")],
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
    progress: Annotated[
        bool | None,
        typer.Option(
            "--progress/--no-progress",
            help="how far it is: a bar on a terminal (by default), else lines of JSON on stderr",
        ),
    ] = None,
    sampling: Sampling = None,
    report: Annotated[
        Path | None, typer.Option(help="a folder for report.html and report.json")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="the result as JSON on stdout")] = False,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
) -> None:
    """Run a strategy over data at once, on the engine that runs it live.

    Without --data it is a made-up market, the one of the paper venue.

    Examples:
    tidegate backtest strategies/order_flow_model.py --minutes 15

    tidegate backtest my.py --data data/equity/usa/tick/spy --from 2013-10-07 --to 2013-10-09 --json
    """
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
    overrides["log"] = {"level": log_level or "warning", "format": log_format}
    if report is not None:
        _check_folder(report)
    wanted = Wanted(start, end, job_cost, publication_delay, sampling, walk_forward)
    _run(strategy, overrides, config, wanted, progress, report, as_json=as_json)


def _run(
    strategy: str,
    overrides: dict[str, Any],
    config: Path | None,
    wanted: Wanted,
    progress: bool | None,
    report: Path | None,
    *,
    as_json: bool,
) -> None:
    """Load, run, show, and leave with the exit code."""
    from runtime.control.logs import open_log  # noqa: PLC0415  # start fast
    from runtime.loading import load_strategy  # noqa: PLC0415
    from runtime.settings import load_settings  # noqa: PLC0415
    from runtime.simulation import Data as Source  # noqa: PLC0415
    from runtime.simulation import build_backtest  # noqa: PLC0415

    settings, ignored = load_settings(config, overrides)
    zone = ZoneInfo(settings.time_zone)
    rules = rules_of(zone, wanted)
    loaded = load_strategy(strategy)
    if stop_came_early():
        raise Stopped(0)
    source = Source(settings.feed)
    with open_log(settings.log, sys.stderr) as (log, writer):

        def left(sentence: str) -> None:
            writer.close()
            leave(1, at_once=True, words=f"tidegate: {sentence}\n")

        if ignored:
            log.info("LEAN settings without a meaning here", keys=", ".join(ignored))
        begin = max(source.begin, rules.start or 0)
        from runtime.cli.progress import bar  # noqa: PLC0415

        with bar(progress, begin, rules.end or source.end) as advance:
            test = build_backtest(
                loaded, settings, begin, log, rules=rules, on_progress=advance, leave=left
            )
            _listen(test)
            outcome = test.run(source, begin)
        code = 0 if outcome.failure is None else fail(outcome.failure)
        _show(test, outcome, report, as_json=as_json)
        see_out(code)
    raise typer.Exit(code)


def _listen(test: "Backtest") -> None:
    """End in order at the first signal, at once at the second."""
    heard: list[int] = []

    def hear(number: int, _: object) -> None:
        if heard:
            os._exit(0)
        heard.append(number)
        test.stop(f"{signal.Signals(number).name} received")

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, hear)


def _check_folder(folder: Path) -> None:
    """Make the folder before anything runs: what took an hour must not be lost to a typing error.

    Raises:
        ConfigError: it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--report is {folder}: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"--report is {folder}: it cannot be written to")


def _show(test: "Backtest", outcome: "Outcome", folder: Path | None, *, as_json: bool) -> None:
    from runtime.report.record import make_report, to_json  # noqa: PLC0415

    report = make_report(test.record(outcome))
    figures = outcome.figures() | {
        "orders_sha256": test.journal.orders_sha256,
        "seconds": round(test.seconds, 3),
        "events_per_second": round(outcome.engine.events / max(test.seconds, 1e-9)),
    }
    if folder is not None:
        from runtime.disk import write_whole  # noqa: PLC0415
        from runtime.report.page import page  # noqa: PLC0415

        try:
            write_whole(folder / "report.json", to_json(report))
            write_whole(folder / "report.html", page(report).encode())
        except OSError as error:
            raise RunFailed(f"the report was not written to {folder}: {error.strerror}") from None
        figures["report"] = str(folder / "report.html")
    if as_json:
        import msgspec  # noqa: PLC0415

        typer.echo(
            msgspec.json.encode(
                {
                    "summary": figures,
                    "statistics": report.statistics,
                    "curve": test.curve.samples,
                    "fills": test.journal.fills,
                    "training": test.journal.training,
                    "folds": report.record.folds,
                }
            )
        )
        return
    from rich.console import Console  # noqa: PLC0415

    from runtime.report.terminal import summary  # noqa: PLC0415

    console = Console(markup=False, highlight=False)
    console.print(summary(report, figures, console.width))
