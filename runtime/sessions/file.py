"""The file of a session: chunks of entries, each whole or not there.

A chunk is its length, the CRC-32 of its bytes, and the bytes: a compressed msgpack list of entries.
A process that is killed leaves at most its last chunk cut off; that one does not count.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from runtime.errors import ConfigError
from runtime.sessions.words import FORMAT, Entry, Head

HEAD, EVENTS = "session.json", "session.events"
_FRAME = struct.Struct("<II")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Entry]).decode


def chunk_of(entries: Sequence[Any]) -> bytes:
    """Return entries as they lie in the file."""
    data = zlib.compress(_encode(entries), 1)
    return _FRAME.pack(len(data), zlib.crc32(data)) + data


def read_entries(file: BinaryIO, path: Path) -> Iterator[Entry]:
    """Read all whole chunks.

    Raises:
        ConfigError: a chunk that is not the last is damaged.
    """
    while True:
        begin = file.tell()
        frame = file.read(_FRAME.size)
        if len(frame) < _FRAME.size:
            return
        length, crc = _FRAME.unpack(frame)
        data = file.read(length)
        if len(data) < length:
            return
        try:
            if zlib.crc32(data) != crc:
                raise ConfigError(f"{path} is damaged at byte {begin}: its checksum differs")
            entries = _decode(zlib.decompress(data))
        except (msgspec.MsgspecError, zlib.error) as error:
            raise ConfigError(f"{path} is damaged at byte {begin}: {error}") from None
        yield from entries


def read_head(folder: Path) -> Head:
    """Read what a session was.

    Raises:
        ConfigError: there is none, or it is of another format.
    """
    path = folder / HEAD
    try:
        head = msgspec.json.decode(path.read_bytes(), type=Head)
    except OSError as error:
        raise ConfigError(f"{folder} is no recorded session: {path}: {error.strerror}") from None
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{path} is damaged: {error}") from None
    if head.format != FORMAT:
        raise ConfigError(f"{path} has format {head.format}: this version reads format {FORMAT}")
    return head
