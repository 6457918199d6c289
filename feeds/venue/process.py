"""The paper venue as a process of its own: `embedded_venue` starts it, `main` is what runs in it.

The child takes any free port, makes up a key pair and says both on one line of its stdout; nothing
secret is ever on a command line. It ends when its stdin does, so no death of the parent, not even
SIGKILL, leaves it behind; a Ctrl-C reaches only the parent, which then ends it.
"""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
from anyio.abc import ByteReceiveStream, Process
from anyio.streams.buffered import BufferedByteReceiveStream
from msgspec import Struct

from feeds.base import Audit, Market
from feeds.errors import ConfigError, FeedError, TidegateError
from feeds.events import Symbol
from feeds.session import only
from feeds.venue.account_options import AccountOptions
from feeds.venue.bars import MinuteBars
from feeds.venue.faults import Faults, make_plan
from feeds.venue.protocol import Credentials
from feeds.venue.server import Venue, serve

if TYPE_CHECKING:
    from feeds.venue.recorded import RecordedMarket

START_TIMEOUT = 10.0
STOP_TIMEOUT = 2.0
LONGEST_LINE = 4096
TAIL_BYTES = 4096
EXIT_CONFIG = 2
INHERITED = {
    *("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH"),
    *("HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "COVERAGE_PROCESS_START"),
}
"""All of the parent's environment that the child gets: no broker's keys."""


class VenueOptions(Struct, frozen=True):
    """What to serve and how: recorded data where `data` names paths, else a synthetic market.

    `seed` and `rate` (ticks per second and symbol) shape the synthetic market; `table` is a
    TableMapping, by its fields. `speed` is market time per real time, None for flat out. The clock
    starts with `audience` subscribed sessions: a client has one for each asset class. `patient`: a
    paced tape waits for who is too slow for it. `account`: take orders too. `faults`: what goes
    wrong on purpose, a FaultPlan by its fields.
    """

    seed: int = 0
    rate: float = 20.0
    data: tuple[str, ...] = ()
    table: dict[str, Any] = {}
    adjusted: bool = True
    speed: float | None = 1.0
    host: str = "127.0.0.1"
    port: int = 0
    audience: int = 1
    patient: bool = False
    account: AccountOptions | None = None
    faults: dict[str, Any] = {}


class _Address(Struct, frozen=True):
    """What the child says once it listens; `start` is when its market begins, None: now."""

    url: str
    key: str
    secret: str
    start: int | None
    trading_url: str = ""


class EmbeddedVenue:
    """A running venue. `url` has no path; `key` and `secret` log in to it.

    `trading_url` is where it takes orders, empty where it takes none.

    `start` is the time of a tape's first event, ns UTC; None where the market begins now. `audit`
    accounts for the rows of recorded data, once the venue has ended by itself or in order.
    """

    def __init__(self, process: Process, address: _Address, errors: "_Tail") -> None:
        self.url, self.key, self.secret = address.url, address.key, address.secret
        self.start, self.trading_url = address.start, address.trading_url
        self.audit: Audit | None = None
        self._process, self._errors = process, errors

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """How it ended (minus the signal that killed it), or None while it runs."""
        return self._process.returncode

    @property
    def last_words(self) -> str:
        """The end of what it wrote to stderr."""
        return self._errors.text

    async def wait(self) -> int:
        """Wait until it ends and return how; nothing but the parent should make it end."""
        return await self._process.wait()


class _Tail:
    """Reads a stream to its end, so that the writer never blocks, and keeps the last bytes."""

    def __init__(self, stream: ByteReceiveStream) -> None:
        self._stream, self._kept = stream, b""
        self.done = anyio.Event()

    @property
    def text(self) -> str:
        """What is kept."""
        return self._kept.decode("utf-8", "replace").strip()

    async def read(self) -> None:
        """Read on until the stream ends."""
        async for chunk in self._stream:
            self._kept = (self._kept + chunk)[-TAIL_BYTES:]
        self.done.set()


@asynccontextmanager
async def embedded_venue(
    options: VenueOptions = VenueOptions(),  # noqa: B008 - frozen
) -> AsyncIterator[EmbeddedVenue]:
    """Start a venue in its own process; leaving the context ends it within two seconds.

    Raises:
        ConfigError: the options name data or an address that cannot be served.
        FeedError: it did not start within ten seconds.
    """
    command = [sys.executable, "-P", "-m", "feeds.venue.process"]
    process = await anyio.open_process(
        [*command, msgspec.json.encode(options).decode()],
        stdin=subprocess.PIPE,
        start_new_session=True,
        env={name: value for name, value in os.environ.items() if name in INHERITED},
    )
    if process.stdout is None or process.stderr is None:
        raise RuntimeError("the venue's process was opened without its pipes")
    errors, lines = _Tail(process.stderr), BufferedByteReceiveStream(process.stdout)
    venue: EmbeddedVenue | None = None
    failure: BaseException | None = None
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(errors.read)
            try:
                address = await _greeting(process, lines, errors)
                venue = EmbeddedVenue(process, address, errors)
                yield venue
            except BaseException as error:  # noqa: BLE001 - carried past the task group, unwrapped
                failure = error
            with anyio.CancelScope(shield=True):
                await _end(process)
                if venue is not None:
                    venue.audit = await _audit(lines)
            tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await process.aclose()
    if failure is not None:
        raise failure


async def _greeting(process: Process, lines: BufferedByteReceiveStream, errors: _Tail) -> _Address:
    try:
        with anyio.fail_after(START_TIMEOUT):
            line = await lines.receive_until(b"\n", LONGEST_LINE)
        return msgspec.json.decode(line, type=_Address)
    except TimeoutError:
        reason = f"it said nothing for {START_TIMEOUT:g} s"
    except anyio.IncompleteRead:
        with anyio.move_on_after(STOP_TIMEOUT):
            code = await process.wait()
            await errors.done.wait()
            if code == EXIT_CONFIG:
                raise ConfigError(errors.text) from None
        reason = f"it ended with {process.returncode}"
    except (msgspec.DecodeError, anyio.DelimiterNotFound):
        reason = "its first line was no address"
    said = errors.text.splitlines() or ["no message"]  # of a traceback, the line that tells
    raise FeedError(f"the paper venue did not start: {reason}; {said[-1]}")


async def _audit(lines: BufferedByteReceiveStream) -> Audit | None:
    """Read what an ended venue said of its rows; one that was killed, or had none, said nothing."""
    try:
        with anyio.move_on_after(STOP_TIMEOUT):  # a child of its own may have kept the pipe
            line = await lines.receive_until(b"\n", LONGEST_LINE)
            return msgspec.json.decode(line, type=Audit)
    except (anyio.IncompleteRead, anyio.DelimiterNotFound, msgspec.DecodeError):
        pass
    return None


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.terminate()
        with anyio.move_on_after(STOP_TIMEOUT):
            await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()


# --- in the child -----------------------------------------------------------------------------


def _market(options: VenueOptions) -> "tuple[Market, RecordedMarket | None]":
    """Make the market; with it, the recorded one that it plays, if any."""
    if options.data:
        from feeds.venue.recorded import RecordedMarket  # noqa: PLC0415 - readers of files

        recorded = RecordedMarket(options.data, options.table, adjusted=options.adjusted)
        return MinuteBars(recorded), recorded
    from feeds.market import SyntheticMarket  # noqa: PLC0415 - numpy, only where it is needed

    return MinuteBars(SyntheticMarket(options.seed, options.rate)), None


class Opening(Struct, frozen=True):
    """What a venue that now listens says of itself.

    `start` is the time of its first event, None: now. `untold` names what it plays on its own
    stream only, by symbol: clients of Alpaca's channels are told that it has no such symbol.
    `trading_url` is where it takes orders, empty where it takes none.
    """

    url: str
    start: int | None
    untold: dict[Symbol, str]
    trading_url: str = ""


async def serve_until_signal(
    options: VenueOptions,
    credentials: Credentials,
    announce: Callable[[Opening], None],
    *,
    or_end_of_input: bool = False,
) -> Audit | None:
    """Serve until SIGTERM or SIGINT; `announce` is told once it listens.

    Returns:
        What became of the rows of recorded data.

    Raises:
        ConfigError: the options name data or an address that cannot be served.
    """
    market, recorded = await anyio.to_thread.run_sync(_market, options)
    start = market.start
    untold = recorded.untold if recorded else {}

    def opened(venue: Venue) -> None:
        announce(Opening(venue.url, start, untold, venue.trading_url))

    try:
        await _serve(market, options, credentials, opened, or_end_of_input)
    except BaseExceptionGroup as group:
        raise only(group) from None
    return recorded.audit() if recorded else None


async def _serve(
    market: Market,
    options: VenueOptions,
    credentials: Credentials,
    announce: Callable[[Venue], None],
    or_end_of_input: bool,
) -> None:
    async with anyio.create_task_group() as tasks:
        scope = tasks.cancel_scope
        tasks.start_soon(_await_signal, scope)
        if or_end_of_input:
            tasks.start_soon(_await_end_of_input, scope)
        venue = await tasks.start(
            partial(
                serve,
                market,
                credentials,
                host=options.host,
                port=options.port,
                speed=options.speed,
                audience=options.audience,
                patient=options.patient,
                account=options.account,
                faults=Faults(make_plan(options.faults, "faults")),
            )
        )
        announce(venue)


async def _await_end_of_input(scope: anyio.CancelScope) -> None:
    await anyio.wait_readable(sys.stdin.fileno())  # nobody writes to it: this is its end
    scope.cancel()


async def _await_signal(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            scope.cancel()


def main() -> int:
    """Run the venue that the one argument, VenueOptions as JSON, describes."""
    options = msgspec.json.decode(sys.argv[1], type=VenueOptions)
    credentials = Credentials(secrets.token_hex(10), secrets.token_urlsafe(32))

    def greet(opening: Opening) -> None:
        address = _Address(
            opening.url, credentials.key, credentials.secret, opening.start, opening.trading_url
        )
        sys.stdout.write(msgspec.json.encode(address).decode() + "\n")
        sys.stdout.flush()

    serve_here = partial(serve_until_signal, options, credentials, greet, or_end_of_input=True)
    try:
        audit = anyio.run(serve_here)
    except TidegateError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_CONFIG if isinstance(error, ConfigError) else 1
    if audit is not None:
        sys.stdout.write(msgspec.json.encode(audit).decode() + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
