"""Any venue of ccxt as a feed: an extra, for those that have no protocol here.

ccxt holds the connections and speaks the venues' words; what it does not tell stays unknown. Its
subscriptions are not confirmed, so LIVE means that the symbols exist and have been asked for. A
connection that breaks is told as an outage with its gap; trades whose ids were seen come once.
"""

import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib import import_module
from random import Random
from typing import Any

import anyio
from anyio.abc import TaskGroup

from feeds.backoff import Backoff
from feeds.base import ConnectionStatistics, Deliver, FeedStatistics, Subscription
from feeds.ccxt_words import PREFIX, CcxtReader
from feeds.errors import ConfigError, FeedError, VenueRefused
from feeds.events import SECOND, AssetClass, Event, FeedState, Gap, Status, Symbol
from feeds.session import ConnectionSettings, only

TRADES_KEPT = 10_000
"""Trades of a symbol that ccxt keeps between two calls; more would push out the oldest."""
WORDS = 200
_URL = re.compile(r"https?://([^/\s]{1,100})\S*")
CLOSE_SECONDS = 2.0

Read = Callable[[Symbol], Awaitable[list[Event]]]


def load_ccxt() -> Any:
    """Import ccxt with its streams.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return import_module("ccxt.pro")
    except ImportError as error:
        raise ConfigError(f"--feed ccxt:NAME needs {error.name}: install tidegate[ccxt]") from None


class CcxtFeed:
    """Trades and best quotes of a ccxt venue.

    Args:
        venue: ccxt's name of it, such as "bitfinex".
        options: what ccxt's constructor takes, such as apiKey, secret, options or urls.
        book: make quotes of the order book, where the venue has one.
        settings: how patient it is; of these the time for the start, the backoff and the proxy.
        random: the source of the jitter between attempts.

    Raises:
        ConfigError: ccxt is not installed, or has no such venue, or that has no stream of trades.
    """

    def __init__(
        self,
        venue: str,
        *,
        options: Mapping[str, Any] | None = None,
        book: bool = False,
        settings: ConnectionSettings = ConnectionSettings(),  # noqa: B008 - frozen
        random: Random | None = None,
    ) -> None:
        self._ccxt, self._venue, self._name = load_ccxt(), venue, PREFIX + venue
        if venue not in self._ccxt.exchanges:
            raise ConfigError(f"ccxt has no streams of {venue!r}: see ccxt.pro.exchanges")
        self._settings = settings
        self._options = {"aiohttp_trust_env": True, **_proxy(settings.proxy), **(options or {})}
        self._reader = CcxtReader(self._name)
        self._draw = (random or Random()).random
        has = getattr(self._ccxt, venue)().has
        if not has.get("watchTrades"):
            raise ConfigError(f"{self._name} has no trades as a stream")
        ways: dict[str, Read] = {  # the leanest first
            "watchBidsAsks": self._read_best,
            "watchTicker": self._read_ticker,
            "watchOrderBook": self._read_book,
        }
        names = reversed(ways) if book else iter(ways)
        self._quotes = next((ways[name] for name in names if has.get(name) is True), None)
        self._exchange: Any = None
        self._wanted: dict[Symbol, anyio.CancelScope] = {}
        self._tasks: TaskGroup | None = None
        self._deliver: Deliver
        self._state = FeedState.CONNECTING
        self._lost: dict[tuple[Symbol, Read], int] = {}  # since when, ns
        self._latest = 0  # ours, ns
        self._events = self._rows = self._reconnects = self._gaps = 0

    @property
    def lockstep(self) -> bool:
        """False: the venue's time goes on by itself."""
        return False

    async def run(self, subscriptions: Sequence[Subscription], deliver: Deliver) -> None:
        """Deliver until cancelled.

        Raises:
            ConfigError: a symbol is no crypto pair.
            VenueRefused: the venue does not know a symbol, or wants a key.
            FeedError: it was not reached within the time allowed at the start.
        """
        self._deliver = deliver
        _check(self._name, subscriptions)
        options = {**self._options, "options": {"tradesLimit": TRADES_KEPT}}
        options["options"] |= self._options.get("options", {})
        self._exchange = getattr(self._ccxt, self._venue)(options)
        try:
            await deliver([self._status(FeedState.CONNECTING)])
            await self._start(subscriptions)
            await self._tell(FeedState.LIVE)
            async with anyio.create_task_group() as self._tasks:
                self.subscribe(subscriptions)
                await anyio.sleep_forever()
        except BaseExceptionGroup as group:
            raise only(group) from None
        finally:
            self._tasks = None
            with anyio.move_on_after(CLOSE_SECONDS, shield=True):
                await self._exchange.close()

    def subscribe(self, subscriptions: Sequence[Subscription]) -> None:
        """Add symbols; one that the venue does not know is told as a status.

        Raises:
            ConfigError: a symbol is no crypto pair.
        """
        _check(self._name, subscriptions)
        for each in subscriptions:
            if self._tasks is not None and each.symbol not in self._wanted:
                self._wanted[each.symbol] = anyio.CancelScope()
                self._tasks.start_soon(self._watch, each.symbol)

    def unsubscribe(self, symbols: Sequence[Symbol]) -> None:
        """Take symbols out; ccxt's connection goes on for the others."""
        for symbol in symbols:
            if scope := self._wanted.pop(symbol, None):
                scope.cancel()

    def statistics(self) -> FeedStatistics:
        """Return the counters so far; `frames` are answers of ccxt."""
        reader = self._reader
        line = ConnectionStatistics(
            name=self._name,
            state=self._state,
            frames=self._rows,
            events=self._events,
            malformed=reader.malformed,
            reconnects=self._reconnects,
            gaps=self._gaps,
            active=len(self._wanted),
            ignored=dict(reader.ignored),
        )
        return FeedStatistics(
            name=self._name,
            frames=self._rows,
            events=self._events,
            malformed=reader.malformed,
            reconnects=self._reconnects,
            gaps=self._gaps,
            ignored=dict(reader.ignored),
            duplicates=reader.continuity.duplicates,
            connections=(line,),
        )

    # --- the start -----------------------------------------------------------------------------

    async def _start(self, subscriptions: Sequence[Subscription]) -> None:
        """Load the venue's list of markets, and find all symbols in it."""
        limit = self._settings.connect_timeout.total_seconds()
        try:
            with anyio.fail_after(limit):
                await self._exchange.load_markets()
        except TimeoutError:
            raise FeedError(f"no live feed from {self._name} in {limit:g} s: no answer") from None
        except self._ccxt.AuthenticationError as error:
            raise VenueRefused(f"{self._name} refused: {_words(error)}") from None
        except self._ccxt.BaseError as error:
            raise FeedError(f"no live feed from {self._name}: {_words(error)}") from None
        unknown = [each.symbol for each in subscriptions if not self._knows(each.symbol)]
        if unknown:
            raise VenueRefused(
                f"{self._name} does not serve {', '.join(sorted(unknown)[:5])}: "
                "take them out, or name a venue that does"
            )

    def _knows(self, symbol: Symbol) -> bool:
        return symbol in (self._exchange.markets or {})

    # --- one symbol ----------------------------------------------------------------------------

    async def _watch(self, symbol: Symbol) -> None:
        """Follow a symbol's trades and quotes until it is taken out."""
        if not self._knows(symbol):
            self._wanted.pop(symbol, None)
            await self._tell(self._state, f"{symbol}: {self._name} does not serve it")
            return
        with self._wanted[symbol]:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._follow, symbol, self._read_trades)
                if self._quotes is not None:
                    tasks.start_soon(self._follow, symbol, self._quotes)

    async def _follow(self, symbol: Symbol, read: Read) -> None:
        """Read one stream for ever; ccxt connects again when it is asked again."""
        backoff = Backoff(
            self._draw,
            round(self._settings.backoff.total_seconds() * SECOND),
            round(self._settings.backoff_cap.total_seconds() * SECOND),
        )
        while True:
            try:
                events = await read(symbol)
            except self._ccxt.AuthenticationError as error:
                raise VenueRefused(f"{self._name} refused: {_words(error)}") from None
            except (self._ccxt.NotSupported, self._ccxt.BadSymbol) as error:
                await self._tell(self._state, f"{symbol}: {_words(error)}")
                return
            except self._ccxt.BaseError as error:
                await self._lose(symbol, read, _words(error))
                await anyio.sleep(backoff.failed() / SECOND)
                continue
            backoff.data_came()
            self._rows += 1
            await self._find(symbol, read)
            if events:
                self._events += len(events)
                await self._deliver(events)
            else:
                await anyio.lowlevel.checkpoint()

    async def _read_trades(self, symbol: Symbol) -> list[Event]:
        rows = await self._exchange.watch_trades(symbol)
        self._latest = received = time.time_ns()
        events = self._reader.trades(symbol, rows, received)
        if len(rows) >= TRADES_KEPT:
            self._gaps += 1
            reason = f"more than {TRADES_KEPT} trades came at once"
            events.insert(0, Gap(symbol, received, received, received, reason))
        return events

    async def _read_ticker(self, symbol: Symbol) -> list[Event]:
        row = await self._exchange.watch_ticker(symbol)
        return self._reader.quote(symbol, row, time.time_ns())

    async def _read_best(self, symbol: Symbol) -> list[Event]:
        rows = await self._exchange.watch_bids_asks([symbol])
        now, row = time.time_ns(), rows.get(symbol)
        return [] if row is None else self._reader.quote(symbol, row, now)

    async def _read_book(self, symbol: Symbol) -> list[Event]:
        row = await self._exchange.watch_order_book(symbol)
        return self._reader.book(symbol, row, time.time_ns())

    # --- outages -------------------------------------------------------------------------------

    async def _lose(self, symbol: Symbol, read: Read, reason: str) -> None:
        """A stream has broken; the first of them is the outage."""
        is_first = not self._lost
        self._lost.setdefault((symbol, read), self._latest or time.time_ns())
        if is_first:
            await self._tell(FeedState.DISCONNECTED, reason)

    async def _find(self, symbol: Symbol, read: Read) -> None:
        """A stream goes on: tell its own gap, and once all do, that the feed is back."""
        since = self._lost.pop((symbol, read), None)
        if since is None:
            return
        now = time.time_ns()
        self._gaps += 1
        gap = Gap(symbol, since, max(since, now), now, "the connection was lost")
        await self._deliver([gap])
        if not self._lost:
            self._reconnects += 1
            await self._tell(FeedState.LIVE)

    async def _tell(self, state: FeedState, detail: str = "") -> None:
        self._state = state
        await self._deliver([self._status(state, detail)])

    def _status(self, state: FeedState, detail: str = "") -> Status:
        return Status(self._name, state, time.time_ns(), detail)


def _check(name: str, subscriptions: Sequence[Subscription]) -> None:
    for each in subscriptions:
        if each.asset_class is not AssetClass.CRYPTO:
            raise ConfigError(f"{each.symbol} is {each.asset_class}: {name} has crypto only")


def _proxy(url: str | None) -> dict[str, str]:
    return {} if url is None else {"httpsProxy": url, "wssProxy": url}


def _words(error: Exception) -> str:
    """What kind of error it is and the beginning of what it says, on one line, of URLs the host."""
    text = _URL.sub(r"\1", " ".join(f"{type(error).__name__}: {error}".split()))
    return text[:WORDS]
