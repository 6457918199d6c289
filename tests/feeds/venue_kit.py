"""What tests of venues' protocols share: the oracle of outcomes, and mutations of real frames."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from feeds.events import EXCERPT_CHARS, Bar, Event, Gap, Malformed, Quote, Status, Trade
from feeds.files.capture import parse_line
from feeds.files.lines import read_lines
from feeds.protocols.base import VenueProtocol

NOW = 1_700_000_000_000_000_000

STRANGE: list[Any] = [
    None, True, False, 0, -1, 1.5, "", "x", "NaN", "-Infinity", "1e400", "1e-400", "1,5", "1_0",
    "9" * 50, 10**30, 2**63, -(2**63), [], {}, [[]], [None], {"a": 1}, "\ud800", "\x00", "0", "-0",
    "1970-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "BTC/USD", "snapshot", "update",
]  # fmt: skip
RAW = [
    "NaN",
    "1e400",
    "-1e400",
    "1E-400",
    "9" * 400,
    "[" * 2000,
    '{"a":' * 2000,
    "--1",
    '"\\ud800"',
]


def frames_of(path: Path) -> Iterator[tuple[int, str]]:
    """Read a capture's frames with their moments of arrival."""
    for lines in read_lines(path):
        for line in lines:
            parsed = parse_line(line)
            if not isinstance(parsed, str):
                yield parsed


def take(protocol: VenueProtocol, data: bytes | str, received: int = NOW) -> list[Event]:
    """Hand over a frame and hold its outcome against what is documented.

    A frame is accounted for once: by its market data, as unreadable, or by one count of its kind.
    """
    before, spoilt = sum(protocol.ignored.values()), protocol.malformed
    events = protocol.receive(data, received)
    counted = sum(protocol.ignored.values()) - before
    market = bad = 0
    for event in events:
        match event:
            case Malformed():
                assert len(event.reason) <= EXCERPT_CHARS
                assert len(event.excerpt) <= EXCERPT_CHARS
                event.excerpt.encode()
                bad += 1
            case Trade() | Quote() | Bar():
                assert 0.0 < event.price < 1e19
                assert 0 < event.time < 2**63
                market += 1
            case _:
                assert isinstance(event, Gap | Status)
    assert protocol.malformed - spoilt == bad
    assert counted == (0 if market or bad else 1), f"{events} and {counted} counted"
    assert len(protocol.ignored) <= 65
    return events


def mutated(frame: str, draw: random.Random) -> str | bytes:
    """Change one thing of a frame: a value, a field, a byte, its end."""
    choice = draw.randrange(8)
    if choice == 0:
        data = bytearray(frame.encode())
        for _ in range(draw.randint(1, 4)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        return bytes(data)
    if choice == 1:
        return frame[: draw.randrange(len(frame))]
    tree = json.loads(frame)
    places = list(_places(tree))
    if not places:
        return frame
    parent, key = draw.choice(places)
    if choice == 2:
        del parent[key]
    elif choice == 3:
        parent[key] = "@@@"
        return json.dumps(tree).replace('"@@@"', draw.choice(RAW))
    elif choice == 4 and isinstance(parent, dict):
        text = json.dumps(tree)
        return text[:-1] + f",{json.dumps(key)}:{json.dumps(draw.choice(STRANGE))}}}"
    elif choice == 5 and isinstance(parent, list):
        parent += [parent[key]] * draw.randint(1, 3)
    else:
        parent[key] = draw.choice(STRANGE)
    return json.dumps(tree)


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every place below the root that holds a value."""
    items: Any = ()
    if isinstance(tree, dict):
        items = tree.items()
    elif isinstance(tree, list):
        items = enumerate(tree)
    for key, value in items:
        yield tree, key
        yield from _places(value)
