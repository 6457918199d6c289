"""Alpaca's market-data stream, client side: log in, subscribe, turn frames into events.

The order is connected, authenticated, subscribed with the FULL set, live; nothing is live with a
symbol missing from the venue's answer. Whatever the venue sends becomes an event, a count or a
recorded refusal, never an exception. There are no sequence numbers: gaps show only as outages.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from functools import partial
from typing import Any

import msgspec
from msgspec import Raw

from feeds.base import Subscription
from feeds.continuity import Continuity
from feeds.errors import VenueRefused
from feeds.events import (
    EXCERPT_CHARS,
    MINUTE,
    SECOND,
    Aggressor,
    AssetClass,
    Bar,
    Event,
    Malformed,
    Ohlc,
    Quote,
    QuoteBar,
    Symbol,
    Trade,
)
from feeds.protocols.alpaca_wire import (
    IGNORED,
    JSON_ITEM,
    KNOWN,
    PACK_ITEM,
    UNREADABLE,
    BarItem,
    Error,
    QuoteBarItem,
    QuoteItem,
    SideItem,
    Subscribed,
    Success,
    Tagged,
    TradeItem,
    parse_rfc3339,
    parse_timestamp,
)
from feeds.protocols.base import Limits, Options, Rate, SymbolState, VenueCore, VenueSpec

PATHS = {
    AssetClass.EQUITY: "/v2/iex",
    AssetClass.CRYPTO: "/v1beta3/crypto/us",
    AssetClass.FOREX: "/v1beta1/forex",
}
"""Where each kind of symbol is served; Alpaca itself has no forex, our own venue does."""
TAPE_PATH = "/v1beta1/tape"
"""Our own venue's stream of all asset classes in one order; nobody else has it."""

FINAL = {400, 401, 402, 403, 405, 409, 410, 411, 412}
"""Errors that the same request would meet again. All others (404 login too late, 406 too many
connections, 407 too slow, 500, or a code we do not know) are of the moment."""

OF_THE_REQUEST = {400, 405, 409, 410}
"""Errors that, on a connection which is live, concern only the symbols asked for last."""

CHANNELS = ("trades", "quotes", "bars")
SYMBOLS_A_MESSAGE = 300  # the venue cuts requests over 16 KiB
UNKNOWN = Aggressor.UNKNOWN
AGGRESSORS = {"B": Aggressor.BUYER, "S": Aggressor.SELLER}
KINDS_COUNTED = 64  # a venue gone mad must not grow the table of ignored kinds without end


class Codec(StrEnum):
    """How frames are written; msgpack is asked for by a header of the upgrade request."""

    JSON = "json"
    MSGPACK = "msgpack"


class Stage(StrEnum):
    """How far the login has come."""

    CONNECTING = "connecting"
    AUTHENTICATING = "authenticating"
    SUBSCRIBING = "subscribing"
    LIVE = "live"


