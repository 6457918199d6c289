"""All models of one run: tells every change of their readiness, and when their age runs out.

A slot is told stale at its time even where no slice comes to ask. Where a keeper is given, versions
outlive the run. Everything here belongs to the event loop, but for the listener of a slot, which
may be called from any thread.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

import anyio

from runtime.errors import ConfigError
from runtime.training.keeper import ModelKeeper, Tell
from runtime.training.readiness import ReadinessStatus
from runtime.training.slots import ModelSlot, Published


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
        on_readiness: told how each slot stands that is not ready after `restore`, and each change;
            it must be short, not raise, and bear any thread.
        tell: writes to the log.
        keeper: stores versions; None keeps them in memory.
        deployed: finished models by the name of their slot, each with its file.
    """

    def __init__(
        self,
        clock: ShelfClock,
        on_readiness: OnReadiness,
        tell: Tell,
        keeper: ModelKeeper | None = None,
        deployed: Mapping[str, tuple[Published, str]] | None = None,
    ) -> None:
        self._clock = clock
        self._on_readiness = on_readiness
        self._tell = tell
        self._keeper = keeper
        self._deployed = deployed or {}
        self._is_restored = False
        self._slots: dict[str, ModelSlot] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._nap: anyio.CancelScope | None = None

    @property
    def slots(self) -> Mapping[str, ModelSlot]:
        """What has been adopted."""
        return self._slots

    def adopt(self, slot: ModelSlot) -> None:
        """Look after a slot from now on; the same again changes nothing."""
        if slot.name in self._slots:
            return
        self._slots[slot.name] = slot
        slot.on_rollback = partial(self._rolled_back, slot)
        if slot.name in self._deployed:
            slot.deploy(*self._deployed[slot.name])
        elif self._keeper is not None:
            self._keeper.adopt(slot)
            if self._is_restored:
                self._keeper.restore_later(slot)
        slot.readiness.listen(partial(self._hear, slot))
        if self._is_restored:
            self._hear(slot, slot.readiness.status)

    def check(self) -> None:
        """See that each finished model has a slot, once `initialize` has made them.

        Raises:
            ConfigError: a finished model was given for a slot that the strategy does not have.
        """
        for name in self._deployed:
            if name not in self._slots:
                raise ConfigError(
                    f"--model {name}: the strategy has no slot of this name; it has "
                    f"{', '.join(self._slots) or 'none'}"
                )

    async def restore(self) -> None:
        """Have every slot ready that was, before the first tick."""
        self._is_restored = True
        if self._keeper is not None:
            for slot in list(self._slots.values()):
                if not slot.deployed:
                    await self._keeper.restore(slot)
        for slot in self._slots.values():
            if not slot.readiness.is_ready:
                self._on_readiness(slot, slot.readiness.status)

    async def roll_back(self, name: str, to: int | None, by: str) -> int:
        """Let an older version serve again, None the one before, and return its number.

        Raises:
            ConfigError: there is no such slot or version.
        """
        slot = self._slots.get(name)
        if slot is None:
            known = ", ".join(self._slots) or "none"
            raise ConfigError(f"there is no slot {name!r}: the strategy has {known}")
        if slot.deployed:
            raise ConfigError(f"slot {name!r} serves {slot.deployed}, which has no versions")
        if to is not None and to == slot.version:
            raise ConfigError(f"slot {name!r} serves version {to} already")
        if slot.previous is not None and to in {None, slot.previous.version}:
            slot.rollback(by)
        elif self._keeper is not None:
            await self._keeper.roll_back(slot, to, by)
        else:
            raise ConfigError(f"slot {name!r} has no version to roll back to")
        return slot.version

    async def run(self) -> None:
        """Mark each model stale at its time, until cancelled."""
        self._loop = asyncio.get_running_loop()
        while True:
            now = self._clock.now()
            for slot in self._slots.values():
                slot.expire(now)
            ready = [slot for slot in self._slots.values() if slot.readiness.is_ready]
            wakes = [wake for slot in ready if (wake := slot.stale_at) is not None]
            with anyio.CancelScope() as self._nap:
                await (self._clock.sleep_until(min(wakes)) if wakes else anyio.sleep_forever())

    async def close(self) -> None:
        """Finish what is being stored, in bounded time."""
        if self._keeper is not None:
            await self._keeper.close()

    def _rolled_back(self, slot: ModelSlot, older: Published, newer: Published, by: str) -> None:
        fields: dict[str, object] = {
            "slot": slot.name,
            "version": older.version,
            "instead_of": newer.version,
            "by": by,
        }
        self._tell("warning", "model rolled back", fields)
        slot.expire(self._clock.now())
        if self._keeper is not None:
            self._keeper.rolled_back(slot, older, by)

    def _hear(self, slot: ModelSlot, status: ReadinessStatus) -> None:
        self._on_readiness(slot, status)
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has closed: nothing ages any more
                self._loop.call_soon_threadsafe(self._look_again)

    def _look_again(self) -> None:
        if self._nap is not None:
            self._nap.cancel()
