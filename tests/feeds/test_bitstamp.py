"""Bitstamp's feed: frames, channels asked for one by one, books from REST snapshots."""

import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.base import Subscription
from feeds.events import (
    SECOND,
    Aggressor,
    AssetClass,
    Event,
    Gap,
    Malformed,
    Quote,
    Symbol,
    Trade,
)
from feeds.files.capture import parse_line
from feeds.protocols.base import HttpGet, Options, SymbolState
from feeds.protocols.bitstamp import SNAPSHOT_RETRY, BitstampProtocol
from tests.feeds.venue_kit import NOW, frames_of, mutated, take

ETH, BTC = Symbol("ETH/USD"), Symbol("BTC/USD")
US = 1_641_343_699_596_000
TRADE: dict[str, Any] = {
    "data": {
        "id": 216000477, "timestamp": "1641343699", "amount": 0.0792, "amount_str": "0.07920000",
        "price": 3805.44, "price_str": "3805.44", "type": 0, "microtimestamp": str(US),
        "buy_order_id": 1443875737346049, "sell_order_id": 1443875731320832,
    },
    "channel": "live_trades_ethusd", "event": "trade",
}  # fmt: skip


def data(channel: str, micro: int, bids: list[list[str]], asks: list[list[str]]) -> str:
    body = {"timestamp": "1", "microtimestamp": str(micro), "bids": bids, "asks": asks}
    return json.dumps({"data": body, "channel": f"{channel}_ethusd", "event": "data"})


def top(micro: int, bid: str = "10.0", ask: str = "11.0") -> str:
    return data("order_book", micro, [[bid, "1"], ["9", "1"]], [[ask, "2"], ["12", "1"]])


def changes(micro: int, bids: list[list[str]]) -> str:
    return data("diff_order_book", micro, bids, [])


def snapshot(micro: int) -> bytes:
    body = {"microtimestamp": str(micro), "bids": [["10", "1"], ["9", "1"]], "asks": [["11", "2"]]}
    return json.dumps(body).encode()


def recent(second: int, *numbers: int) -> str:
    """Trades of a span as HTTP tells them."""
    row = {"date": str(second), "type": "0", "price": "3805.44", "amount": "0.07920000"}
    return json.dumps([{**row, "tid": str(number)} for number in numbers])


def connected(*symbols: Symbol, has_book: bool = False) -> BitstampProtocol:
    wanted = [Subscription(symbol, AssetClass.CRYPTO) for symbol in symbols]
    protocol = BitstampProtocol(wanted, Options(book=has_book))
    protocol.connected(NOW)
    return protocol


def answer(protocol: BitstampProtocol, channel: str, event: str, **body: Any) -> None:
    take(protocol, json.dumps({"event": f"bts:{event}", "channel": channel, "data": body}))


def channels(protocol: BitstampProtocol) -> list[str]:
    return [json.loads(frame)["data"]["channel"] for frame in protocol.data_to_send()]


# --- frames ------------------------------------------------------------------------------------


def test_trade_has_the_exact_text_and_the_takers_side() -> None:
    protocol = BitstampProtocol()
    assert take(protocol, json.dumps(TRADE)) == [
        Trade(ETH, US * 1000, NOW, 3805.44, 0.0792, "216000477", Aggressor.BUYER)
    ]
    for kind, taker in ((1, Aggressor.SELLER), (7, Aggressor.UNKNOWN)):
        body = {**TRADE["data"], "id": kind, "type": kind, "price": 1, "amount": 1}
        (trade,) = take(protocol, json.dumps({**TRADE, "data": body}))
        assert isinstance(trade, Trade)
        assert (trade.aggressor, trade.price) == (taker, 3805.44)


def test_trade_without_exact_text_has_its_numbers() -> None:
    body = {key: TRADE["data"][key] for key in ("id", "type", "microtimestamp", "price", "amount")}
    (trade,) = take(BitstampProtocol(), json.dumps({**TRADE, "data": body}))
    assert isinstance(trade, Trade)
    assert (trade.price, trade.size) == (3805.44, 0.0792)


