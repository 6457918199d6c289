"""`training.when = "closed"`: jobs wait while a market of the strategy's symbols is open.

Regular hours count. A market that never closes is not waited for: nothing would ever train.
"""

from collections.abc import Mapping

from feeds.events import Symbol
from runtime.schedule.calendars import Market


class TrainingHours:
    """When training has to wait, told the time."""

    def __init__(self, markets: Mapping[Symbol, Market]) -> None:
        self.always_open = [symbol for symbol, market in markets.items() if market.never_closes]
        self._markets = [market for market in markets.values() if not market.never_closes]
        self._has_begun = False

    def must_wait(self, now: int) -> bool:
        """Whether a market that closes at some time is open at `now`, ns UTC."""
        return any(market.is_open(now) for market in self._markets)

    def next_look(self, after: int) -> int | None:
        """Return when to ask again: at first at once, then whenever a market opens or closes."""
        if not self._has_begun:
            self._has_begun = True
            return after + 1
        changes = [market.next_change(after) for market in self._markets]
        return min((change for change in changes if change is not None), default=None)
