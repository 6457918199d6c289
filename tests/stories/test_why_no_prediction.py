"""Why there is no prediction: in the log once a change, in the status, and counted by cause."""

from datetime import timedelta

import anyio

from feeds.events import SECOND, Event
from runtime import ModelSlot, ReadinessCause, Resolution, Slice, Strategy, TrainedModel, when_ready
from runtime.clock import VirtualClock
from runtime.control.training_log import ReadinessLog
from runtime.errors import StrategyError
from runtime.testing import ScriptedFeed, run_on_events, scripted_run
from runtime.training.shelf import ModelShelf
from tests.runtime.training.support import T0, settle
from tests.stories.market import SPY, at, listening, moments, trade


def told(lines: list[dict[str, object]]) -> list[tuple[object, ...]]:
    """The lines about readiness: level, cause or version, and skips or text."""
    return [
        (line["level"], line["cause"], line.get("text", ""))
        if line["event"] == "model not ready"
        else (line["level"], line["version"], line["skipped"])
        for line in lines
        if line["event"] in {"model not ready", "model ready"}
    ]


class Student(Strategy):
    """Fails its first training, passes the second; asks for a prediction at every tick."""

    def initialize(self) -> None:
        self.spy = self.add_equity("SPY", Resolution.TICK).symbol
        self.model = ModelSlot("student", max_age=timedelta(seconds=10))
        self.slices = 0
        self.predicted: list[tuple[int, timedelta, str]] = []

    def fit(self) -> TrainedModel:
        self.training.report(samples=len(self.tick_history(self.spy, 100)))
        if self.slices < 4:
            raise ValueError("too few ticks")
        return TrainedModel("line", {"scaler": "of that fit"})

    def on_data(self, slice: Slice) -> None:
        self.slices += 1
        self.predict()
        if self.slices in {2, 4}:
            self.train(self.fit, into=self.model)

    @when_ready("model")
    def predict(self) -> None:
        bundle = self.model.bundle
        assert bundle is not None
        self.predicted.append((bundle.version, bundle.age(self.time_ns), bundle.extras["scaler"]))


TICKS: list[list[Event]] = moments(*(trade(t) for t in (1, 2, 3, 4, 5, 6, 30, 31)))


async def test_the_log_tells_each_change_once_and_never_a_tick() -> None:
    log, lines = listening()
    strategy = Student()
    outcome = await run_on_events(strategy, TICKS, log=log)
    assert outcome.failure is None
    assert told(lines) == [
        ("info", "never trained", ""),
        ("info", "queued", ""),
        ("info", "training", ""),
        ("info", "failed", "ValueError: too few ticks"),
        ("info", "queued", ""),
        ("info", "training", ""),
        ("info", 1, 4),
        ("warning", "expired", "version 1 is older than 0:00:10"),
    ]
    assert strategy.predicted == [
        (1, timedelta(seconds=1), "of that fit"),
        (1, timedelta(seconds=2), "of that fit"),
    ]


async def test_skips_are_counted_by_cause_in_the_status_and_at_the_end() -> None:
    run = scripted_run(Student(), ScriptedFeed(TICKS), VirtualClock())
    outcome = await run.run()
    by_cause = {"student": {"never trained": 2, "failed": 2, "expired": 2}}
    assert outcome.skipped == outcome.figures()["skipped"] == by_cause
    status = run.status()
    assert status["skipped"] == by_cause
    assert status["models"] == {"student": "expired: version 1 is older than 0:00:10"}
    assert status["quota"] == "120/120"
    assert str(status["next_refill"]).endswith("Z")
    assert outcome.figures()["spent_minutes"] == 0


async def test_a_bundle_says_which_data_its_job_could_know() -> None:
    strategy = Student()
    await run_on_events(strategy, TICKS)
    bundle = strategy.model.bundle
    assert bundle is not None
    assert (bundle.trained_at, bundle.data_until) == (at(4), at(4))
    assert (bundle.name, bundle.job, bundle.metrics) == ("fit", "fit-2", {"samples": 4.0})


async def test_a_model_expires_in_time_although_no_slice_comes() -> None:
    log, lines = listening()
    clock, slot = VirtualClock(T0), ModelSlot("m", max_age=timedelta(seconds=10))
    shelf = ModelShelf(clock, ReadinessLog(log), lambda *_: None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(shelf.run)
        await shelf.restore()
        await settle()
        shelf.adopt(slot)
        shelf.adopt(slot)
        slot.publish("first", "job", T0)
        await settle()
        clock.advance_to(T0 + 4 * SECOND)
        await anyio.to_thread.run_sync(slot.publish, "second", "job", clock.now())
        await settle()
        clock.advance_to(T0 + 10 * SECOND)
        await settle()
        assert slot.is_ready, "the age of the second counts"
        clock.advance_to(T0 + 14 * SECOND)
        await settle()
        assert slot.readiness.cause is ReadinessCause.EXPIRED
        tasks.cancel_scope.cancel()
    assert told(lines) == [
        ("info", "never trained", ""),
        ("info", 1, 0),
        ("warning", "expired", "version 2 is older than 0:00:10"),
    ]


async def test_two_slots_of_one_name_are_refused() -> None:
    class Twins(Student):
        def initialize(self) -> None:
            super().initialize()
            self.others = {SPY: ModelSlot("student")}

    outcome = await run_on_events(Twins(), TICKS)
    assert isinstance(outcome.failure, StrategyError)
    assert "two slots are named 'student'" in str(outcome.failure)


async def test_slots_in_lists_and_dicts_are_known_from_the_start() -> None:
    class Many(Student):
        def initialize(self) -> None:
            super().initialize()
            self.by_symbol = {SPY: ModelSlot("a")}
            self.more = [ModelSlot("b"), "no slot"]

    run = scripted_run(Many(), ScriptedFeed(TICKS), VirtualClock())
    await run.run()
    assert list(run.models.slots) == ["student", "a", "b"]
