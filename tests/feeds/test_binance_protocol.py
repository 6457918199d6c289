"""Binance, a whole connection: asked, acknowledged, listed; books from snapshots; gaps filled."""

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
from feeds.events import SECOND, AssetClass, Bar, Event, Gap, Quote, Symbol, Trade
from feeds.files.capture import parse_line
from feeds.protocols.base import HttpGet, Options, SymbolState
from feeds.protocols.binance import LIST_PATIENCE, TOPICS_PER_FRAME, BinanceProtocol
from feeds.protocols.binance_books import FUTURES, SNAPSHOT_RETRY, SPOT, BinanceMarket
from feeds.protocols.diffs import WAITING
from tests.feeds.venue_kit import NOW, frames_of, mutated, take

MS = 1_000_000
PLAIN = Options()
BNB = Symbol("BNB/BTC")
BTC = Symbol("BTC/USDT")
TRADE: dict[str, Any] = {
    "e": "aggTrade", "s": "BNBBTC", "a": 12345, "p": "0.001", "q": "100", "T": NOW // MS, "m": True,
    "f": 1, "l": 1,
}  # fmt: skip


def wanted(*symbols: Symbol) -> list[Subscription]:
    return [Subscription(symbol, AssetClass.CRYPTO) for symbol in symbols]


def listed(*names: str, price: str = "0.0") -> bytes:
    row = {"bidPrice": price, "bidQty": "1", "askPrice": price, "askQty": "2"}
    return json.dumps([{"symbol": name, **row} for name in names]).encode()


def acknowledge(protocol: BinanceProtocol) -> list[dict[str, Any]]:
    frames = [json.loads(frame) for frame in protocol.data_to_send()]
    for frame in frames:
        take(protocol, json.dumps({"result": None, "id": frame["id"]}))
    return frames


def live(
    *symbols: Symbol, options: Options = PLAIN, market: BinanceMarket = SPOT
) -> BinanceProtocol:
    protocol = BinanceProtocol(wanted(*symbols), options, market=market)
    protocol.connected(NOW)
    acknowledge(protocol)
    assert [request.tag for request in protocol.take_requests()] == ["list"]
    names = [symbol.replace("/", "") for symbol in symbols]
    protocol.http_response("list", 200, listed(*names), NOW)
    assert protocol.is_live
    return protocol


# --- subscriptions -----------------------------------------------------------------------------


