"""Runs, and their venue, killed amid order flow: each order once, and the books those of the venue.

A few kills here; `TIDEGATE_KILLS=200 pytest tests/live/test_kills.py`, or `python -m
benchmarks.kills`, does as many as wanted. What is counted is what a proxy has seen on the wire.
"""

import os
import socket
from pathlib import Path
from random import Random

import pytest

from benchmarks.kills import WireLedger, arena_in, kill_once

KILLS = int(os.environ.get("TIDEGATE_KILLS", "6"))
SEED = int(os.environ.get("TIDEGATE_SEED", "0")) or int.from_bytes(os.urandom(4))


@pytest.mark.timeout(60 + 20 * KILLS)
def test_each_order_once_and_the_books_equal_whatever_is_killed(tmp_path: Path) -> None:
    print("seed", SEED)  # noqa: T201  # TIDEGATE_SEED takes it back
    random = Random(SEED)
    with arena_in(tmp_path) as arena:
        for _ in range(KILLS):
            kill_once(arena, random)
        found = arena.come_to_rest()
        assert found.taken > 0
        assert arena.come_to_rest()[:4] == found[:4]  # a second time finds nothing to do
        assert arena.orders() != []
        assert arena.unknown() == set()


def test_the_wire_counts_what_is_sent_twice() -> None:
    """The detector sees a planted fault."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        wire = WireLedger(server.getsockname()[1])
        with socket.create_connection(("127.0.0.1", wire.port)) as client:
            there, _ = server.accept()
            with there:
                body = b'{"client_order_id":"a"}{"client_order_id": "b"}{"client_order_id":"a"}'
                client.sendall(body)
                heard = b""
                while len(heard) < len(body):
                    heard += there.recv(1000)
        assert heard == body
        assert wire.placed() == {"a": 2, "b": 1}
        wire.close()
