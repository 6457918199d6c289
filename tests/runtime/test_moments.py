"""A batch is told end by end: nothing is lost or told twice, no slice has two bars of a kind."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from feeds.events import Bar, Gap, MarketEvent, QuoteBar, Symbol, Trade
from runtime.lines import Ended
from runtime.moments import split
from tests.stories.market import BTC, SPY, at, bar, quote_bar, trade

Events = list[MarketEvent | Gap]


def make(kind: str, n: int, symbol: Symbol) -> MarketEvent:
    if kind == "t":
        return trade(n, symbol=symbol)
    return bar(n, symbol=symbol) if kind == "b" else quote_bar(n, symbol=symbol)


def ended(events: Events) -> list[Ended]:
    return [Ended(event) for event in events if isinstance(event, Bar | QuoteBar)]


def told(events: Events) -> list[Events]:
    return [moment.events for moment in split(events, ended(events))]


def test_bars_of_one_end_share_a_slice() -> None:
    batch: Events = [bar(0), bar(0, symbol=BTC), quote_bar(0)]
    assert told(batch) == [batch]


def test_each_end_is_a_slice_of_its_own_in_order_of_time() -> None:
    """Also where the bars of one symbol came together, and before those of another."""
    first, second, third = bar(0), bar(1), bar(2)
    other, later = bar(0, symbol=BTC), bar(2, symbol=BTC)
    assert told([first, second, third, other, later]) == [[first, other], [second], [third, later]]


def test_a_bar_that_comes_again_is_not_hidden_by_its_correction() -> None:
    first, corrected = bar(0), bar(0, price=101.0)
    assert told([first, corrected]) == [[first], [corrected]]
    assert told([first, first]) == [[first], [first]]


def test_other_events_go_with_the_end_after_them_and_keep_their_order() -> None:
    minute, hour = bar(0, 60), bar(60, 60)
    early, late, last = (trade(seconds, symbol=BTC) for seconds in (30, 20, 130))
    middle = trade(60, symbol=BTC)
    gap = Gap(None, at(100), at(110), at(140), "away")
    batch: Events = [early, middle, late, minute, last, gap, hour]
    assert told(batch) == [[early, minute], [middle, late, last, gap, hour]]


def test_a_handlers_bar_has_its_moment_though_no_slice() -> None:
    own, handed = bar(1), Ended(bar(0), print)
    moments = split([own], [Ended(own), handed])
    assert [moment.events for moment in moments] == [[], [own]]
    assert [moment.ended for moment in moments] == [[handed], [Ended(own)]]


BATCHES = st.lists(
    st.tuples(st.sampled_from("tbq"), st.integers(0, 5), st.sampled_from([SPY, BTC])),
    min_size=1,
    max_size=30,
)


@given(steps=BATCHES)
def test_nothing_is_lost_and_no_slice_has_two_bars_of_a_kind(
    steps: list[tuple[str, int, Symbol]],
) -> None:
    batch: Events = [make(*step) for step in steps]
    if not ended(batch):
        return
    slices = told(batch)
    assert Counter(map(repr, batch)) == Counter(repr(e) for events in slices for e in events)
    ticks = [event for event in batch if isinstance(event, Trade)]
    assert [e for events in slices for e in events if isinstance(e, Trade)] == ticks
    ends = []
    for events in slices:
        bars = [event for event in events if isinstance(event, Bar | QuoteBar)]
        assert len({(type(each), each.symbol) for each in bars}) == len(bars)
        assert len({each.end_time for each in bars}) == 1
        ends.append(bars[0].end_time)
    assert ends == sorted(ends)
