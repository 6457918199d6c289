"""A live feed: one venue, any number of symbols, spread over connections that come back.

Symbols are grouped by asset class, and each group is cut to what one connection of the venue
bears. Batches are single frames, delivered as they come; connections deliver side by side. A tape,
which only our own venue has, is one connection with everything in one order.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from random import Random

import anyio
from anyio.abc import TaskGroup

from feeds.base import ConnectionStatistics, Deliver, FeedStatistics, Subscription
from feeds.budget import Budget
from feeds.connection import Connection
from feeds.continuity import Continuity
from feeds.dial import parse_address
from feeds.errors import ConfigError
from feeds.events import AssetClass, Symbol
from feeds.protocols.alpaca import PATHS, Codec, make_alpaca, make_tape
from feeds.protocols.base import Limits, Options, VenueProtocol, VenueSpec
from feeds.recorder import Recorder
from feeds.session import ConnectionSettings, only


class LiveFeed:
    """Trades, quotes and bars of a venue.

    Args:
        spec: the venue.
        url: ws:// or wss:// with host and port, in place of the venue's own.
        rest_url: the same for what is asked over HTTP.
        options: credentials and choices.
        name: what statuses and statistics call this feed.
        settings: how patient the connections are.
        random: the source of the jitter between attempts.
    """

    def __init__(
        self,
        spec: VenueSpec,
        *,
        url: str | None = None,
        rest_url: str | None = None,
        options: Options = Options(),  # noqa: B008 - frozen
        name: str | None = None,
        settings: ConnectionSettings = ConnectionSettings(),  # noqa: B008 - frozen
        random: Random | None = None,
    ) -> None:
        self._spec, self._options, self._settings = spec, options, settings
        self._name = name or spec.name
        self._url, self._rest_url = url or spec.url, spec.rest_url
        if url is not None:  # another place: the venue's own REST address is not meant
            self._rest_url = rest_url
        self._random = random or Random()
        self._continuity = Continuity()
        self._lines: list[tuple[AssetClass | None, Connection]] = []
        self._gone: list[ConnectionStatistics] = []
        self._numbers = 0
        self._tasks: TaskGroup | None = None
        self._deliver: Deliver
        self._budget: Budget

    @property
    def lockstep(self) -> bool:
        """False: the venue's time goes on by itself."""
        return False

    def recorded(self, folder: Path, *, tables: bool) -> Recorder:
        """Have all that this feed hears recorded; call it before `run`, away from the loop.

        Raises:
            ConfigError: the folder will not do, or tables need pyarrow.
        """
        recorder = Recorder(folder, self._spec, self._url, self._rest_url, tables=tables)
        self._spec = recorder.spec
        return recorder

    async def run(self, subscriptions: Sequence[Subscription], deliver: Deliver) -> None:
        """Deliver batches until the venue says that there is nothing more.

        Raises:
            ConfigError: the URL is none that a login may be sent to, or a symbol none of its kinds.
            VenueRefused: wrong credentials, or a subscription that the venue will not serve.
            FeedError: the venue gave no live feed within the time allowed at start.
        """
        self._deliver = deliver
        self._budget = Budget(self._spec.limits, self._rest_url, self._settings.proxy)
        self._check(subscriptions)
        self._lines = self._spread(subscriptions)
        try:
            async with anyio.create_task_group() as self._tasks:
                for _, connection in self._lines:
                    self._tasks.start_soon(connection.run, deliver)
        except BaseExceptionGroup as group:
            raise only(group) from None
        finally:
            self._tasks = None

    def subscribe(self, subscriptions: Sequence[Subscription]) -> None:
        """Add symbols: where there is room for them, and on new connections for the rest.

        Raises:
            ConfigError: a symbol is none of the venue's kinds.
        """
        self._check(subscriptions)
        have = {symbol for _, line in self._lines for symbol in line.subscriptions}
        new = [each for each in subscriptions if each.symbol not in have]
        for kind, line in self._lines:
            room = self._spec.limits.symbols - len(line.subscriptions)
            some = [each for each in new if self._kind(each) == kind][:room]
            if some:
                line.subscribe(some)
                new = [each for each in new if each not in some]
        if new and self._tasks is not None:
            for kind, line in self._spread(new, may_wait=True):
                self._lines.append((kind, line))
                self._tasks.start_soon(line.run, self._deliver)

    def unsubscribe(self, symbols: Sequence[Symbol]) -> None:
        """Take symbols out; a connection without symbols is closed."""
        for kind, line in list(self._lines):
            line.unsubscribe(symbols)
            if not line.subscriptions and len(self._lines) > 1:
                self._lines.remove((kind, line))
                self._gone.append(line.statistics())
                line.stop()

    def statistics(self) -> FeedStatistics:
        """Return the counters so far, over all connections."""
        lines = [connection.statistics() for _, connection in self._lines]
        every = [*self._gone, *lines]
        ignored: Counter[str] = Counter()
        for line in every:
            ignored.update(line.ignored)
        return FeedStatistics(
            name=self._name,
            frames=sum(line.frames for line in every),
            events=sum(line.events for line in every),
            malformed=sum(line.malformed for line in every),
            reconnects=sum(line.reconnects for line in every),
            gaps=sum(line.gaps for line in every),
            ignored=dict(ignored),
            duplicates=self._continuity.duplicates,
            filled=sum(line.filled for line in every),
            skew=max((line.skew for line in lines if line.skew is not None), default=None),
            connections=tuple(lines),
        )

    def _check(self, subscriptions: Iterable[Subscription]) -> None:
        for each in subscriptions:
            if each.asset_class not in self._spec.asset_classes:
                kinds = " and ".join(sorted(self._spec.asset_classes))
                raise ConfigError(
                    f"{each.symbol} is {each.asset_class}: {self._spec.name} has {kinds} only"
                )

    def _spread(
        self, subscriptions: Sequence[Subscription], *, may_wait: bool = False
    ) -> list[tuple[AssetClass | None, Connection]]:
        """Cut the symbols into connections."""
        address = parse_address(self._url)
        classes: dict[AssetClass | None, list[Subscription]] = {}
        for each in subscriptions:
            classes.setdefault(self._kind(each), []).append(each)
        most = self._spec.limits.symbols
        parts = [
            (kind, group[first : first + most])
            for kind, group in classes.items()
            for first in range(0, len(group), most)
        ]
        lines = []
        for kind, part in parts:
            self._numbers += 1
            several = self._numbers > 1 or len(parts) > 1
            name = f"{self._name} {self._numbers}" if several else self._name
            line = Connection(
                address,
                name,
                part,
                self._make,
                self._spec.limits,
                self._settings,
                self._budget,
                self._random.random,
                may_wait=may_wait,
            )
            lines.append((kind, line))
        return lines

    def _kind(self, subscription: Subscription) -> AssetClass | None:
        """What has connections of its own; None where all classes share one."""
        return subscription.asset_class

    def _make(self, subscriptions: Sequence[Subscription]) -> VenueProtocol:
        return self._spec.make(subscriptions, self._options, self._continuity)


