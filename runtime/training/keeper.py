"""Keeps the models of a run beyond it: stores what is about to serve, brings back what has served.

Everything that touches the disk, or decodes, happens in one thread of its own, in order. A version
is stored before it serves, so whatever has served is there after a restart; where it cannot be, it
serves all the same and the log says so.
"""

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from functools import partial

import anyio
import msgspec

from runtime.disk import DiskThread
from runtime.errors import ConfigError
from runtime.training.formats import Encoded, Format, Unreadable, decode
from runtime.training.isolation.base import JobResult
from runtime.training.slots import ModelSlot, Published
from runtime.training.store import Manifest, ModelStore, SlotVersions, folder_name

Tell = Callable[[str, str, dict[str, object]], None]
"""(level, event, fields) -> a line of the log; from any thread."""

PATIENCE_SECONDS = 5.0


class ModelKeeper:
    """The stored versions of the slots of one run.

    Args:
        store: where.
        disk: does what touches it, in order; the keeper ends it.
        catalog: what is there.
        now: engine time, ns UTC.
        tell: writes to the log.
    """

    def __init__(
        self,
        store: ModelStore,
        disk: DiskThread,
        catalog: Mapping[str, SlotVersions],
        now: Callable[[], int],
        tell: Tell,
    ) -> None:
        self._store = store
        self._now = now
        self._tell = tell
        self._disk = disk
        self._known = catalog
        self._memory_only: dict[str, str] = {}

    def adopt(self, slot: ModelSlot) -> None:
        """Have the slot's versions stored, and numbered above what is there."""
        slot.is_stored = True
        if (versions := self._known.get(folder_name(slot.name))) is not None:
            slot.number_above(versions.highest)

    async def restore(self, slot: ModelSlot) -> None:
        """Have the slot ready with its last good version, if there is one."""
        await self._disk.run(partial(self._restore, slot))

    def restore_later(self, slot: ModelSlot) -> None:
        """Do so in the background, for a slot that is made while the run goes on."""
        self._disk.put(partial(self._restore, slot))

    async def store(self, slot: ModelSlot, bundle: Published, result: JobResult) -> None:
        """Store what is about to serve, or say why not; a disk that hangs is not waited for."""
        encoded, why = result.encoded, result.unstorable
        if encoded and slot.storage != "pickle" and Format.PICKLE in encoded.formats.values():
            encoded, why = None, "a pickle was handed back, which the slot does not ask for"
        if encoded is None:
            if self._memory_only.get(slot.name) != why:
                self._memory_only[slot.name] = why
                fields: dict[str, object] = {"slot": slot.name, "text": why}
                self._tell("warning", "model kept in memory only", fields)
            self._disk.put(partial(self._note_number, slot.name, bundle.version))
            return
        with anyio.move_on_after(PATIENCE_SECONDS) as limit:
            await self._disk.run(partial(self._save, slot, bundle, encoded))
        if limit.cancelled_caught:
            fields = {"slot": slot.name, "version": bundle.version}
            self._tell("warning", "model not stored yet: the disk does not answer", fields)

    async def roll_back(self, slot: ModelSlot, to: int | None, by: str) -> None:
        """Let a stored version serve again; None is the one before.

        Raises:
            ConfigError: there is no such version, or it cannot be read.
        """
        bundle = await self._disk.run(partial(self._older, slot, to))
        slot.roll_back_to(bundle, self._now(), by)

    def rolled_back(self, slot: ModelSlot, older: Published, by: str) -> None:
        """Have a restart serve `older` too."""

        def record() -> None:
            try:
                versions = self._store.versions(slot.name)
                self._store.roll_back(versions, older.version, by, self._now())
            except (OSError, ConfigError) as error:
                fields: dict[str, object] = {"slot": slot.name, "text": str(error)}
                self._tell("warning", "rollback not stored: a restart forgets it", fields)
            self._fetch_previous(slot)

        self._disk.put(record)

    async def close(self) -> None:
        """Finish what was begun, for a bounded time."""
        with anyio.move_on_after(PATIENCE_SECONDS, shield=True):
            await self._disk.run(lambda: None)
        self._disk.close()

    # ---- in the disk's thread ----------------------------------------------------------------

    def _restore(self, slot: ModelSlot) -> None:
        began = time.perf_counter()
        versions = self._known.get(folder_name(slot.name))
        for manifest in () if versions is None else versions.serving:
            bundle = self._load(slot, manifest)
            if bundle is None:
                continue
            if slot.restore(bundle, self._now()):
                fields: dict[str, object] = {
                    "slot": slot.name,
                    "version": bundle.version,
                    "age_s": round(bundle.age(self._now()).total_seconds(), 1),
                    "took_ms": round((time.perf_counter() - began) * 1000, 1),
                }
                self._tell("info", "model restored", fields)
                self._disk.put(partial(self._fetch_previous, slot))
            return

    def _fetch_previous(self, slot: ModelSlot) -> None:
        """Have the version before at hand, so that a rollback need not read it first."""
        try:
            versions = self._store.versions(slot.name)
        except OSError:
            return
        for manifest in versions.serving:
            if manifest.version < slot.version and slot.previous is None:
                bundle = self._load(slot, manifest)
                if bundle is not None:
                    slot.keep_previous(bundle)
                    return

    def _load(self, slot: ModelSlot, manifest: Manifest) -> Published | None:
        """Read a version; one that cannot be is told in a sentence and left out."""
        try:
            model, extras = decode(self._store.load(manifest), slot.build)
        except Unreadable as error:
            text = f"version {manifest.version} of {slot.name} {error}: it is left out"
            self._tell("warning", "model file left out", {"text": text})
            return None
        return Published(
            model=model,
            version=manifest.version,
            trained_at=manifest.trained_at,
            job=manifest.job,
            metrics=manifest.metrics,
            name=manifest.name,
            data_until=manifest.data_until,
            extras=extras,
        )

    def _older(self, slot: ModelSlot, to: int | None) -> Published:
        try:
            versions = self._store.versions(slot.name)
        except OSError:
            raise ConfigError(f"slot {slot.name!r} has no stored version") from None
        choice = [found for found in versions.versions if found.version == to]
        if to is None:
            choice = [found for found in versions.serving if found.version < slot.version]
        for manifest in choice:
            bundle = self._load(slot, manifest)
            if bundle is not None:
                return bundle
        wanted = "version to roll back to" if to is None else f"version {to} that can be read"
        raise ConfigError(f"slot {slot.name!r} has no {wanted}")

    def _note_number(self, slot: str, version: int) -> None:
        with contextlib.suppress(OSError):  # the number may be given again, after a restart
            self._store.note_number(slot, version)

    def _save(self, slot: ModelSlot, bundle: Published, encoded: Encoded) -> None:
        began = time.perf_counter()
        manifest = {
            "slot": slot.name,
            "version": bundle.version,
            "trained_at": bundle.trained_at,
            "data_until": bundle.data_until,
            "job": bundle.job,
            "name": bundle.name,
            "metrics": {key: v for key, v in bundle.metrics.items() if math.isfinite(v)},
        }
        fields: dict[str, object] = {"slot": slot.name, "version": bundle.version}
        try:
            stored = self._store.save(manifest, encoded)
        except (OSError, msgspec.MsgspecError) as error:
            fields["text"] = getattr(error, "strerror", None) or str(error)
            self._tell("warning", "model not stored: it serves in this run only", fields)
            return
        fields |= {
            "format": stored.formats[""],
            "bytes": stored.size,
            "took_ms": round((time.perf_counter() - began) * 1000, 1),
        }
        self._tell("info", "model stored", fields)
