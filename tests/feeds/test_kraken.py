"""Kraken's second API: documented shapes and published checksums, where no recording exists."""

import json
import random
from decimal import Decimal
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.base import Subscription
from feeds.continuity import Continuity
from feeds.events import (
    MINUTE,
    Aggressor,
    AssetClass,
    Bar,
    Event,
    Gap,
    Malformed,
    Quote,
    Status,
    Symbol,
    Trade,
)
from feeds.protocols.base import HttpGet, Options, SymbolState
from feeds.protocols.books import RESYNCS
from feeds.protocols.kraken import DEPTH, KrakenProtocol
from tests.feeds.venue_kit import NOW, mutated, take

BTC, ETH, ALGO = Symbol("BTC/USD"), Symbol("ETH/USD"), Symbol("ALGO/USD")
STAMP, TIME = "2023-10-06T17:35:55.440295Z", 1_696_613_755_440_295_000
TRADE = {
    "symbol": "BTC/USD", "side": "buy", "price": 105944.20, "qty": 0.00027625, "ord_type": "limit",
    "trade_id": 10218208, "timestamp": STAMP,
}  # fmt: skip
TICKER = {
    "symbol": "BTC/USD", "bid": 105944.20, "bid_qty": 2.5, "ask": 105944.30, "ask_qty": 3.2,
    "last": 105899.4, "volume": 163.2, "vwap": 105904.4, "low": 1.0, "high": 2.0, "change": 250.0,
    "change_pct": 0.24, "timestamp": STAMP,
}  # fmt: skip
CANDLE = {
    "symbol": "BTC/USD", "interval": 1, "interval_begin": "2023-10-04T16:25:00.000000000Z",
    "open": 2.0, "high": 4.0, "low": 1.0, "close": 3.0, "volume": 30.5, "vwap": 2.5, "trades": 12,
}  # fmt: skip
# The example of Kraken's guide to the checksum of this API, and its result.
BIDS = (
    "45283.5 0.10000000 45283.4 1.54582015 45282.1 0.10000000 45281.0 0.10000000 45280.3 1.54592586"
    " 45279.0 0.07990000 45277.6 0.03310103 45277.5 0.30000000 45277.3 1.54602737"
    " 45276.6 0.15445238"
)
ASKS = (
    "45285.2 0.00100000 45286.4 1.54571953 45286.6 1.54571109 45289.6 1.54560911 45290.2 0.15890660"
    " 45291.8 1.54553491 45294.7 0.04454749 45296.1 0.35380000 45297.5 0.09945542"
    " 45299.5 0.18772827"
)
CHECKSUM = 3310070434
# A snapshot and the update after it as the venue sent them on 2024-10-03, with their checksums.
ALGO_BIDS = (
    "0.12291 27039.62776299 0.12290 8136.33288180 0.12287 10984.20817349 0.12283 28027.05025639"
    " 0.12280 9705.60000000 0.12279 15215.53522714 0.12275 4067.00000000 0.12274 30639.39949109"
    " 0.12268 2531.96119986 0.12267 16299.00000000"
)
ALGO_ASKS = (
    "0.12307 600.00000000 0.12308 4042.11919517 0.12312 10284.53891000 0.12314 16155.08885299"
    " 0.12315 5186.05778473 0.12316 32828.24000000 0.12317 7751.65718582 0.12318 32298.82000000"
    " 0.12319 1864.66899600 0.12322 4718.99755630"
)


def levels(text: str) -> str:
    """JSON of levels whose numbers are written as the text has them."""
    words = iter(text.split())
    return ",".join(f'{{"price":{price},"qty":{size}}}' for price, size in zip(words, words))  # noqa: B905


def book(kind: str, symbol: str, bids: str, asks: str, checksum: int) -> str:
    row = f'"symbol":"{symbol}","bids":[{levels(bids)}],"asks":[{levels(asks)}]'
    return (
        f'{{"channel":"book","type":"{kind}","data":[{{{row},"checksum":{checksum},'
        f'"timestamp":"{STAMP}"}}]}}'
    )