class AlpacaFeed(LiveFeed):
    """A venue that speaks Alpaca's market-data stream: ours, or Alpaca itself.

    Args:
        url: ws:// or wss:// with host and port; each asset class adds its path from `paths`.
        key: the account's key id.
        secret: its secret; neither shows in any message.
        name: what statuses and statistics call this feed.
        codec: how frames are written.
        paths: where each asset class is served, for example "/v2/sip" for equities.
        settings: how patient the connections are.
        random: the source of the jitter between attempts.
        tape: hear the venue's own stream, by whose times the engine then goes.
        lockstep: the tape is played flat out, so that it waits for the reader.
    """

    def __init__(
        self,
        url: str,
        key: str,
        secret: str,
        *,
        name: str = "alpaca",
        codec: Codec = Codec.MSGPACK,
        paths: Mapping[AssetClass, str] = PATHS,
        settings: ConnectionSettings = ConnectionSettings(),  # noqa: B008 - frozen
        random: Random | None = None,
        tape: bool = False,
        lockstep: bool = False,
    ) -> None:
        self._is_tape, self._lockstep = tape, lockstep
        spec = VenueSpec(
            name=name,
            url=url,
            rest_url=None,
            limits=Limits(symbols=100_000),
            make=partial(make_tape, codec) if tape else partial(make_alpaca, codec, paths),
            asset_classes=frozenset(AssetClass),
            needs_key=True,
        )
        options = Options(key=key, secret=secret)
        super().__init__(spec, options=options, settings=settings, random=random)

    @property
    def lockstep(self) -> bool:
        """Whether the venue waits for the reader; otherwise its time goes on by itself."""
        return self._lockstep

    def _kind(self, subscription: Subscription) -> AssetClass | None:
        return None if self._is_tape else subscription.asset_class
