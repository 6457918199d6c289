"""Deployments as users have them: real processes, killed, started twice, rolled back."""

import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.live.cli_kit import Ended, Running, strategy

BODY = """
def initialize(self):
    self.spy = self.add_security('SPY', Resolution.TICK).symbol
    self.model = ModelSlot('m')
    self.ticks = 0
def fit(self):
    time.sleep(self.training.statistics.quota.capacity / 1000)
    return [self.ticks]
def on_data(self, slice):
    self.ticks += 1
    if self.ticks == 1:
        self.log('first tick', version=self.model.version, model=self.model.current)
    if self.ticks % 5 == 1:
        self.train(self.fit, into=self.model)
"""
QUICK = """
[training]
capacity = 300
refill_amount = 0
grace_minutes = 0.0
quantum_seconds = 0.1
[feed]
rate = 50.0
"""


def run(folder: Path, *args: str | Path) -> Ended:
    with Running(folder, *args) as running:
        return running.end()


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deployment")
    strategy(folder, BODY)
    (folder / "quick.toml").write_text(QUICK)
    return folder


def start(folder: Path, *more: str) -> Running:
    return Running(folder, "run", "mine.py", "--config", "quick.toml", *more)


def listed(folder: Path) -> list[dict[str, Any]]:
    ended = run(folder, "models", "--json")
    assert (ended.code, ended.stderr) == (0, "")
    found: list[dict[str, Any]] = msgspec.json.decode(ended.stdout)
    return found


@pytest.mark.timeout(180)  # it starts seven processes
def test_a_killed_run_goes_on_where_it_was(mine: Path) -> None:
    """kill -9 while a job runs: the minutes stay spent, the model serves from the first tick."""
    with start(mine) as running:
        assert running.until("training quota")["available"] == 300
        published = running.until("training: model published")
        running.until("training: started")
        taken = running.until("training: minute taken")
        running.send(signal.SIGKILL)
        ended = running.end()
        told = ended.of("training: minute taken")
        left = min(line["quota_left"] for line in [taken, *told])
    with start(mine) as running:
        quota = running.until("training quota")
        assert left - 2 <= quota["available"] <= left, "at most one was taken and not told yet"
        restored = running.until("model restored")
        assert restored["version"] >= published["version"]
        first = running.until("first tick")
        assert first["version"] == restored["version"]
        assert first["model"]
        number = running.until("training: model published")["version"]
        assert number > restored["version"]
        second = run(mine, "run", "mine.py", "--config", "quick.toml")
        second.assert_one_sentence(f"Mine is used by process {running.pid} on ")
        assert second.code == 3
        said = run(mine, "models", "rollback", "m", "--name", "Mine")
        assert said.code == 0, said.stderr
        assert said.stdout.startswith("m rolled back to v")
        assert running.until("model rolled back")["by"].endswith("tidegate models rollback")
        running.send(signal.SIGTERM)
        assert running.end().code == 0
    rows = listed(mine)
    assert [row["state"] for row in rows].count("serving") == 1
    oldest = str(rows[-1]["version"])
    said = run(mine, "models", "rollback", "m", "--to", oldest, "--name", "Mine")
    assert said.stdout == f"m rolled back to v{oldest}: the next run of Mine begins with it\n"
    table = run(mine, "models").stdout
    assert f"v{oldest}" in table
    assert "withdrawn" in table


def test_a_finished_model_from_the_command_line(mine: Path) -> None:
    (mine / "done.json").write_text("[7]")
    with start(mine, "--name", "other", "--model", "m=done.json") as running:
        first = running.until("first tick")
        assert (first["version"], first["model"]) == (1, [7])
        assert "done.json: it is not trained" in running.until("training: cancelled")["text"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--model", "m=none.json"), "--model m=none.json: the file cannot be read"),
        (("--model", "m=x.pkl"), "a .pkl file can run code when it is read; allowed are .json"),
        (("--model", "m=mine.py"), "the file has an unknown ending: .json, "),
        (("--name", "../x"), "the name '../x' cannot name a folder"),
        (("--state-dir", "mine.py"), "the state folder mine.py/Mine cannot be used: Not a direct"),
        (("--state-dir", "/proc/none"), "the state folder /proc/none/Mine cannot be used"),
    ],
)
def test_what_cannot_be_kept_or_served_is_one_sentence_before_anything_starts(
    mine: Path, options: tuple[str, ...], words: str
) -> None:
    ended = run(mine, "run", "mine.py", *options)
    ended.assert_one_sentence(words)
    assert (ended.code, ended.stdout) == (2, "")


def test_a_rollback_of_nothing_says_what_there_is(tmp_path: Path) -> None:
    assert run(tmp_path, "models").stdout == "no stored models\n"
    ended = run(tmp_path, "models", "rollback", "m")
    ended.assert_one_sentence("say which deployment with --name: .tidegate has none")
    assert ended.code == 2


def test_models_that_another_file_has_left_are_told(tmp_path: Path) -> None:
    """Both classes are called Mine, which names the folder; with a name of its own each has one."""
    quick = ("--feed", "synthetic", "--minutes", "0.1", "--speed", "max", "--persist")
    for name, told in (("a.py", 0), ("a.py", 0), ("b.py", 1), ("b.py", 0)):
        file = strategy(tmp_path, "def on_data(self, slice): pass", name)
        ended = run(tmp_path, "run", file, *quick)
        assert ended.code == 0
        assert len(ended.of("the quota and models here were left by another file")) == told
