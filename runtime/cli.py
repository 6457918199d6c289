"""Arguments, messages, exit codes; nothing else.

0: a clean stop. 1: the run failed. 2: usage or configuration. 3: another run has the state. Every
message is one sentence on stderr; a traceback appears only at --log-level debug.
"""

import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TextIO

import typer

from runtime.control.leaving import leave, see_out
from runtime.control.signals import hold_back
from runtime.errors import (
    AlreadyRunning,
    ConfigError,
    InternalError,
    Stopped,
    StrategyError,
    TidegateError,
    VenueRefused,
)

if TYPE_CHECKING:
    from runtime.control.models import ModelRow
    from runtime.sources import Credentials

STATE_DIR = ".tidegate"
_stopped = threading.Event()

app = typer.Typer(
    help="Trade machine-learning strategies live: training never disturbs trading.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

Feed = Annotated[
    str | None,
    typer.Option("--feed", help="paper (the default), replay, synthetic, or a venue: coinbase ..."),
]
FeedUrl = Annotated[
    str | None,
    typer.Option(
        "--feed-url",
        "--venue-url",
        help="a venue that runs already, or another address, such as ws://127.0.0.1:8765",
    ),
]
Data = Annotated[
    list[str] | None,
    typer.Option("--data", help="recorded data: a file or folder; may be repeated"),
]
Speed = Annotated[
    str | None, typer.Option(help="pace of a tape: 1 as recorded, N times faster, max flat out")
]
Seed = Annotated[int | None, typer.Option(help="seed of the synthetic market")]
Rate = Annotated[float | None, typer.Option(help="synthetic ticks a second and symbol")]
Columns = Annotated[
    list[str] | None, typer.Option(help="FIELD=COLUMN of a CSV or Parquet file; repeatable")
]
Duration = Annotated[float | None, typer.Option(help="stop in order after this many seconds")]
Config = Annotated[Path | None, typer.Option(help="settings: a .toml file, or LEAN's config.json")]
StateDir = Annotated[
    str | None, typer.Option(envvar="TIDEGATE_STATE_DIR", help="folder of what runs leave")
]
Name = Annotated[str | None, typer.Option(help="of the deployment: its folder in the state folder")]
Param = Annotated[
    list[str] | None, typer.Option("--param", "-p", help="NAME=VALUE for get_parameter; repeatable")
]
LogLevel = Annotated[str | None, typer.Option(help="debug, info, warning or error")]
LogFormat = Annotated[str | None, typer.Option(help="auto, text or json")]


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
    duration: Duration = None,
    cash: Annotated[float | None, typer.Option(help="starting cash of the paper account")] = None,
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
    model: Annotated[
        list[str] | None,
        typer.Option(help="SLOT=FILE: serve a finished model, never train it; repeatable"),
    ] = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
    log_file: Annotated[str | None, typer.Option(help="write the log to this file as well")] = None,
) -> None:
    """Run a strategy: on the embedded paper venue unless another feed is named.

    Examples:
    tidegate run strategies/ema_cross.py

    tidegate run my.py:Momentum --feed replay --data data/spy --speed max -p symbol=SPY

    tidegate run my.py --feed coinbase

    kill -USR1 PID switches training off and on, kill -USR2 PID trains now, Ctrl-C stops in order.
    """
    overrides = {
        "name": name,
        "state_dir": state_dir,
        "persist": persist,
        "models": _pairs("--model", model),
        "parameters": _pairs("--param", param),
        "feed": {
            "kind": feed,
            "url": feed_url,
            "data": data or None,
            "speed": _speed(speed),
            "clock": clock,
            "seed": seed,
            "rate": rate,
            "minutes": minutes,
            "table": {"columns": _columns(columns) or None},
        },
        "trading": {"cash": cash},
        "training": {"preset": quota, "enabled": training, "isolation": isolation},
        "log": {"level": log_level, "format": log_format, "file": log_file},
    }
    _run(strategy, overrides, config, duration)


