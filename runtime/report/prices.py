"""The last price of each symbol over time, for charts: a bounded number, however long the data."""

from collections.abc import Iterable
from typing import Protocol

from feeds.events import SECOND, Symbol

MOST = 3_000
"""No symbol has more."""


class Priced(Protocol):
    """What has a price."""

    @property
    def symbol(self) -> Symbol:
        """Its name."""
        ...

    @property
    def has_data(self) -> bool:
        """Whether there is a price yet."""
        ...

    @property
    def price(self) -> float:
        """The last one."""
        ...


class Prices:
    """Follows the prices of all symbols at one pace, which halves when they are too many.

    Attributes:
        series: by symbol, (time in ns UTC, price) in order of time; a price that stood is left out.
        due: the time from which prices are worth a look.
    """

    def __init__(self, step: int = SECOND, most: int = MOST) -> None:
        self.series: dict[Symbol, list[tuple[int, float]]] = {}
        self.due = 0
        self._step, self._most = step, most

    def add(self, time: int, securities: Iterable[Priced]) -> None:
        """Look at the prices at `time`."""
        is_full, known = False, self.series
        for security in securities:
            if not security.has_data:
                continue
            series = known.get(security.symbol)
            if series is None:
                series = known[security.symbol] = []
            price = security.price
            if not series or series[-1][1] != price:
                series.append((time, price))
                is_full = is_full or len(series) >= self._most
        if is_full:
            self._step *= 2
            for series in self.series.values():
                if len(series) > 2:
                    del series[1:-1:2]
        self.due = time + self._step
