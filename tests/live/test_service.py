"""As a service: what a manager is told, over a real datagram socket; process 1 of a container."""

import configparser
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from runtime.control.notify import Supervisor, supervisor_of
from tests.live.cli_kit import CHATTY, PATIENCE, ROOT, TIDEGATE, Running, run, strategy

DEPLOY = ROOT / "docs" / "deploy"
UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """What a service manager listens on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(PATIENCE)
        yield listening


def environment(manager: socket.socket, watchdog_us: int) -> dict[str, str]:
    return {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": str(watchdog_us)}


def told(manager: socket.socket) -> list[str]:
    return manager.recv(4096).decode().splitlines()


def until(manager: socket.socket, word: str) -> list[str]:
    """Return what is told until a word comes, and with it."""
    heard: list[str] = []
    while word not in heard:
        heard += told(manager)
    return heard


def test_a_manager_is_told_when_it_is_ready_that_it_lives_and_when_it_stops(
    tmp_path: Path, manager: socket.socket
) -> None:
    env = environment(manager, 300_000)
    with Running(tmp_path, "run", strategy(tmp_path, CHATTY), env=env) as running:
        until(manager, "READY=1")
        assert "STOPPING=1" not in until(manager, "WATCHDOG=1")
        running.send(signal.SIGTERM)
        until(manager, "STOPPING=1")
        assert running.end().code == 0


def test_a_loop_that_does_not_turn_gives_no_sign_of_life(
    tmp_path: Path, manager: socket.socket
) -> None:
    """While the callback hangs there is not one; the callback itself says when it ends."""
    body = f"""
def on_data(self, slice):
    import socket
    line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    line.sendto(b'HUNG', {manager.getsockname()!r})
    time.sleep(1)
    line.sendto(b'FREE', {manager.getsockname()!r})
    self.quit('seen')
"""
    env = environment(manager, 100_000)
    # Heard as it goes on: a socket that nobody reads takes ten messages, and then it waits.
    with Running(tmp_path, "run", strategy(tmp_path, body), env=env) as running:
        before = until(manager, "HUNG")
        assert "WATCHDOG=1" in before
        assert until(manager, "FREE") == ["FREE"]
        assert running.end().code == 0


def test_a_manager_that_has_gone_does_not_matter(tmp_path: Path) -> None:
    env = {"NOTIFY_SOCKET": str(tmp_path / "nobody"), "WATCHDOG_USEC": "100000"}
    body = "def on_data(self, slice): self.quit('seen')"
    assert run(tmp_path, "run", strategy(tmp_path, body), env=env).code == 0


def test_the_words_of_the_environment() -> None:
    assert supervisor_of({}, 7) is None
    assert supervisor_of({"NOTIFY_SOCKET": "vsock:2:1"}, 7) is None
    address = {"NOTIFY_SOCKET": "@abstract"}
    assert supervisor_of(address, 7) == Supervisor("@abstract")
    timed = address | {"WATCHDOG_USEC": "60000000"}
    assert supervisor_of(timed, 7) == Supervisor("@abstract", 60.0)
    assert supervisor_of(timed | {"WATCHDOG_PID": "7"}, 7) == Supervisor("@abstract", 60.0)
    assert supervisor_of(timed | {"WATCHDOG_PID": "8"}, 7) == Supervisor("@abstract")
    assert supervisor_of(address | {"WATCHDOG_USEC": "soon"}, 7) == Supervisor("@abstract")


# ---- process 1 -------------------------------------------------------------------------------

can_unshare = (
    shutil.which("unshare") is not None
    and subprocess.run([*UNSHARE, "true"], check=False, capture_output=True).returncode == 0
)
first = pytest.mark.skipif(not can_unshare, reason="needs a process namespace: root and unshare")


@first
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_as_process_1_a_stop_is_clean_and_orphans_are_reaped(
    tmp_path: Path, number: signal.Signals
) -> None:
    """The strategy leaves an orphan, waits until it has ended, and looks for its remains."""
    body = """
def on_data(self, slice):
    if slice.time and not hasattr(self, 'done'):
        self.done = True
        orphan = "import os; r, w = os.pipe(); os.fork() or os._exit(0); print(os.getpid())"
        import subprocess, sys
        said = subprocess.run([sys.executable, '-c', orphan], stdout=subprocess.PIPE, text=True)
        while os.path.exists(f'/proc/{int(said.stdout)}'):
            os.sched_yield()
        self.log('reaped', first=os.getppid(), signal='NUMBER')
        os.kill(1, NUMBER)
def on_end_of_algorithm(self):
    self.log('goodbye')
""".replace("NUMBER", str(int(number)))
    file = strategy(tmp_path, body)
    ended = subprocess.run(
        [*UNSHARE, TIDEGATE, "run", file, "--no-persist", "--log-format", "json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert '"event": "reaped"' in ended.stdout
    assert '"first": 1' in ended.stdout
    assert '"event": "goodbye"' in ended.stdout


@first
def test_process_1_leaves_with_the_commands_own_code(tmp_path: Path) -> None:
    for args, code in ((["run", "nope.py"], 2), (["--version"], 0)):
        ended = subprocess.run(
            [*UNSHARE, TIDEGATE, *args], cwd=tmp_path, capture_output=True, check=False, timeout=60
        )
        assert ended.returncode == code


@first
def test_a_command_that_is_killed_is_told_as_a_shell_would(tmp_path: Path) -> None:
    file = strategy(tmp_path, "def on_data(self, slice): os.kill(os.getpid(), 9)")
    ended = subprocess.run(
        [*UNSHARE, TIDEGATE, "run", file, "--no-persist"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 128 + signal.SIGKILL


def test_elsewhere_the_command_stays_the_process_it_was() -> None:
    code = "from runtime.control.first import stand_aside; stand_aside(); print('here')"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "here\n"
    assert os.getpid() != 1


# ---- the files that deploy it ----------------------------------------------------------------


def test_the_compose_file_names_what_there_is() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    service = compose["services"]["tidegate"]
    assert service["restart"] == "unless-stopped"
    assert service["read_only"] is True
    assert (DEPLOY / service["build"]["context"] / "Dockerfile").is_file()
    host, inside, _ = service["volumes"][1].split(":")
    told_to_run = Path(service["command"][1])
    assert (DEPLOY / host / told_to_run.relative_to(inside)).is_file()
    assert service["volumes"][0].split(":")[0] in compose["volumes"]


def test_the_unit_is_one_of_systemd() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # as configparser's docs say
    unit.read(DEPLOY / "tidegate@.service")
    service = unit["Service"]
    assert service["Type"] == "notify"
    assert int(service["WatchdogSec"]) > 0
    assert service["RestartPreventExitStatus"].split() == ["2", "3"]
    command = service["ExecStart"].split()[1:]
    helped = subprocess.run(
        [TIDEGATE, command[0], "--help"], capture_output=True, text=True, check=True
    )
    assert all(word in helped.stdout for word in command if word.startswith("--"))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_itself_finds_no_fault(tmp_path: Path) -> None:
    text = (DEPLOY / "tidegate@.service").read_text()
    unit = tmp_path / "tidegate@x.service"
    unit.write_text(text.replace("/opt/tidegate/bin/tidegate", str(TIDEGATE)))
    said = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
    )
    assert (said.returncode, said.stderr) == (0, "")
