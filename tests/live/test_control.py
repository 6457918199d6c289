"""A run that is watched and steered: real processes, the real command line, the real sockets."""

import json
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.live.cli_kit import TIDEGATE, Ended, Running, strategy

BODY = """
def initialize(self):
    self.set_cash(10_000_000)  # for a slow machine, whose run goes on for long
    self.spy = self.add_security('SPY', Resolution.TICK).symbol
    self.model = ModelSlot('m')
    self.ticks = 0
def fit(self):
    return self.ticks
def on_data(self, slice):
    self.ticks += 1
    if self.ticks in (5, 10):
        self.train(self.fit, into=self.model)
    if self.ticks % 5 == 0:
        self.market_order('SPY', 1)
    if self.ticks == 30:
        self.log('going', ticks=self.ticks)
"""


@contextmanager
def going(folder: Path, *args: str) -> Iterator[Running]:
    """A run that has traded and trained."""
    with Running(folder, "run", strategy(folder, BODY), "--rate", "100", *args) as running:
        running.until("going")
        yield running


def ask(folder: Path, *args: str) -> Ended:
    """Run a command beside the run."""
    said = subprocess.run(
        [TIDEGATE, *args], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )
    return Ended(said.returncode, said.stdout, said.stderr)


def told(folder: Path, *args: str) -> Any:
    ended = ask(folder, *args, "--json")
    assert (ended.code, ended.stderr) == (0, "")
    return json.loads(ended.stdout)


def client(folder: Path) -> httpx.Client:
    path = str(folder / ".tidegate" / "Mine" / "api.sock")
    return httpx.Client(
        transport=httpx.HTTPTransport(uds=path), base_url="http://tidegate", timeout=30.0
    )


def get(folder: Path, path: str, **headers: str) -> httpx.Response:
    with client(folder) as http:
        return http.get(path, headers=headers)


def until(folder: Path, path: str, has: Callable[[Any], bool]) -> Any:
    """Look until it is so: what is shown is at most a second old."""
    with client(folder) as http:
        while not has(found := http.get(path).json()):
            time.sleep(0.1)
    return found


def test_a_run_is_watched_and_steered_from_the_command_line(tmp_path: Path) -> None:
    with going(tmp_path) as running:
        found = told(tmp_path, "status")
        assert (found["name"], found["strategy"], found["pid"]) == ("Mine", "Mine", running.pid)
        assert told(tmp_path, "runs")[0]["state"] == "running"
        assert ask(tmp_path, "train", "off").stdout == "training is off\n"
        assert told(tmp_path, "train", "status")["now"]["is_on"] is False
        assert ask(tmp_path, "train", "on").stdout == "training is on\n"
        assert ask(tmp_path, "train", "now").stdout == "asked for fit\n"
        kinds = [row["kind"] for row in told(tmp_path, "train", "status")["history"]]
        assert {"queued", "started", "model published", "finished", "toggled"} <= set(kinds)
        until(tmp_path, "/v1/orders", lambda found: found["orders"])
        assert told(tmp_path, "positions")[0]["symbol"] == "SPY"
        assert told(tmp_path, "orders")[0]["state"] == "filled"
        refused = ask(tmp_path, "train", "cancel", "nope")
        refused.assert_one_sentence("there is no job 'nope'")
        assert refused.code == 1
        lines = ask(tmp_path, "logs", "--grep", "toggled", "--json").stdout.splitlines()
        by = [json.loads(line)["fields"]["by"] for line in lines]
        assert len(by) == 2
        assert all(each.endswith(" by tidegate") for each in by)
        assert ask(tmp_path, "stop").stdout == "stopping\n"
        ended = running.end()
    assert (ended.code, ended.stderr) == (0, "")
    assert ended.summary["reason"].endswith("asked for the end")
    assert told(tmp_path, "runs")[0]["state"] == "ended"
    assert not (tmp_path / ".tidegate" / "Mine" / "api.sock").exists()
    kept = ask(tmp_path, "logs", "--grep", "going", "--json")
    assert json.loads(kept.stdout)["fields"]["ticks"] == 30
    none = ask(tmp_path, "status")
    none.assert_one_sentence("no run goes on in .tidegate")
    assert none.code == 1


