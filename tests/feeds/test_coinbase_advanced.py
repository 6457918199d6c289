"""Coinbase Advanced Trade: one row of frame numbers, trades put in order, books behind them."""

import json
import random
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
from feeds.protocols.base import Options, SymbolState
from feeds.protocols.coinbase_advanced import CoinbaseAdvancedProtocol
from tests.feeds.venue_kit import NOW, mutated, take

ETH, BTC = Symbol("ETH/USDT"), Symbol("BTC/USD")
STAMP = "2024-10-04T07:13:31.158696693Z"
STAMP_NS = 1_728_026_011_158_696_693


class Venue:
    """Numbers the frames of one connection, as the venue does."""

    def __init__(self, protocol: CoinbaseAdvancedProtocol) -> None:
        self.protocol = protocol
        self.number = -1

    def say(self, channel: str, *events: dict[str, Any], step: int = 1) -> list[Event]:
        self.number += step
        return take(self.protocol, frame(channel, *events, number=self.number))

    def subscribed(self, *products: str) -> None:
        self.say("subscriptions", {"subscriptions": {"market_trades": list(products)}})


def frame(channel: str, *events: dict[str, Any], number: int) -> str:
    head = {"channel": channel, "client_id": "", "timestamp": STAMP, "sequence_num": number}
    return json.dumps({**head, "events": events})


def trade(number: int, second: int = 31, **more: Any) -> dict[str, Any]:
    time = f"2024-10-04T07:13:{second:02}.088388Z"
    row = {"product_id": "ETH-USDT", "trade_id": str(number), "price": "2375.56", "size": "0.5"}
    return {**row, "time": time, "side": "BUY", **more}


def trades(*rows: dict[str, Any], kind: str = "update") -> dict[str, Any]:
    return {"type": kind, "trades": list(rows)}


def levels(kind: str, *rows: tuple[str, str, str]) -> dict[str, Any]:
    updates = [
        {"side": side, "event_time": STAMP, "price_level": price, "new_quantity": size}
        for side, price, size in rows
    ]
    return {"type": kind, "product_id": "ETH-USDT", "updates": updates}


SNAPSHOT = levels("snapshot", ("bid", "10", "1"), ("bid", "9", "2"), ("offer", "11", "3"))
TICKER = {
    "type": "snapshot",
    "tickers": [
        {
            "type": "ticker", "product_id": "ETH-USDT", "price": "10", "best_bid": "9",
            "best_bid_quantity": "1", "best_ask": "11", "best_ask_quantity": "2",
        }
    ],
}  # fmt: skip


def connected(*symbols: Symbol, has_book: bool = False) -> tuple[CoinbaseAdvancedProtocol, Venue]:
    wanted = [Subscription(symbol, AssetClass.CRYPTO) for symbol in symbols]
    protocol = CoinbaseAdvancedProtocol(wanted, Options(book=has_book))
    protocol.connected(NOW)
    return protocol, Venue(protocol)


def numbers(events: list[Event]) -> list[int]:
    return [int(event.trade_id) for event in events if isinstance(event, Trade)]


# --- subscriptions -----------------------------------------------------------------------------


@pytest.mark.parametrize(("has_book", "quotes"), [(False, "ticker"), (True, "level2")])
def test_each_channel_has_a_message_and_heartbeats_come_first(has_book: bool, quotes: str) -> None:
    protocol, _ = connected(ETH, BTC, has_book=has_book)
    assert [json.loads(text) for text in protocol.data_to_send()] == [
        {"type": "subscribe", "channel": "heartbeats"},
        {"type": "subscribe", "product_ids": ["ETH-USDT", "BTC-USD"], "channel": "market_trades"},
        {"type": "subscribe", "product_ids": ["ETH-USDT", "BTC-USD"], "channel": quotes},
    ]


def test_symbols_are_served_once_their_trades_are_in_an_answer() -> None:
    protocol, venue = connected(ETH, BTC)
    venue.say("subscriptions", {"subscriptions": {"heartbeats": ["heartbeats"]}})
    assert not protocol.is_live
    venue.subscribed("ETH-USDT")
    venue.say("subscriptions", {"subscriptions": {"ticker": ["ETH-USDT"]}})
    assert protocol.symbols == {ETH: SymbolState.ACTIVE, BTC: SymbolState.REFUSED}
    assert protocol.is_live


