"""Bytes of a stream become frames: a length, the number of descriptors that go with it, a body.

A frame may come in any pieces. Descriptors are counted only: the socket hands them over beside the
bytes, in the same order.
"""

from struct import Struct
from typing import NamedTuple

HEADER = Struct(">IB")
LARGEST = 16 << 20
"""Bytes of a body; what is large travels in a descriptor."""


class BrokenFrame(Exception):
    """The bytes are no frames; nothing after them can be read."""


class Frame(NamedTuple):
    """One message, and how many descriptors came with it."""

    body: bytes
    descriptors: int


def frame(body: bytes, descriptors: int = 0) -> bytes:
    """Return the bytes of one frame.

    Raises:
        BrokenFrame: the body is larger than LARGEST.
    """
    if len(body) > LARGEST:
        raise BrokenFrame(f"a frame of {len(body)} bytes: at most {LARGEST} are allowed")
    return HEADER.pack(len(body), descriptors) + body


class FrameReader:
    """Collects bytes and gives back what is complete."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def receive(self, data: bytes) -> list[Frame]:
        """Take bytes and return the frames that end in them.

        Raises:
            BrokenFrame: a length beyond LARGEST.
        """
        self._pending += data
        frames, start = [], 0
        while len(self._pending) - start >= HEADER.size:
            length, descriptors = HEADER.unpack_from(self._pending, start)
            if length > LARGEST:
                raise BrokenFrame(f"a frame of {length} bytes: at most {LARGEST} are allowed")
            end = start + HEADER.size + length
            if len(self._pending) < end:
                break
            frames.append(Frame(bytes(self._pending[start + HEADER.size : end]), descriptors))
            start = end
        del self._pending[:start]
        return frames
