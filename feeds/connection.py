"""One WebSocket that comes back: it connects, logs in through a session core, delivers, reconnects.

The first connection must be live within a time, or the feed fails in one sentence. After that the
venue may go away for as long as it likes: the outage is told (DISCONNECTED, then a Gap and LIVE).
Liveness is any frame, a pong included; while the taker holds us up, silence is not the venue's.
"""

import os
import re
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from ipaddress import ip_address
from typing import Protocol
from urllib.parse import urlsplit

import anyio
from msgspec import Struct
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from feeds.backoff import Backoff
from feeds.base import Deliver
from feeds.errors import ConfigError, FeedError, TidegateError, VenueRefused
from feeds.events import SECOND, Bar, Event, FeedState, Gap, Quote, Status, Trade

END_OF_TAPE = "end of tape"
FORBIDDEN = {401, 403}


class SessionCore(Protocol):
    """The sans-I/O side of a connection that has a login; see `feeds.protocols`."""

    refusal: VenueRefused | None
    fault: str | None

    @property
    def headers(self) -> Mapping[str, str]:
        """What the upgrade request must carry."""
        ...

    @property
    def is_live(self) -> bool:
        """Whether the login and all subscriptions are confirmed."""
        ...

    def restart(self) -> None:
        """Begin a new connection."""
        ...

    def receive(self, data: bytes | str, received: int) -> list[Event]:
        """Take one frame and return what it says."""
        ...

    def data_to_send(self) -> list[bytes | str]:
        """Return the frames that must go out now, and forget them."""
        ...


class ConnectionSettings(Struct, frozen=True):
    """How patient a connection is.

    `connect_timeout` bounds the start of the feed up to the first confirmed subscription, and each
    later attempt too. After `quiet` without any frame the venue is pinged; after another `quiet`
    the connection is given up. `max_size` is the largest message in bytes.
    """

    connect_timeout: timedelta = timedelta(seconds=10)
    quiet: timedelta = timedelta(seconds=3)
    backoff: timedelta = timedelta(seconds=1)
    backoff_cap: timedelta = timedelta(seconds=30)
    max_size: int = 1024 * 1024


class ConnectionStatistics(Struct, frozen=True):
    """Counters of one connection; `frames` are WebSocket messages."""

    frames: int
    events: int
    reconnects: int


class _Ended(Exception):
    """The venue closed the connection because there is nothing more."""


class _Dropped(Exception):
    """This connection is over, for the reason given; another may do."""


class _Silent(_Dropped):
    """The time of an attempt ran out; what an earlier one met tells more."""


