"""Bybit's streams of version 5, by documented shapes: the recording at hand is of an older API."""

import json
import random
import tracemalloc
from decimal import Decimal
from pathlib import Path
from typing import Any

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
    Event,
    Gap,
    Malformed,
    Quote,
    Symbol,
    Trade,
)
from feeds.files.capture import CaptureFile
from feeds.protocols.base import Options, SymbolState
from feeds.protocols.books import RESYNCS
from feeds.protocols.bybit import PING_EVERY, BybitProtocol, Market
from tests.feeds.venue_kit import NOW, frames_of, mutated, take
from tests.models.book import SlowBook

BTC, ETH = Symbol("BTC/USDT"), Symbol("ETH/USDT")
MS = 1_672_304_486_865
TIME = MS * 1_000_000
ROW = {
    "T": MS, "s": "BTCUSDT", "S": "Buy", "v": "0.001", "p": "16578.50", "L": "PlusTick",
    "i": "20f43950-d8dd-5b31-9112-a178eb6023af", "BT": False, "seq": 1783284617,
}  # fmt: skip
CANDLE = {
    "start": 1672324800000, "end": 1672324859999, "interval": "1", "open": "2", "close": "3",
    "high": "4", "low": "1", "volume": "2.081", "turnover": "34.4", "confirm": True,
    "timestamp": 1672324988882,
}  # fmt: skip
Levels = list[list[str]]


def trades(*rows: dict[str, Any]) -> str:
    return json.dumps(
        {"topic": "publicTrade.BTCUSDT", "type": "snapshot", "ts": MS + 3, "data": rows}
    )


def book(
    kind: str, u: int, bids: Levels, asks: Levels, *, depth: int = 1, symbol: str = "BTCUSDT"
) -> str:
    data = {"s": symbol, "b": bids, "a": asks, "u": u, "seq": 7961638724 + u}
    frame = {"topic": f"orderbook.{depth}.{symbol}", "type": kind, "ts": MS + 2, "data": data}
    return json.dumps({**frame, "cts": MS})


def kline(*rows: dict[str, Any]) -> str:
    return json.dumps({"topic": "kline.1.BTCUSDT", "type": "snapshot", "ts": MS, "data": rows})


def recent(*ids: str, milliseconds: int = MS) -> str:
    """The latest trades as HTTP tells them, newest first."""
    row = {"symbol": "BTCUSDT", "price": "16578.5", "size": "0.001", "side": "Buy"}
    rows = [{**row, "execId": each, "time": str(milliseconds)} for each in ids]
    return json.dumps({"retCode": 0, "retMsg": "OK", "result": {"category": "spot", "list": rows}})


def connected(*symbols: Symbol, book: bool = False, bars: bool = False) -> BybitProtocol:
    wanted = [Subscription(symbol, AssetClass.CRYPTO) for symbol in symbols or (BTC,)]
    protocol = BybitProtocol(wanted, Options(book=book, bars=bars))
    protocol.restart()
    protocol.connected(NOW)
    return protocol


def sent(protocol: BybitProtocol) -> list[dict[str, Any]]:
    return [json.loads(frame) for frame in protocol.data_to_send()]


def answer(request_id: str, words: str = "", *, success: bool = True) -> str:
    frame = {"success": success, "ret_msg": words, "conn_id": "x", "op": "subscribe"}
    return json.dumps({**frame, "req_id": request_id})


# --- market data -------------------------------------------------------------------------------


def test_trade_has_the_takers_side() -> None:
    expected = Trade(BTC, TIME, NOW, 16578.5, 0.001, str(ROW["i"]), Aggressor.BUYER)
    assert take(BybitProtocol(), trades(ROW)) == [expected]


def test_a_trade_is_told_once() -> None:
    protocol = BybitProtocol()
    events = take(protocol, trades(ROW, {**ROW, "i": "2"}))
    assert len(events) == 2
    protocol.restart()
    assert take(protocol, trades(ROW)) == []
    assert protocol.ignored == {"duplicate": 1}


def test_top_is_a_quote_at_the_time_of_the_match() -> None:
    frame = book("snapshot", 5, [["16493.50", "0.006"]], [["16611.00", "0.029"]])
    expected = Quote(BTC, TIME, NOW, 16493.5, 0.006, 16611.0, 0.029)
    assert take(BybitProtocol(), frame) == [expected]


