"""Several recordings as one, in order of the moment at which each event was there to be known.

That moment is the arrival, and for a bar its end. Where one file's own clock runs back, its order
stays as it was recorded. Equal moments keep the order in which the sources were given.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence

from feeds.base import Source
from feeds.events import MarketEvent
from feeds.moments import due


def merge(sources: Sequence[Iterable[MarketEvent]]) -> Iterator[MarketEvent]:
    """Merge iterables that are each in order of `due`, holding one event of each."""
    return iter(sources[0]) if len(sources) == 1 else heapq.merge(*sources, key=due)


class SourceTape:
    """A source that is told how far to play.

    It reads as it goes: where the source is a file, call it away from the event loop.
    """

    def __init__(self, source: Source) -> None:
        self._events = source.events()
        self._next = next(self._events, None)
        self.start: int | None = None if self._next is None else due(self._next)

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left to play."""
        return self._next is None

    @property
    def upcoming(self) -> int | None:
        """The time of the next event; None where nothing is left."""
        return None if self._next is None else due(self._next)

    def advance(self, until: int) -> list[MarketEvent]:
        """Return the events due before `until` (ns UTC) that were not played yet, in order."""
        played: list[MarketEvent] = []
        event = self._next
        while event is not None and due(event) < until:
            played.append(event)
            event = next(self._events, None)
        self._next = event
        return played
