"""Threads are started for others, in order; one that cannot be is told of."""

import threading

import pytest

from runtime.training.isolation.launch import Launcher


def test_threads_run_and_one_that_cannot_be_started_is_told_of() -> None:
    launcher, ran, failed = Launcher(), threading.Event(), list[RuntimeError]()
    told = threading.Event()
    spent = threading.Thread(target=lambda: None)
    spent.start()
    spent.join()

    def on_failure(error: RuntimeError) -> None:
        failed.append(error)
        told.set()

    launcher.start(spent, on_failure)  # a thread starts once
    launcher.start(threading.Thread(target=ran.set), on_failure)
    assert told.wait(30)
    assert ran.wait(30)
    assert len(failed) == 1


def test_a_system_without_threads_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start"):
        Launcher().start(threading.Thread(), lambda _: None)