def test_error_refuses_the_symbols_it_names() -> None:
    protocol, venue = connected(ETH, BTC)
    protocol.data_to_send()
    take(protocol, json.dumps({"type": "error", "message": "product BTC-USD is unknown"}))
    assert protocol.refused == {BTC: "product BTC-USD is unknown"}
    asked = [json.loads(text)["product_ids"] for text in protocol.data_to_send()]
    assert asked == [["ETH-USDT"], ["ETH-USDT"]]
    venue.subscribed("ETH-USDT")
    assert protocol.is_live
    take(protocol, json.dumps({"type": "error", "message": "product BTC-USD is unknown"}))
    assert (protocol.fault, protocol.data_to_send()) == (None, [])


def test_error_that_names_no_symbol_renews_the_connection() -> None:
    protocol, _ = connected(ETH)
    take(protocol, json.dumps({"type": "error", "message": "rate limit exceeded"}))
    assert protocol.fault == "the venue said rate limit exceeded"


# --- numbers of frames -------------------------------------------------------------------------


def test_lost_frame_renews_the_connection() -> None:
    protocol, venue = connected(ETH)
    venue.subscribed("ETH-USDT")
    venue.say("heartbeats", {"heartbeat_counter": 5})
    assert protocol.fault is None
    assert numbers(venue.say("market_trades", trades(trade(7)), step=2)) == [7]
    assert protocol.fault == "frames were lost: number 3 came after 1"
    protocol.restart()
    assert protocol.fault is None
    Venue(protocol).subscribed("ETH-USDT")
    assert protocol.fault is None


def test_repeated_frame_changes_nothing() -> None:
    protocol, venue = connected(ETH)
    venue.say("market_trades", trades(trade(7)))
    assert venue.say("market_trades", trades(trade(7)), step=0) == []
    assert protocol.fault is None
    assert protocol.ignored == {"repeated frame": 1}


def test_lost_heartbeat_renews_the_connection() -> None:
    protocol, venue = connected(ETH)
    venue.say("heartbeats", {"current_time": "in Go's own words", "heartbeat_counter": 66987})
    venue.say("heartbeats", {"heartbeat_counter": 66988})
    assert protocol.fault is None
    venue.say("heartbeats", {"heartbeat_counter": 66990})
    assert protocol.fault == "heartbeats were lost: 66990 came after 66988"


# --- trades ------------------------------------------------------------------------------------


def test_trades_are_put_in_order_and_have_the_takers_side() -> None:
    _, venue = connected(ETH)
    events = venue.say("market_trades", trades(trade(8, 32), trade(7, side="SELL")))
    assert numbers(events) == [7, 8]
    sides = [event.aggressor for event in events if isinstance(event, Trade)]
    assert sides == [Aggressor.BUYER, Aggressor.SELLER]


def test_first_snapshot_is_history_and_a_later_one_fills_what_was_missed() -> None:
    protocol, venue = connected(ETH)
    assert venue.say("market_trades", trades(trade(8), trade(7), kind="snapshot")) == []
    assert numbers(venue.say("market_trades", trades(trade(9)))) == [9]
    protocol.restart()
    venue = Venue(protocol)
    rows = [trade(number, 40) for number in (13, 12, 11, 10, 9, 8)]
    gap, *filled = venue.say("market_trades", trades(*rows, kind="snapshot"))
    assert isinstance(gap, Gap)
    assert (gap.first, gap.missing) == (10, 4)
    assert numbers(filled) == [10, 11, 12, 13]
    assert numbers(venue.say("market_trades", trades(trade(14, 41)))) == [14]
    assert protocol.continuity.gaps == 1


def test_jump_in_the_numbers_is_told_before_the_trade_that_shows_it() -> None:
    protocol, venue = connected(ETH)
    venue.say("market_trades", trades(trade(7)))
    gap, shown = venue.say("market_trades", trades(trade(10, 33)))
    assert isinstance(gap, Gap)
    assert isinstance(shown, Trade)
    request = protocol.backfill(gap)
    assert request is not None
    assert request.path == (
        "/api/v3/brokerage/market/products/ETH-USDT/ticker?limit=1000"
        "&start=1728026011&end=1728026014"
    )
    body = json.dumps({"trades": [trade(n) for n in (11, 10, 9, 8, 7)], "best_bid": "1"}).encode()
    assert numbers(protocol.http_response(request.tag, 200, body, NOW)) == [8, 9]


