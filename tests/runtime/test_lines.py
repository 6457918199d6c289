"""One symbol's events in, what on_data sees of them out."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.events import MINUTE, SECOND, AssetClass, Bar, MarketEvent, Quote, QuoteBar, Trade
from runtime.errors import StrategyError
from runtime.lines import SymbolLine
from runtime.securities import Resolution, Security
from tests.stories.market import SPY, T0, at, bar, quote, quote_bar, trade


def line(resolution: Resolution = Resolution.SECOND, history: int = 100) -> SymbolLine:
    return SymbolLine(Security(SPY, AssetClass.EQUITY, resolution), history)


def take(target: SymbolLine, *events: MarketEvent) -> list[MarketEvent]:
    out: list[MarketEvent] = []
    for event in events:
        target.take(event, out)
    tell(target)
    return out


def scan(target: SymbolLine, seconds: float) -> list[MarketEvent]:
    out: list[MarketEvent] = []
    target.scan(at(seconds), out)
    tell(target)
    return out


def tell(target: SymbolLine) -> None:
    """Show what has ended and call the handlers, as the engine does."""
    for made, handler in target.take_ended():
        if handler is not None:
            assert isinstance(made, Bar)
            handler(made)
        else:
            target.show(made)


def ends(events: list[MarketEvent]) -> list[tuple[type, float]]:
    return [(type(e), (e.end_time - T0) / SECOND) for e in events if isinstance(e, Bar | QuoteBar)]


def test_tick_resolution_gives_the_events_themselves() -> None:
    events: list[MarketEvent] = [trade(1), quote(2), trade(3)]
    ticks = line(Resolution.TICK)
    assert take(ticks, *events) == events
    assert ticks.settle() is None


def test_bars_come_out_in_place_of_ticks() -> None:
    seconds = line()
    assert take(seconds, trade(0.2), quote(0.3), trade(0.9, 101.0, 2.0)) == []
    assert seconds.settle() == at(1)
    (closed,) = take(seconds, trade(1.1))
    assert closed == Bar(SPY, at(0), at(1.1), SECOND, 100.0, 101.0, 100.0, 101.0, 3.0)
    (quoted,) = scan(seconds, 1)
    assert isinstance(quoted, QuoteBar)
    assert seconds.settle() == at(2)


def test_a_bar_is_closed_by_time_alone() -> None:
    seconds = line()
    take(seconds, trade(0.5))
    assert scan(seconds, 0.999) == []
    assert ends(scan(seconds, 1)) == [(Bar, 1.0)]
    assert scan(seconds, 2) == []
    assert seconds.settle() is None


def test_ready_made_bars_are_used_only_where_no_trades_come() -> None:
    minutes = line(Resolution.MINUTE)
    ready = bar(0, 60)
    assert take(minutes, ready) == [ready]
    assert take(minutes, trade(61), bar(60, 60), bar(120, 60)) == []
    assert minutes.ready_made == 2
    assert ends(scan(minutes, 120)) == [(Bar, 120.0)]


def test_ready_made_quote_bars_are_used_only_where_no_quotes_come() -> None:
    minutes = line(Resolution.MINUTE)
    ready = quote_bar(0, 60)
    assert take(minutes, ready) == [ready]
    assert take(minutes, quote(61), quote_bar(60, 60)) == []
    assert minutes.ready_made == 1
    assert ends(scan(minutes, 120)) == [(QuoteBar, 120.0)]


def test_second_bars_make_the_minute_bar() -> None:
    minutes = line(Resolution.MINUTE)
    shorter = [bar(n, 1, 100.0 + n) for n in range(60)]
    assert take(minutes, *shorter[:-1]) == []
    (made,) = take(minutes, shorter[-1])
    assert made == Bar(SPY, T0, at(60), MINUTE, 100.0, 160.0, 99.0, 159.0, 60.0)


def test_second_quote_bars_make_the_minute_quote_bar() -> None:
    minutes = line(Resolution.MINUTE)
    shorter = [quote_bar(n, 1, 100.0 + n) for n in range(60)]
    assert take(minutes, *shorter[:-1]) == []
    (made,) = take(minutes, shorter[-1])
    assert isinstance(made, QuoteBar)
    assert (made.time, made.span, made.bid.open, made.ask.close) == (T0, MINUTE, 99.5, 159.5)


@pytest.mark.parametrize(
    "odd",
    [
        bar(0, 300),  # longer than the resolution
        bar(0, 7),  # no divisor of it
        bar(0.5, 1),  # a divisor that starts in between
        quote_bar(0, 300),
        quote_bar(0.5, 1),
    ],
)
def test_bars_that_do_not_fit_the_resolution_come_as_they_are(odd: Bar | QuoteBar) -> None:
    assert take(line(Resolution.MINUTE), odd) == [odd]


def test_insane_ticks_are_shown_but_make_no_price() -> None:
    ticks, seconds = line(Resolution.TICK), line()
    for price in (math.nan, math.inf, -math.inf, 0.0, -1.0):
        event = trade(0.5, price)
        assert take(ticks, event)[0] is event
        assert take(seconds, event) == []
    crossed = Quote(SPY, at(0.6), at(0.6), 11.0, 1.0, 10.0, 1.0)
    assert take(ticks, crossed) == [crossed]
    assert take(seconds, crossed) == []
    for each in (ticks, seconds):
        assert math.isnan(each.security.price)
        assert len(each.bar_window(10)) == 0
        assert each.settle() is None


@pytest.mark.parametrize("count", [-1, 0, 1, 2, 3, 50])
@pytest.mark.parametrize("resolution", [Resolution.TICK, Resolution.SECOND])
def test_history_gives_the_newest_that_there_are(count: int, resolution: Resolution) -> None:
    target = line(resolution)
    take(target, *(trade(n + 0.5, 100.0 + n) for n in range(4)))
    known = [100.0, 101.0, 102.0] + [103.0] * (resolution is Resolution.TICK)  # a bar is open
    window = target.bar_window(count)
    assert list(window.close) == known[len(known) - max(0, min(count, len(known))) :]
    assert {len(c) for c in (window.time, window.open, window.high, window.low)} == {len(window)}


def test_history_shares_nothing_with_what_it_gave_before() -> None:
    ticks = line(Resolution.TICK)
    take(ticks, trade(1))
    window = ticks.bar_window(1)
    window.close[0] = 7.0
    assert (window.open[0], ticks.bar_window(1).close[0]) == (100.0, 100.0)


def test_where_nothing_trades_quote_bars_are_the_history() -> None:
    forex = line()
    take(forex, quote(0.1, 1.0, 1.5), quote(1.1, 2.0, 2.5))
    scan(forex, 2)
    assert list(forex.bar_window(5).close) == [1.25, 2.25]
    take(forex, trade(2.5, 3.0), quote(2.6))
    scan(forex, 3)
    assert list(forex.bar_window(5).close) == [1.25, 2.25, 3.0]


def test_a_bar_is_no_history_before_it_is_shown() -> None:
    seconds = line()
    for n in range(3):
        seconds.take(trade(n), [])
    assert len(seconds.bar_window(10)) == 0
    for made, _ in seconds.take_ended():
        seconds.show(made)
        assert seconds.bar_window(10).time[-1] == made.end_time


def test_history_is_bounded() -> None:
    short = line(history=3)
    take(short, *(trade(n, 100.0 + n) for n in range(10)))
    assert list(short.bar_window(100).close) == [106.0, 107.0, 108.0]
    assert len(short.tick_window(100)) == 3


def test_handlers_get_bars_of_any_span() -> None:
    target = line(Resolution.TICK)
    spans = (SECOND, 7 * SECOND, 1_500_000_000, 250_000_000)
    got: dict[int, list[Bar]] = {span: [] for span in spans}
    for span in spans:
        target.consolidate(span, got[span].append)
    take(target, *(trade(n / 10) for n in range(211)))
    assert target.take_ended() == []
    for span in spans:
        starts = [b.time for b in got[span]]
        first = T0 - T0 % span
        assert starts == [first + n * span for n in range(len(starts))]
        assert got[span][-1].end_time <= at(21) < got[span][-1].end_time + span
        assert {b.span for b in got[span]} == {span}


def test_handlers_get_bars_of_bars() -> None:
    target = line()
    got: list[Bar] = []
    target.consolidate(5 * SECOND, got.append)
    take(target, *(bar(n) for n in range(10)))
    assert [(b.time, b.volume) for b in got] == [(at(0), 5.0), (at(5), 5.0)]


@pytest.mark.parametrize(
    ("ready", "span"), [(bar(0, 60), 90), (bar(0, 60), 1), (bar(5, 3600), 7200)]
)
def test_bars_that_cannot_fill_a_handlers_span_are_an_error(ready: Bar, span: float) -> None:
    target = line(Resolution.MINUTE)
    target.consolidate(round(span * SECOND), lambda _: None)
    with pytest.raises(
        StrategyError, match=rf"consolidate\(SPY\).* do not fill bars of {span:g} s"
    ):
        take(target, ready)


STEPS = st.lists(
    st.tuples(
        st.integers(0, 3_000), st.sampled_from("tq"), st.floats(1.0, 1000.0, allow_nan=False)
    ),
    max_size=60,
)


@given(steps=STEPS)
def test_bars_hold_every_trade_once(steps: list[tuple[int, str, float]]) -> None:
    """Volume is kept; bars do not overlap; none is told before its end."""
    seconds = line()
    now, out, traded = 0.0, list[MarketEvent](), list[Trade]()
    for wait, kind, price in steps:
        now += wait / 1000
        while (wake := seconds.settle()) is not None and wake <= at(now):
            before = len(out)
            seconds.scan(wake, out)
            assert all(e.end_time == wake for e in out[before:] if isinstance(e, Bar | QuoteBar))
        if kind == "t":
            traded.append(trade(now, price))
            seconds.take(traded[-1], out)
        else:
            seconds.take(quote(now, price, price + 1), out)
    seconds.scan(at(now + 1), out)
    bars = [e for e in out if isinstance(e, Bar)]
    assert sum(b.volume for b in bars) == len(traded)
    assert all(a.end_time <= b.time for a, b in pairwise(bars))
    for b in bars:
        prices = [t.price for t in traded if b.time <= t.time < b.end_time]
        assert (b.open, b.high, b.low, b.close) == (prices[0], max(prices), min(prices), prices[-1])
