"""What a training method sees, inside a job and outside of one."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from feeds.events import SECOND
from runtime.training.control import (
    BURST_LINES,
    CURRENT_JOB,
    LINES_PER_SECOND,
    NOTICE_NS,
    JobControl,
    LineBudget,
    Progress,
    TrainingControl,
)
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


def test_lines_wait_in_order_and_what_is_too_much_is_counted() -> None:
    now = 0
    job = JobControl(lambda: None, lambda: now)
    for number in range(BURST_LINES + 7):
        job.say("info", f"line {number}", {"n": number})
    *lines, last = job.take().lines
    assert [line.text for line in lines] == [f"line {n}" for n in range(BURST_LINES)]
    assert (last.level, last.fields) == ("warning", {"lines": 7})
    now = SECOND
    for _ in range(LINES_PER_SECOND + 1):
        job.say("info", "more", {})
    assert len(job.take().lines) == LINES_PER_SECOND, "that one is left out is said later"
    assert job.take() == (None, [], None)


@given(st.lists(st.integers(0, 3 * SECOND), max_size=60))
def test_a_budget_is_never_over_spent_and_loses_no_count(steps: list[int]) -> None:
    budget, now, allowed = LineBudget(burst=5, per_second=2), 0, 0
    for asked, step in enumerate(steps, 1):
        now += step
        allowed += budget.allow(now)
        assert allowed + budget.dropped == asked
        assert allowed <= 5 + 2 * now / SECOND


def test_figures_and_progress_are_news_once() -> None:
    job, _ = controls()
    job.report({"loss": 0.5})
    job.progress(0.25, "on")
    assert job.take() == (Progress(0.25, "on"), [], {"loss": 0.5})
    assert job.take() == (None, [], None)


def test_a_follower_hears_whether_to_stop_now_and_later() -> None:
    job, _ = controls()
    heard: list[bool] = []
    job.ask_to_stop()
    job.follow(heard.append)
    job.take_back()
    job.ask_to_stop()
    assert job.cancelled
    job.take_back()
    assert heard == [True, False, True], "it is ending early: there is nothing to take back"


def test_that_lines_are_left_out_is_said_now_and_then_and_at_the_end() -> None:
    now = [0]
    control = JobControl(lambda: None, lambda: now[0])
    told = []
    for _ in range(100):  # each a tenth of a second
        for _ in range(100):
            control.say("info", "line", {})
        told += [line for line in control.take().lines if line.level == "warning"]
        now[0] += NOTICE_NS // 50
    assert len(told) == 2, "at once and after five seconds"
    control.end()
    told += [line for line in control.take().lines if line.level == "warning"]
    lost = sum(int(str(line.fields["lines"])) for line in told)
    assert len(told) == 3
    assert lost == 100 * 100 - 200 - 50 * 99 // 10
