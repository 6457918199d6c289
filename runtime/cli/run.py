"""Run a strategy: `tidegate run` and `tidegate demo`."""

import os
import resource
import signal
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from runtime.cli.app import app, fail
from runtime.cli.options import (
    Columns,
    Config,
    Data,
    Duration,
    Feed,
    FeedUrl,
    JsonLines,
    LogFormat,
    LogLevel,
    Name,
    Normalization,
    Param,
    Rate,
    Seed,
    Speed,
    StateDir,
    check_duration,
    column_mapping,
    credentials_of_environment,
    pace_of,
    pairs,
)
from runtime.cli.stopping import stop_came_early
from runtime.control.leaving import leave, see_out
from runtime.errors import ConfigError, Stopped
from runtime.redaction import KNOWN


@app.command()
def run(
    strategy: Annotated[str, typer.Argument(help="FILE.py or FILE.py:Class")],
    feed: Feed = None,
    feed_url: FeedUrl = None,
    data: Data = None,
    speed: Speed = None,
    clock: Annotated[
        str | None, typer.Option(help="whose time counts at a venue: auto, wall or venue")
    ] = None,
    seed: Seed = None,
    rate: Rate = None,
    minutes: Annotated[float | None, typer.Option(help="market time of a synthetic tape")] = None,
    columns: Columns = None,
    data_normalization: Normalization = None,
    duration: Duration = None,
    cash: Annotated[float | None, typer.Option(help="starting cash of the paper account")] = None,
    broker: Annotated[
        str | None, typer.Option(help="who fills orders: paper (the default), alpaca, or ccxt:NAME")
    ] = None,
    trading_url: Annotated[
        str | None,
        typer.Option(help="that broker's REST API, where it is not the usual one"),
    ] = None,
    param: Param = None,
    config: Config = None,
    quota: Annotated[
        str | None, typer.Option(help="training quota by name: lean-local, unlimited, O2-8 ...")
    ] = None,
    training: Annotated[
        bool | None, typer.Option("--training/--no-training", help="start with training on or off")
    ] = None,
    isolation: Annotated[
        str | None, typer.Option(help="how training jobs are run: thread, process or cluster")
    ] = None,
    name: Name = None,
    state_dir: StateDir = None,
    persist: Annotated[
        bool | None,
        typer.Option(
            "--persist/--no-persist",
            help="keep quota and models for the next run; by default not on a tape",
        ),
    ] = None,
    record: Annotated[
        bool | None,
        typer.Option(
            "--record/--no-record", help="write down what the engine sees, for tidegate replay"
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="SLOT=FILE: serve a finished model, never train it; repeatable"),
    ] = None,
    api: Annotated[
        str | None,
        typer.Option(
            help="serve the control API at a loopback HOST:PORT too, for who has the token"
        ),
    ] = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
    log_file: Annotated[str | None, typer.Option(help="write the log to this file as well")] = None,
    as_json: JsonLines = False,
) -> None:
    """Run a strategy: on the embedded paper venue unless another feed is named.

    Examples:
    tidegate run strategies/ema_cross.py

    tidegate run my.py:Momentum --feed replay --data data/spy --speed max -p symbol=SPY

    tidegate run my.py --feed coinbase

    tidegate run my.py --feed alpaca --broker alpaca (keys in APCA_API_KEY_ID and
    APCA_API_SECRET_KEY)

    kill -USR1 PID switches training off and on, kill -USR2 PID trains now, Ctrl-C stops in order.
    """
    overrides = {
        "name": name,
        "state_dir": state_dir,
        "persist": persist,
        "record": record,
        "models": pairs("--model", model),
        "parameters": pairs("--param", param),
        "feed": {
            "kind": feed,
            "url": feed_url,
            "data": data or None,
            "speed": pace_of(speed),
            "clock": clock,
            "seed": seed,
            "rate": rate,
            "minutes": minutes,
            "table": {"columns": column_mapping(columns) or None},
            "normalization": data_normalization,
        },
        "trading": {"cash": cash, "broker": broker, "url": trading_url},
        "training": {"preset": quota, "enabled": training, "isolation": isolation},
        "control": {"tcp": api},
        "log": {
            "level": log_level,
            "format": "json" if as_json else log_format,
            "file": log_file,
        },
    }
    run_to_exit(strategy, overrides, config, duration)


