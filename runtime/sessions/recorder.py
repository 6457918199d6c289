"""Writes a session in a thread of its own; the loop hands over references and goes on.

Nothing is encoded on the loop. Many times a second the thread takes what has come, so that little
is lost to a kill. What a disk is too slow for is not heaped up without end: the recording ends
there, which is told.
"""

import itertools
import math
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import msgspec

from runtime.disk import DiskThread, sync_folder, write_whole
from runtime.results import Journal
from runtime.sessions.file import EVENTS, HEAD, chunk_of
from runtime.sessions.words import ATTRIBUTES, Assigned, Ended, Head, SlotStood, out_of, told
from runtime.trading.orders import OrderUpdate
from runtime.training.formats import Encoded, Format, Part, Unstorable, encode
from runtime.training.isolation.base import JobResult
from runtime.training.plain import NotPlain, encode_plain
from runtime.training.slots import ModelSlot, Published
from runtime.training.store import ModelStore

Tell = Callable[[str, str, dict[str, object]], None]
PERIOD_SECONDS = 0.05
MOST_WAITING = 200_000
"""Entries that wait for the disk; more, and the recording has ended."""
BATCH = 200
"""Entries of one chunk: so short a time the thread keeps the interpreter from the loop."""
PATIENCE_SECONDS = 5.0
KEEP_ALL = 1 << 40


class Step(NamedTuple):
    """A call of the engine as the loop saw it: nothing is copied."""

    make: Callable[..., Any]
    now: int
    events: Sequence[object] | None
    closing: bool
    commands: Sequence[Any]
    raised: str


class Slot(NamedTuple):
    """How a slot stands, with the bundle that the entry speaks of."""

    entry: SlotStood
    slot: ModelSlot
    bundles: tuple[Published, ...]


class Rebound(NamedTuple):
    """What jobs in threads have assigned, and the names of what they removed."""

    values: Mapping[str, object]
    removed: Sequence[str]


class Statistics(NamedTuple):
    """A snapshot: entries and bytes written, and the digest of all reports so far."""

    entries: int
    bytes: int
    orders_sha256: str
    trouble: str


