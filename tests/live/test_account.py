"""An account survives whatever ends its run: killed again and again, its books stay its orders'."""

import json
import sqlite3
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

from tests.live.cli_kit import Running, run, strategy

BODY = """
def initialize(self):
    self.set_cash(50_000)
    self.spy = self.add_security('SPY', Resolution.TICK).symbol
    self.ticks = 0
def on_data(self, slice):
    self.ticks += 1
    if self.ticks == 1:
        held = {str(p.symbol): str(p.quantity) for p in self.portfolio}
        self.log('first', cash=str(self.portfolio.cash), held=held)
    self.market_order('SPY', 1 if self.ticks % 3 else -1)
    if self.ticks == 4:
        self.limit_order('SPY', 1, 1.0)
    self.log('tick', n=self.ticks)
"""


def start(folder: Path, *more: str) -> Running:
    return Running(folder, "run", "mine.py", "--rate", "200", *more)


def books(folder: Path) -> tuple[Decimal, Decimal, int, int]:
    """Cash, shares, orders, fills by the rows alone: arithmetic that shares no code with ours."""
    with sqlite3.connect(folder / ".tidegate" / "Mine" / "journal.db") as db:
        rows = [
            (kind, json.loads(body)) for kind, body in db.execute("SELECT kind, body FROM entries")
        ]
    db.close()
    (cash,) = (Decimal(body["cash"]) for kind, body in rows if kind == "opening")
    sides = {body["id"]: body["side"] for kind, body in rows if kind == "order"}
    fills = [body["fill"] for kind, body in rows if kind == "report" and body["fill"]]
    held = Decimal(0)
    for fill in fills:
        sign = 1 if sides[fill["order_id"]] == "buy" else -1
        held += sign * Decimal(fill["quantity"])
        cash -= sign * Decimal(fill["quantity"]) * Decimal(fill["price"]) + Decimal(fill["fee"])
    assert len({fill["fill_id"] for fill in fills}) == len(fills)
    return cash, held, len(sides), len(fills)


def first(running: Running) -> dict[str, Any]:
    return running.until("first")


def test_killed_at_any_moment_the_account_goes_on_where_it_was(tmp_path: Path) -> None:
    """The order that waits for its limit waits on; nothing is bought twice, no fill is lost."""
    strategy(tmp_path, BODY)
    random = Random(3)
    expected: tuple[Decimal, Decimal, int, int] | None = None
    for _ in range(6):
        with start(tmp_path) as running:
            line = first(running)
            if expected is not None:
                cash, held, orders, fills = expected
                assert Decimal(line["cash"]) == cash
                assert line["held"] == ({"SPY": str(held)} if held else {})
                assert fills > 0
                assert orders >= fills
            for _ in range(random.randrange(5, 40)):
                running.until("tick")
            running.process.kill()
            running.process.wait()
        expected = books(tmp_path)
    assert expected is not None
    ended = run(tmp_path, "run", "mine.py", "--rate", "200", "--duration", "1")
    assert (ended.code, ended.stderr) == (0, "")
    cash, held, _, _ = books(tmp_path)
    recovered = ended.of("account recovered")[0]
    assert Decimal(recovered["cash"]) == expected[0].quantize(Decimal("0.01"))
    assert recovered["open_orders"] >= 1
    assert held == held.to_integral_value()


def test_a_stop_in_order_cancels_what_waits_and_says_so_in_the_journal(tmp_path: Path) -> None:
    strategy(tmp_path, BODY)
    with start(tmp_path, "--duration", "1") as running:
        ended = running.end()
    assert ended.code == 0
    assert ended.summary["fills"] == books(tmp_path)[3] > 0  # the strategy was told of each
    again = run(tmp_path, "run", "mine.py", "--duration", "0.5")
    assert again.of("account recovered")[0]["open_orders"] == 0


def test_a_damaged_journal_lets_nothing_begin(tmp_path: Path) -> None:
    strategy(tmp_path, BODY)
    folder = tmp_path / ".tidegate" / "Mine"
    folder.mkdir(parents=True)
    (folder / "journal.db").write_bytes(b"rubbish" * 1000)
    ended = run(tmp_path, "run", "mine.py")
    ended.assert_one_sentence("journal.db cannot be used: file is not a database; no order leaves")
    assert ended.code == 2


def test_what_persists_nothing_has_no_journal(tmp_path: Path) -> None:
    strategy(tmp_path, BODY)
    for _ in range(2):
        ended = run(tmp_path, "run", "mine.py", "--duration", "0.5", "--no-persist")
        assert ended.of("account recovered") == []
    assert not (tmp_path / ".tidegate" / "Mine" / "journal.db").exists()


def test_a_disk_without_room_refuses_orders_and_trading_goes_on(tmp_path: Path) -> None:
    """A journal that may not grow: SQLite is given no more pages than it has."""
    body = (
        BODY.replace("self.log('tick'", "self.choke()\n    self.log('tick'")
        + """
def choke(self):
    if self.ticks == 20:
        import gc, runtime.trading.journal as j
        for each in gc.get_objects():
            if isinstance(each, j.Journal):
                pages = each._connection.execute('PRAGMA page_count').fetchone()[0]
                each._connection.execute(f'PRAGMA max_page_count={pages}')
    if self.ticks == 400:
        self.quit('enough')
"""
    )
    strategy(tmp_path, body)
    with start(tmp_path) as running:
        line = running.until("the journal cannot be written: no order leaves")
        assert "full" in line["text"]
        refused = running.until("tick")
        assert refused["n"] > 20
        running.process.kill()
        running.process.wait()
    cash, held, orders, fills = books(tmp_path)
    assert fills <= orders
    assert cash < 60_000
    assert held >= 0


def test_the_journal_is_read_by_nobody_else(tmp_path: Path) -> None:
    strategy(tmp_path, BODY)
    assert run(tmp_path, "run", "mine.py", "--duration", "0.5").code == 0
    path = tmp_path / ".tidegate" / "Mine" / "journal.db"
    assert path.stat().st_mode & 0o077 == 0
