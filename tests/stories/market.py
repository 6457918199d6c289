"""Events by hand, in few words: times in seconds after T0, ours and the venue's the same."""

import itertools
from collections.abc import Callable, MutableMapping, Sequence
from decimal import Decimal
from typing import Any

import anyio
import structlog
from structlog.typing import FilteringBoundLogger

from feeds.base import Deliver, Subscription
from feeds.events import SECOND, Bar, Event, Ohlc, Quote, QuoteBar, Symbol, Trade
from runtime import Resolution, Slice, Strategy
from runtime.testing import ScriptedFeed
from runtime.trading.orders import OrderEvent

T0 = 1_704_153_600 * SECOND  # 2024-01-02 00:00 UTC
SPY, BTC, EUR = Symbol("SPY"), Symbol("BTC/USD"), Symbol("EUR/USD")


def at(seconds: float) -> int:
    return T0 + round(seconds * SECOND)


def trade(seconds: float, price: float = 100.0, size: float = 1.0, symbol: Symbol = SPY) -> Trade:
    return Trade(symbol, at(seconds), at(seconds), price, size)


def quote(
    seconds: float,
    bid: float = 99.0,
    ask: float = 101.0,
    size: float = 0.0,
    symbol: Symbol = SPY,
) -> Quote:
    return Quote(symbol, at(seconds), at(seconds), bid, size, ask, size)


def bar(
    start: float, span: float = 1.0, price: float = 100.0, volume: float = 1.0, symbol: Symbol = SPY
) -> Bar:
    end = at(start + span)
    return Bar(
        symbol, at(start), end, round(span * SECOND), price, price + 1, price - 1, price, volume
    )


def quote_bar(
    start: float, span: float = 1.0, mid: float = 100.0, symbol: Symbol = SPY
) -> QuoteBar:
    bid, ask = (Ohlc(p, p + 1, p - 1, p) for p in (mid - 0.5, mid + 0.5))
    end = at(start + span)
    return QuoteBar(symbol, at(start), end, round(span * SECOND), bid, ask, 3.0, 4.0)


def moments(*events: Event) -> list[list[Event]]:
    """Each event a batch of its own."""
    return [[event] for event in events]


class Recorder(Strategy):
    """Adds one symbol and keeps all that it is told; `act` runs in each on_data."""

    def __init__(
        self,
        symbol: Symbol = SPY,
        resolution: Resolution = Resolution.TICK,
        act: Callable[["Recorder", Slice], object] | None = None,
        begin: Callable[["Recorder"], object] | None = None,
    ) -> None:
        self.symbol = symbol
        self.resolution = resolution
        self.act = act
        self.begin = begin
        self.calls: list[str] = []
        self.slices: list[Slice] = []
        self.times: list[int] = []
        self.order_events: list[OrderEvent] = []

    def initialize(self) -> None:
        self.calls.append("initialize")
        self.add_security(self.symbol, self.resolution)
        if self.begin is not None:
            self.begin(self)

    def on_data(self, slice: Slice) -> None:
        self.calls.append("on_data")
        self.slices.append(slice)
        self.times.append(self.time_ns)
        if self.act is not None:
            self.act(self, slice)

    def on_order_event(self, order_event: OrderEvent) -> None:
        self.order_events.append(order_event)

    def on_warmup_finished(self) -> None:
        self.calls.append("on_warmup_finished")

    def on_end_of_algorithm(self) -> None:
        self.calls.append("on_end_of_algorithm")

    @property
    def seconds(self) -> list[float]:
        """When on_data was called, in seconds after T0."""
        return [(time - T0) / SECOND for time in self.times]

    @property
    def filled(self) -> Decimal:
        """The quantity of all fills, signed."""
        fills = [event for event in self.order_events if event.fill_quantity]
        return sum(
            (f.fill_quantity if f.side == "buy" else -f.fill_quantity for f in fills), Decimal(0)
        )


def once(action: Callable[[Recorder], object]) -> Callable[[Recorder, Slice], None]:
    """Make an `act` that acts in the first slice only."""

    def act(strategy: Recorder, slice: Slice) -> None:
        del slice
        if len(strategy.slices) == 1:
            action(strategy)

    return act


def events_of(slices: Sequence[Slice]) -> list[Event]:
    return [event for moment in slices for event in moment.events]


class Endless(ScriptedFeed):
    """Delivers one trade after the other at the loop's pace, until it is cancelled."""

    def __init__(self) -> None:
        super().__init__([], lockstep=False)
        self.closed = False

    async def run(self, subscriptions: Sequence[Subscription], deliver: Deliver) -> None:
        del subscriptions
        try:
            for number in itertools.count(1):
                await deliver([trade(number)])
                await anyio.lowlevel.checkpoint()
        finally:
            self.closed = True


def listening() -> tuple[FilteringBoundLogger, list[dict[str, Any]]]:
    """A logger, and the list that its lines end up in."""
    lines: list[dict[str, Any]] = []

    def keep(_: object, level: str, event: MutableMapping[str, Any]) -> str:
        lines.append({"level": level, **event})
        return ""

    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.ReturnLogger(),
        processors=[keep],
        wrapper_class=structlog.make_filtering_bound_logger(0),
    )
    return logger, lines
