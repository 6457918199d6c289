"""`tidegate run --broker alpaca` as a user runs it, against the embedded venue."""

from decimal import Decimal
from pathlib import Path

from tests.live.cli_kit import run, strategy
from tests.live.test_account import books

BODY = """
def initialize(self):
    self.add_security('SPY', Resolution.TICK)
    self.ticks = 0
def on_data(self, slice):
    self.ticks += 1
    if self.ticks == 1:
        held = {str(p.symbol): str(p.quantity) for p in self.portfolio}
        self.log('first', cash=str(self.portfolio.cash), held=held)
    if self.ticks == 5:
        self.market_order('SPY', 2)
    if self.ticks == 6:
        self.limit_order('SPY', 1, 1.0)
def on_order_event(self, event):
    if event.status == 'filled' or (event.status == 'accepted' and event.quantity == 1):
        self.done = getattr(self, 'done', 0) + 1
        if self.done == 2:
            self.quit('enough')
"""


def test_an_account_at_the_embedded_venue_outlives_its_runs(tmp_path: Path) -> None:
    strategy(tmp_path, BODY)
    words = ("run", "mine.py", "--broker", "alpaca", "--rate", "100")
    first = run(tmp_path, *words, "--cash", "70000")
    assert first.code == 0, first.stdout
    assert first.of("first")[0]["cash"] == "70000"
    cash, held, orders, fills = books(tmp_path)
    assert (int(held), orders, fills) == (2, 2, 1)
    second = run(tmp_path, *words)
    assert second.code == 0, second.stdout
    assert (
        second.of("first")[0] | {"cash": str(cash), "held": {"SPY": "2"}} == second.of("first")[0]
    )
    assert second.of("account recovered")[0]["open_orders"] == 0
    assert books(tmp_path)[1:] == (Decimal(4), 4, 2)


def test_a_journal_is_of_one_broker(tmp_path: Path) -> None:
    strategy(tmp_path, BODY)
    words = ("run", "mine.py", "--rate", "100", "--duration", "1")
    assert run(tmp_path, *words).code == 0
    refused = run(tmp_path, *words, "--broker", "alpaca")
    refused.assert_one_sentence("is of --broker paper: give a run with --broker alpaca another")
    assert refused.code == 2
    named = (*words, "--name", "other", "--broker", "alpaca")
    assert run(tmp_path, *named).code == 0
    (tmp_path / ".tidegate" / "other" / "venue.db").unlink()  # another account from now on
    refused = run(tmp_path, *named)
    refused.assert_one_sentence("give this account another --name")
    assert refused.code == 2
