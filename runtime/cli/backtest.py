"""Run a strategy over recorded or made-up data at once: `tidegate backtest`."""

import os
import signal
import sys
from datetime import datetime
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
    Param,
    Rate,
    Seed,
    column_mapping,
    pairs,
)
from runtime.cli.stopping import stop_came_early
from runtime.control.leaving import leave, see_out
from runtime.errors import ConfigError, Stopped

if TYPE_CHECKING:
    from runtime.backtest import Backtest, Rules
    from runtime.live import Outcome

MINUTE_NS, SECOND_NS = 60_000_000_000, 1_000_000_000


@app.command()
def backtest(
    strategy: Annotated[str, typer.Argument(help="FILE.py or FILE.py:Class")],
    data: Data = None,
    start: Annotated[
        str | None, typer.Option("--from", help="first day or moment, such as 2013-10-07")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="first day or moment that is not played any more")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="length of the made-up market")] = None,
    seed: Seed = None,
    rate: Rate = None,
    columns: Columns = None,
    cash: Annotated[float | None, typer.Option(help="starting cash of the paper account")] = None,
    param: Param = None,
    config: Config = None,
    quota: Annotated[
        str | None, typer.Option(help="training quota by name: lean-local, unlimited, O2-8 ...")
    ] = None,
    training: Annotated[
        bool | None, typer.Option("--training/--no-training", help="whether anything is trained")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="SLOT=FILE: serve a finished model, never train it; repeatable"),
    ] = None,
    job_cost: Annotated[
        float | None,
        typer.Option(
            help="minutes that each job is billed, whatever it really takes, from a quota that "
            "refills in the data's time: results do not depend on the machine"
        ),
    ] = None,
    publication_delay: Annotated[
        str | None,
        typer.Option(
            help="a model serves only so many seconds of the data's time after its job began; "
            "real: as long as the job took"
        ),
    ] = None,
    progress: Annotated[
        bool | None, typer.Option("--progress/--no-progress", help="a bar, on a terminal")
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
    overrides = {
        "models": pairs("--model", model),
        "parameters": pairs("--param", param),
        "feed": {
            "kind": "replay" if data else "synthetic",
            "data": data or None,
            "speed": 0.0,
            "seed": seed,
            "rate": rate,
            "minutes": minutes,
            "table": {"columns": column_mapping(columns) or None},
        },
        "trading": {"cash": cash},
        "training": {"preset": quota, "enabled": training},
        "log": {"level": log_level or "warning", "format": log_format},
    }
    if "" in (data or []):
        raise ConfigError("--data is empty: a file or folder of recorded market data is needed")
    for option, given in (("--seed", seed), ("--rate", rate), ("--minutes", minutes)):
        if data and given is not None:
            raise ConfigError(f"{option} means nothing with --data: it is for the made-up market")
    _run(strategy, overrides, config, (start, end), job_cost, publication_delay, progress, as_json)


def _run(
    strategy: str,
    overrides: dict[str, Any],
    config: Path | None,
    span: tuple[str | None, str | None],
    job_cost: float | None,
    publication_delay: str | None,
    progress: bool | None,
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
    rules = _rules(zone, span, job_cost, publication_delay)
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

        with bar(progress, begin, rules.end) as advance:
            test = build_backtest(
                loaded, settings, begin, log, rules=rules, on_progress=advance, leave=left
            )
            _listen(test)
            outcome = test.run(source, begin)
        code = 0 if outcome.failure is None else fail(outcome.failure)
        _show(test, outcome, as_json=as_json)
        see_out(code)
    raise typer.Exit(code)


def _rules(
    zone: ZoneInfo,
    span: tuple[str | None, str | None],
    job_cost: float | None,
    publication_delay: str | None,
) -> "Rules":
    from runtime.backtest import REAL_TIME, Rules  # noqa: PLC0415

    if job_cost is not None and not 0 <= job_cost < float("inf"):
        raise ConfigError(f"--job-cost is {job_cost:g}: 0 minutes or more are needed")
    after: int | None = None
    if publication_delay == "real":
        after = REAL_TIME
    elif publication_delay is not None:
        try:
            after = round(float(publication_delay) * SECOND_NS)
        except (ValueError, OverflowError):
            after = -1
        if after < 0:
            raise ConfigError(
                f"--publication-delay is {publication_delay!r}: real, or 0 seconds or more"
            )
    return Rules(
        start=_moment("--from", span[0], zone),
        end=_moment("--to", span[1], zone),
        job_cost=None if job_cost is None else round(job_cost * MINUTE_NS),
        publish_after=after,
    )


def _moment(option: str, text: str | None, zone: ZoneInfo) -> int | None:
    """Read a day or a moment; without a zone of its own it is in the run's."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"{option} is {text!r}: a day or a moment is needed, such as 2013-10-07 or "
            "2013-10-07T09:30"
        ) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=zone)
    return int(moment.timestamp()) * SECOND_NS + moment.microsecond * 1_000


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


def _show(test: "Backtest", outcome: "Outcome", *, as_json: bool) -> None:
    figures = outcome.figures() | {
        "orders_sha256": test.journal.orders_sha256,
        "seconds": round(test.seconds, 3),
        "events_per_second": round(outcome.engine.events / max(test.seconds, 1e-9)),
    }
    if as_json:
        import msgspec  # noqa: PLC0415

        typer.echo(
            msgspec.json.encode(
                {
                    "summary": figures,
                    "curve": test.curve.samples,
                    "fills": test.journal.fills,
                    "training": test.journal.training,
                }
            )
        )
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table("", "", box=None, show_header=False)
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), str(value))
    Console(markup=False, highlight=False).print(table)
