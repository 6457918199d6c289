"""What others see of a run: lines by number, what a slow reader misses, and Prometheus' words."""

import threading

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from runtime.control.api.metrics import exposition
from runtime.control.board import Board, Line, chosen


def board(lines: int = 5) -> Board:
    times = iter(range(1, 1_000_000))
    return Board(lambda: next(times), lines)


def test_lines_are_numbered_and_read_from_any_place() -> None:
    told = board()
    for n in range(3):
        told.wrote("info", f"line {n}", {"n": n})
    found, missing = told.lines(1, 10)
    assert [(line.number, line.event, line.fields) for line in found] == [
        (2, "line 1", {"n": 1}),
        (3, "line 2", {"n": 2}),
    ]
    assert missing == 0
    assert told.lines(3, 10) == ([], 0)
    assert [line.number for line in told.lines(0, 2)[0]] == [1, 2]


@given(st.integers(0, 40), st.integers(0, 50), st.integers(1, 12))
def test_a_slow_reader_learns_how_many_it_has_missed(written: int, after: int, most: int) -> None:
    told = board(lines=10)
    for n in range(written):
        told.wrote("info", str(n), {})
    found, missing = told.lines(after, most)
    numbers = [line.number for line in found]
    expected = list(range(max(after + 1, written - 9), written + 1))[:most]
    assert numbers == [number for number in expected if number >= 1]
    assert missing == max(0, written - 10 - after)


def test_lines_from_many_threads_have_numbers_of_their_own() -> None:
    told = board(lines=10_000)

    def write() -> None:
        for _ in range(500):
            told.wrote("info", "x", {})

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [line.number for line in told.lines(0, 10_000)[0]] == list(range(1, 2001))


def test_lines_are_chosen_by_level_text_and_time() -> None:
    lines = [
        Line(1, 10, "debug", "fill", {"symbol": "SPY"}),
        Line(2, 20, "info", "fill", {"symbol": "SPY"}),
        Line(3, 30, "warning", "gap", {"symbol": "QQQ"}),
    ]
    assert [line.number for line in chosen(lines, level=20, text="", since=0)] == [2, 3]
    assert [line.number for line in chosen(lines, level=0, text="spy", since=0)] == [1, 2]
    assert [line.number for line in chosen(lines, level=0, text="", since=20)] == [2, 3]


def test_before_the_first_snapshot_there_are_no_figures() -> None:
    assert list(text_string_to_metric_families(exposition(board()).decode())) == []
