"""Signals to real runs: they stop it, switch training, train; no moment of a run is a bad one.

A strategy that signals its own process, or a venue its parent, makes the moment exact.
"""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from itertools import cycle
from pathlib import Path

import pytest

from tests.live.cli_kit import (
    CHATTY,
    PATIENCE,
    TIDEGATE,
    Running,
    run,
    strategy,
    wait_for_end,
    watched,
)

STOPS = [signal.SIGTERM, signal.SIGINT]
TRAINING = """
def initialize(self):
    self.add_security('SPY', Resolution.TICK)
    self.slot = ModelSlot('m')
    self.train(self.fit, into=self.slot)
def fit(self):
    return 1
"""
HUNG = """
def initialize(self):
    self.add_security('SPY', Resolution.TICK)
    self.train(self.stuck)
def stuck(self):
    print('stuck')
    HANG
def on_end_of_algorithm(self):
    self.log('goodbye')
"""


@pytest.mark.parametrize("number", STOPS)
@pytest.mark.parametrize(
    "feed", [(), ("--feed", "synthetic", "--speed", "1")], ids=["paper", "own"]
)
def test_a_stop_amid_the_data_is_clean(
    tmp_path: Path, number: signal.Signals, feed: tuple[str, ...]
) -> None:
    with Running(tmp_path, "run", strategy(tmp_path, CHATTY), *feed) as running:
        running.until("data")
        running.send(number)
        ended = running.end()
        assert running.family() == []
    assert (ended.code, ended.stderr) == (0, "")
    assert [line["event"] for line in ended.lines[-3:]] == ["stopping", "goodbye", "summary"]
    assert ended.summary["reason"] == f"{number.name} received"


@pytest.mark.parametrize("number", STOPS)
def test_a_stop_while_the_file_is_loaded_is_clean(tmp_path: Path, number: signal.Signals) -> None:
    text = (
        f"import os\ntry:\n    os.kill(os.getpid(), {number.value})\nexcept Exception:\n    pass\n"
    )
    ended = run(tmp_path, "run", strategy(tmp_path, text, head=""))
    assert (ended.code, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.parametrize("number", STOPS)
def test_a_stop_while_the_venue_starts_is_clean(tmp_path: Path, number: signal.Signals) -> None:
    # The venue's interpreter runs this before anything else: its parent is waiting for it then.
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'feeds.venue.process' in sys.orig_argv:\n"
        f"    os.kill(os.getppid(), {number.value})\n"
    )
    ended = run(tmp_path, "run", strategy(tmp_path, CHATTY), env={"PYTHONPATH": str(tmp_path)})
    assert (ended.code, ended.stderr) == (0, "")
    assert ended.stdout == ""


@pytest.mark.parametrize("number", STOPS)
def test_a_stop_in_initialize_is_in_order(tmp_path: Path, number: signal.Signals) -> None:
    body = CHATTY + (
        "def initialize(self):\n    self.add_security('SPY', Resolution.TICK)\n"
        f"    os.kill(os.getpid(), {number.value})\n"
    )
    ended = run(tmp_path, "run", strategy(tmp_path, body))
    assert (ended.code, ended.stderr) == (0, "")
    assert len(ended.of("goodbye")) == 1
    assert ended.summary["reason"] == f"{number.name} received"


def test_stops_that_come_twice_are_still_clean(tmp_path: Path) -> None:
    body = CHATTY + f"    os.kill(os.getpid(), {signal.SIGTERM.value})\n"  # amid the goodbye
    with Running(tmp_path, "run", strategy(tmp_path, body)) as running:
        running.until("data")
        running.send(signal.SIGTERM)
        ended = running.end()
        assert running.family() == []
    assert (ended.code, ended.stderr) == (0, "")


