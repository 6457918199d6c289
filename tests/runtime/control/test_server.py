"""The API's own sockets: who is heard, and for how long; real sockets, short limits."""

import asyncio
import os
import select
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest
import structlog

from runtime.control.api import connection, operator, server
from runtime.control.api.operator import NotAnswered, Operator
from runtime.control.api.server import serving
from runtime.control.board import Board

HEAD = b"Host: tidegate\r\n"
STATUS = b"GET /healthz HTTP/1.1\r\n" + HEAD + b"\r\n"
NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may enter, with a short path."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Board]:
    board = Board(lambda: 1)
    log = structlog.get_logger()
    async with serving(folder, board, cast("Operator", None), lambda: 0.0, log):
        yield board


async def talk(folder: Path, *pieces: bytes, pause: float = 0.0) -> bytes:
    """Send piece after piece, and return what came until the other end was closed."""

    def do() -> bytes:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(30)
            client.connect(str(folder / "api.sock"))
            came = b""
            with suppress(BrokenPipeError):
                for piece in pieces:
                    client.sendall(piece)
                    if pause:
                        threading.Event().wait(pause)
            with suppress(ConnectionResetError):
                while chunk := client.recv(65536):
                    came += chunk
            return came

    return await anyio.to_thread.run_sync(do)


async def test_a_request_that_comes_whole_is_answered(folder: Path) -> None:
    async with served(folder):
        closing = STATUS.replace(HEAD, HEAD + b"Connection: close\r\n")
        assert (await talk(folder, closing)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "pieces",
    [
        [b""],
        [b"GET /heal"],
        [b"GET /healthz HTTP/1.1\r\n", *(b"X-%d: 1\r\n" % n for n in range(400))],
        [b"POST /v1/halt HTTP/1.1\r\n" + HEAD + b"Content-Length: 10000\r\n\r\n", *[b"x"] * 400],
    ],
    ids=["nothing", "half a line", "a head that never ends", "a body that trickles"],
)
async def test_row_77_who_is_too_slow_is_cut(
    folder: Path, monkeypatch: pytest.MonkeyPatch, pieces: list[bytes]
) -> None:
    monkeypatch.setattr(connection, "HEARD_SECONDS", 0.3)
    async with served(folder):
        came = await talk(folder, *pieces, pause=0.02)
        assert b" 200 " not in came