class SessionRecorder:
    """One recording; every method but `made` and `close` returns at once.

    Args:
        folder: of the recording, which must be new.
        head: what the session is.
        tell: writes to the log, from any thread.

    Raises:
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path, head: Head, tell: Tell) -> None:
        folder.mkdir(parents=True, mode=0o700)
        write_whole(folder / HEAD, msgspec.json.format(msgspec.json.encode(head), indent=1))
        self.folder = folder
        self._file = os.open(
            folder / EVENTS, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
        )
        sync_folder(folder)
        self._store = ModelStore.open(folder, KEEP_ALL)
        self._disk = DiskThread("session-models")
        self._tell = tell
        self._waiting: deque[Any] = deque()
        self._stored: set[tuple[str, int]] = set()
        self._journal = Journal()
        self._entries = self._bytes = 0
        self._numbers = itertools.count(1)
        self._trouble = self._reason = ""
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="session-recorder", daemon=True)
        self._thread.start()

    def statistics(self) -> Statistics:
        """Return the counters so far."""
        return Statistics(self._entries, self._bytes, self._journal.orders_sha256, self._trouble)

    def add(self, entry: object) -> None:
        """Take an entry, or a Step or Slot that becomes one."""
        if not self._trouble:
            self._waiting.append(entry)
            if len(self._waiting) > MOST_WAITING:
                self._give_up(f"{MOST_WAITING:,} entries wait for the disk")

    # ---- training ----------------------------------------------------------------------------

    async def made(self, slot: ModelSlot, bundle: Published, result: JobResult) -> None:
        """Store a model before it serves; a disk that hangs is not waited for."""
        with anyio.move_on_after(PATIENCE_SECONDS):
            await self._disk.run(partial(self._keep, slot, bundle, result.encoded))

    async def assigned(self, result: JobResult) -> int:
        """Store what a job has assigned, before it is true, and return where; 0 for nothing."""
        if not result.assigned:
            return 0
        number = next(self._numbers)
        with anyio.move_on_after(PATIENCE_SECONDS):
            await self._disk.run(partial(self._keep_assigned, number, result.assigned))
        return number

    def committed(self, number: int, removed: Sequence[str]) -> None:
        """Note that they are true now."""
        if number or removed:
            self.add(Assigned(number, list(removed)))

    # ---- the end -----------------------------------------------------------------------------

    async def close(self, reason: str) -> Statistics:
        """Write what is left, for a bounded time, and return what there is."""
        self._reason = reason
        self._closing.set()
        with anyio.move_on_after(PATIENCE_SECONDS, shield=True):
            await self._disk.run(self._thread.join)
        self._disk.close()
        return self.statistics()

    # ---- in the threads ----------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing.wait(PERIOD_SECONDS):
            self._write()
        self._write()
        if not self._trouble:
            self._put([Ended(self._journal.orders_sha256, self._reason)])
            os.fsync(self._file)
        os.close(self._file)

    def _write(self) -> None:
        while self._waiting and not self._trouble:
            taken = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            self._put([self._entry(each) for each in taken])
        if self._trouble:  # here alone something is taken away: the loop only adds
            self._waiting.clear()

    def _put(self, entries: list[Any]) -> None:
        try:
            chunk = chunk_of(entries)
            written = 0
            while written < len(chunk):
                written += os.write(self._file, chunk[written:])
        except OSError as error:
            self._give_up(error.strerror or str(error))
            return
        self._entries += len(entries)
        self._bytes += len(chunk)

    def _entry(self, what: Any) -> Any:
        if isinstance(what, Slot):
            for bundle in what.bundles:
                self._keep(what.slot, bundle, None)
            return what.entry
        if isinstance(what, Rebound):
            return self._rebound(what)
        if not isinstance(what, Step):
            return what
        out = out_of(what.commands)
        if what.events is None:
            return what.make(what.now, out, what.raised)
        self._journal.reported([e for e in what.events if isinstance(e, OrderUpdate)])
        return _Stepped(what.now, what.closing, told(what.events), out, what.raised)

    def _give_up(self, why: str) -> None:
        self._trouble = why
        self._tell("error", "the recording has ended, the run goes on", {"text": why})

    def _keep(self, slot: ModelSlot, bundle: Published, encoded: Encoded | None) -> None:
        """Store a model, unless it is there; a pickle where it has no safe format, signed by us."""
        known = (slot.name, bundle.version)
        if known in self._stored:
            return
        self._stored.add(known)
        try:
            encoded = encoded or encode(
                bundle.model, bundle.extras, "pickle", has_build=slot.has_build
            )
        except Unstorable as error:
            about = {"slot": slot.name, "version": bundle.version, "text": str(error)}
            self._tell("warning", "a model is not in the recording: a replay ends there", about)
            return
        self._save(slot.name, bundle, encoded)

    def _rebound(self, what: Rebound) -> Assigned:
        plain: dict[str, bytes] = {}
        others: dict[str, object] = {}
        for name, value in what.values.items():
            try:
                plain[name] = encode_plain(value)
            except NotPlain:
                others[name] = value
        number = 0
        if others:
            number = next(self._numbers)
            self._keep_assigned(number, others)
        return Assigned(number, list(what.removed), plain)

    def _keep_assigned(self, number: int, values: Mapping[str, Any]) -> None:
        try:
            nothing = Part(Format.PLAIN, encode_plain(None), "builtins:NoneType")
            encoded = Encoded(nothing, encode(None, values, "pickle").extras)
        except Unstorable as error:
            text = "attributes are not in the recording: a replay ends there"
            self._tell("warning", text, {"text": str(error)})
            return
        self._save(ATTRIBUTES, Published(model=None, version=number, trained_at=0, job=""), encoded)

    def _save(self, slot: str, bundle: Published, encoded: Encoded) -> None:
        manifest = {
            "slot": slot,
            "version": bundle.version,
            "trained_at": bundle.trained_at,
            "data_until": bundle.data_until,
            "job": bundle.job,
            "name": bundle.name,
            "metrics": {key: v for key, v in bundle.metrics.items() if math.isfinite(v)},
        }
        try:
            self._store.save(manifest, encoded)
        except (OSError, msgspec.MsgspecError) as error:
            about: dict[str, object] = {"slot": slot, "text": str(error)}
            self._tell("warning", "a model is not in the recording: a replay ends there", about)


class _Stepped(msgspec.Struct, frozen=True, tag="step"):
    """`words.Stepped` with the events themselves."""

    now: int
    closing: bool
    events: list[tuple[int, Any]]
    out: list[Any]
    raised: str
