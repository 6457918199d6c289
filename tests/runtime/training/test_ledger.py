"""What was billed stays billed: through kill -9 at any instant, clocks set, and other settings."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import anyio
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.typing import FilteringBoundLogger

from feeds.events import SECOND
from runtime.clock import HighWaterClock
from runtime.deployment import stored_quota
from runtime.settings import TrainingSettings
from runtime.training.bucket import LeakyBucket
from runtime.training.ledger import FILE, Ledger, QuotaRecord, read_record
from runtime.training.quota import TrainingQuota
from tests.models.bucket import SlowBucket
from tests.stories.market import listening

T0 = 1_700_000_000 * SECOND


class Hands:
    """A wall clock and a steady one, set by hand."""

    def __init__(self) -> None:
        self.wall, self.steady = T0, 5

    def clock(self, high: int = 0) -> HighWaterClock:
        return HighWaterClock(high, lambda: self.wall, lambda: self.steady)


# ---- the clock -----------------------------------------------------------------------------------


def test_time_follows_the_wall_and_goes_on_where_the_wall_is_set_back() -> None:
    hands = Hands()
    clock = hands.clock()
    hands.wall += 10
    hands.steady += 10
    assert clock.now() == T0 + 10
    hands.wall -= 3600
    assert clock.now() == T0 + 10
    hands.steady += 7
    assert clock.now() == T0 + 17
    hands.wall = T0 + 100
    assert clock.now() == T0 + 100


def test_a_restart_begins_no_earlier_than_the_run_before_has_seen() -> None:
    hands = Hands()
    clock = hands.clock(T0 + 50)
    assert clock.now() == T0 + 50
    hands.steady += 5
    assert clock.now() == T0 + 55
    assert clock.on_the_wall(T0 + 60) == T0 + 5, "five from now on a wall that shows T0"


# ---- lives against the slow model ----------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["consume", "consume", "time", "kill", "set"]), st.integers(-300, 300)
    ),
    max_size=60,
)


@given(STEPS, st.integers(1, 6), st.integers(0, 4), st.integers(1, 60))
@settings(max_examples=400)
def test_killed_runs_spend_what_one_that_was_never_killed_would(
    steps: list[tuple[str, int]], capacity: int, refill: int, interval: int
) -> None:
    """The slow bucket is never restarted; it is told the times that the runs' clocks have shown.

    A kill forgets all that is not in the record, which is written before `consume` returns.
    """
    hands = Hands()
    clock = hands.clock()
    slow = SlowBucket(capacity, refill, interval, clock.now())
    bucket = LeakyBucket(capacity, refill, interval, clock.now())
    record = QuotaRecord(bucket.available, bucket.next_refill, clock.now(), capacity)
    for step, number in steps:
        if step == "consume":
            now = clock.now()
            assert bucket.try_consume(1, now) is slow.try_consume(1, now)
            record = QuotaRecord(bucket.available, bucket.next_refill, now, capacity)
        elif step == "time":
            hands.wall += abs(number)
            hands.steady += abs(number)
        elif step == "set":
            hands.wall += number
        else:  # the machine may sleep, boot, and be set while nobody runs
            hands.wall += number
            hands.steady = abs(number)
            record = msgspec.json.decode(msgspec.json.encode(record), type=QuotaRecord)
            clock = hands.clock(record.clock)
            bucket = LeakyBucket.restore(record.bucket, capacity, refill, interval, clock.now())
        assert bucket.available == slow.available
        assert bucket.next_refill == slow.boundary


# ---- on the disk ---------------------------------------------------------------------------------


async def opened(
    folder: Path, log: FilteringBoundLogger, **wanted: int
) -> tuple[TrainingQuota, Ledger]:
    settings = TrainingSettings(**wanted)  # type: ignore[arg-type]  # integers all
    return await anyio.to_thread.run_sync(stored_quota, folder, settings, log)


async def test_the_next_run_finds_what_was_taken(tmp_path: Path) -> None:
    log, lines = listening()
    for left in (119, 118, 117):
        quota, ledger = await opened(tmp_path, log)
        assert quota.try_consume(1)
        await quota.settled()
        stored = await anyio.to_thread.run_sync(read_record, tmp_path)
        assert stored is not None
        assert stored.available == quota.statistics().available == left
        await ledger.close()
    assert lines == []
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(("capacity", "left"), [(60, 60), (500, 119), (119, 119)])
async def test_another_capacity_gives_no_minutes(tmp_path: Path, capacity: int, left: int) -> None:
    log, _ = listening()
    quota, ledger = await opened(tmp_path, log)
    quota.try_consume(1)
    await ledger.close()
    again, ledger = await opened(tmp_path, log, capacity=capacity)
    assert again.statistics().available == left
    await ledger.close()


@pytest.mark.parametrize("text", ["", "{", '{"available": "x"}', "[]", "\x00" * 50])
async def test_a_damaged_record_starts_empty_and_says_so(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    log, lines = listening()
    quota, ledger = await opened(tmp_path, log)
    await ledger.close()
    assert quota.statistics().available == 0
    assert "remove the file to start full" in lines[0]["text"]


async def test_a_disk_that_refuses_is_told_once_and_holds_nobody_up(tmp_path: Path) -> None:
    troubles: list[str] = []
    folder = tmp_path / "gone"
    ledger = Ledger(folder, lambda: QuotaRecord(1, 2, 3, 4), troubles.append)
    for _ in range(3):
        ledger.touch()
        await ledger.settled()
    folder.mkdir()
    ledger.touch()
    await ledger.close()
    assert troubles == ["No such file or directory", ""]


async def test_a_disk_that_hangs_holds_nobody_up_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.training.ledger.PATIENCE_SECONDS", 0.01)
    release = threading.Event()

    def hang() -> QuotaRecord:
        release.wait()
        return QuotaRecord(1, 2, 3, 4)

    ledger = Ledger(tmp_path, hang, lambda _: None)
    ledger.touch()
    await ledger.settled()
    assert not (tmp_path / FILE).exists()
    release.set()
    await ledger.close()


SPEND = """
import asyncio, pathlib, sys, structlog
from runtime.deployment import stored_quota
from runtime.settings import TrainingSettings

async def spend():
    settings = TrainingSettings(capacity=100_000, refill_amount=0)
    quota, _ = stored_quota(pathlib.Path(sys.argv[1]), settings, structlog.get_logger())
    print("left", quota.statistics().available, flush=True)
    while True:
        assert quota.try_consume(1)
        await quota.settled()
        print("billed", flush=True)

asyncio.run(spend())
"""


def test_kill_9_at_any_instant_gives_no_billed_minute_back(tmp_path: Path) -> None:
    """Real processes, each killed in the middle of its spending, a little later each time."""
    before: int | None = None
    for round_ in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", SPEND, str(tmp_path)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        ) as child:
            assert child.stdout is not None
            left = int(child.stdout.readline().split()[1])
            for _ in range(1 + round_ * 7):
                child.stdout.readline()
            child.send_signal(signal.SIGKILL)
            billed = 1 + round_ * 7 + child.stdout.read().count(b"billed")
        stored = read_record(tmp_path)
        assert stored is not None
        assert left - billed - 1 <= stored.available <= left - billed, "one may be on its way"
        assert before is None or left == before, "a restart gives and takes nothing"
        before = stored.available
