"""Walk-forward: train on the last `train` of the data, trade the next `step`, then again.

Nothing is traded before the first training, and nothing is trained between two: what a strategy
asks for waits until the next step. Steps in whole days begin at midnight of the strategy's zone,
others so long after the first moment of the data.
"""

import re
from collections.abc import Callable
from datetime import timedelta, tzinfo

import msgspec

from feeds.events import MINUTE
from runtime.errors import ConfigError
from runtime.schedule.local_time import DAY_NS, at_wall_time, in_zone

UNITS = {"d": DAY_NS, "h": 60 * MINUTE, "m": MINUTE}
_SPAN = re.compile(r"([0-9]{1,6})([dhm])")
_WORDS = frozenset({"train", "step"})


class WalkForward(msgspec.Struct, frozen=True):
    """How long the data is that a training sees, and how long its model trades; ns."""

    train: int
    step: int

    def first(self, begin: int, zone: tzinfo) -> int:
        """Return the moment of the first training of data that begins then, ns UTC."""
        return self._after(begin, zone, self.train)

    def steps(self, begin: int, zone: tzinfo) -> Callable[[int], int]:
        """Return what says which step is the first after a moment, ns UTC."""
        first = self.first(begin, zone)

        def following(after: int) -> int:
            if after < first:
                return first
            count = (after - first) // self.step
            # A day in which the clocks change is not as long as others: the guess is near.
            for guess in range(max(0, count - 1), count + 3):
                moment = self._after(begin, zone, self.train + guess * self.step)
                if moment > after:
                    return moment
            raise AssertionError(f"no step after {after}")

        return following

    def _after(self, begin: int, zone: tzinfo, span: int) -> int:
        if self.train % DAY_NS or self.step % DAY_NS:
            return begin + span
        day = in_zone(begin, zone).date() + timedelta(days=span // DAY_NS)
        return at_wall_time(day, timedelta(), zone)

    def __str__(self) -> str:
        return f"train={span_text(self.train)},step={span_text(self.step)}"


def walk_forward_of(text: str) -> WalkForward:
    """Read train=30d,step=7d: whole days (d), hours (h) or minutes (m).

    Raises:
        ConfigError: it is something else.
    """
    words = dict(word.partition("=")[::2] for word in re.split(r"[,\s]+", text.strip()))
    spans = {name: _SPAN.fullmatch(value) for name, value in words.items()}
    read = {name: int(span[1]) * UNITS[span[2]] for name, span in spans.items() if span is not None}
    if spans.keys() != _WORDS or read.keys() != _WORDS or not all(read.values()):
        raise ConfigError(
            f"--walk-forward is {text!r}: train=30d,step=7d is needed, spans of more than 0 whole "
            "days (d), hours (h) or minutes (m)"
        )
    return WalkForward(**read)


def span_text(span: int) -> str:
    """Write a span by its largest unit."""
    for unit, size in UNITS.items():
        if not span % size:
            return f"{span // size}{unit}"
    raise AssertionError(f"{span} is no span in minutes")
