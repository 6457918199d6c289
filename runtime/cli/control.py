"""Watch and steer a run that goes on: status, logs, train, orders, positions, halt, stop."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runtime.cli.app import app
from runtime.cli.options import STATE_DIR, Json, Name, StateDir
from runtime.errors import ConfigError
from runtime.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

    from runtime.client import Client

SECOND_NS = 1_000_000_000
CONTEXT = {"run", "strategy"}
COLOURS = {"warning": "yellow", "error": "red", "debug": "dim"}


@app.command()
def status(
    name: Name = None,
    state_dir: StateDir = None,
    as_json: Json = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="until Ctrl-C")] = False,
) -> None:
    """Show how a run stands.

    Examples:
    tidegate status

    tidegate status --name momentum --watch
    """
    client = _client(state_dir, name)
    if watch:
        from runtime.cli.watch import show  # noqa: PLC0415  # start fast

        show(client)
        return
    found = client.get("/v1/status")
    if as_json:
        typer.echo(json.dumps(found))
        return
    console = _console()
    console.print(f"{found['name']}  {found['run']}  since {_utc(found['started'])}")
    snapshot = found["snapshot"]
    figures = dict(snapshot["status"])
    if snapshot["halted"]:
        figures["halted"] = snapshot["halted"]
    console.print(_pairs(figures))


@app.command()
def logs(
    name: Name = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="go on as lines come")] = False,
    level: Annotated[str, typer.Option(help="from this level up")] = "debug",
    grep: Annotated[str, typer.Option(help="only lines with this text, in any case")] = "",
    since: Annotated[str | None, typer.Option(help="such as 10m, 2h, 1d")] = None,
    limit: Annotated[int, typer.Option(min=0, max=1000, help="how many lines at most")] = 200,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Show the last lines of a run's log, also of one that has ended.

    Examples:
    tidegate logs -f --level warning

    tidegate logs --grep fill --since 10m --json
    """
    from runtime.client import find_kept  # noqa: PLC0415  # start fast

    query = {"limit": limit, "level": level, "grep": grep, "since": _since(since)}
    console = _console()
    root = Path(state_dir or STATE_DIR)
    kept = None if follow else find_kept(root, name)

    def show(line: Mapping[str, Any]) -> None:
        if as_json:
            typer.echo(json.dumps(line))
            return
        when = datetime.fromtimestamp(line["time"] / SECOND_NS).astimezone()
        fields = " ".join(
            f"{key}={value}" for key, value in line["fields"].items() if key not in CONTEXT
        )
        text = f"{when:%H:%M:%S} {line['level']:<8} {line['event']:<28} {fields}".rstrip()
        console.print(printable(text), style=COLOURS.get(line["level"], ""))

    if kept is not None:
        for line in _kept(kept, query):
            show(line)
        return
    client = _client(state_dir, name)
    if not follow:
        for line in client.get("/v1/logs", **query)["lines"]:
            show(line)
        return
    try:
        for event, data in client.stream("/v1/logs/stream", **query):
            if event == "line":
                show(json.loads(data))
            elif event == "dropped":
                typer.echo(f"tidegate: {json.loads(data)['count']} lines were missed", err=True)
    except KeyboardInterrupt:
        return


