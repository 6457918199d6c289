"""The paper venue's sockets: it plays a market to every session that subscribed.

The clock starts when the first clients have subscribed, so they see the tape from its first tick.
Paced, time goes on by itself and a client too slow for it is told 407 and cut; flat out, or where
the venue is patient, the tape waits for the slowest client and nothing is lost. A tape's end is a
normal close.
"""

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from http import HTTPStatus
from importlib import import_module
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
from anyio.abc import TaskStatus
from msgspec import Struct
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as listen
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from feeds.base import Market
from feeds.errors import ConfigError
from feeds.events import SECOND, AssetClass, MarketEvent, Symbol
from feeds.venue.account_options import AccountOptions
from feeds.venue.faults import Faults, Shaper, Where
from feeds.venue.protocol import (
    ERRORS,
    PATHS,
    Batch,
    Credentials,
    Limits,
    Occupancy,
    Session,
)
from feeds.venue.words import Codec

if TYPE_CHECKING:
    from feeds.venue.trading_server import TradingDesk

END_OF_TAPE = "end of tape"
STEP = SECOND // 500  # paced: how often the market moves
LARGEST_STEP = SECOND  # paced: after a standstill the tape catches up in pieces
SHORTEST_SPAN, LONGEST_SPAN = SECOND // 1000, 10 * SECOND  # flat out: the span of one batch
FEW, MANY = 256, 1024  # flat out: the span is doubled or halved to hold so many events
PACED_BACKLOG, FLAT_OUT_BACKLOG = 2048, 64  # frames that may wait for one socket
GRACE = 5.0  # seconds that a client cut as too slow has to read why
CLOSE_TIMEOUT = 2.0

_log = logging.getLogger("feeds.venue")


class VenueStatistics(Struct, frozen=True):
    """Counters: sessions open now, events played, frames queued, clients cut as too slow."""

    sessions: int
    events: int
    frames: int
    cut: int


class _Client:
    """One connection: its session, and the bounded buffer of frames that wait for its socket."""

    def __init__(self, session: Session, backlog: int, faults: Faults) -> None:
        self.session = session
        self._faults, self._shaper = faults, Shaper(faults, Where.DATA)
        self.inlet, self._outlet = anyio.create_memory_object_stream[bytes](backlog)
        self._flow = anyio.CancelScope()
        self._farewell: list[bytes] = []
        self._closing = 1000, ""

    async def queue(self, frame: bytes) -> None:
        """Queue a frame, at once where there is room: what follows may not overtake it."""
        try:
            self.inlet.send_nowait(frame)
        except anyio.WouldBlock:
            await self.inlet.send(frame)

    def finish(self, code: int, reason: str) -> None:
        """Take nothing more; once all that waits is sent, close with these."""
        self._closing = code, reason
        self.inlet.close()

    def cut(self) -> None:
        """Drop what waits, say 407 and close."""
        self._farewell = self.session.refuse(407)
        self.finish(1008, ERRORS[407])
        self._flow.cancel()

    async def write(self, socket: ServerConnection) -> None:
        """Carry frames to the socket until finished or cut, then close it."""
        text = self.session.group.codec is Codec.JSON
        try:
            with self._outlet:
                with self._flow:
                    async for frame in self._outlet:
                        if Where.DATA in self._faults.places and self.session.subscribed:
                            await self._send_broken(frame, socket, text)
                        else:
                            await socket.send(frame, text=text)
                with anyio.move_on_after(GRACE):
                    for frame in self._farewell:
                        await socket.send(frame, text=text)
            await socket.close(*self._closing)
        except ConnectionClosed:
            return  # the reader sees it too, and ends the session

    async def _send_broken(self, frame: bytes, socket: ServerConnection, text: bool) -> None:
        """Send a frame as the fault switches let it."""
        shaping = self._shaper.take(frame)
        if shaping.slow_client:
            self.cut()
        if shaping.deaf:
            socket.transport.pause_reading()
        if shaping.wait:
            await anyio.sleep(shaping.wait)
        if shaping.deaf:
            socket.transport.resume_reading()
        for each in shaping.frames:
            await socket.send(each, text=text)
        if shaping.half_close:
            socket.transport.write_eof()
            try:
                await socket.wait_closed()  # nothing can be sent any more
            finally:
                socket.transport.abort()
        if shaping.cut:
            socket.transport.abort()


