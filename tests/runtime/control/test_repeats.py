"""The same line again and again: what is told, what is counted, and that nothing is lost."""

from hypothesis import given
from hypothesis import strategies as st

from runtime.control import repeats
from runtime.control.repeats import SECOND_NS, Repeated, Repeats


def test_so_many_a_second_pass_and_then_their_count_is_told() -> None:
    lines = Repeats(2)
    assert [lines.may_pass("a", "event", n) for n in range(5)] == [True, True, False, False, False]
    assert lines.due(SECOND_NS - 1) == []
    assert lines.due(SECOND_NS) == [Repeated("a", "event", 3)]
    assert lines.due(SECOND_NS) == []
    assert lines.may_pass("a", "event", SECOND_NS)


def test_another_line_is_none_of_its_business() -> None:
    lines = Repeats(1)
    assert lines.may_pass("a", "a", 0)
    assert lines.may_pass("b", "b", 0)
    assert not lines.may_pass("a", "a", 0)


def test_a_slow_pace_is_never_held_back() -> None:
    lines = Repeats(2)
    assert all(lines.may_pass("a", "a", n * SECOND_NS // 2) for n in range(100))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, SECOND_NS))), st.integers(1, 5))
def test_each_line_is_told_or_counted(came: list[tuple[int, int]], most: int) -> None:
    lines, now, passed, counted = Repeats(most), 0, 0, 0
    for line, later in came:
        now += later
        passed += lines.may_pass(line, str(line), now)
        counted += sum(each.count for each in lines.due(now))
    counted += sum(each.count for each in lines.rest())
    assert passed + counted == len(came)
    assert lines.rest() == []


def test_memory_is_bounded() -> None:
    lines = Repeats(1)
    assert all(lines.may_pass(n, "n", n) for n in range(5 * repeats.REMEMBERED))
    assert lines.may_pass(0, "n", 10**6)  # forgotten
    assert not lines.may_pass(5 * repeats.REMEMBERED - 1, "n", 10**6)
