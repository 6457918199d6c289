"""The interfaces of the feeds package; the implementations are elsewhere.

Decoder: bytes in, events and bytes out, no socket. Tape: recorded or made-up data, told how far
to play. Feed: the running thing, which pushes batches at whoever runs it.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Protocol

import msgspec

from feeds.events import AssetClass, Event, FeedState, MarketEvent, Symbol


class Subscription(msgspec.Struct, frozen=True):
    """What a strategy wants to hear: every trade and quote (and bars a tape holds) of a symbol."""

    symbol: Symbol
    asset_class: AssetClass


class Audit(msgspec.Struct):
    """Every row accounted for: rows == sum of what it became.

    `rows` read; `events` made of them; `suspicious` dropped by the recorder's own flag;
    `malformed` not readable; `ignored` knowingly skipped, by kind.
    One row may hold several events (a frame of many trades) or only change state: `rows_used`
    counts the rows that made events, and rows = rows_used + suspicious + malformed + all ignored.
    `joined` of the rows used went into the event of the row before: the two sides of one quote.
    """

    rows: int = 0
    rows_used: int = 0
    joined: int = 0
    events: int = 0
    suspicious: int = 0
    malformed: int = 0
    ignored: dict[str, int] = msgspec.field(default_factory=dict)

    def ignore(self, kind: str, count: int = 1) -> None:
        """Count `count` rows as knowingly skipped."""
        self.ignored[kind] = self.ignored.get(kind, 0) + count

    @property
    def unaccounted(self) -> int:
        """Rows that became nothing: zero, or there is a fault in the reader."""
        accounted = self.rows_used + self.suspicious + self.malformed + sum(self.ignored.values())
        return self.rows - accounted


class ConnectionStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot of the counters of one connection.

    `frames` are WebSocket messages; `renewals` are planned changes of connection, `reconnects`
    unplanned ones; `filled` are missing trades that came after all. `skew` is how far (ns) the
    venue's clock leads ours, less the way between us: negative as a rule, None before data.
    `trouble` is why the last attempt failed, where none has reached the venue yet.
    """

    name: str
    state: FeedState
    frames: int = 0
    events: int = 0
    malformed: int = 0
    reconnects: int = 0
    renewals: int = 0
    gaps: int = 0
    filled: int = 0
    skew: int | None = None
    active: int = 0
    trouble: str = ""
    refused: dict[Symbol, str] = msgspec.field(default_factory=dict)
    ignored: dict[str, int] = msgspec.field(default_factory=dict)


class FeedStatistics(msgspec.Struct, frozen=True):
    """A snapshot of a feed's counters.

    `frames` are WebSocket messages or file rows; `ignored` is by kind of message; `filled` and
    `skew` as in ConnectionStatistics, of which there is one for each connection of a live feed.
    Of a tape every row and event is accounted for: `frames` = `rows_used` + suspicious + malformed
    + all ignored, and the events made of them = `events` + `foreign` (of symbols that nobody asked
    for) + `unplayed` (read when the run ended). Where a row has one event, those are `rows_used`
    without `rows_joined` (the second sides of quotes). `out_of_order` are events told whose time
    was before that of one told already.
    """

    name: str
    frames: int = 0
    events: int = 0
    malformed: int = 0
    suspicious: int = 0
    reconnects: int = 0
    gaps: int = 0
    ignored: dict[str, int] = msgspec.field(default_factory=dict)
    duplicates: int = 0
    filled: int = 0
    skew: int | None = None
    rows_used: int | None = None
    rows_joined: int = 0
    foreign: int = 0
    unplayed: int = 0
    out_of_order: int = 0
    connections: tuple[ConnectionStatistics, ...] = ()


class Decoder(Protocol):
    """Sans-I/O side of one connection; never raises on what the venue sent."""

    def receive(self, data: bytes | str, received: int) -> list[Event]:
        """Take one frame and return what it says, in the venue's order."""
        ...

    def data_to_send(self) -> list[bytes | str]:
        """Return the frames that must go out now, and forget them."""
        ...


class Source(Protocol):
    """Market data in order of time (a bar counts from its end), read lazily."""

    @property
    def name(self) -> str:
        """What it is, for messages: a path, or "synthetic"."""
        ...

    def events(self) -> Iterator[MarketEvent]:
        """Read from the start; memory does not grow with length."""
        ...

    def audit(self) -> Audit:
        """Return the counts so far."""
        ...


class Market(Protocol):
    """A market that is told how far to play: recorded or made up. Times are ns UTC."""

    @property
    def start(self) -> int | None:
        """The time of its first event; None where it begins at the present."""
        ...

    @property
    def exhausted(self) -> bool:
        """Whether nothing will ever follow."""
        ...

    @property
    def upcoming(self) -> int | None:
        """The time of its next event, where it knows it: nothing happens before."""
        ...

    def subscribe(self, symbol: Symbol, asset_class: AssetClass | None, now: int) -> bool:
        """Have this symbol in the market from now on; False where it is not to be had.

        With a class, only if it is of that class and has trades, quotes or minute bars, which are
        what Alpaca's stream has words for; None: whatever it is.
        """
        ...

    def advance(self, until: int) -> Sequence[MarketEvent]:
        """Return what happened since the last call, up to `until`, in order."""
        ...


Deliver = Callable[[Sequence[Event]], Awaitable[None]]
"""Takes one batch; a slow taker pushes back on the feed by not returning."""


class Feed(Protocol):
    """A running source of batches.

    `lockstep` is True where the tape waits for the reader and the engine's time follows the data
    (flat-out replay); False where time goes on by itself.
    """

    @property
    def lockstep(self) -> bool:
        """Whether the tape waits for the reader."""
        ...

    async def run(self, subscriptions: Sequence[Subscription], deliver: Deliver) -> None:
        """Deliver batches until the data ends or the caller cancels.

        Raises:
            VenueRefused: wrong credentials, or a subscription that the venue will not serve.
            FeedError: the venue could not be reached within the time allowed at start.
        """
        ...

    def subscribe(self, subscriptions: Sequence[Subscription]) -> None:
        """Add symbols while it runs; what the venue thinks of them is told as a Status."""
        ...

    def unsubscribe(self, symbols: Sequence[Symbol]) -> None:
        """Take symbols out while it runs; what is on its way may still come."""
        ...

    def statistics(self) -> FeedStatistics:
        """Return the counters so far; callable at any moment from the loop's thread."""
        ...
