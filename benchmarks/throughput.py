"""Frame to on_data, flat out: the whole runtime against bare loops over the same frames.

Two loops to compare with: `same decode` makes of each frame the events that the runtime makes of
it, times in ns, and does nothing else; `msgspec only` leaves times as the wire has them. A venue
process plays the same synthetic market to each in turn, so that a slow moment of the machine hits
all of them. Run it: python -m benchmarks.throughput [--ticks N] [--passes N]
[--transport fast]
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

import anyio
import msgspec
import structlog
import websockets.asyncio.client as ws_client

from feeds.base import Subscription
from feeds.events import AssetClass, Event, Quote, Symbol, Trade
from feeds.protocols.alpaca import AlpacaDecoder
from feeds.session import ConnectionSettings
from feeds.sockets import Transport
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


async def through_the_runtime(
    venue: EmbeddedVenue, ticks: int, transport: Transport = Transport.WEBSOCKETS
) -> float:
    """Return ticks a second from frame to on_data through feed, engine and slices."""
    strategy = Counter(ticks)
    patience = ConnectionSettings(connect_timeout=timedelta(seconds=10), transport=transport)
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


Decode = Callable[[bytes], Sequence[WireTrade | WireQuote | Event]]


def msgspec_only() -> Decode:
    """Return what takes a frame apart and leaves its times packed."""
    return msgspec.msgpack.Decoder(list[WireTrade | WireQuote]).decode


def same_decode() -> Decode:
    """Return what makes of a frame the events that the runtime makes of it."""
    wanted = [Subscription(Symbol(symbol), AssetClass.CRYPTO) for symbol in SYMBOLS]
    core = AlpacaDecoder("", "", wanted)
    return lambda frame: core.receive(frame, time.time_ns())


async def through_a_bare_loop(venue: EmbeddedVenue, ticks: int, decode: Decode) -> float:
    """Return ticks a second of websockets and a decoder alone, touching each price."""
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
            frame = decode(await socket.recv(decode=False))
            began = began or time.perf_counter()
            for tick in frame:
                if isinstance(tick, WireTrade):
                    last = tick.p
                elif isinstance(tick, WireQuote):
                    last = (tick.bp + tick.ap) / 2
                elif isinstance(tick, Trade | Quote):
                    last = tick.price
            seen += len(frame)
        ended = time.perf_counter()
    assert last
    return seen / (ended - began)


async def measure(ticks: int, passes: int, transport: Transport) -> dict[str, float]:
    """Measure both in turn and return the medians and the ratio of each pair's median."""
    bare: dict[str, list[float]] = {"same": [], "only": []}
    whole: list[float] = []
    for _ in range(passes):
        for name, decode in (("same", same_decode()), ("only", msgspec_only())):
            async with embedded_venue(FLAT_OUT) as venue:
                bare[name].append(await through_a_bare_loop(venue, ticks, decode))
        async with embedded_venue(FLAT_OUT) as venue:
            whole.append(await through_the_runtime(venue, ticks, transport))
    ratios = [a / b for a, b in zip(whole, bare["same"], strict=True)]
    to_only = [a / b for a, b in zip(whole, bare["only"], strict=True)]
    return {
        "ticks": ticks,
        "passes": passes,
        "same_decode_ticks_per_s": round(statistics.median(bare["same"])),
        "msgspec_only_ticks_per_s": round(statistics.median(bare["only"])),
        "runtime_ticks_per_s": round(statistics.median(whole)),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_min": round(min(ratios), 3),
        "ratio_max": round(max(ratios), 3),
        "ratio_to_msgspec_only": round(statistics.median(to_only), 3),
    }


def main() -> None:
    """Print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ticks", type=int, default=400_000)
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--transport", choices=list(Transport), default=Transport.WEBSOCKETS)
    arguments = parser.parse_args()
    transport = Transport(arguments.transport)
    figures = anyio.run(
        measure,
        arguments.ticks,
        arguments.passes,
        transport,
        backend_options={"use_uvloop": transport is Transport.FAST},
    )
    print(f"bare loop, msgspec only         {figures['msgspec_only_ticks_per_s']:>12,.0f} ticks/s")
    print(f"bare loop, same decode          {figures['same_decode_ticks_per_s']:>12,.0f} ticks/s")
    print(f"frame to on_data                {figures['runtime_ticks_per_s']:>12,.0f} ticks/s")
    print(f"ratio to the same decode        {figures['ratio']:>12}  (budget: at least 0.8)")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
