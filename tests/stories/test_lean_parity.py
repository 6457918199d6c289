"""With isolation thread and policy stop, what LEAN does can be seen here too; the table says where.

The rows are those of docs/training.md, "Beside LEAN"; tests that show others are named there.
"""

import re
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from feeds.events import MINUTE
from runtime import JobState, ModelSlot
from runtime.clock import VirtualClock
from runtime.errors import QuotaExhausted
from runtime.settings import load_settings
from runtime.testing import ScriptedFeed, run_on_events, scripted_run
from runtime.training.supervision import TrainingRules
from tests.runtime.training.support import Bench, Gate, request
from tests.stories.market import Endless, Recorder, at, moments, trade

ROOT = Path(__file__).parents[2]
SECONDS = timedelta(seconds=1)
LEAN = {"policy": "stop", "isolation": "thread"}


@pytest.fixture(autouse=True)
def let_go() -> Iterator[None]:
    """A test that fails must not keep its training threads: the process would wait for them."""
    yield
    while Gate.made:
        Gate.made.pop().release.set()


async def test_a_plain_schedule_takes_no_minute() -> None:
    """Row 30, where LEAN takes one for every scheduled event."""
    clock = VirtualClock(at(0))

    def begin(strategy: Recorder) -> None:
        strategy.schedule.on(
            strategy.date_rules.today, strategy.time_rules.now, lambda: clock.advance(5 * MINUTE)
        )

    run = scripted_run(Recorder(begin=begin), ScriptedFeed(moments(trade(1))), clock)
    outcome = await run.run()
    assert outcome.failure is None
    assert (outcome.training.spent, outcome.training.quota.available) == (0, 120)


async def test_row_28_a_refused_minute_ends_the_run_although_the_job_then_ends_by_itself() -> None:
    bench, gate, slot = (
        Bench(capacity=1, rules=TrainingRules(policy="stop")),
        Gate(1),
        ModelSlot("m"),
    )
    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            with pytest.raises(QuotaExhausted, match="the bucket holds 0 of 1"):
                await bench.manager.run()

        tasks.start_soon(run)
        handle = bench.manager.submit(request(gate.train, slot, "fit"))
        await bench.begun(gate)
        await bench.pass_time(2 * MINUTE)
        gate.release.set()
    assert handle.state is JobState.OUT_OF_QUOTA
    assert not slot.is_ready


async def test_out_of_quota_with_policy_stop_ends_a_live_run_and_names_quota_and_job() -> None:
    """A whole run, billed by the millisecond: LEAN's message for this is that of a slow on_data."""
    released = threading.Event()

    def fit() -> None:
        while not (strategy.training.cancelled or released.wait(0.001)):
            pass

    quota = {"capacity": 1, "refill_amount": 0, "grace_minutes": 0.0, "quantum_seconds": 0.001}
    strategy = Recorder(begin=lambda s: s.train(fit))
    settings = load_settings(None, {"training": {**LEAN, **quota}})[0]
    try:
        with anyio.fail_after(10):
            outcome = await scripted_run(strategy, Endless(), VirtualClock(), settings).run()
    finally:
        released.set()
    assert "training 'fit'" in str(outcome.failure)
    assert "was refused another: the bucket holds 0 of 1" in str(outcome.failure)


async def test_scheduled_callbacks_fire_while_a_job_trains() -> None:
    """LEAN's one thread of scheduled work is held up by the training."""
    gate, fired = Gate(), 0

    def callback() -> None:
        nonlocal fired
        fired += bool(run.training.statistics().running)
        if fired == 3:
            gate.release.set()
            strategy.quit("fired")

    def begin(strategy: Recorder) -> None:
        strategy.train(gate.train)
        strategy.schedule.on(
            strategy.date_rules.every_day(), strategy.time_rules.every(SECONDS), callback
        )

    strategy = Recorder(begin=begin)
    run = scripted_run(
        strategy, Endless(), VirtualClock(), load_settings(None, {"training": LEAN})[0]
    )
    with anyio.fail_after(10):
        outcome = await run.run()
    assert (outcome.reason, fired) == ("fired", 3)


async def test_with_leans_settings_a_job_that_raises_fails_alone() -> None:
    def wrong() -> None:
        raise ValueError("no data")

    strategy = Recorder(begin=lambda s: s.train(wrong))
    outcome = await run_on_events(strategy, moments(trade(1), trade(2)), training=LEAN)
    assert outcome.failure is None
    assert outcome.training.finished == {JobState.FAILED: 1}
    assert strategy.calls.count("on_data") == 2


def test_every_test_that_the_table_names_is_there() -> None:
    page = (ROOT / "docs/training.md").read_text(encoding="utf-8")
    section = page.split("## Beside LEAN")[1]
    named = set(re.findall(r"`(test_\w+)`", section))
    tests = {
        name
        for file in ROOT.glob("tests/**/test_*.py")
        for name in re.findall(
            r"^(?:async )?def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE
        )
    }
    assert len(named) > 40
    assert named <= tests, f"named in docs/training.md and not there: {sorted(named - tests)}"


def test_every_row_of_leans_table_is_answered() -> None:
    section = (ROOT / "docs/training.md").read_text(encoding="utf-8").split("## Beside LEAN")[1]
    rows = [int(row) for row in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)]
    assert rows == list(range(1, 31))