@pytest.mark.parametrize(
    "change",
    [
        [["16493.50", "0"], ["16493.00", "2"]],
        [["16493.00", "2"], ["16493.50", "0"]],
        [["16493.00", "2"]],
    ],
)
def test_top_changes_whether_or_not_the_old_level_is_taken_out(change: Levels) -> None:
    protocol = BybitProtocol()
    take(protocol, book("snapshot", 5, [["16493.50", "0.006"]], [["16611.00", "0.029"]]))
    (quote,) = take(protocol, book("delta", 9, change, []))
    assert quote == Quote(BTC, TIME, NOW, 16493.0, 2.0, 16611.0, 0.029)
    assert take(protocol, book("delta", 8, [["1.0", "1"]], [])) == []
    assert protocol.ignored == {"book update of the past": 1}


def test_an_empty_side_is_no_quote() -> None:
    protocol = BybitProtocol()
    take(protocol, book("snapshot", 5, [["16493.50", "0.006"]], [["16611.00", "0.029"]]))
    assert take(protocol, book("delta", 6, [["16493.50", "0"]], [])) == []
    (quote,) = take(protocol, book("delta", 7, [["16490.00", "1"]], []))
    assert isinstance(quote, Quote)
    assert quote.bid == 16490.0


def test_a_bar_counts_once_it_is_confirmed() -> None:
    expected = Bar(BTC, 1672324800_000_000_000, NOW, MINUTE, 2.0, 4.0, 1.0, 3.0, 2.081)
    assert take(BybitProtocol(), kline(CANDLE)) == [expected]
    assert take(BybitProtocol(), kline({**CANDLE, "confirm": False})) == []


@pytest.mark.parametrize("bad", ["NaN", "-Infinity", "-1", "0", "1e308", "1,5", "", None, [], True])
def test_impossible_prices_are_malformed(bad: object) -> None:
    (event,) = take(BybitProtocol(), trades({**ROW, "p": bad}))
    assert isinstance(event, Malformed)
    (event,) = take(BybitProtocol(), kline({**CANDLE, "high": bad}))
    assert isinstance(event, Malformed)


def test_an_unreadable_trade_costs_only_itself() -> None:
    rows = ROW, {**ROW, "i": "2", "p": "-1"}, {**ROW, "i": "3"}
    events = take(BybitProtocol(), trades(*rows))
    assert [type(event) for event in events] == [Trade, Malformed, Trade]


# --- books -------------------------------------------------------------------------------------

BIDS, ASKS = [["99.5", "1"], ["99.0", "2"]], [["100.0", "3"], ["100.5", "4"]]


def with_book() -> BybitProtocol:
    protocol = connected(book=True)
    sent(protocol)
    take(protocol, book("snapshot", 10, BIDS, ASKS, depth=50))
    return protocol


def test_updates_of_a_book_follow_one_another() -> None:
    protocol = with_book()
    (quote,) = take(protocol, book("delta", 11, [["99.6", "5"]], [], depth=50))
    assert isinstance(quote, Quote)
    assert (quote.bid, quote.bid_size) == (99.6, 5.0)
    assert take(protocol, book("delta", 12, [["98.0", "5"]], [], depth=50)) == []
    assert protocol.checks == 2


def test_a_lost_update_ends_belief_and_asks_anew() -> None:
    protocol = with_book()
    (gap,) = take(protocol, book("delta", 12, [["99.6", "5"]], [], depth=50))
    assert isinstance(gap, Gap)
    assert (gap.symbol, gap.start) == (BTC, TIME)
    assert [(it["op"], it["args"]) for it in sent(protocol)] == [
        ("unsubscribe", ["orderbook.50.BTCUSDT"]),
        ("subscribe", ["orderbook.50.BTCUSDT"]),
    ]
    assert take(protocol, book("delta", 13, [["99.6", "5"]], [], depth=50)) == []
    (quote,) = take(protocol, book("snapshot", 20, BIDS, ASKS, depth=50))
    assert isinstance(quote, Quote)


def test_number_one_begins_again_whatever_it_is_called() -> None:
    protocol = with_book()
    (quote,) = take(protocol, book("delta", 1, [["98.0", "1"]], [["99.0", "1"]], depth=50))
    assert isinstance(quote, Quote)
    assert (quote.bid, quote.ask) == (98.0, 99.0)
    assert len(protocol.books.of(BTC).bids()) == 1
    take(protocol, book("delta", 2, [["98.5", "1"]], [], depth=50))
    assert protocol.checks == 1


