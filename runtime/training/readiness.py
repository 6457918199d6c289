"""One object that says whether a model may be used, to plain code, threads and tasks alike.

`is_ready` is a plain attribute. It is set after the model is in place and before anybody is woken:
whoever sees ready, or wakes, also finds the model. While a version serves, a new training or its
failure changes nothing here. How a task waits on a loop is put in place by `waiting.py`.
"""

import threading
from collections.abc import Awaitable, Callable, Mapping
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


class ReadinessCause(StrEnum):
    """Why a model may not be used; NONE where it may."""

    NONE = ""
    NEVER_TRAINED = "never trained"
    QUEUED = "queued"
    OFF = "off"
    MARKET_OPEN = "the market is open"
    TRAINING = "training"
    CANCELLED = "cancelled"
    OUT_OF_QUOTA = "out of quota"
    FAILED = "failed"
    REJECTED = "rejected by its gate"
    EXPIRED = "expired"


STATES: Mapping[ReadinessCause, ReadinessState] = {
    ReadinessCause.NONE: ReadinessState.READY,
    ReadinessCause.NEVER_TRAINED: ReadinessState.UNTRAINED,
    ReadinessCause.QUEUED: ReadinessState.UNTRAINED,
    ReadinessCause.OFF: ReadinessState.UNTRAINED,
    ReadinessCause.MARKET_OPEN: ReadinessState.UNTRAINED,
    ReadinessCause.TRAINING: ReadinessState.TRAINING,
    ReadinessCause.CANCELLED: ReadinessState.UNTRAINED,
    ReadinessCause.OUT_OF_QUOTA: ReadinessState.FAILED,
    ReadinessCause.FAILED: ReadinessState.FAILED,
    ReadinessCause.REJECTED: ReadinessState.UNTRAINED,
    ReadinessCause.EXPIRED: ReadinessState.STALE,
}


class ReadinessStatus(msgspec.Struct, frozen=True):
    """One consistent view: the cause, the version that serves (0: none), and more about the cause.

    `text` is one sentence or "": an error, the figures of the quota.
    """

    cause: ReadinessCause = ReadinessCause.NEVER_TRAINED
    version: int = 0
    text: str = ""

    @property
    def state(self) -> ReadinessState:
        """Where the model stands."""
        return STATES[self.cause]

    @property
    def reason(self) -> str:
        """Why it is not ready, in words: "training", "failed: ValueError: ..."; "" if it is."""
        return f"{self.cause}: {self.text}" if self.text else str(self.cause)


Wake = Callable[[], None]
Listener = Callable[[ReadinessStatus], None]


class Readiness:
    """Readiness of one model or one job; every method may be called from any thread."""

    on_loop: ClassVar[Callable[["Readiness"], Awaitable[None]] | None] = None
    """Waits on the running loop; set once by `waiting.py`, which the manager imports."""

    def __init__(self) -> None:
        self.is_ready = False
        self.status = ReadinessStatus()
        self._turns = 0  # how often it became ready: a waiter cannot miss a short moment of it
        self._wakes: dict[object, Wake] = {}
        self._listeners: tuple[Listener, ...] = ()
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
    def cause(self) -> ReadinessCause:
        """Why it is not ready; NONE if it is."""
        return self.status.cause

    @property
    def reason(self) -> str:
        """Why it is not ready, in words; "" if it is."""
        return self.status.reason

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

    def listen(self, listener: Listener) -> None:
        """Have `listener` called at each change from now on, in whatever thread makes it."""
        with self._changed:
            self._listeners = (*self._listeners, listener)

    def ready(self, version: int) -> None:
        """Say that `version` serves; its model is in place already."""
        with self._changed:
            self.status = ReadinessStatus(ReadinessCause.NONE, version)
            self.is_ready = True
            self._turns += 1
            wakes, self._wakes = self._wakes, {}
            self._changed.notify_all()
        for wake in wakes.values():  # outside the lock too
            wake()
        self._tell()

    def stale(self, text: str, version: int | None = None) -> None:
        """Say that the version that serves (or now takes its place) is too old to use.

        Without any version nothing changes.
        """
        with self._changed:
            version = self.status.version if version is None else version
            if not version:
                return
            self.is_ready = False
            self.status = ReadinessStatus(ReadinessCause.EXPIRED, version, text)
        self._tell()

    def not_yet(self, cause: ReadinessCause, text: str = "") -> None:
        """Say why there is no first version yet; one that serves goes on serving.

        Args:
            cause: neither NONE nor EXPIRED.
            text: one sentence about it.
        """
        with self._changed:
            status = ReadinessStatus(cause, 0, text)
            if self.status.version or status == self.status:
                return
            self.status = status
        self._tell()

    def stand(self, status: ReadinessStatus) -> None:
        """Stand exactly as it is told: for a replay; nobody waits there."""
        with self._changed:
            self.status = status
            self.is_ready = status.cause is ReadinessCause.NONE
        self._tell()

    def _tell(self) -> None:
        """Tell the listeners; outside the lock, since a listener is foreign code."""
        for listener in self._listeners:
            listener(self.status)

    def __repr__(self) -> str:
        return f"Readiness({self.status.state}, version {self.version}, {self.reason!r})"
