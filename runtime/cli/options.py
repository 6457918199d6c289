"""What several commands can be told, and how its words are read."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.errors import ConfigError

if TYPE_CHECKING:
    from runtime.sources import Credentials

STATE_DIR = ".tidegate"

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
Normalization = Annotated[
    str | None,
    typer.Option(
        "--data-normalization",
        help="LEAN's prices of shares: adjusted for splits and dividends (the default), or raw",
    ),
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
Json = Annotated[bool, typer.Option("--json", help="as JSON, for programs")]
LogFormat = Annotated[str | None, typer.Option(help="auto, text or json")]
JsonLines = Annotated[
    bool, typer.Option("--json", help="JSON lines, also on a terminal: --log-format json")
]


def credentials_of_environment() -> "Credentials | None":
    """Take the keys of a venue from the environment; half of them is none."""
    from runtime.sources import Credentials  # noqa: PLC0415

    key, secret = os.environ.get("APCA_API_KEY_ID"), os.environ.get("APCA_API_SECRET_KEY")
    return Credentials(key, secret) if key and secret else None


def check_duration(duration: float | None) -> None:
    """Refuse what is no span of seconds."""
    if duration is not None and not duration > 0:  # nor is nan
        raise ConfigError(f"--duration is {duration:g}: more than 0 seconds is needed")


def pace_of(text: str | None) -> float | None:
    """Read a pace: recorded time is 1, and max, which is 0, is flat out."""
    if text is None:
        return None
    if text == "max":
        return 0.0
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"--speed is {text!r}: a number, or max, is needed") from None


def column_mapping(texts: list[str] | None) -> dict[str, str | int]:
    """Take a column by its header's name, or by its number from 0."""
    columns = pairs("--columns", texts)
    return {field: int(column) if column.isdigit() else column for field, column in columns.items()}


def pairs(option: str, texts: list[str] | None) -> dict[str, str]:
    """Read NAME=VALUE, once or more."""
    read = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise ConfigError(f"{option} is {text!r}: NAME=VALUE is needed")
        read[name] = value
    return read
