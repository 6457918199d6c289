"""One open socket and its protocol, from the handshake to the end: frames in, frames out, time.

Reading never waits for writing: what must go out has a task of its own, at the venue's pace.
Liveness is any frame, a pong included unless the venue promised heartbeats; while the taker holds
us up, silence is not the venue's.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Protocol

import anyio
from msgspec import Struct

from feeds.budget import Budget
from feeds.dial import Dropped
from feeds.errors import TidegateError
from feeds.events import SECOND, Event, Symbol
from feeds.pacing import Pacer
from feeds.protocols.base import HttpGet, Limits, SymbolState, VenueProtocol
from feeds.sockets import Farewell, Socket, Transport

END_OF_TAPE = "end of tape"


class Ended(Exception):
    """The venue closed the connection because there is nothing more."""


class ConnectionSettings(Struct, frozen=True):
    """How patient a connection is; None leaves it to the venue's Limits.

    `connect_timeout` bounds the start of the feed up to the first confirmed subscription, and each
    later attempt too. After `quiet` without any frame the venue is pinged; after another `quiet`
    the connection is given up. `max_size` is the largest message in bytes. The backoff starts over
    after a connection that gave data and lasted `health`. `reorder` is how long a trade waits for
    one before it that is missing, `history` how long where its history was asked for. `overlap` is
    how long a renewed connection runs beside the old one; `life` when it is renewed. `transport` is
    the library that holds the sockets.
    """

    connect_timeout: timedelta = timedelta(seconds=10)
    quiet: timedelta | None = None
    backoff: timedelta = timedelta(seconds=1)
    backoff_cap: timedelta = timedelta(seconds=30)
    max_size: int | None = None
    health: timedelta = timedelta(seconds=60)
    reorder: timedelta = timedelta(milliseconds=200)
    history: timedelta = timedelta(seconds=5)
    overlap: timedelta = timedelta(seconds=2)
    life: timedelta | None = None
    proxy: str | None = None
    transport: Transport = Transport.WEBSOCKETS


class Sink(Protocol):
    """Takes what a session says, and our time (ns) of it; history is trades that HTTP brought."""

    async def __call__(
        self, session: "Session", events: Sequence[Event], now: int, *, is_history: bool = False
    ) -> None:
        """Deliver it, however long that takes."""
        ...


Greet = Callable[["Session", int], list[Event]]
"""Called once, when everything is answered; what it returns is delivered first. It may raise."""


class Session:
    """One connection that is open. `quiet` and `patience` are seconds.

    Attributes:
        frames: WebSocket messages received.
        is_live: whether the login and all subscriptions have been confirmed.
        done: set once `run` has ended, `ending` says of what.
        latest: events of the last frame that had any, since the session is live.
        heard: our time of that frame, ns: on a tape its events tell another.
        is_whole: whether the venue itself ended it, so that nothing it said before is missing.
        skew: the largest of the sampled `event.time - event.received`, ns; None before data.
        since: when it became live, on the loop's clock; `until` is when it said its last.
    """

    def __init__(
        self,
        socket: Socket,
        core: VenueProtocol,
        limits: Limits,
        budget: Budget,
        *,
        quiet: float,
        sink: Sink,
        greet: Greet,
    ) -> None:
        self.core = core
        self.frames = 0
        self.is_live = False
        self.settled = anyio.Event()
        self.done = anyio.Event()
        self.ending: Exception | None = None
        self.is_whole = False
        self.latest: Sequence[Event] = ()
        self.heard = 0
        self.skew: int | None = None
        self.since = self.until = 0.0
        self._socket, self._limits, self._budget = socket, limits, budget
        self._quiet, self._sink, self._greet = quiet, sink, greet
        self._pacer = Pacer(limits.messages)
        self._delivering = False
        self._verdict: str | None = None
        self._outgoing: list[bytes | str] = []
        self._ready, self._rearm = anyio.Event(), anyio.Event()
        self._requests: list[tuple[HttpGet, bool]] = []
        self._asked = anyio.Event()
        self._histories: dict[Symbol, int] = {}  # requests that are on their way
        self.on_history: Callable[[Symbol], Awaitable[None]] | None = None

    async def run(self, patience: float) -> None:
        """Read until it breaks; `ending` then says why.

        Args:
            patience: seconds for the login and the subscriptions.
        """
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._expect_login, patience)
                for helper in (self._watch, self._write, self._keep_time, self._ask):
                    tasks.start_soon(helper)
                try:
                    await self._read()
                finally:
                    tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            error = only(group)
            if not isinstance(error, (Dropped, Ended, TidegateError)):
                raise error from None
            self.ending = error
        finally:
            with anyio.CancelScope(shield=True):  # bounded by close_timeout
                await self._socket.close()
            self.settled.set()
            self.done.set()

    async def close(self) -> None:
        """Say goodbye; `run` ends once what had been sent before is read."""
        await self._socket.close()

    def flush(self) -> None:
        """Let go out what the protocol has queued outside of a call of ours."""
        outgoing, requests = self.core.data_to_send(), self.core.take_requests()
        if outgoing:
            self._outgoing += outgoing
            self._ready.set()
            self._rearm.set()
        for request in requests:
            self.ask(request)

    def ask(self, request: HttpGet, *, is_history: bool = False) -> None:
        """Carry out a request; of a history's last answer `on_history` is told."""
        if is_history and request.symbol is not None:
            self._histories[request.symbol] = self._histories.get(request.symbol, 0) + 1
        self._requests.append((request, is_history))
        self._asked.set()

    # --- reading -------------------------------------------------------------------------------

    async def _read(self) -> None:
        """Hand on frame after frame; those that wait already are taken without yielding."""
        core, clock, receive = self.core, time.time_ns, self._socket.recv
        core.connected(clock())
        self.flush()
        try:
            while True:
                frame = await receive(decode=False)
                received = clock()
                self.frames += 1
                events = core.receive(frame, received)
                outgoing, requests = core.data_to_send(), core.take_requests()
                if outgoing or requests or not events:
                    self._after(outgoing, requests)
                if events and self.is_live:
                    self.latest, self.heard = events, received
                elif not self.is_live:
                    events = self._try_live(events, received)
                if events:
                    self._delivering = True
                    await self._sink(self, events, received)
                    self._delivering = False
                if core.refusal is not None:
                    raise core.refusal
                if core.fault is not None:
                    raise Dropped(core.fault)
        except self._socket.closed as closed:
            raise self._ending(self._socket.farewell(closed)) from None
        finally:
            self._delivering = False

    def _after(self, outgoing: list[bytes | str], requests: list[HttpGet]) -> None:
        """Pass on what a frame asks for; a frame without events may have moved a deadline."""
        if outgoing:
            self._outgoing += outgoing
            self._ready.set()
        for request in requests:
            self.ask(request)
        self._rearm.set()

    def _try_live(self, events: list[Event], received: int) -> list[Event]:
        """Greet before these events, if they, an answer or the time have made it live."""
        if self.is_live:
            return events
        core = self.core
        if not core.is_live and (not core.refused or SymbolState.ASKED in core.symbols.values()):
            return events
        greeting = self._greet(self, received)
        self.is_live, self.since = True, anyio.current_time()
        self.settled.set()
        return [*greeting, *events]

    def _ending(self, farewell: Farewell) -> Exception:
        said, sent = farewell.said, farewell.sent
        self.is_whole, self.until = said is not None, anyio.current_time()
        if said == (1000, END_OF_TAPE):
            return Ended()
        if self._verdict is not None:
            return Dropped(self._verdict)
        if sent is not None and not farewell.said_first and sent[0] != 1000:
            return Dropped(f"its frames cannot be read: {sent[0]} {sent[1]}".rstrip())
        if said is not None:
            return Dropped(f"the venue closed with {said[0]} {said[1]}".rstrip())
        return Dropped("the connection was lost")

    # --- beside it -----------------------------------------------------------------------------

    async def _expect_login(self, patience: float) -> None:
        await anyio.sleep(patience)
        if not self.is_live:
            self._verdict = f"the login was not done within {patience:.1f} s"
            await self._socket.close()

    async def _watch(self) -> None:
        """Close the connection once nothing comes in though nobody holds us up."""
        quiet, heartbeat = self._quiet, self._limits.heartbeat
        limit = 2 * quiet if heartbeat is None else min(2 * quiet, heartbeat / SECOND)
        proof = "not even a pong" if heartbeat is None else "not even a heartbeat"
        seen, last = self.frames, anyio.current_time()
        pong: Awaitable[float] | None = None
        try:
            while True:
                await anyio.sleep(min(quiet, limit / 2))
                self._sample_skew()
                if self._delivering or self.frames != seen:
                    seen, last, pong = self.frames, anyio.current_time(), None
                elif heartbeat is None and pong is None:
                    self._pacer.take(time.monotonic_ns())
                    pong = await self._socket.ping()
                elif heartbeat is None and pong is not None and pong.done():  # type: ignore[attr-defined]
                    last, pong = anyio.current_time(), None
                elif anyio.current_time() - last >= limit:
                    self._verdict = f"nothing came for {limit:g} s, {proof}"
                    self._socket.abort()  # who does not hear is not said goodbye to
        except self._socket.closed:
            return  # the reader sees it too

    def _sample_skew(self) -> None:
        for event in self.latest[-1:]:
            ahead = getattr(event, "time", event.received) - event.received
            self.skew = ahead if self.skew is None else max(self.skew, ahead)

    async def _write(self) -> None:
        """Send what is queued, in order, at the venue's pace."""
        try:
            while True:
                await self._ready.wait()
                self._ready = anyio.Event()
                outgoing, self._outgoing = self._outgoing, []
                for frame in outgoing:
                    while wait := self._pacer.wait(time.monotonic_ns()):  # noqa: ASYNC110 - time is waited for
                        await anyio.sleep(wait / SECOND)
                    self._pacer.take(time.monotonic_ns())
                    await self._socket.send(frame)
        except self._socket.closed:
            return  # the reader sees it too

    async def _keep_time(self) -> None:
        """Tell the protocol that time has passed, when it wants to know."""
        core, clock = self.core, time.time_ns
        while True:
            wake = core.next_wake()
            left = None if wake is None else max(0, wake - clock()) / SECOND
            with anyio.move_on_after(left):
                await self._rearm.wait()
            self._rearm = anyio.Event()
            now = clock()
            if wake is None or wake > now:
                continue
            await self._hand_on(core.tick(now), now)

    async def _hand_on(self, events: list[Event], now: int, *, is_history: bool = False) -> None:
        """Do as the reader does for what no frame brought; it may be what makes us live."""
        self.flush()
        events = self._try_live(events, now)
        if events:
            await self._sink(self, events, now, is_history=is_history)
        if self.core.refusal is not None:
            raise self.core.refusal
        if self.core.fault is not None:
            self._verdict = self.core.fault
            await self._socket.close()

    # --- questions over HTTP -------------------------------------------------------------------

    async def _ask(self) -> None:
        """Carry out requests as they come, each in a task of its own."""
        async with anyio.create_task_group() as tasks:
            while True:
                await self._asked.wait()
                self._asked = anyio.Event()
                requests, self._requests = self._requests, []
                for request, is_history in requests:
                    tasks.start_soon(self._answer, request, is_history)

    async def _answer(self, request: HttpGet, is_history: bool) -> None:
        answer = await self._budget.get(request, seconds=5.0)
        received = time.time_ns()
        events = self.core.http_response(request.tag, answer.status, answer.body, received)
        further = self.core.take_requests()
        for more in further:
            self.ask(more, is_history=is_history and more.symbol == request.symbol)
        self._rearm.set()  # an answer may have moved a deadline
        await self._hand_on(events, received, is_history=is_history)
        symbol = request.symbol
        if is_history and symbol is not None:
            self._histories[symbol] -= 1
            if not self._histories[symbol]:
                del self._histories[symbol]
                if self.on_history is not None:
                    await self.on_history(symbol)


def only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return what a task group failed of: an error raised on purpose before any other."""
    leaves: list[BaseException] = []
    pending: list[BaseException] = [group]
    while pending:
        error = pending.pop()
        if isinstance(error, BaseExceptionGroup):
            pending += reversed(error.exceptions)
        else:
            leaves.append(error)
    return next((e for e in leaves if isinstance(e, TidegateError)), leaves[0])