def message(channel: str, *rows: dict[str, Any], kind: str = "update") -> str:
    return json.dumps({"channel": channel, "type": kind, "data": rows})


def trade(number: int, second: int = 0, **changes: Any) -> dict[str, Any]:
    stamp = f"2023-10-06T17:{second // 60:02}:{second % 60:02}Z"
    return {**TRADE, "trade_id": number, "timestamp": stamp, **changes}


def connected(*symbols: Symbol, book: bool = False, bars: bool = False) -> KrakenProtocol:
    wanted = [Subscription(symbol, AssetClass.CRYPTO) for symbol in symbols or (BTC,)]
    protocol = KrakenProtocol(wanted, Options(book=book, bars=bars))
    protocol.restart()
    protocol.connected(NOW)
    return protocol


def sent(protocol: KrakenProtocol) -> list[dict[str, Any]]:
    return [json.loads(frame) for frame in protocol.data_to_send()]


def numbers(events: list[Event]) -> list[str]:
    return [event.trade_id for event in events if isinstance(event, Trade)]


# --- market data -------------------------------------------------------------------------------


def test_trade_has_the_takers_side() -> None:
    expected = Trade(BTC, TIME, NOW, 105944.2, 0.00027625, "10218208", Aggressor.BUYER)
    assert take(KrakenProtocol(), message("trade", TRADE)) == [expected]


def test_first_snapshot_of_trades_is_where_counting_starts() -> None:
    protocol = KrakenProtocol()
    old = [trade(n, n) for n in (7, 5, 6)]
    assert take(protocol, message("trade", *old, kind="snapshot")) == []
    assert protocol.ignored == {"trade before the start": 1}
    assert numbers(take(protocol, message("trade", trade(8, 9)))) == ["8"]


def test_snapshot_after_a_reconnect_fills_what_was_missed() -> None:
    protocol = KrakenProtocol()
    take(protocol, message("trade", trade(5, 5)))
    protocol.restart()
    missed = [trade(n, n) for n in (4, 5, 6, 7)]
    events = take(protocol, message("trade", *missed, kind="snapshot"))
    assert numbers(events) == ["6", "7"]
    assert not any(isinstance(event, Gap) for event in events)


def test_a_jump_is_told_before_the_trade_that_shows_it() -> None:
    protocol = KrakenProtocol()
    take(protocol, message("trade", trade(5, 5)))
    gap, late = take(protocol, message("trade", trade(9, 9)))
    assert isinstance(gap, Gap)
    assert (gap.first, gap.missing) == (6, 3)
    assert numbers([late]) == ["9"]
    assert take(protocol, message("trade", trade(9, 9))) == []
    assert protocol.ignored == {"duplicate": 1}


def test_ticker_is_a_quote() -> None:
    expected = Quote(BTC, TIME, NOW, 105944.2, 2.5, 105944.3, 3.2)
    assert take(KrakenProtocol(), message("ticker", TICKER)) == [expected]
    timeless = {key: value for key, value in TICKER.items() if key != "timestamp"}
    (quote,) = take(KrakenProtocol(), message("ticker", timeless, kind="snapshot"))
    assert isinstance(quote, Quote)
    assert quote.time == NOW


def test_a_halted_symbol_is_no_quote() -> None:
    protocol = KrakenProtocol()
    halted = TICKER | dict.fromkeys(("bid", "bid_qty", "ask", "ask_qty", "last"), 0)
    row = halted | {"timestamp": "1970-01-01T00:00:00Z"}
    assert take(protocol, message("ticker", row)) == []
    assert protocol.ignored == {"one-sided quote": 1}


