"""The command line: every mistake is one sentence and an exit code, and leaves nothing behind."""

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.live.cli_kit import CHATTY, EXAMPLES, TIDEGATE, Ended, Running, run, strategy

EMA = str(EXAMPLES / "ema_cross.py")
QUICK = ("--feed", "synthetic", "--speed", "max", "--rate", "1")
MISTAKES = {
    "syntax": "class (:\n",
    "at import": "raise RuntimeError('no\\nluck')\n",
    "leaves": "import sys\nsys.exit(0)\n",
    "async": (
        "from runtime import Strategy\nclass A(Strategy):\n    async def on_data(self, s): ...\n"
    ),
    "missing import": "import no_such_package\n",
    "two": "from runtime import Strategy\nclass A(Strategy): ...\nclass B(Strategy): ...\n",
    "none": "x = 1\n",
    "constructor": (
        "from runtime import Strategy\nclass A(Strategy):\n    def __init__(self):\n        1 / 0\n"
    ),
}


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ("syntax", "mine.py has a syntax error in line 1"),
        ("at import", "mine.py raised RuntimeError: no"),
        ("leaves", "mine.py raised SystemExit: 0 (mine.py, line 2) while loading"),
        ("async", "A.on_data is a coroutine"),
        ("missing import", "mine.py imports no_such_package, which is not installed"),
        ("two", "mine.py defines 2 strategies (A, B)"),
        ("none", "mine.py defines 0 strategies"),
        ("constructor", "A() raised ZeroDivisionError"),
    ],
)
def test_a_strategy_that_cannot_be_loaded(tmp_path: Path, mistake: str, words: str) -> None:
    file = strategy(tmp_path, MISTAKES[mistake], head="")
    ended = run(tmp_path, "run", file)
    ended.assert_one_sentence(words)
    assert (ended.code, ended.stdout) == (2, "")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["run", "nope.py"], "nope.py does not exist"),
        (["run", "config.toml"], "config.toml is not a Python file"),
        (["run", EMA + ":Nope"], "no strategy class Nope: it defines EmaCross"),
        (["run", EMA, "--config", "nope.toml"], "nope.toml does not exist"),
        (["run", EMA, "--config", "config.toml"], "unknown key feed.sped: did you mean feed.speed"),
        (["run", EMA, "--config", "broken.toml"], "broken.toml is not valid TOML"),
        (["run", EMA, "--config", "typed.toml"], "training.capacity is 'many'"),
        (["run", EMA, "--feed", "telepathy"], "feed.kind is 'telepathy'"),
        (["run", EMA, "--speed", "fast"], "--speed is 'fast': a number, or max"),
        (["run", EMA, "--speed", "-1"], "feed.speed is -1"),
        (["run", EMA, "--cash", "inf"], "trading.cash is inf"),
        (["run", EMA, "--quota", "free-lunch"], "training.preset is 'free-lunch'"),
        (["run", EMA, "--param", "symbol"], "--param is 'symbol': NAME=VALUE is needed"),
        (["run", EMA, "--duration", "nan"], "--duration is nan"),
        (["run", EMA, "--log-level", "loud"], "log.level is 'loud'"),
        (["run", EMA, "--log-file", "nowhere/x.log"], "log.file is nowhere/x.log: No such file"),
        (["run", EMA, "--feed", "replay"], "--feed replay needs --data"),
        (["run", EMA, "--feed", "replay", "--data", "nope.zip"], "nope.zip does not exist"),
        (["run", EMA, "--feed", "replay", "--data", "config.toml"], "is nothing we know"),
        (["run", EMA, "--data", "nope.zip"], "nope.zip does not exist"),
        (["run", EMA, "--minutes", "5"], "--minutes means nothing with --feed paper: it is for"),
        (["venue", "--data", "nope.zip", "--seed", "2"], "--seed means nothing with --data"),
        (["run", EMA, "--venue-url", "ws://127.0.0.1:1"], "set APCA_API_KEY_ID and APCA_API_SEC"),
        (["run", EMA, "--feed", "replay", "--data", ""], "--data is empty"),
        (["venue", "--host", "", "--port", "0"], "--host is empty"),
        (["venue", "--port", "65536"], "--port is 65536"),
        (["venue", "--speed", "nan"], "--speed is nan"),
        (["venue", "--rate", "nan"], "rate"),
        (["venue", "--data", "nope.zip"], "nope.zip does not exist"),
        (["venue", "--host", "256.0.0.1", "--port", "0"], "256.0.0.1"),
        (["demo", "--duration", "-1"], "--duration is -1"),
    ],
    ids=lambda value: " ".join(value).replace(EMA, "EMA") if isinstance(value, list) else "",
)
def test_wrong_usage_is_told_before_anything_begins(
    tmp_path: Path, args: list[str], words: str
) -> None:
    (tmp_path / "config.toml").write_text("[feed]\nsped = 1\n")
    (tmp_path / "broken.toml").write_text("[feed\n")
    (tmp_path / "typed.toml").write_text("[training]\ncapacity = 'many'\n")
    ended = run(tmp_path, *args)
    ended.assert_one_sentence(words)
    assert ended.code == 2
    assert ended.stdout == ""


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["run", "--nope"], "No such option: --nope"),
        (["run"], "Missing argument"),
        (["rnu"], "No such command 'rnu'"),
        (["run", EMA, "--seed", "abc"], "Invalid value for '--seed'"),
        (["run", EMA, "--duration", "soon"], "Invalid value for '--duration'"),
    ],
)
def test_a_command_that_is_none_gets_the_usage(tmp_path: Path, args: list[str], words: str) -> None:
    ended = run(tmp_path, *args)
    assert ended.code == 2
    assert "Usage: tidegate" in ended.stderr
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_version_and_the_help(tmp_path: Path) -> None:
    assert run(tmp_path, "--version").stdout.startswith("tidegate ")
    helped = run(tmp_path, "run", "--help")
    assert helped.code == 0
    assert "--feed-url" in helped.stdout


