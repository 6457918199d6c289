"""Nothing of the future is seen: up to any moment, a poisoned future changes nothing at all.

Whatever comes after the moment is replaced by prices that nobody could overlook. All that a
strategy saw, computed, trained and was told of its orders until then must be as it was without.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from feeds.events import MINUTE, SECOND, Bar, MarketEvent, Quote, QuoteBar, Trade
from feeds.moments import due
from runtime import (
    ExponentialMovingAverage,
    ModelSlot,
    Resolution,
    RollingWindow,
    SimpleMovingAverage,
    Slice,
    Strategy,
)
from runtime.backtest import Rules
from runtime.trading.orders import OrderEvent
from runtime.walk_forward import WalkForward
from tests.runtime.test_backtest import Told, run
from tests.runtime.test_folding import Tape
from tests.stories.market import SPY, at, bar, quote, quote_bar, trade

NAN, HUGE = float("nan"), 1e12
SPAN_SECONDS = 400


def ticks() -> list[MarketEvent]:
    """Trades and quotes at uneven moments, some exactly at the ends of bars."""
    chance = random.Random(7)
    told: list[MarketEvent] = []
    seconds, price = 0.0, 100.0
    while seconds < SPAN_SECONDS:
        price *= 1 + chance.gauss(0, 1e-3)
        told.append(quote(seconds, price - 0.01, price + 0.01, chance.randint(1, 9) * 100))
        if chance.random() < 0.7:
            told.append(trade(seconds, round(price, 4), float(chance.randint(1, 50))))
        seconds += chance.choice([0.25, 0.5, 1.0, 2.5, 7.0])
        if chance.random() < 0.1:
            seconds = float(-(-seconds // 60) * 60)
    return told


def trades() -> list[MarketEvent]:
    """Trades alone."""
    return [event for event in ticks() if isinstance(event, Trade)]


def bars() -> list[MarketEvent]:
    """Ready-made bars of trades, and of quotes, as from files."""
    chance = random.Random(8)
    told: list[MarketEvent] = []
    for start in range(0, SPAN_SECONDS, 5):
        price = 100 + chance.random()
        told += [bar(start, 5, price, chance.randint(1, 9)), quote_bar(start, 5, price)]
    return told


def poisoned(events: Sequence[MarketEvent], after: int, poison: float) -> Iterator[MarketEvent]:
    replace = msgspec.structs.replace
    for event in events:
        match event:
            case _ if due(event) <= after:
                yield event
            case Trade():
                yield replace(event, price=poison, size=poison)
            case Quote():
                yield replace(event, bid=poison, ask=poison, bid_size=poison, ask_size=poison)
            case Bar():
                yield replace(
                    event, open=poison, high=poison, low=poison, close=poison, volume=poison
                )
            case QuoteBar():
                side = replace(event.bid, open=poison, high=poison, low=poison, close=poison)
                yield replace(event, bid=side, ask=side)


class Witness(Strategy):
    """Writes down all that it can get hold of, whenever it is called."""

    def __init__(self, resolution: Resolution) -> None:
        self.resolution = resolution
        self.seen: list[tuple[int, str, str]] = []

    def initialize(self) -> None:
        self.add_security(SPY, self.resolution)
        self.fast, self.slow = ExponentialMovingAverage(3), SimpleMovingAverage(5)
        self.window: RollingWindow[float] = RollingWindow(4)
        self.model = ModelSlot("m")
        self.consolidate(SPY, timedelta(seconds=10), self.on_ten)
        self.consolidate(SPY, timedelta(minutes=1), self.on_minute)
        self.schedule.on(
            self.date_rules.every_day(), self.time_rules.every(timedelta(seconds=45)), self.on_time
        )
        self.calls = 0

    def note(self, what: str, *more: object) -> None:
        bars, window = self.history(SPY, 50), self.tick_history(SPY, 50)
        known = (
            self.securities[SPY].price,
            [column.tolist() for column in msgspec.structs.astuple(bars)],
            [column.tolist() for column in msgspec.structs.astuple(window)],
            (self.fast.value, self.slow.value, list(self.window)),
            (self.model.version, self.model.current),
            (self.portfolio.cash, self.portfolio.equity, self.portfolio[SPY].quantity),
        )
        self.seen.append((self.time_ns, what, repr((more, known))))

    def on_data(self, slice: Slice) -> None:
        self.calls += 1
        price = self.securities[SPY].price
        self.fast.update(price)
        self.slow.update(price)
        self.window.add(price)
        self.note("data", slice.events)
        if self.calls % 9 == 0:
            self.train(self.fit, into=self.model)
        if self.calls % 5 == 0:
            self.market_order(SPY, 1 if self.portfolio[SPY].quantity <= 0 else -1)
        if self.calls % 11 == 0 and 0 < price < 1e6:
            self.limit_order(SPY, 1, round(price * 0.999, 2))

    def fit(self) -> float:
        self.note("fit")
        prices = self.tick_history(SPY, 100).price
        closes = self.history(SPY, 100).close
        return float(prices.sum() + closes.sum())

    def on_ten(self, bar: Bar) -> None:
        self.note("ten", bar)

    def on_minute(self, bar: Bar) -> None:
        self.note("minute", bar)

    def on_time(self) -> None:
        self.note("time")

    def on_order_event(self, order_event: OrderEvent) -> None:
        self.note("order", order_event)


def seen(
    events: Sequence[MarketEvent], resolution: Resolution, rules: Rules, *, columns: bool = False
) -> list[tuple[int, str, str]]:
    """What a witness has seen; `columns`: of trades alone, as they are taken from files."""
    witness = Witness(resolution)
    source: Any = Told(events)
    if columns:
        trades = [event for event in events if isinstance(event, Trade)]
        source = Tape([[trades[:90], trades[90:]]], by_columns=True)
    _, outcome, _ = run(witness, source, rules)
    assert outcome.failure is None
    return witness.seen


RULES = {
    "at once": Rules(),
    "delayed": Rules(publish_after=20 * SECOND),
    "walk-forward": Rules(walk_forward=WalkForward(train=2 * MINUTE, step=MINUTE)),
}


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
@pytest.mark.parametrize("resolution", [Resolution.TICK, Resolution.SECOND, Resolution.MINUTE])
@pytest.mark.parametrize(
    ("market", "columns"),
    [(ticks, False), (bars, False), (trades, True)],
    ids=["ticks", "bars", "columns"],
)
def test_up_to_any_moment_the_future_changes_nothing(
    market: Callable[[], list[MarketEvent]], columns: bool, resolution: Resolution, rules: Rules
) -> None:
    events = market()
    clean = seen(events, resolution, rules, columns=columns)
    if columns:
        assert clean == seen(events, resolution, rules)
    kinds = {what for _, what, _ in clean}
    assert {"data", "ten", "minute", "time", "order"} <= kinds
    assert "fit" in kinds or resolution is Resolution.MINUTE
    moments = sorted({due(event) for event in events})
    chosen = [*moments[10 :: len(moments) // 3], at(120), at(180) - 1, at(180), at(240)]
    for place, moment in enumerate(chosen):
        poison = HUGE if place % 2 or columns else NAN
        future = list(poisoned(events, moment, poison))
        changed = seen(future, resolution, rules, columns=columns)
        until = [each for each in clean if each[0] <= moment]
        assert [each for each in changed if each[0] <= moment] == until
        if moment < moments[-20]:
            assert changed != clean  # the poison is there, and is seen in its time
