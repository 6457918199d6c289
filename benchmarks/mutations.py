"""Rubbish made of real frames, and what may come of it: shared by the fuzzer and the tests.

A specimen knows where its values are, so that changing one is a cut in its text: a value of another
type, a field gone or twice, a digit off by some, a byte of noise, an end too early.
"""

import re
from functools import lru_cache
from random import Random
from typing import NamedTuple

from feeds.events import EXCERPT_CHARS, Bar, Event, Gap, Malformed, Quote, Status, Trade
from feeds.protocols.base import VenueProtocol

STRANGE = [
    "null", "true", "false", "0", "-1", "1.5", "-0.0", '""', '"x"', '"NaN"', '"-Infinity"',
    '"1e400"', '"1e-400"', '"1,5"', '"1_0"', '"0"', '"-0"', '"-1"', '"00000000000000000001"',
    '"' + "9" * 50 + '"', str(10**30), str(2**53 + 1), str(2**63), str(-(2**63)), "[]", "{}",
    "[[]]", "[null]", '{"a":1}', '"\\ud800"', '"\\u0000"', '"1970-01-01T00:00:00Z"',
    '"9999-12-31T23:59:59-23:59"', '"BTC/USD"', '"BTC-USD"', '"snapshot"', '"update"', "NaN",
    "Infinity", "1e400", "-1e400", "1E-400", "9" * 400, "[" * 2000, '{"a":' * 2000, "--1",
    '["1","1"]', "\ufeff1", '"' + "x" * 5000 + '"',
]  # fmt: skip
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[-\w.+]+|[\[\]{}:,]')


class Place(NamedTuple):
    """Where an item of an object or array stands: with its key, and its value alone."""

    start: int
    value: int
    end: int


def places(text: str) -> list[Place]:
    """Find every item below the root of a JSON text."""
    tokens = list(_TOKEN.finditer(text))
    found: list[Place] = []

    def walk(index: int) -> int:
        """Pass over the value at this token; return the index of what follows it."""
        opened = tokens[index].group()
        index += 1
        if opened not in "[{":
            return index
        while tokens[index].group() not in "]}":
            start = tokens[index].start()
            index += 2 if opened == "{" else 0
            value = tokens[index].start()
            index = walk(index)
            found.append(Place(start, value, tokens[index - 1].end()))
            index += tokens[index].group() == ","
        return index + 1

    walk(0)
    return found


class Specimen:
    """One real frame, and the places where it can be changed."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._places = places(text)
        self._digits = [m.start() for m in re.finditer(r"\d", text)]

    def mutate(self, draw: Random) -> str | bytes:
        """Return it with one change."""
        text = self.text
        choice = draw.randrange(10)
        if choice == 0:
            data = bytearray(text.encode())
            for _ in range(draw.randint(1, 4)):
                data[draw.randrange(len(data))] = draw.randrange(256)
            return bytes(data)
        if choice == 1:
            return text[: draw.randrange(len(text))]
        if choice <= 3 and self._digits:
            at = draw.choice(self._digits)
            return (
                text[:at] + draw.choice(["0", "1", "9", "", "00", "-", ".", "e5"]) + text[at + 1 :]
            )
        if not self._places:
            return text + draw.choice(STRANGE)
        place = draw.choice(self._places)
        if choice == 4:
            end = place.end + text.startswith(",", place.end)
            return text[: place.start] + text[end:]
        if choice == 5:
            item = text[place.start : place.end]
            return text[: place.end] + f",{item}" * draw.randint(1, 3) + text[place.end :]
        if choice == 6:  # the same key twice, with another value
            key = text[place.start : place.value]
            return text[: place.end] + f",{key}{draw.choice(STRANGE)}" + text[place.end :]
        other = draw.choice(self._places)
        value = text[other.value : other.end] if choice == 7 else draw.choice(STRANGE)
        return text[: place.value] + value + text[place.end :]


@lru_cache(maxsize=1024)
def _specimen(frame: str) -> Specimen:
    return Specimen(frame)


def mutated(frame: str, draw: Random) -> str | bytes:
    """Change one thing of a frame."""
    return _specimen(frame).mutate(draw)


def take(protocol: VenueProtocol, data: bytes | str, received: int) -> list[Event]:
    """Hand over a frame and hold its outcome against what is documented.

    A frame is accounted for once: by its market data, as unreadable, or by one count of its kind.
    """
    before, spoilt = sum(protocol.ignored.values()), protocol.malformed
    events = protocol.receive(data, received)
    counted = sum(protocol.ignored.values()) - before
    market = sum(1 for event in events if isinstance(event, (Trade, Quote, Bar)))
    bad = sum(1 for event in events if isinstance(event, Malformed))
    check(events)
    assert protocol.malformed - spoilt == bad
    assert counted == (0 if market or bad else 1), f"{events} and {counted} counted"
    assert len(protocol.ignored) <= 65
    return events


def check(events: list[Event]) -> None:
    """Hold each event against what it promises."""
    for event in events:
        match event:
            case Malformed():
                assert len(event.reason) <= EXCERPT_CHARS
                assert len(event.excerpt) <= EXCERPT_CHARS
                event.excerpt.encode()
            case Trade() | Quote() | Bar():
                assert 0.0 < event.price < 1e19
                assert 0 < event.time < 2**63
            case Gap():
                assert 0 < event.start <= event.end
                assert event.missing is None or event.missing > 0
            case _:
                assert isinstance(event, Status)
