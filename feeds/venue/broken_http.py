"""Faults of HTTP, over any ASGI application: slow, refused, and connections cut without a word.

ASGI has no word for cutting a connection, so the transports are remembered by their client's
address: what a fault does to one, no application notices.
"""

import asyncio
from collections.abc import Callable, MutableMapping
from typing import Any

import anyio
import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from feeds.venue.faults import Fault, Faults, What
from feeds.venue.trading_words import INTERNAL, UNAUTHORIZED, Refusal


class Lines:
    """The open connections of a server, by their client's address."""

    def __init__(self) -> None:
        self._transports: dict[Any, asyncio.Transport] = {}
        lines = self._transports

        class Remembered(H11Protocol):
            """uvicorn's protocol, whose transport can be found."""

            def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
                super().connection_made(transport)
                lines[self.client] = transport

            def connection_lost(self, exc: Exception | None) -> None:
                lines.pop(self.client, None)
                super().connection_lost(exc)

        self.protocol = Remembered

    def close(self) -> None:
        """End them all."""
        for transport in list(self._transports.values()):
            transport.abort()

    def cut(self, scope: MutableMapping[str, Any]) -> None:
        """End a connection with a reset."""
        self._find(scope).abort()

    def half_close(self, scope: MutableMapping[str, Any]) -> None:
        """Say that nothing more comes, and go on listening."""
        transport = self._find(scope)
        if transport.can_write_eof():
            transport.write_eof()

    def pause(self, scope: MutableMapping[str, Any]) -> None:
        """Read nothing more."""
        self._find(scope).pause_reading()

    def resume(self, scope: MutableMapping[str, Any]) -> None:
        """Read again."""
        self._find(scope).resume_reading()

    def _find(self, scope: MutableMapping[str, Any]) -> asyncio.Transport:
        client = scope["client"]
        found = self._transports.get(tuple(client) if client else client)
        if found is None or found.is_closing():
            raise ConnectionResetError("the client has gone")
        return found


class FaultyApp:
    """An ASGI application whose requests meet faults; the admin API meets none."""

    def __init__(self, app: ASGIApp, faults: Faults, lines: Lines, now: Callable[[], int]) -> None:
        self._app, self._faults, self._lines, self._now = app, faults, lines, now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"].startswith("/admin"):
            await self._app(scope, receive, send)
            return
        fault = self._faults.on_request(scope["method"], scope["path"], self._now())
        if fault is None:
            await self._app(scope, receive, send)
            return
        await self._break(fault, scope, receive, send)

    async def _break(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        match fault.what:
            case What.LOSE_REQUEST:
                self._lines.cut(scope)
            case What.LOSE_ACK:
                await self._app(scope, receive, _nowhere)
                self._lines.cut(scope)
            case What.SLOW_ACK:
                kept: list[Message] = []

                async def keep(message: Message) -> None:
                    kept.append(message)

                await self._app(scope, receive, keep)
                await anyio.sleep(fault.seconds)
                for message in kept:
                    await send(message)
            case What.DELAY:
                await anyio.sleep(fault.seconds)
                await self._app(scope, receive, send)
            case What.AUTH_EXPIRY:
                await _answer(send, Refusal(401, UNAUTHORIZED, "request is not authorized"))
            case _:
                words = "too many requests" if fault.code == 429 else "internal server error"
                await _answer(send, Refusal(fault.code, INTERNAL, words))


async def _nowhere(message: Message) -> None:
    del message


async def _answer(send: Send, refusal: Refusal) -> None:
    body = msgspec.json.encode(refusal.body)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
