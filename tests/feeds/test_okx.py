"""OKX's channels of version 5, by their documented shapes: no recording exists."""

import json
import random
from decimal import Decimal
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.base import Subscription
from feeds.events import SECOND, Aggressor, AssetClass, Gap, Malformed, Quote, Symbol, Trade
from feeds.protocols.base import Options, SymbolState
from feeds.protocols.books import RESYNCS
from feeds.protocols.okx import PING_EVERY, OkxProtocol, checksum
from tests.feeds.venue_kit import NOW, mutated, take
from tests.models.book import SlowBook

BTC, ETH = Symbol("BTC/USDT"), Symbol("ETH/USDT")
MS = "1630048897897"
TIME = 1_630_048_897_897_000_000
ROW = {
    "instId": "BTC-USDT", "tradeId": "130639474", "px": "42219.9", "sz": "0.12060306",
    "side": "buy", "ts": MS, "count": "3", "source": "0", "seqId": 1234,
}  # fmt: skip
Levels = list[list[str]]
BIDS: Levels = [["99.50", "1.0", "0", "2"], ["99.00", "2", "0", "1"]]
ASKS: Levels = [["100.00", "3", "0", "1"], ["100.50", "4", "0", "7"], ["101.00", "5", "0", "7"]]


def push(channel: str, *rows: dict[str, Any], action: str | None = None) -> str:
    frame: dict[str, Any] = {"arg": {"channel": channel, "instId": "BTC-USDT"}, "data": rows}
    return json.dumps(frame if action is None else {**frame, "action": action})


def recent(*ids: str) -> str:
    """Trades as HTTP tells them, newest first and one by one."""
    row = {key: ROW[key] for key in ("instId", "px", "sz", "side", "ts")}
    rows = [{**row, "tradeId": each} for each in ids]
    return json.dumps({"code": "0", "msg": "", "data": rows})


def top(bids: Levels, asks: Levels) -> str:
    return push("bbo-tbt", {"asks": asks, "bids": bids, "ts": MS, "seqId": 363996337})


def book(action: str, bids: Levels, asks: Levels, before: int, number: int, proof: int = 0) -> str:
    row = {"asks": asks, "bids": bids, "ts": MS, "checksum": proof}
    return push("books", {**row, "prevSeqId": before, "seqId": number}, action=action)


def slow_checksum(bids: Levels, asks: Levels) -> int:
    """The rule in plain words: a bid, an ask, a bid .. of 25, and one side alone at the end."""
    words: list[str] = []
    for n in range(25):
        words += bids[n][:2] if n < len(bids) else []
        words += asks[n][:2] if n < len(asks) else []
    unsigned = crc32(":".join(words).encode())
    return int.from_bytes(unsigned.to_bytes(4, "big"), "big", signed=True)


def connected(*symbols: Symbol, book: bool = False) -> OkxProtocol:
    wanted = [Subscription(symbol, AssetClass.CRYPTO) for symbol in symbols or (BTC,)]
    protocol = OkxProtocol(wanted, Options(book=book))
    protocol.restart()
    protocol.connected(NOW)
    return protocol


def sent(protocol: OkxProtocol) -> list[dict[str, Any]]:
    return [json.loads(frame) for frame in protocol.data_to_send()]


def accepted(channel: str, name: str = "BTC-USDT") -> str:
    return json.dumps(
        {"event": "subscribe", "arg": {"channel": channel, "instId": name}, "connId": "a4d3ae55"}
    )


def error(code: str, words: str, request_id: str = "") -> str:
    return json.dumps(
        {"id": request_id, "event": "error", "code": code, "msg": words, "connId": "a4d3ae55"}
    )


# --- market data -------------------------------------------------------------------------------


def test_trade_has_the_takers_side() -> None:
    expected = Trade(BTC, TIME, NOW, 42219.9, 0.12060306, "130639474", Aggressor.BUYER)
    assert take(OkxProtocol(), push("trades", ROW)) == [expected]


def test_a_trade_is_told_once() -> None:
    protocol = OkxProtocol()
    assert len(take(protocol, push("trades", ROW, {**ROW, "tradeId": "130639475"}))) == 2
    protocol.restart()
    assert take(protocol, push("trades", ROW)) == []
    assert protocol.ignored == {"duplicate": 1}