def test_a_bar_counts_once_its_successor_has_begun() -> None:
    protocol = KrakenProtocol()
    take(protocol, message("ohlc", CANDLE, kind="snapshot"))
    assert take(protocol, message("ohlc", {**CANDLE, "close": 3.5})) == []
    successor = {**CANDLE, "interval_begin": "2023-10-04T16:26:00Z"}
    start = 1_696_436_700_000_000_000
    expected = Bar(BTC, start, NOW + 1, MINUTE, 2.0, 4.0, 1.0, 3.5, 30.5)
    assert take(protocol, message("ohlc", successor), NOW + 1) == [expected]


@pytest.mark.parametrize("bad", ["NaN", "-Infinity", "-1", "0", "1e308", "1,5", "", None, [], True])
@pytest.mark.parametrize(
    ("channel", "row", "key"),
    [("trade", TRADE, "price"), ("ticker", TICKER, "ask"), ("ohlc", CANDLE, "high")],
)
def test_impossible_numbers_are_malformed(
    channel: str, row: dict[str, Any], key: str, bad: object
) -> None:
    (event,) = take(KrakenProtocol(), message(channel, {**row, key: bad}))
    assert isinstance(event, Malformed)


def test_an_unreadable_row_costs_only_itself() -> None:
    rows = trade(1, 1), trade(2, 2, price="NaN"), trade(3, 3)
    events = take(KrakenProtocol(), message("trade", *rows))
    assert [type(event) for event in events] == [Trade, Malformed, Gap, Trade]


def test_decimals_may_come_as_text() -> None:
    row = {**TRADE, "price": "105944.20", "qty": "0.00027625"}
    assert take(KrakenProtocol(), message("trade", row)) == take(
        KrakenProtocol(), message("trade", TRADE)
    )


def test_what_was_not_asked_for_is_counted() -> None:
    protocol = connected(ETH)
    assert take(protocol, message("trade", TRADE)) == []
    assert protocol.ignored == {"symbol not asked for": 1}


def test_unknown_channels_and_methods_are_counted_by_name() -> None:
    protocol = KrakenProtocol()
    for frame in ('{"channel":"level9"}', '{"method":"pong"}', '{"channel":"heartbeat"}', "{}"):
        assert take(protocol, frame) == []
    assert protocol.ignored == {"level9": 1, "pong": 1, "heartbeat": 1, "unknown": 1}


def test_a_venue_in_maintenance_says_so() -> None:
    protocol = KrakenProtocol()
    assert take(protocol, message("status", {"system": "online", "version": "2.0.10"})) == []
    (event,) = take(protocol, message("status", {"system": "maintenance"}))
    assert isinstance(event, Status)
    assert "maintenance" in event.detail


# --- books -------------------------------------------------------------------------------------


def test_the_example_of_krakens_guide_has_its_checksum() -> None:
    protocol = KrakenProtocol()
    (quote,) = take(protocol, book("snapshot", "BTC/USD", BIDS, ASKS, CHECKSUM))
    assert quote == Quote(BTC, TIME, NOW, 45283.5, 0.1, 45285.2, 0.001)
    assert protocol.checks == 1


def test_a_recorded_snapshot_and_its_update_agree() -> None:
    protocol = KrakenProtocol()
    take(protocol, book("snapshot", "ALGO/USD", ALGO_BIDS, ALGO_ASKS, 2375857985))
    take(protocol, book("update", "ALGO/USD", "0.12275 6597.51731160", "", 1100635717))
    assert protocol.checks == 2


@pytest.mark.parametrize("changed", ["0.1 ", "0.1000000 ", "0.10000001 "])
def test_every_digit_of_the_text_counts(changed: str) -> None:
    """A size read as a float and written again has lost its zeros, and the proof with them."""
    protocol = KrakenProtocol()
    bids = BIDS.replace("0.10000000 ", changed, 1)
    (gap,) = take(protocol, book("snapshot", "BTC/USD", bids, ASKS, CHECKSUM))
    assert isinstance(gap, Gap)
    assert "checksum" in gap.reason


