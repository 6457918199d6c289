"""Alpaca's market-data stream, server side: one Session per connection, told bytes and the time.

A session is greeted, must log in within ten seconds, then changes its subscriptions; each change is
answered with the FULL set. Frames are arrays of objects: JSON text, or msgpack where the upgrade
request asked for it. A batch is encoded once for all sessions with equal sets.
"""

import hmac
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from feeds.events import MINUTE, SECOND, Aggressor, AssetClass, Bar, MarketEvent, Quote, Trade
from feeds.symbols import guess_class
from feeds.venue.bars import DayBar, figures
from feeds.venue.tape import EVENTS_A_FRAME, tape_frames
from feeds.venue.words import ENCODERS, Codec, stamp

ERRORS = {
    400: "invalid syntax",
    401: "not authenticated",
    402: "auth failed",
    403: "already authenticated",
    404: "auth timeout",
    405: "symbol limit exceeded",
    406: "connection limit exceeded",
    407: "slow client",
    409: "insufficient subscription",
    410: "invalid subscribe action for this feed",
    411: "insufficient scope",
    412: "option feed only supports MessagePack",
    500: "internal error",
}
ENDING = {402, 404, 406, 407, 409, 411, 412, 500}
"""After these the venue closes the connection; the others leave it as it was."""

EVERYTHING = "*"
CHANNELS = ("trades", "quotes", "bars", "dailyBars")
SILENT = ("updatedBars", "statuses", "lulds")
"""Served, with nothing to say: trades are never late or wrong here, and no share is halted."""
WITH_TRADES = ("corrections", "cancelErrors")
"""Whoever hears a share's trades is subscribed to these too."""
SHARES_ONLY = ("statuses", "lulds", *WITH_TRADES)
ABSENT = ("orderbooks", "news")
SYMBOL_CHARS = 32
LARGEST_ID = 2**63


class FeedKind(StrEnum):
    """The streams this venue offers.

    Two are extensions of our own: forex, in the shape of crypto, and the tape, of `tape.py`.
    """

    IEX = "iex"
    SIP = "sip"
    TEST = "test"
    CRYPTO = "crypto"
    FOREX = "forex"
    TAPE = "tape"

    @property
    def asset_class(self) -> AssetClass | None:
        """What its symbols name; None for anything."""
        return _ASSET_CLASSES.get(self, AssetClass.EQUITY)

    @property
    def is_stock(self) -> bool:
        """Whether its frames have the fields of stocks (exchange, tape, conditions)."""
        return self not in _ASSET_CLASSES


_ASSET_CLASSES: dict[FeedKind, AssetClass | None] = {
    FeedKind.CRYPTO: AssetClass.CRYPTO,
    FeedKind.FOREX: AssetClass.FOREX,
    FeedKind.TAPE: None,
}

PATHS = {
    "/v2/iex": FeedKind.IEX,
    "/v2/sip": FeedKind.SIP,
    "/v2/test": FeedKind.TEST,
    "/v1beta3/crypto/us": FeedKind.CRYPTO,
    "/v1beta1/forex": FeedKind.FOREX,
    "/v1beta1/tape": FeedKind.TAPE,
}
TEST_SYMBOL = "FAKEPACA"
"""The only symbol of /v2/test."""


class Credentials(Struct, frozen=True):
    """A key pair and what it may hear: all feeds unless `feeds` names some."""

    key: str
    secret: str
    feeds: frozenset[FeedKind] = frozenset(FeedKind)

    def __repr__(self) -> str:
        return "Credentials(key=***, secret=***)"

    def match(self, key: str, secret: str) -> bool:
        """Compare in a time that does not tell where they differ."""
        theirs = hmac.compare_digest(self.key.encode(), key.encode(errors="replace"))
        return theirs & hmac.compare_digest(self.secret.encode(), secret.encode(errors="replace"))


class Limits(Struct, frozen=True):
    """What one account may use; the defaults are generous, the free plan has 30 and 1."""

    symbols: int = 100_000
    connections: int = 100
    login: int = 10 * SECOND


