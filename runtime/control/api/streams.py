"""What many readers hear is looked for once, and made into bytes once, however many they are."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from runtime.control.board import Board, Line
from runtime.redaction import KNOWN

PACE_SECONDS = 0.25
"""Between two looks at the board."""
MOST_LINES = 1_000


class Streams:
    """Server-sent events of one run; each stream is for one reader.

    Args:
        board: what is heard of.
        whole: what a status event holds.
    """

    def __init__(self, board: Board, whole: Callable[[], dict[str, Any]]) -> None:
        self._board, self._whole = board, whole
        self._changed = asyncio.Event()
        self._readers = 0
        self._looking: asyncio.Task[None] | None = None
        self._made: tuple[int, bytes] = (0, b"")
        self._lines: dict[int, bytes] = {}

    async def statuses(self) -> AsyncIterator[bytes]:
        """Yield each snapshot as an event, beginning with the one that is there."""
        told = 0
        with _Reader(self):
            while True:
                changed = self._changed
                snapshot = self._board.snapshot
                if snapshot is not None and snapshot.time != told:
                    told = snapshot.time
                    yield self._status(told)
                await changed.wait()

    async def lines(
        self, most: int, choose: Callable[[list[Line]], list[Line]]
    ) -> AsyncIterator[bytes]:
        """Yield the newest lines that are chosen, `most` of them, and then each that comes."""
        with _Reader(self):
            found, _ = self._board.lines(0, self._board.newest)
            after = found[-1].number if found else self._board.newest
            if before := choose(found)[-most:] if most else []:
                yield b"".join(
                    map(self._line, before)
                )  # at once: one write, one reader to wait for
            while True:
                changed = self._changed
                found, missing = self._board.lines(after, MOST_LINES)
                if missing:
                    yield event("dropped", encode({"count": missing}))
                if chosen := choose(found):
                    yield b"".join(map(self._line, chosen))
                if found:
                    after = found[-1].number
                if len(found) < MOST_LINES:
                    await changed.wait()

    def _status(self, time: int) -> bytes:
        if self._made[0] != time:
            snapshot = self._board.snapshot
            whole = {**self._whole(), "orders": () if snapshot is None else snapshot.orders}
            self._made = time, event("status", encode(whole))
        return self._made[1]

    def _line(self, line: Line) -> bytes:
        """Return one line as an event; of the newest ones it is kept for other readers."""
        made = self._lines.get(line.number)
        if made is None:
            made = event("line", encode(line), line.number)
            if line.number > self._board.newest - MOST_LINES:
                self._lines[line.number] = made
                if len(self._lines) > 2 * MOST_LINES:
                    self._lines.clear()
        return made

    # ---- one look for all --------------------------------------------------------------------

    def _enter(self) -> None:
        self._readers += 1
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._look())

    def _leave(self) -> None:
        self._readers -= 1
        if not self._readers and self._looking is not None:
            self._looking.cancel()
            self._looking = None
            self._lines.clear()

    async def _look(self) -> None:
        """Wake all readers when there is something new; ends with the last of them."""
        seen: tuple[object, int] = (None, 0)
        while True:
            await asyncio.sleep(PACE_SECONDS)
            now = self._board.snapshot, self._board.newest
            if now != seen:
                seen = now
                changed, self._changed = self._changed, asyncio.Event()
                changed.set()


class _Reader:
    """Counts one reader, however its stream ends."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    def __enter__(self) -> None:
        self._streams._enter()

    def __exit__(self, *_: object) -> None:
        self._streams._leave()


def encode(value: object) -> bytes:
    """Return JSON without secrets."""
    return KNOWN.hide_bytes(msgspec.json.encode(value, enc_hook=str))


def event(name: str, data: bytes, number: int | None = None) -> bytes:
    """Return one server-sent event; JSON has no newline of its own."""
    head = b"" if number is None else b"id: %d\r\n" % number
    return b"%sevent: %s\r\ndata: %s\r\n\r\n" % (head, name.encode(), data)
