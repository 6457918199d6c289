"""Bars are what grouping by floor(time / span) gives, and a finished bar stays finished."""

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.events import Bar, Ohlc, Quote, QuoteBar, Symbol, Trade
from runtime.consolidate import (
    BarConsolidator,
    QuoteBarConsolidator,
    QuoteConsolidator,
    TradeConsolidator,
)

A = Symbol("A")
SPAN = 10
PRICES = st.integers(1, 20).map(float)
TICK = st.tuples(st.integers(0, 100), PRICES, st.integers(1, 9).map(float))
TICKS = st.lists(TICK, min_size=1, max_size=40)
STEPS = st.lists(TICK | st.integers(0, 130), max_size=40)


def trade(time: int, price: float = 5.0, size: float = 1.0) -> Trade:
    return Trade(A, time, time + 1, price, size)


def bar_of(start: int, received: int, trades: Iterable[Trade], span: int = SPAN) -> Bar:
    prices = [t.price for t in trades]
    volume = sum(t.size for t in trades)
    shape = (prices[0], max(prices), min(prices), prices[-1])
    return Bar(A, start, received, span, *shape, volume)


@given(TICKS, st.integers(0, 25))
def test_ordered_trades_make_the_bars_of_grouping(
    ticks: list[tuple[int, float, float]], anchor: int
) -> None:
    trades = [trade(*tick) for tick in sorted(ticks, key=lambda tick: tick[0])]
    consolidator = TradeConsolidator(A, SPAN, anchor)
    made = [bar for t in trades if (bar := consolidator.update(t)) is not None]
    last = consolidator.scan(1000)
    made += [last] if last else []

    groups: dict[int, list[Trade]] = {}
    for t in trades:
        groups.setdefault((t.time - anchor) // SPAN, []).append(t)
    closers = [group[0].received for group in list(groups.values())[1:]] + [1000]
    assert made == [
        bar_of(key * SPAN + anchor, closer, group)
        for (key, group), closer in zip(groups.items(), closers, strict=True)
    ]
    assert consolidator.late == 0


@given(STEPS)
def test_disorder_and_scans_lose_no_trade_and_reopen_no_bar(
    steps: list[tuple[int, float, float] | int],
) -> None:
    """Against the slow rule: a trade's span is its own, or the first one not yet finished."""
    consolidator = TradeConsolidator(A, SPAN)
    made: list[Bar] = []
    expected: list[Bar] = []
    floor, late = -1, 0
    key, group = -1, list[Trade]()
    for step in steps:
        if isinstance(step, int):
            if group and (key + 1) * SPAN <= step:
                expected.append(bar_of(key * SPAN, step, group))
                floor, group = key + 1, []
            finished = consolidator.scan(step)
        else:
            t = trade(*step)
            own = t.time // SPAN
            if group and own > key:
                expected.append(bar_of(key * SPAN, t.received, group))
                floor, group = key + 1, []
            if not group:
                key = max(own, floor)
            late += own < key
            group.append(t)
            finished = consolidator.update(t)
        made += [finished] if finished else []
        assert consolidator.next_wake == ((key + 1) * SPAN if group else None)
    assert made == expected
    assert consolidator.late == late
    assert all(before.end_time <= after.time for before, after in pairwise(made))


def test_empty_spans_make_no_bar() -> None:
    consolidator = TradeConsolidator(A, SPAN)
    assert consolidator.next_wake is None
    assert consolidator.scan(1000) is None
    consolidator.update(trade(3))
    finished = consolidator.update(trade(77))
    assert finished is not None
    assert (finished.time, finished.end_time, finished.received) == (0, 10, 78)
    assert consolidator.next_wake == 80


def test_scan_closes_at_the_end_and_not_before() -> None:
    consolidator = TradeConsolidator(A, SPAN)
    consolidator.update(trade(3))
    assert consolidator.scan(9) is None
    finished = consolidator.scan(10)
    assert finished is not None
    assert finished.received == 10
    assert consolidator.scan(10) is None


def test_a_day_is_a_utc_day_unless_anchored() -> None:
    day, hour = 86_400 * 10**9, 3_600 * 10**9
    plain, anchored = TradeConsolidator(A, day), TradeConsolidator(A, day, 4 * hour)
    for consolidator, start in ((plain, 3 * day), (anchored, 2 * day + 4 * hour)):
        consolidator.update(trade(3 * day + hour))
        finished = consolidator.scan(10 * day)
        assert finished is not None
        assert finished.time == start


def test_quotes_make_a_bar_of_each_side() -> None:
    consolidator = QuoteConsolidator(A, SPAN)
    for time, bid, ask in ((1, 10.0, 12.0), (4, 13.0, 14.0), (5, 8.0, 9.0), (6, 9.0, 11.0)):
        assert consolidator.update(Quote(A, time, time, bid, time, ask, time + 1)) is None
    assert consolidator.scan(12) == QuoteBar(
        A, 0, 12, SPAN, Ohlc(10.0, 13.0, 8.0, 9.0), Ohlc(12.0, 14.0, 9.0, 11.0), 6.0, 7.0
    )


@given(TICKS)
def test_bars_of_bars_are_bars_of_trades(ticks: list[tuple[int, float, float]]) -> None:
    short, long, direct = (
        TradeConsolidator(A, 5),
        BarConsolidator(A, 20),
        TradeConsolidator(A, 20),
    )
    trades = [trade(*tick) for tick in sorted(ticks, key=lambda tick: tick[0])]
    expected, made = list[Bar | None](), list[Bar | None]()
    for t in trades:
        expected.append(direct.update(t))
        if bar := short.update(t):
            made += [long.update(bar), long.scan(t.time)]
    expected.append(direct.scan(1000))
    if bar := short.scan(1000):
        made += [long.update(bar), long.scan(1000), long.scan(1000)]

    def shape(bars: list[Bar | None]) -> list[tuple[float, ...]]:
        return [(b.time, b.open, b.high, b.low, b.close, b.volume) for b in bars if b]

    assert shape(made) == shape(expected)


def test_a_bar_that_fills_its_span_finishes_it_at_once() -> None:
    consolidator = BarConsolidator(A, 20)
    assert consolidator.update(Bar(A, 0, 11, 10, 1.0, 4.0, 1.0, 2.0, 5.0)) is None
    assert consolidator.update(Bar(A, 10, 21, 10, 2.0, 3.0, 0.5, 3.0, 6.0)) == Bar(
        A, 0, 21, 20, 1.0, 4.0, 0.5, 3.0, 11.0
    )


def test_two_bars_finished_by_one_come_by_update_and_scan() -> None:
    consolidator = BarConsolidator(A, 20)
    consolidator.update(Bar(A, 0, 11, 10, 1.0, 1.0, 1.0, 1.0, 1.0))
    older = consolidator.update(Bar(A, 30, 41, 10, 2.0, 2.0, 2.0, 2.0, 2.0))
    newer = consolidator.scan(41)
    assert older is not None
    assert newer is not None
    assert (older.time, newer.time) == (0, 20)


def test_quote_bars_make_longer_quote_bars() -> None:
    consolidator = QuoteBarConsolidator(A, 20)
    first = QuoteBar(A, 0, 11, 10, Ohlc(1.0, 4.0, 1.0, 2.0), Ohlc(2.0, 5.0, 2.0, 3.0), 1.0, 2.0)
    second = QuoteBar(A, 10, 21, 10, Ohlc(2.0, 3.0, 0.5, 3.0), Ohlc(3.0, 6.0, 2.5, 4.0), 3.0, 4.0)
    assert consolidator.update(first) is None
    assert consolidator.update(second) == QuoteBar(
        A, 0, 21, 20, Ohlc(1.0, 4.0, 0.5, 3.0), Ohlc(2.0, 6.0, 2.0, 4.0), 3.0, 4.0
    )


@pytest.mark.parametrize(("time", "span"), [(0, 7), (0, 40), (5, 10)])
def test_bars_that_do_not_fit_are_refused(time: int, span: int) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        BarConsolidator(A, 20).update(Bar(A, time, 99, span, 1.0, 1.0, 1.0, 1.0, 1.0))
    side = Ohlc(1.0, 1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="do not fit"):
        QuoteBarConsolidator(A, 20).update(QuoteBar(A, time, 99, span, side, side, 1.0, 1.0))


def test_a_span_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="spans 0 ns"):
        TradeConsolidator(A, 0)
