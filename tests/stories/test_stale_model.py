"""A model grows old by itself: on_data sees it ready, then stale, without anybody asking."""

from datetime import timedelta

from feeds.events import SECOND, Quote, Symbol
from runtime import ModelSlot, Resolution, Slice, Strategy
from runtime.testing import run_on_events

SPY = Symbol("SPY")


class Aging(Strategy):
    def initialize(self) -> None:
        self.add_equity("SPY", Resolution.TICK)
        self.model = ModelSlot("m", max_age=timedelta(seconds=10))
        self.seen: list[bool] = []

    def on_data(self, slice: Slice) -> None:
        if not self.seen:
            self.train(lambda: "a model", into=self.model, name="fit")
        self.seen.append(self.model.is_ready)


async def test_a_model_is_stale_from_its_maximum_age_on() -> None:
    strategy = Aging()
    quotes = [[Quote(SPY, t * SECOND, t * SECOND, 9.0, 1.0, 10.0, 1.0)] for t in (1, 2, 10, 11, 12)]
    outcome = await run_on_events(strategy, quotes)
    assert outcome.failure is None
    assert strategy.seen == [False, True, True, False, False]
    assert "older than" in strategy.model.readiness.reason
