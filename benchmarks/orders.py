"""Orders a second, and the time from the order call to the ack: on paper, journalled, at a venue.

Each way of trading makes rounds of orders: one at a time, which gives the time of the whole path,
and a hundred at once, which gives what the path holds. The bare matching, with no runtime around
it, is measured in the same run. Run it: python -m benchmarks.orders [--rounds N]
"""

import argparse
import json
import statistics
import tempfile
import time
from decimal import Decimal

import anyio
import structlog

from feeds.events import Quote, Symbol
from feeds.venue.matching import Matcher
from feeds.venue.orders import VenueOrder
from runtime import OrderEvent, Resolution, Slice, Strategy
from runtime.assembly import run_strategy
from runtime.settings import FeedSettings, Settings
from runtime.trading.settings import TradingSettings

SPY = Symbol("SPY")


class Orderer(Strategy):
    """Makes a round of orders at a slice, the next once all of them are acknowledged."""

    def __init__(self, rounds: int, size: int) -> None:
        self.left, self.size = rounds, size
        self.sent: dict[str, float] = {}
        self.waits: list[float] = []
        self.spans: list[float] = []
        self.began = 0.0

    def initialize(self) -> None:
        """Ask for the ticks of one share."""
        self.add_equity(SPY, Resolution.TICK)

    def on_data(self, slice: Slice) -> None:
        """Begin a round; buys and sells take turns."""
        if self.sent or SPY not in slice.quotes:
            return
        self.left -= 1
        if self.left < 0:
            self.quit("all rounds are over")
            return
        self.began = time.perf_counter()
        for number in range(self.size):
            began = time.perf_counter()
            ticket = self.market_order(SPY, 1 if (number + self.left) % 2 else -1)
            self.sent[ticket.order_id] = began

    def on_order_event(self, event: OrderEvent) -> None:
        """Take the time of an ack, and of a round."""
        if event.status != "accepted":
            return
        now = time.perf_counter()
        self.waits.append(now - self.sent.pop(event.order_id))
        if not self.sent:
            self.spans.append(now - self.began)


async def measure(way: str, rounds: int, size: int) -> dict[str, object]:
    """Run one way of trading to its end; the first round, which warms up, does not count."""
    strategy = Orderer(rounds + 1, size)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            persist=way != "paper",
            state_dir=folder,
            feed=FeedSettings(kind="paper", rate=200.0),
            trading=TradingSettings(
                broker="alpaca" if way == "venue" else "paper",
                cash=1e9,
                max_open_orders=10_000,
                respect_size=False,
            ),
        )
        log = structlog.wrap_logger(None, processors=[_drop])
        outcome = await run_strategy(strategy, settings, log)
    if outcome.failure is not None:
        raise outcome.failure
    waits = sorted(1e3 * wait for wait in strategy.waits[size:])
    return {
        "way": way,
        "at_once": size,
        "orders": len(waits),
        "per_second": round(size / statistics.median(strategy.spans[1:])),
        "ack_p50_ms": round(statistics.median(waits), 3),
        "ack_p99_ms": round(waits[int(0.99 * len(waits))], 3),
    }


def _drop(*_: object) -> dict[str, object]:
    raise structlog.DropEvent


def bare(orders: int) -> dict[str, object]:
    """Match as many orders with nothing around."""
    matcher = Matcher(respect_size=False)
    matcher.on_quote(Quote(SPY, 1, 1, 99.0, 1.0, 100.0, 1.0), 1)
    began = time.perf_counter()
    for number in range(orders):
        matcher.submit(VenueOrder(str(number), SPY, bool(number % 2), Decimal(1)), 1)
    took = time.perf_counter() - began
    return {"way": "matching alone", "orders": orders, "per_second": round(orders / took)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    args = parser.parse_args()
    rows = [bare(args.rounds * 100)]
    print(rows[-1], flush=True)
    for way in ("paper", "journal", "venue"):
        for size in (1, 100):
            rows.append(anyio.run(measure, way, args.rounds, size))
            print(rows[-1], flush=True)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
