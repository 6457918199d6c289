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
        if len(texts) > _REMEMBERED:
            texts.clear()
        parts = []
        for level in (*book.asks(TOP), *book.bids(TOP)):
            known = texts.get(id(level))
            if known is None:
                known = texts[id(level)] = level, f"{_digits(level[0])}{_digits(level[1])}"
            parts.append(known[1])
        return crc32("".join(parts).encode())


def _digits(number: Decimal) -> str:
    return f"{number:f}".replace(".", "").lstrip("0")
