"""Two runs of one deployment: the second begins with what the first had, and says what it lacks."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from feeds.events import Event
from runtime import ModelSlot, ReadinessCause, Resolution, Slice, Strategy, TrainedModel
from runtime.assembly import build_run
from runtime.clock import VirtualClock
from runtime.control.requests import ask
from runtime.deployment import look_after, open_deployment
from runtime.errors import ConfigError, RunFailed
from runtime.live import LiveRun, Outcome
from runtime.settings import Settings, load_settings
from runtime.testing import ScriptedFeed
from tests.stories.market import listening, moments, trade

X = np.random.default_rng(3).normal(size=(60, 2))
TICKS: list[list[Event]] = moments(*(trade(t) for t in range(1, 7)))


class Pupil(Strategy):
    """Trains at each of its first `lessons` ticks."""

    lessons = 3
    options: dict[str, Any] = {}

    def initialize(self) -> None:
        self.add_equity("SPY", Resolution.TICK)
        self.model = ModelSlot("pupil", **self.options)
        self.seen: list[tuple[bool, int]] = []

    def fit(self) -> object:
        model = LogisticRegression().fit(X, X[:, 0] > 0.1 * len(self.seen))
        return TrainedModel(model, {"mean": X.mean(axis=0)})

    def on_data(self, slice: Slice) -> None:
        self.seen.append((self.model.is_ready, self.model.version))
        if len(self.seen) <= self.lessons:
            self.train(self.fit, into=self.model)


class Odds:
    """A model of the author's own making."""

    def __init__(self, seven: int) -> None:
        self.seven = seven


class Idle(Pupil):
    lessons = 0


