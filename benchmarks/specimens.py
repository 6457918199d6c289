"""Real frames for the fuzzer and the benchmark: the recorded ones, and what is documented besides.

Documented shapes are in the folder `frames`: one a line, in an order that keeps a book and a count
of trades going.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from feeds.events import Symbol
from feeds.files.capture import parse_line
from feeds.files.lines import read_lines

LARGEST_FRAME = 20_000
"""Characters of a frame that is fuzzed: a book's snapshot of megabytes would be all there is."""
OF_EACH_KIND = 200


class Recording(NamedTuple):
    """Where a venue's recorded frames and HTTP answers are, and whose they are."""

    frames: tuple[str, ...]
    answers: str | None
    symbols: tuple[str, ...]


RECORDINGS = {
    "binance": Recording(
        ("BINANCE.ws.1.0.gz",),
        "BINANCE.http.0.0.gz",
        ("NKN/USDT", "BLZ/ETH", "LRC/BTC", "RUNE/EUR"),
    ),
    "binance-futures": Recording(
        ("BINANCE_FUTURES.ws.1.0.gz",),
        "BINANCE_FUTURES.http.0.0.gz",
        ("SUSHI/USDT", "AKRO/USDT", "KEEP/USDT", "CTK/USDT"),
    ),
    "bitstamp": Recording(
        ("BITSTAMP.ws.1.0.gz",),
        "BITSTAMP.http.0.0.gz",
        ("SGB/EUR", "ETH/USD", "XRP/EUR", "BAT/EUR", "USDT/EUR", "USDT/USD", "XLM/GBP", "ADA/EUR"),
    ),
    "coinbase": Recording(
        ("COINBASE.ws.28.0.gz",),
        None,
        ("SKL/USD", "SKL/BTC", "SKL/GBP", "DASH/BTC", "BAND/BTC", "BAND/GBP", "CRV/EUR"),
    ),
    "kraken-v1": Recording(
        ("KRAKEN.ws.48.0.gz", "KRAKEN.ws.49.0.gz", "KRAKEN.ws.50.0.gz"),
        None,
        ("WAVES/EUR", "GRT/ETH", "SC/EUR", "OCEAN/BTC", "BTC/CHF", "ADA/BTC"),
    ),
}
SYMBOLS = {
    "coinbase-advanced": "ETH/USDT",
    "kraken": "BTC/USD",
    "bybit": "BTC/USDT",
    "okx": "BTC/USDT",
}
DOCUMENTED = Path(__file__).parent / "frames"


def venues() -> list[str]:
    """Name the venues that there are frames of."""
    return sorted({*RECORDINGS, *SYMBOLS})


def symbols_of(venue: str) -> list[Symbol]:
    """Name whose frames there are."""
    recording = RECORDINGS.get(venue)
    return [Symbol(name) for name in (recording.symbols if recording else (SYMBOLS[venue],))]


def recorded(venue: str, data: Path) -> Iterator[tuple[int, str]]:
    """Read the frames of a venue's recording: the moment of arrival, and the text."""
    for name in RECORDINGS[venue].frames:
        for lines in read_lines(data / "wire" / name):
            for line in lines:
                parsed = parse_line(line)
                if not isinstance(parsed, str):
                    yield parsed


def frames_of(venue: str, data: Path) -> list[tuple[str, str]]:
    """Return the first frames of each kind, in their order, and what is documented besides."""
    found: list[tuple[str, str]] = []
    kinds: Counter[str] = Counter()
    for _, text in recorded(venue, data) if venue in RECORDINGS else ():
        kind = _kind(text)
        kinds[kind] += 1
        if kinds[kind] <= OF_EACH_KIND and len(text) <= LARGEST_FRAME:
            found.append((kind, text))
    return found + [(f"documented {text[:60]}", text) for text in _documented(f"{venue}.txt")]


def recorded_answers(venue: str, data: Path) -> Iterator[tuple[int, str, str]]:
    """Read the recorded HTTP answers: the moment of arrival, where from, and the body."""
    recording = RECORDINGS.get(venue)
    if recording is None or recording.answers is None:
        return
    for lines in read_lines(data / "wire" / recording.answers):
        for line in lines:
            url, _, rest = line.partition(" -> ")
            parsed = parse_line(rest)
            if not isinstance(parsed, str):
                yield parsed[0], url, parsed[1]


def answers_of(venue: str, data: Path) -> list[tuple[str, str]]:
    """Return HTTP answers that are small enough: where from, and the body."""
    found = [("", text) for text in _documented(f"{venue}.answers.txt")]
    answers = recorded_answers(venue, data)
    return found + [(url, body) for _, url, body in answers if len(body) <= LARGEST_FRAME]


def _documented(name: str) -> list[str]:
    path = DOCUMENTED / name
    return path.read_text("utf-8").splitlines() if path.exists() else []


def _kind(text: str) -> str:
    """Tell frames apart roughly: by the words that are not of a symbol."""
    tree = msgspec.json.decode(text)
    if not isinstance(tree, dict):
        return "array" + "".join(sorted(tree[1])) if isinstance(tree[1], dict) else "rows"
    words = [str(tree.get(key, "")) for key in ("type", "event", "stream", "e")]
    return " ".join(word.partition("@")[2] or word for word in words)
