"""A feed through a network on a bad day, and the books of it: what was played, seen and told.

The tests do a short run; `python -m tests.venues.chaos VENUE [DISCONNECTS] [SEED] [CAPTURE]` a long
one, over a market that is made up or a capture of Coinbase.
"""

import gc
import json
import os
import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import accumulate
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any, Protocol

import anyio
import msgspec

from feeds.base import FeedStatistics, Subscription
from feeds.events import AssetClass, Event, FeedState, Gap, Status, Symbol, Trade
from feeds.protocols.base import Options, Rate, VenueSpec
from feeds.protocols.registry import VENUES
from feeds.session import ConnectionSettings
from feeds.stream import LiveFeed
from tests.venues.faults import Fault, FaultProxy
from tests.venues.market import Market
from tests.venues.server import CaptureServer, VenueServer
from tests.venues.speakers import SPEAKERS
from tests.venues.tape import Tape

HASTY = ConnectionSettings(
    connect_timeout=timedelta(seconds=5),
    quiet=timedelta(milliseconds=60),
    backoff=timedelta(milliseconds=1),
    backoff_cap=timedelta(milliseconds=20),
    health=timedelta(0),
    reorder=timedelta(milliseconds=30),
    history=timedelta(seconds=2),
)
ROTATING = msgspec.structs.replace(
    HASTY, life=timedelta(milliseconds=500), overlap=timedelta(milliseconds=20)
)
"""Each connection is renewed after half a second, if it lasts that long."""
SYMBOLS = [Symbol(name) for name in ("BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/USDT")]
UNSEEN = {Fault.LOSE, Fault.REORDER, Fault.DUPLICATE}
"""What no TCP does, and nobody can see where trades have no numbers."""


def free(name: str) -> VenueSpec:
    """The venue without its limits on speed."""
    spec, rate = VENUES[name], Rate(100_000)
    limits = msgspec.structs.replace(spec.limits, connects=rate, requests=rate, messages=rate)
    return msgspec.structs.replace(spec, limits=limits)


FREE = free("coinbase").limits
SPEC = free("coinbase")


class Played(Protocol):
    """What a venue has played."""

    @property
    def played(self) -> int: ...

    def spans(self) -> dict[Symbol, range]: ...


class Ledger:
    """What a strategy would have heard, checked as it comes.

    `covered` says which of the venue's numbers a trade stands for. Where they are not `is_numbered`
    for the adapter, the time of a gap is enough to tell that they are missing.
    """

    def __init__(
        self,
        covered: Callable[[Trade], Sequence[int]] = lambda trade: [int(trade.trade_id)],
        *,
        is_numbered: bool = True,
    ) -> None:
        self.seen: dict[Symbol, list[int]] = {}
        self.told: dict[Symbol, set[int]] = {}
        self.states: Counter[FeedState] = Counter()
        self.reasons: Counter[str] = Counter()
        self.outages = 0
        self.disorder = 0
        self.changed = anyio.Event()
        self._covered, self._is_numbered = covered, is_numbered
        self._spans: dict[Symbol | None, list[tuple[int, int]]] = {}

    async def deliver(self, events: Sequence[Event]) -> None:
        for event in events:
            match event:
                case Trade():
                    self._take(event)
                case Gap(first=int(), symbol=symbol) if symbol is not None:
                    self.told.setdefault(symbol, set()).update(event.numbers)
                case Gap(symbol=symbol, start=start, end=end):
                    assert symbol is None or not self._is_numbered, f"without numbers: {event}"
                    self.outages += symbol is None
                    self._spans.setdefault(symbol, []).append((start, end))
                case Status():
                    self.states[event.state] += 1
                    if event.state is FeedState.DISCONNECTED:
                        self.reasons[event.detail] += 1
                case _:
                    pass
        self.changed.set()

    def _take(self, trade: Trade) -> None:
        numbers = self.seen.setdefault(trade.symbol, [])
        told = self.told.get(trade.symbol, ())
        for number in self._covered(trade):
            if numbers and number <= max(numbers[-1], numbers[0]) and number not in told:
                self.disorder += 1
            numbers.append(number)

    async def until(self, condition: Any) -> None:
        while not condition():
            self.changed = anyio.Event()
            await self.changed.wait()

    def verdict(self, played: Played) -> dict[str, int]:
        """Hold it against all that was played since the first trade that was seen."""
        count = seen = told = twice = unsaid = 0
        for symbol, span in played.spans().items():
            numbers = self.seen.get(symbol, [])
            heard = {*numbers, *self.told.get(symbol, ())}
            wanted = set(range(max(span.start, min(heard)), span.stop)) if heard else set()
            if not self._is_numbered:
                heard |= self._within_gaps(symbol, wanted - heard, played)
            count += len(wanted)
            seen += len(set(numbers))
            twice += len(numbers) - len(set(numbers))
            told += len((wanted & heard) - set(numbers))
            unsaid += len(wanted - heard)
        return {
            "played": count,
            "seen once": seen,
            "told as gaps": told,
            "seen twice": twice,
            "missing unsaid": unsaid,
            "out of order": self.disorder,
        }

    def _within_gaps(self, symbol: Symbol, missing: set[int], played: Played) -> set[int]:
        """Which of these are told by the time of an outage, or of a gap of their symbol."""
        assert isinstance(played, Market)
        spans = sorted([*self._spans.get(None, ()), *self._spans.get(symbol, ())])
        reach = list(accumulate((end for _, end in spans), max))
        starts = [start for start, _ in spans]

        def is_told(time: int) -> bool:
            place = bisect_right(starts, time)
            return place > 0 and time <= reach[place - 1]

        return {number for number in missing if is_told(played.time_of(symbol, number))}


