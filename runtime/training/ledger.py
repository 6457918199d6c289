"""The quota's memory: what a killed run has been billed is on the disk before anybody is told.

The bucket's state is written whole after each change, by a thread of its own, newest first; who
wants to tell a minute waits for it, for a bounded time. Kept with it is the latest time the bucket
has seen, so that a clock set back while nobody runs does not let the same hours refill twice.
"""

from collections.abc import Callable
from pathlib import Path

import anyio
import msgspec

from runtime.disk import DiskThread, write_whole
from runtime.training.bucket import BucketState

FILE = "quota.json"
PATIENCE_SECONDS = 1.0


class QuotaRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is stored: the bucket, the latest time it has seen (ns UTC), its capacity then."""

    available: int
    next_refill: int
    clock: int
    capacity: int

    @property
    def bucket(self) -> BucketState:
        """The bucket's own part."""
        return BucketState(self.available, self.next_refill)


def read_record(folder: Path) -> QuotaRecord | None:
    """Return what is stored, or None where nothing is; blocks on the disk.

    Raises:
        ValueError: it cannot be read, in one sentence.
    """
    path = folder / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=QuotaRecord)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read ({error})") from None


class Ledger:
    """Keeps the record of one bucket on the disk.

    Args:
        folder: where.
        record: takes the record as it is now; called in the disk's thread.
        on_trouble: told once that writing fails, with the reason, and once with "" that it works
            again; called in the disk's thread.
    """

    def __init__(
        self, folder: Path, record: Callable[[], QuotaRecord], on_trouble: Callable[[str], None]
    ) -> None:
        self._folder = folder
        self._record = record
        self._on_trouble = on_trouble
        self._trouble = ""
        self._disk = DiskThread("quota-ledger")
        self._is_waiting = False  # a write is queued that has not looked at the bucket yet

    def touch(self) -> None:
        """Have the record written as it is now, or newer; from any thread, without waiting."""
        if not self._is_waiting:
            self._is_waiting = True
            self._disk.put(self._write)

    async def settled(self) -> None:
        """Return when all that was touched is written, or after a second: a disk may hang."""
        with anyio.move_on_after(PATIENCE_SECONDS, shield=True):
            await self._disk.run(lambda: None)

    async def close(self) -> None:
        """Write once more and end."""
        self.touch()
        await self.settled()
        self._disk.close()

    def _write(self) -> None:
        self._is_waiting = False  # before the look: a change in between is written once more
        record = self._record()
        try:
            write_whole(self._folder / FILE, msgspec.json.encode(record))
            trouble = ""
        except OSError as error:
            trouble = error.strerror or str(error)
        if trouble != self._trouble:
            self._trouble = trouble
            self._on_trouble(trouble)
