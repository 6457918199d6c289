"""Runs against venues: their own, one at a URL, one that refuses, drops, dies or comes back."""

import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.live.cli_kit import (
    CHATTY,
    EXAMPLES,
    ROOT,
    TIDEGATE,
    Running,
    free_port,
    run,
    strategy,
)
from tests.live.venue_kit import CREDENTIALS

KEYS = {"APCA_API_KEY_ID": CREDENTIALS.key, "APCA_API_SECRET_KEY": CREDENTIALS.secret}
WATCHFUL = """
def on_data(self, slice):
    self.log('data', gaps=sum(type(event).__name__ == 'Gap' for event in slice.events))
def on_feed_status(self, status):
    self.log('feed', state=str(status.state), detail=status.detail)
def on_end_of_algorithm(self):
    self.log('goodbye')
"""


@contextmanager
def venue(port: int) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A venue in a process of its own: endless trades of any symbol."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.live.venue_child", str(port)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()


def test_a_run_whose_own_venue_is_killed_fails(tmp_path: Path) -> None:
    with Running(tmp_path, "run", strategy(tmp_path, CHATTY)) as running:
        pid = running.until("paper venue ready")["pid"]
        assert running.family() == [running.pid, pid]
        running.until("data")
        os.kill(pid, signal.SIGKILL)
        ended = running.end()
        assert running.family() == []
    ended.assert_one_sentence("the embedded paper venue ended by itself (exit code -9)")
    assert ended.code == 1
    assert len(ended.of("goodbye")) == 1


@pytest.mark.parametrize(
    ("deed", "words"),
    [
        ("os._exit(7)", "the paper venue did not start: it ended with 7; no message"),
        ("sys.exit(7)", "the paper venue did not start: it ended with 1; SystemExit: 7"),
        ("os.kill(os.getpid(), 9)", "the paper venue did not start: it ended with -9"),
        ("print('{}', flush=True)", "the paper venue did not start: its first line was no address"),
    ],
)
def test_a_venue_that_does_not_start(tmp_path: Path, deed: str, words: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        f"import os, sys\nif 'feeds.venue.process' in sys.orig_argv:\n    {deed}\n"
    )
    ended = run(tmp_path, "run", strategy(tmp_path, CHATTY), env={"PYTHONPATH": str(tmp_path)})
    ended.assert_one_sentence(words)
    assert (ended.code, ended.stdout) == (1, "")


@pytest.mark.parametrize("feed", ["paper", "alpaca"])
def test_nobody_listens_at_the_url(tmp_path: Path, feed: str) -> None:
    (tmp_path / "hasty.toml").write_text("[feed]\nconnect_timeout = 0.3\n")
    url = f"ws://127.0.0.1:{free_port()}"
    file = strategy(tmp_path, CHATTY)
    options = ["--feed", feed, "--feed-url", url, "--config", "hasty.toml"]
    ended = run(tmp_path, "run", file, *options, env=KEYS)
    ended.assert_one_sentence(f"no live feed from {url[5:]} in 0.3 s: Connection refused")
    assert ended.code == 1


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:80", "the venue's URL has scheme http"),
        ("127.0.0.1:8765", "the venue's URL has scheme"),
        ("ws://127.0.0.1:99999", "the port in the venue's URL is wrong"),
        ("ws://192.0.2.1:8765", "ws:// to 192.0.2.1:8765 would send the login in clear text"),
    ],
)
def test_a_url_that_is_none(tmp_path: Path, url: str, words: str) -> None:
    file = strategy(tmp_path, CHATTY)
    ended = run(tmp_path, "run", file, "--venue-url", url, env=KEYS)
    ended.assert_one_sentence(words)
    assert ended.code == 2


def test_a_venue_that_was_never_reached_is_no_clean_run(tmp_path: Path) -> None:
    """The duration is over before the connection has given up."""
    file = strategy(tmp_path, CHATTY)
    url = f"ws://127.0.0.1:{free_port()}"
    ended = run(tmp_path, "run", file, "--venue-url", url, "--duration", "0.5", env=KEYS)
    ended.assert_one_sentence("paper was not reached before the end: ")
    assert ended.code == 1


@pytest.mark.parametrize("option", ["--venue-url", "--feed=alpaca --feed-url"])
def test_a_venue_at_a_url(tmp_path: Path, option: str) -> None:
    with venue(0) as (url, _):
        file = strategy(tmp_path, CHATTY)
        with Running(tmp_path, "run", file, *option.split(), url, env=KEYS) as running:
            running.until("data")
            assert running.family() == [running.pid]
            running.send(signal.SIGTERM)
            ended = running.end()
    assert (ended.code, ended.stderr) == (0, "")
    assert ended.summary["events"] > 0


@pytest.mark.parametrize("name", list(KEYS))
def test_wrong_keys_are_the_users_mistake(tmp_path: Path, name: str) -> None:
    with venue(0) as (url, _):
        wrong = {**KEYS, name: "wrong-a8f3"}
        ended = run(tmp_path, "run", strategy(tmp_path, CHATTY), "--venue-url", url, env=wrong)
    ended.assert_one_sentence("auth")
    assert ended.code == 2
    assert "wrong-a8f3" not in ended.stderr + ended.stdout
    assert CREDENTIALS.secret not in ended.stderr + ended.stdout


@pytest.mark.parametrize("name", list(KEYS))
def test_half_a_login_is_none(tmp_path: Path, name: str) -> None:
    file = strategy(tmp_path, CHATTY)
    ended = run(tmp_path, "run", file, "--venue-url", "ws://127.0.0.1:1", env={name: KEYS[name]})
    ended.assert_one_sentence("set APCA_API_KEY_ID and APCA_API_SECRET_KEY")
    assert ended.code == 2


