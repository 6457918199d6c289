"""The cells of a sweep: every combination of the values given, in their order; and their ranking.

A cell is known by its parameters alone. So a grid that grows keeps the cells that are done.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from runtime.errors import ConfigError
from runtime.report.statistics import STATISTICS

MOST_CELLS = 100_000
LOWER_IS_BETTER = frozenset(
    {"Drawdown", "Drawdown Length", "Annual Standard Deviation", "Annual Variance", "Loss Rate",
     "Total Fees", "Portfolio Turnover"}
)  # fmt: skip

Cell = Mapping[str, str]
"""Parameters by name, as text."""


class CellResult(msgspec.Struct, frozen=True):
    """What one cell came to; a failed one has its sentence and maybe no statistics.

    `seconds` are real ones; `unread` names the parameters that the strategy has not asked for.
    """

    cell: dict[str, str]
    state: Literal["done", "failed"]
    error: str = ""
    statistics: dict[str, float | None] = {}
    folds: list[dict[str, Any]] = []
    orders_sha256: str = ""
    seconds: float = 0.0
    unread: list[str] = []


def read_grid(texts: Sequence[str]) -> dict[str, list[str]]:
    """Read NAME=V1,V2,V3, once or more.

    Raises:
        ConfigError: a text is no such thing, or names what another one names.
    """
    grid: dict[str, list[str]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        found = [value.strip() for value in values.split(",")]
        if not name.strip() or not equals or not all(found):
            raise ConfigError(f"--set is {text!r}: NAME=VALUE,VALUE,... is needed")
        if name.strip() in grid:
            raise ConfigError(f"--set names {name.strip()} twice: give all its values at once")
        if len(set(found)) < len(found):
            raise ConfigError(f"--set is {text!r}: a value stands there twice")
        grid[name.strip()] = found
    return grid


def cells_of(grid: Mapping[str, Sequence[str]]) -> list[Cell]:
    """Return every combination; the last name changes fastest.

    Raises:
        ConfigError: there are none, or far too many.
    """
    if not grid:
        raise ConfigError("a sweep needs --set NAME=VALUE,VALUE,... at least once")
    count = 1
    for values in grid.values():
        count *= len(values)
    if count > MOST_CELLS:
        raise ConfigError(f"the grid has {count:,} cells: at most {MOST_CELLS:,} are allowed")
    names = list(grid)
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*grid.values())]


def key_of(cell: Cell) -> str:
    """Return what a cell is known by, whatever the order of its names."""
    return msgspec.json.encode(dict(sorted(cell.items()))).decode()


def words_of(cell: Cell) -> str:
    """Write a cell as people read it."""
    return " ".join(f"{name}={value}" for name, value in cell.items())


def check_rank(name: str) -> None:
    """Refuse what is no statistic.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in STATISTICS:
        raise ConfigError(f"--rank is {name!r}: allowed are {', '.join(STATISTICS)}")


def ranked(results: Sequence[CellResult], by: str) -> list[CellResult]:
    """Sort the cells that are done, the best first; those without a value come last.

    Of two with the same value, or without one, the one with the greater profit is the better.
    """
    sign = 1 if by in LOWER_IS_BETTER else -1

    def place(result: CellResult) -> tuple[bool, float, float]:
        value, profit = result.statistics.get(by), result.statistics.get("Net Profit")
        return value is None, sign * (value or 0.0), -(profit or 0.0)

    return sorted((each for each in results if each.state == "done"), key=place)
