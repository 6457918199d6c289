"""What ccxt says of a trade or a best quote, as events; knows nothing of connections.

ccxt gives plain dicts with floats, None for what a venue does not tell. A row that cannot be
believed is an event, too.
"""

from collections.abc import Mapping
from typing import Any

from feeds.continuity import Continuity
from feeds.events import SECOND, Aggressor, Event, Malformed, Quote, Symbol, Trade
from feeds.numbers import check_ns, price, size
from feeds.protocols.frames import count_kind, malformed

PREFIX = "ccxt:"
"""Stands before the names of ccxt's venues."""
MS = 1_000_000
ID_CHARS = 64
BEFORE_THE_START = 5 * SECOND
"""A venue may begin with its latest trades: those older than this are no news at a start."""

_AGGRESSORS = {"buy": Aggressor.BUYER, "sell": Aggressor.SELLER}
_UNREADABLE = (KeyError, TypeError, ValueError, OverflowError)
Row = Mapping[str, Any]


class CcxtReader:
    """Makes events of rows. `venue` is its name in what is told.

    Attributes:
        ignored: rows that made no event, by kind.
        malformed: rows that could not be read.
    """

    def __init__(self, venue: str) -> None:
        self.ignored: dict[str, int] = {}
        self.malformed = 0
        self.continuity = Continuity()
        self._venue = venue
        self._begun: set[Symbol] = set()

    def trades(self, symbol: Symbol, rows: list[Row], received: int) -> list[Event]:
        """Return the new ones of a symbol's trades, in the venue's order; each id counts once."""
        events: list[Event] = []
        is_start = symbol not in self._begun
        self._begun.add(symbol)
        for row in rows:
            try:
                trade = _trade(symbol, row, received)
            except _UNREADABLE as error:
                events.append(self._unreadable(error, row, received))
                continue
            is_new = not trade.trade_id or self.continuity.admit_once(
                symbol, trade.trade_id, trade.time
            )
            if not is_new:
                count_kind(self.ignored, "duplicate")
            elif is_start and trade.time < received - BEFORE_THE_START:
                count_kind(self.ignored, "trade before the start")
            else:
                events.append(trade)
        return events

    def quote(self, symbol: Symbol, row: Row, received: int) -> list[Event]:
        """Return a ticker's best bid and ask; a count where it lacks one."""
        try:
            if not (row.get("bid") and row.get("ask")):
                count_kind(self.ignored, "ticker without a quote")
                return []
            bid, ask = price(row["bid"]), price(row["ask"])
            sizes = size(row.get("bidVolume") or 0.0), size(row.get("askVolume") or 0.0)
            time = _time(row, received)
        except _UNREADABLE as error:
            return [self._unreadable(error, row, received)]
        return [Quote(symbol, time, received, bid, sizes[0], ask, sizes[1])]

    def book(self, symbol: Symbol, row: Row, received: int) -> list[Event]:
        """Return the top of an order book."""
        try:
            sides = [next(iter(row[side]), (None, None)) for side in ("bids", "asks")]
            (bid, bid_size), (ask, ask_size) = ((side[0], side[1]) for side in sides)
        except (IndexError, *_UNREADABLE) as error:
            return [self._unreadable(error, row, received)]
        top = {"bid": bid, "bidVolume": bid_size, "ask": ask, "askVolume": ask_size}
        return self.quote(symbol, {**top, "timestamp": row.get("timestamp")}, received)

    def _unreadable(self, error: Exception, row: object, received: int) -> Malformed:
        self.malformed += 1
        return malformed(self._venue, error, repr(row), received)


def _trade(symbol: Symbol, row: Row, received: int) -> Trade:
    trade_id = row.get("id")
    return Trade(
        symbol,
        _time(row, received),
        received,
        price(row["price"]),
        size(row["amount"]),
        "" if trade_id is None else str(trade_id)[:ID_CHARS],
        _AGGRESSORS.get(str(row.get("side")), Aggressor.UNKNOWN),
    )


def _time(row: Row, received: int) -> int:
    """The venue's time in ms, or ours where it tells none."""
    told = row.get("timestamp")
    return received if told is None else check_ns(int(told) * MS)
