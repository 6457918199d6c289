"""Trades of an outage from a venue's recent ones: all of them, once and in order, or the gap."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.continuity import Continuity, Mark
from feeds.events import SECOND, Event, Gap, Symbol, Trade
from feeds.protocols.recovery import ROWS_AT_MOST, Recovery, Search, read_tag

A = Symbol("A/USD")
NOW = 100 * SECOND


def trade(number: int, time: int | None = None) -> Trade:
    return Trade(A, number * SECOND if time is None else time, NOW, 1.0, 1.0, str(number))


def after(*numbers: int) -> tuple[Recovery, Continuity, Search]:
    """A connection that was lost after these trades."""
    continuity = Continuity()
    for number in numbers:
        continuity.admit_once(A, str(number), number * SECOND)
    last = continuity.latest(A)
    assert last is not None
    return Recovery(continuity), continuity, Search(A, last)


def ids(events: list[Event]) -> list[str]:
    return [event.trade_id for event in events if isinstance(event, Trade)]


def test_what_was_missed_comes_in_order_and_what_is_known_does_not() -> None:
    recovery, continuity, search = after(1, 2, 3)
    continuity.admit_once(A, "6", 6 * SECOND)  # told already by the new connection
    page = [trade(n) for n in (6, 5, 4, 3, 2, 1)]
    events, more = recovery.take(search, page, NOW, has_more=True)
    assert (ids(events), more) == (["4", "5"], None)


def test_pages_go_back_until_the_last_trade_that_was_had() -> None:
    recovery, _, search = after(1, 2)
    events, oldest = recovery.take(search, [trade(9), trade(7)], NOW, has_more=True)
    assert events == []
    assert oldest == trade(7)
    events, oldest = recovery.take(search, [trade(5), trade(2)], NOW, has_more=True)
    assert (ids(events), oldest) == (["5", "7", "9"], None)


@pytest.mark.parametrize(
    ("page", "has_more"),
    [
        ([9, 7], False),  # a page is all there is, and it does not reach back
        ([], True),
        ([9, 7, 3, 1], True),  # it reaches back, and the trade we had is not in it
    ],
)
def test_history_without_the_last_trade_is_not_believed(page: list[int], has_more: bool) -> None:
    recovery, continuity, search = after(5)
    (gap,), more = recovery.take(search, [trade(n) for n in page], NOW, has_more=has_more)
    assert isinstance(gap, Gap)
    assert more is None
    assert (gap.symbol, gap.start, gap.end, gap.missing) == (A, 5 * SECOND, NOW, None)
    assert continuity.admit_once(A, "9", 9 * SECOND)  # it was not taken for told


def test_memory_is_bounded() -> None:
    recovery, _, search = after(1)
    rows = [trade(n, NOW) for n in range(ROWS_AT_MOST + 10, 10, -1)]
    (gap,), more = recovery.take(search, rows, NOW, has_more=True)
    assert isinstance(gap, Gap)
    assert more is None


def test_times_in_whole_seconds_do_not_go_back_behind_what_was_told() -> None:
    continuity = Continuity()
    continuity.admit_once(A, "5", 5 * SECOND + 700)
    search = Search(A, Mark("5", 5 * SECOND + 700))
    page = [trade(7, 6 * SECOND), trade(6, 5 * SECOND), trade(5, 5 * SECOND)]
    events, _ = Recovery(continuity).take(search, page, NOW, has_more=False)
    times = [event.time for event in events if isinstance(event, Trade)]
    assert times == [5 * SECOND + 700, 6 * SECOND]


def test_a_tag_says_the_search_again() -> None:
    search = Search(Symbol('"ODD &%'), Mark("id]", 7))
    assert read_tag(search.tag) == search


@given(st.integers(1, 40), st.integers(1, 7), st.integers(0, 40), st.sets(st.integers(0, 40)))
def test_any_pages_bring_each_missing_trade_once(
    last: int, size: int, missed: int, seen: set[int]
) -> None:
    recovery, continuity, search = after(*range(1, last + 1))
    for number in seen:
        if last < number <= last + missed:
            continuity.admit_once(A, str(number), number * SECOND)
    left = [trade(n) for n in range(last + missed, 0, -1)]
    told: list[Event] = []
    is_open = True
    while is_open:
        page, left = left[:size], left[size:]
        events, more = recovery.take(search, page, NOW, has_more=bool(left))
        told += events
        is_open = more is not None
    wanted = [str(n) for n in range(last + 1, last + missed + 1) if n not in seen]
    assert ids(told) == wanted
