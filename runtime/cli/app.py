"""The command line's one application, and how it says what went wrong."""

import sys
from contextlib import suppress

import typer

from runtime.errors import (
    AlreadyRunning,
    ConfigError,
    StrategyError,
    TidegateError,
    VenueRefused,
)
from runtime.printable import printable
from runtime.redaction import KNOWN

app = typer.Typer(
    help="Trade machine-learning strategies live: training never disturbs trading.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def fail(error: TidegateError) -> int:
    """Say it in one sentence; whose turn it is decides the code."""
    with suppress(OSError):  # a full disk behind it, say: the code still tells
        sys.stderr.write(KNOWN.hide(f"tidegate: {printable(str(error))}\n"))
    match error:
        case AlreadyRunning():
            return 3
        case ConfigError() | StrategyError(where="load") | VenueRefused(code=402):
            return 2  # 402 is a venue's word for wrong credentials
        case _:
            return 1