@app.command()
def demo(
    duration: Annotated[
        float, typer.Option(help="stop in order after this many seconds; 0 runs until Ctrl-C")
    ] = 60.0,
    seed: Seed = None,
    state_dir: StateDir = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
) -> None:
    """Watch a model train, become ready and trade on the embedded paper venue: no keys, no data."""
    from strategies import folder  # noqa: PLC0415  # the CLI knows the examples by place only

    overrides = {
        "state_dir": state_dir,
        "feed": {"kind": "paper", "seed": seed, "rate": 50.0},
        "training": {"isolation": "process"},
        "log": {"level": log_level, "format": log_format},
    }
    _run(str(folder() / "order_flow_model.py"), overrides, None, duration or None)


@app.command()
def venue(
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="port to listen on; 0 takes a free one")] = 8765,
    data: Data = None,
    speed: Speed = None,
    seed: Seed = None,
    rate: Rate = None,
    columns: Columns = None,
    clients: Annotated[
        int, typer.Option(min=1, help="start the tape once so many sessions have subscribed")
    ] = 1,
) -> None:
    """Run the paper venue alone: Alpaca's market-data stream over a made-up or recorded market.

    Clients log in with TIDEGATE_VENUE_KEY and TIDEGATE_VENUE_SECRET, which are "paper" unless set.

    Examples:
    tidegate venue --port 8765 --rate 50

    tidegate venue --data data/equity/usa/tick/spy --speed max --clients 2

    tidegate run my.py --venue-url ws://127.0.0.1:8765 (keys in APCA_API_KEY_ID and
    APCA_API_SECRET_KEY; --clock venue where the venue plays a tape)
    """
    import anyio  # noqa: PLC0415  # start fast

    from feeds.venue.process import Opening, VenueOptions, serve_until_signal  # noqa: PLC0415
    from feeds.venue.protocol import Credentials  # noqa: PLC0415

    pace = 1.0 if speed is None else _speed(speed)
    for option, value in (("--seed", seed), ("--rate", rate)):
        if data and value is not None:
            raise ConfigError(f"{option} means nothing with --data: it is for the made-up market")
    if not host:
        raise ConfigError("--host is empty: 127.0.0.1 is this machine, 0.0.0.0 every address of it")
    if port not in range(65_536):
        raise ConfigError(f"--port is {port}: 0 to 65535 is allowed")
    if pace is None or not 0 <= pace < float("inf"):
        raise ConfigError(f"--speed is {speed}: more than 0, or max, is needed")
    options = VenueOptions(
        seed=1 if seed is None else seed,
        rate=20.0 if rate is None else rate,
        data=tuple(data or ()),
        speed=pace or None,
        table={"columns": _columns(columns)},
        host=host,
        port=port,
        audience=clients,
    )
    key = os.environ.get("TIDEGATE_VENUE_KEY", "paper")
    secret = os.environ.get("TIDEGATE_VENUE_SECRET", "paper")

    def announce(opening: Opening) -> None:
        typer.echo(f"paper venue listens on {opening.url} (key {key}); Ctrl-C stops it")
        for symbol, held in opening.untold.items():
            typer.echo(
                f"{symbol} has {held} only: clients of Alpaca's channels are refused it, "
                "tidegate run --clock venue hears it"
            )

    anyio.run(serve_until_signal, options, Credentials(key, secret), announce)


@app.command()
def record(
    feed: Annotated[str, typer.Option("--feed", help="the venue, such as coinbase")],
    out: Annotated[Path, typer.Option(help="a folder for captures and tables")],
    symbol: Annotated[
        list[str] | None, typer.Option("--symbol", "-s", help="such as BTC/USD; repeatable")
    ] = None,
    feed_url: FeedUrl = None,
    tables: Annotated[
        bool, typer.Option("--tables/--no-tables", help="Parquet of trades and quotes as well")
    ] = True,
    duration: Duration = None,
    config: Config = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
) -> None:
    """Record a venue's live data: what came, as it came, and Parquet of trades and quotes.

    Replay either with --feed replay --data OUT/captures or OUT/tables.
    """
    import anyio  # noqa: PLC0415  # start fast

    from feeds.protocols.registry import VENUES  # noqa: PLC0415
    from runtime.control.logs import open_log  # noqa: PLC0415
    from runtime.recording import record as recording  # noqa: PLC0415
    from runtime.settings import load_settings  # noqa: PLC0415

    overrides = {
        "feed": {"kind": feed, "url": feed_url},
        "log": {"level": log_level, "format": log_format},
    }
    if feed not in VENUES:
        raise ConfigError(f"--feed is {feed!r}: allowed are {', '.join(VENUES)}")
    _check_duration(duration)
    settings, _ = load_settings(config, overrides)
    with open_log(settings.log) as (log, _):
        outcome = anyio.run(
            lambda: recording(
                settings,
                symbol or [],
                out,
                log,
                tables=tables,
                duration=duration,
                credentials=_credentials(),
            )
        )
        log.info("recorded", **outcome.figures())


