"""The most that an account may lose within a day, of the strategy's zone; then trading halts.

A day begins with the equity of its first moment, also for a run that begins amid it: the journal
keeps it. Once a person has let trading go on, the day counts anew from there.
"""

from datetime import date
from decimal import Decimal

import msgspec


class DayBegun(msgspec.Struct, frozen=True):
    """What a day began with: `day` as ISO text, `time` in ns."""

    day: str
    equity: Decimal
    time: int


class DailyLoss:
    """Looks at the equity as time goes on.

    Args:
        limit: the loss that halts, above 0, in the account's currency.
    """

    def __init__(self, limit: Decimal) -> None:
        self._limit = limit
        self._begun: DayBegun | None = None
        self._is_told = False

    def restore(self, begun: DayBegun) -> None:
        """Go on with a day that began before."""
        self._begun = begun

    def look(
        self, day: date, equity: Decimal, time: int, *, halted: bool
    ) -> tuple[DayBegun | None, str]:
        """Return the day, where it begins with this look, and why trading must halt, or "".

        Args:
            day: today, in the strategy's zone.
            equity: now.
            time: now, ns.
            halted: whether trading is halted already, by whomever.
        """
        begun = self._begun
        begins = begun is None or begun.day != day.isoformat() or (self._is_told and not halted)
        if begun is None or begins:
            self._is_told = False
            begun = self._begun = DayBegun(day.isoformat(), equity, time)
            return begun, ""
        lost = begun.equity - equity
        if halted or lost < self._limit:
            return None, ""
        self._is_told = True
        return None, f"the loss of {day} is {lost:.2f}, the limit {self._limit}"