def _kept(folder: Path, query: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the lines that a run which has ended left in its folder."""
    import msgspec  # noqa: PLC0415  # start fast

    from runtime.control.board import LEVELS, chosen  # noqa: PLC0415
    from runtime.control.logfile import kept_lines  # noqa: PLC0415

    if query["level"] not in LEVELS:
        raise ConfigError(f"--level is {query['level']!r}: allowed are {', '.join(LEVELS)}")
    lines = chosen(
        kept_lines(folder),
        level=LEVELS[query["level"]],
        text=query["grep"],
        since=query["since"],
    )
    shown = lines[-query["limit"] :] if query["limit"] else []
    found: list[dict[str, Any]] = msgspec.to_builtins(shown)
    return found


train = typer.Typer(help="Switch training of a run on or off, train now, look, cancel.")
app.add_typer(train, name="train", no_args_is_help=True)


@train.command()
def on(name: Name = None, state_dir: StateDir = None, as_json: Json = False) -> None:
    """Switch training on.

    Examples:
    tidegate train on --name momentum
    """
    found = _client(state_dir, name).post("/v1/training/on")
    _say(found, "training is on", as_json=as_json)


@train.command()
def off(name: Name = None, state_dir: StateDir = None, as_json: Json = False) -> None:
    """Switch training off; trading goes on.

    Examples:
    tidegate train off
    """
    found = _client(state_dir, name).post("/v1/training/off")
    _say(found, "training is off", as_json=as_json)


@train.command()
def now(name: Name = None, state_dir: StateDir = None, as_json: Json = False) -> None:
    """Train every known method now.

    Examples:
    tidegate train now
    """
    found = _client(state_dir, name).post("/v1/training/now")
    jobs = found["jobs"]
    text = f"asked for {', '.join(jobs)}" if jobs else "no method was trained yet"
    _say(found, text, as_json=as_json)


@train.command()
def cancel(
    job: Annotated[str, typer.Argument(help="a job's id, or its method's name")],
    name: Name = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Cancel a job that waits or runs.

    Examples:
    tidegate train cancel fit-3
    """
    found = _client(state_dir, name).post("/v1/training/cancel", job=job)
    _say(found, f"{job} is cancelled", as_json=as_json)


@train.command("status")
def train_status(name: Name = None, state_dir: StateDir = None, as_json: Json = False) -> None:
    """Show the quota, what runs and waits, and what training did.

    Examples:
    tidegate train status --json
    """
    found = _client(state_dir, name).get("/v1/training")
    if as_json:
        typer.echo(json.dumps(found))
        return
    now, console = found["now"], _console()
    quota = now["quota"]
    console.print(
        f"training {'on' if now['is_on'] else 'off'}  quota {quota['available']}/"
        f"{quota['capacity']} min, {quota['refill_amount']} more at {_utc(quota['next_refill'])}"
    )
    for job in now["running"]:
        console.print(
            f"  {job['id']}: {job['state']}, {job['elapsed']:.0f} s, {job['spent']} min, "
            f"{job['fraction']:.0%} {printable(job['text'])}".rstrip()
        )
    console.print(
        _table(
            found["history"][-15:], ("time", "kind", "job", "version", "elapsed", "spent", "text")
        )
    )


@app.command()
def orders(name: Name = None, state_dir: StateDir = None, as_json: Json = False) -> None:
    """Show the newest orders of a run.

    Examples:
    tidegate orders --name momentum
    """
    columns = ("created", "symbol", "side", "type", "quantity", "state", "filled", "average_price")
    _show_rows(_client(state_dir, name).get("/v1/orders")["orders"], columns, as_json=as_json)


@app.command()
def positions(name: Name = None, state_dir: StateDir = None, as_json: Json = False) -> None:
    """Show what a run holds.

    Examples:
    tidegate positions --json
    """
    rows = _client(state_dir, name).get("/v1/positions")["positions"]
    columns = ("symbol", "quantity", "average_price", "last_price", "value", "unrealised_pnl")
    _show_rows(rows, columns, as_json=as_json)


@app.command()
def halt(
    reason: Annotated[str, typer.Argument(help="for the log")] = "",
    name: Name = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Let no order of a run leave from now on, and cancel those that work; a restart keeps it.

    Examples:
    tidegate halt "spreads are too wide" --name momentum
    """
    found = _client(state_dir, name).post("/v1/halt", **({"reason": reason} if reason else {}))
    _say(found, "halted: no order leaves until tidegate resume", as_json=as_json)


@app.command()
def resume(name: Name = None, state_dir: StateDir = None, as_json: Json = False) -> None:
    """Let the orders of a halted run leave again.

    Examples:
    tidegate resume --name momentum
    """
    _say(_client(state_dir, name).post("/v1/resume"), "resumed", as_json=as_json)


@app.command()
def stop(name: Name = None, state_dir: StateDir = None, as_json: Json = False) -> None:
    """End a run in order, as Ctrl-C would.

    Examples:
    tidegate stop --name momentum
    """
    _say(_client(state_dir, name).post("/v1/stop"), "stopping", as_json=as_json)


@app.command()
def runs(state_dir: StateDir = None, as_json: Json = False) -> None:
    """List the deployments in the state folder: what runs, and how the others ended.

    Examples:
    tidegate runs --json
    """
    from runtime.client import running  # noqa: PLC0415  # start fast
    from runtime.control.heartbeat import read_heartbeat  # noqa: PLC0415
    from runtime.control.state import deployments  # noqa: PLC0415

    root = Path(state_dir or STATE_DIR)
    alive = {path.name for path in running(root)}
    rows = []
    for path in deployments(root):
        beat = read_heartbeat(path)
        rows.append(
            {
                "name": path.name,
                "state": "running" if path.name in alive else "ended",
                "run": beat.get("run", ""),
                "heard": int(float(beat.get("time", 0)) * SECOND_NS),
                "equity": beat.get("equity", ""),
                "text": beat.get("ended", ""),
            }
        )
    _show_rows(rows, ("name", "state", "run", "heard", "equity", "text"), as_json=as_json)


def _client(state_dir: str | None, name: str | None) -> "Client":
    from runtime.client import find_run  # noqa: PLC0415  # start fast

    return find_run(Path(state_dir or STATE_DIR), name)


def _console() -> "Console":
    from rich.console import Console  # noqa: PLC0415

    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = 250
    return console


def _say(found: object, text: str, *, as_json: bool) -> None:
    typer.echo(json.dumps(found) if as_json else text)


def _show_rows(rows: list[dict[str, Any]], columns: tuple[str, ...], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(rows))
    else:
        _console().print(_table(rows, columns) if rows else "none")


def _table(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> Any:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(*(column.replace("_", " ") for column in columns), box=None)
    for row in rows:
        # As it is, not as markup: a tag may look like one.
        table.add_row(*(Text(_cell(column, row[column])) for column in columns))
    return table


def _pairs(figures: Mapping[str, Any]) -> Any:
    from rich.table import Table  # noqa: PLC0415

    table = Table("", "", box=None, show_header=False)
    for key, value in figures.items():
        text = " ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else value
        table.add_row(key.replace("_", " "), printable(str(text)))
    return table


def _cell(column: str, value: object) -> str:
    if column in {"time", "created", "heard"} and isinstance(value, int):
        return _utc(value)
    return f"{value:.1f}" if isinstance(value, float) else printable(str(value))


def _utc(when: int) -> str:
    return f"{datetime.fromtimestamp(when // SECOND_NS, UTC):%Y-%m-%d %H:%M:%S}" if when else ""


def _since(text: str | None) -> int:
    """Read a span such as 10m and return the moment (ns UTC) that lies so far back."""
    import time  # noqa: PLC0415

    if text is None:
        return 0
    units = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
    number, unit = text[:-1], text[-1:]
    if unit not in units or not (number.isascii() and number.isdecimal() and len(number) < 7):
        raise ConfigError(f"--since is {text!r}: a number and s, m, h or d are needed, such as 10m")
    return time.time_ns() - int(number) * units[unit] * SECOND_NS
