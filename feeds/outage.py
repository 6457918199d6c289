"""Symbols whose ids show no hole, over an outage: what comes waits until what was missed has come.

After it, history goes out first and then what came since, or the gap that stays. A symbol is held
from the loss of its connection to the end of its history, through as many attempts as it takes.
"""

import msgspec

from feeds.continuity import Mark
from feeds.events import Event, Gap, Symbol, Trade

HELD_AT_MOST = 10_000
"""Trades held per symbol; more, and the outage is told as a gap at once."""


class _Outage(msgspec.Struct):
    """One symbol's. `gap` is what is told where nothing better comes."""

    last: Mark
    gap: Gap
    deadline: int | None = None
    history: list[Event] = []
    since: list[Event] = []


class Outages:
    """The outages of one line's symbols; told the time in ns.

    Attributes:
        open: those that go on, by symbol.
        gaps: outages, or parts of them, that stayed.
        filled: trades that history brought.
    """

    def __init__(self) -> None:
        self.gaps = 0
        self.filled = 0
        self.open: dict[Symbol, _Outage] = {}

    def begin(self, symbol: Symbol, last: Mark, reason: str, now: int) -> None:
        """Hold a symbol from now on; an outage that is not over yet goes on."""
        if symbol not in self.open:
            gap = Gap(symbol, last.time, last.time, now, f"outage: {reason}")
            self.open[symbol] = _Outage(last, gap)
        self.open[symbol].deadline = None

    def marks(self) -> list[tuple[Symbol, Mark]]:
        """Return the last trade before each outage, the most recent first."""
        marks = [(symbol, outage.last) for symbol, outage in self.open.items()]
        return sorted(marks, key=lambda each: each[1].time, reverse=True)

    def wait(self, symbol: Symbol, now: int, deadline: int) -> None:
        """Wait until `deadline` for history that was asked for."""
        outage = self.open[symbol]
        outage.deadline = deadline
        end = max(outage.gap.start, now)
        outage.gap = msgspec.structs.replace(outage.gap, end=end, received=now)

    def take(self, symbol: Symbol, event: Event, *, is_history: bool) -> list[Event]:
        """Hold a trade, or the gap that the history itself tells."""
        outage = self.open[symbol]
        if is_history:
            outage.history.append(event)
        else:
            outage.since.append(event)
        return self.give_up(symbol) if len(outage.since) >= HELD_AT_MOST else []

    def conclude(self, symbol: Symbol) -> list[Event]:
        """End an outage whose history has come: return that, then what came since."""
        outage = self.open.pop(symbol, None)
        if outage is None:
            return []
        trades = sum(isinstance(event, Trade) for event in outage.history)
        self.filled += trades
        self.gaps += len(outage.history) - trades
        return outage.history + outage.since

    def give_up(self, symbol: Symbol) -> list[Event]:
        """End an outage without all of its history: return its gap, then what came."""
        outage = self.open.pop(symbol)
        self.gaps += 1
        return [outage.gap, *outage.history, *outage.since]

    def release(self, symbol: Symbol) -> list[Event]:
        """End an outage that nothing can be asked about: what came since is all there is."""
        outage = self.open.pop(symbol)
        return outage.history + outage.since

    def next_wake(self) -> int | None:
        """Return when the first outage's time is up, or None."""
        deadlines = (outage.deadline for outage in self.open.values())
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def expire(self, now: int) -> list[Event]:
        """Return what was held for history that did not come in time."""
        due = [s for s, o in self.open.items() if o.deadline is not None and o.deadline <= now]
        return [event for symbol in due for event in self.give_up(symbol)]

    def drain(self) -> list[Event]:
        """Return all that is held: nothing will follow."""
        return [event for symbol in list(self.open) for event in self.give_up(symbol)]
