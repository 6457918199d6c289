"""A venue on this machine: plays a tape over real WebSockets in the venue's own dialogue.

The tape goes on whether anybody listens or not, so what a client misses is missed; Coinbase's
history over HTTP has it.
"""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from feeds.session import END_OF_TAPE
from tests.venues.dialogues import DIALOGUES, Dialogue
from tests.venues.tape import Tape


class CaptureServer:
    """One venue.

    Attributes:
        heard: what clients said, in order.
        connections: how many there have been.
        questions: how many came over HTTP.
        history_fails: whether the next question over HTTP is answered with 500.
    """

    def __init__(self, venue: str, tape: Tape) -> None:
        self.tape = tape
        self.heard: list[Any] = []
        self.connections = 0
        self.questions = 0
        self.history_fails: Callable[[], bool] = lambda: False
        self.port = 0
        self._venue = venue
        self._clients: dict[ServerConnection, Dialogue] = {}
        self._subscribed = anyio.Event()
        self._frames = tape.play()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["CaptureServer"]:
        async with serve(
            self._talk,
            "127.0.0.1",
            0,
            process_request=self._answer,
            compression=None,
            ping_interval=None,
            close_timeout=0.2,
        ) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield self

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
            text = json.dumps(frame)
            for client, dialogue in list(self._clients.items()):
                if dialogue.wants(frame):
                    await _send(client, text)
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
        dialogue = DIALOGUES[self._venue](self.tape)
        try:
            async for text in client:
                said = json.loads(text)
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
        answer = DIALOGUES[self._venue](self.tape).answer(request.path)
        body = json.dumps(answer).encode()
        headers = Headers({"Content-Length": str(len(body)), "Connection": "close"})
        return Response(200, "OK", headers, body)


async def _send(client: ServerConnection, text: str) -> None:
    try:
        with anyio.move_on_after(0.5):  # one that reads nothing does not hold up the others
            await client.send(text)
    except ConnectionClosed:
        pass