PAPER = ("--duration", "1")


@pytest.mark.parametrize(
    ("body", "words", "options"),
    [
        ("def initialize(self):\n    raise ValueError('no')", "initialize raised ValueErr", PAPER),
        ("def initialize(self):\n    pass", "Mine.initialize added no symbol", QUICK),
        ("def on_data(self, slice):\n    raise KeyError('x')", "on_data raised KeyError", PAPER),
        ("def on_data(self, slice):\n    raise KeyError('x')", "on_data raised KeyError", QUICK),
        ("def on_end_of_algorithm(self):\n    1 / 0", "end_of_algorithm raised ZeroDiv", PAPER),
    ],
)
def test_a_strategy_that_raises_fails_the_run(
    tmp_path: Path, body: str, words: str, options: tuple[str, ...]
) -> None:
    ended = run(tmp_path, "run", strategy(tmp_path, body), *options)
    ended.assert_one_sentence(words)
    assert ended.code == 1
    assert ended.summary["slices"] <= ended.summary["events"]


@pytest.mark.parametrize("where", ["initialize(self)", "on_data(self, slice)"])
def test_the_traceback_of_a_strategy_is_in_the_log_for_who_asks(tmp_path: Path, where: str) -> None:
    file = strategy(tmp_path, f"def {where}:\n    raise KeyError('x')")
    ended = run(tmp_path, "run", file, *QUICK, "--log-level", "debug")
    (failed,) = ended.of("failed")
    assert failed["level"] == "debug"
    assert "mine.py" in failed["traceback"]
    assert "raise KeyError('x')" in failed["traceback"]


def test_a_damaged_file_fails_the_run(tmp_path: Path) -> None:
    data = tmp_path / "equity/usa/tick/spy/20131007_trade.zip"
    data.parent.mkdir(parents=True)
    data.write_bytes(b"PK\x03\x04 and then nothing")
    ended = run(tmp_path, "run", EMA, "--feed", "replay", "--data", data, "-p", "symbol=SPY")
    ended.assert_one_sentence("20131007_trade.zip")
    assert ended.code == 1


def test_the_end_of_the_data_is_a_clean_stop(tmp_path: Path) -> None:
    ended = run(tmp_path, "run", strategy(tmp_path, CHATTY), *QUICK)
    assert (ended.code, ended.stderr) == (0, "")
    assert len(ended.of("goodbye")) == 1
    assert ended.summary["reason"] == "the data has ended"
    assert ended.summary["events"] == 3600
    assert len(ended.of("data")) == ended.summary["slices"]


def test_the_duration_is_a_clean_stop(tmp_path: Path) -> None:
    ended = run(tmp_path, "run", strategy(tmp_path, CHATTY), "--duration", "1.5")
    assert (ended.code, ended.stderr) == (0, "")
    assert len(ended.of("goodbye")) == 1
    assert ended.summary["reason"] == "the duration of 1.5 s is over"
    assert ended.summary["events"] > 0


