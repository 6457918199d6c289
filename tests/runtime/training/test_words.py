"""What a warden says is read as it was meant, or refused; an end has one sentence."""

import contextlib
import signal
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.training.isolation.words import Ended, Lost, Output, Swept, read_word

MB = 1 << 20


def test_each_word_is_read() -> None:
    assert read_word(b"Ohello\n") == Output(b"hello\n")
    assert read_word(b"L" + pack(">QQ", 10, 2)) == Lost(10, 2)
    assert read_word(b"E\x01") == Swept(True)
    assert read_word(b"X" + pack(">i???", 9, True, False, True)) == Ended(9, True, False, True)


@given(st.binary(max_size=30))
def test_anything_else_is_refused_and_nothing_else_happens(body: bytes) -> None:
    with contextlib.suppress(ValueError):
        read_word(body)


@pytest.mark.parametrize(
    ("ended", "sentence"),
    [
        (Ended(signal.SIGSEGV, True, False), "the worker was killed by SIGSEGV"),
        (Ended(signal.SIGSEGV | 128, True, False), "the worker was killed by SIGSEGV"),
        (Ended(63, True, False), "the worker was killed by signal 63"),
        (Ended(0, True, False), "the worker ended with exit code 0 before it had a result"),
        (Ended(3 << 8, True, False), "the worker ended with exit code 3 before it had a result"),
        (
            Ended(signal.SIGKILL, False, True),
            "the worker ran out of memory: it may use 300 MB (training.memory_mb)",
        ),
        (
            Ended(signal.SIGKILL, True, False, True),
            (
                "the worker was killed by the kernel, which was out of memory: let it use less "
                "than 300 MB (training.memory_mb), or the machine have more"
            ),
        ),
    ],
)
def test_an_end_in_one_sentence(ended: Ended, sentence: str) -> None:
    assert ended.sentence(300 * MB) == sentence
