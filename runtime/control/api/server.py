"""The API's own thread and loop: whoever reads it, the run's loop has nothing to do with it.

It listens on a Unix socket in the deployment's folder, which only its owner can open, and where
asked for on a loopback port, where a token is needed.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from structlog.typing import FilteringBoundLogger

from runtime.control.api.operator import Operator
from runtime.control.board import Board
from runtime.disk import write_whole
from runtime.errors import ConfigError
from runtime.redaction import KNOWN

if TYPE_CHECKING:
    from uvicorn import Server

SOCKET, TOKEN = "api.sock", "api.token"
END_SECONDS = 2.0
BACKLOG = 128
"""Who asks before the server has begun waits in this line, and is answered then."""
LONGEST_PATH = 100
"""Of a Unix socket's address; the kernel takes 107 bytes."""


@asynccontextmanager
async def serving(
    folder: Path,
    board: Board,
    operator: Operator,
    stuck: Callable[[], float],
    log: FilteringBoundLogger,
    tcp: tuple[str, int] | None = None,
    token: str | None = None,
) -> AsyncIterator[None]:
    """Serve until the end of the context.

    Args:
        folder: of the deployment; the socket is made in it.
        board: what is shown.
        operator: what is done.
        stuck: seconds for which the run's loop has not turned.
        log: where the addresses are told, and what goes wrong.
        tcp: a loopback host and port, 0 for a free one; None for the Unix socket only.
        token: to be shown there; None makes one and keeps it in the folder.

    Raises:
        ConfigError: the port cannot be had.
    """
    sockets = await anyio.to_thread.run_sync(_open, folder, tcp, log)
    if tcp is not None and token is None:
        token = await anyio.to_thread.run_sync(_token, folder)
    KNOWN.learn(token or "")
    server = _Server(sockets, board, operator, stuck, token, log)
    for each in sockets:
        if each.family != socket.AF_UNIX:
            port = each.getsockname()[1]
            log.info("control API", url=f"http://127.0.0.1:{port}", token=str(folder / TOKEN))
    server.start()
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(server.stop)
            await anyio.to_thread.run_sync(_remove, folder / SOCKET)


def _open(
    folder: Path, tcp: tuple[str, int] | None, log: FilteringBoundLogger
) -> list[socket.socket]:
    sockets = []
    try:
        sockets.append(_unix(folder / SOCKET))
    except OSError as error:
        log.warning("control API has no socket", text=f"{folder / SOCKET}: {error}")
    if tcp is not None:
        host, port = tcp
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # With the protocol named, asyncio sends small answers at once: else they wait for 40 ms.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen(BACKLOG)
        except OSError as error:
            listener.close()
            for each in sockets:
                each.close()
            raise ConfigError(
                f"control.tcp is {host}:{port}: {error.strerror}; name another port"
            ) from None
        sockets.append(listener)
    return sockets


def _unix(path: Path) -> socket.socket:
    """Make the socket, in the place of one that nobody listens on any more.

    Raises:
        OSError: the path is too long, somebody else's, or in use.
    """
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise OSError(f"the path has more than {LONGEST_PATH} bytes: choose another --state-dir")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    try:
        if path.exists():
            with socket.socket(socket.AF_UNIX) as there:
                there.settimeout(1.0)
                with contextlib.suppress(ConnectionRefusedError):
                    there.connect(str(path))
                    raise OSError("another run listens on it")
            if path.stat().st_uid != os.getuid():
                raise OSError("it is somebody else's")
            path.unlink()
        # Its file has these permissions from its first moment, whatever the umask allows beside.
        os.fchmod(listener.fileno(), 0o600)
        listener.bind(str(path))
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _token(folder: Path) -> str:
    """Return the folder's token, made at the first time; readable by its owner only."""
    path = folder / TOKEN
    try:
        found = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        found = ""
    if len(found) >= 32:
        return found
    made = secrets.token_urlsafe(32)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(path, made.encode())
    return made


class _Told(logging.Handler):
    """Has a server's warnings told in one line each."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        """Tell what happened, with the last line of what was raised."""
        raised = record.exc_info[1] if record.exc_info else None
        said = record.getMessage()
        self._tell(f"{said.rstrip()}: {raised!r}" if raised is not None else said)


class _Server:
    """uvicorn in a daemon thread."""

    def __init__(
        self,
        sockets: list[socket.socket],
        board: Board,
        operator: Operator,
        stuck: Callable[[], float],
        token: str | None,
        log: FilteringBoundLogger,
    ) -> None:
        self._sockets = sockets
        self._log = log
        self._board, self._operator, self._stuck, self._token = board, operator, stuck, token
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None
        self._is_ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="control-api", daemon=True)

    def start(self) -> None:
        """Begin; the imports that it takes are done in its own thread."""
        self._thread.start()

    def stop(self) -> None:
        """End, in bounded time; blocks."""
        self._is_ending.set()
        loop, end = self._loop, self._end
        if loop is not None and end is not None:
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                loop.call_soon_threadsafe(end.set)
            self._thread.join(END_SECONDS)
        # Else it still imports, and will see that nobody wants it any more.
        for each in self._sockets:
            each.close()

    def _run(self) -> None:
        # Here, before there is a loop: the run's first tick does not wait for these.
        from uvicorn import Config, Server  # noqa: PLC0415

        from runtime.control.api.connection import Connection  # noqa: PLC0415
        from runtime.control.api.guard import Guard  # noqa: PLC0415
        from runtime.control.api.routes import Api, own_hosts  # noqa: PLC0415

        app = Api(self._board, self._operator, self._stuck).application()
        servers = []
        for each in self._sockets:
            is_unix = each.family == socket.AF_UNIX
            port = None if is_unix else each.getsockname()[1]
            config = Config(
                Guard(app, own_hosts(port), None if is_unix else self._token),
                log_config=None,
                access_log=False,
                lifespan="off",
                http=Connection,
                timeout_keep_alive=5,
                timeout_graceful_shutdown=1,
                server_header=False,
                h11_max_incomplete_event_size=16_384,
                ws="none",
            )
            servers.append((Server(config), each))
        voice = logging.getLogger("uvicorn")
        voice.propagate = False
        voice.handlers = [_Told(self._tell)]
        asyncio.run(self._serve(servers))

    def _tell(self, text: str) -> None:
        if not self._is_ending.is_set():  # streams that are cut then are no trouble
            self._log.warning("control API", text=text)

    async def _serve(self, servers: "list[tuple[Server, socket.socket]]") -> None:
        if self._is_ending.is_set():
            return
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        tasks = [asyncio.create_task(server.serve([each])) for server, each in servers]
        if not self._is_ending.is_set():
            await asyncio.wait(
                [*tasks, ending := asyncio.create_task(self._end.wait())],
                return_when=asyncio.FIRST_COMPLETED,
            )
            ending.cancel()
        for server, _ in servers:
            server.should_exit = server.force_exit = True
        await asyncio.wait(tasks, timeout=END_SECONDS / 2)
