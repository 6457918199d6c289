"""A paper venue whose ticks say when they were sent: what a latency is measured from.

The child of `benchmarks.training_latency`: it prints its URL and ends when its stdin does.
"""

import sys
import time
from collections.abc import Sequence

import anyio
import msgspec

from feeds.events import AssetClass, MarketEvent, Symbol
from feeds.market import SyntheticMarket
from feeds.venue.protocol import Credentials
from feeds.venue.server import serve

KEY = "bench"


class StampingMarket:
    """The synthetic market, each event stamped with the moment at which it is handed over."""

    def __init__(self, rate: float) -> None:
        self._market = SyntheticMarket(1, rate)

    @property
    def start(self) -> int | None:
        """It begins at the present."""
        return self._market.start

    @property
    def exhausted(self) -> bool:
        """It never ends."""
        return self._market.exhausted

    def subscribe(self, symbol: Symbol, asset_class: AssetClass, now: int) -> bool:
        """Have this symbol in the market from now on."""
        return self._market.subscribe(symbol, asset_class, now)

    def advance(self, until: int) -> Sequence[MarketEvent]:
        """Return what happened since the last call, stamped with the time of this one."""
        events = self._market.advance(until)
        now = time.time_ns()
        return [msgspec.structs.replace(event, time=now) for event in events]


async def _serve(rate: float) -> None:
    async with anyio.create_task_group() as tasks:
        venue = await tasks.start(serve, StampingMarket(rate), Credentials(KEY, KEY))
        sys.stdout.write(venue.url + "\n")
        sys.stdout.flush()
        await anyio.wait_readable(sys.stdin.fileno())
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    anyio.run(_serve, float(sys.argv[1]))