def test_a_tiny_size_is_its_digits() -> None:
    """Written with an exponent it would have others."""
    protocol = KrakenProtocol()
    bids = BIDS.replace("0.10000000 ", "0.00000001 ", 1)
    take(protocol, book("snapshot", "BTC/USD", bids, ASKS, slow_checksum(bids, ASKS)))
    assert protocol.checks == 1


def test_a_wrong_checksum_ends_belief_and_asks_anew() -> None:
    protocol = connected(ALGO, book=True)
    sent(protocol)
    take(protocol, book("snapshot", "ALGO/USD", ALGO_BIDS, ALGO_ASKS, 2375857985))
    update = book("update", "ALGO/USD", "0.12275 6597.51731161", "", 1100635717)
    (gap,) = take(protocol, update)
    assert isinstance(gap, Gap)
    assert (gap.symbol, gap.start) == (ALGO, TIME)
    requests = sent(protocol)
    assert [(it["method"], it["params"]["channel"]) for it in requests] == [
        ("unsubscribe", "book"),
        ("subscribe", "book"),
    ]
    assert take(protocol, update) == []
    assert sent(protocol) == []
    (quote,) = take(protocol, book("snapshot", "ALGO/USD", ALGO_BIDS, ALGO_ASKS, 2375857985))
    assert isinstance(quote, Quote)


def test_snapshots_that_are_no_cure_come_to_an_end() -> None:
    protocol = connected(BTC, book=True)
    sent(protocol)
    wrong = book("snapshot", "BTC/USD", BIDS, ASKS, 1)
    told = [event for _ in range(RESYNCS + 3) for event in take(protocol, wrong)]
    assert len(sent(protocol)) == 2 * RESYNCS
    assert any(isinstance(event, Status) and "given up" in event.detail for event in told)


def test_levels_beyond_the_depth_are_forgotten() -> None:
    """The venue does not take them out itself; a level that comes back is told again."""
    protocol = KrakenProtocol()
    take(protocol, book("snapshot", "ALGO/USD", ALGO_BIDS, ALGO_ASKS, 2375857985))
    better = "0.12295 1.00000000"
    bids = " ".join([better, *ALGO_BIDS.split()[:-2]])
    take(protocol, book("update", "ALGO/USD", better, "", slow_checksum(bids, ALGO_ASKS)))
    gone = "0.12295 0.00000000 0.12267 5.00000000"
    bids = " ".join([*ALGO_BIDS.split()[:-2], "0.12267", "5.00000000"])
    take(protocol, book("update", "ALGO/USD", gone, "", slow_checksum(bids, ALGO_ASKS)))
    assert protocol.checks == 3
    assert len(protocol.books.of(ALGO).bids()) == DEPTH


def slow_checksum(bids: str, asks: str) -> int:
    """The rule in plain words, over levels that are in order, the best first."""
    words = asks.split()[:20] + bids.split()[:20]
    return crc32("".join(word.replace(".", "").lstrip("0") for word in words).encode())


CHANGES = st.lists(
    st.tuples(st.booleans(), st.integers(1, 14), st.integers(0, 3), st.integers(0, 2)), max_size=25
)


@given(CHANGES)
def test_books_are_those_of_a_slow_model(changes: list[tuple[bool, int, int, int]]) -> None:
    """The model sorts anew each time, keeps text only, and makes the checksums."""
    bids = {Decimal(99 - n): (f"{99 - n}.0", f"{n + 1}.00") for n in range(10)}
    asks = {Decimal(101 + n): (f"{101 + n}.0", f"{n + 1}.00") for n in range(10)}

    def text(side: dict[Decimal, tuple[str, str]], *, falling: bool) -> str:
        return " ".join(" ".join(side[key]) for key in sorted(side, reverse=falling))

    protocol = KrakenProtocol()
    both = text(bids, falling=True), text(asks, falling=False)
    take(protocol, book("snapshot", "BTC/USD", *both, slow_checksum(*both)))
    for is_bid, step, whole, zeros in changes:
        price = f"{100 - step if is_bid else 100 + step}.0"
        size = f"{whole}." + "0" * (zeros + 1)
        side = bids if is_bid else asks
        side[Decimal(price)] = (price, size)
        if not whole:
            del side[Decimal(price)]
        for worst in sorted(side, reverse=is_bid)[10:]:
            del side[worst]
        both = text(bids, falling=True), text(asks, falling=False)
        change = f"{price} {size}"
        told = (change, "") if is_bid else ("", change)
        take(protocol, book("update", "BTC/USD", *told, slow_checksum(*both)))
    assert protocol.checks == len(changes) + 1
    kept = protocol.books.of(BTC)
    assert [(f"{p}", f"{s}") for p, s in kept.bids()] == [bids[k] for k in sorted(bids)[::-1]]
    assert [(f"{p}", f"{s}") for p, s in kept.asks()] == [asks[k] for k in sorted(asks)]