class Occupancy:
    """How many connections are logged in, by feed: shared by the sessions of one venue.

    `refuses` may keep one out although there is room: a fault switch.
    """

    def __init__(self, limit: int, refuses: Callable[[], bool] = lambda: False) -> None:
        self._limit, self._refuses = limit, refuses
        self._count: dict[FeedKind, int] = {}

    def enter(self, kind: FeedKind) -> bool:
        """Take a place, or return False where all are taken."""
        count = self._count.get(kind, 0)
        if count >= self._limit or self._refuses():
            return False
        self._count[kind] = count + 1
        return True

    def leave(self, kind: FeedKind) -> None:
        """Give a place back."""
        self._count[kind] -= 1


class Group(Struct, frozen=True):
    """All that decides which bytes a session gets: sessions with equal groups share them."""

    kind: FeedKind
    codec: Codec
    trades: frozenset[str] = frozenset()
    quotes: frozenset[str] = frozenset()
    bars: frozenset[str] = frozenset()
    dailyBars: frozenset[str] = frozenset()  # noqa: N815 - the wire's name

    @property
    def symbols(self) -> frozenset[str]:
        """Every symbol it hears anything of."""
        return self.trades | self.quotes | self.bars | self.dailyBars


class _Request(Struct):
    """What a client may say; channels that we do not serve are looked up in the raw message."""

    action: str
    key: str = ""
    secret: str = ""
    trades: list[str] = []
    quotes: list[str] = []
    bars: list[str] = []
    dailyBars: list[str] = []  # noqa: N815 - the wire's name
    updatedBars: list[str] = []  # noqa: N815 - the wire's name
    statuses: list[str] = []
    lulds: list[str] = []


