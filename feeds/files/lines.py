"""Lines of a zipped, gzipped or plain text file, in lists, never the whole file at once.

A damaged archive is a DecodeError that names the file. Bytes that are no UTF-8 become replacement
characters, and a line longer than the limit is cut there, so that both end as malformed rows.
"""

import gzip
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from feeds.errors import DecodeError

BLOCK = 1 << 18
LINE_LIMIT = 1 << 24
"""Longest line that is read as one, in bytes: the first frame of a large order book fits in."""

_DAMAGED = (EOFError, OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError)


def read_lines(path: Path, block: int = BLOCK, limit: int = LINE_LIMIT) -> Iterator[list[str]]:
    """Read a file as lists of lines without their ends; an empty last line is no line.

    Raises:
        DecodeError: the file is damaged, cut short, encrypted or cannot be read.
    """
    return map(split_lines, read_blocks(path, block, limit))


def read_blocks(path: Path, block: int = BLOCK, limit: int = LINE_LIMIT) -> Iterator[bytes]:
    """Read a file as blocks of whole lines, the last of each without its end.

    Raises:
        DecodeError: the file is damaged, cut short, encrypted or cannot be read.
    """
    with _naming(path), _open(path) as stream:
        rest = b""
        while data := stream.read(block):
            data = rest + data
            whole, newline, rest = data.rpartition(b"\n")
            if newline:
                yield whole
            while len(rest) > limit:
                yield rest[:limit]
                rest = rest[limit:]
        if rest:
            yield rest


def check_archive(path: Path) -> None:
    """Look at the beginning of the file (a zip's list of contents) without reading it all.

    Raises:
        DecodeError: it is not what its name says, or cannot be read.
    """
    with _naming(path), _open(path) as stream:
        stream.read(1)


def split_lines(block: bytes) -> list[str]:
    """Return the lines of a block as text."""
    text = block.decode("utf-8", errors="replace")
    return (text.replace("\r", "") if "\r" in text else text).split("\n")


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn what a damaged file makes the libraries raise into one sentence with its name."""
    try:
        yield
    except _DAMAGED as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        reason = reason or "it ends too early"
        raise DecodeError(f"{path} cannot be read: {reason}") from error
    except RuntimeError as error:  # zipfile's word for an encrypted member
        raise DecodeError(f"{path} cannot be read: {error}") from error


@contextmanager
def _open(path: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if not info.is_dir()]
            if len(members) != 1:
                raise zipfile.BadZipFile(f"it holds {len(members)} files, one is expected")
            with archive.open(members[0]) as stream:
                yield stream
    elif path.suffix == ".gz":
        with gzip.open(path) as stream:
            yield stream
    else:
        with path.open("rb") as stream:
            yield stream
