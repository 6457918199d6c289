"""Feed a recorded session to the engine again: `tidegate replay`."""

import sys
from typing import Annotated

import typer

from runtime.cli.app import app, fail
from runtime.cli.options import STATE_DIR, LogFormat, LogLevel, StateDir
from runtime.errors import RunFailed


@app.command()
def replay(
    session: Annotated[
        str, typer.Argument(help="a recording's folder, or a deployment for its newest one")
    ],
    strategy: Annotated[
        str | None, typer.Option(help="FILE.py:Class in place of the one that was recorded")
    ] = None,
    state_dir: StateDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="the result as JSON on stdout")] = False,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
) -> None:
    """Feed a session that tidegate run --record has written to the engine again, at once.

    Every order must be the one that was sent then: the first that is not is named (exit code 1).

    Examples:
    tidegate replay OrderFlowModel

    tidegate replay .tidegate/OrderFlowModel/sessions/OrderFlowModel-1a2b3c4d --strategy changed.py
    """
    import msgspec  # noqa: PLC0415  # start fast

    from runtime.control.logs import open_log  # noqa: PLC0415
    from runtime.sessions.file import EVENTS, read_entries, read_head  # noqa: PLC0415
    from runtime.sessions.opening import build_replay, find_session  # noqa: PLC0415
    from runtime.settings import load_settings  # noqa: PLC0415

    folder = find_session(session, state_dir or STATE_DIR)
    head = read_head(folder)
    settings, _ = load_settings(
        None, {"log": {"level": log_level or "warning", "format": log_format}}
    )
    with open_log(settings.log, sys.stderr) as (log, _):
        again, is_same = build_replay(folder, head, strategy, log)
        if not is_same:
            log.warning("the strategy is not the one that was recorded", recorded=head.strategy)
        with (folder / EVENTS).open("rb") as file:
            found = again.run(read_entries(file, folder / EVENTS))
    figures = {
        "session": str(folder),
        "strategy": strategy or head.strategy,
        "same_strategy": is_same,
        **msgspec.structs.asdict(found),
    }
    if as_json:
        typer.echo(msgspec.json.encode(figures))
    else:
        for name, value in figures.items():
            typer.echo(f"{name.replace('_', ' '):16} {value}")
    if found.difference:
        raise typer.Exit(fail(RunFailed(found.difference)))