class AlpacaDecoder(VenueCore):
    """The client's side of one connection to one path.

    All subscriptions must be of the path's asset class. The shell reads `is_live`, `refusal` (the
    venue said no for good) and `fault` (it said no for now, in its own words), and calls
    `restart()` before each new connection; the counts go on. On a `tape` an event counts as
    received at the moment that the tape tells, not when its frame came.
    """

    def __init__(
        self,
        key: str,
        secret: str,
        subscriptions: Sequence[Subscription],
        codec: Codec = Codec.MSGPACK,
        path: str = "",
        continuity: Continuity | None = None,
        *,
        tape: bool = False,
    ) -> None:
        if not subscriptions:
            raise ValueError("subscriptions is empty: a connection needs at least one symbol")
        super().__init__("alpaca", subscriptions, continuity)
        self._key, self._secret, self._codec, self._tape = key, secret, codec, tape
        self.path = path
        self._unserved: dict[Symbol, str] = {}  # refused while live; to ask again would end it all
        self._names: dict[str, Symbol] = {str(s.symbol): s.symbol for s in subscriptions}
        self._frame: Any
        self._raws: Any
        self._item: Any
        self._time: Any
        self._tag: Any
        if codec is Codec.JSON:
            self._frame = msgspec.json.Decoder(list[JSON_ITEM])
            self._raws = msgspec.json.Decoder(list[Raw])
            self._item = msgspec.json.Decoder(JSON_ITEM, strict=False)
            self._tag = msgspec.json.Decoder(Tagged).decode
            self._encode = msgspec.json.encode
            self._time = parse_rfc3339
        else:
            self._frame = msgspec.msgpack.Decoder(list[PACK_ITEM])
            self._raws = msgspec.msgpack.Decoder(list[Raw])
            self._item = msgspec.msgpack.Decoder(PACK_ITEM, strict=False)
            self._tag = msgspec.msgpack.Decoder(Tagged).decode
            self._encode = msgspec.msgpack.encode
            self._time = parse_timestamp
        if codec is Codec.MSGPACK:
            self.headers = {"Content-Type": "application/msgpack"}
        self.restart()

    @property
    def is_live(self) -> bool:
        """Whether every symbol is confirmed by the venue."""
        return self.stage is Stage.LIVE

    def restart(self) -> None:
        """Forget the connection that was; the counts stay."""
        super().restart()
        self.stage = Stage.CONNECTING
        self._unconfirmed = 0
        for symbol, words in self._unserved.items():
            self.refuse(symbol, words)

    def connected(self, now: int) -> None:
        """Do nothing: the venue speaks first."""

    def subscribe(self, subscriptions: Iterable[Subscription]) -> None:
        """Add symbols; while live, ask for them."""
        new = [s.symbol for s in subscriptions if s.symbol not in self.symbols]
        self._names.update((str(symbol), symbol) for symbol in new)
        self.symbols.update(dict.fromkeys(new, SymbolState.ASKED))
        if self.stage in {Stage.SUBSCRIBING, Stage.LIVE}:
            self._ask_for("subscribe", new)

    def unsubscribe(self, symbols: Iterable[Symbol]) -> None:
        """Take symbols out; while live, say so."""
        gone = [symbol for symbol in symbols if self.symbols.pop(symbol, None)]
        for symbol in gone:
            self._names.pop(str(symbol), None)
            self._unserved.pop(symbol, None)
            self.refused.pop(symbol, None)
        if self.stage in {Stage.SUBSCRIBING, Stage.LIVE}:
            self._ask_for("unsubscribe", gone)

    def receive(self, data: bytes | str, received: int) -> list[Event]:
        """Take one frame; return its events in the venue's order."""
        try:
            items = self._frame.decode(data)
        except (TypeError, *UNREADABLE):  # TypeError: text where msgpack was asked for
            frame = data if isinstance(data, bytes) else data.encode(errors="replace")
            return self._receive_one_by_one(frame, received)
        return self._convert(items, received)

    def _convert(self, items: Sequence[Any], received: int) -> list[Event]:
        events: list[Event] = []
        add, names, time, side = events.append, self._names, self._time, AGGRESSORS.get
        tape, came = self._tape, received
        for item in items:
            kind = type(item)
            try:
                if kind is QuoteItem and (tape or (item.bp and item.ap)):
                    symbol, at = names[item.S], time(item.t)
                    if tape:
                        came = at if item.r is None else time(item.r)
                    add(Quote(symbol, at, came, item.bp, item.bs, item.ap, item.ask))
                elif kind is TradeItem:
                    symbol, at, by = names[item.S], time(item.t), side(item.tks, UNKNOWN)
                    if tape:
                        came = at if item.r is None else time(item.r)
                    add(Trade(symbol, at, came, item.p, item.s, str(item.i), by))
                else:
                    self._take_rare(item, events, received)
            except KeyError:
                self._ignore("symbol not asked for")
            except UNREADABLE as error:
                events.append(self._malformed(str(error), repr(item), received))
        return events

    def _take_rare(self, item: Any, events: list[Event], received: int) -> None:
        """All but plain trades and quotes; what it raises is caught by the caller."""
        match item:
            case BarItem():
                prices = item.o, item.h, item.l, item.c
                symbol, time = self._names[item.S], self._time(item.t)
                came = self._arrival(item, time + item.span, received)
                events.append(Bar(symbol, time, came, item.span, *prices, item.v))
            case QuoteBarItem():
                symbol, time = self._names[item.S], self._time(item.t)
                came = self._arrival(item, time + item.span, received)
                sides = _ohlc(item.b), _ohlc(item.a)
                events.append(QuoteBar(symbol, time, came, item.span, *sides, item.bs, item.ask))
            case QuoteItem():
                if (item.bp == 0 and item.bs) or (item.ap == 0 and item.ask):
                    raise ValueError("a price is zero and its size is not")
                self._ignore("one-sided quote")
            case Success():
                self._greeted(item.msg)
            case Subscribed():
                self._subscribed(item)
            case Error():
                self._failed(item)
            case _:
                self._ignore(IGNORED[type(item)])

    def _arrival(self, item: Any, usual: int, received: int) -> int:
        """When a bar was there to be known."""
        if not self._tape:
            return received
        arrived: int = usual if item.r is None else self._time(item.r)
        return arrived

    def _receive_one_by_one(self, data: bytes, received: int) -> list[Event]:
        """Save what can be read of a frame with something unreadable or unknown in it."""
        try:
            raws = self._raws.decode(data)
        except UNREADABLE as error:
            return [self._malformed(f"not an array of objects: {error}", data, received)]
        events: list[Event] = []
        for raw in raws:
            try:
                item = self._item.decode(raw)
            except UNREADABLE as error:
                kind = self._kind_of(raw)
                if kind is None or kind in KNOWN:
                    events.append(self._malformed(str(error), bytes(raw), received))
                else:
                    self._ignore(f"unknown type {self._clean(kind)[:32]}")
            else:
                events += self._convert([item], received)
        return events

    def _kind_of(self, raw: Raw) -> str | None:
        try:
            return str(self._tag(raw).T)
        except UNREADABLE:
            return None

    # --- login ---------------------------------------------------------------------------------

    def _greeted(self, message: str) -> None:
        if message == "connected" and self.stage is Stage.CONNECTING:
            self.stage = Stage.AUTHENTICATING
            self._send({"action": "auth", "key": self._key, "secret": self._secret})
        elif message == "authenticated" and self.stage in {
            Stage.CONNECTING,
            Stage.AUTHENTICATING,
        }:
            self.stage = Stage.SUBSCRIBING
            self._ask_for("subscribe", self._names)
        else:
            self._ignore("success out of turn")

    def _ask_for(self, action: str, names: Iterable[str]) -> None:
        symbols = sorted(names)
        for start in range(0, len(symbols), SYMBOLS_A_MESSAGE):
            part = symbols[start : start + SYMBOLS_A_MESSAGE]
            self._send({"action": action, **dict.fromkeys(CHANNELS, part)})
            self._unconfirmed += 1

    def _subscribed(self, answer: Subscribed) -> None:
        if not self._unconfirmed:
            return self._ignore("subscription out of turn")
        self._unconfirmed -= 1
        if self._unconfirmed:
            return None
        served = set(answer.trades) & set(answer.quotes)
        missing = sorted(self._names.keys() - served) if "*" not in served else []
        if missing and self.stage is Stage.SUBSCRIBING:
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            self.refusal = VenueRefused(
                f"the venue does not serve {', '.join(missing[:5])}{more}: "
                "take them out, or name a venue that does"
            )
            return None
        self.stage = Stage.LIVE
        for name, symbol in self._names.items():
            if name in missing:
                self.refuse(symbol, "it is not in the venue's answer")
            else:
                self.symbols[symbol] = SymbolState.ACTIVE
        return None

    def _failed(self, error: Error) -> None:
        words = f"{error.code} {self._clean(error.msg)[:EXCERPT_CHARS]}"
        asked = [name for name, state in self.symbols.items() if state is SymbolState.ASKED]
        if asked and self.stage is Stage.LIVE and error.code in OF_THE_REQUEST:
            self._unconfirmed = max(0, self._unconfirmed - 1)
            for symbol in asked:
                self._unserved[symbol] = words
                self._names.pop(str(symbol), None)
                self.refuse(symbol, words)
        elif error.code in FINAL:
            self.refusal = VenueRefused(f"the venue refused: {words}", error.code)
        else:
            self.fault = f"the venue said {words}"

    def _send(self, message: dict[str, Any]) -> None:
        encoded = self._encode(message)
        self.send(encoded.decode() if self._codec is Codec.JSON else encoded)

    # --- counts --------------------------------------------------------------------------------

    def _ignore(self, kind: str) -> None:
        if kind not in self.ignored and len(self.ignored) >= KINDS_COUNTED:
            kind = "further unknown types"
        self.ignored[kind] = self.ignored.get(kind, 0) + 1

    def _malformed(self, reason: str, data: bytes | str, received: int) -> Malformed:
        self.malformed += 1
        text = data if isinstance(data, str) else data.decode("utf-8", "backslashreplace")
        return Malformed(
            self._clean(reason)[:EXCERPT_CHARS], self._clean(text)[:EXCERPT_CHARS], received
        )

    def _clean(self, text: str) -> str:
        """Take our own secrets out of what a venue echoes."""
        return _without((self._secret, self._key), text)


