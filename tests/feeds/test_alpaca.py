"""The client core: every frame becomes events, counts or a recorded refusal, and nothing raises."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.msgpack import Ext

from feeds.base import Subscription
from feeds.continuity import Continuity
from feeds.events import (
    EXCERPT_CHARS,
    MINUTE,
    Aggressor,
    AssetClass,
    Bar,
    Event,
    Malformed,
    Quote,
    Symbol,
    Trade,
)
from feeds.protocols.alpaca import (
    ALPACA,
    ALPACA_SIP,
    FINAL,
    SYMBOLS_A_MESSAGE,
    AlpacaDecoder,
    Codec,
)
from feeds.protocols.alpaca_wire import parse_rfc3339, parse_timestamp
from feeds.protocols.base import Options, SymbolState, VenueSpec

BTC, ETH = Symbol("BTC/USD"), Symbol("ETH/USD")
KEY, SECRET = "AKCANARYKEY", "canary-secret-7f3a"
TIME = 1_700_000_000_123_456_789
NOW = TIME + 1_000_000
TEXT = "2023-11-14T22:13:20.123456789Z"
BOTH = pytest.mark.parametrize("codec", list(Codec))

Item = dict[str, Any]


def encode(codec: Codec, items: object) -> bytes:
    return msgspec.json.encode(items) if codec is Codec.JSON else msgspec.msgpack.encode(items)


def stamp(codec: Codec, time: int = TIME) -> object:
    if codec is Codec.JSON:
        second, rest = divmod(time, 10**9)
        return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
    return Ext(-1, ((time % 10**9) << 34 | time // 10**9).to_bytes(8, "big"))


def trade(codec: Codec, **changes: object) -> Item:
    item = {"T": "t", "S": BTC, "i": 17, "p": 60000.5, "s": 0.25, "tks": "B", "t": stamp(codec)}
    return item | changes


def quote(codec: Codec, **changes: object) -> Item:
    sides = {"bp": 60000.0, "bs": 1.5, "ap": 60001.0, "as": 2.5}
    return {"T": "q", "S": BTC, **sides, "t": stamp(codec)} | changes


def bar(codec: Codec, **changes: object) -> Item:
    prices = {"o": 1.0, "h": 3.0, "l": 0.5, "c": 2.0, "v": 12.5, "n": 4, "vw": 1.5}
    return {"T": "b", "S": BTC, **prices, "t": stamp(codec)} | changes


def connected(codec: Codec = Codec.JSON, *symbols: Symbol) -> AlpacaDecoder:
    wanted = [Subscription(s, AssetClass.CRYPTO) for s in symbols or (BTC, ETH)]
    return AlpacaDecoder(KEY, SECRET, wanted, codec)


def live(codec: Codec = Codec.JSON, *symbols: Symbol) -> AlpacaDecoder:
    decoder = connected(codec, *symbols)
    names = list(symbols or (BTC, ETH))
    ack = {"T": "subscription", "trades": names, "quotes": names, "bars": names}
    for item in (
        {"T": "success", "msg": "connected"},
        {"T": "success", "msg": "authenticated"},
        ack,
    ):
        assert decoder.receive(encode(codec, [item]), NOW) == []
    decoder.data_to_send()
    assert decoder.is_live
    return decoder


# --- login ------------------------------------------------------------------------------------


@BOTH
def test_login_runs_in_order(codec: Codec) -> None:
    decoder = connected(codec)
    decode: Callable[[Any], Any] = (
        msgspec.json.decode if codec is Codec.JSON else msgspec.msgpack.decode
    )
    assert decoder.data_to_send() == []
    decoder.receive(encode(codec, [{"T": "success", "msg": "connected"}]), NOW)
    (login,) = decoder.data_to_send()
    assert isinstance(login, str) is (codec is Codec.JSON)
    assert decode(login) == {"action": "auth", "key": KEY, "secret": SECRET}
    assert decoder.data_to_send() == []
    decoder.receive(encode(codec, [{"T": "success", "msg": "authenticated"}]), NOW)
    names = [BTC, ETH]
    assert [decode(frame) for frame in decoder.data_to_send()] == [
        {"action": "subscribe", "trades": names, "quotes": names, "bars": names}
    ]
    assert not decoder.is_live
    ack = {"T": "subscription", "trades": names, "quotes": names, "bars": names, "news": []}
    decoder.receive(encode(codec, [ack]), NOW)
    assert decoder.is_live
    assert decoder.refusal is None


def test_headers_ask_for_msgpack() -> None:
    assert connected(Codec.MSGPACK).headers == {"Content-Type": "application/msgpack"}
    assert connected(Codec.JSON).headers == {}


def test_a_symbol_missing_from_the_answer_is_a_refusal() -> None:
    decoder = connected()
    for item in (
        {"T": "success", "msg": "connected"},
        {"T": "success", "msg": "authenticated"},
        {"T": "subscription", "trades": [BTC, ETH], "quotes": [BTC], "bars": []},
    ):
        decoder.receive(encode(Codec.JSON, [item]), NOW)
    assert not decoder.is_live
    assert decoder.refusal is not None
    assert "does not serve ETH/USD" in str(decoder.refusal)


def test_many_symbols_are_asked_for_in_parts_and_live_only_when_all_are_confirmed() -> None:
    names = [Symbol(f"S{n:04}") for n in range(SYMBOLS_A_MESSAGE * 2 + 1)]
    decoder = connected(Codec.JSON, *names)
    decoder.receive(encode(Codec.JSON, [{"T": "success", "msg": "connected"}]), NOW)
    decoder.receive(encode(Codec.JSON, [{"T": "success", "msg": "authenticated"}]), NOW)
    _, *parts = (msgspec.json.decode(frame) for frame in decoder.data_to_send())
    assert [name for part in parts for name in part["trades"]] == names
    assert all(len(encode(Codec.JSON, part)) <= 16 * 1024 for part in parts)
    confirmed: list[str] = []
    for part in parts:
        assert not decoder.is_live
        confirmed += part["trades"]
        ack = {"T": "subscription", "trades": confirmed, "quotes": confirmed, "bars": []}
        decoder.receive(encode(Codec.JSON, [ack]), NOW)
    assert decoder.is_live


@pytest.mark.parametrize("code", sorted(FINAL))
def test_final_errors_are_refusals(code: int) -> None:
    decoder = connected()
    decoder.receive(encode(Codec.JSON, [{"T": "error", "code": code, "msg": "no"}]), NOW)
    assert decoder.refusal is not None
    assert decoder.refusal.code == code
    assert decoder.fault is None


@pytest.mark.parametrize("code", [404, 406, 407, 500, 599])
def test_errors_of_the_moment_are_faults(code: int) -> None:
    decoder = connected()
    decoder.receive(encode(Codec.JSON, [{"T": "error", "code": code, "msg": "later"}]), NOW)
    assert decoder.refusal is None
    assert decoder.fault == f"the venue said {code} later"


def test_a_restart_begins_the_login_again_and_keeps_the_counts() -> None:
    decoder = live()
    decoder.receive(b"rubbish", NOW)
    decoder.receive(encode(Codec.JSON, [{"T": "error", "code": 407, "msg": "slow client"}]), NOW)
    decoder.restart()
    assert (decoder.is_live, decoder.fault, decoder.malformed) == (False, None, 1)
    decoder.receive(encode(Codec.JSON, [{"T": "success", "msg": "connected"}]), NOW)
    assert len(decoder.data_to_send()) == 1


@pytest.mark.parametrize("code", [400, 405, 409, 410])
def test_a_later_wish_that_is_refused_does_not_end_what_is_live(code: int) -> None:
    """The free plan has 30 symbols; the 31st costs itself, also after the next reconnect."""
    more = Symbol("DOGE/USD")
    decoder = live()
    decoder.subscribe([Subscription(more, AssetClass.CRYPTO)])
    (request,) = decoder.data_to_send()
    assert msgspec.json.decode(request)["trades"] == [more]
    error = {"T": "error", "code": code, "msg": "symbol limit exceeded"}
    decoder.receive(encode(Codec.JSON, [error, trade(Codec.JSON)]), NOW)
    assert (decoder.refusal, decoder.fault, decoder.is_live) == (None, None, True)
    decoder.restart()
    assert decoder.refused == {more: f"{code} symbol limit exceeded"}
    for message in ("connected", "authenticated"):
        decoder.receive(encode(Codec.JSON, [{"T": "success", "msg": message}]), NOW)
    _, request = decoder.data_to_send()
    assert msgspec.json.decode(request)["trades"] == [BTC, ETH]
    ack = {"T": "subscription", "trades": [BTC, ETH], "quotes": [BTC, ETH], "bars": []}
    decoder.receive(encode(Codec.JSON, [ack]), NOW)
    assert decoder.symbols[BTC] is SymbolState.ACTIVE
    assert decoder.symbols[more] is SymbolState.REFUSED
    decoder.unsubscribe([more])
    assert more not in decoder.symbols


@pytest.mark.parametrize(
    ("spec", "kind", "path"),
    [
        (ALPACA, AssetClass.EQUITY, "/v2/iex"),
        (ALPACA_SIP, AssetClass.EQUITY, "/v2/sip"),
        (ALPACA, AssetClass.CRYPTO, "/v1beta3/crypto/us"),
    ],
)
def test_each_asset_class_has_its_path(spec: VenueSpec, kind: AssetClass, path: str) -> None:
    options = Options(key=KEY, secret=SECRET)
    protocol = spec.make([Subscription(BTC, kind)], options, Continuity())
    assert protocol.path == path
    assert spec.needs_key
    assert SECRET not in repr(options)


def test_no_subscriptions_are_refused() -> None:
    with pytest.raises(ValueError, match="subscriptions is empty"):
        AlpacaDecoder(KEY, SECRET, [])


# --- market data ------------------------------------------------------------------------------


@BOTH
def test_trades_quotes_and_bars(codec: Codec) -> None:
    decoder = live(codec)
    assert decoder.receive(encode(codec, [trade(codec), quote(codec), bar(codec)]), NOW) == [
        Trade(BTC, TIME, NOW, 60000.5, 0.25, "17", Aggressor.BUYER),
        Quote(BTC, TIME, NOW, 60000.0, 1.5, 60001.0, 2.5),
        Bar(BTC, TIME, NOW, MINUTE, 1.0, 3.0, 0.5, 2.0, 12.5),
    ]


@BOTH
def test_stock_fields(codec: Codec) -> None:
    """Integer sizes, exchange letters, conditions and tapes are as Alpaca sends them."""
    decoder = live(codec, Symbol("AAPL"))
    print_ = {"T": "t", "i": 96921, "S": "AAPL", "x": "D", "p": 126.55, "s": 1}
    print_ |= {"t": stamp(codec), "c": ["@", "I"], "z": "C"}
    top = {"T": "q", "S": "AAPL", "bx": "U", "bp": 87.66, "bs": 1, "ax": "X", "ap": 87.68, "as": 4}
    top |= {"t": stamp(codec), "c": ["R"], "z": "C"}
    assert decoder.receive(encode(codec, [print_, top]), NOW) == [
        Trade(Symbol("AAPL"), TIME, NOW, 126.55, 1.0, "96921", Aggressor.UNKNOWN),
        Quote(Symbol("AAPL"), TIME, NOW, 87.66, 1.0, 87.68, 4.0),
    ]


@BOTH
def test_one_vector_in_three_deliveries(codec: Codec) -> None:
    """At once, one object a frame, and between rubbish: the same events."""
    items = [trade(codec, i=n) if n % 2 else quote(codec, bs=float(n)) for n in range(1, 9)]
    at_once = live(codec).receive(encode(codec, items), NOW)
    one_by_one = live(codec)
    singly = [e for item in items for e in one_by_one.receive(encode(codec, [item]), NOW)]
    rubbish: list[object] = [{"T": "zz"}, 7, None, {"T": "t"}, [], {"T": "t", "S": BTC}]
    mixed = [part for item in items for part in (rubbish[items.index(item) % 6], item)]
    dirty = live(codec).receive(encode(codec, [*mixed, "tail"]), NOW)
    assert len(at_once) == len(items)
    assert at_once == singly == [e for e in dirty if not isinstance(e, Malformed)]


@BOTH
@pytest.mark.parametrize("price", [float("nan"), float("inf"), -float("inf"), 0.0, -0.0, -1.0])
@pytest.mark.parametrize("make", [trade, quote, bar])
def test_senseless_prices_are_malformed(
    codec: Codec, price: float, make: Callable[..., Item]
) -> None:
    field = {trade: "p", quote: "ap", bar: "h"}[make]
    decoder = live(codec)
    events = decoder.receive(
        encode(codec, [trade(codec), make(codec, **{field: price}), quote(codec)]), NOW
    )
    assert [type(event) for event in events] == [Trade, Malformed, Quote]
    assert decoder.malformed == 1


@BOTH
@pytest.mark.parametrize("size", [float("nan"), float("inf"), -1.0])
def test_senseless_sizes_are_malformed(codec: Codec, size: float) -> None:
    events = live(codec).receive(encode(codec, [trade(codec, s=size), quote(codec, bs=size)]), NOW)
    assert [type(event) for event in events] == [Malformed, Malformed]


@BOTH
def test_a_side_without_price_and_size_is_no_quote_and_no_fault(codec: Codec) -> None:
    """Alpaca says so before the open; our quotes always have both sides."""
    decoder = live(codec)
    one_sided = quote(codec, bp=0, bs=0)
    assert decoder.receive(encode(codec, [one_sided, trade(codec)]), NOW)[0].received == NOW
    assert decoder.ignored == {"one-sided quote": 1}


@BOTH
def test_numbers_may_come_as_text(codec: Codec) -> None:
    item = trade(codec, p="60000.5", s="0.25", i="17")
    assert live(codec).receive(encode(codec, [item]), NOW) == [
        Trade(BTC, TIME, NOW, 60000.5, 0.25, "17", Aggressor.BUYER)
    ]


def test_large_trade_ids_stay_exact() -> None:
    (event,) = live().receive(encode(Codec.JSON, [trade(Codec.JSON, i=2**53 + 1)]), NOW)
    assert isinstance(event, Trade)
    assert event.trade_id == "9007199254740993"


@BOTH
def test_known_and_unknown_types_are_counted_and_ignored(codec: Codec) -> None:
    decoder = live(codec)
    items = [{"T": kind, "S": BTC} for kind in ("u", "d", "c", "x", "s", "l", "o", "new", "new")]
    assert [type(e) for e in decoder.receive(encode(codec, [*items, trade(codec)]), NOW)] == [Trade]
    assert decoder.ignored == {
        "updated bar": 1,
        "daily bar": 1,
        "trade correction": 1,
        "trade cancel": 1,
        "trading status": 1,
        "limit band": 1,
        "order book": 1,
        "unknown type new": 2,
    }


def test_the_table_of_unknown_types_is_bounded() -> None:
    decoder = live()
    for n in range(1000):
        decoder.receive(encode(Codec.JSON, [{"T": f"type{n}"}]), NOW)
    assert len(decoder.ignored) < 100
    assert sum(decoder.ignored.values()) == 1000


@BOTH
def test_symbols_not_asked_for_are_counted(codec: Codec) -> None:
    decoder = live(codec)
    assert decoder.receive(encode(codec, [trade(codec, S="DOGE/USD")]), NOW) == []
    assert decoder.ignored == {"symbol not asked for": 1}


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"{}",
        b"[",
        b"null",
        b'[{"T":"t"}',
        b"\xff\xfe",
        b"\xef\xbb\xbf[]",
        b"[" * 100_000,
        b'{"T":"success","msg":"connected"}',
        "[1",
    ],
)
def test_unreadable_frames_are_events(frame: bytes | str) -> None:
    decoder = live()
    (event,) = decoder.receive(frame, NOW)
    assert isinstance(event, Malformed)
    assert len(event.excerpt) <= EXCERPT_CHARS


def test_secrets_that_a_venue_echoes_do_not_show() -> None:
    decoder = connected()
    (event,) = decoder.receive(f"no array of {SECRET} {KEY}", NOW)
    decoder.receive(encode(Codec.JSON, [{"T": "error", "code": 402, "msg": f"bad {SECRET}"}]), NOW)
    texts = f"{event} {decoder.refusal} {decoder!r} {decoder.ignored}"
    assert SECRET not in texts
    assert KEY not in texts


# --- times ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        (TEXT, 123_456_789),
        ("2023-11-14T22:13:20Z", 0),
        ("2023-11-14T22:13:20.5Z", 500_000_000),
        ("2023-11-14T22:13:20.000000001Z", 1),
        ("2023-11-14T17:13:20.123-05:00", 123_000_000),
        ("2023-11-14t22:13:20.25z", 250_000_000),
    ],
)
def test_rfc3339_is_exact_to_the_nanosecond(text: str, rest: int) -> None:
    for _ in range(2):  # the second reading finds the second in the cache
        assert parse_rfc3339(text) == 1_700_000_000 * 10**9 + rest


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2023-11-14",
        "2023-11-14T22:13:20",
        "2023-11-14T22:13:60Z",
        "2023-13-14T22:13:20Z",
        "2023-11-14T22:13:20.1234567890Z",
        "2023-11-14T22:13:20.12345678_Z",
        "2023-11-14T22:13:20,123456789Z",
        "1969-12-31T23:59:59Z",
        "2263-01-01T00:00:00Z",
        "2023-11-14T22:13:20.+12345678Z",
    ],
)
def test_other_texts_are_no_time(text: str) -> None:
    parse_rfc3339(TEXT)
    with pytest.raises(ValueError, match="time"):
        parse_rfc3339(text)


@given(st.integers(0, 2**63 - 1).filter(lambda t: t < (2**63 // 10**9) * 10**9))
def test_both_encodings_of_any_time_are_exact(time: int) -> None:
    text, packed = stamp(Codec.JSON, time), stamp(Codec.MSGPACK, time)
    assert isinstance(text, str)
    assert isinstance(packed, Ext)
    assert parse_rfc3339(text) == parse_timestamp(packed) == time


def test_the_three_lengths_of_msgpack_timestamps() -> None:
    seconds, rest = 1_700_000_000, 999_999_999
    assert parse_timestamp(Ext(-1, seconds.to_bytes(4, "big"))) == seconds * 10**9
    long = rest.to_bytes(4, "big") + seconds.to_bytes(8, "big")
    assert parse_timestamp(Ext(-1, long)) == seconds * 10**9 + rest


@pytest.mark.parametrize(
    "ext",
    [
        Ext(1, bytes(8)),
        Ext(-1, bytes(7)),
        Ext(-1, b""),
        Ext(-1, b"\xff" * 8),
        Ext(-1, bytes(4) + b"\xff" * 8),
    ],
)
def test_other_extensions_are_no_time(ext: Ext) -> None:
    with pytest.raises(ValueError, match="time"):
        parse_timestamp(ext)


# --- anything at all --------------------------------------------------------------------------

JSONISH = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
FIELDS = [
    *("T", "S", "i", "p", "s", "t", "tks", "bp", "bs", "ap", "as", "o", "h", "l", "c", "v"),
    *("code", "msg", "trades", "quotes", "bars"),
]
ITEM = st.dictionaries(
    st.sampled_from(FIELDS), JSONISH | st.sampled_from([BTC, TEXT, 1.5, [BTC, ETH]]), max_size=9
).flatmap(
    lambda item: st.sampled_from(["t", "q", "b", "success", "error", "subscription", "u"]).map(
        lambda kind: {"T": kind} | item
    )
)


def check(decoder: AlpacaDecoder, events: list[Event]) -> None:
    for event in events:
        assert isinstance(event, Trade | Quote | Bar | Malformed)
        if isinstance(event, Malformed):
            assert len(event.reason) <= EXCERPT_CHARS
            assert len(event.excerpt) <= EXCERPT_CHARS
        else:
            assert event.symbol in {BTC, ETH}
            assert 0 < event.price < float("inf")
            assert 0 <= event.time < 2**63
    for frame in decoder.data_to_send():
        assert isinstance(frame, str | bytes)


@BOTH
@given(frames=st.lists(st.binary(max_size=64) | st.text(max_size=64), max_size=4))
@settings(max_examples=200)
def test_any_bytes_have_a_documented_outcome(codec: Codec, frames: list[bytes | str]) -> None:
    decoder = live(codec)
    for frame in frames:
        check(decoder, decoder.receive(frame, NOW))


@BOTH
@given(frames=st.lists(st.lists(ITEM | JSONISH, max_size=4), max_size=4))
@settings(max_examples=200)
def test_any_objects_have_a_documented_outcome(codec: Codec, frames: list[list[object]]) -> None:
    decoder = connected(codec)
    for items in frames:
        check(decoder, decoder.receive(encode(codec, items), NOW))


@BOTH
@given(data=st.data())
@settings(max_examples=200)
def test_a_damaged_frame_has_a_documented_outcome(codec: Codec, data: st.DataObject) -> None:
    """One good frame with one byte changed, or cut."""
    good = encode(codec, [trade(codec), quote(codec), bar(codec)])
    place = data.draw(st.integers(0, len(good) - 1))
    byte = data.draw(st.binary(min_size=0, max_size=1))
    bad = good[:place] + byte + (good[place + 1 :] if byte else b"")
    decoder = live(codec)
    check(decoder, decoder.receive(bad, NOW))
