"""What is on Alpaca's wire, in JSON and in msgpack, and how either writes times.

Items are told apart by "T". `Time` is str in JSON, RFC 3339 with up to nine decimals, and Ext in
msgpack. Prices are above zero and finite; the type says so, and so decoding checks it.
"""

import re
from datetime import datetime
from struct import Struct as Packing
from sys import float_info
from typing import Annotated, Any, Generic, TypeVar

from msgspec import Meta, Struct
from msgspec.msgpack import Ext

from feeds.events import MINUTE, SECOND

LATEST = 2**63  # times must fit an int64 of ns, as arrays downstream do

Time = TypeVar("Time")
Price = Annotated[float, Meta(gt=0, le=float_info.max)]
Amount = Annotated[float, Meta(ge=0, le=float_info.max)]
Span = Annotated[int, Meta(gt=0, lt=2**62)]


class TradeItem(Struct, Generic[Time], tag="t", tag_field="T", gc=False):
    """A print."""

    S: str
    p: Price
    s: Amount
    t: Time
    i: int | str = ""
    tks: str = ""
    r: Time | None = None  # only our own venue says when a tape's event arrived


class QuoteItem(Struct, Generic[Time], tag="q", tag_field="T", gc=False, rename={"ask": "as"}):
    """The best quotes; a side without price and size is empty."""

    S: str
    bp: Amount  # zero where nobody bids
    bs: Amount
    ap: Amount
    ask: Amount
    t: Time
    r: Time | None = None


class BarItem(Struct, Generic[Time], tag="b", tag_field="T", gc=False):
    """A minute, unless `span` says another time in ns; `t` is its start."""

    S: str
    o: Price
    h: Price
    l: Price  # noqa: E741 - the wire's name
    c: Price
    v: Amount
    t: Time
    span: Span = MINUTE  # of another only on our own venue's tape, as quote bars are
    r: Time | None = None


class SideItem(Struct, gc=False):
    """One side of a quote bar."""

    open: Amount
    high: Amount
    low: Amount
    close: Amount


class QuoteBarItem(Struct, Generic[Time], tag="qb", tag_field="T", rename={"ask": "as"}):
    """Best quotes over a span, on our own venue's tape only."""

    S: str
    b: SideItem
    bs: Amount
    a: SideItem
    ask: Amount
    t: Time
    span: Span
    r: Time | None = None


class Success(Struct, tag="success", tag_field="T"):
    """How far the login is."""

    msg: str


class Error(Struct, tag="error", tag_field="T"):
    """A number and words."""

    code: int
    msg: str = ""


class Subscribed(Struct, tag="subscription", tag_field="T"):
    """All that is subscribed to."""

    trades: list[str] = []
    quotes: list[str] = []
    bars: list[str] = []


class UpdatedBar(Struct, tag="u", tag_field="T"):
    """A late correction of a bar."""


class DailyBar(Struct, tag="d", tag_field="T"):
    """The day as it is so far."""


class Correction(Struct, tag="c", tag_field="T"):
    """Of a trade."""


class Cancelled(Struct, tag="x", tag_field="T"):
    """A trade that is not one."""


class TradingStatus(Struct, tag="s", tag_field="T"):
    """Halted, resumed."""


class Band(Struct, tag="l", tag_field="T"):
    """Limits of the price."""


class OrderBook(Struct, tag="o", tag_field="T"):
    """Of a coin, without a number or a checksum."""


class Tagged(Struct):
    """What is known of any item."""

    T: str


_Plain = (
    Success
    | Error
    | Subscribed
    | UpdatedBar
    | DailyBar
    | Correction
    | Cancelled
    | TradingStatus
    | Band
    | OrderBook
)
IGNORED: dict[type, str] = {
    UpdatedBar: "updated bar",
    DailyBar: "daily bar",
    Correction: "trade correction",
    Cancelled: "trade cancel",
    TradingStatus: "trading status",
    Band: "limit band",
    OrderBook: "order book",
}
KNOWN = {"t", "q", "b", "qb", "success", "error", "subscription"}
JSON_ITEM = TradeItem[str] | QuoteItem[str] | BarItem[str] | QuoteBarItem[str] | _Plain
PACK_ITEM = TradeItem[Ext] | QuoteItem[Ext] | BarItem[Ext] | QuoteBarItem[Ext] | _Plain
UNREADABLE = (ValueError, RecursionError, OverflowError)  # msgspec's and ours, all of them


# --- times ------------------------------------------------------------------------------------

_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_seconds: dict[str, int] = {}  # "2021-02-22T15:51:44." -> ns; neighbours share their second


def parse_rfc3339(text: str) -> int:
    """Return the ns since the epoch of RFC 3339 text with up to nine decimals.

    Raises:
        ValueError: it is something else, or outside of 1970 to 2262.
    """
    start, decimals = _seconds.get(text[:20]), text[20:29]
    if start is not None and len(text) == 30 and decimals.isdecimal() and text[29] == "Z":
        return start + int(decimals)
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("its time is not RFC 3339")
    prefix, decimals, zone = match.groups()
    try:
        moment = datetime.fromisoformat(prefix + zone.upper().replace("Z", "+00:00"))
    except ValueError as error:
        raise ValueError(f"its time is not RFC 3339: {error}") from None
    start = int(moment.timestamp())
    if not 0 <= start < LATEST // SECOND:
        raise ValueError("its time is not between 1970 and 2262")
    if zone == "Z":
        if len(_seconds) >= 4096:
            _seconds.clear()
        _seconds[prefix + "."] = start * SECOND
    return start * SECOND + int((decimals or "").ljust(9, "0"))


_halves = Packing(">II").unpack


def parse_timestamp(ext: Ext) -> int:
    """Return the ns since the epoch of a msgpack Timestamp, in any of its three lengths.

    Raises:
        ValueError: it is something else, or outside of 1970 to 2262.
    """
    data: Any = ext.data
    time: int = -1
    if ext.code == -1 and len(data) == 8:
        high: int
        low: int
        high, low = _halves(data)  # 30 bits of ns, 34 bits of seconds
        if not high & 3:  # before 2106: in range without a look
            return low * SECOND + (high >> 2)
        time = ((high & 3) << 32 | low) * SECOND + (high >> 2)
    elif ext.code == -1 and len(data) == 4:
        time = int.from_bytes(data, "big") * SECOND
    elif ext.code == -1 and len(data) == 12:
        time = int.from_bytes(data[4:], "big", signed=True) * SECOND
        time += int.from_bytes(data[:4], "big")
    if 0 <= time < LATEST:
        return time
    raise ValueError("its time is no msgpack Timestamp between 1970 and 2262")
