"""What is due, in order; the next moment of an entry is found when it has fired, never listed.

An entry fires once for all the moments that have passed, and its next one lies after them: a clock
that jumps ten years ahead, or a machine that slept, fires each entry once. A clock that is set back
fires nothing again. Entries of one moment fire in the order in which they were made.
"""

import heapq
import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from runtime.schedule.dates import DateRule
from runtime.schedule.local_time import DAY_NS, in_zone, later, utc_midnight
from runtime.schedule.times import TimeRule

LOOK_AHEAD = 1500
"""So many dates of a rule without a time on any of them, and the entry is due no more."""

NextDue = Callable[[int], int | None]
"""after (ns UTC) -> the first moment later than that, or None."""


def next_due(dates: DateRule, times: TimeRule, after: int) -> int | None:
    """Return the first moment of the two rules that is later than `after`, ns UTC.

    Times of a date may lie before or after it, so further dates are asked until none can be
    earlier than what was found.
    """
    reach = times.reach * DAY_NS
    found: int | None = None
    start = later(in_zone(after, UTC).date(), -times.reach)
    for _ in range(LOOK_AHEAD):
        day = None if start is None else dates.first(start)
        if day is None or (found is not None and utc_midnight(day) - reach > found):
            break
        moment = times.first(day, after)
        if moment is not None and (found is None or moment < found):
            found = moment
        start = later(day, 1)
    return found


class ScheduledEvent:
    """What `schedule.on` returns: one entry of the agenda."""

    def __init__(self, name: str, following: NextDue, callback: Callable[[], object]) -> None:
        self.name = name
        self.callback = callback
        self.due: int | None = None
        """When it fires next, ns UTC; None before the run's first moment and when it is over."""
        self.is_cancelled = False
        self._following = following

    @property
    def next_due(self) -> datetime | None:
        """When it fires next, in UTC; None before the run's first moment and when it is over."""
        return None if self.due is None else in_zone(self.due, UTC)

    def cancel(self) -> None:
        """Never fire again."""
        self.is_cancelled = True
        self.due = None

    def move_past(self, moment: int) -> None:
        """Find the first moment after this one."""
        self.due = None if self.is_cancelled else self._following(moment)

    def __repr__(self) -> str:
        return f"ScheduledEvent({self.name!r}, {self.next_due})"


class Firing(NamedTuple):
    """An entry whose time has come, and by how many ns it is late."""

    event: ScheduledEvent
    due: int
    late: int


class Agenda:
    """The scheduled events of one run; told the time, it says which one is next.

    On a tape nobody knows the time before the first data: entries wait until `begin`.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._waiting: list[ScheduledEvent] | None = []
        self._due: list[tuple[int, int, ScheduledEvent]] = []

    def add(self, event: ScheduledEvent, now: int) -> None:
        """Take an entry; a moment of it that is exactly `now` still counts."""
        if self._waiting is not None:
            self._waiting.append(event)
        else:
            self._place(event, now - 1, next(self._numbers))

    def lead(self, event: ScheduledEvent) -> None:
        """Take an entry that fires before all others of its moment; before time has begun."""
        if self._waiting is None:
            raise RuntimeError(f"{event!r} cannot lead: time has begun")
        self._waiting.insert(0, event)

    def begin(self, now: int) -> None:
        """Say that time has begun; only the first call counts."""
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            for event in waiting:
                self.add(event, now)

    def next_wake(self) -> int | None:
        """Return when something is next due, ns UTC, or None."""
        while self._due and self._due[0][2].is_cancelled:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    def take(self, now: int, until: int | None = None) -> Firing | None:
        """Return the next entry that is due at `now` (or already at `until`), or None.

        Its next moment is after `now`.
        """
        wake = self.next_wake()
        if wake is None or wake > (now if until is None else until):
            return None
        due, number, event = heapq.heappop(self._due)
        self._place(event, now, number)
        return Firing(event, due, now - due)

    def _place(self, event: ScheduledEvent, after: int, number: int) -> None:
        event.move_past(after)
        if event.due is not None:
            heapq.heappush(self._due, (event.due, number, event))
