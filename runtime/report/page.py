"""A report as one HTML file that needs nothing else: no network, no server, no other file.

Whatever comes from outside (names, parameters, reasons) is escaped; the series travel as JSON in
which no "<" can end the script around it.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from zoneinfo import ZoneInfo

import msgspec

from runtime.report.record import Job, Report
from runtime.report.series import series_of
from runtime.report.statistics import STATISTICS, shown, span_text

TILES = (
    "Net Profit",
    "Sharpe Ratio",
    "Drawdown",
    "Win Rate",
    "Profit-Loss Ratio",
    "Total Trades",
    "Total Fees",
    "Exposure",
)
ROWS = 250
"""A table on the page has at most so many rows, the newest; report.json has all."""


def page(report: Report) -> str:
    """Return the page."""
    record = report.record
    zone = ZoneInfo(record.zone)
    assets = files("runtime") / "assets"
    parts = {
        "title": escape(record.strategy),
        "period": _period(report, zone),
        "parameters": "".join(
            f"<span class=chip>{escape(name)} = {escape(value)}</span>"
            for name, value in record.parameters.items()
        ),
        "failure": f"<p class=failure>{escape(record.failure)}</p>" if record.failure else "",
        "tiles": "".join(_tile(report, name) for name in TILES),
        "statistics": "".join(_statistic(report, name) for name in STATISTICS),
        "note": escape(_note(report)),
        "folds": _folds(report, zone),
        "models": _jobs(report.jobs, zone),
        "trades": _trades(report, zone),
        "foot": escape(_foot(report)),
        "uplot_css": (assets / "uplot/uPlot.min.css").read_text("utf-8"),
        "css": (assets / "report/report.css").read_text("utf-8"),
        "uplot": (assets / "uplot/uPlot.iife.min.js").read_text("utf-8"),
        "script": (assets / "report/report.js").read_text("utf-8"),
        "series": msgspec.json.encode(series_of(report)).decode().replace("<", "\\u003c"),
    }
    template = (assets / "report/report.html").read_text("utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)


def _period(report: Report, zone: ZoneInfo) -> str:
    closes = report.record.closes
    if not closes:
        return "no data"
    first, last = (_moment(close.time, zone) for close in (closes[0], closes[-1]))
    span = span_text((closes[-1].time - closes[0].time) / 1e9)
    return f"{first} &ndash; {last} <span class=quiet>({span}, {escape(report.record.zone)})</span>"


def _tile(report: Report, name: str) -> str:
    value = report.statistics[name]
    sign = ""
    if name == "Net Profit" and value:
        sign = " gain" if value > 0 else " loss"
    text = escape(shown(name, value))
    meaning = escape(STATISTICS[name].meaning)
    return (
        f'<div class="tile{sign}" title="{meaning}"><b>{text}</b><span>{escape(name)}</span></div>'
    )


def _statistic(report: Report, name: str) -> str:
    text = escape(shown(name, report.statistics[name]))
    meaning = escape(STATISTICS[name].meaning)
    return f"<tr><th>{escape(name)}<small>{meaning}</small></th><td>{text}</td></tr>"


def _note(report: Report) -> str:
    """Say what the ratios are made of, and where there is too little for them."""
    record = report.record
    count = max(0, len(record.closes) - 1)
    periods = record.year.periods(record.sampling)
    text = (
        f"Ratios are made of {count} returns, one a {record.sampling}, annualised with "
        f"{periods:,.0f} a year; the risk-free rate is 0."
    )
    if count < 20:
        text += " So few returns say little"
        finer = {"day": "hour", "hour": "minute"}.get(record.sampling)
        text += f": see --sampling {finer}." if finer else "."
    return text


def _folds(report: Report, zone: ZoneInfo) -> str:
    if not report.record.folds:
        return ""
    rows = [
        (
            str(number),
            f"{_day(fold.train_start, zone)} to {_day(fold.start, zone)}",
            f"{_day(fold.start, zone)} to {_day(fold.end, zone)}",
            shown("Net Profit", fold.profit),
            shown("Sharpe Ratio", fold.sharpe),
            shown("Drawdown", fold.drawdown),
            str(fold.trades),
            ", ".join(fold.models) or "-",
        )
        for number, fold in enumerate(report.record.folds, 1)
    ]
    head = ("fold", "trained on", "traded", "profit", "Sharpe", "drawdown", "trades", "models")
    return (
        "<section><h2>Walk-forward</h2><p class=quiet>Every number of this report is out of "
        f"sample: from the first training on ({escape(report.record.walk_forward)}).</p>"
        f"{_table(head, rows)}</section>"
    )


def _jobs(jobs: Sequence[Job], zone: ZoneInfo) -> str:
    if not jobs:
        return "<p class=quiet>Nothing was trained.</p>"
    rows = [
        (
            _moment(job.start, zone),
            job.id,
            f"{job.slot} v{job.version}" if job.version else "-",
            job.state,
            f"{job.took:.2f} s",
            str(job.minutes),
            job.text if job.state != "finished" else "",
        )
        for job in jobs[-ROWS:]
    ]
    head = ("began", "job", "published", "state", "took", "minutes", "")
    return _details(f"{len(jobs)} training jobs", head, rows, len(jobs))


def _trades(report: Report, zone: ZoneInfo) -> str:
    trades = report.trades
    if not trades:
        return "<p class=quiet>No trade was closed.</p>"
    rows = [
        (
            trade.symbol,
            "long" if trade.is_long else "short",
            f"{trade.quantity.normalize():f}",
            _moment(trade.entry_time, zone),
            f"{trade.entry_price:.10g}",
            _moment(trade.exit_time, zone),
            f"{trade.exit_price:.10g}",
            f"{trade.profit:,.2f}",
            f"{trade.fees:,.2f}",
        )
        for trade in trades[-ROWS:]
    ]
    head = ("symbol", "", "quantity", "opened", "at", "closed", "at", "profit", "fees")
    return _details(f"{len(trades):,} closed trades", head, rows, len(trades))


def _foot(report: Report) -> str:
    record = report.record
    states = ", ".join(f"{count} {state}" for state, count in record.orders.items()) or "none"
    return (
        f"{record.events:,} events in {record.seconds:.1f} s. Orders: {states}. "
        f"It ended because: {record.reason}. Digest of the orders: {record.orders_sha256}"
    )


def _details(title: str, head: Sequence[str], rows: Sequence[Sequence[str]], total: int) -> str:
    left = f" <span class=quiet>the last {len(rows)}</span>" if total > len(rows) else ""
    return f"<details><summary>{escape(title)}{left}</summary>{_table(head, rows)}</details>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(line(row, "td") for row in rows)
    return (
        f"<div class=scroll><table class=rows><thead>{line(head, 'th')}</thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _moment(time: int, zone: ZoneInfo) -> str:
    return (
        f"{datetime.fromtimestamp(time // 1_000_000_000, UTC).astimezone(zone):%Y-%m-%d %H:%M:%S}"
    )


def _day(time: int, zone: ZoneInfo) -> str:
    return _moment(time, zone)[:16]
