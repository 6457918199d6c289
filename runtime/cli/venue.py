"""Run the paper venue alone: `tidegate venue`."""

import os
from typing import Annotated

import typer

from runtime.cli.app import app
from runtime.cli.options import Columns, Data, Rate, Seed, Speed, column_mapping, pace_of
from runtime.errors import ConfigError


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

    pace = 1.0 if speed is None else pace_of(speed)
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
        table={"columns": column_mapping(columns)},
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
