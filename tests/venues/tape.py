"""What a venue plays: the frames of a capture, once, or for ever with their numbers going on.

Coinbase's matches are repeated with trade numbers and times that go on where the recording ends, so
that a run of any length meets frames of the recorded kind and no number twice.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from feeds.events import Symbol
from tests.feeds.venue_kit import frames_of

KEPT = 3_000
CONTROL = {"subscriptions", "last_match", "snapshot"}


class Tape:
    """Frames in order; `play` moves on and keeps what a venue could be asked for later.

    Attributes:
        products: names of all products in it.
        latest: the newest match of each product played so far.
        first, last: numbers of the matches played so far, by product.
        matches: the newest KEPT of them, by product and number.
    """

    def __init__(self, path: Path, *, rounds: int = 1, kinds: tuple[str, ...] = ()) -> None:
        self.frames = [json.loads(text) for _, text in frames_of(path)]
        if kinds:
            self.frames = [frame for frame in self.frames if frame.get("type") in kinds]
        self.products = {f["product_id"] for f in self.frames if f.get("product_id")}
        self.latest: dict[str, dict[str, Any]] = {}
        self.matches: dict[str, dict[int, dict[str, Any]]] = {p: {} for p in self.products}
        self.first: dict[str, int] = {}
        self.last: dict[str, int] = {}
        self._rounds = rounds

    def play(self) -> Iterator[dict[str, Any]]:
        """Yield frame after frame."""
        counts: dict[str, int] = {}
        for recorded in self.frames:
            if recorded.get("type") == "match":
                counts[recorded["product_id"]] = counts.get(recorded["product_id"], 0) + 1
        for turn in range(self._rounds):
            seen: dict[str, int] = {}
            for recorded in self.frames:
                frame = recorded
                if frame.get("type") in CONTROL:
                    continue
                if frame.get("type") == "match":
                    product = frame["product_id"]
                    start = self.first.setdefault(product, frame["trade_id"])
                    place = seen[product] = seen.get(product, -1) + 1
                    number = start + turn * counts[product] + place
                    time = _later(frame["time"], turn) if turn else frame["time"]
                    frame = {**frame, "trade_id": number, "time": time}
                    self.latest[product] = frame
                    self.last[product] = number
                    matches = self.matches[product]
                    matches[number] = frame
                    if len(matches) > KEPT:
                        del matches[next(iter(matches))]
                yield frame

    @property
    def played(self) -> int:
        """How many matches there have been."""
        return sum(map(len, self.spans().values()))

    def spans(self) -> dict[Symbol, range]:
        """Return the numbers of the matches that were played."""
        return {
            Symbol(product.replace("-", "/")): range(first, self.last[product] + 1)
            for product, first in self.first.items()
        }


def _later(text: str, turn: int) -> str:
    moment = datetime.fromisoformat(text) + timedelta(minutes=turn)
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
