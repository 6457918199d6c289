"""The venue's minute bars: every trade in one bar, every bar after its minute, none twice."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from feeds.events import MINUTE, SECOND, AssetClass, Bar, MarketEvent, Symbol, Trade
from feeds.market import SyntheticMarket
from feeds.venue.bars import MinuteBars

A, B = Symbol("AAA"), Symbol("BBB")


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
    bars: dict[tuple[Symbol, int], Bar] = {}
    for event in played:
        if isinstance(event, Trade):
            minute = event.time - event.time % MINUTE
            assert (event.symbol, minute) not in bars, "a trade after its bar"
            trades[event.symbol, minute].append(event)
        elif isinstance(event, Bar):
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
    assert [e for e in tape.advance(5 * MINUTE) if isinstance(e, Bar)] == [ready]
