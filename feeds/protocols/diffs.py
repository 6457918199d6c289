"""Changes of an order book that come before its snapshot: they wait for it to say which count.

Where snapshots come over HTTP, changes come meanwhile. They are kept, up to WAITING of a symbol; of
more, the oldest go, and the snapshot shows itself too old for the rest.
"""

from collections import deque
from collections.abc import Sequence

import msgspec

from feeds.book import Level
from feeds.events import Symbol

WAITING = 1_000
"""Changes kept of one symbol: ten every second for as long as a snapshot may take."""


class Diff(msgspec.Struct, frozen=True):
    """One change of a book: it holds the updates `first` to `last`.

    `follows` is the number that the change before must end in, where the venue tells it.
    """

    first: int
    last: int
    follows: int | None
    time: int
    bids: Sequence[Level]
    asks: Sequence[Level]


class Diffs:
    """What waits, by symbol."""

    def __init__(self) -> None:
        self._waiting: dict[Symbol, deque[Diff]] = {}

    def keep(self, symbol: Symbol, diff: Diff) -> None:
        """Keep one for the snapshot to come."""
        self._waiting.setdefault(symbol, deque(maxlen=WAITING)).append(diff)

    def oldest(self, symbol: Symbol) -> Diff | None:
        """Return the first that waits, or None."""
        waiting = self._waiting.get(symbol)
        return waiting[0] if waiting else None

    def take(self, symbol: Symbol) -> Sequence[Diff]:
        """Return all that wait, in order, and keep them no longer."""
        return self._waiting.pop(symbol, ())

    def clear(self) -> None:
        """Forget all."""
        self._waiting.clear()
