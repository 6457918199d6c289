"""How fast each venue's protocol reads its recording, against msgspec alone on the same frames.

`msgspec alone` makes plain objects of each frame and does nothing else. The protocol makes events:
typed, checked, in exact order; `with book` it keeps the order books of the recording as well and
makes its quotes of them. All three take turns; measured is the processor's time, not the wall's.
Run it: python -m benchmarks.feeds [--passes N]
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from benchmarks.fuzz import make
from benchmarks.specimens import RECORDINGS, recorded, recorded_answers, symbols_of
from feeds.base import Subscription
from feeds.events import AssetClass
from feeds.protocols.base import Options, VenueProtocol

Frame = tuple[int, str, bytes]  # arrival, the tag of an HTTP answer or "", text


class Row(msgspec.Struct):
    """One line of the table; messages a second, and shares of what msgspec alone does."""

    venue: str
    messages: int
    bare: float
    plain: float
    book: float
    plain_share: float
    book_share: float
    events: int
    book_events: int


def load(venue: str, data: Path) -> list[Frame]:
    """Return frames and snapshots in order of arrival."""
    frames = [(at, "", text.encode()) for at, text in recorded(venue, data)]
    for at, url, body in recorded_answers(venue, data):
        name = url.partition("symbol=")[2].partition("&")[0]
        tag = f"depth:{name}" if name else url.rpartition("/")[2]
        frames.append((at, tag, body.encode()))
    return sorted(frames)


def through_msgspec(frames: list[Frame]) -> tuple[float, int]:
    """Return messages a second (of the processor) of msgspec alone."""
    decode = msgspec.json.Decoder().decode
    messages = [data for _, tag, data in frames if not tag]
    began = time.thread_time()
    for data in messages:
        decode(data)
    return len(messages) / (time.thread_time() - began), 0


def through(protocol: VenueProtocol, frames: list[Frame]) -> tuple[float, int]:
    """Return messages a second of a protocol, and how many events it made of them.

    Answers are taken, and neither they nor their time are counted.
    """
    receive, messages, made, answering = protocol.receive, 0, 0, 0.0
    began = time.thread_time()
    for at, tag, data in frames:
        if tag:
            asked = time.thread_time()
            protocol.http_response(tag, 200, data, at)
            answering += time.thread_time() - asked
        else:
            messages += 1
            made += len(receive(data, at))
    rate = messages / (time.thread_time() - began - answering)
    if protocol.malformed:
        raise RuntimeError(f"{protocol.malformed} frames of the recording could not be read")
    return rate, made


def measure(venue: str, data: Path, passes: int) -> Row:
    """Let all three take turns, and return the medians."""
    frames = load(venue, data)
    wanted = [Subscription(symbol, AssetClass.CRYPTO) for symbol in symbols_of(venue)]
    ways: list[Callable[[], tuple[float, int]]] = [
        lambda: through_msgspec(frames),
        lambda: through(make(venue, wanted, Options()), frames),
        lambda: through(make(venue, wanted, Options(book=True)), frames),
    ]
    messages = sum(1 for _, tag, _ in frames if not tag)
    runs = [[way() for way in ways] for _ in range(passes)]
    bare, plain, book = (statistics.median(run[way][0] for run in runs) for way in range(3))
    shares = [statistics.median(run[way][0] / run[0][0] for run in runs) for way in (1, 2)]
    return Row(
        venue, messages, bare, plain, book, shares[0], shares[1], runs[0][1][1], runs[0][2][1]
    )


def main() -> None:
    """Print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passes", type=int, default=15)
    arguments = parser.parse_args()
    data = Path(os.environ.get("TIDEGATE_SHARED_DATA", "../shared/data"))
    rows = [measure(venue, data, arguments.passes) for venue in RECORDINGS]
    print(
        "messages/s        messages  msgspec alone        protocol   share       with book   share"
    )
    for row in rows:
        print(
            f"{row.venue:<16} {row.messages:>9,} {row.bare:>14,.0f} {row.plain:>15,.0f} "
            f"{row.plain_share:>7.2f} {row.book:>15,.0f} {row.book_share:>7.2f}"
        )
    print(json.dumps([msgspec.to_builtins(row) for row in rows]))


if __name__ == "__main__":
    main()
