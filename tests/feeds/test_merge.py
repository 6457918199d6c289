"""Merging by time, and playing a source up to a moment."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from feeds.base import Audit
from feeds.events import Bar, MarketEvent, Symbol, Trade
from feeds.files.merge import SourceTape, merge
from feeds.moments import due

EVENTS = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 5)), max_size=20)


def events_of(name: str, moments: list[tuple[int, int]]) -> list[MarketEvent]:
    """Trades, and bars where a span is given, in order of when they were there."""
    events: list[MarketEvent] = [
        Bar(Symbol(name), time, time + span, span, 1.0, 1.0, 1.0, 1.0, float(n))
        if span
        else Trade(Symbol(name), time, time, 1.0, float(n))
        for n, (time, span) in enumerate(moments)
    ]
    return sorted(events, key=due)


class Listed:
    """A source of a list."""

    name = "listed"

    def __init__(self, events: list[MarketEvent]) -> None:
        self._events = events

    def events(self) -> Iterator[MarketEvent]:
        return iter(self._events)

    def audit(self) -> Audit:
        return Audit()


def test_bar_is_due_at_its_end_and_a_tick_at_its_arrival() -> None:
    assert due(Trade(Symbol("X"), 5, 7, 1.0, 1.0)) == 7
    assert due(Bar(Symbol("X"), 5, 5, 10, 1.0, 1.0, 1.0, 1.0, 1.0)) == 15
    assert due(Bar(Symbol("X"), 5, 18, 10, 1.0, 1.0, 1.0, 1.0, 1.0)) == 18


@given(st.lists(EVENTS, min_size=1, max_size=4))
def test_merging_is_sorting(sources: list[list[tuple[int, int]]]) -> None:
    lists = [events_of(f"S{n}", moments) for n, moments in enumerate(sources)]
    everything = [event for events in lists for event in events]
    assert list(merge(lists)) == sorted(everything, key=due)


@given(EVENTS, st.lists(st.integers(0, 40), max_size=8))
def test_tape_plays_each_event_once_and_not_before_its_time(
    moments: list[tuple[int, int]], stops: list[int]
) -> None:
    events = events_of("X", moments)
    tape = SourceTape(Listed(events))
    assert tape.start == (due(events[0]) if events else None)
    played: list[MarketEvent] = []
    furthest = 0
    for until in stops:
        now = tape.advance(until)
        assert all(due(event) < until for event in now)
        played += now
        furthest = max(furthest, until)
        assert played == [event for event in events if due(event) < furthest]
    assert tape.exhausted == (len(played) == len(events))
    assert played + tape.advance(100) == events
    assert tape.exhausted
    assert tape.advance(1000) == []


def test_event_that_comes_too_late_is_played_at_once() -> None:
    """A recording whose own clock ran back keeps its order."""
    trades = [Trade(Symbol("X"), time, time, 1.0, 1.0) for time in (10, 5, 20)]
    tape = SourceTape(Listed([*trades]))
    assert tape.advance(11) == trades[:2]
    assert tape.advance(21) == trades[2:]
