"""How far a backtest has come, how fast, and how long it will take: told the time, asked rarely."""

import msgspec

SECOND_NS = 1_000_000_000


class Pace(msgspec.Struct, frozen=True):
    """How it goes at one look.

    `fraction` of the data's time that is done and `seconds_left` are None where the end is not
    known; `rate` is events a second since the look before.
    """

    time: int
    events: int
    fraction: float | None
    rate: float
    seconds_left: float | None


class PaceMeter:
    """Follows one run through the data's time.

    Args:
        begin: of the data, ns UTC.
        end: of the data, ns UTC; None where it is not known.
        now: seconds, of a clock that never goes back.
    """

    def __init__(self, begin: int, end: int | None, now: float) -> None:
        self._begin, self._end, self._began = begin, end, now
        self._looked, self._events = now, 0

    def look(self, time: int, events: int, now: float) -> Pace:
        """Say how it goes, with `events` told by the data's `time`."""
        span = now - self._looked
        rate = (events - self._events) / span if span > 0 else 0.0
        self._looked, self._events = now, events
        if self._end is None or self._end <= self._begin:
            return Pace(time, events, None, rate, None)
        fraction = min(1.0, max(0.0, (time - self._begin) / (self._end - self._begin)))
        spent = now - self._began
        left = spent * (1 - fraction) / fraction if fraction else None
        return Pace(time, events, fraction, rate, left)