def _ohlc(side: SideItem) -> Ohlc:
    return Ohlc(side.open, side.high, side.low, side.close)


def _without(secrets: Iterable[str], text: str) -> str:
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return text


def make_alpaca(
    codec: Codec,
    paths: Mapping[AssetClass, str],
    subscriptions: Sequence[Subscription],
    options: Options,
    continuity: Continuity,
) -> AlpacaDecoder:
    """Make the protocol of one connection; its symbols are of one class, which has its path."""
    path = paths[subscriptions[0].asset_class]
    return AlpacaDecoder(options.key, options.secret, subscriptions, codec, path, continuity)


def make_tape(
    codec: Codec,
    subscriptions: Sequence[Subscription],
    options: Options,
    continuity: Continuity,
) -> AlpacaDecoder:
    """Make the protocol of our own venue's tape; its symbols are of any class."""
    return AlpacaDecoder(
        options.key, options.secret, subscriptions, codec, TAPE_PATH, continuity, tape=True
    )


ALPACA = VenueSpec(
    name="alpaca",
    url="wss://stream.data.alpaca.markets",
    rest_url=None,
    limits=Limits(symbols=10_000, connects=Rate(10, MINUTE), quiet=10 * SECOND, overlap=False),
    make=partial(make_alpaca, Codec.MSGPACK, PATHS),
    asset_classes=frozenset({AssetClass.EQUITY, AssetClass.CRYPTO}),
    needs_key=True,
)

ALPACA_SIP = msgspec.structs.replace(
    ALPACA,
    name="alpaca-sip",
    make=partial(make_alpaca, Codec.MSGPACK, PATHS | {AssetClass.EQUITY: "/v2/sip"}),
)
