"""One connection to the API: who may have one, and how long it may take its time.

uvicorn bounds what a request holds, but not how slowly it comes, nor how slowly an answer is taken.
Here a whole request must have come within ten seconds, an answer be taken within thirty; and on the
Unix socket only this user and root are heard, whatever the permissions of a folder say.
"""

import asyncio
import os
import resource
import socket
import struct
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEARD_SECONDS = 10.0
"""In which a request must have come whole, its body included."""
TAKEN_SECONDS = 30.0
"""In which what was written must have been taken: who reads a stream too slowly is cut."""
MOST = min(1_000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 3)
"""Connections of one socket at a time: there must be room for feeds, files and workers."""
CREDENTIALS = struct.Struct("3i")


class Connection(H11Protocol):
    """uvicorn's connection, with limits."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_heard = False
        self._hearing: asyncio.TimerHandle | None = None
        self._taking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Begin, unless it is somebody else's, or one too many."""
        if len(self.connections) >= MOST or not may_speak(transport.get_extra_info("socket")):
            transport.abort()
            return
        transport.set_write_buffer_limits(high=0)  # one message at most is held for a slow reader
        super().connection_made(transport)
        self._is_heard = True
        self._hear_in_time()

    def data_received(self, data: bytes) -> None:
        """Take what came; where it is not a whole request, the rest must come in time."""
        if not self._is_heard:
            return
        super().data_received(data)
        if self.conn.their_state in {h11.IDLE, h11.SEND_BODY}:
            self._hear_in_time()
        else:
            self._hearing = _stopped(self._hearing)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._hearing, self._taking = _stopped(self._hearing), _stopped(self._taking)
        if self._is_heard:
            super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Note that an answer waits for its reader, who must take it in time."""
        super().pause_writing()
        if self._taking is None:
            self._taking = self.loop.call_later(TAKEN_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Note that all of it was taken."""
        self._taking = _stopped(self._taking)
        super().resume_writing()

    def _hear_in_time(self) -> None:
        if self._hearing is None:
            self._hearing = self.loop.call_later(HEARD_SECONDS, self.transport.abort)


def _stopped(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    """Stop a timer and return what stands for none."""
    if timer is not None:
        timer.cancel()
    return None


def may_speak(peer: socket.socket) -> bool:
    """Say whether who has connected is this user or root; over TCP the token says it."""
    if peer.family != socket.AF_UNIX:
        return True
    try:
        found = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    except OSError:
        return False
    _, user, _ = CREDENTIALS.unpack(found)
    return user in {os.getuid(), 0}
