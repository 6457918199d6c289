"""One guard before every route: whom a request may name, where it may come from, how large it is.

A page that a browser shows elsewhere can make it send requests here. So the Host must be one of
ours, whole, which no rebound name is; an Origin, which a browser adds by itself, must be our own;
over TCP a token must be shown, which no page elsewhere has.
"""

import hmac
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

from runtime.control.api.problems import problem

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MOST_BYTES = 16_384
"""Of a body: requests here are a few words."""


class TooLarge(Exception):
    """A body went past MOST_BYTES."""


class Guard:
    """Wraps an application.

    Args:
        app: what answers who may pass.
        hosts: the Host values that are ours, with their port; compared whole.
        token: must be shown as "Authorization: Bearer TOKEN"; None where the socket's own
            permissions say who may ask.
        open_paths: paths that need no token: they tell nothing and do nothing.
        open_folder: what is under it, too: the page itself, the same for every run.
    """

    def __init__(
        self,
        app: App,
        hosts: Collection[str],
        token: str | None,
        open_paths: Collection[str] = ("/healthz", "/readyz"),
        open_folder: str = "/assets/",
    ) -> None:
        self._app = app
        self._hosts = {host.lower() for host in hosts}
        self._token = token
        self._open = frozenset((*open_paths, "/"))
        self._open_folder = open_folder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer for the application, or let it answer."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        refused = self._objection(scope)
        if refused is not None:
            await self._refuse(scope, receive, send, *refused)
            return
        started = False

        async def sent(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, _bounded(receive), sent)
        except TooLarge:
            if not started:
                what = f"the body has more than {MOST_BYTES} bytes"
                await self._refuse(scope, receive, send, 413, what)

    def _objection(self, scope: Scope) -> tuple[int, str] | None:
        headers = _headers(scope)
        hosts = headers.get("host", [])
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return 421, "the Host is none of this server's"
        origins = headers.get("origin", [])
        allowed = {f"http://{host}" for host in self._hosts}
        if any(origin.lower() not in allowed for origin in origins):
            return 403, "requests from other pages are refused"
        if self._token is not None and not self._is_open(scope["path"]):
            shown = headers.get("authorization", [])
            expected = f"Bearer {self._token}".encode()
            if len(shown) != 1 or not hmac.compare_digest(shown[0].encode(), expected):
                return 401, "a token is needed: Authorization: Bearer TOKEN"
        lengths = headers.get("content-length", [])
        if lengths and not (lengths[0].isdecimal() and int(lengths[0]) <= MOST_BYTES):
            return 413, f"the body has more than {MOST_BYTES} bytes"
        return None

    def _is_open(self, path: str) -> bool:
        return path in self._open or path.startswith(self._open_folder)

    async def _refuse(
        self, scope: Scope, receive: Receive, send: Send, status: int, what: str
    ) -> None:
        if scope["type"] == "websocket":  # there are none here: whoever asks is sent away
            await send({"type": "websocket.close", "code": 1008, "reason": what})
            return
        response = problem(status, what)
        if status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        await response(scope, receive, send)


def _headers(scope: Scope) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in scope.get("headers", []):
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


def _bounded(receive: Receive) -> Receive:
    read = 0

    async def bounded() -> Message:
        nonlocal read
        message = await receive()
        if message["type"] == "http.request":
            read += len(message.get("body", b""))
            if read > MOST_BYTES:
                raise TooLarge
        return message

    return bounded
