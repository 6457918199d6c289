"""A proxy that is the network on a bad day: seeded, one fault after another on each connection.

It sits before a WebSocket server and knows where the server's frames begin and end, so that it can
cut within one, repeat one, or send them in another order. What it did is in `done`.
"""

import asyncio
import struct
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from enum import StrEnum
from random import Random

CODES = (*range(1000, 1016), 3000, 4999)
STATUSES = (
    "429 Too Many Requests\r\nRetry-After: 0",
    "418 I'm a teapot\r\nRetry-After: 1",
    "503 Service Unavailable",
    "502 Bad Gateway",
)


class Fault(StrEnum):
    """What happens to a connection after some frames, or at its start."""

    CUT = "cut within a frame"
    RESET = "reset"
    SWALLOW = "half-open: bytes vanish"
    STALL = "a pause"
    DRIP = "one byte at a time"
    SPLIT = "frames in pieces"
    MERGE = "frames in lumps"
    DUPLICATE = "a frame twice"
    REORDER = "two frames swapped"
    LOSE = "a frame lost"
    RUBBISH = "bytes that are no frame"
    NONSENSE = "a frame of no sense"
    CLOSE = "a closing code"
    REFUSE = "closed at once"
    STATUS = "an HTTP status in place of the upgrade"
    BABBLE = "no HTTP at all"


AT_ONCE = frozenset({Fault.REFUSE, Fault.STATUS, Fault.BABBLE})


class FaultProxy:
    """Plays faults between clients and the server at `upstream`, until it is `calm`."""

    def __init__(self, upstream: int, seed: int, faults: Sequence[Fault] = tuple(Fault)) -> None:
        self.calm = False
        self.done: Counter[Fault] = Counter()
        self._upstream, self._random, self._faults = upstream, Random(seed), faults
        self._within = [fault for fault in faults if fault not in AT_ONCE]
        self.port = 0
        self.open: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["FaultProxy"]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fault = None if self.calm else self._random.choice(self._faults)
        self.open.add(writer)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                if fault in AT_ONCE:
                    await self._turn_away(fault, reader, writer)
                else:
                    await self._carry(fault, reader, writer)
        finally:
            self.open.discard(writer)
            writer.transport.abort()

    async def _turn_away(
        self, fault: Fault, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.done[fault] += 1
        if fault is Fault.REFUSE:
            return
        await reader.readuntil(b"\r\n\r\n")
        status = f"HTTP/1.1 {self._random.choice(STATUSES)}\r\nContent-Length: 0\r\n\r\n"
        writer.write(status.encode() if fault is Fault.STATUS else self._random.randbytes(64))
        await writer.drain()
        await reader.read()

    async def _carry(
        self, fault: Fault | None, client: asyncio.StreamReader, back: asyncio.StreamWriter
    ) -> None:
        server, up = await asyncio.open_connection("127.0.0.1", self._upstream)
        try:
            ways = [
                asyncio.create_task(self._upward(client, up)),
                asyncio.create_task(self._downward(fault, server, back)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        finally:
            up.transport.abort()

    async def _upward(self, client: asyncio.StreamReader, up: asyncio.StreamWriter) -> None:
        while data := await client.read(65536):
            up.write(data)
            await up.drain()

    async def _downward(
        self, fault: Fault | None, server: asyncio.StreamReader, back: asyncio.StreamWriter
    ) -> None:
        """Pass on the handshake and some frames, then do the deed, then pass on the rest."""
        back.write(await server.readuntil(b"\r\n\r\n"))
        after = self._peace()
        held: list[bytes] = []
        while True:
            frame = await _frame(server)
            if fault is None and not self.calm:
                fault, after = self._random.choice(self._within), self._peace()
            if fault is None or after:
                after = max(0, after - 1)
                back.write(frame)
            else:
                again = await self._do(fault, frame, held, server, back)
                if not again:  # it lives on, to meet another
                    after, held = self._peace(), []
                    fault = None if self.calm else self._random.choice(self._within)
            await back.drain()

    def _peace(self) -> int:
        """How many frames pass before the next fault; now and then enough to be renewed before."""
        return self._random.randrange(40 if self._random.random() < 0.85 else 1_500)

    async def _do(
        self,
        fault: Fault,
        frame: bytes,
        held: list[bytes],
        server: asyncio.StreamReader,
        back: asyncio.StreamWriter,
    ) -> bool:
        """Do it to this frame; whether it goes on with the next."""
        draw = self._random
        if not held:
            self.done[fault] += 1
        match fault:
            case Fault.CUT:
                back.write(frame[: draw.randrange(len(frame))])
                await back.drain()
                back.close()
                raise ConnectionError
            case Fault.RESET:
                raise ConnectionError
            case Fault.SWALLOW:
                while await server.read(65536):
                    pass
            case Fault.STALL:
                await asyncio.sleep(0.02)
                back.write(frame)
            case Fault.DRIP:
                for byte in frame:
                    back.write(bytes([byte]))
                    await back.drain()
                    await asyncio.sleep(0.05)
            case Fault.SPLIT:
                cut = draw.randrange(len(frame))
                back.write(frame[:cut])
                await back.drain()
                await asyncio.sleep(0)
                back.write(frame[cut:])
            case Fault.MERGE:
                held.append(frame)
                if len(held) < 5:
                    return True
                back.write(b"".join(held))
            case Fault.DUPLICATE:
                back.write(frame + frame)
            case Fault.REORDER:
                held.append(frame)
                if len(held) < 2:
                    return True
                back.write(b"".join(reversed(held)))
            case Fault.LOSE:
                pass
            case Fault.RUBBISH:
                back.write(draw.randbytes(draw.randint(1, 200)))
            case Fault.NONSENSE:
                text = draw.choice([b"null", b"{", b'{"type":"match"}', b"\xc3\xa9", b"[]", b'"x"'])
                back.write(bytes([0x81, len(text)]) + text + frame)
            case Fault.CLOSE:
                back.write(frame + bytes([0x88, 2]) + struct.pack(">H", draw.choice(CODES)))
                await back.drain()
                await asyncio.sleep(0.02)
                raise ConnectionError
        return False


async def _frame(server: asyncio.StreamReader) -> bytes:
    """Read one frame of the server's, which are not masked."""
    head = await server.readexactly(2)
    size = head[1] & 127
    if size > 125:
        more = await server.readexactly(2 if size == 126 else 8)
        head += more
        size = int.from_bytes(more, "big")
    return head + await server.readexactly(size)
