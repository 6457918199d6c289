"""A feed through a network on a bad day, and the books of it: what was played, seen and told.

The tests do a short run; `python -m tests.venues.chaos CAPTURE [DISCONNECTS] [SEED]` a long one.
"""

import gc
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

import anyio
import msgspec

from feeds.base import FeedStatistics, Subscription
from feeds.events import AssetClass, Event, FeedState, Gap, Status, Symbol, Trade
from feeds.protocols.base import Rate
from feeds.protocols.coinbase import COINBASE
from feeds.session import ConnectionSettings
from feeds.stream import LiveFeed
from tests.venues.faults import Fault, FaultProxy
from tests.venues.server import CaptureServer
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
FREE = msgspec.structs.replace(
    COINBASE.limits, connects=Rate(100_000), requests=Rate(100_000), messages=Rate(100_000)
)
SPEC = msgspec.structs.replace(COINBASE, limits=FREE)


class Ledger:
    """What a strategy would have heard, checked as it comes."""

    def __init__(self) -> None:
        self.seen: dict[Symbol, list[int]] = {}
        self.told: dict[Symbol, set[int]] = {}
        self.states: Counter[FeedState] = Counter()
        self.reasons: Counter[str] = Counter()
        self.outages = 0
        self.disorder = 0
        self.changed = anyio.Event()

    async def deliver(self, events: Sequence[Event]) -> None:
        for event in events:
            match event:
                case Trade():
                    numbers = self.seen.setdefault(event.symbol, [])
                    number = int(event.trade_id)
                    late = number in self.told.get(event.symbol, ())
                    if numbers and number <= max(numbers[-1], numbers[0]) and not late:
                        self.disorder += 1
                    numbers.append(number)
                case Gap(symbol=None):
                    self.outages += 1
                case Gap(first=int(first), missing=int(missing)):
                    assert event.symbol is not None
                    holes = self.told.setdefault(event.symbol, set())
                    holes.update(range(first, first + missing))
                case Gap():
                    raise AssertionError(f"a gap without numbers: {event}")
                case Status():
                    self.states[event.state] += 1
                    if event.state is FeedState.DISCONNECTED:
                        self.reasons[event.detail] += 1
                case _:
                    pass
        self.changed.set()

    async def until(self, condition: Any) -> None:
        while not condition():
            self.changed = anyio.Event()
            await self.changed.wait()

    def verdict(self, tape: Tape) -> dict[str, int]:
        """Hold it against all that was played since the first trade that was seen."""
        played = seen = told = twice = unsaid = 0
        for product, first in tape.first.items():
            symbol = Symbol(product.replace("-", "/"))
            numbers = self.seen.get(symbol, [])
            heard = {*numbers, *self.told.get(symbol, ())}
            wanted = set(range(max(first, min(heard)), tape.last[product] + 1)) if heard else set()
            played += len(wanted)
            seen += len(set(numbers))
            twice += len(numbers) - len(set(numbers))
            told += len((wanted & heard) - set(numbers))
            unsaid += len(wanted - heard)
        return {
            "played": played,
            "seen once": seen,
            "told as gaps": told,
            "seen twice": twice,
            "missing unsaid": unsaid,
            "out of order": self.disorder,
        }


async def storm(
    capture: Path,
    seed: int,
    disconnects: int,
    *,
    history: bool,
    faults: Sequence[Fault] = tuple(Fault),
    pace: int = 5,
) -> tuple[dict[str, int], Ledger, FeedStatistics, FaultProxy]:
    """Let a feed live through so many disconnects, then let the weather calm, and take stock."""
    tape = Tape(capture, rounds=10**6, kinds=("match", "ticker"))
    server, ledger, draw = CaptureServer("coinbase", tape), Ledger(), Random(seed)
    server.history_fails = lambda: draw.random() < 0.3
    wanted = [
        Subscription(Symbol(product.replace("-", "/")), AssetClass.CRYPTO)
        for product in sorted(tape.products)
    ]
    async with server.listening(), FaultProxy(server.port, seed, faults).listening() as proxy:
        feed = LiveFeed(
            SPEC,
            url=f"ws://127.0.0.1:{proxy.port}",
            rest_url=f"http://127.0.0.1:{server.port}" if history else None,
            settings=HASTY,
            random=Random(seed),
        )

        def is_over() -> bool:
            return ledger.states[FeedState.DISCONNECTED] >= disconnects

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(feed.run, wanted, ledger.deliver)
            await server.until_subscribed()
            await server.play(pace, until=is_over)
            proxy.calm = True
            back = feed.statistics().reconnects
            await ledger.until(
                lambda: (
                    feed.statistics().reconnects > back
                    or feed.statistics().connections[0].state is FeedState.LIVE
                )
            )
            caught_up = tape.last["SKL-USD"] + 20
            await server.play(pace, until=lambda: tape.last["SKL-USD"] > caught_up)
            await server.end()
    return ledger.verdict(tape), ledger, feed.statistics(), proxy


def main() -> None:
    """Print the figures of a long run, and fail where a promise was not kept."""
    capture = Path(sys.argv[1])
    disconnects = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1

    async def measured() -> dict[str, Any]:
        await storm(capture, seed + 1, 30, history=True)  # warm
        before = _left()
        began = monotonic()
        verdict, ledger, statistics, proxy = await storm(capture, seed, disconnects, history=True)
        gc.collect()
        return {
            "seed": seed,
            "seconds": round(monotonic() - began, 1),
            "disconnects": ledger.states[FeedState.DISCONNECTED],
            **verdict,
            "filled from history or late": statistics.filled,
            "duplicates dropped": statistics.duplicates,
            "malformed": statistics.malformed,
            "faults": {str(fault): count for fault, count in sorted(proxy.done.items())},
            "left before (tasks, fds, threads, rss kB)": before,
            "left after": _left(),
        }

    figures = anyio.run(measured)
    print(json.dumps(figures, indent=1))  # noqa: T201
    if figures["seen twice"] or figures["missing unsaid"] or figures["out of order"]:
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
