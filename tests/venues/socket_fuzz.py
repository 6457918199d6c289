"""Rubbish made of real frames, over a real socket: documented outcomes only, and bounded memory.

The whole adapter is under fire: it may renew its connection, tell an outage, ask for history or
refuse for good, as its documents say; nothing else may come of it.
Run it: python -m tests.venues.socket_fuzz VENUE [INPUTS] [SEED]
"""

import gc
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import anyio
import anyio.lowlevel
import msgspec

from benchmarks.inputs import Inputs
from benchmarks.mutations import check
from benchmarks.specimens import symbols_of
from feeds.base import FeedStatistics, Subscription
from feeds.errors import FeedError
from feeds.events import AssetClass, Event, FeedState, Status
from feeds.protocols.base import Options
from feeds.stream import LiveFeed
from tests.venues.chaos import HASTY, free
from tests.venues.market import Market
from tests.venues.server import VenueServer
from tests.venues.speakers import SPEAKERS, CoinbaseAdvanced, Speaker

ANSWERS = 4
"""Of Coinbase Advanced to a new connection."""
PATIENT = msgspec.structs.replace(HASTY, quiet=HASTY.connect_timeout)


class Fire:
    """One run against one venue.

    Attributes:
        sent: inputs that a subscribed client was sent.
        kinds: events by type.
        refusals: how often the venue's words ended the feed, which was then started anew.
    """

    def __init__(self, venue: str, inputs: int, seed: int, data: Path) -> None:
        self.sent = self.refusals = 0
        self.kinds: Counter[str] = Counter()
        self.frames = self.reconnects = self.malformed = 0
        self._venue, self._inputs, self._seed = venue, inputs, seed
        self._source = Inputs(venue, Random(f"{venue} {seed}"), data)
        self._market = Market(symbols_of(venue))
        self._live, self._ended = anyio.Event(), anyio.Event()
        self._running: anyio.CancelScope
        self._feed: LiveFeed | None = None

    async def run(self, *, book: bool) -> None:
        """Send all inputs, each to a client that is subscribed."""
        self._ended = anyio.Event()
        server = VenueServer(self._speak, iter(()))
        wanted = [Subscription(symbol, AssetClass.CRYPTO) for symbol in self._market.symbols]
        until = self.read + self._inputs
        async with server.listening(), anyio.create_task_group() as tasks:
            tasks.start_soon(self._shoot, server, until)
            while self.read < until:
                feed = self._feed = LiveFeed(
                    free(self._venue),
                    url=f"ws://127.0.0.1:{server.port}",
                    rest_url=f"http://127.0.0.1:{server.port}",
                    options=Options(book=book, bars=True),
                    settings=PATIENT,
                    random=Random(self._seed),
                )
                with anyio.CancelScope() as self._running:
                    try:
                        await feed.run(wanted, self._deliver)
                    except FeedError:  # a refusal among the rubbish, in the venue's own words
                        self.refusals += 1
                self._feed = None
                self._note(feed.statistics())
            tasks.cancel_scope.cancel()

    @property
    def read(self) -> int:
        """How many frames the adapter has read."""
        return self.frames + (self._feed.statistics().frames if self._feed else 0)

    def _note(self, statistics: FeedStatistics) -> None:
        self.frames += statistics.frames
        self.reconnects += statistics.reconnects
        self.malformed += statistics.malformed
        assert len(statistics.ignored) <= 2 * 65

    def _speak(self) -> Speaker:
        side = SPEAKERS[self._venue](self._market)
        if isinstance(side, CoinbaseAdvanced):  # whose answers are numbered with all the rest
            side.number = self._source.latest - ANSWERS
        return side

    async def _shoot(self, server: VenueServer, until: int) -> None:
        while self.read < until:
            if not (clients := server.subscribed):
                await self._live.wait()
                self._live = anyio.Event()
                continue
            for client in clients:
                self.sent += 1
                await server.send(client, self._source.next())
            await anyio.lowlevel.checkpoint()
        await server.end()
        with anyio.move_on_after(1):  # it may be between two connections
            await self._ended.wait()
        self._running.cancel()

    async def _deliver(self, events: Sequence[Event]) -> None:
        check(list(events))
        self.kinds.update(type(event).__name__ for event in events)
        for event in events:
            if isinstance(event, Status) and event.state is FeedState.LIVE:
                self._live.set()
            elif isinstance(event, Status) and event.state is FeedState.ENDED:
                self._ended.set()


async def fire(venue: str, inputs: int, seed: int, data: Path) -> dict[str, Any]:
    """Half of the inputs without a book and half with it; what came of them."""
    fires = Fire(venue, inputs // 2, seed, data)
    began = time.perf_counter()
    await fires.run(book=False)
    gc.collect()
    memory = _memory()
    await fires.run(book=True)
    gc.collect()
    return {
        "venue": venue,
        "seed": seed,
        "sent": fires.sent,
        "frames": fires.frames,
        "seconds": round(time.perf_counter() - began, 1),
        **{kind: fires.kinds[kind] for kind in sorted(fires.kinds)},
        "malformed": fires.malformed,
        "reconnects": fires.reconnects,
        "refusals": fires.refusals,
        "grown_mb": round(_memory() - memory, 1),
    }


def _memory() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def main() -> None:
    """Print the figures of a run as JSON."""
    venue = sys.argv[1]
    inputs = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    data = Path(os.environ.get("TIDEGATE_SHARED_DATA", "../shared/data"))
    print(json.dumps(anyio.run(fire, venue, inputs, seed, data)))  # noqa: T201


if __name__ == "__main__":
    main()