class Session:
    """One client's connection to one feed.

    `available(symbol)` says whether the venue has, or can make, a market in that symbol; one
    it has not is left out of the set in the answer. Once `ending` is set, the error frame
    returned with it is the last one, and the shell closes the connection.
    """

    def __init__(
        self,
        kind: FeedKind,
        codec: Codec,
        credentials: Credentials,
        opened: int,
        *,
        available: Callable[[str], bool],
        occupancy: Occupancy,
        limits: Limits,
    ) -> None:
        self._credentials, self._available = credentials, available
        self._occupancy, self._limits = occupancy, limits
        self.group = Group(kind, codec)
        self._silent: dict[str, frozenset[str]] = dict.fromkeys(SILENT, frozenset())
        self.login_deadline = opened + limits.login
        self.authenticated = False
        self.ending: int | None = None

    @property
    def subscribed(self) -> bool:
        """Whether it hears anything."""
        return bool(self.group.symbols)

    def greet(self, key: str | None = None, secret: str | None = None) -> list[bytes]:
        """Return the first frames; a key and secret from the upgrade request log in at once."""
        frames = [self._encode([{"T": "success", "msg": "connected"}])]
        if key is not None and secret is not None:
            frames += self._log_in(key, secret)
        return frames

    def receive(self, frame: bytes | str) -> list[bytes]:
        """Take one frame of the client and return the answers."""
        if self.ending is not None:
            return []
        binary = self.group.codec is Codec.MSGPACK and not isinstance(frame, str)
        decode: Any = msgspec.msgpack.decode if binary else msgspec.json.decode
        try:
            message = decode(frame)
            request = msgspec.convert(message, _Request)
        except (ValueError, RecursionError, OverflowError):
            return self.refuse(400)
        match request.action:
            case "auth":
                return self._log_in(request.key, request.secret)
            case "subscribe" | "unsubscribe" if not self.authenticated:
                return self.refuse(401)
            case "subscribe" | "unsubscribe":
                return self._change(request, message)
            case _:
                return self.refuse(400)

    def check_login(self, now: int) -> list[bytes]:
        """Return error 404 where the time to log in has passed, else nothing."""
        late = not self.authenticated and self.ending is None and now >= self.login_deadline
        return self.refuse(404) if late else []

    def refuse(self, code: int) -> list[bytes]:
        """Answer with one of ERRORS."""
        if code in ENDING:
            self.ending = code
        return [self._encode([{"T": "error", "code": code, "msg": ERRORS[code]}])]

    def close(self) -> None:
        """Give the place back; the connection is gone. Harmless when repeated."""
        if self.authenticated:
            self._occupancy.leave(self.group.kind)
            self.authenticated = False
        self.group = Group(self.group.kind, self.group.codec)

    def _log_in(self, key: str, secret: str) -> list[bytes]:
        if self.authenticated:
            return self.refuse(403)
        if not self._credentials.match(key, secret):
            return self.refuse(402)
        if self.group.kind not in self._credentials.feeds:
            return self.refuse(409)
        if not self._occupancy.enter(self.group.kind):
            return self.refuse(406)
        self.authenticated = True
        return [self._encode([{"T": "success", "msg": "authenticated"}])]

    def _change(self, request: _Request, message: Mapping[str, Any]) -> list[bytes]:
        asked = {name: set(getattr(request, name)) for name in (*CHANNELS, *SILENT)}
        if any(not 0 < len(s) <= SYMBOL_CHARS for symbols in asked.values() for s in symbols):
            return self.refuse(400)
        foreign = ABSENT if self.group.kind.is_stock else (*ABSENT, *SHARES_ONLY)
        if any(message.get(name) for name in foreign):
            return self.refuse(410)
        before = self._sets
        if request.action == "unsubscribe":
            after = {name: before[name] - asked[name] for name in asked}
        else:
            after = {name: before[name] | asked[name] for name in asked}
            if len(set().union(*after.values())) > self._limits.symbols:
                return self.refuse(405)
            new = set().union(*asked.values()) - set().union(*before.values()) - {EVERYTHING}
            absent = {symbol for symbol in new if not self._serves(symbol)}
            after = {name: symbols - absent for name, symbols in after.items()}
        self.group = Group(self.group.kind, self.group.codec, **{n: after[n] for n in CHANNELS})
        self._silent = {name: after[name] for name in SILENT}
        return [self._encode([{"T": "subscription"} | self._answer()])]

    @property
    def _sets(self) -> dict[str, frozenset[str]]:
        return {name: getattr(self.group, name) for name in CHANNELS} | self._silent

    def _answer(self) -> dict[str, list[str]]:
        """Return the full set, with every channel that the feed has."""
        answer = {name: sorted(symbols) for name, symbols in self._sets.items()}
        if self.group.kind.is_stock:
            return answer | dict.fromkeys(WITH_TRADES, answer["trades"])
        others = {name: held for name, held in answer.items() if name not in SHARES_ONLY}
        return others | {"orderbooks": []}

    def _serves(self, symbol: str) -> bool:
        if self.group.kind is FeedKind.TEST and symbol != TEST_SYMBOL:
            return False
        return self._available(symbol)

    def _encode(self, message: object) -> bytes:
        return ENCODERS[self.group.codec](message)


# --- market data on the wire ------------------------------------------------------------------


class _StockTrade(Struct, tag="t", tag_field="T", gc=False):
    S: str
    p: float
    s: float
    t: object
    i: int | UnsetType = UNSET
    x: str = "V"
    c: tuple[str, ...] = ("@",)
    z: str = "C"


class _CryptoTrade(Struct, tag="t", tag_field="T", gc=False):
    S: str
    p: float
    s: float
    t: object
    i: int | UnsetType = UNSET
    tks: str | UnsetType = UNSET


class _StockQuote(Struct, tag="q", tag_field="T", gc=False, rename={"ask": "as"}):
    S: str
    bp: float
    bs: float
    ap: float
    ask: float
    t: object
    bx: str = "V"
    ax: str = "V"
    c: tuple[str, ...] = ("R",)
    z: str = "C"