@app.command()
def health(name: Name = None, state_dir: StateDir = None) -> None:
    """Say whether a run is alive; exit code 1 if not.

    Without a name it is the run in the state folder that gave the newest sign of life.
    """
    from runtime.control.heartbeat import check_heartbeat, newest_heartbeat  # noqa: PLC0415

    root = Path(state_dir or STATE_DIR)
    typer.echo(check_heartbeat(newest_heartbeat(root) if name is None else root / name))


models = typer.Typer(help="List stored models, and roll back among them.")
app.add_typer(models, name="models")


@models.callback(invoke_without_command=True)
def list_models(
    context: typer.Context,
    name: Name = None,
    state_dir: StateDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="as JSON")] = False,
) -> None:
    """List the stored versions of a deployment, or of all in the state folder."""
    if context.invoked_subcommand is not None:
        return
    import msgspec  # noqa: PLC0415  # start fast

    from runtime.control.models import list_models as look  # noqa: PLC0415

    rows, notes = look(Path(state_dir or STATE_DIR), name)
    for note in notes:
        typer.echo(f"tidegate: {note}", err=True)
    if as_json:
        typer.echo(msgspec.json.encode(rows))
    else:
        _show_models(rows)


@models.command()
def rollback(
    slot: Annotated[str, typer.Argument(help="which model")],
    to: Annotated[int | None, typer.Option(help="version; the one before by default")] = None,
    name: Name = None,
    state_dir: StateDir = None,
) -> None:
    """Let an older version serve again, in a run that goes on or from the next one."""
    from runtime.control.models import roll_back  # noqa: PLC0415  # start fast

    typer.echo(roll_back(Path(state_dir or STATE_DIR), name, slot, to))


def _show_models(rows: "list[ModelRow]") -> None:
    """Write a table; on anything but a terminal it is as wide as it needs to be."""
    from datetime import UTC, datetime  # noqa: PLC0415

    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(
        "deployment",
        "slot",
        "version",
        "state",
        "trained (UTC)",
        "format",
        "bytes",
        "metrics",
        box=None,
    )
    for row in rows:
        trained = datetime.fromtimestamp(row.trained_at // 1_000_000_000, UTC)
        table.add_row(
            row.deployment,
            row.slot,
            f"v{row.version}",
            row.state,
            f"{trained:%Y-%m-%d %H:%M:%S}",
            row.format,
            str(row.bytes),
            " ".join(f"{key}={value:.4g}" for key, value in row.metrics.items()),
        )
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = 250
    console.print(table if rows else "no stored models")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tidegate {version('tidegate')}")
        raise typer.Exit


@app.callback()
def _main(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="show the version")
    ] = False,
) -> None:
    """Take the options that come before a command."""


def main() -> NoReturn:
    """Run the command line; the only place that turns errors into exit codes."""
    hold_back()
    sys.stdout, sys.stderr = sys.stdout or _nowhere(), sys.stderr or _nowhere()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop_before_start)
    code: object = 0
    try:
        app()  # typer leaves by itself: with 0, a command's own code, or 2 and its usage message
    except SystemExit as ending:
        code = ending.code
    except TidegateError as error:
        code = _fail(error)
    except BaseException as error:  # noqa: BLE001  # the last place: whatever it is, one sentence
        rest = error.split(SystemExit)[1] if isinstance(error, BaseExceptionGroup) else error
        # Else a stop came while the last tasks were ending.
        code = 0 if rest is None else _fail(InternalError(f"tidegate broke: {_said(rest)}"))
    leave(code if isinstance(code, int) else 0)


def _fail(error: TidegateError) -> int:
    """Say it in one sentence; whose turn it is decides the code."""
    with suppress(OSError):  # a full disk behind it, say: the code still tells
        sys.stderr.write(f"tidegate: {error}\n")
    match error:
        case AlreadyRunning():
            return 3
        case ConfigError() | StrategyError(where="load") | VenueRefused(code=402):
            return 2  # 402 is a venue's word for wrong credentials
        case _:
            return 1


