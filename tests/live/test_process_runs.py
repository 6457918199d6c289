"""Whole runs whose training is in worker processes: however a run ends, nothing of it is left."""

import signal
from pathlib import Path

import anyio
import pytest

from runtime.loading import load_strategy
from runtime.testing import run_on_events, run_on_synthetic
from runtime.training.jobs import JobState
from strategies import folder
from tests.live.cli_kit import Running, run, strategy, wait_for_end, watched
from tests.live.patients import Tape
from tests.live.ward import state
from tests.stories.market import moments, trade

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="looks at processes as Linux shows them"
)

DEAF = """
def initialize(self):
    self.add_security('SPY', Resolution.TICK)
    self.slot = ModelSlot('m')
    self.train(self.stuck)
def stuck(self):
    import subprocess, sys
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],
                             start_new_session=True)
    self.log('deaf', worker=os.getpid(), child=child.pid)
    while True:
        pass
def on_end_of_algorithm(self):
    self.log('goodbye')
"""
PROCESS = ("--isolation", "process")


def test_row_64_nothing_outlives_a_runtime_that_is_killed(tmp_path: Path) -> None:
    with Running(tmp_path, "run", strategy(tmp_path, DEAF), *PROCESS) as running:
        line = running.until("deaf")
        with watched(line["worker"]) as worker, watched(line["child"]) as child:
            running.send(signal.SIGKILL)
            wait_for_end(worker)
            wait_for_end(child)
        running.end()


def test_a_stop_does_not_wait_for_a_job_that_is_deaf(tmp_path: Path) -> None:
    with Running(tmp_path, "run", strategy(tmp_path, DEAF), *PROCESS) as running:
        running.until("deaf")
        running.send(signal.SIGTERM)
        ended = running.end()
        assert running.family() == [], (ended.code, ended.stderr, ended.lines[-3:])
    assert (ended.code, ended.stderr) == (0, "")
    assert len(ended.of("goodbye")) == 1
    assert ended.summary["jobs"] == {"cancelled": 1}


def test_a_second_stop_leaves_at_once_and_the_job_is_killed(tmp_path: Path) -> None:
    with Running(tmp_path, "run", strategy(tmp_path, DEAF), *PROCESS) as running:
        line = running.until("deaf")
        with watched(line["worker"]) as worker, watched(line["child"]) as child:
            running.send(signal.SIGTERM)
            running.until("stopping")
            running.send(signal.SIGTERM)
            running.end()
            wait_for_end(worker)
            wait_for_end(child)


def test_off_freezes_a_job_and_on_lets_it_go_on(tmp_path: Path) -> None:
    with Running(tmp_path, "run", strategy(tmp_path, DEAF), *PROCESS) as running:
        pid = running.until("deaf")["worker"]
        running.send(signal.SIGUSR1)
        running.until("training: paused")
        while state(pid) != "T":
            pass
        running.send(signal.SIGUSR1)
        running.until("training: resumed")
        while state(pid) == "T":
            pass
        running.send(signal.SIGTERM, signal.SIGTERM)
        assert running.end().code == 0


def test_a_strategy_from_a_file_trains_in_a_process(tmp_path: Path) -> None:
    body = """
def initialize(self):
    self.add_security('SPY', Resolution.TICK)
    self.slot = ModelSlot('m')
    self.train(self.fit, into=self.slot)
def fit(self):
    self.training.progress(0.5, 'half')
    print('heard')
    return Model(os.getpid())
def on_data(self, slice):
    if self.slot.is_ready:
        self.log('model', pid=self.slot.current.pid, own=os.getpid())
        self.quit('seen')
"""
    file = strategy(tmp_path, body)
    file.write_text(
        file.read_text() + "\nclass Model:\n    def __init__(self, pid):\n        self.pid = pid\n"
    )
    ended = run(tmp_path, "run", file, *PROCESS)
    assert ended.code == 0, ended.stderr
    (model,) = ended.of("model")
    assert model["pid"] != model["own"]
    assert ended.of("heard")[0]["job"] == ended.of("training: progress")[0]["job"] == "fit-1"


async def test_on_a_tape_the_run_waits_for_its_worker_and_is_the_same_each_time() -> None:
    seen = []
    for _ in range(2):
        tape = Tape()
        batches = moments(*(trade(n, 100 + n) for n in range(1, 8)))
        outcome = await run_on_events(tape, batches, training={"isolation": "process"})
        assert outcome.failure is None
        assert outcome.training.finished == {JobState.SUCCEEDED: 3}
        seen.append(tape.seen)
    assert seen[0] == seen[1]
    assert seen[0] == [(0, None), (0, None), (1, 2.0), (1, 2.0), (2, 4.0), (2, 4.0), (3, 6.0)]


async def test_the_demo_makes_the_same_money_in_a_process() -> None:
    money, file = [], str(folder() / "order_flow_model.py")
    for isolation in ("thread", "process"):
        demo = await anyio.to_thread.run_sync(load_strategy, file)
        outcome = await run_on_synthetic(demo, minutes=1, training={"isolation": isolation})
        assert outcome.failure is None
        money.append((outcome.profit, outcome.training.finished))
    assert money[0] == money[1]
