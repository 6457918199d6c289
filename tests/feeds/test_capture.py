"""Recorded WebSocket frames: arrival to the nanosecond, every line accounted for."""

import gzip
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from feeds.errors import DecodeError
from feeds.events import AssetClass, Bar, MarketEvent, Quote, Trade
from feeds.files.capture import CaptureFile, CaptureParser, parse_line, venue_of
from feeds.protocols.binance import BinanceProtocol
from feeds.protocols.coinbase import CoinbaseProtocol

TRADE = '{"e":"trade","s":"BNBBTC","t":%d,"p":"0.001","q":"100","T":1672515782136,"m":true}'


def capture_file(path: Path) -> CaptureFile:
    venue = venue_of(path)
    assert venue is not None
    return CaptureFile(path, venue)


def read(path: Path) -> tuple[CaptureFile, dict[type, list[MarketEvent]]]:
    file = capture_file(path)
    by_type: dict[type, list[MarketEvent]] = defaultdict(list)
    for event in file.events():
        by_type[type(event)].append(event)
    return file, by_type


def test_coinbase_capture_is_read_to_the_last_line(shared_data: Path) -> None:
    file, events = read(shared_data / "wire" / "COINBASE.ws.28.0.gz")
    audit = file.audit()
    assert (len(events[Trade]), len(events[Quote])) == (88, 95)
    assert (audit.rows, audit.events, audit.unaccounted, audit.malformed) == (8697, 183, 0, 0)
    assert file.gaps == 0
    assert audit.ignored == {
        "connection": 1,
        "sent": 3,
        "empty line": 2,
        "subscriptions": 3,
        "snapshot": 7,
        "last_match": 7,
        "l2update": 8491,
    }


def test_coinbase_trade_numbers_rise_by_one(shared_data: Path) -> None:
    _, events = read(shared_data / "wire" / "COINBASE.ws.28.0.gz")
    numbers: dict[str, list[int]] = defaultdict(list)
    for trade in events[Trade]:
        assert isinstance(trade, Trade)
        numbers[trade.symbol].append(int(trade.trade_id))
    assert set(numbers) >= {"SKL/USD", "SKL/BTC", "BAND/GBP"}
    for rising in numbers.values():
        assert rising == list(range(rising[0], rising[0] + len(rising)))


def test_binance_capture_is_read_to_the_last_line(shared_data: Path) -> None:
    file, events = read(shared_data / "wire" / "BINANCE.ws.1.0.gz")
    audit = file.audit()
    assert {kind: len(found) for kind, found in events.items()} == {Trade: 2, Quote: 84}
    assert (audit.rows, audit.unaccounted, audit.malformed) == (267, 0, 0)
    assert audit.ignored == {
        "connection": 1,
        "empty line": 1,
        "depthUpdate": 177,
        "kline unfinished": 2,
    }
    assert {event.symbol for event in events[Quote]} >= {"NKN/USDT", "BLZ/ETH"}


def test_binance_futures_capture_has_bars(shared_data: Path) -> None:
    file, events = read(shared_data / "wire" / "BINANCE_FUTURES.ws.1.0.gz")
    assert {kind: len(found) for kind, found in events.items()} == {Trade: 91, Quote: 613, Bar: 4}
    assert (file.audit().unaccounted, file.audit().malformed, file.gaps) == (0, 0, 0)


def test_bitstamp_capture_is_read_to_the_last_line(shared_data: Path) -> None:
    file, events = read(shared_data / "wire" / "BITSTAMP.ws.1.0.gz")
    audit = file.audit()
    assert {kind: len(found) for kind, found in events.items()} == {Trade: 10}
    assert (audit.rows, audit.unaccounted, audit.malformed, file.gaps) == (768, 0, 0, 0)
    assert audit.ignored == {
        "connection": 1,
        "sent": 20,
        "subscribed": 20,
        "diff_order_book data": 717,
    }


def test_arrival_never_runs_back(shared_data: Path) -> None:
    for path in sorted((shared_data / "wire").glob("*.ws.*.gz")):
        if venue_of(path):
            arrivals = [event.received for event in capture_file(path).events()]
            assert arrivals == sorted(arrivals)


