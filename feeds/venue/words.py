"""How the venue writes: times and whole messages, as JSON text or as msgpack.

A time is RFC 3339 with nine decimals in JSON, and a Timestamp of eight bytes in msgpack: both are
exact to the nanosecond.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from struct import Struct as Packing
from typing import Any

import msgspec
from msgspec.msgpack import Ext

from feeds.events import SECOND


class Codec(StrEnum):
    """How frames are written."""

    JSON = "json"
    MSGPACK = "msgpack"


ENCODERS: dict[Codec, Callable[[Any], bytes]] = {
    Codec.JSON: msgspec.json.Encoder().encode,
    Codec.MSGPACK: msgspec.msgpack.Encoder().encode,
}
_pack = Packing(">Q").pack


def timestamp(time: int) -> Ext:
    """Return ns since the epoch as a msgpack Timestamp of eight bytes (1970 to 2514)."""
    seconds, rest = divmod(time, SECOND)
    return Ext(-1, _pack(rest << 34 | seconds))


def rfc3339(time: int) -> str:
    """Return ns since the epoch as RFC 3339 in UTC with nine decimals."""
    seconds, rest = divmod(time, SECOND)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


class _Clockface:
    """RFC 3339 text of times that mostly share their second with the one before."""

    def __init__(self) -> None:
        self._second, self._prefix = -1, ""

    def __call__(self, time: int) -> str:
        second, rest = divmod(time, SECOND)
        if second != self._second:
            self._second, self._prefix = second, rfc3339(time)[:20]
        return f"{self._prefix}{rest:09d}Z"


def stamp(codec: Codec) -> Callable[[int], object]:
    """Return what writes the times of one batch."""
    return timestamp if codec is Codec.MSGPACK else _Clockface()
