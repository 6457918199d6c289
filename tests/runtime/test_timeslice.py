"""What is done about a callback that goes on, by values: nobody waits here."""

import threading

import pytest

from feeds.events import MINUTE, SECOND
from runtime.timeslice import INTERRUPTS, Timeslice, Verdict

LOOK = SECOND // 4


def timeslice(
    limit: int = 10 * MINUTE, tell: int = 10 * SECOND, grace: int = 8 * SECOND
) -> Timeslice:
    return Timeslice(limit, tell, grace)


def looks(target: Timeslice, span_ns: int) -> list[tuple[float, Verdict]]:
    """Look every quarter of a second; return what it came to, in seconds after the first look."""
    verdicts = [target.look(LOOK) for _ in range(span_ns // LOOK + 1)]
    return [(n * LOOK / SECOND, v) for n, v in enumerate(verdicts) if v is not None]


def test_one_that_goes_on_is_told_once_then_interrupted_then_left() -> None:
    target = timeslice()
    target.enter("on_data")
    found = looks(target, 11 * MINUTE)
    told, *rest = found
    assert told == (10.25, Verdict.TELL)
    interrupts, left = rest[:INTERRUPTS], rest[INTERRUPTS:]
    assert interrupts == [(600.25 + n / 4, Verdict.INTERRUPT) for n in range(INTERRUPTS)]
    assert {verdict for _, verdict in left} == {Verdict.LEAVE}
    assert "took longer than 10 minutes, the limit of one timeslice" in target.why()


@pytest.mark.parametrize("move", ["enter", "leave", "turned"])
def test_whatever_moves_begins_anew(move: str) -> None:
    target = timeslice()
    for _ in range(5):
        target.enter("on_data")
        assert looks(target, 10 * SECOND) == []
        target.enter("on_order_event") if move == "enter" else getattr(target, move)()
        assert looks(target, 10 * SECOND) == []


def test_a_process_that_was_stopped_has_not_used_up_its_time() -> None:
    """The looker says at most what a look takes, however long it was away."""
    target = timeslice()
    target.enter("on_data")
    target.look(LOOK)
    assert target.look(2 * LOOK) is None


def test_minutes_granted_to_training_add_up_within_one_timeslice() -> None:
    target = timeslice(limit=2 * MINUTE, tell=60 * MINUTE)
    target.enter("on_data")
    for _ in range(3):
        target.extend(MINUTE)
    assert looks(target, 5 * MINUTE) == []
    assert target.look(LOOK) is Verdict.INTERRUPT
    assert "and the 3 granted to training" in target.why()


def test_what_was_granted_to_one_is_not_for_the_next() -> None:
    target = timeslice(limit=2 * MINUTE, tell=60 * MINUTE)
    target.enter("on_data")
    target.extend(30 * MINUTE)
    target.leave()
    target.enter("on_data")
    assert looks(target, 3 * MINUTE)[0] == (120.25, Verdict.INTERRUPT)


def test_a_loop_that_hangs_outside_of_callbacks_cannot_be_interrupted() -> None:
    target = timeslice(limit=MINUTE)
    target.turned()
    assert [verdict for _, verdict in looks(target, 2 * MINUTE)][:2] == [
        Verdict.TELL,
        Verdict.LEAVE,
    ]


def test_asked_to_stop_a_callback_has_the_grace_from_then_on() -> None:
    target = timeslice()
    target.enter("on_data")
    assert looks(target, 9 * SECOND) == []
    target.ask_to_stop()
    found = looks(target, 12 * SECOND)
    assert found[0] == (1.0, Verdict.TELL)
    assert found[1] == (8.0, Verdict.INTERRUPT)
    assert found[1 + INTERRUPTS] == (8.0 + INTERRUPTS / 4, Verdict.LEAVE)
    assert "of the signal to stop" in target.why()


def test_a_loop_that_turns_is_left_to_stop_by_itself() -> None:
    target = timeslice(grace=0)
    target.ask_to_stop()
    target.ask_to_stop()
    for _ in range(100):
        target.turned()
        assert target.look(LOOK) is None


def test_asked_to_stop_a_loop_that_is_slow_outside_of_callbacks_is_waited_for() -> None:
    """A training thread may keep it from the processor for longer than a short grace."""
    target = timeslice(grace=0)
    target.turned()
    target.ask_to_stop()
    assert looks(target, 9 * SECOND) == []
    target.ask_to_stop()
    assert looks(target, 3 * SECOND)[-1][1] is Verdict.LEAVE


def test_asked_a_second_time_nothing_is_waited_for() -> None:
    target = timeslice(grace=60 * SECOND)
    target.enter("on_data")
    target.look(LOOK)
    target.ask_to_stop()
    target.ask_to_stop()
    assert looks(target, SECOND)[0] == (0.25, Verdict.LEAVE)
    assert "of the second signal to stop" in target.why()


def test_row_22_a_look_amid_a_new_timeslice_is_no_false_alarm() -> None:
    """One thread looks while another begins and ends timeslices, as LEAN's own test has it."""
    target = timeslice(limit=MINUTE)
    verdicts: set[Verdict | None] = set()

    def watch() -> None:
        verdicts.update(target.look(1000) for _ in range(20_000))

    watcher = threading.Thread(target=watch)
    watcher.start()
    while watcher.is_alive():
        target.enter("on_data")
        target.leave()
    watcher.join()
    assert verdicts == {None}