def _run(
    strategy: str, overrides: dict[str, Any], config: Path | None, duration: float | None
) -> None:
    """Load, run, and leave with the exit code."""
    # Here and not above, so that --help and --version answer at once.
    from runtime.control.state import check_free, deployment_name  # noqa: PLC0415
    from runtime.feed_options import check_feed_options  # noqa: PLC0415
    from runtime.loading import load_strategy  # noqa: PLC0415
    from runtime.settings import load_settings  # noqa: PLC0415

    _check_duration(duration)
    if "" in (overrides["feed"].get("data") or []):
        raise ConfigError("--data is empty: a file or folder of recorded market data is needed")
    settings, ignored = load_settings(config, overrides)
    check_feed_options(overrides["feed"], settings.feed)
    loaded = load_strategy(strategy)
    if _stopped.is_set():
        raise Stopped(0)  # the file has swallowed it
    if settings.persists:
        check_free(Path(settings.state_dir), deployment_name(settings.name, type(loaded).__name__))
    # Last, so that what can't begin is told at once.
    import anyio  # noqa: PLC0415

    from runtime.assembly import run_strategy  # noqa: PLC0415
    from runtime.control.logs import open_log  # noqa: PLC0415
    from runtime.control.strays import hear_strays  # noqa: PLC0415

    with open_log(settings.log) as (log, writer):

        def left(sentence: str) -> None:
            writer.close()
            leave(1, at_once=True, words=f"tidegate: {sentence}\n")

        if ignored:
            log.info("LEAN settings without a meaning here", keys=", ".join(ignored))

        async def to_its_end() -> int:
            hear_strays(log, writer)
            outcome = await run_strategy(
                loaded, settings, log, duration=duration, credentials=_credentials(), leave=left
            )
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)  # it has ended, and goes on to say how
            log.info("summary", **outcome.figures())
            code = 0 if outcome.failure is None else _fail(outcome.failure)
            if outcome.left_running:  # a thread that ignores its stop would hold up the interpreter
                with suppress(OSError):
                    sys.stderr.write(f"tidegate: left without {', '.join(outcome.left_running)}\n")
                writer.close()
                leave(code, at_once=True)
            see_out(code)
            return code

        try:
            code = anyio.run(to_its_end)
        except Exception:
            log.debug("failed", traceback=traceback.format_exc())
            raise
    raise typer.Exit(code)


def _stop_before_start(_: int, __: object) -> NoReturn:
    """SIGTERM or Ctrl-C before the loop listens: nothing has begun, so the stop is clean."""
    if _stopped.is_set():
        os._exit(0)  # an author's `except BaseException` held up the first one
    _stopped.set()
    raise Stopped(0)  # an author's `except Exception` does not hold it up


def _said(error: BaseException) -> str:
    from runtime.callbacks import describe  # noqa: PLC0415  # start fast

    return describe(error)


def _nowhere() -> TextIO:
    """Stand in for a stream that was closed before we began, which Python leaves as None."""
    return Path(os.devnull).open("w", encoding="utf-8")


def _credentials() -> "Credentials | None":
    """Take the keys of a venue from the environment; half of them is none."""
    from runtime.sources import Credentials  # noqa: PLC0415

    key, secret = os.environ.get("APCA_API_KEY_ID"), os.environ.get("APCA_API_SECRET_KEY")
    return Credentials(key, secret) if key and secret else None


def _check_duration(duration: float | None) -> None:
    if duration is not None and not duration > 0:  # nor is nan
        raise ConfigError(f"--duration is {duration:g}: more than 0 seconds is needed")


def _speed(text: str | None) -> float | None:
    if text is None:
        return None
    if text == "max":
        return 0.0
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"--speed is {text!r}: a number, or max, is needed") from None


def _columns(texts: list[str] | None) -> dict[str, str | int]:
    """Take a column by its header's name, or by its number from 0."""
    pairs = _pairs("--columns", texts)
    return {field: int(column) if column.isdigit() else column for field, column in pairs.items()}


def _pairs(option: str, texts: list[str] | None) -> dict[str, str]:
    pairs = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise ConfigError(f"{option} is {text!r}: NAME=VALUE is needed")
        pairs[name] = value
    return pairs
