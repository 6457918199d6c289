"""Worker processes as the runtime sees them: started by a warden, talked to, and buried.

Every method may block and belongs to a job's own thread, except `tell`, which any thread may call.
A worker is dead, reaped and closed when `bury` returns; its warden has seen to what it had started.
"""

import contextlib
import json
import os
import selectors
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from runtime.redaction import names_secret
from runtime.training.isolation.channel import Channel, Received
from runtime.training.isolation.framing import BrokenFrame, FrameReader
from runtime.training.isolation.messages import (
    Prepare,
    Ready,
    ToWorker,
    decode_for_runtime,
    encode,
)
from runtime.training.isolation.words import Ended, Word, read_word

WARDEN = Path(__file__).with_name("warden.py")
CHUNK = 1 << 16
BURIAL_SECONDS = 3.0
THREAD_LIMITS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
OURS = ("TIDEGATE_", "APCA_", "ALPACA_")


def memory_of_machine() -> int:
    """Return the bytes this process can have at most: the machine's, or its container's."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in CGROUP_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # "max" is no number
            found.append(int(path.read_text()))
    return min(found)


MACHINE_BYTES = memory_of_machine()
"""Read once, and never on the event loop."""


class WorkerLimits(msgspec.Struct, frozen=True):
    """What a worker may use.

    `memory_bytes` of it and of what it starts, None for half of the machine's; `native_threads` of
    BLAS and OpenMP; `result_bytes` of what it hands back.
    """

    memory_bytes: int | None = None
    native_threads: int = 1
    result_bytes: int = 1 << 30

    def memory(self) -> int:
        """Return the bytes a worker may have."""
        own = self.memory_bytes
        return MACHINE_BYTES // 2 if own is None else own


class WorkerDied(Exception):
    """The worker is gone; the message says how."""


def environment(ours: Mapping[str, str], native_threads: int) -> dict[str, str]:
    """Return what a worker may know of our environment: no keys of brokers, no secrets by name."""
    kept = {
        name: value
        for name, value in ours.items()
        if not (name.upper().startswith(OURS) or names_secret(name))
    }
    return kept | dict.fromkeys(THREAD_LIMITS, str(native_threads))


class Worker:
    """One worker and its warden.

    Raises:
        OSError: the system has no process, descriptor or memory left.
    """

    def __init__(self, limits: WorkerLimits) -> None:
        self.limits = limits
        self._memory = limits.memory()
        self.ended: Ended | None = None
        control, theirs = socket.socketpair()
        life, wardens = socket.socketpair()
        try:
            with theirs, wardens:
                self._process = subprocess.Popen(
                    [
                        *(sys.executable, "-P", str(WARDEN)),
                        *(str(wardens.fileno()), str(theirs.fileno()), str(self._memory)),
                        json.dumps([os.path.abspath(place) for place in sys.path]),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=(wardens.fileno(), theirs.fileno()),
                    env=environment(os.environ, limits.native_threads),
                    process_group=0,  # the terminal's Ctrl+C is not for it
                )
        except BaseException:
            control.close()
            life.close()
            raise
        self.channel = Channel(control)
        life.setblocking(False)
        self._life = life
        self._words = FrameReader()
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        self._selector.register(life, selectors.EVENT_READ)

    @property
    def pid(self) -> int:
        """The warden's process id."""
        return self._process.pid

    def prepare(self, prepare: Prepare) -> None:
        """Have the strategy imported.

        Raises:
            WorkerDied: it could not be.
        """
        self.send(prepare)
        for heard in self.listen():
            if isinstance(heard, Received):
                ready = decode_for_runtime(heard.body)
                if isinstance(ready, Ready) and not ready.error:
                    return
                raise WorkerDied(f"the worker could not import the strategy: {_said(ready)}")
        raise WorkerDied(f"while it was starting {self.how_it_ended()}")

    def still_lives(self) -> bool:
        """Whether it has not ended, as far as is known; what it printed meanwhile is left out."""
        while any(key.fileobj is self._life for key, _ in self._selector.select(0)):
            for _ in self._hear_warden():
                pass
            if self.ended is not None:
                return False
        return True

    def send(self, message: ToWorker, descriptor: int | None = None) -> None:
        """Send a message; a worker that is gone takes none, and `listen` says so."""
        with contextlib.suppress(OSError):
            self.channel.send(encode(message), descriptor)

    def tell(self, letter: bytes) -> None:
        """Tell the warden, at once and from any thread."""
        with contextlib.suppress(OSError):  # it has gone: nothing to be told any more
            self._life.send(letter)

    def listen(self, wake: socket.socket | None = None) -> Iterator[Received | Word | None]:
        """Yield what worker and warden say until the worker has ended; None where `wake` was used.

        Raises:
            BrokenFrame, msgspec.DecodeError, ValueError: what came is none of their words.
        """
        if wake is not None:
            self._selector.register(wake, selectors.EVENT_READ)
        try:
            while self.ended is None:
                for key, _ in self._selector.select():
                    if key.fileobj is wake:
                        assert wake is not None  # noqa: S101  # it was registered
                        wake.recv(CHUNK)
                        yield None
                    elif key.fileobj is self._life:
                        yield from self._hear_warden()
                    else:
                        yield from self._hear_worker()
            # Dead or not, what the worker had said before counts.
            while any(key.fileobj is self.channel.socket for key, _ in self._selector.select(0)):
                yield from self._hear_worker()
        finally:
            if wake is not None:
                self._selector.unregister(wake)

    def bury(self) -> None:
        """Kill it, if it still lives, and leave nothing of it."""
        self.tell(b"K")
        self._life.close()  # the same again, where the socket was full
        try:
            self._process.wait(BURIAL_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()  # the kernel then kills the worker
            self._process.wait()
        self._selector.close()
        self.channel.close()

    def how_it_ended(self) -> str:
        """Say how the worker ended."""
        if self.ended is None:
            return "the worker was lost"
        return self.ended.sentence(self._memory)

    # ---- inside ------------------------------------------------------------------------------

    def _hear_worker(self) -> Iterator[Received]:
        received = self.channel.receive()
        if received is None:  # the warden will say how
            self._selector.unregister(self.channel.socket)
            return
        waiting = deque(received)
        try:
            while waiting:
                yield waiting.popleft()
        finally:
            for _, descriptor in waiting:
                if descriptor is not None:
                    os.close(descriptor)

    def _hear_warden(self) -> Iterator[Word]:
        try:
            data = self._life.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.ended = self.ended or Ended(-9, True, False)
            return
        for body, _ in self._words.receive(data):
            word = read_word(body)
            if isinstance(word, Ended):
                self.ended = word
            yield word


def _said(message: object) -> str:
    return message.error if isinstance(message, Ready) else "it sent something else"


BROKEN = (BrokenFrame, msgspec.DecodeError, ValueError)
"""What `listen` raises for a worker that no longer makes sense."""
