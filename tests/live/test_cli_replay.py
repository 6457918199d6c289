"""`tidegate run --record`, then `tidegate replay`: live is replay, order for order."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.live.cli_kit import EXAMPLES, Ended, Running, run, strategy

BODY = """
def initialize(self):
    self.add_security('SPY', Resolution.TICK)
    self.mean, self.spread = ModelSlot('mean'), ModelSlot('spread')
    self.n, self.bias, self.fills, self.stop = 0, 0.0, 0, None
def fit(self):
    return float(self.tick_history('SPY', 500).price.mean())
def fit_beside(self):
    prices = self.tick_history('SPY', 500).price
    self.bias = float(prices.std())
    return {'std': prices.std(), 'last': prices[-5:]}
def on_data(self, slice):
    self.n += 1
    if self.n % 20 == 5:
        self.train(self.fit, into=self.mean, isolation='thread')
    if self.n % 20 == 10:
        self.train(self.fit_beside, into=self.spread, isolation='process')
    if self.n % 5 == 0 and self.mean.is_ready:
        price = self.securities['SPY'].price
        side = 1 if price < self.mean.current + self.bias / 10 else -1
        self.market_order('SPY', side * (self.mean.version + 3 * self.spread.version))
        self.limit_order('SPY', -side, round(price * (1 + side * 0.0005), 2), f'{self.bias}')
        self.stop = self.stop_market_order('SPY', -side, round(price * (1 - side * 0.002), 2))
    elif self.stop is not None:
        self.stop.update(stop_price=round(self.securities['SPY'].price * 0.99, 2))
        self.stop = None
    if self.n % 50 == 0:
        self.liquidate('SPY')
    if self.spread.version >= 2 and self.mean.version >= 2 and self.fills > 12:
        self.log('trained')
def on_order_event(self, order_event):
    self.fills += bool(order_event.fill_quantity)
"""
RATE = ("--rate", "30", "--record", "--log-format", "json")


def replay(folder: Path, *args: str | Path) -> tuple[dict[str, Any], Ended]:
    ended = run(folder, "replay", "Mine", "--json", *args)
    found: dict[str, Any] = json.loads(ended.stdout)
    return found, ended


def test_live_is_replay_with_models_from_a_thread_and_a_process(tmp_path: Path) -> None:
    """On the embedded venue, over its socket, in real time: the models are those of then."""
    file = strategy(tmp_path, BODY)
    with Running(tmp_path, "run", file, *RATE) as running:
        running.until("trained")
        running.send(signal.SIGUSR1)  # training off
        running.until("training: toggled")
        running.send(signal.SIGTERM)
        ended = running.end()
    assert ended.code == 0, ended.stderr
    (recorded,) = ended.of("session recorded")
    found, told = replay(tmp_path)
    assert told.code == 0, told.stderr
    assert (found["is_complete"], found["difference"]) == (True, "")
    assert found["orders_sha256"] == found["recorded_sha256"] == recorded["orders_sha256"]
    summary = ended.summary
    assert found["events"] > summary["events"] > 0  # what is no price comes on top
    assert found["orders"] >= found["reports"] // 3 > 0
    assert found["reports"] >= summary["fills"] > 12
    assert found["models"] >= 4
    assert "replayed" not in told.stderr
    # Again, as text, and the same.
    text = run(tmp_path, "replay", recorded["folder"])
    assert text.code == 0
    assert recorded["orders_sha256"] in text.stdout
    _changed_sizes_are_named(tmp_path, file)
    _a_model_that_is_gone_is_named(Path(tmp_path, recorded["folder"]), tmp_path)


def _changed_sizes_are_named(folder: Path, file: Path) -> None:
    other = folder / "other.py"
    text = file.read_text("utf-8").replace("side * (self", "side * (self.n // 20 + self")
    other.write_text(text)
    found, told = replay(folder, "--strategy", other)
    assert told.code == 1
    assert found["same_strategy"] is False
    last = told.stderr.splitlines()[-1]
    assert last.startswith("tidegate: order "), told.stderr
    assert " differs, at 20" in last
    assert "the session sent " in last
    assert "the strategy is not the one that was recorded" in told.stderr


def _a_model_that_is_gone_is_named(session: Path, folder: Path) -> None:
    for path in (session / "models" / "mean").glob("000002.*"):
        path.unlink()
    ended = run(folder, "replay", session)
    ended.assert_one_sentence("version 2 of 'mean' is not in the recording")
    assert ended.code == 1


def test_leans_flag_that_a_thread_sets_is_replayed(tmp_path: Path) -> None:
    """As in strategies/readiness_flag.py: what the job assigns on self is all there is.

    A write that falls between the look before a call and the call's own reading is not seen (it is
    some microseconds of many milliseconds): so one of three sessions has to do.
    """
    body = """