def test_top_is_a_quote() -> None:
    expected = Quote(BTC, TIME, NOW, 99.5, 1.0, 100.0, 3.0)
    assert take(OkxProtocol(), top(BIDS[:1], ASKS[:1])) == [expected]


def test_an_empty_side_is_no_quote() -> None:
    protocol = OkxProtocol()
    assert take(protocol, top([], ASKS[:1])) == []
    assert protocol.ignored == {"one-sided quote": 1}


@pytest.mark.parametrize("bad", ["NaN", "-Infinity", "-1", "0", "1e308", "1,5", "", None, [], True])
def test_impossible_prices_are_malformed(bad: Any) -> None:
    (event,) = take(OkxProtocol(), push("trades", {**ROW, "px": bad}))
    assert isinstance(event, Malformed)
    (event,) = take(OkxProtocol(), top([[bad, "1"]], ASKS[:1]))
    assert isinstance(event, Malformed)


def test_an_unreadable_trade_costs_only_itself() -> None:
    rows = ROW, {**ROW, "tradeId": "2", "px": "-1"}, {**ROW, "tradeId": "3"}
    events = take(OkxProtocol(), push("trades", *rows))
    assert [type(event) for event in events] == [Trade, Malformed, Trade]


def test_other_channels_are_counted_by_name() -> None:
    protocol = OkxProtocol()
    take(protocol, push("tickers", {}))
    take(protocol, "pong")
    take(protocol, '{"event":"channel-conn-count","channel":"trades","connCount":"2"}')
    assert protocol.ignored == {"tickers": 1, "pong": 1, "channel-conn-count": 1}


# --- books -------------------------------------------------------------------------------------


def with_book() -> OkxProtocol:
    protocol = connected(book=True)
    sent(protocol)
    (quote,) = take(protocol, book("snapshot", BIDS, ASKS, -1, 10, slow_checksum(BIDS, ASKS)))
    assert isinstance(quote, Quote)
    return protocol


def test_updates_of_a_book_follow_one_another() -> None:
    protocol = with_book()
    bids = [["99.60", "5"], *BIDS]
    proof = slow_checksum(bids, ASKS)
    (quote,) = take(protocol, book("update", bids[:1], [], 10, 15, proof))
    assert isinstance(quote, Quote)
    assert quote.bid == 99.6
    assert take(protocol, book("update", [], [], 15, 15, proof)) == []
    assert protocol.checks == 3


def test_numbers_may_start_again_as_long_as_they_follow() -> None:
    protocol = with_book()
    take(protocol, book("update", [["99.60", "5"]], [], 10, 3))
    take(protocol, book("update", [["99.60", "6"]], [], 3, 5))
    assert protocol.checks == 3
    assert protocol.books.of(BTC).is_valid


@pytest.mark.parametrize(
    ("before", "proof", "words"), [(9, 0, "follows 9"), (10, 12345, "checksum")]
)
def test_a_break_ends_belief_and_asks_anew(before: int, proof: int, words: str) -> None:
    protocol = with_book()
    (gap,) = take(protocol, book("update", [["99.60", "5"]], [], before, 15, proof))
    assert isinstance(gap, Gap)
    assert words in gap.reason
    topic = {"channel": "books", "instId": "BTC-USDT"}
    assert [(it["op"], it["args"]) for it in sent(protocol)] == [
        ("unsubscribe", [topic]),
        ("subscribe", [topic]),
    ]
    assert take(protocol, book("update", [], [], 15, 16)) == []
    (quote,) = take(protocol, book("snapshot", BIDS, ASKS, -1, 20))
    assert isinstance(quote, Quote)


def test_a_book_that_never_holds_is_given_up() -> None:
    protocol = with_book()
    for _ in range(RESYNCS + 3):
        take(protocol, book("snapshot", [["NaN", "1"]], ASKS, -1, 5))
    assert len(sent(protocol)) == 2 * RESYNCS


SIDE = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 9)), max_size=4)


