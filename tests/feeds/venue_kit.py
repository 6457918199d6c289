"""What tests of venues' protocols share: recorded frames, the oracle of outcomes, mutations."""

from collections.abc import Iterator
from pathlib import Path

from benchmarks import mutations
from feeds.events import Event
from feeds.files.capture import parse_line
from feeds.files.lines import read_lines
from feeds.protocols.base import VenueProtocol

__all__ = ["NOW", "frames_of", "mutated", "take"]

NOW = 1_700_000_000_000_000_000
mutated = mutations.mutated


def frames_of(path: Path) -> Iterator[tuple[int, str]]:
    """Read a capture's frames with their moments of arrival."""
    for lines in read_lines(path):
        for line in lines:
            parsed = parse_line(line)
            if not isinstance(parsed, str):
                yield parsed


def take(protocol: VenueProtocol, data: bytes | str, received: int = NOW) -> list[Event]:
    """Hand over a frame and hold its outcome against what is documented."""
    return mutations.take(protocol, data, received)
