"""No model at all: long while the fast average is above the slow one, flat otherwise.

Try it: tidegate run strategies/ema_cross.py --duration 60
"""

from runtime import ExponentialMovingAverage, OrderEvent, Resolution, Slice, Strategy


class EmaCross(Strategy):
    """Two exponential moving averages of one-second closes."""

    def initialize(self) -> None:
        self.symbol = self.add_security(
            self.get_parameter("symbol", "BTC/USD"), Resolution.SECOND
        ).symbol
        self.fast = ExponentialMovingAverage(int(self.get_parameter("fast", "5")))
        self.slow = ExponentialMovingAverage(int(self.get_parameter("slow", "20")))

    def on_data(self, slice: Slice) -> None:
        # A currency pair has no trades to make bars of: its quotes have to do.
        bar = slice.bars.get(self.symbol) or slice.quote_bars.get(self.symbol)
        if bar is None:
            return
        self.fast.update(bar.close)
        self.slow.update(bar.close)
        if not self.slow.is_ready:
            return
        invested = self.portfolio[self.symbol].invested
        if self.fast.value > self.slow.value and not invested:
            self.set_holdings(self.symbol, 1.0)
        elif self.fast.value < self.slow.value and invested:
            self.liquidate(self.symbol)

    def on_order_event(self, order_event: OrderEvent) -> None:
        if order_event.fill_quantity:
            self.log(
                "fill",
                side=order_event.side,
                quantity=order_event.fill_quantity,
                price=order_event.fill_price,
            )
