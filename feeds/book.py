"""A venue's order book of one symbol: valid, or marked as not, and never silently wrong.

A snapshot makes it valid, an update sets the sizes of levels, a size of zero takes a level out.
A break in the sequence, an impossible number, or sides that cross for a second make it invalid
until the next snapshot. Prices and sizes are exact and keep their text. What lies beyond the worst
level ever told is unknown, not empty: it is left out, and a top that would lie there is invalid.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable
from decimal import (
    Clamped,
    Context,
    Decimal,
    InvalidOperation,
    Overflow,
    Rounded,
    Subnormal,
)
from enum import StrEnum

from feeds.events import EXCERPT_CHARS, SECOND, Gap, Quote, Symbol

Level = tuple[Decimal, Decimal]
"""Price and size, as the venue wrote them: `str` gives back the trailing zeros."""

LEVELS = 10_000
"""Levels kept on each side; those further from the top are forgotten, and unknown from then on."""
CROSSED_NS = SECOND
"""How long a book may be crossed or locked: between the two halves of an update it can be."""

_ABOVE = Decimal("1e19")
# Refuses what has more than 40 digits or is not between 1e-40 and _ABOVE, never rounds.
_exact = Context(
    prec=40,
    Emin=-40,
    Emax=18,
    traps=[InvalidOperation, Overflow, Subnormal, Rounded, Clamped],
).plus


class BookState(StrEnum):
    """Whether a book may be believed."""

    EMPTY = "empty"
    """No snapshot has come yet."""
    VALID = "valid"
    INVALID = "invalid"
    """Something was missed or wrong; only a snapshot mends it."""


class _Side:
    """One side: its levels by price, and their prices in order."""

    def __init__(self, *, is_bid: bool) -> None:
        self._best = -1 if is_bid else 0
        self._worst = 0 if is_bid else -1
        self._is_bid = is_bid
        self.clear()

    def clear(self) -> None:
        self.levels: dict[Decimal, Level] = {}
        self.prices: list[Decimal] = []  # rising
        self.edge: Decimal | None = None  # the worst price up to which all is known

    @property
    def best(self) -> Level | None:
        return self.levels[self.prices[self._best]] if self.prices else None

    @property
    def worst(self) -> Decimal | None:
        return self.prices[self._worst] if self.prices else None

    def first(self, count: int) -> list[Level]:
        prices = self.prices[-count:][::-1] if self._is_bid else self.prices[:count]
        return [self.levels[price] for price in prices] if count > 0 else []

    def fill(self, levels: Iterable[Level]) -> None:
        """Take a whole side; sorting once is cheaper than setting one after the other.

        Raises:
            ValueError, ArithmeticError: a level is impossible.
        """
        self.clear()
        for price, size in levels:
            level = _checked(price, size)
            self.levels[level[0]] = level
        self.levels = {price: level for price, level in self.levels.items() if level[1]}
        self.prices = sorted(self.levels)

    def set(self, levels: Iterable[Level]) -> None:
        """Change some levels; the last word on a price counts.

        Raises:
            ValueError, ArithmeticError: a level is impossible.
        """
        known, prices, edge = self.levels, self.prices, self.edge
        for price, size in levels:
            level = _checked(price, size)
            price = level[0]  # noqa: PLW2901 - the same number
            if price in known:
                if level[1]:
                    known[price] = level
                else:
                    del known[price]
                    del prices[bisect_left(prices, price)]
            elif level[1] and (edge is None or (price >= edge if self._is_bid else price <= edge)):
                known[price] = level
                insort(prices, price)

    def cut(self, count: int) -> bool:
        """Forget all but the best; says whether there was anything to forget."""
        if len(self.prices) <= count:
            return False
        kept = slice(-count, None) if self._is_bid else slice(count)
        gone = slice(-count) if self._is_bid else slice(count, None)
        for price in self.prices[gone]:
            del self.levels[price]
        self.prices = self.prices[kept]
        return True


class Book:
    """The book of one symbol.

    Args:
        symbol: whose it is.
        depth: how many levels a side the venue tells, where it tells only the best: it then tells
            which levels come within that depth, too. None where it tells every change.
        limit: how many levels a side are kept, where `depth` does not say it.
    """

    def __init__(self, symbol: Symbol, depth: int | None = None, limit: int = LEVELS) -> None:
        self.symbol = symbol
        self.state = BookState.EMPTY
        self.reason = ""
        self.sequence: int | None = None
        self._depth = depth
        self._bound = limit if depth is None else depth
        self._bids, self._asks = _Side(is_bid=True), _Side(is_bid=False)
        self._told: tuple[Level, Level, Quote] | None = None
        self._crossed_since: int | None = None
        self._time = 0  # of the latest state that was believed

    @property
    def is_valid(self) -> bool:
        """Whether the book may be believed."""
        return self.state is BookState.VALID

    def bids(self, count: int = LEVELS) -> list[Level]:
        """Return the best bids, highest first."""
        return self._bids.first(count)

    def asks(self, count: int = LEVELS) -> list[Level]:
        """Return the best asks, lowest first."""
        return self._asks.first(count)

    @property
    def is_crossed(self) -> bool:
        """Whether somebody bids at least what somebody else asks."""
        bid, ask = self._bids.best, self._asks.best
        return bid is not None and ask is not None and bid[0] >= ask[0]

    def snapshot(
        self,
        bids: Iterable[Level],
        asks: Iterable[Level],
        sequence: int | None = None,
        *,
        is_whole: bool = False,
    ) -> bool:
        """Begin again from all levels; returns whether they can be believed.

        Args:
            bids: levels in any order.
            asks: the same.
            sequence: the number of the last update that is in it.
            is_whole: nothing lies beyond these levels. Has no meaning where there is a `depth`.
        """
        self.reset()
        try:
            self._bids.fill(bids)
            self._asks.fill(asks)
        except (ValueError, ArithmeticError) as error:
            return self.invalidate(_words(error))
        if self._depth is None and not is_whole:
            self._bids.edge, self._asks.edge = self._bids.worst, self._asks.worst
        self._cut()
        self.state, self.sequence = BookState.VALID, sequence
        return True

    def update(
        self,
        bids: Iterable[Level],
        asks: Iterable[Level],
        sequence: int | None = None,
        follows: int | None = None,
    ) -> bool:
        """Change some levels; returns whether the book can be believed then.

        Args:
            bids: levels with their new sizes; zero takes one out.
            asks: the same.
            sequence: the number of this update; that of the latest again is a repetition, which
                changes nothing.
            follows: the number that the update before must have, where the venue tells it.
        """
        if self.state is not BookState.VALID:
            return False
        if sequence is not None and sequence == self.sequence:
            return True
        if follows is not None and follows != self.sequence:
            return self.invalidate(f"an update follows {follows}, the latest is {self.sequence}")
        for side, levels in ((self._bids, bids), (self._asks, asks)):
            if not levels:
                continue
            try:
                side.set(levels)
            except (ValueError, ArithmeticError) as error:
                return self.invalidate(_words(error))
            if len(side.prices) > self._bound:
                self._cut()
            elif not side.prices and side.edge is not None:
                return self.invalidate("the market left the levels that are known")
        if sequence is not None:
            self.sequence = sequence
        return True

    def quote(self, time: int, received: int) -> Quote | None:
        """Return the top of the book where it is another than the last time.

        None also where a side is empty, and where the book is invalid; it becomes so here when it
        has been crossed for longer than CROSSED_NS.

        Args:
            time: the venue's time of the latest change, ns.
            received: ours.
        """
        if self.state is not BookState.VALID:
            return None
        bid, ask = self._bids.best, self._asks.best
        if bid is None or ask is None:
            self._crossed_since, self._told, self._time = None, None, time
            return None
        if bid[0] < ask[0]:
            self._crossed_since = None
            self._time = time
        elif self._crossed_since is None:
            self._crossed_since = received
        elif received - self._crossed_since > CROSSED_NS:
            self.invalidate(f"crossed for a second: {bid[0]} is bid, {ask[0]} is asked")
            return None
        told = self._told
        if told is not None and bid == told[0] and ask == told[1]:
            return None
        if told is not None and bid is told[0]:
            prices = told[2].bid, told[2].bid_size, float(ask[0]), float(ask[1])
        elif told is not None and ask is told[1]:
            prices = float(bid[0]), float(bid[1]), told[2].ask, told[2].ask_size
        else:
            prices = float(bid[0]), float(bid[1]), float(ask[0]), float(ask[1])
        quote = Quote(self.symbol, time, received, *prices)
        self._told = bid, ask, quote
        return quote

    def invalidate(self, reason: str) -> bool:
        """Mark what is held as not to be believed; returns False."""
        self.state, self.reason = BookState.INVALID, reason[:EXCERPT_CHARS]
        self._told = None
        return False

    def reset(self) -> None:
        """Forget everything, as before the first snapshot."""
        self.state, self.reason, self.sequence = BookState.EMPTY, "", None
        self._bids.clear()
        self._asks.clear()
        self._told = self._crossed_since = None

    def gap(self, time: int, received: int) -> Gap:
        """Tell since when, in the venue's time, the book cannot be believed, and why."""
        return Gap(
            self.symbol,
            self._time or time,
            max(time, self._time),
            received,
            f"order book: {self.reason}",
        )

    def _cut(self) -> None:
        for side in (self._bids, self._asks):
            if side.cut(self._bound) and self._depth is None:
                side.edge = side.worst


def _checked(price: Decimal, size: Decimal) -> Level:
    price, size = _exact(price), _exact(size)
    if not (0 < price < _ABOVE and 0 <= size < _ABOVE):
        raise ValueError(f"a level of {size} at {price}")
    return price, size


def _words(error: Exception) -> str:
    """Say what was impossible; the words of decimal are names of classes."""
    return str(error) if isinstance(error, ValueError) else "a level with an impossible number"
