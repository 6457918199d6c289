"""One object that says whether a model may be used, to plain code, threads and tasks alike.

`is_ready` is a plain attribute. It is set after the model is in place and before anybody is woken:
whoever sees ready, or wakes, also finds the model. While a version serves, a new training or its
failure changes nothing here. How a task waits on a loop is put in place by `waiting.py`.
"""

import threading
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import ClassVar

import msgspec


class ReadinessState(StrEnum):
    """Where a model stands."""

    UNTRAINED = "untrained"
    TRAINING = "training"
    READY = "ready"
    STALE = "stale"
    FAILED = "failed"


class ReadinessStatus(msgspec.Struct, frozen=True):
    """One consistent view: the state, the version that serves (0: none), and why it is so."""

    state: ReadinessState
    version: int
    cause: str


NEVER_TRAINED = ReadinessStatus(ReadinessState.UNTRAINED, 0, "never trained")
Wake = Callable[[], None]


class Readiness:
    """Readiness of one model or one job; every method may be called from any thread."""

    on_loop: ClassVar[Callable[["Readiness"], Awaitable[None]] | None] = None
    """Waits on the running loop; set once by `waiting.py`, which the manager imports."""

    def __init__(self) -> None:
        self.is_ready = False
        self.status = NEVER_TRAINED
        self._turns = 0  # how often it became ready: a waiter cannot miss a short moment of it
        self._wakes: dict[object, Wake] = {}
        self._changed = threading.Condition()  # guards all fields; readers of one need no lock

    @property
    def state(self) -> ReadinessState:
        """Where the model stands."""
        return self.status.state

    @property
    def version(self) -> int:
        """The version that serves; 0 while there is none."""
        return self.status.version

    @property
    def cause(self) -> str:
        """Why it is not ready, in words: "never trained", "training", "off", "failed: ..."."""
        return self.status.cause

    async def wait(self) -> None:
        """Return once it is ready, or at once if it is; cancelling the wait leaves nothing behind.

        Raises:
            RuntimeError: no runtime has been imported that says how to wait on a loop.
        """
        wait_on_loop = Readiness.on_loop
        if wait_on_loop is None:
            raise RuntimeError("nothing waits on a loop here: import runtime.training.waiting")
        await wait_on_loop(self)

    def wait_blocking(self, timeout: float | None = None) -> bool:
        """Block this thread (never the loop's) until ready; False after `timeout` seconds."""
        with self._changed:
            turns = self._turns
            return self._changed.wait_for(lambda: self.is_ready or self._turns != turns, timeout)

    def subscribe(self, wake: Wake) -> Wake | None:
        """Have `wake` called once, from any thread, when it is next ready.

        Returns:
            What takes the subscription back; None where it is ready now and `wake` will not come.
        """
        key = object()
        with self._changed:
            if self.is_ready:
                return None
            self._wakes[key] = wake

        def withdraw() -> None:
            with self._changed:
                self._wakes.pop(key, None)

        return withdraw

    def ready(self, version: int) -> None:
        """Say that `version` serves; its model is in place already."""
        with self._changed:
            self.status = ReadinessStatus(ReadinessState.READY, version, "")
            self.is_ready = True
            self._turns += 1
            wakes, self._wakes = self._wakes, {}
            self._changed.notify_all()
        for wake in wakes.values():  # outside the lock: a wake may run foreign code
            wake()

    def stale(self, cause: str) -> None:
        """Say that the version that serves is too old to use; without a version nothing changes."""
        with self._changed:
            if self.status.version:
                self.is_ready = False
                self.status = ReadinessStatus(ReadinessState.STALE, self.status.version, cause)

    def training(self) -> None:
        """Say that a first training runs; a version that serves goes on serving."""
        self._without_version(ReadinessState.TRAINING, "training")

    def failed(self, cause: str) -> None:
        """Say that the first training came to nothing; a version that serves goes on serving."""
        self._without_version(ReadinessState.FAILED, cause)

    def waiting(self, cause: str) -> None:
        """Say what the first training waits for ("queued", "off"), or why it was given up."""
        self._without_version(ReadinessState.UNTRAINED, cause)

    def _without_version(self, state: ReadinessState, cause: str) -> None:
        with self._changed:
            if not self.status.version:
                self.status = ReadinessStatus(state, 0, cause)

    def __repr__(self) -> str:
        return f"Readiness({self.state}, version {self.version}, {self.cause!r})"
