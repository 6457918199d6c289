"""The trades since the last one we had, from pages of a venue's recent ones: newest first.

Where ids show no hole, a loss shows only as an outage, and then history is believed on one
condition: that it holds the very trade we had last. It proves that the ids are of one kind and that
nothing lies between. Without it, none of the history is delivered and the outage stays a gap.
"""

from collections.abc import Iterable, Sequence

import msgspec

from feeds.continuity import Continuity, Mark
from feeds.events import SECOND, Event, Gap, Symbol, Trade

ROWS_AT_MOST = 5_000
"""Trades read of one symbol; what goes further back stays a gap."""
RESOLUTION = SECOND
"""The coarsest time of a trade that a history tells."""


class Search(msgspec.Struct, array_like=True, frozen=True):
    """What a request is for: the trades of a symbol since the last that we had.

    It is the request's tag, so that a recording of the answers alone says the same again.
    """

    symbol: Symbol
    last: Mark

    @property
    def tag(self) -> str:
        """What the answer will name."""
        return msgspec.json.encode(self).decode()


read_tag = msgspec.json.Decoder(Search).decode


class Recovery:
    """Searches for one connection. `continuity` says which of the trades are new."""

    def __init__(self, continuity: Continuity) -> None:
        self._continuity = continuity
        self._found: dict[Search, list[Trade]] = {}  # on the way back, newest first

    def clear(self) -> None:
        """Forget all searches: the connection is gone."""
        self._found.clear()

    def take(
        self, search: Search, page: Sequence[Trade], received: int, *, has_more: bool
    ) -> tuple[list[Event], Trade | None]:
        """Take a page, newest first.

        Args:
            search: what the request was for.
            page: trades that follow one another; the next page goes on where this one ends.
            received: our time, ns.
            has_more: whether the venue offers what is older.

        Returns:
            What is to be delivered: the missing trades in order, or the gap; and, while there is
            neither, the oldest trade of the page, before which the next one must end.
        """
        found = self._found.setdefault(search, [])
        for trade in page:
            if trade.trade_id == search.last.trade_id:
                return self._deliver(search), None
            if trade.time < search.last.time - RESOLUTION:
                break
            found.append(trade)
        else:
            if page and has_more and len(found) < ROWS_AT_MOST:
                return [], page[-1]
        return self.fail(search, received, "the venue's history lacks the last trade before"), None

    def fail(self, search: Search, received: int, reason: str) -> list[Event]:
        """Give up a search, and return the gap that stays."""
        self._found.pop(search, None)
        start = search.last.time
        return [Gap(search.symbol, start, max(start, received), received, f"outage: {reason}")]

    def _deliver(self, search: Search) -> list[Event]:
        found = reversed(self._found.pop(search))
        return [
            trade
            for trade in _rising(found, search.last.time)
            if self._continuity.admit_once(trade.symbol, trade.trade_id, trade.time)
        ]


def _rising(trades: Iterable[Trade], start: int) -> Iterable[Trade]:
    """A history may tell whole seconds only, which must not go back behind what was told."""
    for trade in trades:
        start = max(start, trade.time)
        yield trade if trade.time == start else msgspec.structs.replace(trade, time=start)
