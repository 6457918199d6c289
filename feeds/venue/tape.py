"""The venue's own stream: a whole tape over one connection, as a reader of its files would have it.

Alpaca's channels have no bars but those of a minute, no quote bars, no moment of arrival, and one
connection for each asset class, which no clock can follow in order. Here all symbols come in one
order, "r" is the moment of arrival where it is another than one would think, and a frame ends
where a moment does. Bars that the venue makes itself are left out.
"""

from collections.abc import Callable, Container, Sequence

from msgspec import UNSET, Struct, UnsetType

from feeds.events import Aggressor, Bar, MarketEvent, Ohlc, Quote, QuoteBar, Trade
from feeds.moments import due
from feeds.venue.bars import MadeBar

EVENTS_A_FRAME = 256
LARGEST_FRAME = 2048
"""Events of one moment, past which it is cut all the same: a frame must stay under 1 MiB."""

Stamp = Callable[[int], object]
_TAKER: dict[Aggressor, str | UnsetType] = {
    Aggressor.BUYER: "B",
    Aggressor.SELLER: "S",
    Aggressor.UNKNOWN: UNSET,
}


class _Trade(Struct, tag="t", tag_field="T", gc=False):
    S: str
    p: float
    s: float
    t: object
    i: str | UnsetType
    tks: str | UnsetType
    r: object


class _Quote(Struct, tag="q", tag_field="T", gc=False, rename={"ask": "as"}):
    S: str
    bp: float
    bs: float
    ap: float
    ask: float
    t: object
    r: object


class _Bar(Struct, tag="b", tag_field="T", gc=False):
    S: str
    o: float
    h: float
    l: float  # noqa: E741 - the wire's name
    c: float
    v: float
    t: object
    span: int
    r: object


class _QuoteBar(Struct, tag="qb", tag_field="T", rename={"ask": "as"}):
    S: str
    b: Ohlc
    bs: float
    a: Ohlc
    ask: float
    t: object
    span: int
    r: object


def tape_frames(
    events: Sequence[MarketEvent],
    heard: Container[str],
    encode: Callable[[object], bytes],
    stamp: Stamp,
) -> list[bytes]:
    """Write the events of the symbols that are heard, some 256 to a frame."""
    frames: list[bytes] = []
    waiting: list[Struct] = []
    moment = 0
    for event in events:
        message = _message(event, stamp) if event.symbol in heard else None
        if message is None:
            continue
        size, at = len(waiting), due(event)
        if (size >= EVENTS_A_FRAME and at != moment) or size >= LARGEST_FRAME:
            frames.append(encode(waiting))
            waiting = []
        moment = at
        waiting.append(message)
    if waiting:
        frames.append(encode(waiting))
    return frames


def _message(event: MarketEvent, stamp: Stamp) -> Struct | None:
    match event:
        case Trade():
            return _Trade(
                event.symbol,
                event.price,
                event.size,
                stamp(event.time),
                event.trade_id or UNSET,
                _TAKER[event.aggressor],
                _arrival(event, event.time, stamp),
            )
        case Quote():
            return _Quote(
                event.symbol,
                event.bid,
                event.bid_size,
                event.ask,
                event.ask_size,
                stamp(event.time),
                _arrival(event, event.time, stamp),
            )
        case MadeBar():
            return None
        case Bar():
            return _Bar(
                event.symbol,
                *(event.open, event.high, event.low, event.close),
                event.volume,
                stamp(event.time),
                event.span,
                _arrival(event, event.end_time, stamp),
            )
        case QuoteBar():
            return _QuoteBar(
                event.symbol,
                event.bid,
                event.bid_size,
                event.ask,
                event.ask_size,
                stamp(event.time),
                event.span,
                _arrival(event, event.end_time, stamp),
            )


def _arrival(event: MarketEvent, usual: int, stamp: Stamp) -> object:
    return UNSET if event.received == usual else stamp(event.received)