def test_a_halt_lets_no_order_leave_and_outlives_a_kill(tmp_path: Path) -> None:
    with going(tmp_path) as running:
        assert ask(tmp_path, "halt", "too hot").code == 0
        orders = get(tmp_path, "/v1/orders").json()["orders"]
        fills = len([order for order in orders if order["state"] == "filled"])
        running.process.kill()
        running.process.wait()
    with Running(tmp_path, "run", "mine.py", "--rate", "100") as running:
        line = running.until("halted")
        assert "too hot" in line["reason"]
        running.until("going")
        name = until(tmp_path, "/v1/status", lambda found: "run" in found)["run"]
        found = until(
            tmp_path,
            "/v1/orders",
            lambda found: any(order["id"].startswith(name) for order in found["orders"]),
        )["orders"]
        mine = [order for order in found if order["id"].startswith(name)]
        assert {order["state"] for order in mine} == {"rejected"}
        assert "trading is halted: too hot" in mine[0]["reason"]
        assert ask(tmp_path, "resume").code == 0
        count = len(mine)
        while all(order["state"] == "rejected" for order in mine):
            found = get(tmp_path, "/v1/orders").json()["orders"]
            mine = [order for order in found if order["id"].startswith(name)]
        assert len(mine) > count
    assert fills > 0


def test_the_socket_is_its_owners_alone(tmp_path: Path) -> None:
    with going(tmp_path):
        folder = tmp_path / ".tidegate" / "Mine"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "api.sock").stat().st_mode) == 0o600
        assert get(tmp_path, "/healthz").json() == {"status": "ok"}
        assert get(tmp_path, "/readyz").json() == {"status": "ready"}
        assert get(tmp_path, "/healthz", Host="evil.example").status_code == 421


def test_what_a_killed_run_has_left_is_no_hindrance(tmp_path: Path) -> None:
    with going(tmp_path) as running:
        running.process.kill()
        running.process.wait()
    assert (tmp_path / ".tidegate" / "Mine" / "api.sock").exists()
    ask(tmp_path, "status").assert_one_sentence("no run goes on")
    with going(tmp_path):
        assert told(tmp_path, "status")["name"] == "Mine"


def test_figures_are_prometheus_own(tmp_path: Path) -> None:
    with going(tmp_path):
        until(tmp_path, "/v1/status", lambda found: found["snapshot"]["counts"]["events"] >= 30)
        answer = get(tmp_path, "/metrics")
        found = {each.name: each for each in text_string_to_metric_families(answer.text)}
        status = get(tmp_path, "/v1/status").json()
    value = {name: each.samples[0].value for name, each in found.items() if each.samples}
    assert value["tidegate_events"] >= 30
    assert value["tidegate_quota_capacity_minutes"] == 120
    assert value["tidegate_training_on"] == 1
    assert [s.labels["slot"] for s in found["tidegate_model_ready"].samples] == ["m"]
    assert {s.labels["cause"] for s in found["tidegate_predictions_skipped"].samples} == set()
    assert found["tidegate_loop_lag_seconds"].type == "histogram"
    assert status["run"] == found["tidegate_run_info"].samples[0].labels["run"]


def test_a_stream_begins_with_what_was_and_goes_on(tmp_path: Path) -> None:
    with going(tmp_path), client(tmp_path) as http:
        with http.stream("GET", "/v1/logs/stream", params={"grep": "toggled"}) as answer:
            lines = answer.iter_lines()
            with client(tmp_path) as other:
                other.post("/v1/training/off")
            data = next(line for line in lines if line.startswith("data: "))
            assert json.loads(data[6:])["fields"]["training"] == "off"
        with http.stream("GET", "/v1/stream") as answer:
            data = next(line for line in answer.iter_lines() if line.startswith("data: "))
            assert json.loads(data[6:])["snapshot"]["training"]["is_on"] is False


