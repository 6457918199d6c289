"""Lines of a file: the same whatever the blocks, the archive and the damage."""

import gzip
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.errors import DecodeError
from feeds.files.lines import check_archive, read_lines


def lines_of(path: Path, block: int = 1 << 18, limit: int = 1 << 24) -> list[str]:
    return [line for lines in read_lines(path, block, limit) for line in lines]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lines")


@given(st.lists(st.text(st.characters(exclude_characters="\r\n"), max_size=12)), st.integers(1, 40))
def test_blocks_do_not_show(folder: Path, lines: list[str], block: int) -> None:
    text = "".join(f"{line}\n" for line in lines)
    path = folder / "plain.txt"
    path.write_bytes(text.encode(errors="replace"))
    assert lines_of(path, block) == text.encode(errors="replace").decode().split("\n")[:-1]


@pytest.mark.parametrize(
    ("text", "lines"),
    [(b"a\nb", ["a", "b"]), (b"a\r\nb\r\n", ["a", "b"]), (b"", []), (b"\n\n", ["", ""])],
)
def test_ends_of_lines(tmp_path: Path, text: bytes, lines: list[str]) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(text)
    assert lines_of(path) == lines


def test_archives_hold_the_same_lines(tmp_path: Path) -> None:
    text = "".join(f"{n}\n" for n in range(1000))
    plain, zipped, gzipped = (tmp_path / name for name in ("a.txt", "a.zip", "a.gz"))
    plain.write_text(text)
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("folder/", "")
        archive.writestr("folder/a.txt", text)
    gzipped.write_bytes(gzip.compress(text.encode()))
    assert lines_of(plain) == lines_of(zipped) == lines_of(gzipped)


def test_bytes_that_are_no_text_do_not_stop_the_reading(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"a\n\xff\xfe\nb\n")
    assert lines_of(path) == ["a", "\ufffd\ufffd", "b"]


def test_endless_line_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"x" * 1000 + b"\ny\n")
    lines = lines_of(path, block=64, limit=100)
    assert max(map(len, lines)) <= 164
    assert "".join(lines) == "x" * 1000 + "y"


@pytest.mark.parametrize("name", ["a.zip", "a.gz"])
def test_check_sees_what_is_no_archive(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"something else")
    with pytest.raises(DecodeError, match=name):
        check_archive(path)


def test_encrypted_member_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "text")
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1  # the flag bit of encryption
    path.write_bytes(data)
    with pytest.raises(DecodeError, match="encrypted"):
        check_archive(path)
