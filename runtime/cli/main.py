"""Where the command line begins and ends."""

import os
import signal
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, NoReturn, TextIO

import typer

from runtime.cli import backtest, control, models, new, record, replay, run, sweep, venue
from runtime.cli.app import app, fail
from runtime.cli.stopping import stop_before_start
from runtime.control.first import stand_aside
from runtime.control.leaving import leave
from runtime.control.signals import hold_back
from runtime.errors import InternalError, TidegateError
from runtime.redaction import KNOWN

__all__ = [
    "backtest",
    "control",
    "main",
    "models",
    "new",
    "record",
    "replay",
    "run",
    "sweep",
    "venue",
]


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
    stand_aside()
    hold_back()
    KNOWN.learn_environment(os.environ)
    sys.stdout, sys.stderr = sys.stdout or _nowhere(), sys.stderr or _nowhere()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop_before_start)
    code: object = 0
    try:
        app()  # typer leaves by itself: with 0, a command's own code, or 2 and its usage message
    except SystemExit as ending:
        code = ending.code
    except TidegateError as error:
        code = fail(error)
    except BaseException as error:  # noqa: BLE001  # the last place: whatever it is, one sentence
        rest = error.split(SystemExit)[1] if isinstance(error, BaseExceptionGroup) else error
        # Else a stop came while the last tasks were ending.
        code = 0 if rest is None else fail(InternalError(f"tidegate broke: {_said(rest)}"))
    leave(code if isinstance(code, int) else 0)


def _said(error: BaseException) -> str:
    from runtime.callbacks import describe  # noqa: PLC0415  # start fast

    return describe(error)


def _nowhere() -> TextIO:
    """Stand in for a stream that was closed before we began, which Python leaves as None."""
    return Path(os.devnull).open("w", encoding="utf-8")
