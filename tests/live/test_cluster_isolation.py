"""Jobs on a real Ray, started by these tests: the same transaction, crashes and limits as here."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import numpy as np
import pytest

from runtime.training.isolation.cluster import LOCAL, Cluster
from tests.live.patients import Patient
from tests.live.ward import PATIENCE, Ward, family

pytest.importorskip("ray", reason="needs the extra tidegate[ray]")
pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="wardens are Linux's"),
    pytest.mark.xdist_group("ray"),
    pytest.mark.timeout(180),
    pytest.mark.filterwarnings("default"),  # Ray's own
]


@pytest.fixture(scope="module")
def ward() -> Iterator[Ward]:
    """One Ray for all, on this machine."""
    cluster = Cluster(LOCAL)
    made = Ward(hire=cluster.hire, let_go=cluster.close)
    yield made
    anyio.run(made.isolation.close)
    assert family() == []


@pytest.fixture
def patient(ward: Ward) -> Patient:
    strategy = Patient()
    ward.admit(strategy, depth="3")
    return strategy


async def test_a_job_is_the_same_transaction_on_a_cluster(ward: Ward, patient: Patient) -> None:
    result = await ward.run(patient.learn, patient.slot)
    assert (result.error, result.accepted, result.metrics) == ("", True, {"accuracy": 0.75})
    assert result.value["mean"] == patient.data.mean()
    assert result.value["pid"] != os.getpid()
    assert not hasattr(patient, "fresh"), "not before it is applied"
    assert result.commit is not None
    result.commit()
    assert np.array_equal(patient.fresh, patient.data * 2)
    assert {"said", "printed", "complained"} <= {line.text for line in ward.lines}
    looked = (await ward.run(patient.look, patient.slot)).value
    assert list(looked["bars"].close) == [117.0, 119.0]


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("segfault", "the worker was killed by SIGSEGV"),
        ("leave", "the worker ended with exit code 0 before it had a result"),
    ],
)
async def test_a_crash_on_the_cluster_is_named_and_the_next_job_runs(
    ward: Ward, patient: Patient, method: str, said: str
) -> None:
    assert (await ward.run(getattr(patient, method))).error == said
    assert (await ward.run(patient.nothing)).error == ""


async def test_a_job_on_the_cluster_that_is_given_up_is_killed(
    ward: Ward, patient: Patient
) -> None:
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ward.run, patient.deaf)
            await ward.until("deaf")
            tasks.cancel_scope.cancel()
    assert (await ward.run(patient.nothing)).error == ""


async def test_a_lost_node_fails_the_job_and_nothing_else(ward: Ward, patient: Patient) -> None:
    async def lose() -> None:
        """Do as the end of its machine would: the actor's process is gone at once."""
        await ward.until("deaf")
        for process in family():
            if process.name() == "ray::Carrier":
                process.kill()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lose)
        result = await ward.run(patient.deaf)
    assert result.error.startswith("the cluster lost the worker: ")
    assert (await ward.run(patient.nothing)).error == ""


NOBODY_THERE = """
from runtime.training.isolation.cluster import Cluster
from runtime.training.isolation.workers import WorkerDied, WorkerLimits
try:
    Cluster("127.0.0.1:1").hire(WorkerLimits())
except WorkerDied as error:
    print(error)
"""


def test_no_cluster_is_one_sentence() -> None:
    """In a process of its own, which has no Ray yet."""
    asked = subprocess.run(
        [sys.executable, "-c", NOBODY_THERE], capture_output=True, text=True, check=True
    )
    (said,) = asked.stdout.splitlines()
    assert said.startswith("no Ray cluster at '127.0.0.1:1': ")