@pytest.mark.parametrize("number", [*STOPS, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_when_all_but_the_venue_has_ended(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, os, sys\n"
        "if 'feeds.venue.process' in sys.orig_argv:\n"
        f"    atexit.register(os.kill, os.getppid(), {number.value})\n"
    )
    ended = run(
        tmp_path,
        *("run", strategy(tmp_path, CHATTY), "--duration", "0.5"),
        env={"PYTHONPATH": str(tmp_path)},
    )
    assert (ended.code, ended.stderr) == (0, "")
    assert len(ended.of("goodbye")) == 1
    assert len(ended.of("summary")) == (number not in STOPS)  # a second stop is at once


def test_the_venue_does_not_outlive_a_run_that_is_killed(tmp_path: Path) -> None:
    with Running(tmp_path, "run", strategy(tmp_path, CHATTY)) as running:
        pid = running.until("paper venue ready")["pid"]
        running.until("data")
        with watched(pid) as venue:
            running.send(signal.SIGKILL)
            wait_for_end(venue)
        running.end()
        assert running.family() == []


def test_ctrl_c_on_a_terminal_reaches_the_run_and_not_its_venue(tmp_path: Path) -> None:
    ours, terminal = os.openpty()
    heard = b""
    command: list[str | Path] = ["setsid", "--ctty", TIDEGATE, "run", strategy(tmp_path, CHATTY)]
    process = subprocess.Popen(
        command, stdin=terminal, stdout=terminal, stderr=terminal, cwd=tmp_path
    )
    os.close(terminal)
    try:
        while b"data" not in heard:
            heard += os.read(ours, 4096)
        os.write(ours, b"\x03")
        with suppress(OSError):  # how a terminal says that nobody has it open any more
            while chunk := os.read(ours, 4096):
                heard += chunk
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    said = heard.decode()
    assert "SIGINT received" in said
    assert "goodbye" in said
    assert "Traceback" not in said
    assert '"event"' not in said  # for people, a terminal shows text


# ---- training --------------------------------------------------------------------------------


def test_usr1_switches_training_off_and_on(tmp_path: Path) -> None:
    with Running(tmp_path, "run", strategy(tmp_path, TRAINING)) as running:
        running.until("training: finished")
        running.send(signal.SIGUSR1)
        assert running.until("training: toggled")["training"] == "off"
        running.send(signal.SIGUSR2)
        job = running.until("training: queued")["job"]
        running.send(signal.SIGUSR1)
        toggled = running.until("training: toggled")
        assert (toggled["training"], toggled["by"]) == ("on", "SIGUSR1")
        running.until("training: finished", job=job)
        running.send(signal.SIGTERM)
        assert running.end().code == 0


def test_usr2_trains_again(tmp_path: Path) -> None:
    with Running(tmp_path, "run", strategy(tmp_path, TRAINING)) as running:
        running.until("training: model published", version=1)
        running.send(signal.SIGUSR2)
        again = running.until("training: model published", version=2)
        assert "SIGUSR2" in again["job"]
        running.send(signal.SIGTERM)
        ended = running.end()
    assert ended.summary["jobs"] == {"succeeded": 2}


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_before_the_run_listens_is_kept_for_it(
    tmp_path: Path, number: signal.Signals
) -> None:
    file = strategy(tmp_path, TRAINING)
    file.write_text(f"import os\nos.kill(os.getpid(), {number.value})\n" + file.read_text())
    with Running(tmp_path, "run", file) as running:
        if number == signal.SIGUSR1:
            assert running.until("training: toggled", by="SIGUSR1")["training"] == "off"
        else:
            running.until("training: finished")
        running.send(signal.SIGTERM)
        assert running.end().code == 0


SENDER = """
import os, sys, time
pid, number = int(sys.argv[1]), int(sys.argv[2])
begun = time.perf_counter()
for n in range(2500):
    os.kill(pid, number)
    time.sleep(max(0.0, begun + n / 2500 - time.perf_counter()))
"""


def storm(pid: int, *numbers: signal.Signals) -> None:
    """Send 10,000 signals in about a second from four processes."""
    senders = [
        subprocess.Popen([sys.executable, "-S", "-c", SENDER, str(pid), str(number.value)])
        for number in numbers
    ]
    assert [sender.wait(PATIENCE) for sender in senders] == [0] * 4


def test_a_storm_of_switches_leaves_no_doubt(tmp_path: Path) -> None:
    """As many as the kernel delivered are told, each in a line of its own, none torn."""
    with Running(tmp_path, "run", strategy(tmp_path, TRAINING)) as running:
        running.until("training: finished")
        storm(running.pid, *[signal.SIGUSR1] * 4)
        running.until("status")
        running.send(signal.SIGTERM)
        ended = running.end()
    assert (ended.code, ended.stderr) == (0, "")
    toggles = ended.of("training: toggled")
    assert len(toggles) > 100  # hundreds to thousands, as the kernel merges what is still pending
    assert [line["toggle"] for line in toggles] == list(range(1, len(toggles) + 1))
    assert all(line["by"] == "SIGUSR1" for line in toggles)
    switched = [line["training"] for line in toggles]
    assert all(now == word for now, word in zip(switched, cycle(["off", "on"]), strict=False))
    assert ended.of("status")[-1]["training"] == switched[-1]
    assert ended.of("log lines dropped") == []


def test_storms_of_both_leave_a_run_that_trades_and_ends_in_order(tmp_path: Path) -> None:
    with Running(tmp_path, "run", strategy(tmp_path, TRAINING + CHATTY)) as running:
        running.until("data")
        storm(running.pid, *[signal.SIGUSR1, signal.SIGUSR2] * 2)
        running.until("data")
        running.send(signal.SIGTERM)
        ended = running.end()
    assert (ended.code, ended.stderr) == (0, "")
    switched = [line["training"] for line in ended.of("training: toggled")]
    assert all(now == word for now, word in zip(switched, cycle(["off", "on"]), strict=False))
    assert ended.summary["reason"] == "SIGTERM received"


@pytest.mark.parametrize(
    "hang", ["while True: pass", "threading.Event().wait()", "time.sleep(10_000)"]
)
def test_a_job_that_hangs_does_not_hold_the_stop(tmp_path: Path, hang: str) -> None:
    (tmp_path / "hasty.toml").write_text("[engine]\nstop_grace_seconds = 0.3\n")
    file = strategy(tmp_path, HUNG.replace("HANG", hang))
    with Running(tmp_path, "run", file, "--config", "hasty.toml") as running:
        running.until("stuck")
        running.send(signal.SIGTERM)
        ended = running.end()
        assert running.family() == []
    assert ended.code == 0
    assert ended.stderr == "tidegate: left without stuck\n"
    assert len(ended.of("goodbye")) == 1
    assert ended.summary["jobs"] == {"abandoned": 1}
