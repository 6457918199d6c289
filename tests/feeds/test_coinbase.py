"""Coinbase Exchange's feed: frames, subscriptions and their answers, books, gaps filled."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.base import Subscription
from feeds.events import (
    EXCERPT_CHARS,
    Aggressor,
    AssetClass,
    Event,
    Gap,
    Malformed,
    Quote,
    Symbol,
    Trade,
)
from feeds.protocols.base import Options, SymbolState
from feeds.protocols.coinbase import CoinbaseProtocol
from feeds.protocols.frames import KINDS_COUNTED
from tests.feeds.venue_kit import frames_of, mutated, take

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
HEARTBEAT = {
    "type": "heartbeat", "sequence": 90, "last_trade_id": 20, "product_id": "BAND-GBP",
    "time": "2021-04-17T16:43:30.244075Z",
}  # fmt: skip
SNAPSHOT: dict[str, Any] = {
    "type": "snapshot", "product_id": "BAND-GBP", "bids": [["14.7", "1.5"], ["14.6", "2"]],
    "asks": [["14.9", "3"]],
}  # fmt: skip
UPDATE: dict[str, Any] = {
    "type": "l2update", "product_id": "BAND-GBP", "time": "2021-04-17T16:43:30.244075Z",
    "changes": [["buy", "14.7", "0.00"], ["sell", "14.8", "7"]],
}  # fmt: skip
SUBSCRIBED: dict[str, Any] = {
    "type": "subscriptions",
    "channels": [{"name": "matches", "product_ids": ["BAND-GBP"]}, {"name": "heartbeat"}],
}
FRAMES = [MATCH, LAST_MATCH, TICKER, ERROR, HEARTBEAT, SNAPSHOT, UPDATE, SUBSCRIBED]
BAND = Symbol("BAND/GBP")
BTC = Symbol("BTC/USD")
TIME = 1_618_677_810_244_075_000


def receive(frame: Any, protocol: CoinbaseProtocol | None = None) -> list[Event]:
    return take(protocol or CoinbaseProtocol(), json.dumps(frame), NOW)


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
    protocol = CoinbaseProtocol()
    assert receive(LAST_MATCH, protocol) == []
    assert protocol.ignored == {"last_match": 1}
    assert len(receive(MATCH, protocol)) == 1


def test_last_match_after_an_outage_tells_the_gap() -> None:
    protocol = CoinbaseProtocol()
    receive(MATCH, protocol)
    later = {**LAST_MATCH, "trade_id": 881620, "time": "2021-04-17T16:44:30Z"}
    (gap,) = receive(later, CoinbaseProtocol(continuity=protocol.continuity))
    assert isinstance(gap, Gap)
    assert gap.missing == 6


def test_repeated_match_is_dropped_and_a_jump_is_told_first() -> None:
    protocol = CoinbaseProtocol()
    receive(MATCH, protocol)
    assert receive(MATCH, protocol) == []
    assert protocol.ignored == {"duplicate": 1}
    gap, trade = receive({**MATCH, "trade_id": 881616, "time": "2021-04-17T16:43:31Z"}, protocol)
    assert isinstance(gap, Gap)
    assert gap.missing == 1
    assert isinstance(trade, Trade)


@pytest.mark.parametrize("kind", ["l2update", "snapshot", "heartbeat", "open", "brand_new"])
def test_other_types_are_counted_by_name(kind: str) -> None:
    protocol = CoinbaseProtocol()
    assert receive({"type": kind}, protocol) == []
    assert protocol.ignored == {kind: 1}


def test_kinds_are_bounded() -> None:
    protocol = CoinbaseProtocol()
    for number in range(2 * KINDS_COUNTED):
        receive({"type": f"new{number}"}, protocol)
    assert len(protocol.ignored) == KINDS_COUNTED + 1
    assert protocol.ignored["other"] == KINDS_COUNTED


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
        {**MATCH, "product_id": "X" * 41},
        {**MATCH, "trade_id": "5x"},
        {**SUBSCRIBED, "channels": 5},
        {"type": "subscriptions"},
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
        (event,) = CoinbaseProtocol().receive(data, NOW)
        assert isinstance(event, Malformed)
        assert len(event.excerpt) == EXCERPT_CHARS
        event.excerpt.encode()


def test_numbers_and_text_are_both_read() -> None:
    changed = {**MATCH, "trade_id": "881614", "price": 14.7775, "size": 0.04}
    assert receive(changed) == receive(MATCH)


def test_ids_are_exact_above_2_to_the_53() -> None:
    protocol = CoinbaseProtocol()
    receive({**MATCH, "trade_id": 2**53}, protocol)
    (trade,) = receive({**MATCH, "trade_id": 2**53 + 1}, protocol)
    assert isinstance(trade, Trade)
    assert trade.trade_id == str(2**53 + 1)


def test_numbers_that_start_again_are_a_gap_of_unknown_size() -> None:
    protocol = CoinbaseProtocol()
    receive(MATCH, protocol)
    gap, trade = receive({**MATCH, "trade_id": 1, "time": "2021-04-17T17:00:00Z"}, protocol)
    assert isinstance(gap, Gap)
    assert gap.missing is None
    assert isinstance(trade, Trade)


# --- subscriptions -----------------------------------------------------------------------------


def connected(*symbols: Symbol, has_book: bool = False) -> CoinbaseProtocol:
    wanted = [Subscription(symbol, AssetClass.CRYPTO) for symbol in symbols]
    protocol = CoinbaseProtocol(wanted, Options(book=has_book))
    protocol.connected(NOW)
    return protocol


def sent(protocol: CoinbaseProtocol) -> list[dict[str, Any]]:
    return [json.loads(frame) for frame in protocol.data_to_send()]


def answer(protocol: CoinbaseProtocol, *products: str) -> None:
    """What the venue answers: every channel with all its products, in an order of its own."""
    names = ("ticker", "matches", "heartbeat")
    channels = [{"name": name, "product_ids": sorted(products)} for name in names]
    receive({"type": "subscriptions", "channels": channels}, protocol)


@pytest.mark.parametrize(("has_book", "quotes"), [(False, "ticker"), (True, "level2_batch")])
def test_subscribing_asks_for_trades_quotes_and_heartbeats(has_book: bool, quotes: str) -> None:
    protocol = connected(BTC, Symbol("SKL/BTC"), has_book=has_book)
    assert sent(protocol) == [
        {
            "type": "subscribe",
            "product_ids": ["BTC-USD", "SKL-BTC"],
            "channels": ["matches", "heartbeat", quotes],
        }
    ]
    assert protocol.data_to_send() == []


def test_symbols_are_served_once_they_are_in_the_answer() -> None:
    protocol = connected(BTC, BAND)
    assert not protocol.is_live
    answer(protocol, "BTC-USD", "BAND-GBP")
    assert protocol.is_live
    assert protocol.ignored == {"subscriptions": 1}


def test_symbol_left_out_of_the_answer_is_refused() -> None:
    protocol = connected(BTC, BAND)
    answer(protocol, "BTC-USD")
    assert protocol.symbols == {BTC: SymbolState.ACTIVE, BAND: SymbolState.REFUSED}
    assert protocol.is_live


def test_symbol_in_an_error_is_refused_and_the_others_asked_for_again() -> None:
    protocol = connected(BTC, Symbol("NO/SUCH"))
    protocol.data_to_send()
    reason = "NO-SUCH is not a valid product"
    receive({"type": "error", "message": "Failed to subscribe", "reason": reason}, protocol)
    assert protocol.refused == {Symbol("NO/SUCH"): f"Failed to subscribe: {reason}"}
    (frame,) = sent(protocol)
    assert frame["product_ids"] == ["BTC-USD"]
    answer(protocol, "BTC-USD")
    assert protocol.is_live
    assert protocol.fault is None


def test_error_that_names_no_symbol_renews_the_connection() -> None:
    protocol = connected(BTC)
    receive(ERROR, protocol)
    assert protocol.fault == "the venue said Failed to subscribe: no such product"
    protocol.restart()
    assert protocol.fault is None
    assert protocol.symbols == {BTC: SymbolState.ASKED}
    protocol.connected(NOW)
    answer(protocol, "BTC-USD")
    receive(ERROR, protocol)  # nothing was being asked for
    assert protocol.fault is None
    assert protocol.is_live


def test_endless_error_is_read_at_once() -> None:
    """Searching it must not take a time that grows with the square of its length."""
    protocol = connected(BTC)
    receive({"type": "error", "message": "A" * 1_000_000}, protocol)
    assert protocol.fault is not None
    assert len(protocol.fault) < 300


def test_symbols_come_and_go_while_connected() -> None:
    protocol = connected(BTC)
    answer(protocol, "BTC-USD")
    protocol.data_to_send()
    protocol.subscribe([Subscription(s, AssetClass.CRYPTO) for s in (BTC, BAND)])
    assert [frame["product_ids"] for frame in sent(protocol)] == [["BAND-GBP"]]
    answer(protocol, "BTC-USD", "BAND-GBP")
    assert protocol.is_live
    assert len(receive(MATCH, protocol)) == 1
    protocol.unsubscribe([BAND, Symbol("NEVER/ASKED")])
    (frame,) = sent(protocol)
    assert (frame["type"], frame["product_ids"]) == ("unsubscribe", ["BAND-GBP"])
    answer(protocol, "BTC-USD")
    for stray in (MATCH, LAST_MATCH, TICKER):
        assert receive(stray, protocol) == []
    assert protocol.ignored["product not asked for"] == 3
    assert protocol.symbols == {BTC: SymbolState.ACTIVE}


# --- gaps --------------------------------------------------------------------------------------


def page(*numbers: int) -> bytes:
    row = {"side": "sell", "size": "1", "price": "2", "time": "2021-04-17T16:43:31Z"}
    return json.dumps([{"trade_id": number, **row} for number in numbers]).encode()


def test_gap_is_filled_from_the_newest_page_backwards() -> None:
    protocol = connected(BAND)
    receive(MATCH, protocol)
    gap, trade = receive({**MATCH, "trade_id": 881614 + 5}, protocol)
    assert isinstance(gap, Gap)
    assert isinstance(trade, Trade)
    request = protocol.backfill(gap)
    assert request is not None
    assert request.path == "/products/BAND-GBP/trades?limit=1000&after=881619"
    events = protocol.http_response(request.tag, 200, page(881618, 881617), NOW)
    assert [e.trade_id for e in events if isinstance(e, Trade)] == ["881617", "881618"]
    (request,) = protocol.take_requests()
    assert request.path == "/products/BAND-GBP/trades?limit=1000&after=881617"
    events = protocol.http_response(request.tag, 200, page(881616, 881615, 881614), NOW)
    assert [e.trade_id for e in events if isinstance(e, Trade)] == ["881615", "881616"]
    assert protocol.take_requests() == []


def test_gap_shown_by_last_match_holds_that_trade_too() -> None:
    protocol = connected(BAND)
    receive(MATCH, protocol)
    later = {**LAST_MATCH, "trade_id": 881616, "time": "2021-04-17T16:44:30Z"}
    (gap,) = receive(later, protocol)
    assert isinstance(gap, Gap)
    request = protocol.backfill(gap)
    assert request is not None
    events = protocol.http_response(request.tag, 200, page(881616, 881615, 881614), NOW)
    assert [e.trade_id for e in events if isinstance(e, Trade)] == ["881615", "881616"]
    assert len(receive({**MATCH, "trade_id": 881617}, protocol)) == 1


def test_history_outside_of_its_gap_is_not_looked_at() -> None:
    """Its times may be younger than ours, which elsewhere shows that numbers begin again."""
    protocol = connected(BAND)
    receive(MATCH, protocol)
    receive({**MATCH, "trade_id": 881616}, protocol)
    body = page(881617, 881616, 881615, 881614, 5)
    events = protocol.http_response("trades:BAND-GBP:881615:881615", 200, body, NOW)
    assert [e.trade_id for e in events if isinstance(e, Trade)] == ["881615"]
    assert len(receive({**MATCH, "trade_id": 881617}, protocol)) == 1


@pytest.mark.parametrize(("status", "body"), [(500, b""), (0, b""), (200, b"{}"), (200, b"[]")])
def test_history_that_is_none_fills_nothing(status: int, body: bytes) -> None:
    protocol = connected(BAND)
    events = protocol.http_response("trades:BAND-GBP:5:9", status, body, NOW)
    assert not any(isinstance(event, Trade) for event in events)
    assert protocol.take_requests() == []
    assert protocol.http_response("trades:GONE-GBP:5:9", 200, page(7), NOW) == []
    assert protocol.backfill(Gap(None, 1, 2, 3, "away")) is None


# --- books -------------------------------------------------------------------------------------


def test_book_is_its_snapshot_and_the_changes() -> None:
    protocol = connected(BAND, has_book=True)
    assert receive(UPDATE, protocol) == []
    assert receive(SNAPSHOT, protocol) == [Quote(BAND, NOW, NOW, 14.7, 1.5, 14.9, 3.0)]
    assert receive(UPDATE, protocol) == [Quote(BAND, TIME, NOW, 14.6, 2.0, 14.8, 7.0)]
    deep = {**UPDATE, "changes": [["buy", "1", "1"]]}
    assert receive(deep, protocol) == []
    assert protocol.ignored == {"l2update before its snapshot": 1, "l2update": 1}


@pytest.mark.parametrize(
    "changes",
    [
        [["buy", "NaN", "1"]],
        [["buy", "1", "-1"]],
        [["up", "1", "1"]],
        [["buy", "1"]],
        [["sell", "1e400", "1"]],
        "x",
    ],
)
def test_change_that_cannot_be_read_has_the_book_sent_anew(changes: Any) -> None:
    protocol = connected(BAND, has_book=True)
    answer(protocol, "BAND-GBP")
    receive(SNAPSHOT, protocol)
    protocol.data_to_send()
    events = receive({**UPDATE, "changes": changes}, protocol)
    assert isinstance(events[-1], Gap)
    assert [(f["type"], f["channels"]) for f in sent(protocol)] == [
        ("unsubscribe", ["level2_batch"]),
        ("subscribe", ["level2_batch"]),
    ]
    assert receive(UPDATE, protocol) == []
    answer(protocol, "BAND-GBP")
    answer(protocol, "BAND-GBP")
    assert len(receive(SNAPSHOT, protocol)) == 1
    assert protocol.is_live


def test_change_of_nobody_is_a_change_of_anybody() -> None:
    """There is no sequence: a change that names no product may be one of any."""
    protocol = connected(BAND, BTC, has_book=True)
    receive(SNAPSHOT, protocol)
    receive({**SNAPSHOT, "product_id": "BTC-USD"}, protocol)
    bad, *gaps = receive({**UPDATE, "product_id": None}, protocol)
    assert isinstance(bad, Malformed)
    assert [gap.symbol for gap in gaps if isinstance(gap, Gap)] == [BAND, BTC]


def test_restart_forgets_the_books() -> None:
    protocol = connected(BAND, has_book=True)
    receive(SNAPSHOT, protocol)
    protocol.restart()
    assert receive(UPDATE, protocol) == []


def test_books_of_the_capture_stay_valid(shared_data: Path) -> None:
    """Each ticker tells a best price that the book has had, or is about to have."""
    path = shared_data / "wire" / "COINBASE.ws.28.0.gz"
    symbols = ["SKL/USD", "SKL/BTC", "SKL/GBP", "DASH/BTC", "BAND/BTC", "BAND/GBP", "CRV/EUR"]
    protocol = connected(*map(Symbol, symbols), has_book=True)
    kinds = Counter[str]()
    tops: dict[str, set[float]] = {symbol: set() for symbol in symbols}
    told: dict[str, set[float]] = {symbol: set() for symbol in symbols}
    for received, text in frames_of(path):
        kind = json.loads(text)["type"]
        for event in take(protocol, text, received):
            assert not isinstance(event, Gap)
            if isinstance(event, Quote):
                assert event.is_sane
                kinds[kind] += 1
                (told if kind == "ticker" else tops)[event.symbol] |= {event.bid, event.ask}
    assert protocol.malformed == 0
    assert kinds["snapshot"] == 7
    assert kinds["ticker"] == 95
    assert kinds["l2update"] + protocol.ignored["l2update"] == 8491
    assert kinds["l2update"] > 500
    for symbol, prices in told.items():
        assert len(prices - tops[symbol]) <= 2, symbol


# --- rubbish -----------------------------------------------------------------------------------


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_arbitrary_input_has_a_documented_outcome(data: bytes | str) -> None:
    take(CoinbaseProtocol(), data, NOW)


@given(
    st.lists(st.tuples(st.sampled_from(FRAMES), st.integers(0, 2**32)), max_size=6), st.booleans()
)
def test_mutated_frames_have_a_documented_outcome(
    frames: list[tuple[dict[str, Any], int]], has_book: bool
) -> None:
    protocol = connected(BAND, has_book=has_book)
    receive(SNAPSHOT, protocol)
    for frame, seed in frames:
        take(protocol, mutated(json.dumps(frame), random.Random(seed)), NOW)


@given(st.integers(0, 2**32))
def test_mutated_history_raises_nothing(seed: int) -> None:
    body = mutated(page(881616, 881615).decode(), random.Random(seed))
    data = body if isinstance(body, bytes) else body.encode()
    connected(BAND).http_response("trades:BAND-GBP:881615:881616", 200, data, NOW)
