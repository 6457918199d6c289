"""What ccxt says of trades and quotes, as events; whatever it says, nothing but an event."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.ccxt_words import BEFORE_THE_START, CcxtReader
from feeds.events import Aggressor, Malformed, Quote, Symbol, Trade

BTC = Symbol("BTC/USD")
MS = 1_700_000_000_000
NOW = MS * 1_000_000
TRADE: dict[str, Any] = {
    "id": "7", "timestamp": MS, "datetime": "x", "symbol": "BTC/USD", "side": "buy",
    "price": 100.5, "amount": 0.25, "cost": 25.125, "info": {}, "takerOrMaker": None,
}  # fmt: skip
TICKER: dict[str, Any] = {
    "symbol": "BTC/USD", "timestamp": MS, "bid": 100.0, "bidVolume": 2.0, "ask": 101.0,
    "askVolume": 3.0, "last": 100.5,
}  # fmt: skip


def test_a_trade_is_told_once_with_the_takers_side() -> None:
    reader = CcxtReader("ccxt:x")
    expected = Trade(BTC, NOW, NOW + 5, 100.5, 0.25, "7", Aggressor.BUYER)
    assert reader.trades(BTC, [TRADE, TRADE], NOW + 5) == [expected]
    assert reader.trades(BTC, [TRADE], NOW + 9) == []
    assert reader.ignored == {"duplicate": 2}


def test_a_venue_that_begins_with_its_latest_trades_tells_no_old_news() -> None:
    reader = CcxtReader("ccxt:x")
    old = {**TRADE, "id": "1", "timestamp": MS - BEFORE_THE_START // 1_000_000 - 1}
    assert len(reader.trades(BTC, [old, TRADE], NOW)) == 1
    assert reader.ignored == {"trade before the start": 1}
    late = {**old, "id": "2"}  # after a reconnect it fills what was missed
    assert len(reader.trades(BTC, [old, late], NOW)) == 1


def test_what_a_venue_does_not_tell_stays_unknown() -> None:
    reader = CcxtReader("ccxt:x")
    bare = {**TRADE, "id": None, "timestamp": None, "side": None}
    (trade, _) = reader.trades(BTC, [bare, bare], NOW)
    assert trade == Trade(BTC, NOW, NOW, 100.5, 0.25)
    (quote,) = reader.quote(BTC, {"bid": 1.0, "ask": 2.0}, NOW)
    assert quote == Quote(BTC, NOW, NOW, 1.0, 0.0, 2.0, 0.0)


def test_quotes_come_of_tickers_and_of_books() -> None:
    reader = CcxtReader("ccxt:x")
    expected = Quote(BTC, NOW, NOW + 1, 100.0, 2.0, 101.0, 3.0)
    assert reader.quote(BTC, TICKER, NOW + 1) == [expected]
    book = {"bids": [[100.0, 2.0], [99.0, 1.0]], "asks": [[101.0, 3.0]], "timestamp": MS}
    assert reader.book(BTC, book, NOW + 1) == [expected]
    assert reader.quote(BTC, {**TICKER, "bid": None}, NOW) == []
    assert reader.book(BTC, {"bids": [], "asks": [[1.0, 1.0]]}, NOW) == []
    assert reader.ignored == {"ticker without a quote": 2}


@pytest.mark.parametrize("bad", [None, math.nan, math.inf, -1.0, 0.0, "x", [], {}])
def test_an_impossible_price_is_malformed(bad: object) -> None:
    reader = CcxtReader("ccxt:x")
    (event,) = reader.trades(BTC, [{**TRADE, "price": bad}], NOW)
    assert isinstance(event, Malformed)
    assert reader.malformed == 1


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.floats())


@given(
    st.dictionaries(st.sampled_from(list(TRADE)), VALUES),
    st.dictionaries(st.sampled_from(list(TICKER)), VALUES),
    st.dictionaries(st.sampled_from(["bids", "asks", "timestamp"]), VALUES),
)
def test_anything_at_all_is_an_event_or_a_count(
    trade: dict[str, Any], ticker: dict[str, Any], book: dict[str, Any]
) -> None:
    reader = CcxtReader("ccxt:x")
    outcomes = [
        reader.trades(BTC, [{**TRADE, **trade}], NOW),
        reader.quote(BTC, {**TICKER, **ticker}, NOW),
        reader.book(BTC, book, NOW),
    ]
    for events in outcomes:
        for event in events:
            assert isinstance(event, Trade | Quote | Malformed)
    empty = sum(not events for events in outcomes)
    assert sum(reader.ignored.values()) == empty
