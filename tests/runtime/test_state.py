"""A deployment's folder: one run at a time, whatever became of the run before."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.control.state import (
    LOCK,
    StateFolder,
    check_free,
    deployment_name,
    deployments,
)
from runtime.errors import AlreadyRunning, ConfigError

HOLD = """
import sys, pathlib
from runtime.control.state import StateFolder
folder = StateFolder.open(pathlib.Path(sys.argv[1]), "mine")
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_run_is_told_which_process_has_the_folder(tmp_path: Path) -> None:
    first = StateFolder.open(tmp_path, "mine")
    with pytest.raises(AlreadyRunning, match=rf"is used by process {os.getpid()} on "):
        StateFolder.open(tmp_path, "mine")
    StateFolder.open(tmp_path, "other").close()
    first.close()
    StateFolder.open(tmp_path, "mine").close()
    assert [path.name for path in deployments(tmp_path)] == ["mine", "other"]


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(AlreadyRunning, match=f"process {child.pid} on "):
            StateFolder.open(tmp_path, "mine")
        child.send_signal(signal.SIGKILL)
    StateFolder.open(tmp_path, "mine").close()


def test_only_the_owner_may_look_inside(tmp_path: Path) -> None:
    folder = StateFolder.open(tmp_path / "new", "mine")
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert (folder.path / LOCK).stat().st_mode & 0o777 == 0o600
    folder.close()


@pytest.mark.parametrize("in_the_way", ["mine", "mine/lock/x"])
def test_a_folder_that_cannot_be_used_is_one_sentence(tmp_path: Path, in_the_way: str) -> None:
    path = tmp_path / in_the_way
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    with pytest.raises(ConfigError, match=r"mine cannot be used: .*; choose another with --state"):
        StateFolder.open(tmp_path, "mine")


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "mine" / LOCK).symlink_to(tmp_path / "victim")
    with pytest.raises(ConfigError, match="cannot be used"):
        StateFolder.open(tmp_path, "mine")
    assert (tmp_path / "victim").read_text() == "precious"


def test_a_folder_that_vanishes_is_told_once_and_made_again(tmp_path: Path) -> None:
    folder = StateFolder.open(tmp_path, "mine")
    assert folder.check() == ""
    shutil.rmtree(tmp_path / "mine")
    assert "had vanished and was made again" in folder.check()
    assert folder.check() == ""
    with pytest.raises(AlreadyRunning):
        StateFolder.open(tmp_path, "mine")
    folder.close()


def test_a_folder_that_another_run_has_taken_is_told(tmp_path: Path) -> None:
    folder = StateFolder.open(tmp_path, "mine")
    shutil.rmtree(tmp_path / "mine")
    thief = StateFolder.open(tmp_path, "mine")
    assert "was replaced" in folder.check()
    thief.close()
    folder.close()


def test_a_folder_that_cannot_be_made_again_is_told(tmp_path: Path) -> None:
    folder = StateFolder.open(tmp_path / "root", "mine")
    shutil.rmtree(tmp_path / "root")
    (tmp_path / "root").write_text("in the way")
    assert "cannot be reached" in folder.check()
    (tmp_path / "root").unlink()
    assert "made again" in folder.check()
    folder.close()


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a b", "x" * 65, "a\0", "ä"])
def test_a_name_that_could_be_a_path_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot name a folder"):
        deployment_name(name, "Mine")


def test_a_deployment_has_the_name_of_its_strategy_unless_it_is_given_one() -> None:
    assert deployment_name(None, "EmaCross") == "EmaCross"
    assert deployment_name(None, "Ähre") == "_hre"
    assert deployment_name("spy-2.fast", "EmaCross") == "spy-2.fast"


def test_whether_a_folder_is_free_is_known_without_taking_it(tmp_path: Path) -> None:
    check_free(tmp_path, "mine")
    assert not list(tmp_path.iterdir())
    folder = StateFolder.open(tmp_path, "mine")
    with pytest.raises(AlreadyRunning):
        check_free(tmp_path, "mine")
    folder.close()
    check_free(tmp_path, "mine")
    StateFolder.open(tmp_path, "mine").close()


def test_a_folder_that_another_file_has_left_is_known(tmp_path: Path) -> None:
    folder = StateFolder.open(tmp_path, "mine")
    try:
        told = [folder.take_over(file) for file in ("a.py", "a.py", "b.py", "", "b.py")]
    finally:
        folder.close()
    assert told == ["", "", str(Path("a.py").resolve()), "", ""]
