"""Write down what live connections hear and say, and the events that come of it.

Captures are made where the protocol is called, so that a frame is on record before anything is made
of it. Lines and rows wait in memory and are written in turns by a worker thread; the loop never
waits for a disk. A recording that is cut off is readable up to its last turn.
"""

import gzip
import zlib
from collections.abc import Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, cast

import anyio
import msgspec
from anyio import to_thread

from feeds.base import Subscription
from feeds.continuity import Continuity
from feeds.errors import ConfigError, FeedError
from feeds.events import Event
from feeds.files.recording import LineWriter, Recorded
from feeds.files.table_writer import TableWriter
from feeds.protocols.base import Options, VenueProtocol, VenueSpec

TURN_SECONDS = 1.0


class Recorder:
    """Records one feed into a folder: `captures` as they came, and `tables` of the events.

    Args:
        folder: is made; it must not hold a recording already.
        spec: the venue.
        url: where it is reached, for the record.
        rest_url: the same for HTTP.
        tables: whether Parquet tables are written as well.

    Raises:
        ConfigError: the folder cannot be made, or holds a recording; or tables need pyarrow.
    """

    def __init__(
        self, folder: Path, spec: VenueSpec, url: str, rest_url: str | None, *, tables: bool
    ) -> None:
        self.lines = self.rows = 0
        self._spec, self._url, self._rest_url = spec, url, rest_url
        self._captures = folder / "captures"
        try:
            self._captures.mkdir(parents=True, exist_ok=True)
            if any(self._captures.iterdir()):
                raise ConfigError(f"{self._captures} is not empty: name another folder with --out")
        except OSError as error:
            raise ConfigError(f"{folder} cannot be written: {error.strerror}") from None
        self._numbers = count(1)
        self._pending: dict[Path, list[str]] = {}
        self._events: list[Event] = []
        self._tables = TableWriter(folder / "tables") if tables else None

    @property
    def spec(self) -> VenueSpec:
        """The venue, each of whose protocols is recorded."""
        return msgspec.structs.replace(self._spec, make=self._make)

    async def deliver(self, events: Sequence[Event]) -> None:
        """Take a batch of the feed for the tables."""
        self._events += events

    async def run(self) -> None:
        """Write in turns until cancelled, and then what is left.

        Raises:
            FeedError: the disk does not take it.
        """
        try:
            while True:
                await anyio.sleep(TURN_SECONDS)
                await self._turn()
        finally:
            with anyio.CancelScope(shield=True):
                await self._turn()
                if self._tables is not None:
                    await to_thread.run_sync(self._tables.close)

    async def _turn(self) -> None:
        pending, self._pending = self._pending, {}
        events, self._events = self._events, []
        await to_thread.run_sync(self._write, pending, events)

    def _write(self, pending: dict[Path, list[str]], events: list[Event]) -> None:
        """Append a gzip member to each capture, and rows to the tables; on a worker thread."""
        try:
            for path, lines in pending.items():
                with gzip.open(path, "ab", compresslevel=zlib.Z_BEST_SPEED) as file:
                    file.write("".join(f"{line}\n" for line in lines).encode())
                self.lines += len(lines)
            if self._tables is not None:
                self.rows += self._tables.write(events)
        except OSError as error:
            raise FeedError(f"the recording cannot be written: {error.strerror}") from None

    def _make(
        self, subscriptions: Sequence[Subscription], options: Options, continuity: Continuity
    ) -> VenueProtocol:
        protocol = self._spec.make(subscriptions, options, continuity)
        path = self._captures / f"{self._spec.name}.capture.{next(self._numbers)}.gz"
        writer = LineWriter(self._url, self._rest_url, (options.key, options.secret))
        recorded = Recorded(self._spec.name, list(subscriptions), options.book, options.bars)
        note = partial(self._note, path)
        note(writer.head(recorded))
        return cast("VenueProtocol", _Recorded(protocol, writer, note))

    def _note(self, path: Path, line: str) -> None:
        self._pending.setdefault(path, []).append(line)


class _Recorded:
    """A protocol that writes down what it is told; all else is the protocol's own."""

    def __init__(self, protocol: VenueProtocol, writer: LineWriter, note: Any) -> None:
        self._protocol, self._writer, self._note = protocol, writer, note
        self._now = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._protocol, name)

    def connected(self, now: int) -> None:
        self._now = now
        self._note(self._writer.connected(now))
        self._protocol.connected(now)

    def receive(self, data: bytes | str, received: int) -> list[Event]:
        self._now = received
        self._note(self._writer.received(data, received))
        return self._protocol.receive(data, received)

    def http_response(self, tag: str, status: int, body: bytes, received: int) -> list[Event]:
        self._now = received
        self._note(self._writer.answered(tag, status, body, received))
        return self._protocol.http_response(tag, status, body, received)

    def data_to_send(self) -> list[bytes | str]:
        outgoing = self._protocol.data_to_send()
        for frame in outgoing:
            self._note(self._writer.sent(frame, self._now))
        return outgoing