@pytest.mark.parametrize(
    ("line", "parsed"),
    [
        ('1633998512.0633569: {"a": 1}', (1633998512_063356900, '{"a": 1}')),
        ("1618677817.07: x", (1618677817_070000000, "x")),
        ("wss://x <-> 1633998511.1", "connection"),
        ('wss://x <- 1618677817.02: {"type": "subscribe"}', "sent"),
        ("https://x -> 1618677816.8: []", "http answer"),
        ('configuration: {"a": 1}', "configuration"),
        ("", "empty line"),
    ],
)
def test_line_shapes(line: str, parsed: object) -> None:
    assert parse_line(line) == parsed


@pytest.mark.parametrize("line", ["1633998512.06", "12x: y", "hello", "0: x", "1" * 60 + ": x"])
def test_other_lines_are_none(line: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_line(line)


def test_each_line_is_counted_once() -> None:
    parser = CaptureParser(BinanceProtocol())
    frames = [TRADE % 5, TRADE % 5, TRADE % 9, "{", '{"error":{"code":2,"msg":"no"},"id":1}']
    lines = [f"1672515782.{n}: {frame}" for n, frame in enumerate(frames)]
    events = parser.feed([*lines, "nonsense", "", "wss://x <-> 1.0"])
    assert len(events) == 2
    assert parser.audit.malformed == 2
    assert parser.audit.ignored == {"duplicate": 1, "error": 1, "empty line": 1, "connection": 1}
    assert (parser.audit.rows, parser.audit.unaccounted, parser.gaps) == (8, 0, 1)


def test_lines_may_come_in_any_portions(shared_data: Path) -> None:
    with gzip.open(shared_data / "wire" / "COINBASE.ws.28.0.gz", "rt") as stream:
        lines = stream.read().split("\n")[:600]
    at_once, one_by_one = CaptureParser(CoinbaseProtocol()), CaptureParser(CoinbaseProtocol())
    events = at_once.feed(lines)
    assert events == [event for line in lines for event in one_by_one.feed([line])]
    assert at_once.audit == one_by_one.audit


@pytest.mark.parametrize(
    ("name", "venue"),
    [
        ("COINBASE.ws.28.0.gz", "COINBASE"),
        ("BINANCE_FUTURES.ws.1.0.gz", "BINANCE_FUTURES"),
        ("BINANCE.0.gz", None),
        ("BINANCE.http.0.0.gz", None),
        ("KRAKEN.ws.48.0.gz", "KRAKEN"),
        ("KRAKEN_FUTURES.ws.1.0.gz", None),
        ("COINBASE.ws.28.0.txt", None),
    ],
)
def test_name_tells_the_venue(name: str, venue: str | None) -> None:
    assert venue_of(Path("folder") / name) == venue


@pytest.mark.parametrize("damage", ["cut", "foreign"])
def test_damaged_gz_names_its_file(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "BINANCE.ws.1.0.gz"
    text = "".join(f"1672515782.{n}: {TRADE % n}\n" for n in range(2000))
    whole = gzip.compress(text.encode())
    path.write_bytes(whole[:-100] if damage == "cut" else b"text")
    with pytest.raises(DecodeError, match=r"BINANCE.ws.1.0.gz cannot be read: .+"):
        list(capture_file(path).events())


def test_what_came_before_the_damage_is_delivered(tmp_path: Path) -> None:
    """A recorder that was killed leaves a file without an end."""
    path = tmp_path / "BINANCE.ws.1.0.gz"
    text = "".join(f"{1672515782 + n}.5: {TRADE % n}\n" for n in range(40_000))
    whole = gzip.compress(text.encode())
    path.write_bytes(whole[:-100])
    file = capture_file(path)
    seen = Counter[type]()
    with pytest.raises(DecodeError):
        seen.update(type(event) for event in file.events())
    assert file.audit().events > 30_000


def test_capture_does_not_know_its_symbols_beforehand() -> None:
    symbols: dict[str, AssetClass] = {}
    assert capture_file(Path("COINBASE.ws.28.0.gz")).symbols == symbols