def test_repeated_trade_is_dropped_and_a_jump_is_no_gap() -> None:
    protocol = BitstampProtocol()
    take(protocol, json.dumps(TRADE))
    assert take(protocol, json.dumps(TRADE)) == []
    (trade,) = take(protocol, json.dumps({**TRADE, "data": {**TRADE["data"], "id": 2**60}}))
    assert isinstance(trade, Trade)
    assert trade.trade_id == str(2**60)
    assert take(BitstampProtocol(continuity=protocol.continuity), json.dumps(TRADE)) == []


def test_top_is_told_when_it_changes() -> None:
    protocol = BitstampProtocol()
    assert take(protocol, top(US)) == [Quote(ETH, US * 1000, NOW, 10.0, 1.0, 11.0, 2.0)]
    assert take(protocol, top(US + 1)) == []
    assert take(protocol, top(US + 2, bid="10.5")) != []
    assert take(protocol, top(US)) == []
    assert take(protocol, data("order_book", US + 3, [], [["1", "1"]])) == []
    assert set(protocol.ignored) == {
        "order book without news",
        "order book older than the latest",
        "one-sided order book",
    }


@pytest.mark.parametrize(
    ("path", "bad"),
    [
        ("price_str", "NaN"),
        ("price_str", "-1"),
        ("amount_str", "1e400"),
        ("microtimestamp", "0"),
        ("microtimestamp", "9" * 30),
        ("microtimestamp", None),
        ("type", "x"),
        ("id", None),
    ],
)
def test_impossible_trade_is_malformed_and_not_seen(path: str, bad: Any) -> None:
    protocol = BitstampProtocol()
    (event,) = take(protocol, json.dumps({**TRADE, "data": {**TRADE["data"], path: bad}}))
    assert isinstance(event, Malformed)
    assert len(take(protocol, json.dumps(TRADE))) == 1


# --- subscriptions -----------------------------------------------------------------------------


def test_each_channel_of_each_pair_is_asked_for_and_answered() -> None:
    protocol = connected(ETH, BTC)
    asked = channels(protocol)
    assert sorted(asked) == [
        "live_trades_btcusd", "live_trades_ethusd", "order_book_btcusd", "order_book_ethusd"
    ]  # fmt: skip
    for channel in asked[:-1]:
        answer(protocol, channel, "subscription_succeeded")
    assert not protocol.is_live
    answer(protocol, asked[-1], "subscription_succeeded")
    assert protocol.is_live


@pytest.mark.parametrize("channel", ["live_trades_ethusd", ""])
def test_error_refuses_the_symbol_it_is_about_or_the_oldest(channel: str) -> None:
    protocol = connected(ETH, BTC)
    answer(protocol, channel, "error", code=None, message="Bad subscription string.")
    assert protocol.refused == {ETH: "Bad subscription string."}
    assert protocol.symbols[BTC] is SymbolState.ASKED
    assert protocol.fault is None


def test_error_about_nothing_is_counted() -> None:
    protocol = BitstampProtocol()
    answer(protocol, "", "error", code=4009, message="?")
    assert protocol.ignored == {"error": 1}


def test_venue_may_ask_for_a_new_connection() -> None:
    protocol = connected(ETH)
    answer(protocol, "", "request_reconnect")
    assert protocol.fault is not None
    protocol.restart()
    assert protocol.fault is None
    assert protocol.data_to_send() == []


def test_symbols_come_and_go_while_connected() -> None:
    protocol = connected(ETH)
    protocol.data_to_send()
    protocol.subscribe([Subscription(BTC, AssetClass.CRYPTO)])
    assert channels(protocol) == ["live_trades_btcusd", "order_book_btcusd"]
    protocol.unsubscribe([ETH])
    frames = [json.loads(frame)["event"] for frame in protocol.data_to_send()]
    assert frames == ["bts:unsubscribe", "bts:unsubscribe"]
    assert take(protocol, json.dumps(TRADE)) == []
    assert protocol.symbols == {BTC: SymbolState.ASKED}


# --- books -------------------------------------------------------------------------------------


def with_book() -> BitstampProtocol:
    protocol = connected(ETH, has_book=True)
    assert protocol.take_requests() == []  # what came before the subscription would be missed
    answer(protocol, "live_trades_ethusd", "subscription_succeeded")
    answer(protocol, "diff_order_book_ethusd", "subscription_succeeded")
    assert protocol.take_requests() == [HttpGet("/api/v2/order_book/ethusd/", "ethusd", ETH)]
    assert protocol.is_live
    return protocol