async def test_a_second_request_must_come_in_time_as_well(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEARD_SECONDS", 0.3)
    async with served(folder):
        came = await talk(folder, STATUS, *[b"G"] * 400, pause=0.02)
        assert came.count(b"HTTP/1.1 200") == 1


async def test_a_stream_may_last_for_longer_than_a_request(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEARD_SECONDS", 0.1)
    async with served(folder) as board:

        def hear() -> bytes:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(30)
                client.connect(str(folder / "api.sock"))
                client.sendall(b"GET /v1/logs/stream HTTP/1.1\r\n" + HEAD + b"\r\n")
                came = client.recv(65536)
                threading.Event().wait(0.5)
                board.wrote("info", "later", {})
                while b"later" not in came:
                    came += client.recv(65536)
                return came

        assert b"event: line" in await anyio.to_thread.run_sync(hear)


async def test_row_76_a_reader_that_never_reads_is_cut_and_holds_one_message(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "TAKEN_SECONDS", 0.2)
    async with served(folder) as board:
        for _ in range(1000):
            board.wrote("info", "x" * 10_000, {})  # more than a socket's buffer holds
        asked = b"GET /v1/logs/stream?limit=1000 HTTP/1.1\r\n" + HEAD + b"\r\n"

        def never_read() -> int:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(30)
                client.connect(str(folder / "api.sock"))
                client.sendall(asked)
                poll = select.poll()
                poll.register(client, 0)  # hears of a hangup only
                assert poll.poll(30_000)
                came = 0
                try:
                    while chunk := client.recv(1 << 20):
                        came += len(chunk)
                except ConnectionResetError:
                    pass
                return came

        assert await anyio.to_thread.run_sync(never_read) < 10_000_000


async def test_readers_that_leave_at_once_are_no_news(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """asyncio warns on stderr of each write to a socket that has gone."""
    async with served(folder) as board:
        for n in range(1000):
            board.wrote("info", f"line {n}", {"text": "x" * 100})

        def leave() -> None:
            for _ in range(30):
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(str(folder / "api.sock"))
                    client.sendall(b"GET /v1/logs/stream?limit=1000 HTTP/1.1\r\n" + HEAD + b"\r\n")
                board.wrote("info", "later", {})

        await anyio.to_thread.run_sync(leave)
        closing = STATUS.replace(HEAD, HEAD + b"Connection: close\r\n")
        assert await talk(folder, closing)  # which comes after what the others have asked for
    assert [record.message for record in caplog.records] == []


async def test_one_connection_too_many_is_cut_and_the_others_are_heard(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MOST", 3)
    async with served(folder):
        idle = []
        for _ in range(3):
            client = socket.socket(socket.AF_UNIX)
            client.connect(str(folder / "api.sock"))
            client.sendall(b"GET /v1/logs/stream HTTP/1.1\r\n" + HEAD + b"\r\n")
            client.settimeout(30)
            assert await anyio.to_thread.run_sync(client.recv, 4096)
            idle.append(client)
        assert await talk(folder, STATUS) == b""
        idle.pop().close()
        closing = STATUS.replace(HEAD, HEAD + b"Connection: close\r\n")
        while not await talk(folder, closing):
            pass  # the end of the one before has not been heard yet
        for client in idle:
            client.close()


async def test_s1_the_socket_has_its_permissions_from_its_first_moment(folder: Path) -> None:
    before = os.umask(0)
    try:
        async with served(folder):
            assert stat.S_IMODE((folder / "api.sock").stat().st_mode) == 0o600
    finally:
        os.umask(before)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
async def test_s1_another_user_is_not_heard_whatever_the_permissions_are(folder: Path) -> None:
    code = (
        "import os, socket, sys\n"
        "os.setuid(int(sys.argv[3]))\n"
        "s = socket.socket(socket.AF_UNIX); s.settimeout(30); s.connect(sys.argv[1])\n"
        "try:\n"
        "    s.sendall(sys.argv[2].encode()); print(s.recv(100))\n"
        "except OSError: print(b'')\n"
    )
    async with served(folder):
        (folder / "api.sock").chmod(0o777)

        def ask(user: int) -> str:
            command = [sys.executable, "-c", code, str(folder / "api.sock"), STATUS.decode()]
            return subprocess.run(
                [*command, str(user)], capture_output=True, text=True, check=True
            ).stdout

        assert "200 OK" in await anyio.to_thread.run_sync(ask, 0)
        assert await anyio.to_thread.run_sync(ask, NOBODY) == "b''\n"


async def test_s1_who_may_speak(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert connection.may_speak(ours)
        us = os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: us + 1)
        assert connection.may_speak(ours) is (us == 0)
        monkeypatch.setattr(
            connection, "CREDENTIALS", SimpleNamespace(size=12, unpack=lambda _: (1, us + 7, 0))
        )
        assert not connection.may_speak(ours)
    with socket.socket() as tcp:
        assert connection.may_speak(tcp)


# ---- what is asked of a loop that does not turn ----------------------------------------------


class Training:
    def __init__(self) -> None:
        self.asked: list[str] = []

    def train_now(self, by: str) -> list[Any]:
        self.asked.append(by)
        return []


async def test_a_command_that_was_not_begun_in_time_is_never_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The loop hangs while it is asked: who asked is told, and it is not done behind his back."""
    monkeypatch.setattr(operator, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(operator, "snapshot", lambda _: None)
    training, told = Training(), threading.Event()
    asked = Operator(cast("Any", SimpleNamespace(training=training)), Board(lambda: 1), print)
    answers: list[str] = []

    def ask() -> None:
        try:
            asyncio.run(cast("Any", asked.train_now("me")))
        except NotAnswered as error:
            answers.append(str(error))
        told.set()

    thread = threading.Thread(target=ask)
    thread.start()
    assert told.wait(30)  # on the loop: it hangs here
    await asyncio.sleep(0.05)
    thread.join()
    assert training.asked == []
    assert answers == ["the run's loop has not answered for 0 s: nothing is done, ask again"]


async def test_a_command_that_has_begun_is_said_to_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(operator, "snapshot", lambda _: None)
    go, kept = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def keep(_: str) -> None:
        assert go.wait(30)
        loop.call_soon_threadsafe(kept.set)

    run = SimpleNamespace(halt=lambda _: None)
    asked = Operator(cast("Any", run), Board(lambda: 1), keep)
    with pytest.raises(NotAnswered, match="it has begun and may still be done"):
        await anyio.to_thread.run_sync(lambda: asyncio.run(asked.halt("hot", "me")))
    go.set()
    await asyncio.wait_for(kept.wait(), 30)


def test_small_answers_over_tcp_do_not_wait_for_more(tmp_path: Path) -> None:
    """What asyncio goes by when it switches Nagle's algorithm off."""
    unix, tcp = server._open(tmp_path, ("127.0.0.1", 0), structlog.get_logger())
    with unix, tcp:
        assert tcp.proto == socket.IPPROTO_TCP
