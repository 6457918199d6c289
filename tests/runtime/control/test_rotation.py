"""Files of lines: they grow so far, are their owner's alone, and a full disk is told each time."""

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.control.rotation import LogFile


def test_the_youngest_are_kept(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "log", most_bytes=10, kept=2)
    for n in range(8):
        file.write(f"{n:04}\n")
    file.close()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "log": "0006\n0007\n",
        "log.1": "0004\n0005\n",
        "log.2": "0002\n0003\n",
    }


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=30)))
def test_nothing_is_lost_or_torn_while_all_are_kept(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("log")
    file = LogFile(folder / "log", most_bytes=40, kept=1000)
    for line in lines:
        file.write(line + "\n")
    file.close()
    paths = sorted(folder.iterdir(), key=lambda path: -int(f"0{path.suffix[1:]}"))
    written = "".join(path.read_bytes().decode() for path in paths)
    assert written == "".join(line + "\n" for line in lines)
    assert all(path.stat().st_size <= 40 or path.read_bytes().count(b"\n") == 1 for path in paths)


def test_what_is_there_counts(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("x" * 9 + "\n")
    file = LogFile(tmp_path / "log", most_bytes=12)
    file.write("next\n")
    file.close()
    assert (tmp_path / "log").read_text() == "next\n"


def test_it_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        LogFile(tmp_path / "log").close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o600


def test_a_full_disk_is_told_with_each_line_and_nothing_piles_up() -> None:
    file = LogFile(Path("/dev/full"))
    for _ in range(3):
        with pytest.raises(OSError, match="No space left"):
            file.write("x" * 100_000 + "\n")
    file.close()


def test_a_device_is_not_rotated() -> None:
    file = LogFile(Path(os.devnull), most_bytes=1)
    for _ in range(3):
        file.write("line\n")
    file.close()
    assert not Path(f"{os.devnull}.1").exists()


def test_a_folder_that_has_vanished_is_told_until_it_is_back(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    file = LogFile(folder / "log")
    (folder / "log").unlink()
    folder.rmdir()
    with pytest.raises(FileNotFoundError):
        file.reopen()
    with pytest.raises(FileNotFoundError):
        file.write("lost\n")
    folder.mkdir()
    file.write("there\n")
    file.close()
    assert (folder / "log").read_text() == "there\n"
