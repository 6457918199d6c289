"""Record a venue: `tidegate record`."""

from pathlib import Path
from typing import Annotated

import typer

from runtime.cli.app import app
from runtime.cli.options import (
    Config,
    Duration,
    FeedUrl,
    JsonLines,
    LogFormat,
    LogLevel,
    check_duration,
    credentials_of_environment,
)
from runtime.errors import ConfigError


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
    as_json: JsonLines = False,
) -> None:
    """Record a venue's live data: what came, as it came, and Parquet of trades and quotes.

    Replay either with --feed replay --data OUT/captures or OUT/tables.

    Examples:
    tidegate record --feed coinbase -s BTC/USD --out recorded --duration 3600
    """
    import anyio  # noqa: PLC0415  # start fast

    from feeds.protocols.registry import VENUES  # noqa: PLC0415
    from runtime.control.logs import open_log  # noqa: PLC0415
    from runtime.recording import record as recording  # noqa: PLC0415
    from runtime.settings import load_settings  # noqa: PLC0415

    overrides = {
        "feed": {"kind": feed, "url": feed_url},
        "log": {"level": log_level, "format": "json" if as_json else log_format},
    }
    if feed not in VENUES:
        raise ConfigError(f"--feed is {feed!r}: allowed are {', '.join(VENUES)}")
    check_duration(duration)
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
                credentials=credentials_of_environment(),
            )
        )
        log.info("recorded", **outcome.figures())
