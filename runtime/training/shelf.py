"""All models of one run: tells every change of their readiness, and when their age runs out.

A slot is told stale at its time even where no slice comes to ask. Everything here belongs to the
event loop, but for the listener of a slot, which may be called from any thread.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

import anyio

from runtime.training.readiness import ReadinessStatus
from runtime.training.slots import ModelSlot


class ShelfClock(Protocol):
    """The engine's time."""

    def now(self) -> int:
        """Return ns since the epoch, UTC."""
        ...

    async def sleep_until(self, when: int) -> None:
        """Return at `when` (ns), or at once if that has passed."""
        ...


OnReadiness = Callable[[ModelSlot, ReadinessStatus], None]


class ModelShelf:
    """The slots of a run, by name.

    Args:
        clock: the engine's: models age by it.
        on_readiness: told how each slot stands when it is adopted, and each change after; it must
            be short, not raise, and bear any thread.
    """

    def __init__(self, clock: ShelfClock, on_readiness: OnReadiness) -> None:
        self._clock = clock
        self._on_readiness = on_readiness
        self._slots: dict[str, ModelSlot] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._nap: anyio.CancelScope | None = None

    @property
    def slots(self) -> Mapping[str, ModelSlot]:
        """What has been adopted."""
        return self._slots

    def adopt(self, slot: ModelSlot) -> None:
        """Look after a slot from now on; the same again changes nothing."""
        if slot.name not in self._slots:
            self._slots[slot.name] = slot
            slot.readiness.listen(partial(self._hear, slot))
            self._hear(slot, slot.readiness.status)

    async def run(self) -> None:
        """Mark each model stale at its time, until cancelled."""
        self._loop = asyncio.get_running_loop()
        while True:
            now = self._clock.now()
            for slot in self._slots.values():
                slot.expire(now)
            ready = [slot for slot in self._slots.values() if slot.is_ready]
            wakes = [wake for slot in ready if (wake := slot.stale_at) is not None]
            with anyio.CancelScope() as self._nap:
                await (self._clock.sleep_until(min(wakes)) if wakes else anyio.sleep_forever())

    def _hear(self, slot: ModelSlot, status: ReadinessStatus) -> None:
        self._on_readiness(slot, status)
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has closed: nothing ages any more
                self._loop.call_soon_threadsafe(self._look_again)

    def _look_again(self) -> None:
        if self._nap is not None:
            self._nap.cancel()
