"""What one batch holds is told end by end: bars that ended together share a slice, others do not.

A late batch can end several bars of a symbol; each is shown by itself, in order of the ends, for a
slice has room for one. Other events keep their order of arrival and go with the first end after
them, or with the last one.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from feeds.events import Bar, Gap, MarketEvent, QuoteBar
from runtime.lines import Ended


class Moment(NamedTuple):
    """What one slice holds, and the bars that ended with it."""

    events: list[MarketEvent | Gap]
    ended: list[Ended]


def split(events: list[MarketEvent | Gap], ended: Sequence[Ended]) -> list[Moment]:
    """Divide a batch into its moments, in order of the ends.

    Args:
        events: what on_data should see, in order of arrival.
        ended: every bar that has ended, at least one: those in `events`, and those of handlers.
    """
    if _end_together(ended):
        return [Moment(events, list(ended))]
    seen: Counter[tuple[object, ...]] = Counter()
    moments: dict[tuple[int, int], Moment] = {}
    places: dict[int, list[tuple[int, int]]] = {}
    for each in ended:
        # A bar that comes again, corrected, has a slice of its own.
        what = (id(each.handler), type(each.bar), each.bar.symbol, each.bar.end_time)
        key = (each.bar.end_time, seen[what])
        seen[what] += 1
        moments.setdefault(key, Moment([], [])).ended.append(each)
        if each.handler is None:
            places.setdefault(id(each.bar), []).append(key)
    keys = sorted(moments)
    at = 0
    for event in events:
        if isinstance(event, Bar | QuoteBar):
            moments[places[id(event)].pop(0)].events.append(event)
            continue
        time = event.end if isinstance(event, Gap) else event.time
        while at < len(keys) - 1 and keys[at][0] <= time:
            at += 1
        moments[keys[at]].events.append(event)
    return [moments[key] for key in keys]


def _end_together(ended: Sequence[Ended]) -> bool:
    """Whether all ended at one time, and none comes twice: as a rule."""
    if len(ended) == 1:
        return True
    end = ended[0].bar.end_time
    kinds = set()
    for bar, handler in ended:
        if bar.end_time != end:
            return False
        kinds.add((bar.symbol, type(bar), id(handler)))
    return len(kinds) == len(ended)