def test_subscribing_names_topics_in_frames_of_bounded_size() -> None:
    symbols = [Symbol(f"C{n}/USDT") for n in range(TOPICS_PER_FRAME // 2 + 1)]
    protocol = BinanceProtocol(wanted(*symbols))
    protocol.connected(NOW)
    first, second = (json.loads(frame) for frame in protocol.data_to_send())
    assert protocol.data_to_send() == []
    assert (first["method"], first["id"], second["id"]) == ("SUBSCRIBE", 1, 2)
    assert len(first["params"]) == TOPICS_PER_FRAME
    assert second["params"] == ["c100usdt@aggTrade", "c100usdt@bookTicker"]


@pytest.mark.parametrize(
    ("market", "options", "topics"),
    [
        (SPOT, Options(bars=True), ["aggTrade", "bookTicker", "kline_1m"]),
        (SPOT, Options(book=True), ["aggTrade", "depth@100ms"]),
        (FUTURES, Options(bars=True), ["trade", "bookTicker"]),
    ],
)
def test_options_choose_the_topics(
    market: BinanceMarket, options: Options, topics: list[str]
) -> None:
    protocol = BinanceProtocol(wanted(BNB), options, market=market)
    protocol.connected(NOW)
    (frame,) = protocol.data_to_send()
    assert json.loads(frame)["params"] == [f"bnbbtc@{topic}" for topic in topics]


def test_symbol_is_served_once_acknowledged_and_listed() -> None:
    protocol = BinanceProtocol(wanted(BNB, BTC))
    protocol.connected(NOW)
    assert protocol.path == "/stream"
    acknowledge(protocol)
    assert not protocol.is_live
    assert protocol.take_requests() == [HttpGet("/api/v3/ticker/bookTicker", "list")]
    protocol.http_response("list", 200, listed("BNBBTC"), NOW)
    assert protocol.symbols == {BNB: SymbolState.ACTIVE, BTC: SymbolState.REFUSED}
    assert "BTC/USDT" in protocol.refused[BTC]
    assert protocol.is_live
    assert protocol.next_wake() is None


@pytest.mark.parametrize("body", [b"<html>", b"[{}]", b"", b"[" * 5000])
@pytest.mark.parametrize("status", [200, 451, 0])
def test_without_a_list_what_is_acknowledged_is_served(body: bytes, status: int) -> None:
    protocol = BinanceProtocol(wanted(BNB))
    protocol.connected(NOW)
    acknowledge(protocol)
    protocol.http_response("list", status, body, NOW)
    assert protocol.is_live


def test_list_is_not_waited_for_forever() -> None:
    protocol = BinanceProtocol(wanted(BNB))
    protocol.connected(NOW)
    acknowledge(protocol)
    assert protocol.next_wake() == NOW + LIST_PATIENCE
    assert protocol.tick(NOW + LIST_PATIENCE - 1) == []
    assert not protocol.is_live
    protocol.tick(NOW + LIST_PATIENCE)
    assert protocol.is_live
    assert protocol.next_wake() is None


def test_list_gives_the_first_quote_of_a_symbol_that_is_quiet() -> None:
    protocol = BinanceProtocol(wanted(BNB, BTC, Symbol("X/BTC")))
    protocol.connected(NOW)
    acknowledge(protocol)
    top = {"u": 1, "s": "BTCUSDT", "b": "5", "B": "1", "a": "6", "A": "1"}
    take(protocol, json.dumps({"stream": "btcusdt@bookTicker", "data": top}))
    body = listed("BNBBTC", "BTCUSDT", price="3")[:-1] + b"," + listed("XBTC")[1:]
    events = protocol.http_response("list", 200, body, NOW)
    assert events == [Quote(BNB, NOW, NOW, 3.0, 1.0, 3.0, 2.0)]


@pytest.mark.parametrize("number", [1, "1"])
def test_error_refuses_what_it_answers_to(number: int | str) -> None:
    protocol = BinanceProtocol(wanted(BNB))
    protocol.connected(NOW)
    take(protocol, json.dumps({"error": {"code": 2, "msg": "Invalid request"}, "id": number}))
    assert protocol.symbols == {BNB: SymbolState.REFUSED}
    assert protocol.refused == {BNB: "Invalid request (code 2)"}
    assert not protocol.is_live


def test_error_without_a_number_is_of_the_oldest_frame() -> None:
    symbols = [Symbol(f"C{n}/USDT") for n in range(TOPICS_PER_FRAME)]
    protocol = BinanceProtocol(wanted(*symbols))
    protocol.connected(NOW)
    take(protocol, json.dumps({"code": 2, "msg": "Invalid request"}))
    assert len(protocol.refused) == TOPICS_PER_FRAME // 2
    take(protocol, json.dumps({"code": 2, "msg": "Invalid request", "id": "nonsense"}))
    assert len(protocol.refused) == TOPICS_PER_FRAME
    take(protocol, json.dumps({"code": 3, "msg": "of nothing"}))
    assert protocol.ignored == {"error": 3}


def test_symbols_come_and_go_while_connected() -> None:
    protocol = live(BNB)
    protocol.subscribe(wanted(BNB, BTC))
    assert not protocol.is_live
    (frame,) = acknowledge(protocol)
    assert frame["params"] == ["btcusdt@aggTrade", "btcusdt@bookTicker"]
    protocol.http_response("list", 200, listed("BNBBTC", "BTCUSDT"), NOW)
    assert protocol.is_live
    protocol.unsubscribe([BNB, Symbol("NEVER/ASKED")])
    (frame,) = acknowledge(protocol)
    assert (frame["method"], frame["params"]) == (
        "UNSUBSCRIBE",
        ["bnbbtc@aggTrade", "bnbbtc@bookTicker"],
    )
    assert protocol.symbols == {BTC: SymbolState.ACTIVE}
    assert take(protocol, json.dumps(TRADE)) == []
    assert protocol.ignored["symbol not asked for"] == 1


def test_names_come_back_as_they_were_asked_for() -> None:
    weird = Symbol("WEIRD/XYZ")
    protocol = live(weird)
    (trade,) = take(protocol, json.dumps({**TRADE, "s": "WEIRDXYZ"}))
    assert isinstance(trade, Trade)
    assert trade.symbol == weird


def test_restart_asks_again_and_keeps_the_count_of_trades() -> None:
    protocol = live(BNB)
    take(protocol, json.dumps(TRADE))
    protocol.restart()
    assert protocol.symbols == {BNB: SymbolState.ASKED}
    assert (protocol.data_to_send(), protocol.take_requests()) == ([], [])
    protocol.connected(NOW)
    (frame,) = acknowledge(protocol)
    assert frame["method"] == "SUBSCRIBE"
    assert take(protocol, json.dumps(TRADE)) == []
    gap, trade = take(protocol, json.dumps({**TRADE, "a": 12348}))
    assert isinstance(gap, Gap)
    assert (gap.first, gap.missing) == (12346, 2)
    assert isinstance(trade, Trade)


def test_announced_shutdown_renews_the_connection() -> None:
    protocol = live(BNB)
    assert take(protocol, json.dumps({"e": "serverShutdown", "E": NOW // MS})) == []
    assert protocol.fault is not None
    protocol.restart()
    assert protocol.fault is None


# --- gaps --------------------------------------------------------------------------------------


def test_gap_is_filled_page_by_page() -> None:
    protocol = live(BNB)
    take(protocol, json.dumps(TRADE))
    gap, trade = take(protocol, json.dumps({**TRADE, "a": 12345 + 1502}))
    assert isinstance(gap, Gap)
    request = protocol.backfill(gap)
    assert request is not None
    assert request.symbol == BNB
    assert request.path == "/api/v3/aggTrades?symbol=BNBBTC&fromId=12346&limit=1000"
    rows = [{**TRADE, "a": 12346 + n} for n in range(1000)]
    events = protocol.http_response(request.tag, 200, json.dumps(rows).encode(), NOW)
    assert [event.trade_id for event in events if isinstance(event, Trade)] == [
        str(row["a"]) for row in rows
    ]
    (request,) = protocol.take_requests()
    assert request.path == "/api/v3/aggTrades?symbol=BNBBTC&fromId=13346&limit=501"
    # The venue may send more than it was asked for: what is newer comes by itself.
    rows = [{**TRADE, "a": 13346 + n} for n in range(600)]
    events = protocol.http_response(request.tag, 200, json.dumps(rows).encode(), NOW)
    assert len(events) == 501
    assert protocol.take_requests() == []
    assert protocol.continuity.duplicates == 0
    assert isinstance(trade, Trade)


def test_gap_of_futures_is_filled_from_the_latest_trades() -> None:
    protocol = live(BNB, market=FUTURES)
    single = {**TRADE, "e": "trade", "t": 5}
    take(protocol, json.dumps(single))
    gap = take(protocol, json.dumps({**single, "t": 8}))[0]
    assert isinstance(gap, Gap)
    request = protocol.backfill(gap)
    assert request is not None
    assert request.path == "/fapi/v1/trades?symbol=BNBBTC&limit=1000"
    row = {"price": "2", "qty": "3", "time": NOW // MS, "isBuyerMaker": False}
    body = json.dumps([{"id": number, **row} for number in (9, 8, 7, 6, 4)]).encode()
    events = protocol.http_response(request.tag, 200, body, NOW)
    assert [event.trade_id for event in events if isinstance(event, Trade)] == ["6", "7"]


def test_what_no_number_tells_cannot_be_filled() -> None:
    protocol = live(BNB)
    assert protocol.backfill(Gap(None, 1, 2, 3, "away")) is None
    assert protocol.backfill(Gap(BNB, 1, 2, 3, "the numbers began again")) is None


def test_page_of_other_trades_asks_for_no_further_one() -> None:
    protocol = live(BNB)
    body = json.dumps([{**TRADE, "a": number} for number in range(1, 1001)]).encode()
    protocol.http_response("trades:BNBBTC:2001:5000", 200, body, NOW)
    assert protocol.take_requests() == []


@pytest.mark.parametrize(("status", "body"), [(500, b""), (200, b"{}"), (200, b'[{"a":1}]')])
def test_history_that_is_none_fills_nothing(status: int, body: bytes) -> None:
    protocol = live(BNB)
    events = protocol.http_response("trades:BNBBTC:5:9", status, body, NOW)
    assert not any(isinstance(event, Trade) for event in events)
    assert protocol.http_response("trades:GONEBTC:5:9", 200, body, NOW) == []


# --- books -------------------------------------------------------------------------------------


def depth(first: int, last: int, bids: list[list[str]], **more: Any) -> str:
    frame = {"e": "depthUpdate", "E": NOW // MS, "s": "BNBBTC", "U": first, "u": last}
    return json.dumps({**frame, "b": bids, "a": [], **more})


def snapshot(last: int) -> bytes:
    bids, asks = [["1.0", "5"], ["0.9", "5"]], [["1.1", "5"], ["1.2", "5"]]
    return json.dumps({"lastUpdateId": last, "bids": bids, "asks": asks}).encode()


def with_book(market: BinanceMarket = SPOT) -> BinanceProtocol:
    protocol = live(BNB, options=Options(book=True), market=market)
    (request,) = protocol.take_requests()
    assert request.tag == "depth:BNBBTC"
    assert request.symbol == BNB
    return protocol


def bid(events: list[Event]) -> tuple[float, float] | None:
    match events:
        case [Quote(bid=price, bid_size=size)]:
            return price, size
        case []:
            return None
    pytest.fail(f"neither a quote nor nothing: {events}")


def test_book_begins_where_its_snapshot_meets_the_changes() -> None:
    protocol = with_book()
    take(protocol, depth(90, 95, [["1.05", "1"]]))
    take(protocol, depth(96, 101, [["1.01", "2"]]))
    take(protocol, depth(102, 103, [["1.0", "7"]]))
    events = protocol.http_response("depth:BNBBTC", 200, snapshot(100), NOW)
    assert bid(events) == (1.01, 2.0)
    assert bid(take(protocol, depth(104, 104, [["1.01", "0"]]))) == (1.0, 7.0)
    assert protocol.ignored["depthUpdate before its snapshot"] == 3


def test_changes_older_than_the_snapshot_are_dropped() -> None:
    protocol = with_book()
    assert bid(protocol.http_response("depth:BNBBTC", 200, snapshot(100), NOW)) == (1.0, 5.0)
    assert bid(take(protocol, depth(99, 100, [["1.05", "1"]]))) is None
    assert bid(take(protocol, depth(101, 101, [["1.02", "1"]]))) == (1.02, 1.0)


def test_break_in_the_changes_is_told_and_the_book_made_anew() -> None:
    protocol = with_book()
    protocol.http_response("depth:BNBBTC", 200, snapshot(100), NOW)
    take(protocol, depth(101, 101, []))
    (gap,) = take(protocol, depth(103, 104, []))
    assert isinstance(gap, Gap)
    assert "order book" in gap.reason
    assert [request.tag for request in protocol.take_requests()] == ["depth:BNBBTC"]
    assert take(protocol, depth(105, 105, [["1.02", "1"]])) == []
    assert bid(protocol.http_response("depth:BNBBTC", 200, snapshot(104), NOW)) == (1.02, 1.0)


def test_snapshot_that_ends_before_the_next_change_is_no_beginning() -> None:
    protocol = with_book()
    protocol.http_response("depth:BNBBTC", 200, snapshot(100), NOW)
    (gap,) = take(protocol, depth(102, 104, []))
    assert isinstance(gap, Gap)
    assert [request.tag for request in protocol.take_requests()] == ["depth:BNBBTC"]


def test_snapshot_older_than_what_waits_is_asked_for_again_later() -> None:
    protocol = with_book()
    take(protocol, depth(200, 205, []))
    assert protocol.http_response("depth:BNBBTC", 200, snapshot(100), NOW) == []
    assert protocol.next_wake() == NOW + SNAPSHOT_RETRY
    protocol.tick(NOW + SNAPSHOT_RETRY)
    assert [request.tag for request in protocol.take_requests()] == ["depth:BNBBTC"]
    assert protocol.next_wake() is None
    assert bid(protocol.http_response("depth:BNBBTC", 200, snapshot(199), NOW)) == (1.0, 5.0)


@pytest.mark.parametrize(("status", "body"), [(429, b""), (200, b"{}"), (0, b""), (200, b"\xff")])
def test_snapshot_that_does_not_come_is_asked_for_again(status: int, body: bytes) -> None:
    protocol = with_book()
    protocol.http_response("depth:BNBBTC", status, body, NOW)
    protocol.tick(NOW + SNAPSHOT_RETRY)
    assert [request.tag for request in protocol.take_requests()] == ["depth:BNBBTC"]


def test_what_waits_for_a_snapshot_is_bounded() -> None:
    protocol = with_book()
    for number in range(WAITING + 10):
        take(protocol, depth(number, number, []))
    # Its oldest changes are gone, so this snapshot is too old; one of a later time does.
    assert protocol.http_response("depth:BNBBTC", 200, snapshot(5), NOW) == []
    assert bid(protocol.http_response("depth:BNBBTC", 200, snapshot(500), NOW)) == (1.0, 5.0)


def test_futures_name_the_change_before() -> None:
    protocol = with_book(FUTURES)
    take(protocol, depth(90, 99, [], pu=80))
    take(protocol, depth(100, 120, [["1.01", "1"]], pu=99))
    assert bid(protocol.http_response("depth:BNBBTC", 200, snapshot(110), NOW)) == (1.01, 1.0)
    assert bid(take(protocol, depth(130, 140, [["1.02", "1"]], pu=120, T=NOW // MS))) == (1.02, 1)
    (gap,) = take(protocol, depth(160, 170, [], pu=150))
    assert isinstance(gap, Gap)


@pytest.mark.parametrize("bad", ["NaN", "-1", "1e400", "x", None, "Infinity"])
@pytest.mark.parametrize("is_price", [True, False])
def test_unreadable_change_makes_the_book_invalid(bad: str | None, is_price: bool) -> None:
    protocol = with_book()
    protocol.http_response("depth:BNBBTC", 200, snapshot(100), NOW)
    level: Any = [bad, "1"] if is_price else ["1", bad]
    gaps = take(protocol, depth(101, 101, [level]))
    assert isinstance(gaps[-1], Gap)
    assert [request.tag for request in protocol.take_requests()] == ["depth:BNBBTC"]


def test_restart_forgets_the_books() -> None:
    protocol = with_book()
    protocol.http_response("depth:BNBBTC", 200, snapshot(100), NOW)
    protocol.restart()
    assert take(protocol, depth(101, 101, [["1.05", "1"]])) == []


# --- captures ----------------------------------------------------------------------------------


CAPTURES = [
    ("BINANCE", SPOT, ["NKN/USDT", "BLZ/ETH", "LRC/BTC", "RUNE/EUR"], 177, 173, 159),
    (
        "BINANCE_FUTURES",
        FUTURES,
        ["SUSHI/USDT", "AKRO/USDT", "KEEP/USDT", "CTK/USDT"],
        764,
        760,
        750,
    ),
]


@pytest.mark.parametrize(
    ("capture", "market", "asked", "changes", "applied", "agreeing"),
    CAPTURES,
    ids=[row[0] for row in CAPTURES],
)
def test_books_of_a_capture_stay_valid_and_agree_with_its_best_quotes(
    shared_data: Path,
    capture: str,
    market: BinanceMarket,
    asked: list[str],
    changes: int,
    applied: int,
    agreeing: int,
) -> None:
    """Every recorded change counts, and the top is that of the latest update of the best quote."""
    wire = shared_data / "wire"
    protocol = live(*map(Symbol, asked), options=Options(book=True), market=market)
    frames = [(t, "", text) for t, text in frames_of(wire / f"{capture}.ws.1.0.gz")]
    best: dict[str, dict[int, tuple[float, float, float, float]]] = {}
    for _, _, text in frames:
        data = json.loads(text)["data"]
        if "@bookTicker" in text:
            top = float(data["b"]), float(data["B"]), float(data["a"]), float(data["A"])
            best.setdefault(data["s"], {})[data["u"]] = top
    tops: dict[str, Quote] = {}
    reached: dict[str, int] = {}  # the latest update that is in the book
    seen = counted = agreed = 0
    for received, name, text in sorted([*frames, *answers_of(wire / f"{capture}.http.0.0.gz")]):
        if name:
            events = protocol.http_response(f"depth:{name}", 200, text.encode(), received)
            assert isinstance(events[0], Quote)
            tops[name] = events[0]
            reached[name] = json.loads(text)["lastUpdateId"]
            continue
        events = take(protocol, text, received)
        assert not any(isinstance(event, Gap) for event in events)
        if "@depth" not in text:
            continue
        data = json.loads(text)["data"]
        seen += 1
        if data["s"] not in tops:
            continue
        counted += 1
        for event in events:
            assert isinstance(event, Quote)
            tops[data["s"]] = event
        reached[data["s"]] = max(reached[data["s"]], data["u"])
        known = [update for update in best.get(data["s"], {}) if update <= reached[data["s"]]]
        if known:
            quote = tops[data["s"]]
            mine = quote.bid, quote.bid_size, quote.ask, quote.ask_size
            assert mine == best[data["s"]][max(known)]
            agreed += 1
    assert (seen, counted) == (changes, applied)
    assert agreed == agreeing
    assert protocol.malformed == 0
    requests = protocol.take_requests()
    assert [request.tag for request in requests] == [
        f"depth:{symbol.replace('/', '')}" for symbol in asked
    ]


def answers_of(path: Path) -> Iterator[tuple[int, str, str]]:
    """Recorded snapshots: the moment of arrival, whose it is, and the body."""
    with gzip.open(path, "rt") as stream:
        for line in filter(None, stream.read().split("\n")):
            url, _, rest = line.partition(" -> ")
            parsed = parse_line(rest)
            assert isinstance(parsed, tuple)
            yield parsed[0], url.split("symbol=")[1].split("&")[0], parsed[1]


def test_us_lists_its_own_symbols() -> None:
    protocol = BinanceProtocol(wanted(Symbol("BTC/USD")), Options(bars=True))
    protocol.connected(NOW)
    (frame,) = acknowledge(protocol)
    assert frame["params"][0] == "btcusd@aggTrade"
    candle = {"t": 0, "T": 59999, "o": "1", "h": "1", "l": "1", "c": "1", "v": "1", "x": True}
    candle |= {"t": NOW // MS, "T": NOW // MS + 59999}
    kline = {"stream": "btcusd@kline_1m", "data": {"e": "kline", "s": "BTCUSD", "k": candle}}
    (bar,) = take(protocol, json.dumps(kline))
    assert isinstance(bar, Bar)
    assert bar.span == 60 * SECOND


# --- rubbish -----------------------------------------------------------------------------------

SPECIMENS = [
    json.dumps(TRADE),
    json.dumps({"stream": "bnbbtc@aggTrade", "data": TRADE}),
    json.dumps({"stream": "bnbbtc@trade", "data": {**TRADE, "e": "trade", "t": 5}}),
    json.dumps({"u": 1, "s": "BNBBTC", "b": "1", "B": "1", "a": "2", "A": "1"}),
    depth(101, 102, [["1.0", "3"], ["0.5", "0.00"]]),
    json.dumps({"stream": "bnbbtc@depth@100ms", "data": json.loads(depth(101, 101, []))}),
    json.dumps({"result": None, "id": 1}),
    json.dumps({"error": {"code": 2, "msg": "no"}, "id": 1}),
    json.dumps({"e": "serverShutdown"}),
]


@given(
    st.lists(st.tuples(st.sampled_from(SPECIMENS), st.integers(0, 2**32)), max_size=6),
    st.booleans(),
)
def test_mutated_frames_have_a_documented_outcome(
    frames: list[tuple[str, int]], has_book: bool
) -> None:
    protocol = BinanceProtocol(wanted(BNB), Options(book=has_book))
    protocol.connected(NOW)
    protocol.http_response("depth:BNBBTC", 200, snapshot(100), NOW)
    for frame, seed in frames:
        take(protocol, mutated(frame, random.Random(seed)))


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_arbitrary_input_has_a_documented_outcome(data: bytes | str) -> None:
    take(BinanceProtocol(), data)


@given(st.sampled_from(["list", "depth:BNBBTC", "trades:BNBBTC:90:99"]), st.integers(0, 2**32))
def test_mutated_answers_raise_nothing(tag: str, seed: int) -> None:
    protocol = live(BNB, options=Options(book=True))
    bodies = {
        "list": listed("BNBBTC", price="2"),
        "depth:BNBBTC": snapshot(100),
        "trades:BNBBTC:90:99": json.dumps([{**TRADE, "a": 98}]).encode(),
    }
    body = mutated(bodies[tag].decode(), random.Random(seed))
    protocol.http_response(tag, 200, body if isinstance(body, bytes) else body.encode(), NOW)
