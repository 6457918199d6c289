"""Coinbase Exchange's feed: documented shapes become events, everything else is counted."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.events import (
    EXCERPT_CHARS,
    Aggressor,
    Event,
    Gap,
    Malformed,
    Quote,
    Status,
    Symbol,
    Trade,
)
from feeds.protocols.coinbase import CoinbaseDecoder
from feeds.protocols.frames import KINDS_COUNTED

NOW = 1_618_677_820_000_000_000
MATCH: dict[str, Any] = {
    "type": "match", "trade_id": 881614, "maker_order_id": "a", "taker_order_id": "b",
    "side": "sell", "size": "0.04", "price": "14.7775", "product_id": "BAND-GBP",
    "sequence": 333938798, "time": "2021-04-17T16:43:30.244075Z",
}  # fmt: skip
LAST_MATCH = {**MATCH, "type": "last_match", "trade_id": 881613}
TICKER: dict[str, Any] = {
    "type": "ticker", "sequence": 333938798, "product_id": "BAND-GBP", "price": "14.7775",
    "open_24h": "14.6", "best_bid": "14.7550", "best_ask": "14.8060", "side": "buy",
    "time": "2021-04-17T16:43:30.244075Z", "trade_id": 881613, "last_size": "0.04",
}  # fmt: skip
ERROR = {"type": "error", "message": "Failed to subscribe", "reason": "no such product"}
FRAMES = [MATCH, LAST_MATCH, TICKER, ERROR, {"type": "heartbeat"}, {"type": "l2update"}]
TIME = 1_618_677_810_244_075_000


def receive(frame: Any, decoder: CoinbaseDecoder | None = None) -> list[Event]:
    return (decoder or CoinbaseDecoder()).receive(json.dumps(frame), NOW)


def test_match_is_a_trade_of_the_side_that_came() -> None:
    trade = Trade(Symbol("BAND/GBP"), TIME, NOW, 14.7775, 0.04, "881614", Aggressor.BUYER)
    assert receive(MATCH) == [trade]
    (sold,) = receive({**MATCH, "side": "buy"})
    assert isinstance(sold, Trade)
    assert sold.aggressor is Aggressor.SELLER
    (unknown,) = receive({**MATCH, "side": "?"})
    assert isinstance(unknown, Trade)
    assert unknown.aggressor is Aggressor.UNKNOWN


def test_ticker_is_only_a_quote() -> None:
    quote = Quote(Symbol("BAND/GBP"), TIME, NOW, 14.755, 0.0, 14.806, 0.0)
    assert receive(TICKER) == [quote]
    sized = {**TICKER, "best_bid_size": "3", "best_ask_size": "4.5"}
    assert receive(sized) == [Quote(Symbol("BAND/GBP"), TIME, NOW, 14.755, 3.0, 14.806, 4.5)]


def test_last_match_starts_the_count_and_is_no_trade() -> None:
    decoder = CoinbaseDecoder()
    assert receive(LAST_MATCH, decoder) == []
    assert decoder.ignored == {"last_match": 1}
    assert len(receive(MATCH, decoder)) == 1


def test_last_match_after_an_outage_tells_the_gap() -> None:
    decoder = CoinbaseDecoder()
    receive(MATCH, decoder)
    later = {**LAST_MATCH, "trade_id": 881620, "time": "2021-04-17T16:44:30Z"}
    (gap,) = receive(later, CoinbaseDecoder(decoder.continuity))
    assert isinstance(gap, Gap)
    assert gap.missing == 6


def test_repeated_match_is_dropped_and_a_jump_is_told_first() -> None:
    decoder = CoinbaseDecoder()
    receive(MATCH, decoder)
    assert receive(MATCH, decoder) == []
    assert decoder.ignored == {"duplicate": 1}
    gap, trade = receive({**MATCH, "trade_id": 881616, "time": "2021-04-17T16:43:31Z"}, decoder)
    assert isinstance(gap, Gap)
    assert gap.missing == 1
    assert isinstance(trade, Trade)


@pytest.mark.parametrize(
    "kind", ["l2update", "snapshot", "subscriptions", "heartbeat", "open", "brand_new"]
)
def test_other_types_are_counted_by_name(kind: str) -> None:
    decoder = CoinbaseDecoder()
    assert receive({"type": kind}, decoder) == []
    assert decoder.ignored == {kind: 1}


def test_kinds_are_bounded() -> None:
    decoder = CoinbaseDecoder()
    for number in range(2 * KINDS_COUNTED):
        receive({"type": f"new{number}"}, decoder)
    assert len(decoder.ignored) == KINDS_COUNTED + 1
    assert decoder.ignored["other"] == KINDS_COUNTED


def test_error_is_a_refusal_with_its_reason() -> None:
    decoder = CoinbaseDecoder()
    (event,) = receive(ERROR, decoder)
    assert isinstance(event, Status)
    assert "no such product" in event.detail
    assert "no such product" in str(decoder.refused)


@pytest.mark.parametrize("bad", ["NaN", "-Infinity", "-1", "0", "1e308", "1,5", "", None, [], True])
@pytest.mark.parametrize(
    ("frame", "key"), [(MATCH, "price"), (TICKER, "best_bid"), (TICKER, "best_ask")]
)
def test_impossible_price_is_malformed(frame: dict[str, Any], key: str, bad: object) -> None:
    (event,) = receive({**frame, key: bad})
    assert isinstance(event, Malformed)


@pytest.mark.parametrize(
    "frame",
    [
        {**MATCH, "time": "yesterday"},
        {**MATCH, "time": "1960-01-01T00:00:00Z"},
        {**MATCH, "product_id": ""},
        {**MATCH, "product_id": "X" * 33},
        {**MATCH, "trade_id": "5"},
        {**MATCH, "size": "-1"},
        {"type": 5},
        {},
        [],
        None,
    ],
)
def test_what_contradicts_the_shape_is_malformed(frame: Any) -> None:
    (event,) = receive(frame)
    assert isinstance(event, Malformed)


def test_excerpt_is_bounded() -> None:
    for data in ("[" + "x" * 10_000, b"\xff" * 10_000, "\ud800" * 10_000, '{"a":' * 100_000):
        (event,) = CoinbaseDecoder().receive(data, NOW)
        assert isinstance(event, Malformed)
        assert len(event.excerpt) == EXCERPT_CHARS
        event.excerpt.encode()


def test_subscribing_asks_for_trades_quotes_and_heartbeats() -> None:
    decoder = CoinbaseDecoder()
    decoder.subscribe([Symbol("BTC/USD"), Symbol("SKL/BTC")])
    (frame,) = decoder.data_to_send()
    assert json.loads(frame) == {
        "type": "subscribe",
        "product_ids": ["BTC-USD", "SKL-BTC"],
        "channels": ["matches", "ticker", "heartbeat"],
    }
    assert decoder.data_to_send() == []


def assert_documented(decoder: CoinbaseDecoder, data: bytes | str) -> None:
    """The oracle: market events that are sound, one Malformed, one Status, or one more count."""
    before = sum(decoder.ignored.values())
    events = decoder.receive(data, NOW)
    counted = sum(decoder.ignored.values()) - before
    match events:
        case [] | [Status()] | [Gap()]:
            assert counted == 1
        case [Malformed(excerpt=excerpt, reason=reason)]:
            assert counted == 0
            assert len(excerpt) <= EXCERPT_CHARS
            assert len(reason) <= EXCERPT_CHARS
        case [Gap(), Trade() as event] | [Trade() | Quote() as event]:
            assert counted == 0
            assert 0.0 < event.price < float("inf")
            assert 0 < event.time < 2**63
        case _:
            pytest.fail(f"undocumented: {events}")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["0.1", "NaN", "-1", "match", "ticker", "9999-12-31T23:59:59-23:59"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(st.binary(max_size=200) | st.text(max_size=200) | JSON.map(json.dumps))
def test_arbitrary_input_has_a_documented_outcome(data: bytes | str) -> None:
    assert_documented(CoinbaseDecoder(), data)


@given(st.lists(st.tuples(st.sampled_from(FRAMES), st.data()), min_size=1, max_size=2))
def test_mutated_frames_have_a_documented_outcome(
    frames: list[tuple[dict[str, Any], st.DataObject]],
) -> None:
    decoder = CoinbaseDecoder()
    for frame, data in frames:
        key = data.draw(st.sampled_from(sorted(frame)))
        assert_documented(decoder, json.dumps({**frame, key: data.draw(JSON)}))
        text = json.dumps(frame).encode()
        cut = data.draw(st.integers(0, len(text) - 1))
        assert_documented(decoder, text[:cut] + data.draw(st.binary(max_size=2)) + text[cut + 1 :])
