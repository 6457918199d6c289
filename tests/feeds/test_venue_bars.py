"""The venue's minute bars: every trade in one bar, every bar after its minute, none twice."""

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.events import MINUTE, SECOND, AssetClass, Bar, MarketEvent, Symbol, Trade
from feeds.market import SyntheticMarket
from feeds.venue.bars import DayBar, MadeBar, MinuteBars

A, B, BTC = Symbol("AAA"), Symbol("BBB"), Symbol("BTC/USD")


def market(rate: float = 1.0) -> MinuteBars:
    made = MinuteBars(SyntheticMarket(3, rate, 0))
    for symbol in (A, B):
        assert made.subscribe(symbol, AssetClass.EQUITY, 0)
    return made


@given(st.lists(st.integers(1, 90 * SECOND), min_size=1, max_size=20))
def test_bars_hold_each_minutes_trades_however_time_is_cut(steps: list[int]) -> None:
    played: list[MarketEvent] = []
    tape, until = market(), 0
    for step in [*steps, 3 * MINUTE]:
        until += step
        played += tape.advance(until)
    trades: dict[tuple[Symbol, int], list[Trade]] = defaultdict(list)
    bars: dict[tuple[Symbol, int], MadeBar] = {}
    for event in played:
        if isinstance(event, Trade):
            minute = event.time - event.time % MINUTE
            assert (event.symbol, minute) not in bars, "a trade after its bar"
            trades[event.symbol, minute].append(event)
        elif isinstance(event, MadeBar) and not isinstance(event, DayBar):
            assert (event.symbol, event.time) not in bars
            bars[event.symbol, event.time] = event
    over = {key: held for key, held in trades.items() if key[1] + MINUTE < until}
    assert set(bars) == set(over)
    for key, held in over.items():
        prices = [trade.price for trade in held]
        bar = bars[key]
        assert (bar.open, bar.high, bar.low, bar.close) == (
            prices[0],
            max(prices),
            min(prices),
            prices[-1],
        )
        assert bar.volume == sum(trade.size for trade in held)
        assert bar.trades == len(held)
        worth = sum(trade.size * trade.price for trade in held)
        assert bar.vwap == pytest.approx(worth / bar.volume)


class Tape:
    """A tape that holds what it is given, all of it in the first second."""

    start: int | None = 0
    upcoming: int | None = None
    exhausted = False

    def __init__(self, events: list[MarketEvent]) -> None:
        self._events = events

    def subscribe(self, symbol: Symbol, asset_class: AssetClass | None, now: int) -> bool:
        return True

    def advance(self, until: int) -> list[MarketEvent]:
        events, self._events = self._events, []
        return events


def test_ready_made_bars_are_left_as_they_are() -> None:
    ready = Bar(A, 0, MINUTE, MINUTE, 1.0, 1.0, 1.0, 1.0, 1.0)
    tape = MinuteBars(Tape([ready, Trade(A, MINUTE, MINUTE, 2.0, 1.0)]))
    bars = [e for e in tape.advance(5 * MINUTE) if isinstance(e, Bar)]
    assert [bar for bar in bars if not isinstance(bar, DayBar)] == [ready]


DAY = 24 * 60 * MINUTE
MIDNIGHT = 16_070 * DAY  # 2013-12-31 in UTC; New York is five hours behind


@pytest.mark.parametrize(("symbol", "begins"), [(A, MIDNIGHT + 5 * 60 * MINUTE), (BTC, MIDNIGHT)])
def test_behind_each_minute_comes_its_day_as_it_is_so_far(symbol: Symbol, begins: int) -> None:
    def minute(start: int, price: float, volume: float) -> Bar:
        prices = price, price + 1, price - 1, price
        return Bar(symbol, start, start + MINUTE, MINUTE, *prices, volume)

    noon = begins + DAY // 2
    tape = MinuteBars(
        Tape(
            [minute(noon, 10.0, 1.0), minute(noon + MINUTE, 12.0, 3.0), minute(begins + DAY, 5, 2)]
        )
    )
    days = [e for e in tape.advance(begins + 2 * DAY) if isinstance(e, DayBar)]
    assert [(d.time, d.received, d.span) for d in days] == [
        (begins, noon + MINUTE, DAY),
        (begins, noon + 2 * MINUTE, DAY),
        (begins + DAY, begins + DAY + MINUTE, DAY),
    ]
    assert [(d.open, d.high, d.low, d.close, d.volume, d.vwap) for d in days] == [
        (10.0, 11.0, 9.0, 10.0, 1.0, 10.0),
        (10.0, 13.0, 9.0, 12.0, 4.0, 11.5),
        (5.0, 6.0, 4.0, 5.0, 2.0, 5.0),
    ]
