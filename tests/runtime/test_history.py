"""A window is the newest rows as columns of its own, whatever is appended afterwards."""

import math
import threading
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.events import Aggressor, Bar, Ohlc, Quote, QuoteBar, Symbol, Trade
from runtime.history import BarHistory, RollingWindow, TickHistory

A = Symbol("A")
SIDES = st.sampled_from(list(Aggressor))
SIGNS = {Aggressor.BUYER: 1.0, Aggressor.SELLER: -1.0, Aggressor.UNKNOWN: 0.0}
NAN = float("nan")


@st.composite
def ticks(draw: st.DrawFn) -> list[Trade | Quote]:
    made: list[Trade | Quote] = []
    for time in range(draw(st.integers(0, 40))):
        price, size = float(draw(st.integers(5, 50))), float(draw(st.integers(1, 9)))
        if draw(st.booleans()):
            made.append(Trade(A, time, time, price, size, "", draw(SIDES)))
        else:
            made.append(Quote(A, time, time, price - 1, size, price + 1, size + 1))
    return made


def slow_rows(events: list[Trade | Quote]) -> list[tuple[float, ...]]:
    rows: list[tuple[float, ...]] = []
    book: tuple[float, ...] = (NAN,) * 4
    for e in events:
        if isinstance(e, Trade):
            rows.append((e.time, e.price, e.size, SIGNS[e.aggressor], *book, 1))
        else:
            book = (e.bid, e.bid_size, e.ask, e.ask_size)
            rows.append((e.time, e.price, 0.0, 0.0, *book, 0))
    return rows


@given(ticks(), st.integers(1, 12), st.none() | st.integers(-1, 15))
def test_a_window_of_ticks_is_the_newest_rows(
    events: list[Trade | Quote], capacity: int, n: int | None
) -> None:
    history = TickHistory(capacity)
    history.extend(events)
    wanted = min(capacity, len(events) if n is None else max(n, 0))
    rows = slow_rows(events)[max(0, len(events) - wanted) :]
    window = history.last(n)
    expected = np.array(rows, dtype=float).reshape(-1, 9)
    found = np.column_stack([getattr(window, name) for name in window.__struct_fields__])
    np.testing.assert_array_equal(found, expected)
    assert len(history) == min(capacity, len(events))
    assert len(window) == len(window.trades) + len(window.quotes)
    assert window.trades.is_trade.all()
    assert not window.quotes.is_trade.any()


def test_columns_are_typed_contiguous_and_their_own() -> None:
    history = TickHistory(10)
    history.append_quote(Quote(A, 1, 1, 9.0, 2.0, 11.0, 3.0))
    history.append_trade(Trade(A, 2, 2, 20.0, 5.0, "", Aggressor.SELLER))
    window = history.last(2)
    for name in window.__struct_fields__:
        column = getattr(window, name)
        assert column.flags.c_contiguous
        assert column.flags.aligned
        assert column.flags.owndata
    assert window.time.dtype == np.int64
    assert window.price.dtype == np.float64
    assert window.is_trade.dtype == np.bool_
    assert window.returns == pytest.approx([math.log(2)])
    window.price[:] = 0.0
    assert history.last(2).price.tolist() == [10.0, 20.0]


def test_a_window_is_whole_while_another_thread_appends() -> None:
    """Every row of every window is consistent; an export of the buffer would raise BufferError."""
    history = TickHistory(64)
    done = threading.Event()
    torn: list[str] = []

    def read() -> None:
        while not done.is_set():
            window = history.last()
            if (window.time != window.price).any() or (np.diff(window.time) != 1).any():
                torn.append(repr(window))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for time in range(1, 30_000):
            history.append_trade(Trade(A, time, time, float(time), 1.0))
    finally:
        done.set()
        reader.join()
    assert torn == []


@given(st.integers(0, 30), st.integers(1, 9), st.integers(0, 12))
def test_a_window_of_bars_is_the_newest_bars(count: int, capacity: int, n: int) -> None:
    bars = [Bar(A, k * 60, k, 60, k + 1.0, k + 4.0, k + 0.5, k + 2.0, k) for k in range(count)]
    history = BarHistory(capacity)
    history.extend(bars)
    expected = bars[max(0, count - min(n, capacity)) :]
    window = history.last(n)
    assert window.time.tolist() == [bar.end_time for bar in expected]
    for name in ("open", "high", "low", "close", "volume"):
        assert getattr(window, name).tolist() == [getattr(bar, name) for bar in expected]
    closes = [bar.close for bar in expected]
    steps = [math.log(b / a) for a, b in pairwise(closes)]
    assert window.returns.tolist() == pytest.approx(steps)
    assert len(window) == len(expected)


def test_a_quote_bar_enters_as_mids() -> None:
    history = BarHistory(2)
    bid, ask = Ohlc(1.0, 3.0, 0.5, 2.0), Ohlc(2.0, 4.0, 1.5, 3.0)
    history.append(QuoteBar(A, 60, 120, 60, bid, ask, 1.0, 1.0))
    window = history.last(1)
    columns = (window.open, window.high, window.low, window.close, window.volume)
    assert [column[0] for column in columns] == [1.5, 3.5, 1.0, 2.5, 0.0]
    assert window.time.tolist() == [120]


@pytest.mark.parametrize("make", [TickHistory, BarHistory, RollingWindow])
def test_a_window_of_nothing_is_refused(make: type) -> None:
    with pytest.raises(ValueError, match="holds nothing"):
        make(0)


@given(st.lists(st.integers(-9, 9)), st.integers(1, 6))
def test_a_rolling_window_counts_back_from_the_newest(items: list[int], size: int) -> None:
    window = RollingWindow[int](size)
    for item in items:
        window.add(item)
    kept = items[-size:]
    assert list(window) == [window[k] for k in range(window.count)] == kept[::-1]
    assert window.values.tolist() == kept
    assert window.values.dtype == np.float64
    assert (len(window), window.count, window.samples) == (len(kept), len(kept), len(items))
    assert window.is_ready == (len(items) >= size)


def test_a_rolling_window_names_what_it_holds() -> None:
    window = RollingWindow[str](3)
    window.add("a")
    with pytest.raises(IndexError, match="item 1 of a window that holds 1 of 3"):
        window[1]
    window.reset()
    assert (window.count, window.samples) == (0, 0)
