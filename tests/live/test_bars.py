"""Bars below the log on a terminal, and nothing of them anywhere else."""

import os
import pty
import re
import signal
from pathlib import Path
from typing import Any

from rich.console import Console

from runtime.cli.bars import bars, drawn
from runtime.control.board import Board, Snapshot
from tests.live.cli_kit import TIDEGATE, Running, strategy, wait_for_end, watched

WORKS = """
def initialize(self):
    self.add_security('SPY', Resolution.TICK)
    self.set_warm_up(300)
    self.model = ModelSlot('m')
def fit(self):
    for n in range(1000):
        self.training.progress(0.4, 'of its trees')
        time.sleep(0.01)
        if self.training.cancelled:
            return 1
    return 1
def on_data(self, slice):
    self.log('tick', time=self.time)
    if not self.is_warming_up and not self.model.readiness.is_ready:
        self.train(self.fit, into=self.model)
"""


def snapshot(running: list[dict[str, Any]], queued: list[str], warm_up: float | None) -> Snapshot:
    quota = {"available": 118, "capacity": 120}
    training = {"quota": quota, "running": running, "queued": queued}
    return Snapshot(
        time=1,
        engine_time=1,
        status={},
        counts={},
        feed={},
        training=training,
        models=(),
        positions=(),
        orders=(),
        prices={},
        halted="",
        lag={},
        latency={},
        warm_up=warm_up,
    )


def shown(found: Snapshot | None) -> str:
    console = Console(width=160, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(drawn(found))
    console.file.close()
    return console.export_text()


def test_what_takes_its_time_is_drawn() -> None:
    job = {"id": "fit-3", "state": "running", "elapsed": 40.0, "spent": 1, "fraction": 0.4}
    said = shown(snapshot([{**job, "text": "trees\x1b[2J"}], ["slow-4"], 0.25))
    assert re.search(r"warm-up +━+.* 25%", said)
    assert re.search(
        r"fit-3 +━+.* 40%  40 s  60 s left  1 min paid  118/120 left  trees\\x1b", said
    )
    assert "1 queued" in said
    assert "slow-4" in said


def test_where_nothing_does_nothing_is() -> None:
    assert shown(snapshot([], [], None)).strip() == ""
    assert shown(None).strip() == ""


def test_elsewhere_than_on_a_terminal_the_stream_is_as_it_was(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as file, bars(file, Board(lambda: 1), wanted=True) as stream:
        assert stream is file


def test_a_run_on_a_terminal_shows_them_below_its_lines(tmp_path: Path) -> None:
    strategy(tmp_path, WORKS)
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(tmp_path)
        os.environ["COLUMNS"] = "150"
        os.execv(TIDEGATE, [str(TIDEGATE), "run", "mine.py", "--rate", "100"])
    heard = b""

    def until(words: bytes) -> None:
        nonlocal heard
        while words not in heard:
            heard += os.read(terminal, 65536)

    with watched(child) as handle:
        until(b"warm-up")
        until(b"of its trees")
        until(b"min paid")
        os.kill(child, signal.SIGTERM)
        until(b"summary")
        wait_for_end(handle)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert b"tick" in heard


def test_on_a_pipe_the_same_are_events(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[engine]\nstatus_seconds = 0.2\n")
    with Running(
        tmp_path, "run", strategy(tmp_path, WORKS), "--rate", "100", "--config", config
    ) as running:
        assert running.until("status")["warm_up"].endswith("%")
        running.until("training: progress", progress="40%")
        running.send(signal.SIGTERM)
        ended = running.end()
    assert ended.code == 0
    assert "\x1b" not in ended.stdout
