"""Pending events become one slice: all that arrived since the last dispatch, at one moment.

What waits is bounded. Past the bound each symbol keeps only its latest quote; trades, bars and
notices are never dropped, and when they alone are too many the reader of the socket must stop
(`is_full`) until a slice has been taken.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TypeVar

import msgspec

from feeds.events import Bar, Event, Gap, Quote, QuoteBar, Symbol, Tick, Trade
from feeds.symbols import known_as
from runtime.errors import ConfigError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MARKET_KINDS = (Trade, Quote, Bar, QuoteBar)
MARKET_TYPES = frozenset[type](MARKET_KINDS)
"""The same for `type(event) in`: none has subclasses, and this is asked of each tick."""

_Tick = TypeVar("_Tick", Trade, Quote)
_AnyBar = TypeVar("_AnyBar", Bar, QuoteBar)


class PendingStatistics(msgspec.Struct, frozen=True):
    """A snapshot of what waits: `pending` now, `high_water` the most there ever was.

    `conflated_quotes` were replaced by later ones of their symbol; `pushbacks` counts how often
    the reader had to stop.
    """

    pending: int
    high_water: int
    conflated_quotes: int
    pushbacks: int


class Pending:
    """The events that wait for the next slice, in order of arrival; at most `bound` if they can.

    Once more than `bound` wait, quotes conflate until the next `take`: a symbol's latest quote
    stays at its own place in the order and its earlier ones go.

    Raises:
        ConfigError: the bound is below 1.
    """

    __slots__ = (
        "_conflated",
        "_events",
        "_high_water",
        "_latest",
        "_pushbacks",
        "_serial",
        "bound",
    )

    def __init__(self, bound: int = 100_000) -> None:
        if bound < 1:
            raise ConfigError(f"the bound of pending events is {bound}: set it to 1 or more")
        self.bound = bound
        self._events: list[Event] = []
        # Only in use past the bound: a dict keeps order and lets a stale quote go in O(1). Quotes
        # are keyed by symbol, all else by a serial number.
        self._latest: dict[Symbol | int, Event] = {}
        self._serial = 0
        self._conflated = 0
        self._high_water = 0
        self._pushbacks = 0

    def __len__(self) -> int:
        return len(self._latest) if self._latest else len(self._events)

    @property
    def is_full(self) -> bool:
        """Whether more than the bound waits although quotes are conflated: stop reading."""
        return len(self._latest) > self.bound

    def add(self, events: Sequence[Event]) -> None:
        """Append a batch; all of it is kept, so the bound may be passed by one batch."""
        if self._latest:
            was_full = self.is_full
            self._conflate(events)
        else:
            self._events.extend(events)
            if len(self._events) <= self.bound:
                self._high_water = max(self._high_water, len(self._events))
                return
            was_full = False
            self._conflate(self._events)
            self._events = []
        self._high_water = max(self._high_water, len(self._latest))
        if self.is_full and not was_full:
            self._pushbacks += 1

    def _conflate(self, events: Sequence[Event]) -> None:
        latest = self._latest
        for event in events:
            if isinstance(event, Quote):
                if latest.pop(event.symbol, None) is not None:
                    self._conflated += 1
                latest[event.symbol] = event
            else:
                latest[self._serial] = event
                self._serial += 1

    def take(self) -> list[Event]:
        """Return all that waits, in order of arrival, and start afresh."""
        if self._latest:
            taken = list(self._latest.values())
            self._latest = {}
            return taken
        taken, self._events = self._events, []
        return taken

    def statistics(self) -> PendingStatistics:
        """Return the counters so far."""
        return PendingStatistics(len(self), self._high_water, self._conflated, self._pushbacks)


class Slice:
    """What `on_data` is given: the events of one dispatch, sorted by kind when first asked for.

    `events` holds everything in order of arrival; `time_ns` is the moment of the dispatch, ns UTC.
    The lookups are plain dicts of the symbols that have something in this slice.
    """

    __slots__ = (
        "_bars",
        "_keys",
        "_quote_bars",
        "_quotes",
        "_stale",
        "_ticks",
        "_trades",
        "_tz",
        "events",
        "time_ns",
    )

    def __init__(
        self,
        events: Sequence[Event],
        time_ns: int,
        tz: tzinfo,
        stale: Callable[[Symbol], bool] | None = None,
    ) -> None:
        self.events = events
        self._stale = stale
        self.time_ns = time_ns
        self._tz = tz
        self._keys: dict[Symbol, None] | None = None
        self._trades: dict[Symbol, list[Trade]] | None = None
        self._quotes: dict[Symbol, list[Quote]] | None = None
        self._ticks: dict[Symbol, list[Tick]] | None = None
        self._bars: dict[Symbol, Bar] | None = None
        self._quote_bars: dict[Symbol, QuoteBar] | None = None

    @property
    def time(self) -> datetime:
        """The moment of the dispatch in the strategy's zone, cut to whole microseconds."""
        return (EPOCH + timedelta(microseconds=self.time_ns // 1000)).astimezone(self._tz)

    @property
    def trades(self) -> dict[Symbol, list[Trade]]:
        """Trades by symbol, in order of arrival."""
        if self._trades is None:
            self._trades = _lists(self.events, Trade)
        return self._trades

    @property
    def quotes(self) -> dict[Symbol, list[Quote]]:
        """Quotes by symbol, in order of arrival."""
        if self._quotes is None:
            self._quotes = _lists(self.events, Quote)
        return self._quotes

    @property
    def ticks(self) -> dict[Symbol, list[Tick]]:
        """Trades and quotes together by symbol, in order of arrival."""
        if self._ticks is None:
            found: dict[Symbol, list[Tick]] = {}
            for event in self.events:
                if type(event) is Trade or type(event) is Quote:
                    if (ticks := found.get(event.symbol)) is None:
                        ticks = found[event.symbol] = []
                    ticks.append(event)
            self._ticks = found
        return self._ticks

    @property
    def bars(self) -> dict[Symbol, Bar]:
        """The trade bar of each symbol.

        The engine dispatches one slice for each end of a bar, so there is only one.
        """
        if self._bars is None:
            self._bars = _last(self.events, Bar)
        return self._bars

    @property
    def quote_bars(self) -> dict[Symbol, QuoteBar]:
        """The quote bar of each symbol."""
        if self._quote_bars is None:
            self._quote_bars = _last(self.events, QuoteBar)
        return self._quote_bars

    @property
    def gaps(self) -> list[Gap]:
        """Data that we know we do not have, told in this slice."""
        return [event for event in self.events if isinstance(event, Gap)]

    def is_stale(self, symbol: str) -> bool:
        """Whether a symbol has been silent for longer than its own pace explains.

        Ask it of symbols that are not in the slice: their last prices may be no prices any more.
        Everything is stale while the feed is away.
        """
        return self._stale is not None and self._stale(Symbol(symbol))

    @property
    def has_data(self) -> bool:
        """Whether there is any market event, and not only notices of the feed."""
        return bool(self._symbols())

    def keys(self) -> list[Symbol]:
        """The symbols with a market event in this slice, in order of first arrival."""
        return list(self._symbols())

    def contains_key(self, symbol: str) -> bool:
        """Whether the symbol has a market event in this slice."""
        return symbol in self

    def get(self, symbol: str) -> Bar | QuoteBar | list[Tick] | None:
        """Return what `slice[symbol]` would, or None where the symbol has nothing here."""
        name = known_as(symbol, self._symbols().keys())
        return self.bars.get(name) or self.quote_bars.get(name) or self.ticks.get(name)

    def __getitem__(self, symbol: str) -> Bar | QuoteBar | list[Tick]:
        """Return the symbol's bar if it has one, else its quote bar, else its list of ticks.

        Raises:
            KeyError: the symbol has no market event in this slice.
        """
        found = self.get(symbol)
        if found is None:
            held = ", ".join(self.keys()) or "no market data"
            raise KeyError(
                f"this slice has nothing of {symbol}, it holds {held}: "
                "ask `symbol in slice` first, a slice has only what has just arrived"
            )
        return found

    def __contains__(self, symbol: object) -> bool:
        held = self._symbols()
        return symbol in held or (isinstance(symbol, str) and known_as(symbol, held) in held)

    def __iter__(self) -> Iterator[Symbol]:
        return iter(self._symbols())

    def __len__(self) -> int:
        return len(self._symbols())

    def __repr__(self) -> str:
        return f"Slice({self.time.isoformat()}, {', '.join(self.keys()) or 'no market data'})"

    def _symbols(self) -> dict[Symbol, None]:
        if self._keys is None:
            self._keys = {
                event.symbol: None for event in self.events if isinstance(event, MARKET_KINDS)
            }
        return self._keys


def build_slice(
    events: Sequence[Event],
    time_ns: int,
    tz: tzinfo,
    stale: Callable[[Symbol], bool] | None = None,
) -> Slice:
    """Make the slice of `events` at `time_ns` (ns UTC); `tz` is the strategy's zone.

    `stale` answers for symbols, as of that moment; without it nothing is stale.

    The events are kept, not copied: hand over a list that nobody changes any more.
    """
    return Slice(events, time_ns, tz, stale)


def _lists(events: Sequence[Event], kind: type[_Tick]) -> dict[Symbol, list[_Tick]]:
    found: dict[Symbol, list[_Tick]] = {}
    for event in events:
        if type(event) is kind:
            found.setdefault(event.symbol, []).append(event)
    return found


def _last(events: Sequence[Event], kind: type[_AnyBar]) -> dict[Symbol, _AnyBar]:
    return {event.symbol: event for event in events if isinstance(event, kind)}
