"""A venue on this machine: plays a tape or a market over real WebSockets in a venue's own dialogue.

It goes on whether anybody listens or not, so what a client misses is missed; a venue's history over
HTTP has it.
"""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from ssl import SSLContext
from typing import Any, Self

import anyio
import msgspec
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from feeds.session import END_OF_TAPE
from tests.venues.dialogues import DIALOGUES, Dialogue
from tests.venues.tape import Tape


class VenueServer:
    """One venue: `speak` makes the dialogue of a connection, `frames` is what goes on.

    Attributes:
        heard: what clients said, in order.
        connections: how many there have been.
        paths: what each of them asked for.
        questions: how many came over HTTP.
        history_fails: whether the next question over HTTP is answered with 500.
    """

    def __init__(self, speak: Callable[[], Dialogue], frames: Iterator[Any]) -> None:
        self.heard: list[Any] = []
        self.connections = 0
        self.paths: list[str] = []
        self.questions = 0
        self.history_fails: Callable[[], bool] = lambda: False
        self.port = 0
        self._speak = speak
        self._clients: dict[ServerConnection, Dialogue] = {}
        self._subscribed = anyio.Event()
        self._frames = frames

    @asynccontextmanager
    async def listening(self, tls: SSLContext | None = None) -> AsyncIterator[Self]:
        async with serve(
            self._talk,
            "127.0.0.1",
            0,
            process_request=self._answer,
            compression=None,
            ssl=tls,
            ping_interval=None,
            close_timeout=0.2,
        ) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield self

    @property
    def subscribed(self) -> list[ServerConnection]:
        """The clients that have said something."""
        return list(self._clients)

    async def send(self, client: ServerConnection, text: str | bytes) -> None:
        """Send a client something out of its dialogue."""
        await _send(client, text)

    @property
    def dialogues(self) -> list[Dialogue]:
        """Those of the clients that are subscribed."""
        return list(self._clients.values())

    async def until_subscribed(self) -> None:
        await self._subscribed.wait()

    async def play(self, pace: int = 5, *, until: Callable[[], bool] = lambda: False) -> None:
        """Play on to the tape's end, or until something has happened.

        After each `pace` frames everybody else gets a millisecond.
        """
        for count, frame in enumerate(self._frames):
            for client, dialogue in list(self._clients.items()):
                if (told := dialogue.tell(frame)) is not None:
                    await _send(client, told)
            if count % pace == 0:
                await anyio.sleep(0.001)
                if until():
                    return

    async def end(self) -> None:
        """Say that there is nothing more."""
        for client in list(self._clients):
            await client.close(1000, END_OF_TAPE)

    async def _talk(self, client: ServerConnection) -> None:
        self.connections += 1
        assert client.request is not None
        self.paths.append(client.request.path)
        dialogue = self._speak()
        try:
            for words in dialogue.greeting:
                await client.send(words)
            async for text in client:
                said = _read(text)
                self.heard.append(said)
                for answer in dialogue.hear(said):
                    await client.send(answer)
                self._clients[client] = dialogue
                self._subscribed.set()
        except ConnectionClosed:
            pass
        finally:
            self._clients.pop(client, None)

    async def _answer(self, client: ServerConnection, request: Request) -> Response | None:
        """Answer what is no WebSocket."""
        if "Upgrade" in request.headers:
            return None
        self.questions += 1
        if self.history_fails():
            return Response(
                500, "Broken", Headers({"Content-Length": "0", "Connection": "close"}), b""
            )
        answer = self._speak().answer(request.path)
        body = json.dumps(answer).encode()
        headers = Headers({"Content-Length": str(len(body)), "Connection": "close"})
        return Response(200, "OK", headers, body)


class CaptureServer(VenueServer):
    """A venue that plays a capture."""

    def __init__(self, venue: str, tape: Tape) -> None:
        super().__init__(lambda: DIALOGUES[venue](tape), tape.play())
        self.tape = tape


def _read(said: str | bytes) -> Any:
    """Read JSON, msgpack, or a word."""
    if isinstance(said, bytes):
        return msgspec.msgpack.decode(said)
    return json.loads(said) if said.startswith("{") else said


async def _send(client: ServerConnection, text: str | bytes) -> None:
    try:
        with anyio.move_on_after(0.5):  # one that reads nothing does not hold up the others
            await client.send(text)
    except ConnectionClosed:
        pass
