"""The options of a backtest, alone or one of a sweep: what they are called, what they mean."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple
from zoneinfo import ZoneInfo

import typer
from typer.core import TyperCommand

from runtime.cli.options import column_mapping, pairs
from runtime.errors import ConfigError

if TYPE_CHECKING:
    from runtime.backtest import Rules

MINUTE_NS, SECOND_NS = 60_000_000_000, 1_000_000_000

From = Annotated[str | None, typer.Option("--from", help="first day or moment, such as 2013-10-07")]
To = Annotated[
    str | None, typer.Option("--to", help="first day or moment that is not played any more")
]
Minutes = Annotated[float | None, typer.Option(help="length of the made-up market")]
Cash = Annotated[float | None, typer.Option(help="starting cash of the paper account")]
Quota = Annotated[
    str | None, typer.Option(help="training quota by name: lean-local, unlimited, O2-8 ...")
]
Training = Annotated[
    bool | None, typer.Option("--training/--no-training", help="whether anything is trained")
]
Model = Annotated[
    list[str] | None,
    typer.Option(help="SLOT=FILE: serve a finished model, never train it; repeatable"),
]
JobCost = Annotated[
    float | None,
    typer.Option(
        help="minutes that each job is billed, whatever it really takes, from a quota that "
        "refills in the data's time: results do not depend on the machine"
    ),
]
PublicationDelay = Annotated[
    str | None,
    typer.Option(
        help="a model serves only so many seconds of the data's time after its job began; "
        "real: as long as the job took"
    ),
]
Walk = Annotated[
    str | None,
    typer.Option(
        "--walk-forward",
        help="train=30d,step=7d: train on so much data at each step and at no other time; the "
        "result is of the data after the first training (d, h, m)",
    ),
]
Sampling = Annotated[
    str | None, typer.Option(help="length of one return in the statistics: day, hour or minute")
]


class Spaced(TyperCommand):
    """Takes `--walk-forward train=30d step=7d` for `--walk-forward train=30d,step=7d`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Join the two words."""
        joined: list[str] = []
        for word in args:
            if word.startswith(("train=", "step=")) and joined[-2:-1] == ["--walk-forward"]:
                joined[-1] += f",{word}"
            else:
                joined.append(word)
        return super().parse_args(ctx, joined)


class Wanted(NamedTuple):
    """What is otherwise than live, as it was given."""

    start: str | None = None
    end: str | None = None
    job_cost: float | None = None
    publication_delay: str | None = None
    sampling: str | None = None
    walk_forward: str | None = None


def overrides_of(
    *,
    data: list[str] | None,
    seed: int | None,
    rate: float | None,
    minutes: float | None,
    columns: list[str] | None,
    normalization: str | None,
    cash: float | None,
    param: list[str] | None,
    quota: str | None,
    training: bool | None,
    model: list[str] | None,
    walk_forward: str | None,
) -> dict[str, Any]:
    """Return the settings that the options of a backtest stand for, table by table.

    Raises:
        ConfigError: two of them contradict each other.
    """
    if "" in (data or []):
        raise ConfigError("--data is empty: a file or folder of recorded market data is needed")
    if normalization is not None and not data:
        raise ConfigError("--data-normalization needs --data: the made-up market has no splits")
    for option, given in (("--seed", seed), ("--rate", rate), ("--minutes", minutes)):
        if data and given is not None:
            raise ConfigError(f"{option} means nothing with --data: it is for the made-up market")
    if walk_forward is not None and training is False:
        raise ConfigError("--walk-forward trains at each step: --no-training contradicts it")
    return {
        "models": pairs("--model", model),
        "parameters": pairs("--param", param),
        "feed": {
            "kind": "replay" if data else "synthetic",
            "data": data or None,
            "speed": 0.0,
            "seed": seed,
            "rate": rate,
            "minutes": minutes,
            "table": {"columns": column_mapping(columns) or None},
            "normalization": normalization,
        },
        "trading": {"cash": cash},
        "training": {"preset": quota, "enabled": training},
    }


def rules_of(zone: ZoneInfo, given: Wanted) -> "Rules":
    """Read the options that say what is otherwise than live.

    Raises:
        ConfigError: one of them has no meaning.
    """
    from runtime.backtest import REAL_TIME, Rules  # noqa: PLC0415
    from runtime.report.sampling import Sampling as Lengths  # noqa: PLC0415
    from runtime.walk_forward import walk_forward_of  # noqa: PLC0415

    job_cost, publication_delay, sampling = given.job_cost, given.publication_delay, given.sampling
    if sampling is not None and sampling not in set(Lengths):
        raise ConfigError(f"--sampling is {sampling!r}: allowed are {', '.join(Lengths)}")
    if job_cost is not None and not 0 <= job_cost < float("inf"):
        raise ConfigError(f"--job-cost is {job_cost:g}: 0 minutes or more are needed")
    after: int | None = None
    if publication_delay == "real":
        after = REAL_TIME
    elif publication_delay is not None:
        try:
            after = round(float(publication_delay) * SECOND_NS)
        except (ValueError, OverflowError):
            after = -1
        if after < 0:
            raise ConfigError(
                f"--publication-delay is {publication_delay!r}: real, or 0 seconds or more"
            )
    return Rules(
        start=_moment("--from", given.start, zone),
        end=_moment("--to", given.end, zone),
        job_cost=None if job_cost is None else round(job_cost * MINUTE_NS),
        publish_after=after,
        sampling=Lengths(sampling or Lengths.DAY),
        walk_forward=None if given.walk_forward is None else walk_forward_of(given.walk_forward),
    )


def _moment(option: str, text: str | None, zone: ZoneInfo) -> int | None:
    """Read a day or a moment; without a zone of its own it is in the run's."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"{option} is {text!r}: a day or a moment is needed, such as 2013-10-07 or "
            "2013-10-07T09:30"
        ) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=zone)
    return int(moment.timestamp()) * SECOND_NS + moment.microsecond * 1_000
