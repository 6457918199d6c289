"""What a venue's protocol is fed under fire: a third real frames, in their order; the rest spoilt.

Real ones are numbered on, so that books are valid and trades counted when the rubbish comes.
"""

import re
from itertools import cycle
from pathlib import Path
from random import Random

import msgspec

from benchmarks.mutations import Specimen
from benchmarks.specimens import frames_of

# Numbers that go on from frame to frame, where a repetition would be all there is.
NUMBERED = {
    "binance": [r'(?<="a":)\d+'],
    "binance-futures": [r'(?<="a":)\d+'],
    "bybit": [r'(?<="i":")\d+'],
    "bitstamp": [r'(?<="id":)\d+'],
    "coinbase": [r'(?<="trade_id":)\d+'],
    "coinbase-advanced": [r'(?<="sequence_num":)\d+', r'(?<="trade_id":")\d+'],
    "kraken": [r'(?<="trade_id":)\d+'],
    "okx": [r'(?<="tradeId":")\d+'],
}


class Numbered(msgspec.Struct):
    """A number in the text of frames, and how far it has come."""

    pattern: re.Pattern[str]
    latest: int = 300_000_000


class Inputs:
    """One venue's inputs without end, the same for the same `draw`."""

    def __init__(self, venue: str, draw: Random, data: Path) -> None:
        self._draw = draw
        frames = [(kind, Specimen(text)) for kind, text in frames_of(venue, data)]
        self._in_order = cycle([specimen for _, specimen in frames])
        self._kinds: dict[str, list[Specimen]] = {}
        for kind, specimen in frames:
            self._kinds.setdefault(kind, []).append(specimen)
        self._numbers = [Numbered(re.compile(text)) for text in NUMBERED.get(venue, ())]

    @property
    def latest(self) -> int:
        """The first number of the latest frame."""
        return self._numbers[0].latest

    def next(self) -> str | bytes:
        """Return one frame."""
        draw = self._draw
        frame: str | bytes
        if draw.random() < 0.33:
            frame = next(self._in_order).text
        else:
            frame = draw.choice(self._kinds[draw.choice(list(self._kinds))]).mutate(draw)
        return self._number(frame)

    def _number(self, frame: str | bytes) -> str | bytes:
        """Let numbers go on by one, and now and then by more."""
        if isinstance(frame, bytes) or self._draw.random() < 0.05:
            return frame
        for entry in self._numbers:
            text = entry.pattern.sub(str(entry.latest + 1), frame)
            if text != frame:
                entry.latest += 1 if self._draw.random() < 0.95 else self._draw.randrange(-2, 20)
                frame = text
        return frame