class Connection:
    """A reconnecting WebSocket to one URL. `draw` is the random source of the backoff.

    Raises:
        ConfigError: the URL is no ws:// or wss://, or would send the login in clear text.
    """

    def __init__(
        self,
        url: str,
        name: str,
        core: SessionCore,
        settings: ConnectionSettings,
        draw: Callable[[], float],
    ) -> None:
        self._url, self._name, self._core, self._settings = url, name, core, settings
        self._ssl, self._place = _check(url)
        base, cap = (_ns(delay) for delay in (settings.backoff, settings.backoff_cap))
        self._backoff = Backoff(draw, base, cap)
        self._frames = self._events = self._reconnects = 0
        self._delivering = False
        self._verdict: str | None = None
        self._been_live = False
        self._latest: tuple[int, int] | None = None  # the last event's time, and ours
        self._outage: tuple[int, int, str] | None = None  # the same at its start, and why

    def statistics(self) -> ConnectionStatistics:
        """Return the counters so far."""
        return ConnectionStatistics(self._frames, self._events, self._reconnects)

    async def run(self, deliver: Deliver) -> None:
        """Deliver what comes, over as many connections as it takes, until the venue ends it.

        Raises:
            VenueRefused: the venue said no in a way that another attempt does not mend.
            FeedError: no connection became live within `connect_timeout` of the start.
        """
        await deliver([self._status(FeedState.CONNECTING)])
        limit = self._settings.connect_timeout.total_seconds()
        give_up_at = anyio.current_time() + limit
        reason = ""
        while True:
            patience = limit if self._been_live else max(0.001, give_up_at - anyio.current_time())
            try:
                await self._attempt(deliver, patience)
            except _Ended:
                await deliver([self._status(FeedState.ENDED, END_OF_TAPE)])
                return
            except _Silent as drop:
                reason = str(drop) if self._been_live else reason or str(drop)
            except _Dropped as drop:
                reason = str(drop)
            delay = self._backoff.failed() / SECOND
            if not self._been_live:
                delay = min(delay, 1.0)
                if anyio.current_time() + delay >= give_up_at:
                    raise FeedError(f"no live feed from {self._place} in {limit:g} s: {reason}")
            elif self._outage is None:
                await deliver([self._lost(reason)])
            await anyio.sleep(delay)

    # --- one attempt ---------------------------------------------------------------------------

    async def _attempt(self, deliver: Deliver, patience: float) -> None:
        """Connect, and read until it breaks; always raises."""
        begun = anyio.current_time()
        self._verdict = None
        self._core.restart()
        socket = await self._open(patience)
        left = max(0.001, patience - (anyio.current_time() - begun))
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._expect_login, socket, left)
                tasks.start_soon(self._watch, socket)
                try:
                    await self._read(socket, deliver)
                finally:
                    tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise only(group) from None
        finally:
            with anyio.CancelScope(shield=True):  # bounded by close_timeout
                await socket.close()

    async def _open(self, patience: float) -> ClientConnection:
        settings = self._settings
        attempt = _Connect(
            self._url,
            ssl=self._ssl,
            additional_headers=self._core.headers,
            user_agent_header="tidegate",
            compression=None,
            proxy=None,
            open_timeout=patience,
            close_timeout=1,
            ping_interval=None,  # _watch does it, and knows when the silence is our own
            max_size=settings.max_size,
            max_queue=256,
        )
        try:
            return await attempt
        except InvalidStatus as error:
            status = error.response.status_code
            words = f"answered the upgrade with HTTP status {status}"
            if status in FORBIDDEN:
                raise VenueRefused(f"{self._place} {words}", status) from None
            if not self._been_live and status < 500 and status != 429:
                question = "is the URL that of a market-data stream?"
                raise FeedError(f"{self._place} {words}: {question}") from None
            raise _Dropped(f"it {words}") from None
        except ssl.SSLCertVerificationError as error:
            words = f"{self._place} has no certificate we trust: {error.verify_message}"
            raise (_Dropped if self._been_live else FeedError)(words) from None
        except TimeoutError:
            raise _Silent(f"no answer within {patience:.1f} s") from None
        except OSError as error:
            raise _Dropped(_os_reason(error)) from None
        except (InvalidHandshake, ConnectionClosed, EOFError) as error:
            raise _Dropped(f"it does not speak WebSocket there: {error}") from None

    async def _read(self, socket: ClientConnection, deliver: Deliver) -> None:
        """Hand on frame after frame; those that wait already are taken without yielding."""
        core, clock = self._core, time.time_ns
        live = False
        latest: Sequence[Event] = ()
        try:
            while True:
                frame = await socket.recv(decode=False)
                received = clock()
                self._frames += 1
                events = core.receive(frame, received)
                if live:
                    latest = events or latest
                else:
                    for answer in core.data_to_send():
                        await socket.send(answer)
                    if core.is_live:
                        live = True
                        events = [*self._return_to_life(received), *events]
                if events:
                    self._events += len(events)
                    self._delivering = True
                    await deliver(events)
                    self._delivering = False
                if core.refusal is not None:
                    raise core.refusal
                if core.fault is not None:
                    raise _Dropped(f"the venue said {core.fault}")
        except ConnectionClosed as closed:
            raise self._ending(closed) from None
        finally:
            self._delivering = False
            self._remember(latest)

    async def _expect_login(self, socket: ClientConnection, patience: float) -> None:
        await anyio.sleep(patience)
        if not self._core.is_live:
            self._verdict = f"the login was not done within {patience:.1f} s"
            await socket.close()

    async def _watch(self, socket: ClientConnection) -> None:
        """Close the connection once nothing comes in though nobody holds us up."""
        quiet = self._settings.quiet.total_seconds()
        seen = self._frames
        try:
            while True:
                await anyio.sleep(quiet)
                if self._delivering or self._frames != seen:
                    seen = self._frames
                    continue
                pong = await socket.ping()
                with anyio.move_on_after(quiet):
                    await pong
                    continue
                if self._frames == seen and not self._delivering:
                    self._verdict = f"nothing came for {2 * quiet:g} s, not even a pong"
                    await socket.close()
        except ConnectionClosed:
            return  # the reader sees it too

    # --- what becomes of it --------------------------------------------------------------------

    def _status(self, state: FeedState, detail: str = "") -> Status:
        return Status(self._name, state, time.time_ns(), detail)

    def _remember(self, latest: Sequence[Event]) -> None:
        """Note where in the venue's time the data stopped; only real data resets the backoff."""
        for event in reversed(latest):
            if isinstance(event, (Trade, Quote, Bar)):
                self._latest = event.time, event.received
                self._backoff.data_came()
                return

    def _lost(self, reason: str) -> Status:
        """Begin an outage."""
        now = time.time_ns()
        self._outage = *(self._latest or (now, now)), reason
        return self._status(FeedState.DISCONNECTED, reason)

    def _return_to_life(self, received: int) -> list[Event]:
        """Name the data that was missed. The venue's clock is taken to run as fast as ours."""
        self._been_live = True
        events: list[Event] = []
        if self._outage is not None:
            start, since, reason = self._outage
            self._outage = None
            self._reconnects += 1
            end = start + max(0, received - since)
            events.append(Gap(None, start, end, received, reason))
        events.append(self._status(FeedState.LIVE))
        return events

    def _ending(self, closed: ConnectionClosed) -> Exception:
        said = closed.rcvd
        if said is not None and said.code == 1000 and said.reason == END_OF_TAPE:
            return _Ended()
        if self._verdict is not None:
            return _Dropped(self._verdict)
        if said is not None:
            return _Dropped(f"the venue closed with {said.code} {said.reason}".rstrip())
        return _Dropped("the connection was lost")


