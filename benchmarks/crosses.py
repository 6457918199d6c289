"""The EMA cross of strategies/ema_cross.py over many symbols, an equal share of the equity each."""

from runtime import ExponentialMovingAverage, Resolution, Slice, Strategy


class EmaCrosses(Strategy):
    """Two exponential moving averages of one-second closes for each symbol.

    Args:
        symbols: shares.
    """

    def __init__(self, symbols: list[str]) -> None:
        self.wanted = symbols

    def initialize(self) -> None:
        """Ask for one-second bars of every symbol."""
        symbols = [self.add_equity(name, Resolution.SECOND).symbol for name in self.wanted]
        self.weight = 1.0 / len(symbols)
        self.averages = {
            symbol: (ExponentialMovingAverage(5), ExponentialMovingAverage(20))
            for symbol in symbols
        }

    def on_data(self, slice: Slice) -> None:
        """Hold what rises."""
        for symbol, bar in slice.bars.items():
            fast, slow = self.averages[symbol]
            fast.update(bar.close)
            slow.update(bar.close)
            if not slow.is_ready:
                continue
            invested = self.portfolio[symbol].invested
            if fast.value > slow.value and not invested:
                self.set_holdings(symbol, self.weight)
            elif fast.value < slow.value and invested:
                self.liquidate(symbol)