def test_a_book_that_never_holds_is_given_up() -> None:
    protocol = with_book()
    for n in range(RESYNCS + 3):
        take(protocol, book("snapshot", 100 * n, [["NaN", "1"]], ASKS, depth=50))
    assert len(sent(protocol)) == 2 * RESYNCS


def test_subscriptions_that_are_never_answered_do_not_fill_the_memory() -> None:
    """A book is asked for anew thousands of times; only the latest requests are remembered."""
    protocol = with_book()
    tracemalloc.start()
    try:
        grown: list[int] = []
        for n in range(1, 6_001):
            take(protocol, book("delta", 40 * n, [["99.6", "5"]], [], depth=50))
            take(protocol, book("snapshot", 40 * n + 1, BIDS, ASKS, depth=50))
            take(protocol, book("delta", 40 * n + 2, [["98.0", "1"]], [], depth=50))
            sent(protocol)
            if n % 2_000 == 0:
                grown.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert protocol.books.resyncs == 6_000
    assert grown[2] - grown[1] < 100_000


SIDE = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 3)), max_size=3)


@given(st.lists(st.tuples(SIDE, SIDE), max_size=30))
def test_books_are_those_of_a_slow_model(
    changes: list[tuple[list[tuple[int, int]], list[tuple[int, int]]]],
) -> None:
    protocol = connected(book=True)
    slow = SlowBook(50, 50)
    bids = {Decimal(1000 - n): Decimal(1) for n in range(1, 51)}
    asks = {Decimal(1000 + n): Decimal(1) for n in range(1, 51)}

    def text(side: dict[Decimal, Decimal]) -> Levels:
        return [[str(price), str(size)] for price, size in side.items()]

    slow.snapshot(bids.items(), asks.items(), is_whole=True)
    take(protocol, book("snapshot", 7, text(bids), text(asks), depth=50))
    for u, (below, above) in enumerate(changes, 8):
        bids = {Decimal(1000 - step): Decimal(size) for step, size in below}
        asks = {Decimal(1000 + step): Decimal(size) for step, size in above}
        slow.update(bids.items(), asks.items())
        take(protocol, book("delta", u, text(bids), text(asks), depth=50))
    kept = protocol.books.of(BTC)
    assert protocol.checks == len(changes)
    assert (kept.bids(), kept.asks()) == (slow.best_bids(), slow.best_asks())


# --- subscriptions -----------------------------------------------------------------------------


def test_topics_are_asked_for_ten_at_a_time() -> None:
    many = [Symbol(f"A{n}/USDT") for n in range(25)]
    requests = sent(connected(*many))
    assert [len(it["args"]) for it in requests] == [10, 10, 10, 10, 5, 5]
    assert requests[0]["args"][0] == "publicTrade.A0USDT"
    assert requests[1]["args"][0] == "orderbook.1.A0USDT"


def test_live_once_each_topic_is_answered() -> None:
    protocol = connected(BTC, ETH)
    first, second = (it["req_id"] for it in sent(protocol))
    take(protocol, answer(first))
    assert not protocol.is_live
    take(protocol, answer(second))
    assert protocol.is_live
    nameless = connected()
    sent(nameless)
    take(nameless, answer(""))
    take(nameless, answer(""))
    assert nameless.is_live


def test_one_wrong_name_does_not_cost_the_others() -> None:
    """A request with a wrong name is refused as a whole, so each name is asked for alone."""
    protocol = connected(BTC, ETH)
    trades_id, quotes_id = (it["req_id"] for it in sent(protocol))
    take(protocol, answer(quotes_id))
    take(protocol, answer(trades_id, "Invalid symbol :[publicTrade.ETHUSDT]", success=False))
    again = sent(protocol)
    assert [it["args"] for it in again] == [["publicTrade.BTCUSDT"], ["publicTrade.ETHUSDT"]]
    take(protocol, answer(again[0]["req_id"]))
    take(protocol, answer(again[1]["req_id"], "Invalid symbol", success=False))
    assert protocol.is_live
    assert protocol.symbols == {BTC: SymbolState.ACTIVE, ETH: SymbolState.REFUSED}
    assert protocol.refused == {ETH: "Invalid symbol"}


def test_other_errors_are_a_fault() -> None:
    protocol = connected()
    take(protocol, '{"success":false,"ret_msg":"Too many visits","op":""}')
    assert protocol.fault == "Bybit said: Too many visits"