def initialize(self):
    self.add_security('SPY', Resolution.TICK)
    self.is_training, self.mean, self.fits, self.shape = False, None, 0, None
def fit(self):
    try:
        prices = self.tick_history('SPY', 100).price
        self.mean, self.shape = float(prices.mean()), {1, len(prices)}
        self.fits += 1
    finally:
        self.is_training = False
def on_data(self, slice):
    if self.is_training:
        return
    if self.mean is not None:
        self.limit_order('SPY', self.fits, round(self.mean - max(self.shape) / 100, 2))
    if self.fits > 5:
        self.log('trained')
    self.is_training = True
    self.train(self.fit)
"""
    file = strategy(tmp_path, body)
    for _ in range(3):
        with Running(tmp_path, "run", file, *RATE) as running:
            running.until("trained")
            running.send(signal.SIGTERM)
            assert running.end().code == 0
        found, told = replay(tmp_path)
        if told.code == 0:
            break
    assert told.code == 0, told.stderr
    assert (found["is_complete"], found["difference"]) == (True, "")
    assert found["orders"] > 5


def test_what_kill_9_leaves_is_replayed_up_to_there(tmp_path: Path) -> None:
    with Running(tmp_path, "run", strategy(tmp_path, BODY), *RATE) as running:
        running.until("trained")
        running.send(signal.SIGKILL)
        running.end()
    found, told = replay(tmp_path)
    assert told.code == 0, told.stderr
    assert (found["is_complete"], found["difference"]) == (False, "")
    assert found["orders"] > 0
    assert found["models"] > 0


def test_a_run_that_goes_on_with_an_account_and_is_halted_is_replayed(tmp_path: Path) -> None:
    body = """
def initialize(self):
    self.add_security('SPY', Resolution.TICK)
def on_data(self, slice):
    held = self.portfolio['SPY'].quantity
    self.log('held', held=str(held), halted=self.seen)
    self.market_order('SPY', 1 + held % 3)
    self.limit_order('SPY', 1, 1.0)
seen = ''
def on_order_event(self, order_event):
    self.seen = order_event.message
"""
    file = strategy(tmp_path, body)
    for held in ("3", "20"):
        with Running(tmp_path, "run", file, *RATE) as running:
            while int(running.until("held")["held"]) < int(held):
                pass
            halted = run_beside(tmp_path, "halt")
            assert halted.code == 0, halted.stderr
            running.until("halted")
            while "halted" not in running.until("held")["halted"]:
                pass
            assert run_beside(tmp_path, "resume").code == 0
            running.until("resumed")
            running.until("held")
            running.send(signal.SIGTERM)
            assert running.end().code == 0
        found, told = replay(tmp_path)
        assert told.code == 0, told.stderr
        assert (found["is_complete"], found["difference"]) == (True, "")
        assert found["orders"] > 3


def run_beside(folder: Path, *args: str | Path) -> Ended:
    """A command that leaves while a run of the same folder goes on."""
    import subprocess

    from tests.live.cli_kit import TIDEGATE

    done = subprocess.run(
        [TIDEGATE, *args], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("name", ["order_flow_model", "scheduled_training"])
def test_a_tape_is_recorded_as_well(tmp_path: Path, name: str) -> None:
    tape = ("--feed", "synthetic", "--speed", "max", "--minutes", "3")
    args = ("--record", "--isolation", "process", "--log-format", "json")
    ended = run(tmp_path, "run", EXAMPLES / f"{name}.py", *tape, *args)
    assert ended.code == 0, ended.stderr
    found, told = replay_of(tmp_path, ended.of("session recorded")[0]["folder"])
    assert told.code == 0, told.stderr
    assert (found["is_complete"], found["difference"]) == (True, "")
    assert found["events"] >= ended.summary["events"]


def replay_of(folder: Path, session: str) -> tuple[dict[str, Any], Ended]:
    ended = run(folder, "replay", session, "--json")
    return json.loads(ended.stdout), ended


def test_what_is_no_recording_is_one_sentence(tmp_path: Path) -> None:
    ended = run(tmp_path, "replay", "Nobody")
    ended.assert_one_sentence("Nobody is no recorded session, and no deployment in .tidegate that")
    assert ended.code == 2
