"""What a session needs of an open WebSocket, whichever library holds it.

Messages come whole and in order, those that came before the end included; at most a bounded number
waits, then the venue does. Pings are answered below, compression is never offered.
"""

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any, Protocol

from msgspec import Struct


class Transport(StrEnum):
    """Which library holds the sockets: websockets, or picows of the extra tidegate[fast]."""

    WEBSOCKETS = "websockets"
    FAST = "fast"


class Farewell(Struct, frozen=True):
    """How a connection ended: code and reason of each side's close frame, None where none was."""

    said: tuple[int, str] | None = None
    sent: tuple[int, str] | None = None
    said_first: bool = False


class Socket(Protocol):
    """A WebSocket that is open. All but `abort` raise one of `closed` once it no longer is."""

    @property
    def closed(self) -> type[Exception]:
        """What is raised at its end."""
        ...

    async def recv(self, decode: bool | None = None) -> str | bytes:
        """Return the next message; with decode=False the bytes of it."""
        ...

    async def send(self, message: bytes | str) -> None:
        """Send a message, once there is room for it."""
        ...

    async def ping(self) -> Awaitable[float]:
        """Send a ping; what is returned is done once its pong came."""
        ...

    async def close(self) -> None:
        """Say goodbye and wait for the other side to, but not long."""
        ...

    def abort(self) -> None:
        """End it at once, saying nothing."""
        ...

    def farewell(self, error: Exception) -> Farewell:
        """Tell how it ended, of the error that it ended with."""
        ...


class Held:
    """A Socket of either library: the methods of a connection have the same names in both."""

    def __init__(self, connection: Any, closed: type[Exception], abort: Callable[[], None]) -> None:
        self.closed, self.abort = closed, abort
        self.recv: Any = connection.recv
        self.send: Any = connection.send
        self.ping: Any = connection.ping
        self.close: Any = connection.close

    def farewell(self, error: Any) -> Farewell:
        """Tell how it ended, of what was raised."""
        said, sent = error.rcvd, error.sent
        return Farewell(
            said and (_number(said.code), said.reason),
            sent and (_number(sent.code), sent.reason),
            bool(error.rcvd_then_sent),
        )


def _number(code: Any) -> int:
    """Return a closing code as the number it is: picows has names for those that it knows."""
    return int(getattr(code, "value", code))
