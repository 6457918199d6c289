"""Kraken's proof of a book: the CRC32 of its ten best levels a side as text, in v1 and v2 alike.

Asks from the lowest up, then bids from the highest down; of each level the price and then the size,
without the point and without leading zeros. The text is the venue's: its trailing zeros count.
"""

from decimal import Decimal
from zlib import crc32

from feeds.book import Book, Level

TOP = 10
_REMEMBERED = 4096


class Checksum:
    """Computes checksums; remembers the text of levels, which mostly stay from one to the next."""

    def __init__(self) -> None:
        # By identity, since 1.0 equals 1.00; the level is held so that its identity stays its own.
        self._texts: dict[int, tuple[Level, str]] = {}

    def of(self, book: Book) -> int:
        """Return the checksum of a book."""
        texts = self._texts
        levels = book.asks(TOP) + book.bids(TOP)
        try:
            parts = [texts[id(level)][1] for level in levels]
        except KeyError:
            if len(texts) > _REMEMBERED:
                texts.clear()
            for level in levels:
                if id(level) not in texts:
                    texts[id(level)] = level, _digits(level[0]) + _digits(level[1])
            parts = [texts[id(level)][1] for level in levels]
        return crc32("".join(parts).encode())


def _digits(number: Decimal) -> str:
    text = str(number)
    if "E" in text:  # a tiny one
        text = f"{number:f}"
    return text.replace(".", "").lstrip("0")
