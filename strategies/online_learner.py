"""An online learner (river): one example at a time, in on_data, never a training job.

It learns from each finished second what the second before it foretold. It is ready once it has
seen enough, and says so by its own count.
Try it: tidegate run strategies/online_learner.py --duration 60
"""

from river import linear_model, metrics, preprocessing

from runtime import Resolution, Slice, Strategy, Trade


class OnlineLearner(Strategy):
    """A logistic regression fed with the order flow of one symbol, second by second."""

    ENOUGH = 120

    def initialize(self) -> None:
        self.symbol = self.add_security(self.get_parameter("symbol", "SPY"), Resolution.TICK).symbol
        self.model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
        self.score = metrics.ROCAUC()
        self.learned = self.second = 0
        self.flow = 0.0
        self.last_price = self.bias = 0.0
        self.features: dict[str, float] | None = None

    def on_data(self, slice: Slice) -> None:
        security = self.securities[self.symbol]
        for tick in slice.ticks.get(self.symbol, ()):
            if isinstance(tick, Trade):
                self.flow += {"buyer": 1.0, "seller": -1.0}.get(tick.aggressor, 0.0)
            else:
                self.bias += (tick.bid_size - tick.ask_size) / (tick.bid_size + tick.ask_size or 1)
        if self.time_ns // 1_000_000_000 == self.second or not security.bid > 0:
            return
        self.second = self.time_ns // 1_000_000_000
        mid = (security.bid + security.ask) / 2
        if self.features is not None and mid != self.last_price:
            went_up = mid > self.last_price
            self.score.update(went_up, self.model.predict_proba_one(self.features))
            self.model.learn_one(self.features, went_up)
            self.learned += 1
        # What counts decays by the second, so the newest flow weighs most.
        self.features = {"flow": self.flow, "bias": self.bias}
        self.last_price, self.flow, self.bias = mid, 0.8 * self.flow, 0.8 * self.bias
        if self.learned >= self.ENOUGH:
            self.trade(self.model.predict_proba_one(self.features)[True])

    def trade(self, up: float) -> None:
        """Hold the side that the learner is surer of."""
        held = self.portfolio[self.symbol].quantity
        if up > 0.6 and held <= 0:
            self.set_holdings(self.symbol, 0.9)
        elif up < 0.4 and held >= 0:
            self.set_holdings(self.symbol, -0.9)

    def on_end_of_algorithm(self) -> None:
        self.log("learned", examples=self.learned, auc=round(float(self.score.get()), 3))
