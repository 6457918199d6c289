"""Look at what runs leave: `tidegate models`, `tidegate health`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.cli.app import app
from runtime.cli.options import STATE_DIR, Json, Name, StateDir

if TYPE_CHECKING:
    from runtime.control.models import ModelRow


@app.command()
def health(name: Name = None, state_dir: StateDir = None, as_json: Json = False) -> None:
    """Say whether a run is alive; exit code 1 if not.

    Without a name it is the run in the state folder that gave the newest sign of life.

    Examples:
    tidegate health --name momentum
    """
    from runtime.control.heartbeat import check_heartbeat, newest_heartbeat  # noqa: PLC0415

    root = Path(state_dir or STATE_DIR)
    text = check_heartbeat(newest_heartbeat(root) if name is None else root / name)
    typer.echo(json.dumps({"alive": True, "text": text}) if as_json else text)


models = typer.Typer(help="List stored models, and roll back among them.")
app.add_typer(models, name="models")


@models.callback(invoke_without_command=True)
def list_models(
    context: typer.Context,
    name: Name = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """List the stored versions of a deployment, or of all in the state folder.

    Examples:
    tidegate models --name momentum
    """
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
    as_json: Json = False,
) -> None:
    """Let an older version serve again, in a run that goes on or from the next one.

    Examples:
    tidegate models rollback direction --to 3
    """
    from runtime.control.models import roll_back  # noqa: PLC0415  # start fast

    text = roll_back(Path(state_dir or STATE_DIR), name, slot, to)
    typer.echo(json.dumps({"slot": slot, "text": text}) if as_json else text)


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