def test_history_goes_on_page_by_page() -> None:
    """Each page ends with the second in which the one after it began."""
    protocol, venue = connected(ETH)
    venue.say("market_trades", trades(trade(1_000, 10)))
    gap, _ = venue.say("market_trades", trades(trade(1_010, 50)))
    assert isinstance(gap, Gap)
    request = protocol.backfill(gap)
    assert request is not None
    filled: list[int] = []
    for page in ((1_009, 40), (1_008, 35)), ((1_007, 35), (1_004, 20)), ((1_003, 19), (999, 9)):
        body = json.dumps({"trades": [trade(*row) for row in page]}).encode()
        filled += numbers(protocol.http_response(request.tag, 200, body, NOW))
        (request,) = protocol.take_requests() or [request]
    assert sorted(filled) == [1_003, 1_004, 1_007, 1_008, 1_009]
    ends = [int(part.partition("=")[2]) for part in request.path.split("&") if "end=" in part]
    assert ends == [gap.start // SECOND + 11]  # the page before 1,004, of second 20
    assert protocol.take_requests() == []


def test_history_of_more_than_a_page_in_one_second_is_not_asked_for_again_and_again() -> None:
    protocol, _ = connected(ETH)
    wanted = Gap(ETH, 11 * SECOND, 12 * SECOND, NOW, "", 5_000, 1)
    request = protocol.backfill(wanted)
    assert request is not None
    for _ in range(3):
        rows = [trade(number, 12) for number in (5_000, 4_001)]
        body = json.dumps({"trades": rows}).encode()
        protocol.http_response(request.tag, 200, body, NOW)
    assert len(protocol.take_requests()) == 0


@pytest.mark.parametrize(("status", "body"), [(500, b""), (0, b""), (200, b"[]")])
def test_history_that_is_none_fills_nothing(status: int, body: bytes) -> None:
    protocol, _ = connected(ETH)
    assert numbers(protocol.http_response("trades:ETH-USDT:5:9:1:2", status, body, NOW)) == []
    assert protocol.http_response("trades:GONE-USD:5:9:1:2", 200, b"{}", NOW) == []


def test_one_unreadable_trade_leaves_none_of_its_frame_seen() -> None:
    """So that all of them show as missing, and are filled."""
    protocol, venue = connected(ETH)
    venue.say("market_trades", trades(trade(7)))
    (event,) = venue.say("market_trades", trades(trade(8), trade(9)), trades(trade(10, price="x")))
    assert isinstance(event, Malformed)
    gap, _ = venue.say("market_trades", trades(trade(11)))
    assert isinstance(gap, Gap)
    assert (gap.first, gap.missing) == (8, 3)
    assert protocol.malformed == 1


# --- quotes and books --------------------------------------------------------------------------


def test_ticker_is_a_quote_of_the_envelopes_time() -> None:
    _, venue = connected(ETH)
    assert venue.say("ticker", TICKER) == [Quote(ETH, STAMP_NS, NOW, 9.0, 1.0, 11.0, 2.0)]


def test_book_is_its_snapshot_and_the_changes() -> None:
    protocol, venue = connected(ETH, has_book=True)
    assert venue.say("l2_data", levels("update", ("bid", "10.5", "1"))) == []
    assert venue.say("l2_data", SNAPSHOT) == [Quote(ETH, STAMP_NS, NOW, 10.0, 1.0, 11.0, 3.0)]
    (quote,) = venue.say("l2_data", levels("update", ("bid", "10", "0"), ("offer", "10.9", "4")))
    assert isinstance(quote, Quote)
    assert (quote.bid, quote.ask, quote.ask_size) == (9.0, 10.9, 4.0)
    assert venue.say("l2_data", levels("update", ("offer", "12", "4"))) == []
    assert protocol.ignored == {"l2_data": 2}


def test_lost_frame_makes_every_book_invalid() -> None:
    protocol, venue = connected(ETH, has_book=True)
    venue.say("l2_data", SNAPSHOT)
    (gap,) = venue.say("heartbeats", {"heartbeat_counter": 1}, step=2)
    assert isinstance(gap, Gap)
    assert protocol.fault is not None


@pytest.mark.parametrize(
    "row", [("bid", "NaN", "1"), ("bid", "1", "-1"), ("ask", "1", "1"), ("offer", "1e400", "1")]
)
def test_change_that_cannot_be_read_has_the_book_sent_anew(row: tuple[str, str, str]) -> None:
    protocol, venue = connected(ETH, has_book=True)
    venue.say("l2_data", SNAPSHOT)
    protocol.data_to_send()
    events = venue.say("l2_data", levels("update", row))
    assert isinstance(events[-1], Gap)
    sent = [json.loads(text) for text in protocol.data_to_send()]
    assert [(text["type"], text["channel"]) for text in sent] == [
        ("unsubscribe", "level2"),
        ("subscribe", "level2"),
    ]
    assert len(venue.say("l2_data", SNAPSHOT)) == 1


def test_unreadable_trade_leaves_the_book_as_it_is() -> None:
    protocol, venue = connected(ETH, has_book=True)
    venue.say("l2_data", SNAPSHOT)
    venue.say("market_trades", trades(trade(7, price="x")))
    assert len(venue.say("l2_data", levels("update", ("bid", "10.5", "1")))) == 1
    assert protocol.fault is None


def test_what_was_not_asked_for_is_counted() -> None:
    protocol, venue = connected(BTC, has_book=True)
    assert venue.say("market_trades", trades(trade(7))) == []
    assert venue.say("ticker", TICKER) == []
    assert venue.say("l2_data", SNAPSHOT) == []
    assert venue.say("candles", {"type": "snapshot", "candles": []}) == []
    assert protocol.ignored == {"market_trades": 1, "ticker": 1, "l2_data": 1, "candles": 1}


# --- samples -----------------------------------------------------------------------------------


def samples(folder: Path) -> list[str]:
    """The frames of the unit tests and the documentation of other clients."""
    texts = []
    for path in sorted(folder.glob("*")):
        text = path.read_text()
        if path.suffix == ".json":
            texts.append(text)
            continue
        before, _, after = text.partition("\n= ")
        texts += [line[2:] for line in before.splitlines() if line.startswith("<")]
        texts.append(after)
    return texts


def test_every_sample_is_read(shared_data: Path) -> None:
    texts = samples(shared_data / "wire_snippets" / "coinbase_advanced")
    assert len(texts) == 13
    found: list[Event] = []
    for text in texts:
        for options in (Options(), Options(book=True)):
            protocol = CoinbaseAdvancedProtocol(options=options)
            found += take(protocol, text)
            assert protocol.malformed == 0
    kinds = [type(event) for event in found]
    assert (kinds.count(Trade), kinds.count(Quote)) == (8, 5)


def test_real_trades_come_newest_first(shared_data: Path) -> None:
    path = shared_data / "wire_snippets" / "coinbase_advanced" / "jkorf_Trades.txt"
    protocol = CoinbaseAdvancedProtocol()
    _, text = path.read_text().split("\n= ")
    assert numbers(take(protocol, text)) == [22381690, 22381691]


# --- rubbish -----------------------------------------------------------------------------------

SPECIMENS = [
    frame("market_trades", trades(trade(9), trade(8)), number=1),
    frame("market_trades", trades(trade(9), trade(8), kind="snapshot"), number=2),
    frame("ticker", TICKER, number=3),
    frame("l2_data", SNAPSHOT, number=4),
    frame("l2_data", levels("update", ("bid", "10", "0"), ("offer", "11", "1")), number=5),
    frame("heartbeats", {"heartbeat_counter": 5}, number=6),
    frame("subscriptions", {"subscriptions": {"market_trades": ["ETH-USDT"]}}, number=7),
    json.dumps({"type": "error", "message": "no ETH-USDT"}),
]


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_arbitrary_input_has_a_documented_outcome(data: bytes | str) -> None:
    take(CoinbaseAdvancedProtocol(), data)


@given(
    st.lists(st.tuples(st.sampled_from(SPECIMENS), st.integers(0, 2**32)), max_size=6),
    st.booleans(),
)
def test_mutated_frames_have_a_documented_outcome(
    frames: list[tuple[str, int]], has_book: bool
) -> None:
    protocol, venue = connected(ETH, has_book=has_book)
    venue.say("l2_data", SNAPSHOT)
    for text, seed in frames:
        take(protocol, mutated(text, random.Random(seed)))