@given(st.lists(st.tuples(SIDE, SIDE), max_size=20))
def test_books_and_checksums_are_those_of_a_slow_model(
    changes: list[tuple[list[tuple[int, int]], list[tuple[int, int]]]],
) -> None:
    protocol = connected(book=True)
    slow = SlowBook(400, 400)
    number = 1

    def proof() -> int:
        sides = slow.best_bids(), slow.best_asks()
        bids, asks = ([[str(price), str(size)] for price, size in side] for side in sides)
        return slow_checksum(bids, asks)

    def text(side: dict[Decimal, Decimal]) -> Levels:
        return [[str(price), str(size), "0", "1"] for price, size in side.items()]

    start = {Decimal(f"{1000 + n}.0"): Decimal("1.50") for n in (-2, -1, 1, 2)}
    below = {price: size for price, size in start.items() if price < 1000}
    above = {price: size for price, size in start.items() if price > 1000}
    slow.snapshot(below.items(), above.items(), is_whole=True)
    take(protocol, book("snapshot", text(below), text(above), -1, number, proof()))
    for bids, asks in changes:
        below = {Decimal(f"{1000 - step}.0"): Decimal(f"{size}.0") for step, size in bids}
        above = {Decimal(f"{1000 + step}.0"): Decimal(f"{size}.0") for step, size in asks}
        slow.update(below.items(), above.items())
        frame = book("update", text(below), text(above), number, number + 7, proof())
        take(protocol, frame)
        number += 7
    assert protocol.checks == len(changes) + 1
    kept = protocol.books.of(BTC)
    assert (kept.bids(), kept.asks()) == (slow.best_bids(), slow.best_asks())


def test_checksum_is_a_signed_number_of_interleaved_text() -> None:
    """Price and size of a bid, an ask, and so on; one side alone at the end."""
    bids = [(Decimal("3366.1"), Decimal(7))]
    asks = [(Decimal("3366.8"), Decimal(9)), (Decimal(3368), Decimal(8))]
    text = b"3366.1:7:3366.8:9:3368:8"
    assert checksum(bids, asks) % (1 << 32) == crc32(text)
    assert -(1 << 31) <= checksum(bids, asks) < 1 << 31


# --- subscriptions -----------------------------------------------------------------------------


def test_live_once_each_channel_is_answered() -> None:
    protocol = connected(BTC, ETH)
    requests = sent(protocol)
    assert [[it["instId"] for it in request["args"]] for request in requests] == [
        ["BTC-USDT", "ETH-USDT"]
    ] * 2
    for channel in ("trades", "bbo-tbt"):
        take(protocol, accepted(channel))
    assert not protocol.is_live
    for channel in ("trades", "bbo-tbt"):
        take(protocol, accepted(channel, "ETH-USDT"))
    assert protocol.is_live


WRONG = "Wrong URL or channel:trades,instId:ETH-USDT doesn't exist."


def test_a_refusal_names_its_symbol_and_the_others_are_asked_for_again() -> None:
    protocol = connected(BTC, ETH)
    first, second = (it["id"] for it in sent(protocol))
    take(protocol, error("60018", WRONG, first))
    assert protocol.symbols == {BTC: SymbolState.ASKED, ETH: SymbolState.REFUSED}
    assert "doesn't exist" in protocol.refused[ETH]
    (again,) = sent(protocol)
    assert again["args"] == [{"channel": "trades", "instId": "BTC-USDT"}]
    take(protocol, accepted("trades"))
    take(protocol, accepted("bbo-tbt"))
    assert protocol.is_live
    take(protocol, error("60018", "no such thing", second))
    assert protocol.symbols[BTC] is SymbolState.ACTIVE


def test_a_refusal_that_names_none_has_each_asked_for_alone() -> None:
    protocol = connected(BTC, ETH)
    first, _ = (it["id"] for it in sent(protocol))
    take(protocol, error("60012", "Invalid request", first))
    again = sent(protocol)
    assert [it["args"][0]["instId"] for it in again] == ["BTC-USDT", "ETH-USDT"]
    take(protocol, error("60012", "Invalid request", again[1]["id"]))
    assert protocol.symbols == {BTC: SymbolState.ASKED, ETH: SymbolState.REFUSED}


