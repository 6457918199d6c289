"""Where a run's market data comes from, and whose time it goes by: the feed, its clock, its venue.

Time goes on by itself only where data is of the moment. On a tape, from files or over the venue's
socket, the clock follows the events, at whatever speed they come: same tape, same bars.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from itertools import islice
from pathlib import Path

import anyio
import msgspec
from structlog.typing import FilteringBoundLogger

from feeds.base import Deliver, Feed, FeedStatistics, Subscription
from feeds.ccxt_feed import CcxtFeed
from feeds.ccxt_words import PREFIX as CCXT
from feeds.events import SECOND, Bar, Event, MarketEvent, QuoteBar, Symbol
from feeds.files import FileSource, open_source
from feeds.moments import due
from feeds.protocols.base import Options
from feeds.protocols.registry import VENUES
from feeds.replay import ReplayFeed
from feeds.session import ConnectionSettings
from feeds.sockets import Transport
from feeds.stream import AlpacaFeed, LiveFeed
from feeds.synthetic import START, SyntheticFeed
from feeds.transports import fast_or_refuse
from feeds.venue.account_options import AccountOptions
from feeds.venue.process import EmbeddedVenue, VenueOptions, embedded_venue
from runtime.clock import Clock, SystemClock, VirtualClock
from runtime.errors import ConfigError, RunFailed, VenueRefused
from runtime.settings import FeedSettings
from runtime.slices import MARKET_KINDS

LOOK_EVENTS = 100_000
NAMED_SYMBOLS = 10
FAR = 60 * SECOND
"""Beyond this, bars and the ages of quotes are wrong by the clock that counts."""


class Credentials(msgspec.Struct, frozen=True):
    """Keys of a venue that runs already; never shown."""

    key: str
    secret: str

    def __repr__(self) -> str:
        return "Credentials(***)"


class Opened(msgspec.Struct, frozen=True):
    """A feed that is ready to run, the clock that goes with it, the venue where it is our own."""

    feed: Feed
    clock: Clock
    venue: EmbeddedVenue | None = None


@asynccontextmanager
async def open_feed(
    wanted: FeedSettings,
    log: FilteringBoundLogger,
    credentials: Credentials | None,
    account: AccountOptions | None = None,
) -> AsyncIterator[Opened]:
    """Open what the settings name; leaving the context ends an embedded venue.

    An embedded venue keeps an `account` and takes orders for it, where one is given.

    Raises:
        ConfigError: what is named is not there, or a venue was named without the keys to it.
        FeedError: the embedded venue did not start.
    """
    if wanted.kind in VENUES:
        yield Opened(real_feed(wanted, credentials), SystemClock())
        return
    if wanted.is_ccxt:
        feed = await anyio.to_thread.run_sync(_ccxt_feed, wanted, credentials)
        yield Opened(feed, SystemClock())
        return
    if wanted.kind != "paper":
        yield await anyio.to_thread.run_sync(_tape, wanted)
        return
    if wanted.url is not None and credentials is None:
        raise ConfigError(f"{wanted.url} needs a key: set APCA_API_KEY_ID and APCA_API_SECRET_KEY")
    async with AsyncExitStack() as stack:
        venue = None
        if wanted.url is None:
            venue = await stack.enter_async_context(embedded_venue(_venue_options(wanted, account)))
            log.info("paper venue ready", url=venue.url, pid=venue.pid)
        yield _at_venue(wanted, log, venue, credentials)


def _at_venue(
    wanted: FeedSettings,
    log: FilteringBoundLogger,
    venue: EmbeddedVenue | None,
    credentials: Credentials | None,
) -> Opened:
    url, start = wanted.url or "", 0
    keys = credentials or Credentials("", "")
    system = SystemClock()
    if venue is not None:
        url, start = venue.url, system.now() if venue.start is None else venue.start
        keys = Credentials(venue.key, venue.secret)
    tape = wanted.follows_venue
    feed = AlpacaFeed(
        url,
        keys.key,
        keys.secret,
        name="paper",
        settings=_patience(wanted),
        tape=tape,
        lockstep=tape and venue is not None and not wanted.speed,
    )
    clock: Clock = VirtualClock(start) if tape else system
    return Opened(_VenueFeed(feed, wanted, log, is_timed_by_us=not tape), clock, venue)


def real_feed(wanted: FeedSettings, credentials: Credentials | None) -> LiveFeed:
    """Make the feed of a real venue; nothing is connected yet.

    Raises:
        ConfigError: the venue needs a key and there is none.
    """
    spec = VENUES[wanted.kind]
    if spec.needs_key and credentials is None:
        raise ConfigError(f"{spec.name} needs a key: set APCA_API_KEY_ID and APCA_API_SECRET_KEY")
    key, secret = ("", "") if credentials is None else (credentials.key, credentials.secret)
    return LiveFeed(
        spec,
        url=wanted.url,
        rest_url=wanted.rest_url,
        options=Options(key=key, secret=secret, book=wanted.book, bars=wanted.bars),
        settings=_patience(wanted),
    )


def _ccxt_feed(wanted: FeedSettings, credentials: Credentials | None) -> CcxtFeed:
    """Make the feed of a venue of ccxt; on a worker thread, as its import takes its time."""
    keys = {} if credentials is None else {"apiKey": credentials.key, "secret": credentials.secret}
    return CcxtFeed(
        wanted.kind.removeprefix(CCXT),
        options={**(keys if wanted.kind == "ccxt:alpaca" else {}), **wanted.ccxt},
        book=wanted.book,
        settings=_patience(wanted),
    )


def _patience(wanted: FeedSettings) -> ConnectionSettings:
    limit, transport = timedelta(seconds=wanted.connect_timeout), Transport(wanted.transport)
    if transport is Transport.FAST:
        fast_or_refuse()
    return ConnectionSettings(connect_timeout=limit, proxy=wanted.proxy, transport=transport)


def _venue_options(wanted: FeedSettings, account: AccountOptions | None) -> VenueOptions:
    return VenueOptions(
        seed=wanted.seed,
        rate=wanted.rate,
        data=wanted.data,
        table=msgspec.to_builtins(wanted.table),
        adjusted=wanted.normalization == "adjusted",
        speed=wanted.speed or None,
        patient=wanted.follows_venue,
        account=account,
    )


class _VenueFeed:
    """A venue's feed that does not end in silence, nor go by a clock of another time."""

    def __init__(
        self,
        feed: AlpacaFeed,
        wanted: FeedSettings,
        log: FilteringBoundLogger,
        *,
        is_timed_by_us: bool,
    ) -> None:
        self._feed, self._wanted, self._log = feed, wanted, log
        self._compares = self._is_timed_by_us = is_timed_by_us
        self._heard = False

    @property
    def lockstep(self) -> bool:
        """Whether the venue waits for the reader."""
        return self._feed.lockstep

    def statistics(self) -> FeedStatistics:
        """Return the counters so far."""
        return self._feed.statistics()

    async def run(self, subscriptions: Sequence[Subscription], deliver: Deliver) -> None:
        """Deliver until the venue's tape ends.

        Raises:
            RunFailed: it ended without one event.
            VenueRefused: the venue said no.
            FeedError: it could not be reached.
        """

        async def watch(batch: Sequence[Event]) -> None:
            if not self._heard or self._compares:
                self._look_at(batch)
            await deliver(batch)

        try:
            await self._feed.run(subscriptions, watch)
        except VenueRefused as refused:
            if refused.code is None and self._wanted.data:
                found = await anyio.to_thread.run_sync(held, self._wanted)
                hint = ", on a tape only: leave --clock wall out, or use --feed replay"
                raise VenueRefused(
                    f"{refused}; the data holds {found}{hint if self._is_timed_by_us else ''}"
                ) from None
            raise
        if not self._heard:
            raise await _nothing_for(subscriptions, self._wanted)

    def subscribe(self, subscriptions: Sequence[Subscription]) -> None:
        """Add symbols."""
        self._feed.subscribe(subscriptions)

    def unsubscribe(self, symbols: Sequence[Symbol]) -> None:
        """Take symbols out."""
        self._feed.unsubscribe(symbols)

    def _look_at(self, batch: Sequence[Event]) -> None:
        """Note that there is data; say once that its times are not ours."""
        latest = next((e for e in reversed(batch) if isinstance(e, MARKET_KINDS)), None)
        if latest is None:
            return
        self._heard = True
        ahead = _told_at(latest) - latest.received
        if self._compares and abs(ahead) > FAR:
            self._compares = False
            self._log.warning(
                "the venue's times are far from this run's clock: bars and ages of quotes will be "
                "wrong; --clock venue goes by the venue's times",
                behind=str(timedelta(seconds=-ahead // SECOND)) if ahead < 0 else None,
                ahead=str(timedelta(seconds=ahead // SECOND)) if ahead > 0 else None,
            )


def _told_at(event: MarketEvent) -> int:
    return event.end_time if isinstance(event, Bar | QuoteBar) else event.time


# --- tapes in this process --------------------------------------------------------------------


def _tape(wanted: FeedSettings) -> Opened:
    speed = wanted.speed or None
    if wanted.kind == "synthetic":
        feed = SyntheticFeed(wanted.seed, wanted.rate, wanted.minutes, speed)
        return Opened(feed, VirtualClock(START))
    if not wanted.data:
        raise ConfigError("--feed replay needs --data: a file or folder of recorded market data")
    source = _source(wanted)
    start = min((due(event) for event in source.first_events()), default=0)
    return Opened(_RecordedFeed(source, wanted, speed), VirtualClock(start))


class _RecordedFeed(ReplayFeed):
    """A replay that fails where the data holds nothing of what the strategy asked for."""

    def __init__(self, source: FileSource, wanted: FeedSettings, speed: float | None) -> None:
        super().__init__(source, speed)
        self._settings = wanted

    async def run(self, subscriptions: Sequence[Subscription], deliver: Deliver) -> None:
        """Play; afterwards an empty run is told as what it is: most likely a wrong symbol.

        Raises:
            RunFailed: not one event was delivered.
        """
        await super().run(subscriptions, deliver)
        if not self.statistics().events:
            raise await _nothing_for(subscriptions, self._settings)


async def _nothing_for(subscriptions: Sequence[Subscription], wanted: FeedSettings) -> RunFailed:
    asked = ", ".join(subscription.symbol for subscription in subscriptions)
    if not wanted.data:
        return RunFailed(f"the venue's tape has ended and held nothing for {asked}")
    found = await anyio.to_thread.run_sync(held, wanted)
    return RunFailed(f"the data held nothing for {asked}: it holds {found}")


def _source(wanted: FeedSettings) -> FileSource:
    paths = [Path(path) for path in wanted.data]
    return open_source(paths, wanted.table, adjusted=wanted.normalization == "adjusted")


def held(wanted: FeedSettings) -> str:
    """Name what the data holds, by the paths or else by a look at the beginning."""
    source = _source(wanted)  # anew, so that the counts of the run stay as they are
    found = set(source.symbols)
    if not source.tells_all:
        found |= {event.symbol for event in islice(source.events(), LOOK_EVENTS)}
    named = sorted(found)
    more = f" and {len(named) - NAMED_SYMBOLS} more" if len(named) > NAMED_SYMBOLS else ""
    return (", ".join(named[:NAMED_SYMBOLS]) or "nothing at all") + more
