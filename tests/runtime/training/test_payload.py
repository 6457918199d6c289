"""Parts go through memory and come out the same, both ways; what does not fit is refused."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.training.isolation.messages import Payload
from runtime.training.isolation.payload import INLINE, BadPayload, Opened, Room, mapped, pack

SIZES = st.lists(st.integers(0, 3 * INLINE), min_size=1, max_size=5)


def parts_of(sizes: list[int]) -> list[memoryview]:
    return [memoryview(bytes([n % 251]) * size) for n, size in enumerate(sizes, 1)]


@given(SIZES)
def test_parts_are_mapped_and_read_as_they_were(sizes: list[int]) -> None:
    parts = parts_of(sizes)
    payload, descriptor = pack(parts)
    assert (descriptor is None) == (sum(sizes) <= INLINE)
    opened = Opened(payload, descriptor, 1 << 30)
    assert opened.stream().read(1 << 30) == parts[0]
    assert list(opened.buffers()) == parts[1:]
    assert mapped(payload, descriptor) == parts


@given(SIZES, st.integers(1, 8 * INLINE))
def test_a_room_that_is_too_small_or_too_large_does_as_well(sizes: list[int], size: int) -> None:
    parts, room = parts_of(sizes), Room(size)
    payload, descriptor = pack(parts, room)
    room.close()
    assert mapped(payload, descriptor) == parts


def test_what_is_mapped_can_be_written_and_nobody_else_sees_it() -> None:
    payload, descriptor = pack([memoryview(bytes(2 * INLINE))])
    assert descriptor is not None
    other = os.dup(descriptor)
    (part,) = mapped(payload, descriptor)
    np.frombuffer(part, np.uint8)[:] = 7
    assert os.pread(other, 10, 0) == bytes(10)
    os.close(other)


def test_what_does_not_fit_is_refused() -> None:
    payload, descriptor = pack([memoryview(bytes(2 * INLINE)), memoryview(b"x")])
    assert descriptor is not None
    with pytest.raises(BadPayload, match="1000 are allowed"):
        Opened(payload, descriptor, 1000)
    os.ftruncate(descriptor, 100)
    with pytest.raises(BadPayload, match="its segment has 100 bytes"):
        Opened(payload, descriptor, 1 << 30)
    with pytest.raises(BadPayload, match="its segment has 100 bytes"):
        mapped(payload, descriptor)
    with pytest.raises(BadPayload, match="missing"):
        Opened(payload, None, 1 << 30)
    with pytest.raises(BadPayload):
        Opened(Payload((-5, 10)), os.memfd_create("x"), 1 << 30)


def test_a_segment_that_is_cut_while_it_is_read_is_refused() -> None:
    payload, descriptor = pack([memoryview(b"s"), memoryview(bytes(2 * INLINE))])
    assert descriptor is not None
    opened = Opened(payload, descriptor, 1 << 30)
    os.ftruncate(descriptor, INLINE)
    with pytest.raises(BadPayload, match="ends before its time"):
        list(opened.buffers())
    os.close(descriptor)
