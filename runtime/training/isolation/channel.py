"""Messages and descriptors over one local socket; any thread may send, one receives."""

import os
import socket
import threading
from collections import deque
from typing import NamedTuple

from runtime.training.isolation.framing import BrokenFrame, FrameReader, frame

CHUNK = 1 << 16
MOST_DESCRIPTORS = 16
CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class Received(NamedTuple):
    """A message's bytes, and the descriptor that came with it: the receiver's to close."""

    body: bytes
    descriptor: int | None


class Channel:
    """One end."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self._reader = FrameReader()
        self._descriptors: deque[int] = deque()
        self._sending = threading.Lock()

    def send(self, body: bytes, descriptor: int | None = None) -> None:
        """Send a message; the descriptor is closed here, whatever comes of it.

        Raises:
            OSError: nobody listens any more.
        """
        try:
            data = frame(body, descriptor is not None)
            with self._sending:
                sent = (
                    self.socket.send(data)
                    if descriptor is None
                    else socket.send_fds(self.socket, [data], [descriptor])
                )
                self.socket.sendall(data[sent:])
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def receive(self) -> list[Received] | None:
        """Wait for more, and return the messages that have become complete; None at the end.

        Raises:
            BrokenFrame: what came are no messages.
        """
        try:
            data, descriptors, flags, _ = socket.recv_fds(
                self.socket, CHUNK, MOST_DESCRIPTORS, CLOEXEC
            )
        except ConnectionError:
            return None
        self._descriptors.extend(descriptors)
        if flags & socket.MSG_CTRUNC:
            raise BrokenFrame("more descriptors than one message may have")
        if not data:
            return None
        messages = []
        for body, count in self._reader.receive(data):
            if count > len(self._descriptors) or count > 1:
                raise BrokenFrame("a message without its descriptor")
            messages.append(Received(body, self._descriptors.popleft() if count else None))
        return messages

    def close(self) -> None:
        """Close this end, and what came and was not taken."""
        self.socket.close()
        while self._descriptors:
            os.close(self._descriptors.popleft())