# --- subscriptions -----------------------------------------------------------------------------


def answer(channel: str, symbol: str, **more: Any) -> str:
    result = {"channel": channel, "symbol": symbol, "snapshot": True}
    return json.dumps({"method": "subscribe", "success": True, "result": result, **more})


def test_each_channel_is_asked_for() -> None:
    protocol = connected(BTC, ETH, bars=True)
    requests = sent(protocol)
    assert [it["params"]["channel"] for it in requests] == ["trade", "ticker", "ohlc"]
    assert all(it["params"]["symbol"] == ["BTC/USD", "ETH/USD"] for it in requests)
    assert requests[1]["params"]["event_trigger"] == "bbo"
    (_, asked) = sent(connected(BTC, book=True))
    assert asked["params"]["depth"] == 10


def test_live_once_each_channel_of_each_symbol_is_answered() -> None:
    protocol = connected(BTC, ETH)
    for channel in ("trade", "ticker"):
        take(protocol, answer(channel, "BTC/USD"))
    assert protocol.symbols == {BTC: SymbolState.ACTIVE, ETH: SymbolState.ASKED}
    refused = {
        "error": "Currency pair not supported ETH/USD", "method": "subscribe", "success": False,
        "symbol": "ETH/USD", "req_id": 1,
    }  # fmt: skip
    take(protocol, json.dumps(refused))
    assert protocol.is_live
    assert protocol.refused == {ETH: "Currency pair not supported ETH/USD"}


def test_a_refusal_that_names_no_symbol_is_that_of_its_request() -> None:
    protocol = connected(BTC, book=True)
    request = sent(protocol)[1]["req_id"]
    frame = {"error": "Subscription depth not supported", "method": "subscribe", "success": False}
    take(protocol, json.dumps({**frame, "req_id": request}))
    assert protocol.symbols == {BTC: SymbolState.REFUSED}
    assert protocol.fault is None


@pytest.mark.parametrize(
    "frame",
    [
        {"error": "Exceeded msg rate", "method": "subscribe", "success": False, "req_id": 1},
        {"error": "Malformed request"},
    ],
)
def test_refusals_of_the_moment_are_a_fault(frame: dict[str, Any]) -> None:
    protocol = connected()
    take(protocol, json.dumps(frame))
    assert protocol.fault
    assert protocol.symbols == {BTC: SymbolState.ASKED}


def test_a_refusal_of_what_is_no_longer_wanted_is_no_matter() -> None:
    protocol = connected(BTC, ETH)
    protocol.unsubscribe([ETH])
    refused = {"error": "Currency pair not supported ETH/USD", "symbol": "ETH/USD", "req_id": 1}
    take(protocol, json.dumps({**refused, "method": "subscribe", "success": False}))
    assert (protocol.fault, protocol.refused) == (None, {})
    assert protocol.symbols == {BTC: SymbolState.ASKED}


