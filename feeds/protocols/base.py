"""What every venue's protocol offers to the one connection that carries it.

A protocol is told what happened (the socket opened, a frame came, an answer came, time passed) and
returns events; what must go out it queues as frames and as HTTP requests. It never waits, never
reads a clock, never raises on what the venue sent, and lives through reconnects.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from feeds.base import Subscription
from feeds.continuity import Continuity, Mark
from feeds.errors import VenueRefused
from feeds.events import (
    SECOND,
    AssetClass,
    Bar,
    Event,
    Gap,
    Malformed,
    Quote,
    QuoteBar,
    Symbol,
    Trade,
)
from feeds.protocols.frames import count_kind, malformed

COUNTED_BY_ITSELF = (Trade, Quote, Bar, QuoteBar, Malformed)


class SymbolState(StrEnum):
    """What the venue has said about our wish for a symbol."""

    ASKED = "asked"
    ACTIVE = "active"
    REFUSED = "refused"


class Rate(msgspec.Struct, frozen=True):
    """At most `count` within any `span` (ns)."""

    count: int
    span: int = SECOND


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue bears, and when it counts as gone. The connection keeps to all of it.

    Attributes:
        symbols: most symbols on one connection.
        messages: frames we may send on one connection, pings counted; set it below the venue's.
        connects: connection attempts of this machine.
        requests: HTTP requests of this machine.
        max_frame: largest message in bytes, after inflation.
        quiet: ns without any frame after which we ping; after as long again it is dead.
        heartbeat: ns within which the venue always says something by itself, so that its pongs do
            not prove that it lives; None where it has no such promise.
        login: ns from the open socket to `is_live`.
        life: ns after which the venue cuts a connection; it is renewed before, with overlap where
            `overlap` says that a second connection may be had. None: no planned cut.
    """

    symbols: int = 200
    messages: Rate = Rate(4)
    connects: Rate = Rate(100, 300 * SECOND)
    requests: Rate = Rate(5)
    max_frame: int = 1 << 20
    quiet: int = 3 * SECOND
    heartbeat: int | None = None
    login: int = 10 * SECOND
    life: int | None = None
    overlap: bool = True


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a user may choose; a protocol without such a thing ignores it.

    `book`: make quotes from a checked order book, where the venue has a sequence or a checksum.
    `bars`: ask for the venue's own minute bars too.
    """

    key: str = ""
    secret: str = ""
    book: bool = False
    bars: bool = False

    def __repr__(self) -> str:
        return f"Options(book={self.book}, bars={self.bars})"


class HttpGet(msgspec.Struct, frozen=True):
    """A request that the shell carries out, and answers with `http_response(tag, ...)`.

    `path` begins with "/" and holds the query; the shell puts the venue's REST address before it.
    `symbol` is whose data it will bring.
    """

    path: str
    tag: str
    symbol: Symbol | None = None


class VenueProtocol(Protocol):
    """One connection's protocol. Times are ns; symbols canonical.

    The shell's order of calls: `restart()`, the socket opens, `connected(now)`, then `receive` for
    each frame and `tick` at `next_wake`; after each of them it sends `data_to_send()` at the pace
    of `Limits.messages`, carries out `take_requests()`, and looks at `refusal` and `fault`.

    Attributes:
        refusal: the venue said no, in a way that another attempt does not mend (bad key).
        fault: this connection is of no use any more and must be renewed: why, in a few words.
        ignored: frames that made no event, by kind.
        malformed: frames, or items of frames, that could not be read.
        symbols: where each symbol that was asked for stands.
        refused: the venue's words for each symbol that is REFUSED.
        continuity: what knows duplicates and gaps; shared by the connections of one feed, so that
            a symbol keeps its place when it moves to another connection.
    """

    refusal: VenueRefused | None
    fault: str | None
    ignored: dict[str, int]
    malformed: int
    symbols: dict[Symbol, SymbolState]
    refused: dict[Symbol, str]
    continuity: Continuity

    @property
    def path(self) -> str:
        """What follows host and port in the URL, such as "/v2" or "/stream"."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """What the upgrade request must carry."""
        ...

    @property
    def is_live(self) -> bool:
        """Whether the login is done, every symbol is answered, and at least one is ACTIVE."""
        ...

    def restart(self) -> None:
        """Forget the connection that was (books, states, queues); counts and continuity stay."""
        ...

    def connected(self, now: int) -> None:
        """Queue the login or the subscriptions; where the venue speaks first, do nothing."""
        ...

    def receive(self, data: bytes | str, received: int) -> list[Event]:
        """Take one frame and return what it says, in the venue's order."""
        ...

    def data_to_send(self) -> list[bytes | str]:
        """Return the frames that must go out, in order, and forget them."""
        ...

    def next_wake(self) -> int | None:
        """Return when `tick` is due: an application's own ping, a missing answer; or None."""
        ...

    def tick(self, now: int) -> list[Event]:
        """Let time pass; may queue frames or set `fault`."""
        ...

    def subscribe(self, subscriptions: Iterable[Subscription]) -> None:
        """Add symbols; while connected, queue the frames that ask for them."""
        ...

    def unsubscribe(self, symbols: Iterable[Symbol]) -> None:
        """Take symbols out; while connected, queue the frames that say so."""
        ...

    def take_requests(self) -> list[HttpGet]:
        """Return the HTTP requests that are due, such as a book's snapshot, and forget them."""
        ...

    def http_response(self, tag: str, status: int, body: bytes, received: int) -> list[Event]:
        """Take an answer; `status` is 0 where none came, after a few attempts."""
        ...

    def backfill(self, gap: Gap) -> HttpGet | None:
        """Return the request that brings the trades of one symbol's gap; None: not offered.

        Its answer comes to `http_response`, which returns those trades (each admitted by
        `continuity`, so only what is missing comes out) and may ask for a further page.
        """
        ...

    def recover(self, symbol: Symbol, last: Mark, now: int) -> HttpGet | None:
        """Return the request for a symbol's trades since `last`; None: not offered.

        It is asked after an outage, of venues whose ids show no hole. The answers come to
        `http_response`, which in the end returns the missing trades in order, or the Gap that
        stays.
        """
        ...


