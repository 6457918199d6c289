"""The same line again and again is told so many times a second, and then how often it came.

Told the time, and asked for each line; pure. A line is the same where its level, its event and all
its fields are.
"""

from collections import OrderedDict
from collections.abc import Hashable
from itertools import islice

import msgspec

SECOND_NS = 1_000_000_000
REMEMBERED = 1_000
"""Different lines of which the count is known: those that came last."""


class Repeated(msgspec.Struct, frozen=True):
    """A line that was held back: which one, its event, and how often."""

    line: Hashable
    event: str
    count: int


class _Seen(msgspec.Struct):
    since: int
    event: str
    passed: int = 0
    held: int = 0


class Repeats:
    """Decides of each line whether it may be told.

    Args:
        most: of the same line a second.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._seen: OrderedDict[Hashable, _Seen] = OrderedDict()
        self._held: set[Hashable] = set()

    def may_pass(self, line: Hashable, event: str, now: int) -> bool:
        """Count a line and say whether it may be told.

        Args:
            line: what makes it the same.
            event: what it is called where the count is told.
            now: ns, of a clock that never goes back.
        """
        seen = self._seen.get(line)
        if seen is None:
            seen = self._seen[line] = _Seen(now, event)
            self._forget()
        elif now - seen.since >= SECOND_NS and not seen.held:
            seen.since, seen.passed = now, 0
        self._seen.move_to_end(line)
        if seen.passed < self._most:
            seen.passed += 1
            return True
        seen.held += 1
        self._held.add(line)
        return False

    def due(self, now: int) -> list[Repeated]:
        """Return what was held back for a second or longer, each once; all of it is told then."""
        ready = [line for line in self._held if now - self._seen[line].since >= SECOND_NS]
        return self._told(ready)

    def rest(self) -> list[Repeated]:
        """Return what was held back and not told yet."""
        return self._told(list(self._held))

    def _told(self, lines: list[Hashable]) -> list[Repeated]:
        told = []
        for line in lines:
            seen = self._seen.pop(line)
            self._held.discard(line)
            told.append(Repeated(line, seen.event, seen.held))
        return told

    def _forget(self) -> None:
        """Keep the last ones only; one that is held back stays until it is told."""
        too_many = len(self._seen) - REMEMBERED
        if too_many > 0:
            for line in list(islice(self._seen, too_many)):
                if line not in self._held:
                    del self._seen[line]