def test_symbols_come_and_go_while_connected() -> None:
    protocol = connected(BTC)
    sent(protocol)
    protocol.subscribe([Subscription(ETH, AssetClass.CRYPTO)])
    assert [it["params"]["symbol"] for it in sent(protocol)] == [["ETH/USD"]] * 2
    protocol.unsubscribe([BTC])
    assert {it["method"] for it in sent(protocol)} == {"unsubscribe"}
    assert set(protocol.symbols) == {ETH}
    take(protocol, message("trade", TRADE))
    assert protocol.ignored == {"symbol not asked for": 1}


# --- back-fill ---------------------------------------------------------------------------------

MISSED = Gap(BTC, TIME, TIME + 10, NOW, "3 missing by number", 3, 6)


def page(*numbers: int) -> bytes:
    rows = [["105433.60000", "0.5", 1762795433.9717445 + n, "b", "l", "", n] for n in numbers]
    return json.dumps({"error": [], "result": {"XXBTZUSD": rows, "last": "17627"}}).encode()


def test_a_gap_is_filled_from_the_history() -> None:
    protocol = KrakenProtocol(continuity=Continuity())
    take(protocol, message("trade", trade(5, 5)))
    gap = take(protocol, message("trade", trade(9, 9)))[0]
    assert isinstance(gap, Gap)
    request = protocol.backfill(gap)
    assert isinstance(request, HttpGet)
    assert request.path.startswith("/0/public/Trades?pair=XBTUSD&since=")
    events = protocol.http_response(request.tag, 200, page(5, 6, 7, 8, 9, 10), NOW)
    assert numbers(events) == ["6", "7", "8"]
    assert protocol.take_requests() == []
    assert protocol.http_response(request.tag, 200, page(6, 7), NOW) == []


def test_history_goes_on_page_by_page() -> None:
    protocol = KrakenProtocol()
    request = protocol.backfill(Gap(BTC, TIME, TIME + 10, NOW, "", 5_000, 100))
    assert request is not None
    protocol.http_response(request.tag, 200, page(*range(1_000)), NOW)
    (more,) = protocol.take_requests()
    assert "since=17627" in more.path


@pytest.mark.parametrize(
    ("status", "body"),
    [(0, b""), (503, b"<html>"), (200, b'{"error":["EGeneral:Too many requests"]}')],
)
def test_no_answer_fills_nothing(status: int, body: bytes) -> None:
    protocol = KrakenProtocol()
    request = protocol.backfill(MISSED)
    assert request is not None
    assert protocol.http_response(request.tag, status, body, NOW) == []
    assert sum(protocol.ignored.values()) == 1  # and is counted


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"error":[],"result":{"X":[["NaN"]]}}', b"\xff"])
def test_a_strange_answer_is_told(body: bytes) -> None:
    protocol = KrakenProtocol()
    request = protocol.backfill(MISSED)
    assert request is not None
    (event,) = protocol.http_response(request.tag, 200, body, NOW)
    assert isinstance(event, Malformed)


def test_outages_without_numbers_have_no_history() -> None:
    assert KrakenProtocol().backfill(Gap(None, TIME, TIME, NOW, "away")) is None
    assert KrakenProtocol().backfill(Gap(BTC, TIME, TIME, NOW, "order book: x")) is None


# --- anything at all ---------------------------------------------------------------------------


def test_mutated_frames_have_a_documented_outcome() -> None:
    frames = [
        message("trade", TRADE, trade(10218209)),
        message("trade", TRADE, kind="snapshot"),
        message("ticker", TICKER),
        message("ohlc", CANDLE),
        message("status", {"system": "online"}),
        book("snapshot", "BTC/USD", BIDS, ASKS, CHECKSUM),
        book("update", "BTC/USD", "45283.5 0", "45285.2 1.0", 1),
        answer("trade", "BTC/USD", req_id=1),
        '{"channel":"heartbeat"}',
    ]
    draw = random.Random(7)
    for protocol in (KrakenProtocol(), connected(BTC, book=True)):
        for _ in range(3000):
            take(protocol, mutated(draw.choice(frames), draw))
            protocol.data_to_send()
