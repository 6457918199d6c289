"""Binance's streams: what a frame becomes. How a connection goes is in test_binance_protocol."""

import json
from typing import Any

import pytest

from feeds.events import (
    EXCERPT_CHARS,
    MINUTE,
    Aggressor,
    Bar,
    Event,
    Gap,
    Malformed,
    Quote,
    Symbol,
    Trade,
)
from feeds.protocols.binance import BinanceProtocol
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


def receive(frame: Any, protocol: BinanceProtocol | None = None) -> list[Event]:
    return (protocol or BinanceProtocol()).receive(json.dumps(frame), NOW)


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
    protocol = BinanceProtocol()
    start = 1633998480000 * MS
    assert receive(KLINE, protocol) == [
        Bar(Symbol("NKN/USDT"), start, NOW, MINUTE, 0.3527, 0.353, 0.3522, 0.3528, 25877.0)
    ]
    open_candle = {**KLINE, "k": {**KLINE["k"], "x": False}}
    assert receive(open_candle, protocol) == []
    assert protocol.ignored == {"kline unfinished": 1}


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
    assert BinanceProtocol().receive(json.dumps(frame).encode(), NOW) == plain


def test_repeated_trade_is_dropped_and_a_jump_is_told_first() -> None:
    protocol = BinanceProtocol()
    receive(TRADE, protocol)
    assert receive(TRADE, protocol) == []
    assert protocol.ignored == {"duplicate": 1}
    gap, trade = receive({**TRADE, "t": 12348, "T": TRADE["T"] + 5}, protocol)
    assert isinstance(gap, Gap)
    assert (gap.missing, gap.symbol) == (2, "BNB/BTC")
    assert isinstance(trade, Trade)


def test_continuity_outlives_a_connection() -> None:
    first = BinanceProtocol()
    receive(TRADE, first)
    second = BinanceProtocol(continuity=first.continuity)
    assert receive(TRADE, second) == []


def test_numbers_and_text_are_both_read() -> None:
    assert receive({**TRADE, "p": 0.001, "q": 100}) == receive(TRADE)
    assert receive({**TRADE, "t": "12345", "T": str(TRADE["T"])}) == receive(TRADE)


def test_ids_are_exact_above_2_to_the_53() -> None:
    protocol = BinanceProtocol()
    receive({**TRADE, "t": 2**53}, protocol)
    (trade,) = receive({**TRADE, "t": 2**53 + 1}, protocol)
    assert isinstance(trade, Trade)
    assert trade.trade_id == str(2**53 + 1)


def test_trades_of_equal_time_keep_their_order() -> None:
    protocol = BinanceProtocol()
    events = [receive({**TRADE, "t": number}, protocol) for number in (7, 8, 9)]
    assert [event.trade_id for [event] in events if isinstance(event, Trade)] == ["7", "8", "9"]


def test_numbers_that_start_again_are_a_gap_of_unknown_size() -> None:
    protocol = BinanceProtocol()
    receive(TRADE, protocol)
    gap, trade = receive({**TRADE, "t": 1, "T": TRADE["T"] + 1}, protocol)
    assert isinstance(gap, Gap)
    assert gap.missing is None
    assert isinstance(trade, Trade)
    assert len(receive({**TRADE, "t": 2, "T": TRADE["T"] + 2}, protocol)) == 1


def test_trade_outside_the_market_only_uses_its_number() -> None:
    """Futures tell transfers of the insurance fund in the stream of trades, at a price of zero."""
    protocol = BinanceProtocol()
    receive(TRADE, protocol)
    fund = {**TRADE, "t": 12346, "X": "INSURANCE_FUND", "p": "0", "q": "0"}
    assert receive(fund, protocol) == []
    assert protocol.ignored == {"trade outside the market": 1}
    assert len(receive({**TRADE, "t": 12347}, protocol)) == 1


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "-1", "0", "1e308", "1e-400", "1,5", "", None])
@pytest.mark.parametrize(("frame", "key"), [(TRADE, "p"), (AGG_TRADE, "p"), (TOP, "b"), (TOP, "a")])
def test_impossible_price_is_malformed(frame: dict[str, Any], key: str, bad: str | None) -> None:
    (event,) = receive({**frame, key: bad})
    assert isinstance(event, Malformed)
    assert key in event.excerpt


def test_malformed_trade_does_not_count_as_seen() -> None:
    protocol = BinanceProtocol()
    receive({**TRADE, "p": "NaN"}, protocol)
    assert receive(TRADE, protocol) == receive(TRADE)


@pytest.mark.parametrize(
    "frame",
    [
        {**KLINE, "k": {**KLINE["k"], "h": "0.1"}},
        {**KLINE, "k": {**KLINE["k"], "T": 1}},
        {**TRADE, "T": 0},
        {**TRADE, "T": 10**30},
        {**TRADE, "s": ""},
        {**TRADE, "s": "X" * 41},
        {**TRADE, "t": "12x"},
        {**TRADE, "t": None},
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
        (event,) = BinanceProtocol().receive(data, NOW)
        assert isinstance(event, Malformed)
        assert len(event.excerpt) == EXCERPT_CHARS
        event.excerpt.encode()


def test_unknown_kinds_are_counted_by_name_up_to_a_bound() -> None:
    protocol = BinanceProtocol()
    for number in range(2 * KINDS_COUNTED):
        assert receive({"e": f"new{number}"}, protocol) == []
        receive({}, protocol)
    assert protocol.ignored["new0"] == 1
    assert protocol.ignored["unknown"] == 2 * KINDS_COUNTED
    assert len(protocol.ignored) == KINDS_COUNTED + 1
    assert sum(protocol.ignored.values()) == 4 * KINDS_COUNTED