def bid(events: list[Event]) -> tuple[float, float]:
    (quote,) = events
    assert isinstance(quote, Quote)
    return quote.bid, quote.bid_size


def test_book_is_its_snapshot_and_the_changes_after_it() -> None:
    protocol = with_book()
    assert take(protocol, changes(US, [["10.9", "1"]])) == []
    assert take(protocol, changes(US + 2, [["10", "7"]])) == []
    assert bid(protocol.http_response("ethusd", 200, snapshot(US), NOW)) == (10.0, 7.0)
    assert bid(take(protocol, changes(US + 3, [["10", "0.000"]]))) == (9.0, 1.0)
    assert take(protocol, changes(US + 4, [["3", "1"]])) == []


def test_change_out_of_order_has_the_book_made_anew() -> None:
    protocol = with_book()
    protocol.http_response("ethusd", 200, snapshot(US), NOW)
    take(protocol, changes(US + 5, []))
    (gap,) = take(protocol, changes(US + 4, [["10.5", "1"]]))
    assert isinstance(gap, Gap)
    assert [request.tag for request in protocol.take_requests()] == ["ethusd"]
    take(protocol, changes(US + 6, [["10.6", "1"]]))
    assert bid(protocol.http_response("ethusd", 200, snapshot(US + 5), NOW)) == (10.6, 1.0)


@pytest.mark.parametrize("level", [["NaN", "1"], ["1", "-1"], ["1"], ["1e400", "1"], None])
def test_unreadable_change_has_the_book_made_anew(level: Any) -> None:
    protocol = with_book()
    protocol.http_response("ethusd", 200, snapshot(US), NOW)
    events = take(protocol, changes(US + 5, [level]))
    assert isinstance(events[-1], Gap)
    assert [request.tag for request in protocol.take_requests()] == ["ethusd"]


@pytest.mark.parametrize(("status", "body"), [(0, b""), (503, b""), (200, b"{}"), (200, b"\xff")])
def test_snapshot_that_does_not_come_is_asked_for_again(status: int, body: bytes) -> None:
    protocol = with_book()
    protocol.http_response("ethusd", status, body, NOW)
    assert protocol.next_wake() == NOW + SNAPSHOT_RETRY
    assert protocol.tick(NOW + SNAPSHOT_RETRY - 1) == []
    assert protocol.take_requests() == []
    protocol.tick(NOW + SNAPSHOT_RETRY)
    assert [request.tag for request in protocol.take_requests()] == ["ethusd"]
    assert protocol.next_wake() is None
    assert protocol.http_response("btcusd", 200, snapshot(US), NOW) == []


# --- the capture -------------------------------------------------------------------------------


def test_capture_is_read_to_the_last_line_and_its_books_stay_valid(shared_data: Path) -> None:
    wire = shared_data / "wire"
    asked = "SGB/EUR ETH/USD XRP/EUR BAT/EUR USDT/EUR USDT/USD XLM/GBP ADA/EUR BAT/BTC GALA/EUR"
    protocol = connected(*map(Symbol, asked.split()), has_book=True)
    trades: list[Trade] = []
    quotes = 0
    tops: dict[Symbol, Quote] = {}
    frames = [(t, "", text) for t, text in frames_of(wire / "BITSTAMP.ws.1.0.gz")]
    for received, name, text in sorted([*frames, *answers_of(wire / "BITSTAMP.http.0.0.gz")]):
        if name:
            events = protocol.http_response(name, 200, text.encode(), received)
        else:
            events = take(protocol, text, received)
        for event in events:
            assert not isinstance(event, Gap)
            if isinstance(event, Trade):
                trades.append(event)
            elif isinstance(event, Quote):
                assert event.is_sane
                tops[event.symbol] = event
                quotes += bool(not name)
    assert protocol.is_live
    assert protocol.malformed == 0
    assert [int(trade.trade_id) for trade in trades] == [
        216000477, 216000484, 216000485, *range(216000500, 216000507)
    ]  # fmt: skip
    told = protocol.ignored
    assert (
        told["diff_order_book"] + quotes + told.get("diff_order_book before its snapshot", 0) == 717
    )
    assert told["subscribed"] == 20
    assert len(tops) == 10


