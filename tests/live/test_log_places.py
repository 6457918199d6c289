"""Where lines go: full disks, pipes that nobody reads, files that are moved, and no secrets."""

import base64
import json
import os
import pty
import re
import signal
import stat
import time
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from runtime.redaction import forms
from tests.live.cli_kit import HEAD, PATIENCE, TIDEGATE, Running, strategy, wait_for_end, watched

TRADES = """
def initialize(self):
    self.add_security('SPY', Resolution.TICK)
    self.ticks = 0
def on_data(self, slice):
    self.ticks += 1
    if self.ticks % 5 == 0:
        self.market_order('SPY', 1)
    self.log('tick', n=self.ticks, text='x' * 5000 * LOUD)
"""
RATE = ("--rate", "100")


def asked(folder: Path) -> httpx.Client:
    path = str(folder / ".tidegate" / "Mine" / "api.sock")
    return httpx.Client(
        transport=httpx.HTTPTransport(uds=path), base_url="http://tidegate", timeout=30.0
    )


def places(http: httpx.Client) -> dict[str, dict[str, Any]]:
    return {place["place"]: place for place in http.get("/v1/status").json()["log"]}


def figures(http: httpx.Client) -> dict[tuple[str, str], float]:
    families = text_string_to_metric_families(http.get("/metrics").text)
    return {
        (sample.name, sample.labels.get("place", "")): sample.value
        for family in families
        for sample in family.samples
    }


def test_a_full_disk_keeps_trading_and_is_told(tmp_path: Path) -> None:
    body = TRADES.replace("LOUD", "0")
    with Running(
        tmp_path, "run", strategy(tmp_path, body), *RATE, "--log-file", "/dev/full"
    ) as running:
        running.until("tick", n=20)
        with asked(tmp_path) as http:
            while not figures(http).get(("tidegate_fills_total", "")):
                time.sleep(0.1)  # a snapshot is at most a second old
            assert places(http)["file"]["trouble"] == "No space left on device"
            assert places(http)["stdout"]["trouble"] == ""
            found = figures(http)
            assert found["tidegate_log_trouble", "file"] == 1
            assert found["tidegate_log_lines_dropped_total", "file"] >= 20
            assert found["tidegate_log_lines_written_total", "kept"] >= 1
            assert found["tidegate_fills_total", ""] >= 1
        running.send(signal.SIGTERM)
        ended = running.end()
    assert (ended.code, ended.stderr) == (0, "")
    assert ended.summary["fills"] >= 3


def test_a_stdout_that_nobody_reads_holds_up_neither_trading_nor_the_file(tmp_path: Path) -> None:
    """Lines of 5 KB fill the pipe at once; the file goes on, the run ends in order."""
    file, body = tmp_path / "run.log", TRADES.replace("LOUD", "1")
    with Running(
        tmp_path, "run", strategy(tmp_path, body), *RATE, "--log-file", str(file)
    ) as running:
        running.until("tick")
        with asked(tmp_path) as http:
            while not (found := places(http))["stdout"]["trouble"]:
                time.sleep(0.05)
            assert found["stdout"]["trouble"].startswith("it has not taken a line for")
            fills = figures(http)["tidegate_fills_total", ""]
            while figures(http)["tidegate_fills_total", ""] < fills + 3:
                time.sleep(0.05)
            assert places(http)["file"]["trouble"] == ""
        with watched(running.pid) as handle:
            running.send(signal.SIGTERM)
            wait_for_end(handle)
        assert running.process.wait(PATIENCE) == 0
    last = json.loads(file.read_text().splitlines()[-1])
    assert (last["event"], last["reason"]) == ("summary", "SIGTERM received")


def test_sighup_opens_files_anew_and_reads_the_level_again(tmp_path: Path) -> None:
    file, config = tmp_path / "run.log", tmp_path / "config.toml"
    config.write_text('[log]\nlevel = "info"\n[trading]\nfee_bps = 1.0\n')
    body = TRADES.replace("LOUD", "0") + "    self.debug('quiet', n=self.ticks)\n"
    with Running(
        tmp_path,
        *("run", strategy(tmp_path, body), "--config", str(config), "--log-file", str(file)),
        *RATE,
    ) as running:
        running.until("tick")
        file.rename(tmp_path / "moved.log")
        config.write_text('[log]\nlevel = "debug"\n[trading]\nfee_bps = 2.0\n')
        running.send(signal.SIGHUP)
        told = running.until("reloaded")
        assert (told["log_level"], told["at_the_next_start"]) == ("debug", "trading.fee_bps")
        running.until("quiet")
        config.write_text("[log]\nlevel = 7\n")
        running.send(signal.SIGHUP)
        assert "log.level is 7" in running.until("reloaded")["text"]
        running.until("quiet")
        running.send(signal.SIGTERM)
        assert running.end().code == 0
    assert b'"tick"' in (tmp_path / "moved.log").read_bytes()
    assert json.loads(file.read_text().splitlines()[-1])["event"] == "summary"


