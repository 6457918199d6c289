"""A report as a terminal shows it: every statistic that has a value, then the run's own figures."""

from collections.abc import Mapping
from zoneinfo import ZoneInfo

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from runtime.report.record import Report
from runtime.report.statistics import shown
from runtime.schedule.local_time import in_zone

WIDE = 92
"""Columns from which two statistics stand side by side."""


def summary(report: Report, figures: Mapping[str, object], width: int) -> RenderableType:
    """Return what to print, for a terminal of `width` columns."""
    pairs = [
        (name, shown(name, value)) for name, value in report.statistics.items() if value is not None
    ]
    sides = 2 if width >= WIDE else 1
    rows = -(-len(pairs) // sides)
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for _ in range(sides):
        table.add_column()
        table.add_column(justify="right", style="bold")
    for place in range(rows):
        line = [cell for pair in pairs[place::rows] for cell in pair]
        table.add_row(*line)
    more = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in figures.items():
        more.add_row(name.replace("_", " "), str(value))
    missing = [name for name, value in report.statistics.items() if value is None]
    note = f"without a value here: {', '.join(missing)}" if missing else ""
    parts: list[RenderableType] = [table, Text(note, style="dim"), more]
    if report.record.folds:
        parts.insert(0, _folds(report))
    return Group(*(part for part in parts if part != Text("", style="dim")))


def _folds(report: Report) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("fold", "traded from", "profit", "Sharpe", "drawdown", "trades", "models"):
        is_text = name in {"traded from", "models"}
        table.add_column(name, justify="left" if is_text else "right", no_wrap=name != "models")
    zone = ZoneInfo(report.record.zone)
    for number, fold in enumerate(report.record.folds, 1):
        table.add_row(
            str(number),
            f"{in_zone(fold.start, zone):%Y-%m-%d %H:%M}",
            shown("Net Profit", fold.profit),
            shown("Sharpe Ratio", fold.sharpe),
            shown("Drawdown", fold.drawdown),
            str(fold.trades),
            ", ".join(fold.models) or "-",
        )
    return table