class _CryptoQuote(Struct, tag="q", tag_field="T", gc=False, rename={"ask": "as"}):
    S: str
    bp: float
    bs: float
    ap: float
    ask: float
    t: object


class _Bar(Struct, tag="b", tag_field="T", gc=False):
    S: str
    o: float
    h: float
    l: float  # noqa: E741 - the wire's name
    c: float
    v: float
    n: int
    vw: float
    t: object


class _DailyBar(_Bar, tag="d", tag_field="T", gc=False):
    pass


_TAKER: dict[Aggressor, str | UnsetType] = {
    Aggressor.BUYER: "B",
    Aggressor.SELLER: "S",
    Aggressor.UNKNOWN: UNSET,
}


def _identity(trade_id: str) -> int | UnsetType:
    """Send a trade id as an integer, which is all that Alpaca's clients take; leave out others."""
    if not (trade_id.isascii() and trade_id.isdecimal() and len(trade_id) < 20):
        return UNSET
    number = int(trade_id)
    return number if number < LARGEST_ID and str(number) == trade_id else UNSET


def _row(bar: Bar) -> tuple[str, float, float, float, float, float, int, float]:
    prices = bar.open, bar.high, bar.low, bar.close
    return bar.symbol, *prices, bar.volume, *figures(bar)


class Batch:
    """Events of one moment, encoded at most once for each group that hears them.

    `classes` says what each symbol is, which decides who hears it under "*"; others are guessed.
    """

    def __init__(self, events: Sequence[MarketEvent], classes: Mapping[str, AssetClass]) -> None:
        self._events, self._classes = events, classes
        self._frames: dict[Group, list[bytes]] = {}

    def frames(self, group: Group) -> list[bytes]:
        """Return the frames for a group, none where it hears none of these events."""
        frames = self._frames.get(group)
        if frames is None:
            encode = ENCODERS[group.codec]
            if group.kind is FeedKind.TAPE:
                heard = self._heard(group.symbols, None)
                frames = tape_frames(self._events, heard, encode, stamp(group.codec))
            else:
                wire = list(self._wire(group))
                starts = range(0, len(wire), EVENTS_A_FRAME)
                frames = [encode(wire[start : start + EVENTS_A_FRAME]) for start in starts]
            self._frames[group] = frames
        return frames

    def _wire(self, group: Group) -> Iterator[Struct]:
        """Yield what the group hears, in the shape of its feed.

        Alpaca's words have one-minute bars of trades only: other bars are not sent.
        """
        stock = group.kind.is_stock
        at = stamp(group.codec)
        trades, quotes, bars, days = (
            self._heard(getattr(group, name), group.kind.asset_class) for name in CHANNELS
        )
        for event in self._events:
            if type(event) is Trade:
                if event.symbol in trades:
                    identity = _identity(event.trade_id)
                    common = event.symbol, event.price, event.size, at(event.time), identity
                    if stock:
                        yield _StockTrade(*common)
                    else:
                        yield _CryptoTrade(*common, _TAKER[event.aggressor])
            elif type(event) is Quote:
                if event.symbol in quotes:
                    yield (_StockQuote if stock else _CryptoQuote)(
                        event.symbol,
                        event.bid,
                        event.bid_size,
                        event.ask,
                        event.ask_size,
                        at(event.time),
                    )
            elif isinstance(event, DayBar):
                if event.symbol in days:
                    yield _DailyBar(*_row(event), at(event.time))
            elif isinstance(event, Bar) and event.span == MINUTE and event.symbol in bars:
                yield _Bar(*_row(event), at(event.time))

    def _heard(self, symbols: frozenset[str], asset_class: AssetClass | None) -> frozenset[str]:
        if EVERYTHING not in symbols:
            return symbols
        present = {event.symbol for event in self._events}
        if asset_class is not None:
            known = self._classes.get
            present = {s for s in present if (known(s) or guess_class(s)) is asset_class}
        return symbols | present
