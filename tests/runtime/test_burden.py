"""A job in a thread that makes the loop late is named once, with the figures; others are not."""

from collections.abc import Mapping
from typing import Any

import msgspec

from runtime.control.burden import ENOUGH, LOOK_EVERY, Burden
from runtime.training.jobs import JobId
from runtime.training.updates import TrainingUpdate, TrainingUpdateKind

STARTED, FINISHED = TrainingUpdateKind.STARTED, TrainingUpdateKind.FINISHED


class Scene:
    """A burden, and what it has said."""

    def __init__(self) -> None:
        self.said: list[Mapping[str, Any]] = []
        self.burden = Burden(lambda _, **fields: self.said.append(fields))

    def job(self, kind: TrainingUpdateKind, name: str = "fit", isolation: str = "thread") -> None:
        update = TrainingUpdate(kind=kind, time=0, available=120, is_on=True)
        update = msgspec.structs.replace(
            update, job=JobId(f"{name}-1"), name=name, isolation=isolation
        )
        self.burden.hear(update)

    def lags(self, late_ms: float, samples: int = ENOUGH) -> None:
        for _ in range(samples):
            self.burden.lag(late_ms)


def test_a_job_that_makes_the_loop_late_is_named_once() -> None:
    scene = Scene()
    scene.lags(0.2)
    for _ in range(2):
        scene.job(STARTED)
        scene.lags(20.0)
        scene.job(FINISHED)
    (said,) = scene.said
    assert said["job"] == "fit-1"
    assert (said["lag_p99_ms"], said["lag_max_ms"]) == (20.0, 20.0)
    assert said["lag_p99_without_ms"] == 0.2
    assert said["text"].startswith("fit runs in a thread")
    assert said["text"].endswith('isolation="process" does not')


def test_a_long_job_is_named_while_it_runs() -> None:
    scene = Scene()
    scene.job(STARTED)
    scene.lags(20.0, LOOK_EVERY)
    assert len(scene.said) == 1


def test_one_long_stall_is_enough() -> None:
    scene = Scene()
    scene.lags(0.2)
    scene.job(STARTED)
    scene.lags(400.0, 1)
    scene.job(FINISHED)
    assert len(scene.said) == 1


def test_a_loop_that_is_always_late_is_nobodys_doing() -> None:
    scene = Scene()
    scene.lags(18.0)
    scene.job(STARTED)
    scene.lags(20.0)
    scene.job(FINISHED)
    assert scene.said == []


def test_a_light_job_and_one_in_a_process_are_not_named() -> None:
    scene = Scene()
    for isolation, late in (("thread", 2.0), ("process", 50.0)):
        scene.job(STARTED, isolation=isolation)
        scene.lags(late)
        scene.job(FINISHED, isolation=isolation)
    assert scene.said == []
