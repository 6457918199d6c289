"""Frame to on_data, flat out: the whole runtime against a bare loop that decodes the same frames.

One venue process plays the same synthetic market to each in turn, in pairs, so that a slow moment
of the machine hits both. Run it: python -m benchmarks.throughput [--ticks N] [--passes N]
"""

import argparse
import json
import statistics
import time
from datetime import timedelta

import anyio
import msgspec
import structlog
import websockets.asyncio.client as ws_client

from feeds.connection import ConnectionSettings
from feeds.stream import AlpacaFeed
from feeds.venue.process import EmbeddedVenue, VenueOptions, embedded_venue
from runtime import Resolution, Slice, Strategy
from runtime.assembly import build_run
from runtime.clock import SystemClock
from runtime.settings import Settings

SYMBOLS = ["BTC/USD", "ETH/USD", "SOL/USD", "XRP/USD"]
FLAT_OUT = VenueOptions(seed=1, rate=5_000.0, speed=None)


class Counter(Strategy):
    """Looks at every tick, as a strategy would, and stops after enough of them."""

    def __init__(self, ticks: int) -> None:
        self.wanted = ticks
        self.seen = 0
        self.began = self.ended = 0.0
        self.last = 0.0

    def initialize(self) -> None:
        """Ask for every tick."""
        for symbol in SYMBOLS:
            self.add_crypto(symbol, Resolution.TICK)

    def on_data(self, slice: Slice) -> None:
        """Touch each price."""
        self.began = self.began or time.perf_counter()
        for ticks in slice.ticks.values():
            for tick in ticks:
                self.last = tick.price
            self.seen += len(ticks)
        if self.seen >= self.wanted and not self.ended:
            self.ended = time.perf_counter()
            self.quit("seen enough")


async def through_the_runtime(venue: EmbeddedVenue, ticks: int) -> float:
    """Return ticks a second from frame to on_data through feed, engine and slices."""
    strategy = Counter(ticks)
    patience = ConnectionSettings(connect_timeout=timedelta(seconds=10))
    feed = AlpacaFeed(venue.url, venue.key, venue.secret, settings=patience)
    silent = structlog.wrap_logger(
        structlog.ReturnLogger(), wrapper_class=structlog.make_filtering_bound_logger(50)
    )
    run = build_run(strategy, Settings(), feed, SystemClock(), silent, "bench")
    outcome = await run.run(60.0)
    if outcome.failure is not None:
        raise outcome.failure
    return strategy.seen / (strategy.ended - strategy.began)


class WireTrade(msgspec.Struct, tag_field="T", tag="t"):
    """What the bare loop decodes of a trade."""

    S: str
    p: float
    s: float
    t: msgspec.msgpack.Ext


class WireQuote(msgspec.Struct, tag_field="T", tag="q"):
    """What the bare loop decodes of a quote."""

    S: str
    bp: float
    bs: float
    ap: float
    t: msgspec.msgpack.Ext
    # `as` is a word of Python, so the ask's size is renamed from the wire.
    ask_size: float = msgspec.field(name="as")


async def through_a_bare_loop(venue: EmbeddedVenue, ticks: int) -> float:
    """Return ticks a second of websockets and msgspec alone, touching each price."""
    decode = msgspec.msgpack.Decoder(list[WireTrade | WireQuote]).decode
    async with ws_client.connect(
        f"{venue.url}/v1beta3/crypto/us",
        additional_headers={"Content-Type": "application/msgpack"},
        compression=None,
        max_size=None,
    ) as socket:
        await socket.recv()
        login = {"action": "auth", "key": venue.key, "secret": venue.secret}
        await socket.send(msgspec.msgpack.encode(login))
        await socket.recv()
        wanted = {"action": "subscribe", "trades": SYMBOLS, "quotes": SYMBOLS}
        await socket.send(msgspec.msgpack.encode(wanted))
        await socket.recv()
        seen, last, began = 0, 0.0, 0.0
        while seen < ticks:
            frame = decode(await socket.recv())
            began = began or time.perf_counter()
            for tick in frame:
                last = tick.p if type(tick) is WireTrade else (tick.bp + tick.ap) / 2
            seen += len(frame)
        ended = time.perf_counter()
    assert last
    return seen / (ended - began)


async def measure(ticks: int, passes: int) -> dict[str, float]:
    """Measure both in turn and return the medians and the ratio of each pair's median."""
    bare, whole = [], []
    for _ in range(passes):
        async with embedded_venue(FLAT_OUT) as venue:
            bare.append(await through_a_bare_loop(venue, ticks))
        async with embedded_venue(FLAT_OUT) as venue:
            whole.append(await through_the_runtime(venue, ticks))
    ratios = [a / b for a, b in zip(whole, bare, strict=True)]
    return {
        "ticks": ticks,
        "passes": passes,
        "bare_ticks_per_s": round(statistics.median(bare)),
        "runtime_ticks_per_s": round(statistics.median(whole)),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_min": round(min(ratios), 3),
        "ratio_max": round(max(ratios), 3),
    }


def main() -> None:
    """Print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ticks", type=int, default=400_000)
    parser.add_argument("--passes", type=int, default=5)
    arguments = parser.parse_args()
    figures = anyio.run(measure, arguments.ticks, arguments.passes)
    print(f"bare websockets + msgspec loop  {figures['bare_ticks_per_s']:>12,.0f} ticks/s")
    print(f"frame to on_data                {figures['runtime_ticks_per_s']:>12,.0f} ticks/s")
    print(f"ratio (budget: at least 0.8)    {figures['ratio']:>12}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