class Venue:
    """A venue that is being served; made by `serve`. `url` has no path."""

    def __init__(
        self,
        market: Market,
        credentials: Credentials,
        speed: float | None,
        limits: Limits,
        audience: int,
        patient: bool,
        faults: Faults | None = None,
    ) -> None:
        self.faults = faults or Faults()
        self.trading: TradingDesk | None = None
        self.trading_url = ""
        self._market, self._credentials, self._speed = market, credentials, speed
        self._limits, self._audience, self._patient = limits, audience, patient
        self._backlog = FLAT_OUT_BACKLOG if speed is None else PACED_BACKLOG
        self._occupancy = Occupancy(limits.connections, self._refuses)
        self._clients: set[_Client] = set()
        self._classes: dict[str, AssetClass] = {}
        self._changed = anyio.Event()
        self._started: int | None = None  # monotonic
        self._origin = self._until = 0
        self._events = self._frames = self._cut = 0
        self._ended = False
        self.url = ""

    def statistics(self) -> VenueStatistics:
        """Return the counters so far."""
        return VenueStatistics(len(self._clients), self._events, self._frames, self._cut)

    def opens(self, symbol: Symbol, asset_class: AssetClass | None, now: int) -> bool:
        """Open the market of a symbol; False where there is none."""
        held = self._market.subscribe(symbol, asset_class, now)
        if held and asset_class is not None:
            self._classes[symbol] = asset_class
        return held

    def _refuses(self) -> bool:
        return self.faults.on_login(Where.DATA) is not None

    # --- the tape ------------------------------------------------------------------------------

    def now(self) -> int:
        """The venue's time; a tape's stands still until it is played."""
        if self._started is None:
            start = self._market.start
            return time.time_ns() if start is None else start
        if self._speed is None:
            return self._until
        return self._origin + int((time.monotonic_ns() - self._started) * self._speed)

    async def _audience_of(self, count: int) -> None:
        while sum(client.session.subscribed for client in self._clients) < count:
            self._changed = anyio.Event()
            await self._changed.wait()

    async def play(self) -> None:
        """Play the market to its end, then close every session that hears it."""
        await self._audience_of(self._audience)
        self._origin = self._until = self.now()
        self._started = time.monotonic_ns()
        if self._speed is None:
            await self._play_flat_out()
        else:
            await self._play_paced(max(1, int(LARGEST_STEP * self._speed)))
        self._ended = True
        for client in list(self._clients):
            if client.session.subscribed:
                client.finish(1000, END_OF_TAPE)

    async def _play_paced(self, largest: int) -> None:
        while not self._market.exhausted:
            target = self.now()
            while self._until < target:
                self._until = min(target, self._until + largest)
                for client, frame in self._address(self._market.advance(self._until)):
                    await self._send_in_time(client, frame)
                await anyio.lowlevel.checkpoint()
            await anyio.sleep(STEP / SECOND)

    async def _send_in_time(self, client: _Client, frame: bytes) -> None:
        """Queue a frame of a paced tape; a client with no room for it is cut, or waited for."""
        try:
            if self._patient:
                await client.queue(frame)
            else:
                client.inlet.send_nowait(frame)
        except anyio.WouldBlock:
            self._cut += 1
            self._clients.discard(client)
            client.cut()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return  # it was cut or is leaving

    async def _play_flat_out(self) -> None:
        span = SHORTEST_SPAN
        while not self._market.exhausted:
            await self._audience_of(1)
            # A night, or the years between two recordings, need no steps.
            self._until = max(self._until, self._market.upcoming or 0) + span
            events = self._market.advance(self._until)
            for client, frame in self._address(events):
                try:
                    await client.queue(frame)
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    continue  # it is leaving
            await anyio.lowlevel.checkpoint()
            if len(events) < FEW:
                span = min(span * 2, LONGEST_SPAN)
            elif len(events) > MANY:
                span = max(span // 2, 1)

    def _address(self, events: Sequence[MarketEvent]) -> Iterator[tuple[_Client, bytes]]:
        """Say who gets which frames of a batch; what it fills has filled before they go out."""
        self._events += len(events)
        if self.trading is not None:
            self.trading.on_market(events)
        batch = Batch(events, self._classes)
        for client in list(self._clients) if events else ():
            for frame in batch.frames(client.session.group):
                self._frames += 1
                yield client, frame

    # --- the clients ---------------------------------------------------------------------------

    def answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer a plain HTTP request, or return None where a session may begin."""
        path = request.path.partition("?")[0]
        if path == "/healthz":
            return connection.respond(HTTPStatus.OK, "ok\n")
        if path not in PATHS:
            return connection.respond(HTTPStatus.NOT_FOUND, "no such feed\n")
        return None

    async def attend(self, socket: ServerConnection) -> None:
        """Serve one connection until it closes."""
        if socket.request is None:
            raise RuntimeError("a session began without its upgrade request")
        headers = socket.request.headers
        kind = PATHS[socket.request.path.partition("?")[0]]
        packed = headers.get("Content-Type") == "application/msgpack"

        def available(symbol: str) -> bool:
            return self.opens(Symbol(symbol), kind.asset_class, self.now())

        session = Session(
            kind,
            Codec.MSGPACK if packed else Codec.JSON,
            self._credentials,
            time.monotonic_ns(),
            available=available,
            occupancy=self._occupancy,
            limits=self._limits,
        )
        client = _Client(session, self._backlog, self.faults)
        self._clients.add(client)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.write, socket)
                tasks.start_soon(self._expect_login, client)
                greeting = session.greet(
                    headers.get("APCA-API-KEY-ID"), headers.get("APCA-API-SECRET-KEY")
                )
                await self._converse(socket, client, greeting)
                tasks.cancel_scope.cancel()
        finally:
            self._clients.discard(client)
            session.close()
            client.inlet.close()

    async def _converse(
        self, socket: ServerConnection, client: _Client, answers: list[bytes]
    ) -> None:
        """Answer until the connection is closed."""
        try:
            while True:
                await self._say(client, answers)
                request = await socket.recv()
                try:
                    answers = client.session.receive(request)
                except Exception:  # noqa: BLE001 - one session's fault must not end the venue
                    _log.exception("a request could not be served")
                    answers = client.session.refuse(500)
                self._changed.set()
        except ConnectionClosed:
            return

    async def _expect_login(self, client: _Client) -> None:
        await anyio.sleep(self._limits.login / SECOND)
        await self._say(client, client.session.check_login(time.monotonic_ns()))

    async def _say(self, client: _Client, answers: list[bytes]) -> None:
        """Queue answers; after the last one of a session, or of the tape, have it closed."""
        try:
            for frame in answers:
                await client.queue(frame)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return  # it is closing already
        if client.session.ending is not None:
            client.finish(1008, ERRORS[client.session.ending])
        elif self._ended and client.session.subscribed:
            client.finish(1000, END_OF_TAPE)


async def serve(
    market: Market,
    credentials: Credentials,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    speed: float | None = 1.0,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    audience: int = 1,
    patient: bool = False,
    account: AccountOptions | None = None,
    faults: Faults | None = None,
    task_status: TaskStatus[Venue] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve a market until cancelled; reports the Venue once it listens.

    `speed` is market time per real time, or None for flat out. The clock starts when `audience`
    sessions have subscribed (a client of two asset classes has two). `patient`: a paced tape waits
    for a client that is too slow for it, as a flat-out one does. Port 0 takes any free one.
    `account`: serve trading too, on a port of its own; a made-up market then opens at once.
    `faults`: what goes wrong on purpose.

    Raises:
        ConfigError: it cannot listen on that host and port, or the account cannot be used.
    """
    if account is not None and market.start is None:
        audience = 0
    venue = Venue(market, credentials, speed, limits, audience, patient, faults)
    try:
        server = await listen(
            venue.attend,
            host,
            port,
            process_request=venue.answer,
            origins=[None],  # no web page may speak to it
            compression=None,
            server_header=None,
            # A reader that is waited for may take its time.
            ping_interval=None if speed is None or patient else 20,
            close_timeout=CLOSE_TIMEOUT,
            write_limit=256 * 1024,
            logger=_log,
        )
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        message = f"the venue cannot listen on {host}:{port}: {reason}; name another port"
        raise ConfigError(message) from error
    async with server, AsyncExitStack() as stack:
        bound = server.sockets[0].getsockname()[1]
        venue.url = f"ws://[{host}]:{bound}" if ":" in host else f"ws://{host}:{bound}"
        if account is not None:
            # Its HTTP server is imported only where it is asked for, and off the loop.
            shell = await anyio.to_thread.run_sync(import_module, "feeds.venue.trading_server")
            venue.trading, venue.trading_url = await stack.enter_async_context(
                shell.trading(account, credentials, venue.faults, venue.opens, venue.now, host)
            )
        task_status.started(venue)
        await venue.play()
        await anyio.sleep_forever()