@pytest.mark.parametrize(
    "frame",
    [
        error("60014", "Requests too frequent", "1"),
        error("60012", "Invalid request: {"),
        '{"event":"notice","code":"64008","msg":"The connection will soon be closed"}',
        '{"event":"channel-conn-count-error","channel":"trades","connCount":"20"}',
    ],
)
def test_what_ends_this_connection_is_a_fault(frame: str) -> None:
    protocol = connected()
    take(protocol, frame)
    assert protocol.fault
    assert protocol.fault.startswith(("OKX said", "okx said"))
    protocol.restart()
    assert protocol.fault is None


def test_pings_are_words() -> None:
    protocol = connected()
    sent(protocol)
    assert protocol.next_wake() == NOW + PING_EVERY == NOW + 20 * SECOND
    protocol.tick(NOW + PING_EVERY)
    assert protocol.data_to_send() == ["ping"]


# --- anything at all ---------------------------------------------------------------------------


def test_mutated_frames_have_a_documented_outcome() -> None:
    frames = [
        push("trades", ROW, {**ROW, "tradeId": "2"}),
        top(BIDS[:1], ASKS[:1]),
        book("snapshot", BIDS, ASKS, -1, 10, slow_checksum(BIDS, ASKS)),
        book("update", [["99.50", "0", "0", "0"]], [["100.40", "1"]], 10, 11),
        accepted("trades"),
        error("60018", WRONG, "1"),
        '{"event":"notice","code":"64008","msg":"The connection will soon be closed"}',
    ]
    draw = random.Random(13)
    for protocol in (OkxProtocol(), connected(book=True)):
        for _ in range(3000):
            take(protocol, mutated(draw.choice(frames), draw))
            protocol.data_to_send()


# --- back-fill ---------------------------------------------------------------------------------


def test_an_outage_is_filled_page_by_page_and_joined_trades_are_known_one_by_one() -> None:
    protocol = connected()
    take(protocol, push("trades", {**ROW, "tradeId": "100", "count": "1"}))
    last = protocol.continuity.latest(BTC)
    assert last == ("100", TIME)
    take(protocol, push("trades", {**ROW, "tradeId": "108", "count": "3"}))  # 106, 107, 108
    request = protocol.recover(BTC, last, NOW)
    assert request is not None
    assert request.path == "/api/v5/market/trades?instId=BTC-USDT&limit=500"
    body = recent("109", "108", "107", "106", "105").encode()
    assert protocol.http_response(request.tag, 200, body, NOW) == []
    (more,) = protocol.take_requests()
    assert more.path == "/api/v5/market/history-trades?instId=BTC-USDT&type=1&after=105&limit=100"
    events = protocol.http_response(more.tag, 200, recent("104", "103", "100").encode(), NOW)
    assert [event.trade_id for event in events if isinstance(event, Trade)] == [
        "103", "104", "105", "109",
    ]  # fmt: skip
    assert protocol.take_requests() == []


@pytest.mark.parametrize("count", ["0", "-1", "x", "9" * 400, "", "1e3"])
def test_an_absurd_count_of_joined_trades_covers_little(count: str) -> None:
    protocol = connected()
    take(protocol, push("trades", {**ROW, "tradeId": "100000", "count": count}))
    assert protocol.continuity.admit_once(BTC, "1", TIME)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (0, b""),
        (429, b""),
        (200, b'{"code":"50011","msg":"Too Many Requests","data":[]}'),
        (200, recent().encode()),
        (200, b"["),
        (200, recent("9" * 33).encode()),
    ],
)
def test_history_that_is_none_leaves_the_gap(status: int, body: bytes) -> None:
    protocol = connected()
    take(protocol, push("trades", ROW))
    last = protocol.continuity.latest(BTC)
    assert last is not None
    request = protocol.recover(BTC, last, NOW)
    assert request is not None
    gap = protocol.http_response(request.tag, status, body, NOW)[-1]
    assert isinstance(gap, Gap)
    assert (gap.symbol, gap.start, gap.end) == (BTC, TIME, NOW)
    assert sum(protocol.ignored.values()) + protocol.malformed == 1
