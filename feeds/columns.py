"""Trades of one symbol as columns: rows that become events only where somebody wants to see them.

A column is held twice: as numpy, for what is done to all rows, and as a list, whose slices and
values are the quicker ones where rows are few.
"""

from collections.abc import Sequence
from itertools import pairwise, repeat
from typing import Self, TypeGuard

import msgspec
import numpy as np
import numpy.typing as npt

from feeds.events import MarketEvent, Symbol, Trade
from feeds.numbers import LARGEST

Times = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class TradeColumns:
    """Rows in order of time, at least one, each heard at its own time.

    Args:
        symbol: of every row.
        time: int64[n], ns UTC, never running back.
        price: float64[n], finite and above zero.
        size: float64[n], finite and not below zero.
    """

    __slots__ = ("price", "prices", "size", "sizes", "symbol", "time", "times")

    def __init__(self, symbol: Symbol, time: Times, price: Floats, size: Floats) -> None:
        self.symbol = symbol
        self.time, self.price, self.size = time, price, size
        self.times: list[int] = time.tolist()
        self.prices: list[float] = price.tolist()
        self.sizes: list[float] = size.tolist()

    @classmethod
    def of(cls, events: Sequence[MarketEvent]) -> Self | None:
        """Return the columns of these events, or None where they are not what columns can hold."""
        trades = [event for event in events if _fits(event)]
        symbols = {trade.symbol for trade in trades}
        if len(trades) < len(events) or len(symbols) != 1:
            return None
        if any(later.time < earlier.time for earlier, later in pairwise(trades)):
            return None
        return cls(
            symbols.pop(),
            np.array([trade.time for trade in trades], np.int64),
            np.array([trade.price for trade in trades], np.float64),
            np.array([trade.size for trade in trades], np.float64),
        )

    def __len__(self) -> int:
        return len(self.times)

    def events(self, begin: int = 0, end: int | None = None) -> list[Trade]:
        """Return the rows from `begin` to before `end` as events."""
        rows = slice(begin, end)
        times = self.times[rows]
        return list(
            map(Trade, repeat(self.symbol), times, times, self.prices[rows], self.sizes[rows])
        )


def _fits(event: MarketEvent) -> TypeGuard[Trade]:
    """Whether a row can hold all that it says."""
    return (
        type(event) is Trade
        and event == Trade(event.symbol, event.time, event.time, event.price, event.size)
        and 0.0 < event.price <= LARGEST
        and 0.0 <= event.size <= LARGEST
    )


class Span(msgspec.Struct, frozen=True, gc=False):
    """Rows from `begin` to before `end`, at least one."""

    rows: TradeColumns
    begin: int
    end: int

    @property
    def length(self) -> int:
        """How many rows it is."""
        return self.end - self.begin

    @property
    def last_time(self) -> int:
        """The time of the last one, ns UTC."""
        return self.rows.times[self.end - 1]

    @property
    def last(self) -> Trade:
        """The last one, as an event."""
        rows, place = self.rows, self.end - 1
        time = rows.times[place]
        return Trade(rows.symbol, time, time, rows.prices[place], rows.sizes[place])

    def events(self) -> list[Trade]:
        """Return them as events."""
        return self.rows.events(self.begin, self.end)


Block = TradeColumns | list[MarketEvent]
"""Some rows of one series: columns, or events where they are not what columns can hold."""