class VenueCore:
    """What protocols have in common; a venue's protocol builds on it or does without."""

    path = "/"
    headers: Mapping[str, str] = {}

    def __init__(
        self, venue: str, subscriptions: Iterable[Subscription], continuity: Continuity | None
    ) -> None:
        self.venue = venue
        self.refusal: VenueRefused | None = None
        self.fault: str | None = None
        self.ignored: dict[str, int] = {}
        self.malformed = 0
        self.symbols: dict[Symbol, SymbolState] = {}
        self.refused: dict[Symbol, str] = {}
        self.continuity = continuity or Continuity()
        self._outgoing: list[bytes | str] = []
        self._requests: list[HttpGet] = []
        for subscription in subscriptions:
            self.symbols[subscription.symbol] = SymbolState.ASKED

    @property
    def is_live(self) -> bool:
        """Whether every symbol is answered and at least one is ACTIVE."""
        states = self.symbols.values()
        return SymbolState.ACTIVE in states and SymbolState.ASKED not in states

    def restart(self) -> None:
        """Forget the connection that was: every symbol is to be asked for again."""
        self.refusal = self.fault = None
        self._outgoing, self._requests = [], []
        self.refused.clear()
        self.symbols = dict.fromkeys(self.symbols, SymbolState.ASKED)

    def data_to_send(self) -> list[bytes | str]:
        """Return the frames that must go out, in order, and forget them."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def take_requests(self) -> list[HttpGet]:
        """Return the HTTP requests that are due, and forget them."""
        requests, self._requests = self._requests, []
        return requests

    def next_wake(self) -> int | None:
        """Return None: nothing is due by itself."""
        return None

    def tick(self, now: int) -> list[Event]:
        """Do nothing."""
        return []

    def http_response(self, tag: str, status: int, body: bytes, received: int) -> list[Event]:
        """Say nothing: nothing was asked."""
        return []

    def backfill(self, gap: Gap) -> HttpGet | None:
        """Return None: not offered."""
        return None

    def recover(self, symbol: Symbol, last: Mark, now: int) -> HttpGet | None:
        """Return None: not offered, or its numbers tell what is missing."""
        return None

    # --- for those who build on it -------------------------------------------------------------

    def send(self, frame: bytes | str) -> None:
        """Queue a frame."""
        self._outgoing.append(frame)

    def ask(self, request: HttpGet) -> None:
        """Queue a request."""
        self._requests.append(request)

    def refuse(self, symbol: Symbol, words: str) -> None:
        """Note that the venue will not serve a symbol, in its words."""
        self.symbols[symbol] = SymbolState.REFUSED
        self.refused[symbol] = words[:256]

    def ignore(self, kind: str) -> list[Event]:
        """Count a frame that makes no event, and return no event."""
        count_kind(self.ignored, kind)
        return []

    def outcome(self, events: list[Event], kind: str) -> list[Event]:
        """Return a frame's events; one with no market data and nothing unreadable counts as `kind`.

        So each frame is accounted for once: by its market data, as malformed, or by its kind.
        """
        if not any(isinstance(event, COUNTED_BY_ITSELF) for event in events):
            count_kind(self.ignored, kind)
        return events

    def unreadable(self, error: Exception, data: bytes | str, received: int) -> list[Event]:
        """Count a frame that could not be read, and return what tells of it."""
        self.malformed += 1
        return [malformed(self.venue, error, data, received)]


Make = Callable[[Sequence[Subscription], Options, Continuity], VenueProtocol]


class VenueSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A venue as `--feed` knows it; each protocol module has one for each of its venues.

    `url` is ws(s)://host[:port], to which the protocol adds its `path`; `rest_url` https://host.
    `asset_classes` are what it serves. `needs_key`: nothing is to be had without one.
    """

    name: str
    url: str
    rest_url: str | None
    limits: Limits
    make: Make
    asset_classes: frozenset[AssetClass] = frozenset({AssetClass.CRYPTO})
    needs_key: bool = False