@app.command()
def demo(
    duration: Annotated[
        float, typer.Option(help="stop in order after this many seconds; 0 runs until Ctrl-C")
    ] = 60.0,
    seed: Seed = None,
    name: Name = "demo",
    state_dir: StateDir = None,
    persist: Annotated[
        bool,
        typer.Option("--persist/--no-persist", help="keep quota and models for the next demo"),
    ] = False,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
    as_json: JsonLines = False,
) -> None:
    """Watch a model train, become ready and trade on the embedded paper venue: no keys, no data.

    Examples:
    tidegate demo --duration 120
    """
    from strategies import folder  # noqa: PLC0415  # the CLI knows the examples by place only

    overrides = {
        "name": name,
        "state_dir": state_dir,
        "persist": persist,
        "feed": {"kind": "paper", "seed": seed, "rate": 50.0},
        "training": {"isolation": "process"},
        "log": {"level": log_level, "format": "json" if as_json else log_format},
    }
    run_to_exit(str(folder() / "order_flow_model.py"), overrides, None, duration or None)


def run_to_exit(
    strategy: str, overrides: dict[str, Any], config: Path | None, duration: float | None
) -> None:
    """Load, run, and leave with the exit code."""
    # Here and not above, so that --help and --version answer at once.
    from runtime.control.state import check_free, deployment_name  # noqa: PLC0415
    from runtime.feed_options import check_feed_options  # noqa: PLC0415
    from runtime.loading import load_strategy  # noqa: PLC0415
    from runtime.settings import load_settings  # noqa: PLC0415

    check_duration(duration)
    if "" in (overrides["feed"].get("data") or []):
        raise ConfigError("--data is empty: a file or folder of recorded market data is needed")
    settings, ignored = load_settings(config, overrides)
    check_feed_options(overrides["feed"], settings.feed)
    # No core file: it would hold every key.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    KNOWN.learn_address(settings.feed.url)
    KNOWN.learn_address(settings.feed.rest_url)
    KNOWN.learn_address(settings.feed.proxy)
    token = os.environ.get("TIDEGATE_API_TOKEN") or None
    if token is not None and not (token.isascii() and token.isprintable() and len(token) >= 16):
        raise ConfigError(
            "TIDEGATE_API_TOKEN is too easy to guess: at least 16 printable ASCII characters are "
            "needed"
        )
    loaded = load_strategy(strategy)
    if stop_came_early():
        raise Stopped(0)  # and the file has swallowed it
    if settings.persists:
        check_free(Path(settings.state_dir), deployment_name(settings.name, type(loaded).__name__))
    # Last, so that what can't begin is told at once.
    import anyio  # noqa: PLC0415

    from runtime.assembly import run_strategy  # noqa: PLC0415
    from runtime.cli.bars import bars  # noqa: PLC0415
    from runtime.control.board import Board  # noqa: PLC0415
    from runtime.control.logs import open_log  # noqa: PLC0415
    from runtime.control.notify import supervisor_of  # noqa: PLC0415
    from runtime.control.printed import heard  # noqa: PLC0415
    from runtime.control.reload import Reload  # noqa: PLC0415
    from runtime.control.strays import hear_strays  # noqa: PLC0415

    board = Board(time.time_ns)
    as_text = settings.log.format != "json"
    with (
        bars(sys.stdout, board, wanted=as_text) as stream,
        open_log(settings.log, stream, tap=board.wrote) as (log, writer),
    ):
        board.places.append(writer.statistics)
        reload = Reload(log, writer, settings, lambda: load_settings(config, overrides)[0])

        def left(sentence: str) -> None:
            writer.close()
            leave(1, at_once=True, words=f"tidegate: {sentence}\n")

        if ignored:
            log.info("LEAN settings without a meaning here", keys=", ".join(ignored))

        async def to_its_end() -> int:
            hear_strays(log, writer)
            outcome = await run_strategy(
                loaded,
                settings,
                log,
                duration=duration,
                credentials=credentials_of_environment(),
                leave=left,
                supervisor=supervisor_of(os.environ, os.getpid()),
                board=board,
                token=token,
                on_reload=reload.ask,
            )
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)  # it has ended, and goes on to say how
            log.info("summary", **outcome.figures())
            code = 0 if outcome.failure is None else fail(outcome.failure)
            if outcome.left_running:  # a thread that ignores its stop would hold up the interpreter
                with suppress(OSError):
                    sys.stderr.write(f"tidegate: left without {', '.join(outcome.left_running)}\n")
                writer.close()
                leave(code, at_once=True)
            see_out(code)
            return code

        try:
            with heard(log):
                on_uvloop = settings.feed.transport == "fast"
                code = anyio.run(to_its_end, backend_options={"use_uvloop": on_uvloop})
        except Exception:
            log.debug("failed", traceback=traceback.format_exc())
            raise
    raise typer.Exit(code)