class Home:
    """The state folder of one deployment, run again and again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lines: list[dict[str, Any]] = []

    def settings(self, **more: Any) -> Settings:
        kept = {"state_dir": str(self.root), "name": "school", "persist": True}
        return load_settings(None, kept | more)[0]

    @asynccontextmanager
    async def opened(self, strategy: Strategy, ticks: Any, **more: Any) -> AsyncIterator[LiveRun]:
        log, self.lines = listening()
        wanted = self.settings(**more)
        async with open_deployment(wanted, "Pupil", log) as found:
            run = build_run(
                strategy,
                wanted,
                ScriptedFeed(ticks),
                VirtualClock(),
                log,
                "test",
                deployment=found,
            )
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(look_after, found, run.models, log)
                yield run
                tasks.cancel_scope.cancel()

    async def run(self, strategy: Strategy, ticks: Any = TICKS, **more: Any) -> Outcome:
        async with self.opened(strategy, ticks, **more) as run:
            return await run.run()

    def of(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == event]

    @property
    def shelf(self) -> Path:
        return self.root / "school" / "models" / "pupil"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setattr("runtime.deployment.LOOK_SECONDS", 0.02)
    return Home(tmp_path)


async def on_disk(work: Callable[[], object]) -> None:
    await anyio.to_thread.run_sync(work)


async def test_the_next_run_is_ready_before_its_first_tick(home: Home) -> None:
    first = Pupil()
    await home.run(first)
    assert first.model.bundle is not None
    assert [line["version"] for line in home.of("model stored")] == [1, 2, 3]
    second = Idle()
    await home.run(second)
    assert second.seen[0] == (True, 3)
    bundle = second.model.bundle
    assert bundle is not None
    np.testing.assert_array_equal(bundle.model.coef_, first.model.current.coef_)
    np.testing.assert_array_equal(bundle.extras["mean"], X.mean(axis=0))
    assert (bundle.trained_at, bundle.job) == (first.model.bundle.trained_at, "fit-3")
    assert second.model.previous is not None
    assert second.model.previous.version == 2, "a rollback is at hand"
    assert home.of("model restored")[0]["took_ms"] >= 0
    third = Pupil()
    await home.run(third)
    assert third.model.version == 6, "numbers go on"


async def test_the_age_of_a_stored_model_counts(home: Home) -> None:
    Pupil.options = {"max_age": timedelta(minutes=1)}
    try:
        await home.run(Pupil())
        late = Idle()
        await home.run(late, moments(trade(1000)))
    finally:
        Pupil.options = {}
    assert late.seen == [(False, 3)]
    assert late.model.readiness.cause is ReadinessCause.EXPIRED


async def test_a_damaged_version_is_told_and_the_one_before_serves(home: Home) -> None:
    await home.run(Pupil())
    await on_disk(lambda: (home.shelf / "000003.model").write_bytes(b"cut"))
    second = Idle()
    await home.run(second)
    assert second.seen[0] == (True, 2)
    (told,) = home.of("model file left out")
    assert "version 3 of pupil has 3 bytes" in told["text"]
    third = Pupil()
    await home.run(third)
    assert third.seen[1] == (True, 4), "the number of a damaged version is not given again"


async def test_a_disk_that_takes_nothing_stops_no_model_from_serving(home: Home) -> None:
    await on_disk(lambda: home.shelf.parent.mkdir(parents=True))
    await on_disk(lambda: home.shelf.write_text("in the way"))
    pupil = Pupil()
    await home.run(pupil)
    assert pupil.seen[-1] == (True, 3)
    assert len(home.of("model not stored: it serves in this run only")) == 3


async def test_a_model_without_a_format_serves_from_memory_and_that_is_told_once(
    home: Home,
) -> None:
    class Odd(Pupil):
        def fit(self) -> object:
            return Odds(7)

    pupil = Odd()
    await home.run(pupil)
    assert pupil.seen[-1] == (True, 3)
    (told,) = home.of("model kept in memory only")
    assert "test_restart:Odds has no safe format here" in told["text"]
    Odd.options = {"storage": "pickle"}
    await home.run(Odd())
    assert home.of("model stored")[0]["format"] == "pickle"
    again = Odd()
    again.lessons = 0
    await home.run(again)
    assert again.model.current.seven == 7


async def test_a_tape_keeps_and_restores_nothing_unless_asked(home: Home) -> None:
    await home.run(Pupil(), persist=False)
    assert not await anyio.Path(home.root / "school").exists()
    await home.run(Pupil())
    fresh = Pupil()
    await home.run(fresh, persist=False)
    assert fresh.seen[0] == (False, 0)
    synthetic = load_settings(None, {"feed": {"kind": "synthetic"}})[0]
    assert not synthetic.persists
    assert load_settings(None, {})[0].persists
    assert not load_settings(None, {"feed": {"data": ["tape"]}})[0].persists


async def test_a_rollback_by_the_strategy_is_there_after_a_restart(home: Home) -> None:
    class Doubting(Pupil):
        def on_data(self, slice: Slice) -> None:
            super().on_data(slice)
            if len(self.seen) == 5:
                self.model.rollback("drift")

    first = Doubting()
    await home.run(first)
    assert first.seen[-2:] == [(True, 3), (True, 2)]
    (told,) = home.of("model rolled back")
    assert (told["version"], told["instead_of"], told["by"]) == (2, 3, "drift")
    second = Pupil()
    await home.run(second)
    assert second.seen[:2] == [(True, 2), (True, 4)]


class Waiting(ScriptedFeed):
    """Delivers, and then waits to be told the end."""

    def __init__(self) -> None:
        super().__init__(TICKS)
        self.delivered, self.end = anyio.Event(), anyio.Event()

    async def run(self, *args: Any) -> None:
        await super().run(*args)
        self.delivered.set()
        await self.end.wait()


async def test_a_run_takes_the_request_of_the_command_line(home: Home) -> None:
    pupil, feed = Pupil(), Waiting()
    folder = home.root / "school"
    async with home.opened(pupil, []) as run, anyio.create_task_group() as tasks:
        run.feed = feed
        tasks.start_soon(run.run)
        await feed.delivered.wait()
        said = await anyio.to_thread.run_sync(ask, folder, "pupil", None, "me")
        assert said == "pupil rolled back to v2"
        assert pupil.model.version == 2
        assert await anyio.to_thread.run_sync(ask, folder, "pupil", 1, "me")
        assert (pupil.model.version, pupil.model.is_ready) == (1, True)
        assert await anyio.to_thread.run_sync(ask, folder, "pupil", 3, "me"), "forward again"
        for slot, to, words in (
            ("pupil", 3, "serves version 3 already"),
            ("pupil", 9, "no version 9"),
            ("other", None, "there is no slot 'other': the strategy has pupil"),
        ):
            with pytest.raises(RunFailed, match=words):
                await anyio.to_thread.run_sync(ask, folder, slot, to, "me")
        feed.end.set()


async def test_a_folder_that_vanishes_is_told_and_the_run_goes_on(home: Home) -> None:
    pupil, feed = Idle(), Waiting()
    async with home.opened(pupil, []) as run, anyio.create_task_group() as tasks:
        run.feed = feed
        tasks.start_soon(run.run)
        await feed.delivered.wait()
        await on_disk(lambda: (home.root / "school").rename(home.root / "away"))
        while not home.of("state folder"):
            await anyio.lowlevel.checkpoint()
        feed.end.set()
    assert "had vanished and was made again" in home.of("state folder")[0]["text"]
    left = {path.name async for path in anyio.Path(home.root / "school").iterdir()}
    assert {"lock", "key", "quota.json"} <= left


async def test_a_finished_model_serves_from_the_start_and_is_never_trained(
    home: Home, tmp_path: Path
) -> None:
    file = tmp_path / "line.json"
    await on_disk(lambda: file.write_text('{"slope": 2.5}'))
    pupil = Pupil()
    outcome = await home.run(pupil, models={"pupil": str(file)})
    assert outcome.failure is None
    assert set(pupil.seen) == {(True, 1)}
    assert pupil.model.current == {"slope": 2.5}
    refused = home.of("training: cancelled")
    assert len(refused) == 3
    assert refused[0]["text"] == f"slot 'pupil' serves {file}: it is not trained"
    assert not home.of("model stored")


async def test_a_finished_model_for_a_slot_that_is_not_there_ends_the_run(
    home: Home, tmp_path: Path
) -> None:
    file = tmp_path / "line.json"
    await on_disk(lambda: file.write_text("{}"))
    outcome = await home.run(Pupil(), models={"puple": str(file)})
    assert isinstance(outcome.failure, ConfigError)
    assert "--model puple: the strategy has no slot of this name; it has pupil" in str(
        outcome.failure
    )


async def test_a_model_made_in_a_worker_process_is_encoded_there_and_stored(home: Home) -> None:
    pupil = Pupil()
    await home.run(pupil, training={"isolation": "process"})
    assert [line["format"] for line in home.of("model stored")] == ["skops"] * 3
    second = Idle()
    await home.run(second)
    assert second.seen[0] == (True, 3)
    np.testing.assert_array_equal(second.model.current.coef_, pupil.model.current.coef_)