@dataclass
class Storm:
    """What came of it."""

    verdict: dict[str, int]
    ledger: Ledger
    statistics: FeedStatistics
    proxy: FaultProxy


def recorded(capture: Path) -> tuple[VenueServer, Ledger, Played]:
    """Coinbase as it was recorded, its numbers going on."""
    tape = Tape(capture, rounds=10**6, kinds=("match", "ticker"))
    return CaptureServer("coinbase", tape), Ledger(), tape


def made_up(venue: str) -> tuple[VenueServer, Ledger, Played]:
    """A venue in its own dialogue, with a market that goes on."""
    speak = SPEAKERS[venue]
    market = Market(SYMBOLS, speak.joined)
    side = speak(market)
    ledger = Ledger(side.covered, is_numbered=side.is_numbered)
    return VenueServer(partial(speak, market), market.play()), ledger, market


def faults_for(venue: str) -> list[Fault]:
    """All of them but those that cannot be seen there."""
    numbered = SPEAKERS[venue](Market([])).is_numbered
    return [fault for fault in Fault if numbered or fault not in UNSEEN]


async def storm(
    venue: str,
    seed: int,
    disconnects: int,
    *,
    history: bool = True,
    faults: Sequence[Fault] | None = None,
    capture: Path | None = None,
    settings: ConnectionSettings = ROTATING,
    pace: int = 1,
) -> Storm:
    """Let a feed live through so many disconnects, then let the weather calm, and take stock."""
    server, ledger, played = made_up(venue) if capture is None else recorded(capture)
    draw = Random(seed)
    server.history_fails = lambda: draw.random() < 0.3
    symbols = SYMBOLS if capture is None else [Symbol("SKL/USD"), Symbol("SKL/BTC")]
    faults = faults_for(venue) if faults is None else faults
    async with server.listening(), FaultProxy(server.port, seed, faults).listening() as proxy:
        feed = LiveFeed(
            free(venue),
            url=f"ws://127.0.0.1:{proxy.port}",
            rest_url=f"http://127.0.0.1:{server.port}" if history else None,
            options=Options(key="k", secret="s"),
            settings=settings,
            random=Random(seed),
        )

        def is_over() -> bool:
            return ledger.states[FeedState.DISCONNECTED] >= disconnects

        proxy.calm = True
        async with anyio.create_task_group() as tasks:
            wanted = [Subscription(symbol, AssetClass.CRYPTO) for symbol in symbols]
            tasks.start_soon(feed.run, wanted, ledger.deliver)
            await ledger.until(lambda: ledger.states[FeedState.LIVE] > 0)
            proxy.calm = False
            await server.play(pace, until=is_over)
            proxy.calm = True
            back = feed.statistics().reconnects
            await ledger.until(
                lambda: (
                    feed.statistics().reconnects > back
                    or feed.statistics().connections[0].state is FeedState.LIVE
                )
            )
            caught_up = played.played + 200
            await server.play(pace, until=lambda: played.played > caught_up)
            await server.end()
    return Storm(ledger.verdict(played), ledger, feed.statistics(), proxy)


def main() -> None:
    """Print the figures of a long run, and fail where a promise was not kept."""
    venue = sys.argv[1]
    disconnects = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    capture = Path(sys.argv[4]) if len(sys.argv) > 4 else None

    async def measured() -> dict[str, Any]:
        await storm(venue, seed + 1, 30, capture=capture)  # warm
        before = _left()
        began = monotonic()
        result = await storm(venue, seed, disconnects, capture=capture)
        statistics = result.statistics
        gc.collect()
        return {
            "venue": venue,
            "seed": seed,
            "seconds": round(monotonic() - began, 1),
            "disconnects": result.ledger.states[FeedState.DISCONNECTED],
            "renewals": sum(line.renewals for line in statistics.connections),
            **result.verdict,
            "filled from history or late": statistics.filled,
            "duplicates dropped": statistics.duplicates,
            "malformed": statistics.malformed,
            "faults": {str(fault): count for fault, count in sorted(result.proxy.done.items())},
            "left before (tasks, fds, threads, rss kB)": before,
            "left after": _left(),
        }

    figures = anyio.run(measured)
    print(json.dumps(figures, indent=1))  # noqa: T201
    strict = ["seen twice", "missing unsaid"]
    if SPEAKERS[venue](Market([])).is_numbered:  # else two connections side by side may differ
        strict.append("out of order")
    if any(figures[promise] for promise in strict):
        raise SystemExit(1)


def _left() -> tuple[int, int, int, int]:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    values = dict(line.split(":", 1) for line in status.splitlines())
    return (
        len(anyio.get_running_tasks()),
        len(os.listdir("/proc/self/fd")),
        int(values["Threads"]),
        int(values["VmRSS"].split()[0]),
    )


if __name__ == "__main__":
    main()
