"""Run the paper venue alone: `tidegate venue`."""

import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer

from runtime.cli.app import app
from runtime.cli.options import Columns, Data, Json, Rate, Seed, Speed, column_mapping, pace_of
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
    trading_port: Annotated[
        int | None,
        typer.Option(help="take orders at this port too, as Alpaca's REST does; 0: a free one"),
    ] = None,
    account: Annotated[
        Path | None,
        typer.Option(help="file that keeps the account; without one it ends with the venue"),
    ] = None,
    cash: Annotated[float, typer.Option(min=0, help="dollars that a new account begins with")] = (
        100_000.0
    ),
    faults: Annotated[
        Path | None, typer.Option(help="TOML file of what goes wrong on purpose")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run the paper venue alone: Alpaca's market-data stream over a made-up or recorded market.

    With --trading-port also its trading: REST and trade_updates, on one account.

    Clients log in with TIDEGATE_VENUE_KEY and TIDEGATE_VENUE_SECRET, which are "paper" unless set.

    Examples:
    tidegate venue --port 8765 --rate 50

    tidegate venue --data data/equity/usa/tick/spy --speed max --clients 2

    tidegate venue --trading-port 8766 --account account.db --faults faults.toml

    tidegate run my.py --venue-url ws://127.0.0.1:8765 (keys in APCA_API_KEY_ID and
    APCA_API_SECRET_KEY; --clock venue where the venue plays a tape)
    """
    import anyio  # noqa: PLC0415  # start fast

    from feeds.venue.account_options import AccountOptions  # noqa: PLC0415
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
    if trading_port is not None and trading_port not in range(65_536):
        raise ConfigError(f"--trading-port is {trading_port}: 0 to 65535 is allowed")
    if account is not None and trading_port is None:
        raise ConfigError("--account means nothing without --trading-port: it is for orders")
    options = VenueOptions(
        seed=1 if seed is None else seed,
        rate=20.0 if rate is None else rate,
        data=tuple(data or ()),
        speed=pace or None,
        table={"columns": column_mapping(columns)},
        host=host,
        port=port,
        audience=clients,
        account=(
            None
            if trading_port is None
            else AccountOptions(
                None if account is None else str(account), Decimal(str(cash)), trading_port
            )
        ),
        faults=_faults(faults),
    )
    key = os.environ.get("TIDEGATE_VENUE_KEY", "paper")
    secret = os.environ.get("TIDEGATE_VENUE_SECRET", "paper")

    def announce(opening: Opening) -> None:
        if as_json:
            told = {"url": opening.url, "key": key, "trading_url": opening.trading_url}
            typer.echo(json.dumps({**told, "without_trades_and_quotes": opening.untold}))
            return
        typer.echo(f"paper venue listens on {opening.url} (key {key}); Ctrl-C stops it")
        if opening.trading_url:
            typer.echo(f"it takes orders on {opening.trading_url}")
        for symbol, held in opening.untold.items():
            typer.echo(
                f"{symbol} has {held} only: clients of Alpaca's channels are refused it, "
                "tidegate run --clock venue hears it"
            )

    anyio.run(serve_until_signal, options, Credentials(key, secret), announce)


def _faults(path: Path | None) -> dict[str, Any]:
    """Read the file of faults, whose sense is checked before the venue begins."""
    import msgspec  # noqa: PLC0415

    from feeds.venue.faults import read_plan  # noqa: PLC0415

    if path is None:
        return {}
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--faults {path} cannot be read: {error}") from None
    found: dict[str, Any] = msgspec.to_builtins(read_plan(text, str(path)))
    return found
