"""A market without end for the venues that no capture plays: trades of a few symbols, numbered on.

Its times are those of the clock, as a venue's are: a gap can be held against what it covers.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from feeds.events import Symbol

KEPT = 3_000
MS = 1_000_000


class Print(NamedTuple):
    """One trade of size 1: `place` of its symbol, its number of that symbol, the time in ms."""

    symbol: Symbol
    place: int
    number: int
    time: int
    price: str


class Market:
    """Trades in turn of all its symbols, `joined` of one at once, of which the last is played.

    Attributes:
        kept: the newest KEPT trades of each symbol, which a venue could be asked for.
        times: of all trades that were played, ns, by symbol and number from 1 on.
    """

    def __init__(self, symbols: Sequence[Symbol], joined: int = 1) -> None:
        self.symbols = list(symbols)
        self._joined = joined
        self.kept: dict[Symbol, deque[Print]] = {each: deque(maxlen=KEPT) for each in symbols}
        self.times: dict[Symbol, list[int]] = {each: [] for each in symbols}

    def play(self) -> Iterator[Print]:
        """Yield trade after trade."""
        while True:
            for place, symbol in enumerate(self.symbols):
                times = self.times[symbol]
                now = time.time_ns() // MS
                for number in range(len(times) + 1, len(times) + 1 + self._joined):
                    trade = Print(symbol, place, number, now, f"{100 + number % 7}.5")
                    times.append(now * MS)
                    self.kept[symbol].append(trade)
                yield trade

    @property
    def played(self) -> int:
        """How many trades there have been."""
        return sum(map(len, self.times.values()))

    def spans(self) -> dict[Symbol, range]:
        """Return the numbers that were played."""
        return {symbol: range(1, len(times) + 1) for symbol, times in self.times.items()}

    def time_of(self, symbol: Symbol, number: int) -> int:
        """Return the time of a trade, ns."""
        return self.times[symbol][number - 1]

    def newest(self, symbol: Symbol, count: int, *, before: int | None = None) -> list[Print]:
        """Return the latest trades of a symbol, the newest first; only those with lower numbers."""
        rows = reversed(self.kept[symbol])
        return list(islice((row for row in rows if before is None or row.number < before), count))
