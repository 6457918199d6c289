"""Bytes go from process to process: a few in the message, many in a shared memory segment.

A segment has no name: it is a descriptor that is handed over with the message, and it is gone with
the last process that holds it, however that ends. The worker maps what it gets and copies nothing.
The runtime reads what it gets into memory of its own, piece by piece and without holding up the
event loop: a worker could change or cut a mapping under its feet.
"""

import io
import mmap
import os
import tempfile
from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np

from runtime.training.isolation.documents import Source
from runtime.training.isolation.messages import Payload

INLINE = 32 << 10
PIECE = 1 << 20
ALIGNMENT = 64
PAGE = 4096


class BadPayload(Exception):
    """A payload and its segment do not fit."""


class Room:
    """A segment whose memory is there already, so that filling it is no more than copying.

    To be made and closed off the event loop; to be filled on it.

    Args:
        size: bytes that are made ready; what is packed may have more, or fewer.

    Raises:
        OSError: there is no memory, or no descriptor left.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._descriptor = _segment()
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._descriptor, 0, size)
            else:
                os.ftruncate(self._descriptor, size)
            self._mapping = mmap.mmap(self._descriptor, size)
            for start in range(0, size, PIECE):
                self._bytes(start, min(size, start + PIECE))[::PAGE] = 0  # has it mapped, too
        except BaseException:
            os.close(self._descriptor)
            raise

    def fill(self, parts: Sequence[memoryview], sizes: Sequence[int]) -> int:
        """Copy the parts to their places and return a descriptor of the segment."""
        os.ftruncate(self._descriptor, max(self.size, sum(map(_room, sizes))))
        for part, offset in zip(parts, _offsets(sizes), strict=True):
            fits = max(0, min(part.nbytes, self.size - offset))
            if fits:
                self._bytes(offset, offset + fits)[:] = np.frombuffer(part[:fits], np.uint8)
            if fits < part.nbytes:
                _write(self._descriptor, part[fits:], offset + fits)
        return os.dup(self._descriptor)

    def close(self) -> None:
        """Let go of this end."""
        self._mapping.close()
        os.close(self._descriptor)

    def _bytes(self, start: int, end: int) -> "np.ndarray[tuple[int], np.dtype[np.uint8]]":
        return np.frombuffer(self._mapping, np.uint8, end - start, start)


def pack(parts: Sequence[memoryview], room: Room | None = None) -> tuple[Payload, int | None]:
    """Return the payload of some parts of bytes and, where they are large, its descriptor.

    Args:
        parts: bytes.
        room: where to put them if they are large.

    Raises:
        OSError: there is no memory, or no descriptor left.
    """
    sizes = tuple(part.nbytes for part in parts)
    if sum(sizes) <= INLINE:
        return Payload(sizes, b"".join(parts)), None
    parts = [part.cast("B") for part in parts]
    if room is not None:
        return Payload(sizes), room.fill(parts, sizes)
    descriptor = _segment()
    try:
        os.ftruncate(descriptor, sum(map(_room, sizes)))
        for part, offset in zip(parts, _offsets(sizes), strict=True):
            _write(descriptor, part, offset)
    except BaseException:
        os.close(descriptor)
        raise
    return Payload(sizes), descriptor


def segment_of(data: bytes) -> int:
    """Return the descriptor of a segment with these bytes, for the way to another machine.

    Raises:
        OSError: there is no memory, or no descriptor left.
    """
    descriptor = _segment()
    try:
        _write(descriptor, memoryview(data), 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def contents(descriptor: int) -> bytes:
    """Return all that a segment holds, and close it."""
    try:
        whole = bytearray(os.fstat(descriptor).st_size)
        _fill(descriptor, memoryview(whole), 0)
    finally:
        os.close(descriptor)
    return bytes(whole)


def mapped(payload: Payload, descriptor: int | None) -> list[memoryview]:
    """Return the parts, writable, without a copy; takes the descriptor over.

    Raises:
        BadPayload: they do not fit.
    """
    if payload.inline is not None:
        whole = memoryview(bytearray(payload.inline))
        offsets = [0, *accumulate(payload.sizes)]
    else:
        try:
            _check(payload, descriptor)
            assert descriptor is not None  # noqa: S101  # checked
            whole = memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY))
        finally:
            if descriptor is not None:
                os.close(descriptor)
        offsets = _offsets(payload.sizes)
    return [whole[at : at + size] for at, size in zip(offsets, payload.sizes, strict=False)]


class Opened:
    """A payload as it is read into memory of one's own: the first part as a stream, then the rest.

    Raises:
        BadPayload: payload and segment do not fit, or it has more bytes than `limit`.
    """

    def __init__(self, payload: Payload, descriptor: int | None, limit: int) -> None:
        if sum(payload.sizes) > limit:
            raise BadPayload(f"it has {sum(payload.sizes)} bytes, {limit} are allowed")
        self._sizes = payload.sizes
        self._descriptor = descriptor
        if payload.inline is None:
            _check(payload, descriptor)
            self._inline = None
            self._offsets = _offsets(payload.sizes)
        else:
            self._inline = memoryview(payload.inline)
            self._offsets = [0, *accumulate(payload.sizes)]

    def stream(self) -> Source:
        """Return the first part as a file."""
        if self._inline is not None:
            return io.BytesIO(self._inline[: self._sizes[0]])
        assert self._descriptor is not None  # noqa: S101  # checked
        return _Stream(self._descriptor, self._sizes[0])

    def buffers(self) -> Iterator[memoryview]:
        """Read the other parts, each when it is asked for."""
        for offset, size in list(zip(self._offsets, self._sizes, strict=False))[1:]:
            buffer = np.empty(size, np.uint8).data  # not zeroed: not touched yet
            if self._inline is not None:
                buffer[:] = self._inline[offset : offset + size]
            else:
                assert self._descriptor is not None  # noqa: S101  # checked
                _fill(self._descriptor, buffer, offset)
            yield buffer


class _Stream:
    """A part of a segment as a file.

    Its methods are Python on purpose: between two calls the interpreter lets other threads in,
    which the unpickler by itself never does.
    """

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._at = 0
        self._size = size

    def read(self, size: int, /) -> bytes:
        """Return that many bytes."""
        size = min(size, self._size - self._at)
        if size <= PIECE:
            piece = os.pread(self._descriptor, size, self._at)
            self._at += len(piece)
            return piece
        whole = bytearray(size)
        return bytes(whole[: self.readinto(whole)])

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Fill the buffer and return how much there was."""
        view = memoryview(buffer).cast("B")[: self._size - self._at]
        _fill(self._descriptor, view, self._at)
        self._at += view.nbytes
        return view.nbytes

    def readline(self) -> bytes:
        """Return the rest of a line; the protocol that is used has none but short ones."""
        found = os.pread(self._descriptor, min(PIECE, self._size - self._at), self._at)
        line = found[: found.find(b"\n") + 1] or found
        self._at += len(line)
        return line


def _segment() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("tidegate", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _write(descriptor: int, part: memoryview, offset: int) -> None:
    start = 0
    while start < part.nbytes:
        start += os.pwrite(descriptor, part[start : start + PIECE], offset + start)


def _fill(descriptor: int, buffer: memoryview, offset: int) -> None:
    start = 0
    while start < buffer.nbytes:
        done = os.preadv(descriptor, [buffer[start : start + PIECE]], offset + start)
        if not done:
            raise BadPayload("it ends before its time")
        start += done


def _room(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _offsets(sizes: Sequence[int]) -> list[int]:
    return [0, *accumulate(map(_room, sizes))][: len(sizes)]


def _check(payload: Payload, descriptor: int | None) -> None:
    if descriptor is None:
        raise BadPayload("its segment is missing")
    held = os.fstat(descriptor).st_size
    wanted = sum(map(_room, payload.sizes))
    if any(size < 0 for size in payload.sizes) or held < wanted:
        raise BadPayload(f"its segment has {held} bytes, it names {wanted}")