class _Connect(connect):
    """A redirect would carry the login to a place that nobody named."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


def _check(url: str) -> tuple[ssl.SSLContext | None, str]:
    """Return how to secure a connection to this URL, and "host:port" for messages."""
    parts = urlsplit(url)
    try:
        port = parts.port or (443 if parts.scheme == "wss" else 80)
    except ValueError as error:
        raise ConfigError(f"the port in the venue's URL is wrong: {error}") from None
    host = parts.hostname or ""
    place = f"{host}:{port}"
    if parts.scheme not in {"ws", "wss"} or not host:
        raise ConfigError(
            f"the venue's URL has scheme {parts.scheme or 'none'} and host {host or 'none'}: "
            "give wss://host/path, or ws:// on this machine"
        )
    if parts.scheme == "wss":
        return ssl.create_default_context(), place
    if not _is_loopback(host):
        raise ConfigError(f"ws:// to {place} would send the login in clear text: use wss://")
    return None, place


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _os_reason(error: OSError) -> str:
    """The operating system's words; asyncio folds several addresses' errors into one text."""
    number = error.errno
    if number is None and (match := re.search(r"\[Errno (\d+)\]", str(error))):
        number = int(match[1])
    if number is not None and number > 0:
        return os.strerror(number)
    return error.strerror or str(error) or type(error).__name__


def _ns(span: timedelta) -> int:
    return round(span.total_seconds() * SECOND)


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
