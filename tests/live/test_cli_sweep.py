"""`tidegate sweep` as a user runs it: killed, crashed, hung, gone on with, and told apart."""

import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.live.cli_kit import EXAMPLES, Ended, Running, run, strategy

EMA = str(EXAMPLES / "ema_cross.py")
MODEL = str(EXAMPLES / "order_flow_model.py")

CELLS = """
def initialize(self):
    self.add_security('SPY', Resolution.TICK)
    self.n = self.get_parameter('n')
    with open('ran', 'a') as file:
        file.write(self.n + '\\n')
    self.at('begin')
def at(self, place):
    mark = f'{place}-{self.n}'
    if os.path.exists(mark):
        os.remove(mark)
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
def on_data(self, slice):
    if self.time_ns % 10**9 == 0:
        self.market_order('SPY', int(self.n))
def on_end_of_algorithm(self):
    self.at('end')
"""


def sweep(folder: Path, file: str | Path, *args: str, code: int = 0) -> dict[str, Any]:
    ended = run(folder, "sweep", file, "--minutes", "0.2", "--json", *args)
    assert ended.code == code, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def test_a_grid_is_run_ranked_and_not_run_again(tmp_path: Path) -> None:
    args = ("--minutes", "3", "--set", "fast=5,10", "--set", "slow=20,40", "--rank", "Net Profit")
    first = sweep(tmp_path, EMA, *args)
    assert [len(first["cells"]), first["failed"], first["left"]] == [4, [], 0]
    profits = [cell["statistics"]["Net Profit"] for cell in first["cells"]]
    assert profits == sorted(profits, reverse=True)
    assert len({cell["orders_sha256"] for cell in first["cells"]}) > 1
    # The same cell alone is the same backtest.
    best = first["cells"][0]
    given = [word for name, value in best["cell"].items() for word in ("-p", f"{name}={value}")]
    alone = run(tmp_path, "backtest", EMA, "--minutes", "3", "--json", *given)
    assert json.loads(alone.stdout)["summary"]["orders_sha256"] == best["orders_sha256"]
    ledger = Path(tmp_path, first["ledger"]).read_bytes()
    assert sweep(tmp_path, EMA, *args) == first
    assert Path(tmp_path, first["ledger"]).read_bytes() == ledger
    # A larger grid runs what is new.
    more = sweep(tmp_path, EMA, *args[:3], "fast=5,10,15", *args[4:])
    assert len(more["cells"]) == 6
    assert Path(tmp_path, first["ledger"]).read_bytes().startswith(ledger)


@pytest.mark.parametrize("place", ["begin", "end"])
def test_kill_9_loses_no_cell_and_repeats_none_that_was_done(tmp_path: Path, place: str) -> None:
    file = strategy(tmp_path, CELLS)
    for n in (2, 3, 5):
        (tmp_path / f"{place}-{n}").touch()
    args = ("sweep", file, "--minutes", "0.2", "--set", "n=1,2,3,4,5,6", "--workers", "2", "--json")
    for _ in range(3):
        assert run(tmp_path, *args).code == -signal.SIGKILL
    ended = run(tmp_path, *args)
    assert ended.code == 0
    found = json.loads(ended.stdout)
    assert sorted(cell["cell"]["n"] for cell in found["cells"]) == list("123456")
    ledger = Path(tmp_path, found["ledger"]).read_text("utf-8").splitlines()
    assert len(ledger) == 7
    # What ran more than once was running when the sweep was killed: at most two a kill.
    ran = Counter((tmp_path / "ran").read_text("utf-8").split())
    assert set(ran) == set("123456")
    assert sum(ran.values()) <= 6 + 3 * 2


def test_what_crashes_or_raises_has_failed_and_the_rest_goes_on(tmp_path: Path) -> None:
    body = """
def initialize(self):
    self.add_security('SPY', Resolution.TICK)
    self.n = self.get_parameter('n')
    if self.n == 'exit':
        os._exit(7)
def on_data(self, slice):
    if self.n == 'crash':
        os.kill(os.getpid(), signal.SIGSEGV)
    if self.n == 'raise':
        raise KeyError('x')
"""
    file = strategy(tmp_path, body)
    words = "n=crash,raise,exit,good"
    found = sweep(tmp_path, file, "--set", words, code=1)
    assert [cell["cell"]["n"] for cell in found["cells"]] == ["good"]
    assert {cell["cell"]["n"]: cell["error"] for cell in found["failed"]} == {
        "crash": "its process was ended by SIGSEGV",
        "raise": "Mine.on_data raised KeyError: 'x' (mine.py, line 16)",
        "exit": "its process ended without a result (exit code 7)",
    }
    shown = run(
        tmp_path, "sweep", file, "--minutes", "0.2", "--set", words, "--cell-minutes", "0.1"
    )
    assert shown.code == 1
    assert "failed: n=crash: its process was ended by SIGSEGV" in shown.stdout
    # Those that have failed are run again only where it is asked for.
    again = sweep(tmp_path, file, "--set", words, code=1)
    assert again == found


def test_what_hangs_is_killed(tmp_path: Path) -> None:
    file = strategy(tmp_path, "def on_data(self, slice): time.sleep(600)")
    found = sweep(tmp_path, file, "--set", "n=1", "--cell-minutes", "0.02", code=1)
    assert found["failed"][0]["error"] == "it was not done after 1.2 s, and was killed"


