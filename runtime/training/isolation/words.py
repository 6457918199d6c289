"""What a warden says of its worker, read; and the end of a worker in one sentence."""

import os
import signal
from struct import Struct, error

import msgspec

LOST = Struct(">QQ")
SWEPT = Struct(">?")
ENDED = Struct(">i???")


class Output(msgspec.Struct, frozen=True):
    """Bytes the worker printed, in order, but perhaps not all of them."""

    data: bytes


class Lost(msgspec.Struct, frozen=True):
    """How much more it printed than is handed on."""

    bytes: int
    lines: int


class Swept(msgspec.Struct, frozen=True):
    """After a job: what it printed has been said, and what it had started and left was killed.

    `had_children` says that there was something.
    """

    had_children: bool


class Ended(msgspec.Struct, frozen=True):
    """The worker is dead, and all that descended from it.

    `status` is the system's; `by_itself` says that nobody had asked; `memory` that it took more
    than it may; `oom` that the kernel had to kill for want of memory, whoever took it.
    """

    status: int
    by_itself: bool
    memory: bool
    oom: bool = False

    def sentence(self, limit: int) -> str:
        """Say how it ended; `limit` is the memory it was allowed, in bytes."""
        if self.memory:
            return f"the worker ran out of memory: it may use {limit >> 20} MB (training.memory_mb)"
        if self.oom:
            return (
                "the worker was killed by the kernel, which was out of memory: let it use less "
                f"than {limit >> 20} MB (training.memory_mb), or the machine have more"
            )
        if os.WIFSIGNALED(self.status):
            number = os.WTERMSIG(self.status)
            try:
                name = signal.Signals(number).name
            except ValueError:
                name = f"signal {number}"
            return f"the worker was killed by {name}"
        code = os.waitstatus_to_exitcode(self.status)
        return f"the worker ended with exit code {code} before it had a result"


Word = Output | Lost | Swept | Ended


def read_word(body: bytes) -> Word:
    """Read one frame.

    Raises:
        ValueError: it is none of these.
    """
    kind, rest = body[:1], body[1:]
    try:
        match kind:
            case b"O":
                return Output(rest)
            case b"L":
                return Lost(*LOST.unpack(rest))
            case b"E":
                return Swept(*SWEPT.unpack(rest))
            case b"X":
                return Ended(*ENDED.unpack(rest))
    except error:
        pass
    raise ValueError(f"a warden does not say {body[:20]!r}")
