"""Subscriptions that were asked for: an answer names its request, and so means these symbols.

Bounded: a venue that never answers must not fill the memory.
"""

from collections.abc import Sequence

from feeds.events import Symbol

REQUESTS_REMEMBERED = 1_000
"""Answers to so many of the latest requests are understood."""

Asked = tuple[str, Sequence[Symbol]]
"""A channel, and whose it was asked for."""


class Requests:
    """Numbers requests of one connection and knows what they asked for."""

    def __init__(self) -> None:
        self._latest = 0
        self._asked: dict[int, Asked] = {}

    def __len__(self) -> int:
        return len(self._asked)

    def number(self) -> int:
        """Return the number of a request whose answer does not matter."""
        self._latest += 1
        return self._latest

    def add(self, channel: str, symbols: Sequence[Symbol]) -> int:
        """Remember what is asked for, and return its number."""
        number = self.number()
        self._asked[number] = channel, symbols
        if len(self._asked) > REQUESTS_REMEMBERED:
            del self._asked[next(iter(self._asked))]
        return number

    def find(self, number: int | str | None) -> Asked:
        """Return what a request asked for; no symbols where it is none of ours."""
        return self._asked.get(_number(number), ("", ()))

    def take(self, number: int | str | None) -> Asked:
        """Return the same, and remember it no longer: one answer is all that comes."""
        return self._asked.pop(_number(number), ("", ()))

    def oldest(self) -> int | None:
        """Return the number of the oldest that is remembered."""
        return next(iter(self._asked), None)

    def clear(self) -> None:
        """Forget all: the connection is gone."""
        self._asked.clear()


def _number(told: int | str | None) -> int:
    """Read a number as a venue repeats it: ours are small, whatever else is none of them."""
    if isinstance(told, str):
        return int(told) if told.isascii() and told.isdecimal() and len(told) < 20 else 0
    return told or 0
