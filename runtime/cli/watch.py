"""A run on a terminal, drawn anew with each of its snapshots: `tidegate status --watch`."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from runtime.printable import printable

if TYPE_CHECKING:
    from runtime.client import Client

SECOND_NS = 1_000_000_000
ROWS = 8


def show(client: "Client") -> None:
    """Draw until the run ends or Ctrl-C."""
    console = Console()
    try:
        with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
            for event, data in client.stream("/v1/stream"):
                if event == "status":
                    live.update(drawn(json.loads(data)), refresh=True)
    except KeyboardInterrupt:
        return


def drawn(found: Mapping[str, Any]) -> RenderableType:
    """Return the picture of one snapshot."""
    snapshot = found["snapshot"]
    status = snapshot["status"]
    up = datetime.fromtimestamp(snapshot["time"] // SECOND_NS, UTC) - datetime.fromtimestamp(
        found["started"] // SECOND_NS, UTC
    )
    head = Text.assemble(
        (f" {found['name']} ", "bold reverse"),
        f"  {found['run']}  up {up}  ",
        ("HALTED: " + printable(snapshot["halted"]), "bold red") if snapshot["halted"] else "",
    )
    account = _table(
        ("equity", status["equity"]),
        ("profit", _signed(status["pnl"])),
        ("ticks", f"{status['ticks']:,}"),
        ("slices", f"{status['slices']:,}"),
        ("fills", status["fills"]),
        ("loop lag p99", f"{status.get('lag_p99_ms', 0)} ms"),
        ("latency p99", f"{status.get('latency_p99_ms', 0)} ms"),
        ("pending", status["pending"]),
    )
    return Group(
        head,
        Columns(
            [
                Panel(account, title="account"),
                Panel(_training(snapshot["training"]), title="training"),
                Panel(_models(snapshot["models"]), title="models"),
            ]
        ),
        Panel(_rows(snapshot["positions"], POSITION), title="positions"),
        Panel(_rows(found["orders"][-ROWS:], ORDER), title="newest orders"),
    )


POSITION = ("symbol", "quantity", "average_price", "last_price", "value", "unrealised_pnl")
ORDER = ("symbol", "side", "type", "quantity", "state", "filled", "average_price")


def _training(training: Mapping[str, Any]) -> RenderableType:
    quota = training["quota"]
    lines: list[RenderableType] = [
        Text.assemble(
            ("on", "green") if training["is_on"] else ("off", "bold yellow"),
            f"   {quota['available']} of {quota['capacity']} min left",
        ),
        ProgressBar(total=quota["capacity"], completed=quota["available"], width=30),
    ]
    for job in training["running"]:
        said = f"{job['id']}: {job['state']} {job['elapsed']:.0f} s {job['text']}"
        lines.append(Text(printable(said).rstrip()))
        lines.append(ProgressBar(total=1.0, completed=job["fraction"], width=30))
    lines += [Text(f"{job}: queued") for job in training["queued"]]
    done = ", ".join(f"{count} {state}" for state, count in training["finished"].items())
    return Group(*lines, Text(done, style="dim"))


def _models(models: list[Mapping[str, Any]]) -> RenderableType:
    if not models:
        return Text("none", style="dim")
    rows = [
        (
            model["slot"],
            Text(f"v{model['version']}", style="green")
            if model["ready"]
            else Text(model["cause"], style="yellow"),
        )
        for model in models
    ]
    return _table(*rows)


def _table(*pairs: tuple[str, RenderableType]) -> Table:
    table = Table(box=None, show_header=False)
    for name, value in pairs:
        table.add_row(Text(name, style="dim"), value if isinstance(value, Text) else str(value))
    return table


def _rows(rows: list[Mapping[str, Any]], columns: tuple[str, ...]) -> RenderableType:
    if not rows:
        return Text("none", style="dim")
    table = Table(*(name.replace("_", " ") for name in columns), box=None, header_style="dim")
    for row in rows:
        table.add_row(*(Text(printable(str(row[name]))) for name in columns))
    return table


def _signed(text: str) -> Text:
    return Text(text, style="red" if text.startswith("-") else "green")
