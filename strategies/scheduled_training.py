"""Trained before the open, flat before the close: what happens at a time is said in initialize.

The hours are the exchange's: holidays, half days and daylight saving need no line here.
Try it: tidegate run strategies/scheduled_training.py --feed synthetic --minutes 1440 --speed max
"""

from datetime import timedelta
from typing import NamedTuple

from runtime import DayOfWeek, ModelSlot, Resolution, Slice, Strategy, when_ready


class Range(NamedTuple):
    """What is usual: the mean of recent closes and how far they stray from it."""

    mean: float
    spread: float


class ScheduledTraining(Strategy):
    """Buys below the usual range and sells in the middle of it, while the market is open."""

    def initialize(self) -> None:
        self.symbol = self.add_equity(self.get_parameter("symbol", "SPY"), Resolution.MINUTE).symbol
        self.model = ModelSlot("range")
        self.is_session = False
        days = self.date_rules.every_day(self.symbol)
        # Long work goes to the pool, beside trading ...
        self.train(
            days, self.time_rules.before_market_open(self.symbol, 60), self.fit, into=self.model
        )
        self.train(days, self.time_rules.every(timedelta(hours=2)), self.fit, into=self.model)
        # ... and short work is called on the spot.
        self.schedule.on(days, self.time_rules.after_market_open(self.symbol, 5), self.open)
        self.schedule.on(days, self.time_rules.before_market_close(self.symbol, 10), self.close)
        self.schedule.on(
            self.date_rules.every(DayOfWeek.FRIDAY), self.time_rules.at(17, 0), self.report
        )

    def fit(self) -> Range:
        """Train on the newest bars; before there are enough the last range goes on serving."""
        closes = self.history(self.symbol, 120).close
        if len(closes) < 30:
            raise ValueError(f"{len(closes)} bars are too few to know what is usual")
        return Range(float(closes.mean()), float(closes.std()))

    def open(self) -> None:
        """Begin to trade."""
        self.is_session = True

    def close(self) -> None:
        """Hold nothing overnight."""
        self.is_session = False
        self.liquidate(self.symbol)

    def report(self) -> None:
        """Say how the week was."""
        self.log("week", equity=self.portfolio.equity, model=self.model.version)

    @when_ready("model")
    def on_data(self, slice: Slice) -> None:
        bundle = self.model.bundle
        if bundle is None or not self.is_session or not slice.contains_key(self.symbol):
            return
        usual, price = bundle.model, self.securities[self.symbol].price
        invested = self.portfolio[self.symbol].invested
        if not invested and price < usual.mean - usual.spread:
            self.set_holdings(self.symbol, 0.9)
        elif invested and price > usual.mean:
            self.liquidate(self.symbol)
