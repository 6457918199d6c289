"""Run a strategy over recorded or made-up data at once: `tidegate backtest`."""

import os
import signal
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple
from zoneinfo import ZoneInfo

import typer
from typer.core import TyperCommand

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
from runtime.errors import ConfigError, RunFailed, Stopped

if TYPE_CHECKING:
    from runtime.backtest import Backtest, Rules
    from runtime.live import Outcome

MINUTE_NS, SECOND_NS = 60_000_000_000, 1_000_000_000


class _Spaced(TyperCommand):
    """Takes `--walk-forward train=30d step=7d` for `--walk-forward train=30d,step=7d`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Join the two words."""
        joined: list[str] = []
        for word in args:
            if word.startswith(("train=", "step=")) and joined[-2:-1] == ["--walk-forward"]:
                joined[-1] += f",{word}"
            else:
                joined.append(word)
        return super().parse_args(ctx, joined)


@app.command(cls=_Spaced)
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
    walk_forward: Annotated[
        str | None,
        typer.Option(
            help="train=30d,step=7d: train on so much data at each step and at no other time; the "
            "result is of the data after the first training (d, h, m)"
        ),
    ] = None,
    progress: Annotated[
        bool | None,
        typer.Option(
            "--progress/--no-progress",
            help="how far it is: a bar on a terminal (by default), else lines of JSON on stderr",
        ),
    ] = None,
    sampling: Annotated[
        str | None, typer.Option(help="length of one return in the statistics: day, hour or minute")
    ] = None,
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
    if report is not None:
        _check_folder(report)
    if walk_forward is not None and training is False:
        raise ConfigError("--walk-forward trains at each step: --no-training contradicts it")
    wanted = Wanted(start, end, job_cost, publication_delay, sampling, walk_forward)
    _run(strategy, overrides, config, wanted, progress, report, as_json=as_json)


class Wanted(NamedTuple):
    """What is otherwise than live, as it was given."""

    start: str | None = None
    end: str | None = None
    job_cost: float | None = None
    publication_delay: str | None = None
    sampling: str | None = None
    walk_forward: str | None = None


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


def rules_of(zone: ZoneInfo, given: Wanted) -> "Rules":
    """Read the options that say what is otherwise than live.

    Raises:
        ConfigError: one of them has no meaning.
    """
    from runtime.backtest import REAL_TIME, Rules  # noqa: PLC0415
    from runtime.report.sampling import Sampling  # noqa: PLC0415
    from runtime.walk_forward import walk_forward_of  # noqa: PLC0415

    job_cost, publication_delay, sampling = given.job_cost, given.publication_delay, given.sampling
    if sampling is not None and sampling not in set(Sampling):
        raise ConfigError(f"--sampling is {sampling!r}: allowed are {', '.join(Sampling)}")
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
        start=_moment("--from", given.start, zone),
        end=_moment("--to", given.end, zone),
        job_cost=None if job_cost is None else round(job_cost * MINUTE_NS),
        publish_after=after,
        sampling=Sampling(sampling or Sampling.DAY),
        walk_forward=None if given.walk_forward is None else walk_forward_of(given.walk_forward),
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
