"""Pending data is bounded without losing a trade; a slice answers by symbol and by kind."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.events import (
    Bar,
    Event,
    FeedState,
    Gap,
    Malformed,
    Ohlc,
    Quote,
    QuoteBar,
    Status,
    Symbol,
    Trade,
)
from runtime.errors import ConfigError
from runtime.slices import Pending, Slice, build_slice

A, B = Symbol("A"), Symbol("B")
NOON = 1_753_012_800_123_456_789


def trade(symbol: Symbol, time: int = 0) -> Trade:
    return Trade(symbol, time, time, 10.0, 1.0)


def quote(symbol: Symbol, time: int = 0) -> Quote:
    return Quote(symbol, time, time, 9.0, 1.0, 11.0, 2.0)


def bar(symbol: Symbol, time: int = 0) -> Bar:
    return Bar(symbol, time, time + 60, 60, 1.0, 2.0, 0.5, 1.5, 7.0)


def quote_bar(symbol: Symbol) -> QuoteBar:
    side = Ohlc(1.0, 2.0, 0.5, 1.5)
    return QuoteBar(symbol, 0, 60, 60, side, side, 1.0, 1.0)


def slice_of(*events: Event) -> Slice:
    return build_slice(events, NOON, UTC)


KINDS = st.sampled_from("tqbg")
BATCHES = st.lists(st.lists(st.tuples(KINDS, st.sampled_from([A, B, Symbol("C")]))), max_size=12)


def numbered(batches: Sequence[Sequence[tuple[str, Symbol]]]) -> list[list[Event]]:
    made: list[list[Event]] = []
    number = 0
    for batch in batches:
        made.append([])
        for kind, symbol in batch:
            number += 1
            event: Event
            match kind:
                case "t":
                    event = trade(symbol, number)
                case "q":
                    event = quote(symbol, number)
                case "b":
                    event = bar(symbol, number)
                case _:
                    event = Gap(symbol, number, number, number, "test")
            made[-1].append(event)
    return made


def only_latest_quotes(events: Sequence[Event]) -> list[Event]:
    latest = {event.symbol: event for event in events if isinstance(event, Quote)}
    return [e for e in events if not isinstance(e, Quote) or latest[e.symbol] is e]


@given(BATCHES, st.integers(1, 20))
def test_pending_is_all_or_past_the_bound_all_but_stale_quotes(
    batches: list[list[tuple[str, Symbol]]], bound: int
) -> None:
    """Against the slow way: remember everything, conflate the whole when it is too much."""
    pending, everything, conflates, high_water = Pending(bound), list[Event](), False, 0
    for batch in numbered(batches):
        pending.add(batch)
        everything += batch
        conflates = conflates or len(everything) > bound
        expected = only_latest_quotes(everything) if conflates else everything
        high_water = max(high_water, len(expected))
        assert len(pending) == len(expected)
        assert pending.is_full == (len(expected) > bound)
    expected = only_latest_quotes(everything) if conflates else everything
    statistics = pending.statistics()
    assert pending.take() == expected
    assert statistics.conflated_quotes == len(everything) - len(expected)
    assert statistics.high_water == high_water
    assert statistics.pending == len(expected)


def test_take_leaves_nothing_and_ends_conflation() -> None:
    pending = Pending(2)
    pending.add([quote(A, 1), quote(A, 2), quote(A, 3)])
    assert pending.take() == [quote(A, 3)]
    assert len(pending) == 0
    assert pending.take() == []
    pending.add([quote(A, 4), quote(A, 5)])
    assert pending.take() == [quote(A, 4), quote(A, 5)]
    assert pending.statistics().high_water == 2


def test_what_was_taken_does_not_change_later() -> None:
    pending = Pending()
    pending.add([trade(A, 1)])
    taken = pending.take()
    pending.add([trade(A, 2)])
    assert taken == [trade(A, 1)]


def test_trades_push_back_once_per_time_and_are_all_kept() -> None:
    pending = Pending(3)
    trades = [trade(A, time) for time in range(6)]
    pending.add(trades[:3])
    assert not pending.is_full
    pending.add(trades[3:5])
    pending.add(trades[5:])
    assert pending.is_full
    assert pending.statistics().pushbacks == 1
    assert pending.take() == trades
    assert not pending.is_full
    pending.add(trades)
    assert pending.statistics().pushbacks == 2


def test_a_bound_that_holds_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="bound of pending events is 0"):
        Pending(0)


def test_kinds_are_found_by_symbol_in_order_of_arrival() -> None:
    first, second, third = trade(A, 3), quote(A, 1), trade(A, 2)
    got = slice_of(first, trade(B), second, third)
    assert got.trades == {A: [first, third], B: [trade(B)]}
    assert got.quotes == {A: [second]}
    assert got.ticks == {A: [first, second, third], B: [trade(B)]}
    assert got.bars == {}
    assert got.keys() == list(got) == [A, B]
    assert len(got) == 2


def test_each_lookup_is_made_once() -> None:
    got = slice_of(trade(A), quote(A), bar(A), quote_bar(A))
    for name in ("trades", "quotes", "ticks", "bars", "quote_bars"):
        assert getattr(got, name) is getattr(got, name)


def test_indexing_prefers_bar_then_quote_bar_then_ticks() -> None:
    assert slice_of(trade(A), quote_bar(A), bar(A))["A"] == bar(A)
    assert slice_of(trade(A), quote_bar(A))["A"] == quote_bar(A)
    assert slice_of(trade(A), quote(A))["A"] == [trade(A), quote(A)]
    assert slice_of(trade(A)).get("B") is None


def test_of_several_bars_the_last_is_shown_and_all_are_in_events() -> None:
    got = slice_of(bar(A, 0), bar(A, 60))
    assert got.bars == {A: bar(A, 60)}
    assert list(got.events) == [bar(A, 0), bar(A, 60)]


def test_a_missing_symbol_is_named_with_what_there_is() -> None:
    with pytest.raises(KeyError, match="nothing of MSFT, it holds A, B"):
        slice_of(trade(A), trade(B))["MSFT"]
    with pytest.raises(KeyError, match="holds no market data"):
        slice_of()["MSFT"]


def test_membership_is_by_symbol_of_market_events() -> None:
    got = slice_of(bar(A), Gap(B, 1, 2, 3, "lost"))
    assert "A" in got
    assert got.contains_key("A")
    assert "B" not in got
    assert not got.contains_key("B")
    assert got.has_data
    assert got.gaps == [Gap(B, 1, 2, 3, "lost")]


def test_notices_alone_are_no_data() -> None:
    notices = (Status("f", FeedState.LIVE, 1), Malformed("bad", "{", 1), Gap(None, 1, 2, 3, "away"))
    got = slice_of(*notices)
    assert not got.has_data
    assert len(got) == 0
    assert "no market data" in repr(got)


def test_time_is_aware_in_the_zone_of_the_strategy() -> None:
    new_york = ZoneInfo("America/New_York")
    got = build_slice([trade(A)], NOON, new_york)
    assert got.time_ns == NOON
    assert got.time == datetime(2025, 7, 20, 12, 0, 0, 123456, tzinfo=UTC)
    assert got.time.utcoffset() == timedelta(hours=-4)
    assert "A" in repr(got)
