"""A run's sign of life: whole or not there, and old when the run is gone."""

import json
import os
import time
from pathlib import Path

import pytest

from runtime.control.heartbeat import (
    FILE,
    FRESH_SECONDS,
    check_heartbeat,
    end_heartbeat,
    write_heartbeat,
)
from runtime.errors import RunFailed


def aged(folder: Path, seconds: float) -> None:
    write_heartbeat(folder, "r", {})
    found = json.loads((folder / FILE).read_text())
    (folder / FILE).write_text(json.dumps(found | {"time": time.time() - seconds}))


def test_a_fresh_sign_says_who_and_how_old(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "state"
    write_heartbeat(folder, "EmaCross-1", {"equity": "1.00"})
    assert check_heartbeat(folder) == "EmaCross-1 is alive: its last sign of life is 0 s old"
    found = json.loads((folder / FILE).read_text())
    assert (found["equity"], found["pid"]) == ("1.00", os.getpid())


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    write_heartbeat(folder, "r", {})
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / FILE).stat().st_mode & 0o077 == 0


def test_the_newest_replaces_the_older_and_leaves_nothing_else(tmp_path: Path) -> None:
    for number in range(3):
        write_heartbeat(tmp_path, f"r{number}", {})
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert "r2 is alive" in check_heartbeat(tmp_path)


def test_an_old_sign_is_a_failure(tmp_path: Path) -> None:
    aged(tmp_path, FRESH_SECONDS - 5)
    assert "is alive" in check_heartbeat(tmp_path)
    aged(tmp_path, FRESH_SECONDS + 5)
    with pytest.raises(RunFailed, match=r"^r gave its last sign of life 35 s ago$"):
        check_heartbeat(tmp_path)


def test_a_sign_from_the_future_is_no_sign(tmp_path: Path) -> None:
    """The clock was set back: the file would look fresh until its time has come."""
    aged(tmp_path, -3600)
    with pytest.raises(RunFailed):
        check_heartbeat(tmp_path)


GARBAGE = [
    "",
    "{",
    "[]",
    "3",
    '"text"',
    "null",
    "{}",
    '{"run": "r"}',
    '{"run": "r", "time": null}',
    '{"run": "r", "time": "soon"}',
    '{"run": "r", "time": NaN}',
    '{"run": "r", "time": Infinity}',
    '{"run": "r", "time": 1' + "0" * 400 + "}",
    "[" * 100_000,
    "\x00\x01",
]


@pytest.mark.parametrize("text", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_no_sign_of_life(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(RunFailed):
        check_heartbeat(tmp_path)


def test_bytes_that_are_no_text_are_no_sign_of_life(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"\xff\xfe{}")
    with pytest.raises(RunFailed, match="no run has left a sign of life"):
        check_heartbeat(tmp_path)


def test_no_folder_is_no_sign_of_life(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="no run has left a sign of life"):
        check_heartbeat(tmp_path / "none")


def test_what_cannot_be_written_ends_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    write_heartbeat(tmp_path / "file", "r", {})
    (tmp_path / "state" / FILE / "in the way").mkdir(parents=True)
    for _ in range(3):
        write_heartbeat(tmp_path / "state", "r", {})
    assert [path.name for path in (tmp_path / "state").iterdir()] == [FILE]


def test_a_run_that_has_ended_is_not_alive(tmp_path: Path) -> None:
    write_heartbeat(tmp_path, "a", {})
    end_heartbeat(tmp_path, "a", "enough")
    with pytest.raises(RunFailed, match=r"^a has ended: enough$"):
        check_heartbeat(tmp_path)


def test_a_run_says_its_end_only_over_its_own_sign_of_life(tmp_path: Path) -> None:
    end_heartbeat(tmp_path, "a", "enough")
    with pytest.raises(RunFailed, match="no run has left"):
        check_heartbeat(tmp_path)
    write_heartbeat(tmp_path, "b", {})
    end_heartbeat(tmp_path, "a", "enough")
    assert check_heartbeat(tmp_path).startswith("b is alive")