def test_health_tells_whether_a_run_is_alive(tmp_path: Path) -> None:
    dead = run(tmp_path, "health")
    dead.assert_one_sentence("no run has left a sign of life in .tidegate")
    assert dead.code == 1
    config = tmp_path / "quick.toml"
    config.write_text("[engine]\nstatus_seconds = 0.05\n")
    with Running(tmp_path, "run", EMA, "--config", config) as running:
        running.until("status")
        running.until("status")  # the first one is on the disk by now
        (tmp_path / "elsewhere").mkdir()
        asked = run(tmp_path / "elsewhere", "health", "--state-dir", tmp_path / ".tidegate")
        assert asked.code == 0, asked.stderr
        assert "EmaCross-" in asked.stdout
        running.send(signal.SIGTERM)
        assert running.end().code == 0
    ended = run(tmp_path, "health")
    ended.assert_one_sentence("has ended: SIGTERM received")
    assert ended.code == 1


# ---- what an author leaves behind ------------------------------------------------------------

THREAD = """
def on_end_of_algorithm(self):
    threading.Thread(target=threading.Event().wait, name='mine').start()
"""
TASK = """
def on_end_of_algorithm(self):
    import asyncio
    async def deaf():
        while True:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                pass
    self.task = asyncio.ensure_future(deaf())
"""


@pytest.mark.parametrize(
    ("body", "words"),
    [(THREAD, "left without thread mine"), (TASK, "left without a task or an exit handler")],
)
def test_what_an_author_leaves_running_does_not_hold_up_the_end(
    tmp_path: Path, body: str, words: str
) -> None:
    ended = run(tmp_path, "run", strategy(tmp_path, body), *QUICK)
    ended.assert_one_sentence(words)
    assert ended.code == 0
    assert ended.summary["reason"] == "the data has ended"


def test_what_fails_in_the_background_is_a_line_in_the_log(tmp_path: Path) -> None:
    body = """
def initialize(self):
    import asyncio
    self.add_security('SPY', Resolution.TICK)
    thread = threading.Thread(target=lambda: 1 / 0, name='mine')
    thread.start()
    thread.join()
    async def fail():
        raise KeyError('in a task')
    asyncio.ensure_future(fail())
    class Odd:
        def __del__(self):
            raise LookupError('in a finalizer')
    Odd()
"""
    ended = run(tmp_path, "run", strategy(tmp_path, body), *QUICK)
    assert (ended.code, ended.stderr) == (0, "")
    told = {line["error"].partition(":")[0]: line for line in ended.of("failed in the background")}
    assert set(told) == {"ZeroDivisionError", "KeyError", "LookupError"}
    assert told["ZeroDivisionError"]["where"] == "thread mine"


# ---- streams that nobody reads, or that are not there ----------------------------------------


def shell(folder: Path, text: str) -> Ended:
    done = subprocess.run(
        ["bash", "-c", text, "bash", TIDEGATE, strategy(folder, CHATTY), *QUICK],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def test_a_reader_that_leaves_does_not_end_the_run(tmp_path: Path) -> None:
    ended = shell(
        tmp_path, '"$1" run "${@:2}" --log-file all.log | head -1; exit "${PIPESTATUS[0]}"'
    )
    assert (ended.code, ended.stderr) == (0, "")
    assert len(ended.lines) == 1
    assert "goodbye" in (tmp_path / "all.log").read_text()


@pytest.mark.parametrize("streams", [">&-", "<&- >&- 2>&-", ">/dev/full 2>&1"])
def test_streams_may_be_closed_or_full(tmp_path: Path, streams: str) -> None:
    ended = shell(tmp_path, f'exec "$1" run "${{@:2}}" --log-file all.log {streams}')
    assert (ended.code, ended.stderr) == (0, "")
    assert "goodbye" in (tmp_path / "all.log").read_text()
    assert shell(tmp_path, f'exec "$1" run nope.py {streams}').code == 2


def test_a_pipe_that_nobody_reads_does_not_hold_the_run_up(tmp_path: Path) -> None:
    body = "def on_data(self, slice):\n    self.log('x' * 10_000)"
    file = strategy(tmp_path, body)
    reader, writer = os.pipe()
    try:
        process = subprocess.Popen(
            [TIDEGATE, "run", file, *QUICK], stdout=writer, stderr=subprocess.PIPE, cwd=tmp_path
        )
        _, errors = process.communicate(timeout=30)
    finally:
        os.close(reader)
        os.close(writer)
    assert (process.returncode, errors) == (0, b"")


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run(tmp_path, "venue", "--port", str(port))
    ended.assert_one_sentence(str(port))
    assert (ended.code, ended.stdout) == (2, "")
