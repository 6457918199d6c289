"""The venue's own stream of a tape: what a file's reader has is what the client's core has."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.base import Subscription
from feeds.events import (
    MINUTE,
    SECOND,
    Aggressor,
    AssetClass,
    Bar,
    MarketEvent,
    Ohlc,
    Quote,
    QuoteBar,
    Symbol,
    Trade,
)
from feeds.protocols import alpaca
from feeds.protocols.alpaca import AlpacaDecoder
from feeds.venue.bars import MadeBar
from feeds.venue.protocol import Batch, FeedKind, Group
from feeds.venue.tape import EVENTS_A_FRAME, LARGEST_FRAME
from feeds.venue.words import Codec

BTC, SPY, EUR = Symbol("BTC/USD"), Symbol("SPY"), Symbol("EUR/USD")
TIME = 1_380_000_000 * SECOND
NOW = 1_790_000_000 * SECOND
BOTH = pytest.mark.parametrize("codec", list(Codec))
SIDES = Ohlc(1.1, 1.2, 1.0, 1.15), Ohlc(1.11, 1.21, 1.01, 1.16)

TAPE: list[MarketEvent] = [
    Trade(SPY, TIME, TIME, 167.41, 100.0),
    Trade(BTC, TIME, TIME + 84_000_000, 60000.5, 0.25, "x-17", Aggressor.SELLER),
    Trade(BTC, TIME + 9, TIME, 60000.5, 0.25, "007", Aggressor.BUYER),
    Quote(SPY, TIME + 1, TIME + 1, 0.0, 0.0, 167.5, 100.0),
    Quote(BTC, TIME + 1, TIME + 5, 60000.0, 1.0, 60001.0, 0.0),
    Bar(SPY, TIME, TIME + SECOND, SECOND, 1.0, 3.0, 0.5, 2.0, 12.5),
    Bar(SPY, TIME, TIME + MINUTE, MINUTE, 1.0, 3.0, 0.5, 2.0, 0.0),
    Bar(BTC, TIME, TIME + 2 * MINUTE, MINUTE, 1.0, 3.0, 0.5, 2.0, 1.0),
    QuoteBar(EUR, TIME, TIME + MINUTE, MINUTE, *SIDES, 0.0, 0.0),
    QuoteBar(EUR, TIME, TIME, 24 * 60 * MINUTE, *SIDES, 5.0, 7.0),
]


def frames(events: list[MarketEvent], codec: Codec, *symbols: str) -> list[bytes]:
    return Batch(events, {}).frames(Group(FeedKind.TAPE, codec, trades=frozenset(symbols)))


def client(codec: Codec, *symbols: Symbol) -> AlpacaDecoder:
    wanted = [Subscription(symbol, AssetClass.EQUITY) for symbol in symbols]
    return AlpacaDecoder("", "", wanted, alpaca.Codec(codec), tape=True)


@BOTH
def test_every_event_arrives_as_the_files_have_it(codec: Codec) -> None:
    decoder = client(codec, SPY, BTC, EUR)
    heard = [e for f in frames(TAPE, codec, "*") for e in decoder.receive(f, NOW)]
    assert heard == TAPE
    assert (decoder.malformed, decoder.ignored) == (0, {})


FINITE, SIZE = st.floats(1e-300, 1e300), st.floats(0, 1e300)
TIMES, SPANS = st.integers(0, 2**61), st.integers(1, 2**60)
NAMES = st.sampled_from([SPY, BTC, EUR])
SIDE = st.builds(Ohlc, SIZE, SIZE, SIZE, SIZE)
ANYTHING = st.one_of(
    st.builds(
        Trade, NAMES, TIMES, TIMES, FINITE, SIZE, st.text(max_size=6), st.sampled_from(Aggressor)
    ),
    st.builds(Quote, NAMES, TIMES, TIMES, SIZE, SIZE, SIZE, SIZE),
    st.builds(Bar, NAMES, TIMES, TIMES, SPANS, FINITE, FINITE, FINITE, FINITE, SIZE),
    st.builds(QuoteBar, NAMES, TIMES, TIMES, SPANS, SIDE, SIDE, SIZE, SIZE),
)


@BOTH
@given(events=st.lists(ANYTHING, max_size=8))
def test_any_tape_arrives_exactly(codec: Codec, events: list[MarketEvent]) -> None:
    decoder = client(codec, SPY, BTC, EUR)
    assert [e for f in frames(events, codec, "*") for e in decoder.receive(f, NOW)] == events


@BOTH
def test_only_the_symbols_asked_for_are_sent(codec: Codec) -> None:
    heard = [e for f in frames(TAPE, codec, EUR) for e in client(codec, EUR).receive(f, NOW)]
    assert heard == TAPE[-2:]


def test_bars_of_the_venues_own_making_are_no_part_of_the_tape() -> None:
    made = MadeBar(SPY, TIME, TIME + MINUTE, MINUTE, 1.0, 1.0, 1.0, 1.0, 1.0, 3, 1.0)
    assert frames([made], Codec.JSON, SPY) == []


def sizes(events: list[MarketEvent]) -> list[int]:
    return [len(msgspec.json.decode(frame)) for frame in frames(events, Codec.JSON, SPY)]


def test_a_frame_ends_where_a_moment_does() -> None:
    one = [Trade(SPY, TIME, TIME, 1.0, 1.0)] * (EVENTS_A_FRAME + 100)
    other = [Trade(SPY, TIME + 1, TIME + 1, 1.0, 1.0)] * 3
    assert sizes([*one, *other]) == [EVENTS_A_FRAME + 100, 3]


def test_a_frame_has_a_bound_all_the_same() -> None:
    """The largest that there can be is below what our own client takes."""
    bars: list[MarketEvent] = [TAPE[-1]] * (LARGEST_FRAME + 1)
    cut = frames(bars, Codec.JSON, EUR)
    assert [len(msgspec.json.decode(frame)) for frame in cut] == [LARGEST_FRAME, 1]
    assert len(cut[0]) < 1024 * 1024


@pytest.mark.parametrize(
    "change", [{"span": 0}, {"span": -5}, {"b": {"open": 1.0}}, {"r": "soon"}, {"bs": -1.0}]
)
def test_a_quote_bar_that_is_none_is_an_event_not_an_error(change: dict[str, object]) -> None:
    (frame,) = frames([TAPE[-1]], Codec.JSON, EUR)
    (item,) = msgspec.json.decode(frame)
    decoder = client(Codec.JSON, EUR)
    assert [
        type(e).__name__ for e in decoder.receive(msgspec.json.encode([item | change]), NOW)
    ] == ["Malformed"]
