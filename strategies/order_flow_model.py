"""A logistic model on order flow: becomes ready, predicts, trades, is retrained beside trading.

Who crosses the spread, and which side of the quote is larger, tells a little of the next seconds.
Try it: tidegate run strategies/order_flow_model.py   (-p target=shuffled shows it without a clue)
"""

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from runtime import ModelSlot, OrderEvent, Resolution, Slice, Strategy, TickWindow, when_ready

Floats = npt.NDArray[np.float64]
LOOK_BACK, HORIZON, SECOND = 8.0, 5.0, 1_000_000_000
ENTER, LEAVE = 0.65, 0.5


def features(ticks: TickWindow, at: Floats) -> tuple[Floats, Floats]:
    """Return float64[len(at), 3], of the seconds before each moment of `at`, and the mids then."""
    times, is_trade, mid = ticks.time / SECOND, ticks.is_trade, (ticks.bid + ticks.ask) / 2
    lean = np.nan_to_num(np.log1p(ticks.bid_size) - np.log1p(ticks.ask_size))
    now, then = np.searchsorted(times, at, "right"), np.searchsorted(times, at - LOOK_BACK)
    then = np.minimum(then, len(times) - 1)  # quiet for longer: the last tick tells what it can

    def mean(values: Floats, rows: npt.NDArray[np.bool_]) -> Floats:
        total, count = (np.append(0.0, np.cumsum(x * rows)) for x in (values, np.ones(len(rows))))
        found: Floats = (total[now] - total[then]) / np.maximum(count[now] - count[then], 1)
        return found

    moved = np.nan_to_num(np.log(mid[now - 1] / mid[then]) * 1e4)
    columns = [mean(ticks.side, is_trade), mean(lean, ~is_trade), moved]
    return np.stack(columns, axis=1), mid[now - 1]


class OrderFlowModel(Strategy):
    """Long where the model says up, short where it says down, flat where it is not sure."""

    def initialize(self) -> None:
        tickers = self.get_parameter("symbols", "SPY,AAPL,MSFT,NVDA").split(",")
        self.symbols = [self.add_security(t, Resolution.TICK).symbol for t in tickers]
        self.retrain = int(float(self.get_parameter("retrain_seconds", "15")) * SECOND)
        self.shuffled = self.get_parameter("target") == "shuffled"
        self.model = ModelSlot("order_flow")
        self.next_look = self.next_fit = 0

    def fit(self) -> LogisticRegression:
        """Train on what the windows hold; what is returned is published into the slot."""
        inputs, targets = [np.empty((0, 3))], [np.empty(0, bool)]
        for symbol in self.symbols:
            if not len(ticks := self.tick_history(symbol, 10_000)):
                continue
            first, last = ticks.time[0] / SECOND + LOOK_BACK, ticks.time[-1] / SECOND
            at = np.arange(first, last - HORIZON, 0.2)
            (x, mid), (_, later) = features(ticks, at), features(ticks, at + HORIZON)
            known = np.isfinite(mid) & np.isfinite(later) & (mid != later)
            inputs.append(x[known])
            targets.append((later > mid)[known])
            self.training.progress(len(targets) / (len(self.symbols) + 1), f"{symbol} read")
        x, y = np.concatenate(inputs), np.concatenate(targets)
        if len(np.unique(y)) < 2:
            raise ValueError("the quotes have not moved both up and down yet")
        if self.shuffled:
            np.random.default_rng(1).shuffle(y)
        model = LogisticRegression(C=0.02).fit(x, y)
        self.training.report(samples=len(y), accuracy=float(model.score(x, y)))
        return model

    def on_data(self, slice: Slice) -> None:
        if self.time_ns < self.next_look:
            return
        self.next_fit = self.next_fit or self.time_ns + 20 * SECOND
        self.next_look = self.time_ns + SECOND
        if self.time_ns >= self.next_fit:
            self.next_fit = self.time_ns + self.retrain
            self.train(self.fit, into=self.model)
        self.trade()

    @when_ready("model")
    def trade(self) -> None:
        """Predict once a second; until there is a model this is skipped, and counted."""
        if (bundle := self.model.bundle) is None:
            return
        for symbol in self.symbols:
            if not len(ticks := self.tick_history(symbol, 2_000)):
                continue
            x, _ = features(ticks, np.array([self.time_ns / SECOND]))
            up = float(bundle.model.predict_proba(x)[0, 1])
            held = self.portfolio[symbol].quantity
            if (held > 0 and up < LEAVE) or (held < 0 and up > 1 - LEAVE):
                self.liquidate(symbol)
            elif not held and max(up, 1 - up) > ENTER:
                side = 1 if up > 0.5 else -1
                self.log("prediction", symbol=symbol, up=round(up, 3), version=bundle.version)
                self.set_holdings(symbol, side * 0.9 / len(self.symbols))

    def on_order_event(self, order_event: OrderEvent) -> None:
        if order_event.fill_quantity:
            e = order_event
            self.log("fill", symbol=e.symbol, side=e.side, size=e.fill_quantity, price=e.fill_price)
