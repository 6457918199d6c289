"""A live feed from a venue that speaks Alpaca's market-data stream: ours, or Alpaca itself.

Symbols are grouped by asset class, and each class has its own path and so its own connection.
Batches are single frames, delivered as they come; two classes may deliver at the same time.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random

import anyio

from feeds.base import Deliver, FeedStatistics, Subscription
from feeds.connection import Connection, ConnectionSettings, only
from feeds.events import AssetClass
from feeds.protocols.alpaca import PATHS, AlpacaDecoder, Codec


class AlpacaFeed:
    """Trades, quotes and minute bars of a venue, over connections that come back.

    Args:
        url: ws:// or wss:// with host and port; each asset class adds its path from `paths`.
        key: the account's key id.
        secret: its secret; neither shows in any message.
        name: what statuses and statistics call this feed.
        codec: how frames are written.
        paths: where each asset class is served, for example "/v2/sip" for equities.
        settings: how patient the connections are.
        random: the source of the jitter between attempts.
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
    ) -> None:
        self._url, self._key, self._secret, self._name = url.rstrip("/"), key, secret, name
        self._codec, self._paths, self._settings = codec, paths, settings
        self._random = random or Random()
        self._lines: list[tuple[Connection, AlpacaDecoder]] = []

    @property
    def lockstep(self) -> bool:
        """False: the venue's time goes on by itself."""
        return False

    async def run(self, subscriptions: Sequence[Subscription], deliver: Deliver) -> None:
        """Deliver batches until the venue says that there is nothing more.

        Raises:
            ConfigError: the URL is none that a login may be sent to.
            VenueRefused: wrong credentials, or a subscription that the venue will not serve.
            FeedError: the venue gave no live feed within the time allowed at start.
        """
        classes: dict[AssetClass, list[Subscription]] = {}
        for subscription in subscriptions:
            classes.setdefault(subscription.asset_class, []).append(subscription)
        self._lines = [self._line(kind, group) for kind, group in classes.items()]
        try:
            async with anyio.create_task_group() as tasks:
                for connection, _ in self._lines:
                    tasks.start_soon(connection.run, deliver)
        except BaseExceptionGroup as group:
            raise only(group) from None

    def statistics(self) -> FeedStatistics:
        """Return the counters so far, over all connections."""
        totals = [connection.statistics() for connection, _ in self._lines]
        ignored: Counter[str] = Counter()
        for _, decoder in self._lines:
            ignored.update(decoder.ignored)
        reconnects = sum(total.reconnects for total in totals)
        return FeedStatistics(
            name=self._name,
            frames=sum(total.frames for total in totals),
            events=sum(total.events for total in totals),
            malformed=sum(decoder.malformed for _, decoder in self._lines),
            reconnects=reconnects,
            gaps=reconnects,
            ignored=dict(ignored),
        )

    def _line(
        self, kind: AssetClass, subscriptions: Sequence[Subscription]
    ) -> tuple[Connection, AlpacaDecoder]:
        decoder = AlpacaDecoder(self._key, self._secret, subscriptions, self._codec)
        url, name = self._url + self._paths[kind], f"{self._name} {kind}"
        return Connection(url, name, decoder, self._settings, self._random.random), decoder