def test_readers_that_never_read_do_not_hold_up_the_end(tmp_path: Path) -> None:
    with going(tmp_path) as running:
        idle = []
        for _ in range(50):
            reader = socket.socket(socket.AF_UNIX)
            reader.connect(str(tmp_path / ".tidegate" / "Mine" / "api.sock"))
            reader.sendall(b"GET /v1/stream HTTP/1.1\r\nHost: tidegate\r\n\r\n")
            idle.append(reader)
        assert told(tmp_path, "status")["name"] == "Mine"
        assert ask(tmp_path, "stop").code == 0
        ended = running.end()
        for reader in idle:
            reader.close()
    assert (ended.code, ended.stderr) == (0, "")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["logs", "--since", "yesterday"], "--since is 'yesterday'"),
        (["status", "--name", "nope"], "has no deployment 'nope'"),
        (["run", "mine.py", "--api", "0.0.0.0:80"], "control.tcp is '0.0.0.0:80': 127.0.0.1:PORT"),
        (["run", "mine.py", "--api", "127.0.0.1:x"], "the port is not 0 to 65535"),
    ],
)
def test_wrong_usage_is_one_sentence(tmp_path: Path, args: list[str], words: str) -> None:
    strategy(tmp_path, BODY)
    ended = ask(tmp_path, *args)
    ended.assert_one_sentence(words)
    assert ended.code == 2


def test_over_tcp_a_token_is_needed_and_the_document_keeps_its_word(tmp_path: Path) -> None:
    """Schemathesis reads the document and tries each route with what it allows, and more."""
    token = "t" * 40
    env = {"TIDEGATE_API_TOKEN": token}
    with Running(
        tmp_path, "run", strategy(tmp_path, BODY), "--rate", "100", "--api", "127.0.0.1:0", env=env
    ) as running:
        url = running.until("control API")["url"]
        running.until("going")
        assert httpx.get(f"{url}/v1/status").status_code == 401
        assert httpx.get(f"{url}/healthz").status_code == 200
        shown = {"Authorization": f"Bearer {token}"}
        assert httpx.get(f"{url}/v1/status", headers=shown).json()["name"] == "Mine"
        tried = subprocess.run(
            [
                *(Path(sys.executable).with_name("schemathesis"), "run", f"{url}/openapi.json"),
                *("--header", f"Authorization: Bearer {token}", "--max-examples", "8"),
                *("--exclude-path-regex", "stream|stop", "--phases", "examples,fuzzing"),
                *(
                    "--checks",
                    "not_a_server_error,status_code_conformance,content_type_conformance",
                ),
                *("--checks", "response_schema_conformance", "--seed", "1", "--no-color"),
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert tried.returncode == 0, tried.stdout[-4000:]
        assert token not in (tmp_path / ".tidegate" / "Mine" / "log.jsonl").read_text()
        assert httpx.get(f"{url}/v1/status", headers=shown).status_code == 200


def test_s9_what_a_strategy_says_cannot_steer_the_terminal_that_shows_it(tmp_path: Path) -> None:
    nasty = r"self.log('evil \x1b[2J\x1b]0;x\x07 \u202e', text='a\nb\x1b[31m', )"
    body = BODY.replace(
        "self.log('going', ticks=self.ticks)", f"{nasty}\n        self.log('going')"
    )
    with Running(tmp_path, "run", strategy(tmp_path, body), "--rate", "100") as running:
        running.until("going")
        shown = ask(tmp_path, "logs", "--grep", "evil").stdout
        assert "evil" in shown
        assert shown.count("\n") == 1
        assert shown.strip().isprintable()
        (line,) = ask(tmp_path, "logs", "--grep", "evil", "--json").stdout.splitlines()
        assert line.isprintable()
        assert json.loads(line)["event"].startswith("evil \x1b[2J")