def test_a_terminal_that_goes_is_a_stop_in_order(tmp_path: Path) -> None:
    """A run must not trade on where nobody can see it: its window was closed."""
    strategy(tmp_path, TRADES.replace("LOUD", "0"))
    file = tmp_path / "run.log"
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(tmp_path)
        os.execv(TIDEGATE, [str(TIDEGATE), "run", "mine.py", *RATE, "--log-file", str(file)])
    with watched(child) as handle:
        heard = b""
        while b"tick" not in heard:
            heard += os.read(terminal, 65536)
        os.close(terminal)
        wait_for_end(handle)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    last = json.loads(file.read_text().splitlines()[-1])
    assert (last["event"], last["reason"]) == ("summary", "SIGHUP received")


SAYS = """
def initialize(self):
    self.add_security('SPY', Resolution.TICK)
    self.model = ModelSlot('m')
    self.ticks = 0
    self.key = os.environ['APCA_API_SECRET_KEY']
    self.debug('environment', everything=dict(os.environ))
def fit(self):
    print('printed', self.key)
    raise ValueError(f'refused {self.key}')
def on_data(self, slice):
    self.ticks += 1
    if self.ticks == 5:
        self.train(self.fit, into=self.model, isolation='process')
        self.train(self.fit, into=self.model, isolation='thread')
        print('printed here', self.key)
        print('complained', self.key, file=sys.stderr)
    if self.ticks == 10:
        self.market_order('SPY', 1, tag=self.key)
        self.log(self.key, url=f'https://me:{self.key}@venue/?k={self.key}', many=[self.key])
    if self.ticks == 300:
        raise RuntimeError(f'broken by {self.key}')
"""


def test_planted_secrets_are_in_no_byte_that_is_written(tmp_path: Path) -> None:
    """Logs, job output, tracebacks, API answers, files of the deployment, stderr."""
    key, token = "kEy/+%20swordfish", "tOkEn-" + "x7" * 20
    env = {"APCA_API_SECRET_KEY": key, "APCA_API_KEY_ID": "AKIDSWORDFISH", "MY_TOKEN": token}
    env["TIDEGATE_API_TOKEN"] = token
    env["SAID_BASIC"] = base64.b64encode(f"me:{key}".encode()).decode()
    written = b""
    with Running(
        tmp_path,
        *(
            "run",
            strategy(tmp_path, SAYS, head="import sys\n" + HEAD),
            *RATE,
            "--log-level",
            "debug",
        ),
        *("--api", "127.0.0.1:0", "--log-file", str(tmp_path / "run.log")),
        env=env,
    ) as running:
        running.until("***")
        with asked(tmp_path) as http:
            while "refused" not in (training := http.get("/v1/training").text):
                time.sleep(0.05)
            written += training.encode()
            for path in ("status", "models", "orders", "positions", "logs?limit=1000"):
                written += http.get(f"/v1/{path}").content
            written += http.get("/metrics").content
            written += http.post("/v1/training/cancel", json={"job": key}).content
        ended = running.end()
    assert ended.code == 1
    assert ended.stderr.startswith("complained ***\ntidegate: ")
    assert "broken by ***" in ended.stderr
    assert [line["printed"] for line in ended.lines if line["event"] == "printed here ***"] == [
        True
    ]
    written += (ended.stdout + ended.stderr).encode()
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "mine.py"]
    written += b"".join(path.read_bytes() for path in kept if "venv" not in path.parts)
    assert b"printed ***" in written
    for secret in (key, token, "AKIDSWORDFISH"):
        found = [form for form in forms(secret) if form.encode() in written]
        assert found == []


def test_s20_nothing_that_a_run_leaves_is_readable_by_others(tmp_path: Path) -> None:
    """Under the most careless umask: logs, journal, models, quota, heartbeat, socket and token."""
    body = (
        "def initialize(self):\n"
        "    self.add_security('SPY', Resolution.TICK)\n"
        "    self.model = ModelSlot('m')\n"
        "def fit(self):\n"
        "    return 1\n"
        "def on_data(self, slice):\n"
        "    if not self.model.readiness.is_ready:\n"
        "        self.train(self.fit, into=self.model)\n"
        "    else:\n"
        "        self.market_order('SPY', 1)\n"
        "        self.log('traded')\n"
    )
    before = os.umask(0)
    try:
        with Running(
            tmp_path,
            *("run", strategy(tmp_path, body), *RATE, "--log-file", str(tmp_path / "run.log")),
            *("--api", "127.0.0.1:0"),
        ) as running:
            running.until("traded")
            running.until("status")
            limits = Path(f"/proc/{running.pid}/limits").read_text()
            assert re.search(r"Max core file size +0 ", limits)
            left = [
                (str(path.relative_to(tmp_path)), oct(stat.S_IMODE(path.lstat().st_mode)))
                for path in [tmp_path / "run.log", *(tmp_path / ".tidegate").rglob("*")]
                if path.exists() and path.lstat().st_mode & 0o077
            ]
            running.send(signal.SIGTERM)
            assert running.end().code == 0
    finally:
        os.umask(before)
    assert {name for name, _ in left if "Mine" not in name} == set()
    assert left == []
