"""Readers of a control API, for `benchmarks.control`: a process that ends when its stdin does."""

import os
import selectors
import socket
import sys
import time

STREAMS = ("/v1/stream", "/v1/logs/stream")
PATHS = ("/v1/status", "/metrics", "/v1/logs", "/v1/training")


def _connected(path: str, asked: str | None) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    if asked is not None:
        client.sendall(_request(asked))
    client.setblocking(False)
    return client


def _request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: tidegate\r\n\r\n".encode()


def main(path: str, kind: str, count: int) -> None:
    """Connect, say so, and read as the kind of reader does."""
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
    held: list[socket.socket] = []
    begun = kind in {"streams", "polls"}
    if kind == "elsewhere":  # as much to read, none of it from the run
        for _ in range(count):
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            selector.register(ours, selectors.EVENT_READ)
            held += [ours, theirs]
    else:
        for number in range(count):
            asked = None if kind == "silent" else STREAMS[number % 2]
            client = _connected(path, PATHS[number % 4] if kind == "polls" else asked)
            held.append(client)
            if begun:
                selector.register(client, selectors.EVENT_READ)
    sys.stdout.write("there\n")
    sys.stdout.flush()
    next_round = time.monotonic()
    while True:
        for key, _ in selector.select(max(0.0, next_round - time.monotonic())):
            if key.fd == sys.stdin.fileno():
                return
            if not os.read(key.fd, 1 << 20):
                selector.unregister(key.fd)
        if time.monotonic() >= next_round:
            next_round += 0.2
            if kind == "polls":
                for number, client in enumerate(held):
                    client.sendall(_request(PATHS[number % 4]))
            elif kind == "elsewhere":
                for theirs in held[1::2]:
                    theirs.sendall(b"x" * 4000)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
