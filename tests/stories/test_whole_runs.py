"""Whole runs on the synthetic market: the same again, and the books balance to the last digit."""

import math
import random
from decimal import Decimal

import pytest

from runtime import ModelSlot, OrderEvent, Resolution, Slice, Strategy
from runtime.testing import run_on_synthetic
from runtime.trading.orders import EXACT
from runtime.trading.tickets import OrderTicket

CASH = Decimal(100_000)


class Restless(Strategy):
    """Trades at random: every kind of order, sane and not, on three kinds of symbols."""

    def __init__(self, seed: int, *, train: bool = False) -> None:
        self.random = random.Random(seed)
        self.with_training = train

    def initialize(self) -> None:
        self.symbols = [
            self.add_equity("SPY", Resolution.SECOND).symbol,
            self.add_crypto("BTCUSD", Resolution.TICK).symbol,
            self.add_forex("EURUSD", Resolution.MINUTE).symbol,
        ]
        self.tickets: list[OrderTicket] = []
        self.heard: list[tuple[object, ...]] = []
        self.slot = ModelSlot("m")
        self.count = 0

    def on_order_event(self, order_event: OrderEvent) -> None:
        e = order_event
        self.heard.append(
            (e.time, e.symbol, e.side, e.status, e.fill_quantity, e.fill_price, e.fee, e.message)
        )
        if self.random.random() < 0.1:
            self.act()

    def on_data(self, slice: Slice) -> None:
        self.count += 1
        self.balance()
        if self.with_training and self.count % 200 == 1:
            self.train(self.fit, into=self.slot)
        weight = 0.0 if self.slot.current is None else float(self.slot.current) % 1
        if self.random.random() < 0.2 + 0.1 * weight:
            self.act()

    def fit(self) -> float:
        return float(self.tick_history(self.symbols[1], 100).price.mean())

    def act(self) -> None:
        chosen = self.random.choice(self.symbols)
        size = self.random.choice([1, -1, 5, 0.25, -0.5, 1000, -1000, 0, math.nan, 1e-9, 1e20])
        price = self.securities[chosen].price
        match self.random.randrange(6):
            case 0:
                self.tickets.append(self.market_order(chosen, size))
            case 1 if math.isfinite(price):
                limit = round(price * self.random.uniform(0.999, 1.001), 2)
                self.tickets.append(self.limit_order(chosen, size, limit))
            case 2 | 3:
                self.set_holdings(chosen, self.random.uniform(-0.5, 0.8))
            case 4 if self.tickets:
                self.random.choice(self.tickets).cancel()
            case 5:
                self.liquidate(self.random.choice([None, chosen]))

    def balance(self) -> None:
        """The identities that must hold at every moment, exactly."""
        books = self.portfolio
        assert books.equity == EXACT.add(books.cash, books.holdings_value)
        gains = EXACT.add(books.realised_pnl, books.unrealised_pnl)
        assert books.equity == EXACT.add(CASH, EXACT.subtract(gains, books.fees))
        assert sum((p.holdings_value for p in books), Decimal(0)) == books.holdings_value


@pytest.mark.parametrize("seed", range(6))
async def test_the_books_balance_whatever_is_traded(seed: int) -> None:
    strategy = Restless(seed)
    outcome = await run_on_synthetic(strategy, minutes=2, seed=seed, rate=5)
    assert outcome.failure is None, outcome.reason
    assert outcome.engine.fills > 20
    strategy.balance()
    books = strategy.portfolio
    assert outcome.equity == f"{books.equity:.2f}"
    assert outcome.profit == f"{books.equity - CASH:.2f}"
    assert outcome.fees == f"{books.fees:.2f}"
    assert all(ticket.status.is_terminal for ticket in strategy.tickets)
    assert outcome.engine.fills == sum(bool(row[4]) for row in strategy.heard)
    assert books.fees == sum((Decimal(str(row[6])) for row in strategy.heard), Decimal(0))


@pytest.mark.parametrize("train", [False, True])
async def test_the_same_seed_is_the_same_run(train: bool) -> None:
    first, second = (Restless(7, train=train) for _ in range(2))
    outcomes = [
        await run_on_synthetic(strategy, minutes=3, seed=7, rate=5) for strategy in (first, second)
    ]
    assert first.heard == second.heard
    assert len(first.heard) > 100
    assert outcomes[0].engine == outcomes[1].engine
    assert outcomes[0].equity == outcomes[1].equity
    assert (first.slot.version > 1) == train
    assert first.slot.version == second.slot.version


async def test_another_seed_is_another_run() -> None:
    first, second = Restless(7), Restless(7)
    await run_on_synthetic(first, minutes=1, seed=1, rate=5)
    await run_on_synthetic(second, minutes=1, seed=2, rate=5)
    assert first.heard != second.heard
