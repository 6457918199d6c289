"""Frames come out as they went in, however the stream was cut; what is no frame is said so."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.training.isolation.framing import LARGEST, BrokenFrame, Frame, FrameReader, frame

FRAMES = st.lists(st.builds(Frame, st.binary(max_size=300), st.integers(0, 255)), max_size=8)


@given(FRAMES, st.lists(st.integers(0, 400)))
def test_frames_survive_any_cutting(frames: list[Frame], cuts: list[int]) -> None:
    stream = b"".join(frame(body, count) for body, count in frames)
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    reader = FrameReader()
    seen = []
    for start, end in itertools.pairwise(places):
        seen += reader.receive(stream[start:end])
    assert seen == frames


@given(FRAMES, st.binary(max_size=5))
def test_a_frame_that_has_not_ended_waits(frames: list[Frame], rest: bytes) -> None:
    whole = frame(rest + b"end")
    reader = FrameReader()
    assert reader.receive(b"".join(frame(*one) for one in frames) + whole[:-1]) == frames
    assert reader.receive(whole[-1:]) == [Frame(rest + b"end", 0)]


def test_a_length_beyond_all_bounds_is_no_frame() -> None:
    with pytest.raises(BrokenFrame, match=f"at most {LARGEST} are allowed"):
        FrameReader().receive(b"\xff\xff\xff\xff\x00")
    with pytest.raises(BrokenFrame):
        frame(bytes(LARGEST + 1))