def test_a_stop_keeps_what_is_done(tmp_path: Path) -> None:
    body = """
def on_data(self, slice):
    if self.get_parameter('n') == 'last' and os.path.exists('first'):
        os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(600)
"""
    file = strategy(tmp_path, body)
    (tmp_path / "first").touch()
    found = sweep(tmp_path, file, "--set", "n=1,2,last", "--workers", "1")
    assert [cell["cell"]["n"] for cell in found["cells"]] == ["1", "2"]
    assert (found["failed"], found["left"]) == ([], 1)
    (tmp_path / "first").unlink()
    assert sweep(tmp_path, file, "--set", "n=1,2,last")["left"] == 0


def test_a_strategy_that_has_changed_is_told(tmp_path: Path) -> None:
    file = strategy(tmp_path, "")
    first = sweep(tmp_path, file, "--set", "n=1,2")
    strategy(tmp_path, "LIMIT = 3")
    ended = run(tmp_path, "sweep", file, "--minutes", "0.2", "--set", "n=1,2")
    ended.assert_one_sentence("strategy changed since the cells in .tidegate/sweeps/mine-")
    assert ended.code == 2
    anew = sweep(tmp_path, file, "--set", "n=1,2", "--anew")
    assert anew["ledger"] == first["ledger"]


def test_a_name_that_nobody_asks_for_is_told(tmp_path: Path) -> None:
    found = sweep(tmp_path, EMA, "--set", "fsat=1,2")
    assert found["unread"] == ["fsat"]
    ended = run(tmp_path, "sweep", EMA, "--minutes", "0.2", "--set", "fsat=1,2")
    assert "no cell has asked for fsat: is it misspelt?" in ended.stdout
    assert "no cell has a Sharpe Ratio here" in ended.stdout


def test_progress_off_a_terminal_is_a_line_for_each_cell(tmp_path: Path) -> None:
    args = ("sweep", EMA, "--minutes", "0.2", "--set", "fast=3,4", "--workers", "1")
    lines = [json.loads(line) for line in run(tmp_path, *args).stderr.splitlines()]
    assert [(line["done"], line["of"], line["cell"]) for line in lines] == [
        (1, 2, {"fast": "3"}),
        (2, 2, {"fast": "4"}),
    ]
    assert run(tmp_path, *args, "--anew", "--no-progress").stderr == ""


def test_each_cell_may_walk_forward(tmp_path: Path) -> None:
    args = ("--set", "retrain_seconds=15,30", "--job-cost", "1", "--minutes", "4")
    found = sweep(tmp_path, MODEL, *args, "--walk-forward", "train=2m", "step=1m")
    assert [len(cell["folds"]) for cell in found["cells"]] == [2, 2]
    # Steps train, not the strategy's own pace: that parameter makes no difference here.
    assert len({cell["orders_sha256"] for cell in found["cells"]}) == 1


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([EMA], "a sweep needs --set NAME=VALUE"),
        (["nope.py", "--set", "n=1"], "nope.py does not exist"),
        ([EMA, "--set", "n"], "--set is 'n': NAME=VALUE,VALUE"),
        ([EMA, "--set", "n=1", "-p", "n=2"], "n is given by --set and by --param"),
        ([EMA, "--set", "n=1", "--workers", "0"], "--workers is 0: 1 or more"),
        ([EMA, "--set", "n=1", "--cell-minutes", "0"], "--cell-minutes is 0: more than 0"),
        ([EMA, "--set", "n=1", "--rank", "Luck"], "--rank is 'Luck': allowed are"),
        ([EMA, "--set", "n=1", "--ledger", "/dev/null/x"], "the ledger /dev/null/x cannot be"),
        ([EMA, "--set", "n=1", "--walk-forward", "x"], "--walk-forward is 'x'"),
        ([EMA, "--set", "n=1", "--data", "nope.zip"], "nope.zip does not exist"),
    ],
    ids=lambda value: " ".join(value[1:]) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_sentence(tmp_path: Path, args: list[str], words: str) -> None:
    ended: Ended = run(tmp_path, "sweep", *args)
    ended.assert_one_sentence(words)
    assert ended.code == 2


def test_a_second_sweep_of_the_same_is_refused(tmp_path: Path) -> None:
    body = """
def on_data(self, slice):
    with open('fifo', 'w') as file:
        file.write('here')
    time.sleep(600)
"""
    import os

    os.mkfifo(tmp_path / "fifo")
    file = strategy(tmp_path, body)
    args = ("sweep", file, "--minutes", "0.2", "--set", "n=1", "--no-progress")
    with Running(tmp_path, *args) as first:
        assert (tmp_path / "fifo").read_text("utf-8") == "here"
        second = run_beside(tmp_path, *args)
        assert second.code == 3
        second.assert_one_sentence("another sweep writes .tidegate/sweeps/mine-")
        first.send(signal.SIGINT)
        ended = first.end()
    assert ended.code == 0
    assert "1 of the cells are left" in ended.stdout


def run_beside(folder: Path, *args: str | Path) -> Ended:
    (folder / "beside").mkdir()
    with Running(folder, *args) as running:
        return running.end()
