"""Kraken's first API: the recording is read to its last line, and its books prove themselves."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from feeds.base import Subscription
from feeds.events import Aggressor, AssetClass, Gap, Quote, Status, Symbol, Trade
from feeds.files.capture import CaptureFile
from feeds.protocols.base import Options, SymbolState
from feeds.protocols.kraken_v1 import KrakenV1Protocol
from tests.feeds.venue_kit import NOW, frames_of, mutated, take

BITCOIN = Symbol("BTC/CHF")
STAMP = "1618678133.123456"
TIME = 1_618_678_133_123_456_000


def rows(side: str, price: float, step: float) -> list[list[str]]:
    return [[f"{price + step * n:.1f}", "1.00000000", STAMP] for n in range(10)]


def snapshot() -> list[Any]:
    sides = {"as": rows("a", 101.0, 0.5), "bs": rows("b", 100.0, -0.5)}
    return [1, sides, "book-10", "XBT/CHF"]


@pytest.mark.parametrize(
    ("number", "rows", "used", "events"),
    [("48", 46, 5, {Trade: 6}), ("49", 53, 11, {Quote: 11}), ("50", 2246, 373, {Quote: 373})],
)
def test_each_line_of_the_recording_is_accounted_for(
    shared_data: Path, number: str, rows: int, used: int, events: dict[type, int]
) -> None:
    file = CaptureFile(shared_data / "wire" / f"KRAKEN.ws.{number}.0.gz", "KRAKEN")
    assert Counter(type(event) for event in file.events()) == events
    audit = file.audit()
    assert (audit.rows, audit.rows_used, audit.malformed, audit.unaccounted) == (rows, used, 0, 0)
    assert audit.ignored["subscribed"] == 6
    assert set(audit.ignored) <= {
        *("connection", "sent", "empty line", "systemStatus", "subscribed", "heartbeat", "book"),
    }


def test_every_checksum_of_the_recording_agrees(shared_data: Path) -> None:
    """2,204 messages of books: six snapshots, which name none, and 2,198 updates."""
    protocol = KrakenV1Protocol()
    for received, frame in frames_of(shared_data / "wire" / "KRAKEN.ws.50.0.gz"):
        take(protocol, frame, received)
    assert (protocol.checks, protocol.books.resyncs, protocol.malformed) == (2198, 0, 0)
    assert len(list(protocol.books)) == 6
    assert all(book.is_valid and not book.is_crossed for book in protocol.books)


def test_a_lost_update_of_the_recording_is_noticed(shared_data: Path) -> None:
    """Any one of the updates that change the ten best; each breaks the book once."""
    frames = list(frames_of(shared_data / "wire" / "KRAKEN.ws.50.0.gz"))
    draw = random.Random(1)
    noticed = 0
    for _ in range(5):
        protocol = KrakenV1Protocol()
        lost = draw.randrange(100, 1000)
        events = [
            event
            for n, (received, frame) in enumerate(frames[:2000])
            if n != lost
            for event in take(protocol, frame, received)
        ]
        gaps = [event for event in events if isinstance(event, Gap)]
        assert len(gaps) == protocol.books.resyncs <= 1
        noticed += len(gaps)
    assert noticed >= 3


def test_trades_have_the_taker_and_the_time_to_the_microsecond() -> None:
    protocol = KrakenV1Protocol()
    row = ["0.042990", "15979.71727919", STAMP]
    frame = [1921, [[*row, "s", "l", ""], [*row, "b", "m", ""]], "trade", "XBT/CHF"]
    assert take(protocol, json.dumps(frame)) == [
        Trade(BITCOIN, TIME, NOW, 0.04299, 15979.71727919, "", Aggressor.SELLER),
        Trade(BITCOIN, TIME, NOW, 0.04299, 15979.71727919, "", Aggressor.BUYER),
    ]


def test_ticker_is_a_quote_of_the_moment_it_came() -> None:
    ticker = {"a": ["13.25", 35, "35.7"], "b": ["13.23", 185, "185.1"], "c": ["13.2", "3.7"]}
    frame = [1668, ticker, "ticker", "WAVES/EUR"]
    quote = Quote(Symbol("WAVES/EUR"), NOW, NOW, 13.23, 185.1, 13.25, 35.7)
    assert take(KrakenV1Protocol(), json.dumps(frame)) == [quote]


def test_a_wrong_checksum_ends_belief_until_the_next_snapshot() -> None:
    protocol = KrakenV1Protocol([Subscription(BITCOIN, AssetClass.CRYPTO)], Options(book=True))
    protocol.connected(NOW)
    protocol.data_to_send()
    (quote,) = take(protocol, json.dumps(snapshot()))
    assert isinstance(quote, Quote)
    update = [1, {"b": [["100.2", "1.0", STAMP]], "c": "12345"}, "book-10", "XBT/CHF"]
    (gap,) = take(protocol, json.dumps(update))
    assert isinstance(gap, Gap)
    assert "checksum" in gap.reason
    assert [json.loads(frame)["event"] for frame in protocol.data_to_send()] == [
        "unsubscribe",
        "subscribe",
    ]
    assert take(protocol, json.dumps(update)) == []
    (quote,) = take(protocol, json.dumps(snapshot()))
    assert isinstance(quote, Quote)


def test_symbols_are_active_once_each_channel_is() -> None:
    protocol = KrakenV1Protocol([Subscription(BITCOIN, AssetClass.CRYPTO)])
    protocol.connected(NOW)
    sent = [json.loads(frame) for frame in protocol.data_to_send()]
    assert [(it["pair"], it["subscription"]["name"]) for it in sent] == [
        (["XBT/CHF"], "trade"),
        (["XBT/CHF"], "ticker"),
    ]
    answer = {"event": "subscriptionStatus", "pair": "XBT/CHF", "status": "subscribed"}
    take(protocol, json.dumps({**answer, "subscription": {"name": "trade"}}))
    assert not protocol.is_live
    take(protocol, json.dumps({**answer, "subscription": {"name": "ticker"}}))
    assert protocol.is_live
    refused = {**answer, "status": "error", "errorMessage": "Currency pair not supported"}
    take(protocol, json.dumps(refused))
    assert protocol.symbols == {BITCOIN: SymbolState.REFUSED}
    assert protocol.refused == {BITCOIN: "Currency pair not supported"}


def test_a_venue_in_maintenance_says_so() -> None:
    frame = {"event": "systemStatus", "status": "maintenance", "version": "1.8.3"}
    (event,) = take(KrakenV1Protocol(), json.dumps(frame))
    assert isinstance(event, Status)
    assert "maintenance" in event.detail


def test_mutated_frames_have_a_documented_outcome(shared_data: Path) -> None:
    wire = shared_data / "wire"
    frames = [frame for _, frame in frames_of(wire / "KRAKEN.ws.48.0.gz") if "heart" not in frame]
    frames += [frame for _, frame in frames_of(wire / "KRAKEN.ws.49.0.gz")][:20]
    frames += [f for _, f in frames_of(wire / "KRAKEN.ws.50.0.gz") if len(f) < 1000][:100]
    frames.append(json.dumps(snapshot()))
    draw = random.Random(5)
    protocol = KrakenV1Protocol()
    for _ in range(3000):
        take(protocol, mutated(draw.choice(frames), draw))
