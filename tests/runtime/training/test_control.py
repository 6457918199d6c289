"""What a training method sees, inside a job and outside of one."""

import threading

from runtime.training.control import CURRENT_JOB, JobControl, Progress, TrainingControl
from tests.runtime.training.support import Bench


def controls(announced: list[int] | None = None) -> tuple[JobControl, TrainingControl]:
    said: list[int] = [] if announced is None else announced
    job = JobControl(lambda: said.append(len(said)))
    return job, Bench().manager.control


def test_outside_of_a_job_nothing_is_cancelled_and_nobody_listens() -> None:
    training = Bench().manager.control
    training.progress(0.5, "half")
    training.report(accuracy=1)
    assert not training.cancelled


def test_inside_a_job_it_speaks_for_that_job_and_in_no_other_thread() -> None:
    job, training = controls()
    job.ask_to_stop()
    elsewhere: list[bool] = []
    token = CURRENT_JOB.set(job)
    try:
        assert training.cancelled
        training.report(accuracy=1, loss=0.5)
        thread = threading.Thread(target=lambda: elsewhere.append(training.cancelled))
        thread.start()
        thread.join()
    finally:
        CURRENT_JOB.reset(token)
    assert job.metrics == {"accuracy": 1.0, "loss": 0.5}
    assert elsewhere == [False]


def test_asking_may_be_taken_back_until_it_is_noticed() -> None:
    job, _ = controls()
    job.ask_to_stop()
    job.take_back()
    assert not job.cancelled
    assert not job.has_noticed
    job.ask_to_stop()
    assert job.cancelled
    job.take_back()
    assert job.cancelled, "it is ending early already"


def test_a_flood_of_reports_is_announced_once_until_it_is_taken() -> None:
    announced: list[int] = []
    job, _ = controls(announced)
    for step in range(1000):
        job.progress(step / 1000, f"step {step}")
    assert announced == [0]
    assert job.take().progress == Progress(0.999, "step 999")
    job.progress(1.0, "done")
    assert announced == [0, 1]


def test_a_fraction_is_kept_between_nothing_and_all() -> None:
    job, _ = controls()
    seen = []
    for fraction in (-1.0, 0.25, 7.0, float("nan"), float("inf")):
        job.progress(fraction, "")
        progress = job.take().progress
        assert progress is not None
        seen.append(progress.fraction)
    assert seen == [0.0, 0.25, 1.0, 0.0, 0.0]


def test_it_tells_whether_training_is_on() -> None:
    bench = Bench()
    training = bench.manager.control
    assert training.is_on
    bench.manager.switch(False, "test")
    assert not training.is_on
    assert not training.statistics.is_on
