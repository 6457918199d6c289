"""Binance's streams: documented shapes become events, everything else is counted."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.events import (
    EXCERPT_CHARS,
    MINUTE,
    Aggressor,
    Bar,
    Event,
    Gap,
    Malformed,
    Quote,
    Status,
    Symbol,
    Trade,
)
from feeds.protocols.binance import STREAMS_PER_FRAME, BinanceDecoder
from feeds.protocols.frames import KINDS_COUNTED

NOW = 1_633_998_524_000_000_000
MS = 1_000_000
AGG_TRADE: dict[str, Any] = {
    "e": "aggTrade", "E": 1633998523963, "s": "NKNUSDT", "a": 15683430, "p": "0.35280000",
    "q": "58.00000000", "f": 19862790, "l": 19862790, "T": 1633998523963, "m": False, "M": True,
}  # fmt: skip
TRADE: dict[str, Any] = {
    "e": "trade", "E": 1672515782136, "s": "BNBBTC", "t": 12345, "p": "0.001", "q": "100",
    "T": 1672515782136, "m": True, "M": True,
}  # fmt: skip
TOP: dict[str, Any] = {
    "u": 400900217, "s": "BNBUSDT", "b": "25.35190000", "B": "31.21000000", "a": "25.36520000",
    "A": "40.66000000",
}  # fmt: skip
KLINE: dict[str, Any] = {
    "e": "kline", "E": 1633998523963, "s": "NKNUSDT",
    "k": {
        "t": 1633998480000, "T": 1633998539999, "s": "NKNUSDT", "i": "1m", "f": 1, "L": 2,
        "o": "0.3527", "c": "0.3528", "h": "0.353", "l": "0.3522", "v": "25877.0", "n": 30,
        "x": True, "q": "9116.046", "V": "58.0", "Q": "20.4624", "B": "0",
    },
}  # fmt: skip
DEPTH: dict[str, Any] = {
    "e": "depthUpdate", "E": 1, "s": "BNBBTC", "U": 157, "u": 160, "b": [["0.0024", "10"]], "a": []
}  # fmt: skip
FRAMES = [AGG_TRADE, TRADE, TOP, KLINE, DEPTH, {"result": None, "id": 1}, {"code": 2, "msg": "no"}]


def receive(frame: Any, decoder: BinanceDecoder | None = None) -> list[Event]:
    return (decoder or BinanceDecoder()).receive(json.dumps(frame), NOW)


def wrapped(frame: Any, stream: str = "x@y") -> dict[str, Any]:
    return {"stream": stream, "data": frame}


def test_trade_carries_the_taker_side_and_its_number() -> None:
    time = 1672515782136 * MS
    assert receive(TRADE) == [
        Trade(Symbol("BNB/BTC"), time, NOW, 0.001, 100.0, "12345", Aggressor.SELLER)
    ]
    assert receive(AGG_TRADE) == [
        Trade(
            Symbol("NKN/USDT"),
            1633998523963 * MS,
            NOW,
            0.3528,
            58.0,
            "15683430",
            Aggressor.BUYER,
        )
    ]


def test_best_quotes_of_spot_get_the_time_of_arrival() -> None:
    quote = Quote(Symbol("BNB/USDT"), NOW, NOW, 25.3519, 31.21, 25.3652, 40.66)
    assert receive(TOP) == [quote]
    assert receive(wrapped(TOP, "bnbusdt@bookTicker")) == [quote]


def test_best_quotes_of_futures_keep_theirs() -> None:
    frame = {"e": "bookTicker", **TOP, "T": 1626992741012, "E": 1626992741017}
    (quote,) = receive(frame)
    assert isinstance(quote, Quote)
    assert quote.time == 1626992741012 * MS


def test_only_a_closed_candle_is_a_bar() -> None:
    decoder = BinanceDecoder()
    start = 1633998480000 * MS
    assert receive(KLINE, decoder) == [
        Bar(Symbol("NKN/USDT"), start, NOW, MINUTE, 0.3527, 0.353, 0.3522, 0.3528, 25877.0)
    ]
    open_candle = {**KLINE, "k": {**KLINE["k"], "x": False}}
    assert receive(open_candle, decoder) == []
    assert decoder.ignored == {"kline unfinished": 1}


def test_microseconds_are_told_by_their_magnitude() -> None:
    micro = {**TRADE, "T": TRADE["T"] * 1000 + 7}
    (trade,) = receive(micro)
    assert isinstance(trade, Trade)
    assert trade.time == (TRADE["T"] * 1000 + 7) * 1000
    candle = {**KLINE["k"], "t": KLINE["k"]["t"] * 1000, "T": KLINE["k"]["T"] * 1000 + 999}
    (bar,) = receive({**KLINE, "k": candle})
    assert isinstance(bar, Bar)
    assert bar.span == MINUTE


@pytest.mark.parametrize("frame", FRAMES)
def test_wrapped_text_and_bytes_say_the_same(frame: dict[str, Any]) -> None:
    plain = receive(frame)
    stream = "bnbusdt@bookTicker" if frame is TOP else "x@y"
    assert receive(wrapped(frame, stream)) == plain
    assert BinanceDecoder().receive(json.dumps(frame).encode(), NOW) == plain


def test_repeated_trade_is_dropped_and_a_jump_is_told_first() -> None:
    decoder = BinanceDecoder()
    receive(TRADE, decoder)
    assert receive(TRADE, decoder) == []
    assert decoder.ignored == {"duplicate": 1}
    gap, trade = receive({**TRADE, "t": 12348, "T": TRADE["T"] + 5}, decoder)
    assert isinstance(gap, Gap)
    assert (gap.missing, gap.symbol) == (2, "BNB/BTC")
    assert isinstance(trade, Trade)


def test_continuity_outlives_a_connection() -> None:
    first = BinanceDecoder()
    receive(TRADE, first)
    second = BinanceDecoder(first.continuity)
    assert receive(TRADE, second) == []


def test_numbers_may_come_as_numbers() -> None:
    assert receive({**TRADE, "p": 0.001, "q": 100}) == receive(TRADE)


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "-1", "0", "1e308", "1e-400", "1,5", "", None])
@pytest.mark.parametrize(("frame", "key"), [(TRADE, "p"), (AGG_TRADE, "p"), (TOP, "b"), (TOP, "a")])
def test_impossible_price_is_malformed(frame: dict[str, Any], key: str, bad: str | None) -> None:
    (event,) = receive({**frame, key: bad})
    assert isinstance(event, Malformed)
    assert key in event.excerpt


def test_malformed_trade_does_not_count_as_seen() -> None:
    decoder = BinanceDecoder()
    receive({**TRADE, "p": "NaN"}, decoder)
    assert receive(TRADE, decoder) == receive(TRADE)


@pytest.mark.parametrize(
    "frame",
    [
        {**KLINE, "k": {**KLINE["k"], "h": "0.1"}},
        {**KLINE, "k": {**KLINE["k"], "T": 1}},
        {**TRADE, "T": 0},
        {**TRADE, "T": 10**30},
        {**TRADE, "s": ""},
        {**TRADE, "s": "X" * 33},
        {**TRADE, "t": "12"},
        {"e": 5},
        {"stream": "a@trade", "data": []},
        {"error": 5},
        [],
        5,
    ],
)
def test_what_contradicts_the_shape_is_malformed(frame: Any) -> None:
    (event,) = receive(frame)
    assert isinstance(event, Malformed)


def test_excerpt_is_bounded() -> None:
    for data in ("[" + "x" * 10_000, b"\xff" * 10_000, "\ud800" * 10_000, '{"a":' * 100_000):
        (event,) = BinanceDecoder().receive(data, NOW)
        assert isinstance(event, Malformed)
        assert len(event.excerpt) == EXCERPT_CHARS
        event.excerpt.encode()


def test_subscribing_names_topics_in_frames_of_bounded_size() -> None:
    decoder = BinanceDecoder()
    decoder.subscribe([Symbol("BTC/USDT"), Symbol("WEIRD/XYZ")])
    (frame,) = decoder.data_to_send()
    assert json.loads(frame) == {
        "method": "SUBSCRIBE",
        "params": [
            "btcusdt@trade", "btcusdt@bookTicker", "weirdxyz@trade", "weirdxyz@bookTicker"
        ],
        "id": 1,
    }  # fmt: skip
    assert decoder.data_to_send() == []
    (trade,) = receive({**TRADE, "s": "WEIRDXYZ"}, decoder)
    assert isinstance(trade, Trade)
    assert trade.symbol == "WEIRD/XYZ"
    decoder.subscribe([Symbol(f"C{n}/USDT") for n in range(STREAMS_PER_FRAME + 1)], ["trade"])
    frames = [json.loads(frame) for frame in decoder.data_to_send()]
    assert [(len(f["params"]), f["id"]) for f in frames] == [(STREAMS_PER_FRAME, 2), (1, 3)]


def test_acknowledgement_is_counted() -> None:
    decoder = BinanceDecoder()
    assert receive({"result": None, "id": 1}, decoder) == []
    assert decoder.ignored == {"acknowledgement": 1}
    assert decoder.refused is None


@pytest.mark.parametrize(
    "frame", [{"error": {"code": 2, "msg": "Invalid"}, "id": 1}, {"code": 2, "msg": "Invalid"}]
)
def test_both_shapes_of_error_are_a_refusal(frame: dict[str, Any]) -> None:
    decoder = BinanceDecoder()
    (event,) = receive(frame, decoder)
    assert isinstance(event, Status)
    assert "Invalid" in event.detail
    assert decoder.refused is not None
    assert decoder.refused.code == 2


def test_unknown_kinds_are_counted_by_name_up_to_a_bound() -> None:
    decoder = BinanceDecoder()
    for number in range(2 * KINDS_COUNTED):
        assert receive({"e": f"new{number}"}, decoder) == []
        receive({}, decoder)
    assert decoder.ignored["new0"] == 1
    assert decoder.ignored["unknown"] == 2 * KINDS_COUNTED
    assert len(decoder.ignored) == KINDS_COUNTED + 1
    assert sum(decoder.ignored.values()) == 4 * KINDS_COUNTED


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["0.1", "NaN", "-1", "BTCUSDT", "trade", "bookTicker"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*"estTpqmabABukohlcvx", "data", "stream", "error", "code"]),
            inner,
            max_size=8,
        )
    ),
    max_leaves=12,
)


def assert_documented(decoder: BinanceDecoder, data: bytes | str) -> None:
    """The oracle: market events that are sound, one Malformed, one Status, or one more count."""
    before = sum(decoder.ignored.values())
    events = decoder.receive(data, NOW)
    counted = sum(decoder.ignored.values()) - before
    match events:
        case []:
            assert counted == 1
        case [Malformed(excerpt=excerpt, reason=reason)]:
            assert counted == 0
            assert len(excerpt) <= EXCERPT_CHARS
            assert len(reason) <= EXCERPT_CHARS
        case [Status()]:
            assert counted == 1
        case [Gap(), Trade() as event] | [Trade() | Quote() | Bar() as event]:
            assert counted == 0
            assert 0.0 < event.price < float("inf")
            assert 0 < event.time < 2**63
        case _:
            pytest.fail(f"undocumented: {events}")


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_arbitrary_bytes_have_a_documented_outcome(data: bytes | str) -> None:
    assert_documented(BinanceDecoder(), data)


@given(JSON)
def test_arbitrary_json_has_a_documented_outcome(value: Any) -> None:
    assert_documented(BinanceDecoder(), json.dumps(value))


@given(st.lists(st.tuples(st.sampled_from(FRAMES), st.data()), min_size=1, max_size=2))
def test_mutated_frames_have_a_documented_outcome(
    frames: list[tuple[dict[str, Any], st.DataObject]],
) -> None:
    decoder = BinanceDecoder()
    for frame, data in frames:
        key = data.draw(st.sampled_from(sorted(frame)))
        mutated = {**frame, key: data.draw(JSON)}
        assert_documented(decoder, json.dumps(mutated))
        text = json.dumps(frame).encode()
        cut = data.draw(st.integers(0, len(text) - 1))
        assert_documented(decoder, text[:cut] + data.draw(st.binary(max_size=2)) + text[cut + 1 :])