def test_a_venue_that_drops_and_comes_back_is_a_gap_in_a_run_that_goes_on(tmp_path: Path) -> None:
    port = free_port()
    file = strategy(tmp_path, WATCHFUL)
    with (
        venue(port) as (url, first),
        Running(tmp_path, "run", file, "--venue-url", url, env=KEYS) as running,
    ):
        running.until("data")
        first.kill()
        first.wait()
        running.until("feed", state="disconnected")
        with venue(port):
            running.until("feed", state="live")
            running.until("data", gaps=0)
            running.send(signal.SIGTERM)
            ended = running.end()
    assert (ended.code, ended.stderr) == (0, "")
    assert ended.summary["gaps"] == 1
    assert ended.summary["feed_reconnects"] == 1
    assert sum(line["gaps"] for line in ended.of("data")) == 1
    assert len(ended.of("goodbye")) == 1


def test_a_stop_while_the_venue_is_away_is_clean(tmp_path: Path) -> None:
    with venue(0) as (url, first):
        file = strategy(tmp_path, WATCHFUL)
        with Running(tmp_path, "run", file, "--venue-url", url, env=KEYS) as running:
            running.until("data")
            first.kill()
            running.until("feed", state="disconnected")
            running.send(signal.SIGTERM)
            ended = running.end()
    assert (ended.code, ended.stderr) == (0, "")
    assert len(ended.of("goodbye")) == 1


def test_a_symbol_that_the_venue_does_not_have(tmp_path: Path, shared_data: Path) -> None:
    data = shared_data / "lean/equity/usa/tick/ibm"
    ended = run(tmp_path, "run", EXAMPLES / "ema_cross.py", "--data", data)
    ended.assert_one_sentence("the venue does not serve BTC/USD")
    assert ended.code == 1


def test_the_venue_command_serves_a_run(tmp_path: Path) -> None:
    login = {"TIDEGATE_VENUE_KEY": "mine", "TIDEGATE_VENUE_SECRET": "hush-77"}
    keys = {"APCA_API_KEY_ID": "mine", "APCA_API_SECRET_KEY": "hush-77"}
    (tmp_path / "venue").mkdir()
    with Running(tmp_path / "venue", "venue", "--port", "0", env=login) as serving:
        said = serving.line()
        url = said.split()[4]
        file = strategy(tmp_path, CHATTY)
        ended = run(tmp_path, "run", file, "--venue-url", url, "--duration", "1.5", env=keys)
        assert (ended.code, ended.stderr) == (0, "")
        assert ended.of("data")
        serving.send(signal.SIGINT)
        closed = serving.end()
    assert (closed.code, closed.stderr) == (0, "")
    assert "hush-77" not in closed.stdout


def test_a_recording_is_made_until_a_signal_and_replayed(tmp_path: Path) -> None:
    with venue(0) as (url, _):
        where = ["--feed", "alpaca", "--feed-url", url, "-s", "SPY", "--out", "out"]
        with Running(tmp_path, "record", *where, env=KEYS) as recording:
            recording.until("feed", state="live")
            recording.send(signal.SIGTERM)
            ended = recording.end()
    assert (ended.code, ended.stderr) == (0, "")
    (said,) = ended.of("recorded")
    assert said["reason"] == "SIGTERM received"
    file = strategy(tmp_path, CHATTY)
    played = run(tmp_path, "run", file, "--feed", "replay", "--data", "out/captures", "--speed=max")
    assert played.code == (0 if said["rows"] else 1)
    capture = tmp_path / "out" / "captures" / "alpaca.capture.1.gz"
    text = gzip.decompress(capture.read_bytes()).decode()
    assert CREDENTIALS.secret not in text
    assert "***" in text


def test_what_cannot_be_recorded_is_one_sentence(tmp_path: Path) -> None:
    for options, words in (
        (["--feed", "paper", "--out", "x", "-s", "SPY"], "--feed is 'paper': allowed are"),
        (["--feed", "coinbase", "--out", "x"], "--symbol is missing"),
        (["--feed", "alpaca", "--out", "x", "-s", "SPY"], "alpaca needs a key"),
    ):
        ended = run(tmp_path, "record", *options)
        ended.assert_one_sentence(words)
        assert ended.code == 2


def test_the_venue_command_names_what_alpacas_channels_lack(
    tmp_path: Path, shared_data: Path
) -> None:
    data = shared_data / "lean/equity/usa/second/ibm"
    with Running(tmp_path, "venue", "--port", "0", "--data", data) as serving:
        assert serving.line().startswith("paper venue listens on ws://127.0.0.1:")
        assert serving.line() == (
            "IBM has bars of 1 s and quote bars only: clients of Alpaca's channels are refused it, "
            "tidegate run --clock venue hears it"
        )
        serving.send(signal.SIGTERM)
        assert serving.end().code == 0


def test_a_venue_of_its_own_says_where_it_listens_as_json(tmp_path: Path) -> None:
    command = [str(TIDEGATE), "venue", "--port", "0", "--trading-port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout is not None
        try:
            told = json.loads(process.stdout.readline())
        finally:
            process.terminate()
    assert told["url"].startswith("ws://127.0.0.1:")
    assert told["trading_url"].startswith("http://127.0.0.1:")
    assert told["without_trades_and_quotes"] == {}
    assert process.returncode == 0
