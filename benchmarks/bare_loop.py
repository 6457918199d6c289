"""The EMA cross as one would write it by hand: a class for each part, floats, a for loop, no more.

The yardstick of `benchmarks.backtest`. It keeps no history, statistics, schedule or report, asks no
risk gate and has one kind of order; what it shares with the strategy is when it buys and sells.
"""

from collections.abc import Sequence

SECOND_NS = 1_000_000_000
Row = tuple[int, str, float, float]  # time (ns UTC), symbol, price, size
BarRow = tuple[
    int, float, float, float, float, float
]  # end (ns UTC), open, high, low, close, volume


class Bars:
    """One-second bars of one symbol."""

    def __init__(self) -> None:
        self.end = 0  # no bar is open
        self.open = self.high = self.low = self.close = self.volume = 0.0

    def update(self, time: int, price: float, size: float) -> BarRow | None:
        finished = None
        if time >= self.end:
            finished = self.finish()
            self.end = time - time % SECOND_NS + SECOND_NS
            self.open = self.high = self.low = self.close = price
            self.volume = size
            return finished
        if price > self.high:
            self.high = price
        elif price < self.low:
            self.low = price
        self.close = price
        self.volume += size
        return finished

    def finish(self) -> BarRow | None:
        if not self.end:
            return None
        bar = (self.end, self.open, self.high, self.low, self.close, self.volume)
        self.end = 0
        return bar


class Average:
    """An exponential moving average that starts as a mean."""

    def __init__(self, period: int) -> None:
        self.period, self.weight = period, 2.0 / (period + 1)
        self.value, self.samples = 0.0, 0

    def update(self, value: float) -> None:
        self.samples += 1
        weight = self.weight if self.samples > self.period else 1.0 / self.samples
        self.value += weight * (value - self.value)


class Portfolio:
    """Cash, what is held, and what it is worth."""

    def __init__(self, cash: float) -> None:
        self.cash = cash
        self.held: dict[str, float] = {}
        self.marks: dict[str, float] = {}

    def mark(self, symbol: str, price: float) -> None:
        self.marks[symbol] = price

    def apply(self, symbol: str, quantity: float, price: float) -> None:
        self.cash -= quantity * price + abs(quantity) * price * 1e-4
        self.held[symbol] = self.held.get(symbol, 0.0) + quantity

    def equity(self) -> float:
        return self.cash + sum(n * self.marks[symbol] for symbol, n in self.held.items())


class Broker:
    """Fills at the last price; an order before the first price waits for it."""

    def __init__(self, portfolio: Portfolio) -> None:
        self.portfolio = portfolio
        self.last: dict[str, float] = {}
        self.waiting: list[tuple[int, str, float]] = []
        self.fills: list[tuple[str, str]] = []

    def on_trade(self, symbol: str, price: float) -> None:
        self.last[symbol] = price
        if self.waiting:
            self.match()

    def submit(self, now: int, symbol: str, quantity: float) -> None:
        self.waiting.append((now, symbol, quantity))
        self.match()

    def match(self) -> None:
        for order in self.waiting[:]:
            _, symbol, quantity = order
            if symbol in self.last:
                self.waiting.remove(order)
                self.portfolio.apply(symbol, quantity, self.last[symbol])
                self.fills.append((symbol, "buy" if quantity > 0 else "sell"))


class Cross:
    """Long while the fast average of one symbol is above its slow one."""

    def __init__(self, symbol: str, weight: float, broker: Broker) -> None:
        self.symbol, self.weight, self.broker = symbol, weight, broker
        self.fast, self.slow = Average(5), Average(20)

    def on_bar(self, bar: BarRow) -> None:
        self.fast.update(bar[4])
        self.slow.update(bar[4])
        if self.slow.samples < self.slow.period:
            return
        held = self.broker.portfolio.held.get(self.symbol, 0.0)
        if self.fast.value > self.slow.value and not held:
            wanted = self.weight * self.broker.portfolio.equity() * 0.9975 // bar[4]
            self.broker.submit(bar[0], self.symbol, wanted)
        elif self.fast.value < self.slow.value and held:
            self.broker.submit(bar[0], self.symbol, -held)


class Loop:
    """All of it over rows in order of time."""

    def __init__(self, symbols: Sequence[str], cash: float = 100_000.0) -> None:
        self.portfolio = Portfolio(cash)
        self.broker = Broker(self.portfolio)
        self.bars = {symbol: Bars() for symbol in symbols}
        self.crosses = {
            symbol: Cross(symbol, 1.0 / len(symbols), self.broker) for symbol in symbols
        }

    def run(self, rows: Sequence[Row]) -> list[tuple[str, str]]:
        """Return symbol and side of each fill."""
        bars, crosses, broker, portfolio = self.bars, self.crosses, self.broker, self.portfolio
        time = 0
        for time, symbol, price, size in rows:
            bar = bars[symbol].update(time, price, size)
            if bar is not None:
                crosses[symbol].on_bar(bar)
            broker.on_trade(symbol, price)
            portfolio.mark(symbol, price)
        for symbol, open_bar in bars.items():
            if open_bar.end <= time and (bar := open_bar.finish()) is not None:
                crosses[symbol].on_bar(bar)
        return broker.fills