def test_pings_every_twenty_seconds() -> None:
    protocol = connected()
    sent(protocol)
    assert protocol.next_wake() == NOW + PING_EVERY == NOW + 20 * SECOND
    protocol.tick(NOW + PING_EVERY - 1)
    assert sent(protocol) == []
    protocol.tick(NOW + PING_EVERY)
    assert sent(protocol) == [{"op": "ping"}]
    assert protocol.next_wake() == NOW + 2 * PING_EVERY
    take(protocol, '{"success":true,"ret_msg":"pong","conn_id":"x","op":"ping"}')
    assert protocol.ignored == {"pong": 1}


def test_perpetuals_have_their_own_path() -> None:
    assert BybitProtocol().path == "/v5/public/spot"
    assert BybitProtocol(market="linear").path == "/v5/public/linear"


# --- anything at all ---------------------------------------------------------------------------


def test_the_recording_of_the_older_api_is_counted_to_its_last_line(shared_data: Path) -> None:
    file = CaptureFile(shared_data / "wire" / "BYBIT.ws.26.0.gz", "BYBIT")
    events: list[Event] = list(file.events())
    audit = file.audit()
    assert (events, audit.malformed, audit.unaccounted) == ([], 0, 0)
    assert audit.ignored == {
        "connection": 1,
        "sent": 4,
        "empty line": 2,
        "answer": 4,
        "trade": 76,
        "orderBookL2_25": 1018,
    }


def test_mutated_frames_have_a_documented_outcome(shared_data: Path) -> None:
    frames = [
        trades(ROW, {**ROW, "i": "2"}),
        book("snapshot", 5, BIDS[:1], ASKS[:1]),
        book("delta", 6, [["99.5", "0"], ["99.4", "1"]], []),
        book("snapshot", 5, BIDS, ASKS, depth=50),
        book("delta", 6, [["99.5", "0"]], [["100.4", "1"]], depth=50),
        kline(CANDLE),
        answer("1"),
        answer("1", "Invalid symbol", success=False),
        *[frame for _, frame in frames_of(shared_data / "wire" / "BYBIT.ws.26.0.gz")][:40],
    ]
    draw = random.Random(11)
    for protocol in (BybitProtocol(), connected(book=True)):
        for _ in range(3000):
            take(protocol, mutated(draw.choice(frames), draw))
            protocol.data_to_send()


# --- back-fill ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("market", "page"), [("spot", 60), ("linear", 1000)])
def test_an_outage_is_filled_from_the_latest_trades(market: Market, page: int) -> None:
    protocol = BybitProtocol([Subscription(BTC, AssetClass.CRYPTO)], market=market)
    take(protocol, trades(ROW))
    last = protocol.continuity.latest(BTC)
    assert last == (ROW["i"], TIME)
    request = protocol.recover(BTC, last, NOW)
    assert request is not None
    path = f"/v5/market/recent-trade?category={market}&symbol=BTCUSDT&limit={page}"
    assert (request.path, request.symbol) == (path, BTC)
    body = recent("c", "b", str(ROW["i"]), "x").encode()
    events = protocol.http_response(request.tag, 200, body, NOW)
    price = (16578.5, 0.001)
    assert events == [Trade(BTC, TIME, NOW, *price, each, Aggressor.BUYER) for each in ("b", "c")]
    assert protocol.take_requests() == []


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (0, b""),
        (503, b"<html>"),
        (200, b'{"retCode":10006,"retMsg":"Too many visits!","result":{}}'),
        (200, recent("c", "b").encode()),
        (200, recent().encode()),
        (200, b"{"),
        (200, b'{"retCode":0,"result":[]}'),
        (200, recent("c" * 65).encode()),
        (200, b"\xff"),
    ],
)
def test_history_that_is_none_leaves_the_gap(status: int, body: bytes) -> None:
    protocol = connected()
    take(protocol, trades(ROW))
    last = protocol.continuity.latest(BTC)
    assert last is not None
    request = protocol.recover(BTC, last, NOW)
    assert request is not None
    events = protocol.http_response(request.tag, status, body, NOW)
    gap = events[-1]
    assert isinstance(gap, Gap)
    assert (gap.symbol, gap.start, gap.end) == (BTC, TIME, NOW)
    assert sum(protocol.ignored.values()) + protocol.malformed == 1