def answers_of(path: Path) -> Iterator[tuple[int, str, str]]:
    """Recorded snapshots: the moment of arrival, whose it is, and the body."""
    with gzip.open(path, "rt") as stream:
        for line in filter(None, stream.read().split("\n")):
            url, _, rest = line.partition(" -> ")
            parsed = parse_line(rest)
            assert isinstance(parsed, tuple)
            yield parsed[0], url.rpartition("/")[2], parsed[1]


# --- rubbish -----------------------------------------------------------------------------------

SPECIMENS = [
    json.dumps(TRADE),
    top(US),
    changes(US + 1, [["10", "3"]]),
    changes(US + 2, [["10", "0.0"]]),
    json.dumps(
        {"event": "bts:subscription_succeeded", "channel": "live_trades_ethusd", "data": {}}
    ),
    json.dumps({"event": "bts:error", "channel": "", "data": {"code": None, "message": "no"}}),
]


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_arbitrary_input_has_a_documented_outcome(text: bytes | str) -> None:
    take(BitstampProtocol(), text)


@given(
    st.lists(st.tuples(st.sampled_from(SPECIMENS), st.integers(0, 2**32)), max_size=6),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_mutations_have_a_documented_outcome(
    frames: list[tuple[str, int]], has_book: bool, seed: int
) -> None:
    protocol = connected(ETH, has_book=has_book)
    body = mutated(snapshot(US).decode(), random.Random(seed))
    protocol.http_response("ethusd", 200, body if isinstance(body, bytes) else body.encode(), NOW)
    protocol.http_response("ethusd", 200, snapshot(US), NOW)
    for frame, draw in frames:
        take(protocol, mutated(frame, random.Random(draw)))


# --- back-fill ---------------------------------------------------------------------------------

SECOND_OF_TRADE = US // 1_000_000


@pytest.mark.parametrize(
    ("away", "span"), [(30, "minute"), (55, "hour"), (3_500, "hour"), (80_000, "day")]
)
def test_an_outage_is_filled_from_the_shortest_span_that_holds_it(away: int, span: str) -> None:
    protocol = connected(ETH)
    take(protocol, json.dumps(TRADE))
    last = protocol.continuity.latest(ETH)
    assert last == ("216000477", US * 1_000)
    request = protocol.recover(ETH, last, last.time + away * SECOND)
    assert request is not None
    assert request.path == f"/api/v2/transactions/ethusd/?time={span}"
    body = recent(SECOND_OF_TRADE, 216000490, 216000477, 216000480, 216000001).encode()
    events = protocol.http_response(request.tag, 200, body, NOW)
    numbers = [event.trade_id for event in events if isinstance(event, Trade)]
    assert numbers == ["216000480", "216000490"]
    assert all(event.time == last.time for event in events if isinstance(event, Trade))


def test_an_outage_of_more_than_a_day_is_not_asked_about() -> None:
    protocol = connected(ETH)
    take(protocol, json.dumps(TRADE))
    last = protocol.continuity.latest(ETH)
    assert last is not None
    assert protocol.recover(ETH, last, last.time + 86_395 * SECOND) is None


@pytest.mark.parametrize(
    ("status", "body"),
    [(0, b""), (500, b""), (200, b"[]"), (200, b"{}"), (200, b'[{"tid":1}]'), (200, b"\xff")],
)
def test_history_that_is_none_leaves_the_gap(status: int, body: bytes) -> None:
    protocol = connected(ETH)
    take(protocol, json.dumps(TRADE))
    last = protocol.continuity.latest(ETH)
    assert last is not None
    request = protocol.recover(ETH, last, last.time + SECOND)
    assert request is not None
    gap = protocol.http_response(request.tag, status, body, NOW)[-1]
    assert isinstance(gap, Gap)
    assert (gap.symbol, gap.start, gap.end) == (ETH, US * 1_000, NOW)
    assert sum(protocol.ignored.values()) + protocol.malformed == 1
