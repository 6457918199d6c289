"""LEAN's way, unchanged: a flag that says "the model is training", looked at in on_data.

Try it: tidegate run strategies/readiness_flag.py --duration 60
"""

import numpy as np

from runtime import Resolution, Slice, Strategy


class ReadinessFlag(Strategy):
    """A least-squares line through recent closes, refitted every minute of bars."""

    WINDOW = 30

    def initialize(self) -> None:
        self.symbol = self.add_security(
            self.get_parameter("symbol", "BTC/USD"), Resolution.SECOND
        ).symbol
        self.slope: float | None = None
        self.model_is_training = False
        self.bars = 0

    def fit_line(self) -> None:
        """Train: in the pool, beside trading; in a thread its writes are seen as they happen."""
        try:
            closes = self.history(self.symbol, self.WINDOW).close
            self.slope = float(np.polyfit(np.arange(len(closes)), closes, 1)[0])
        finally:
            # In LEAN's sample an exception leaves the flag stuck; here it doesn't.
            self.model_is_training = False

    def on_data(self, slice: Slice) -> None:
        self.bars += slice.contains_key(self.symbol)
        if not self.model_is_training and self.bars >= self.WINDOW:
            self.bars = 0
            self.model_is_training = True
            self.train(self.fit_line)
        if self.model_is_training or self.slope is None:
            return
        invested = self.portfolio[self.symbol].invested
        if self.slope > 0 and not invested:
            self.set_holdings(self.symbol, 0.5)
        elif self.slope < 0 and invested:
            self.liquidate(self.symbol)
