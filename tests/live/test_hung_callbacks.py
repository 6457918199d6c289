"""A callback that does not return ends the run all the same, by its limit or by a signal."""

import signal
from pathlib import Path

import pytest

from tests.live.cli_kit import Running, run, strategy, wait_for_end, watched

HUNG = """
def on_data(self, slice):
    print('hung')
    HANG
def on_end_of_algorithm(self):
    self.log('goodbye')
"""
LOOP = "while True: pass"
DEAF = """while True:
        try:
            time.sleep(1)
        except BaseException:
            continue
"""
BLOCKED = """import ctypes
    libc, lock = ctypes.CDLL(None), ctypes.create_string_buffer(64)
    libc.pthread_mutex_lock(lock), libc.pthread_mutex_lock(lock)
"""
TAPE = ("--feed", "synthetic", "--speed", "max")


def hung(folder: Path, how: str, **engine: float) -> tuple[Path, Path]:
    config = folder / "hasty.toml"
    config.write_text("[engine]\n" + "".join(f"{key} = {value}\n" for key, value in engine.items()))
    return strategy(folder, HUNG.replace("HANG", how)), config


def test_past_its_limit_a_python_loop_is_interrupted_and_the_run_ends_in_order(
    tmp_path: Path,
) -> None:
    file, config = hung(tmp_path, LOOP, timeslice_minutes=0.02, hung_callback_seconds=0.3)
    line = file.read_text().split("\n").index("        " + LOOP) + 1
    ended = run(tmp_path, "run", file, *TAPE, "--config", config)
    ended.assert_one_sentence("Mine.on_data took longer than 0.02 minutes")
    assert f"(mine.py, line {line})" in ended.stderr
    assert ended.code == 1
    (hangs,) = ended.of("callback hangs")
    assert (hangs["callback"], hangs["at"]) == ("Mine.on_data", f"mine.py, line {line}")
    assert LOOP in hangs["traceback"]
    assert ended.of("goodbye") == []
    assert "took longer" in ended.summary["reason"]


@pytest.mark.parametrize("how", [DEAF, BLOCKED], ids=["deaf", "blocked"])
def test_what_cannot_be_interrupted_is_left_with_its_last_words(tmp_path: Path, how: str) -> None:
    """On the paper feed: the venue does not stay behind."""
    file, config = hung(tmp_path, how, timeslice_minutes=0.01)
    with Running(tmp_path, "run", file, "--config", config) as running:
        with watched(running.until("paper venue ready")["pid"]) as venue:
            ended = running.end()
            wait_for_end(venue)
        assert running.family() == []
    ended.assert_one_sentence("Mine.on_data took longer than 0.01 minutes")
    assert "the process is left without it (mine.py, line " in ended.stderr
    assert ended.code == 1
    assert ended.lines[-1]["event"] == "left"
    assert "mine.py" in ended.lines[-1]["traceback"]


def test_a_stop_does_not_wait_for_a_callback_that_hangs(tmp_path: Path) -> None:
    file, config = hung(tmp_path, LOOP, stop_grace_seconds=0.3)
    with Running(tmp_path, "run", file, *TAPE, "--config", config) as running:
        running.until("hung")
        running.send(signal.SIGTERM)
        ended = running.end()
    ended.assert_one_sentence("of the signal to stop (mine.py, line ")
    assert ended.code == 1
    assert ended.of("goodbye") == []
    assert ended.summary["reason"] == "SIGTERM received"


def test_a_second_signal_waits_for_nothing(tmp_path: Path) -> None:
    file, config = hung(tmp_path, BLOCKED, stop_grace_seconds=1000)
    with Running(tmp_path, "run", file, *TAPE, "--config", config) as running:
        running.until("hung")
        running.send(signal.SIGTERM, signal.SIGINT)  # two of a kind may be one to the kernel
        ended = running.end()
        assert running.family() == []
    ended.assert_one_sentence("of the second signal to stop, and the process is left without it")
    assert ended.code == 1


def test_a_c_call_that_keeps_the_interpreter_to_itself_is_left_with_the_stacks_shown(
    tmp_path: Path,
) -> None:
    limits = {"timeslice_minutes": 0.01, "stop_grace_seconds": 0.1}
    file, config = hung(tmp_path, "sum(range(10**12))", **limits)
    with Running(tmp_path, "run", file, "--config", config) as running:
        ended = running.end()
    assert ended.code == 1
    assert "Timeout" in ended.stderr
    assert "mine.py" in ended.stderr
