"""The venue's core: sessions, every error code, full sets; and the client core against it."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.msgpack import Ext

from feeds.base import Subscription
from feeds.events import (
    MINUTE,
    SECOND,
    Aggressor,
    AssetClass,
    Bar,
    Event,
    MarketEvent,
    Quote,
    QuoteBar,
    Symbol,
    Trade,
)
from feeds.protocols import alpaca
from feeds.protocols.alpaca import AlpacaDecoder
from feeds.protocols.alpaca_wire import parse_rfc3339
from feeds.venue.bars import DayBar, MadeBar
from feeds.venue.protocol import (
    ENDING,
    ERRORS,
    PATHS,
    Batch,
    Credentials,
    FeedKind,
    Group,
    Limits,
    Occupancy,
    Session,
)
from feeds.venue.tape import EVENTS_A_FRAME
from feeds.venue.words import Codec, rfc3339, timestamp

KEY, SECRET = "AKCANARYKEY", "canary-secret-7f3a"
CREDENTIALS = Credentials(KEY, SECRET)
GENEROUS = Limits()
AUTH = {"action": "auth", "key": KEY, "secret": SECRET}
BTC, ETH, AAPL = Symbol("BTC/USD"), Symbol("ETH/USD"), Symbol("AAPL")
TIME = 1_700_000_000_123_456_789
BOTH = pytest.mark.parametrize("codec", list(Codec))
EVERYWHERE = "trades", "quotes", "bars"


def session(
    kind: FeedKind = FeedKind.CRYPTO,
    codec: Codec = Codec.JSON,
    *,
    credentials: Credentials = CREDENTIALS,
    available: Callable[[str], bool] = lambda _: True,
    occupancy: Occupancy | None = None,
    limits: Limits = GENEROUS,
) -> Session:
    return Session(
        kind,
        codec,
        credentials,
        opened=TIME,
        available=available,
        occupancy=occupancy or Occupancy(limits.connections),
        limits=limits,
    )


def encode(codec: Codec, message: object) -> bytes:
    return msgspec.json.encode(message) if codec is Codec.JSON else msgspec.msgpack.encode(message)


def decode(codec: Codec, frames: list[bytes]) -> list[dict[str, Any]]:
    read: Callable[[bytes], Any] = (
        msgspec.json.decode if codec is Codec.JSON else msgspec.msgpack.decode
    )
    return [item for frame in frames for item in read(frame)]


def say(to: Session, **message: object) -> list[dict[str, Any]]:
    codec = to.group.codec
    return decode(codec, to.receive(encode(codec, message)))


def logged_in(kind: FeedKind = FeedKind.CRYPTO, codec: Codec = Codec.JSON, **more: Any) -> Session:
    made = session(kind, codec, **more)
    assert say(made, **AUTH) == [{"T": "success", "msg": "authenticated"}]
    return made


def error(code: int) -> list[dict[str, Any]]:
    return [{"T": "error", "code": code, "msg": ERRORS[code]}]


# --- login ------------------------------------------------------------------------------------


@BOTH
def test_a_client_is_greeted_and_may_log_in(codec: Codec) -> None:
    made = session(codec=codec)
    assert decode(codec, made.greet()) == [{"T": "success", "msg": "connected"}]
    assert not made.authenticated
    assert say(made, **AUTH) == [{"T": "success", "msg": "authenticated"}]
    assert made.authenticated
    assert say(made, **AUTH) == error(403)


def test_headers_log_in_at_once() -> None:
    made = session()
    assert [item["msg"] for item in decode(Codec.JSON, made.greet(KEY, SECRET))] == [
        "connected",
        "authenticated",
    ]
    wrong = session()
    assert decode(Codec.JSON, wrong.greet(KEY, "wrong"))[1:] == error(402)


@pytest.mark.parametrize(
    ("key", "secret"), [("", ""), (KEY, ""), ("", SECRET), (SECRET, KEY), ("clé", "ключ")]
)
def test_wrong_credentials_end_the_session(key: str, secret: str) -> None:
    made = session()
    assert say(made, action="auth", key=key, secret=secret) == error(402)
    assert made.ending == 402
    assert made.receive(encode(Codec.JSON, AUTH)) == []


def test_nothing_before_the_login() -> None:
    made = session()
    assert say(made, action="subscribe", trades=[BTC]) == error(401)
    assert made.ending is None


def test_the_login_has_a_deadline() -> None:
    made = session()
    assert made.login_deadline == TIME + 10 * SECOND
    assert made.check_login(made.login_deadline - 1) == []
    assert decode(Codec.JSON, made.check_login(made.login_deadline)) == error(404)
    assert made.ending == 404
    in_time = logged_in()
    assert in_time.check_login(in_time.login_deadline) == []


def test_an_account_may_lack_a_feed() -> None:
    basic = Credentials(KEY, SECRET, frozenset({FeedKind.IEX}))
    assert say(session(FeedKind.SIP, credentials=basic), **AUTH) == error(409)
    assert logged_in(FeedKind.IEX, credentials=basic).authenticated


def test_the_number_of_connections_is_limited_by_feed() -> None:
    occupancy = Occupancy(1)
    first = logged_in(occupancy=occupancy)
    assert logged_in(FeedKind.IEX, occupancy=occupancy).authenticated
    assert say(session(occupancy=occupancy), **AUTH) == error(406)
    first.close()
    first.close()
    assert logged_in(occupancy=occupancy).authenticated
    assert say(session(occupancy=occupancy), **AUTH) == error(406)


def test_secrets_show_in_no_repr() -> None:
    made = session()
    assert SECRET not in f"{CREDENTIALS!r} {CREDENTIALS} {made!r} {vars(made)!r}"
    assert KEY not in repr(CREDENTIALS)


# --- requests ---------------------------------------------------------------------------------


@BOTH
def test_every_change_is_answered_with_the_full_set(codec: Codec) -> None:
    made = logged_in(codec=codec)

    def sets(**message: object) -> tuple[object, ...]:
        (answer,) = say(made, **message)
        assert answer["T"] == "subscription"
        return tuple(answer[name] for name in EVERYWHERE)

    assert sets(action="subscribe", trades=[ETH], quotes=[ETH]) == ([ETH], [ETH], [])
    assert sets(action="subscribe", trades=[BTC], bars=["*"]) == ([BTC, ETH], [ETH], ["*"])
    assert sets(action="subscribe", trades=[BTC]) == ([BTC, ETH], [ETH], ["*"])
    assert sets(action="unsubscribe", trades=[ETH, AAPL]) == ([BTC], [ETH], ["*"])
    assert sets(action="unsubscribe", quotes=[ETH], bars=["*"], trades=[BTC]) == ([], [], [])
    assert not made.subscribed


def test_a_symbol_the_venue_has_not_is_left_out_of_the_answer() -> None:
    made = logged_in(available=lambda symbol: symbol == BTC)
    (answer,) = say(made, action="subscribe", trades=[BTC, ETH], quotes=[ETH])
    assert [answer[name] for name in EVERYWHERE] == [[BTC], [], []]


def test_a_market_is_asked_once_for_each_new_symbol() -> None:
    asked: list[str] = []
    made = logged_in(available=lambda symbol: not asked.append(symbol))  # type: ignore[func-returns-value]
    say(made, action="subscribe", trades=[BTC, "*"], quotes=[BTC])
    say(made, action="subscribe", bars=[BTC])
    assert asked == [BTC]


def test_the_test_feed_has_one_symbol() -> None:
    made = logged_in(FeedKind.TEST)
    (answer,) = say(made, action="subscribe", trades=["FAKEPACA", AAPL])
    assert answer["trades"] == ["FAKEPACA"]


def test_too_many_symbols() -> None:
    made = logged_in(limits=Limits(symbols=2))
    say(made, action="subscribe", trades=[BTC], quotes=[ETH])
    before = made.group
    assert say(made, action="subscribe", bars=[AAPL]) == error(405)
    assert made.group == before
    assert made.ending is None


@pytest.mark.parametrize("kind", [FeedKind.IEX, FeedKind.CRYPTO])
def test_a_channel_with_nothing_to_say_is_served_all_the_same(kind: FeedKind) -> None:
    made = logged_in(kind)
    (answer,) = say(made, action="subscribe", updatedBars=[AAPL], dailyBars=[BTC])
    assert (answer["updatedBars"], answer["dailyBars"], answer["bars"]) == ([AAPL], [BTC], [])
    (answer,) = say(made, action="unsubscribe", updatedBars=[AAPL])
    assert answer["updatedBars"] == []


@pytest.mark.parametrize(
    ("kind", "channels"),
    [
        (
            FeedKind.IEX,
            "trades quotes bars updatedBars dailyBars statuses lulds corrections cancelErrors",
        ),
        (FeedKind.CRYPTO, "trades quotes bars updatedBars dailyBars orderbooks"),
    ],
)
def test_an_answer_names_every_channel_of_its_feed(kind: FeedKind, channels: str) -> None:
    (answer,) = say(logged_in(kind), action="subscribe", trades=[AAPL])
    assert answer.keys() == {"T", *channels.split()}
    with_trades = {"trades", "corrections", "cancelErrors"} & answer.keys()
    assert {name for name in channels.split() if answer[name]} == with_trades


@pytest.mark.parametrize("channel", ["news", "orderbooks", "statuses", "lulds"])
def test_channels_of_other_feeds(channel: str) -> None:
    made = logged_in()
    assert say(made, action="subscribe", **{channel: [BTC]}) == error(410)
    assert say(made, action="subscribe", trades=[BTC], **{channel: []})[0]["trades"] == [BTC]


@BOTH
@pytest.mark.parametrize(
    "message",
    [
        None,
        7,
        [],
        {},
        {"action": "dance"},
        {"action": 7},
        {"action": "subscribe", "trades": BTC},
        {"action": "subscribe", "trades": [7]},
        {"action": "subscribe", "trades": [""]},
        {"action": "subscribe", "trades": ["X" * 33]},
    ],
)
def test_invalid_syntax(codec: Codec, message: object) -> None:
    made = logged_in(codec=codec)
    assert decode(codec, made.receive(encode(codec, message))) == error(400)
    assert made.ending is None


def test_text_is_json_whatever_the_codec() -> None:
    """A third-party client may answer in text though it reads msgpack."""
    made = session(codec=Codec.MSGPACK)
    frames = made.receive(msgspec.json.encode(AUTH).decode())
    assert decode(Codec.MSGPACK, frames) == [{"T": "success", "msg": "authenticated"}]


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_every_error_can_be_said(code: int) -> None:
    """The shell says 407 and 500 itself; each ending error is the last word of a session."""
    made = logged_in()
    assert decode(Codec.JSON, made.refuse(code)) == error(code)
    assert (made.ending == code) is (code in ENDING)


# --- market data ------------------------------------------------------------------------------

EVENTS: list[MarketEvent] = [
    Trade(BTC, TIME, 0, 60000.5, 0.25, "17", Aggressor.BUYER),
    Quote(ETH, TIME + 1, 0, 3000.0, 1.5, 3000.5, 2.0),
    Trade(ETH, TIME + 2, 0, 3000.5, 1.0, "18", Aggressor.SELLER),
    Quote(BTC, TIME + 3, 0, 60000.0, 0.5, 60001.0, 0.1),
    Bar(BTC, TIME, 0, MINUTE, 1.0, 3.0, 0.5, 2.0, 12.5),
    Trade(BTC, TIME + SECOND, 0, 60000.0, 0.1, "", Aggressor.UNKNOWN),
]


def group(
    kind: FeedKind, codec: Codec = Codec.JSON, trades: str = "", quotes: str = "", bars: str = ""
) -> Group:
    return Group(kind, codec, *(frozenset(names.split()) for names in (trades, quotes, bars)))


def heard(events: list[MarketEvent], by: Group) -> list[dict[str, Any]]:
    classes = {"BTC/USD": AssetClass.CRYPTO, "ETH/USD": AssetClass.CRYPTO}
    classes |= {"AAPL": AssetClass.EQUITY}
    return decode(by.codec, Batch(events, classes).frames(by))


def test_crypto_on_the_wire() -> None:
    first, second = heard(EVENTS, group(FeedKind.CRYPTO, trades="BTC/USD", quotes="BTC/USD"))[:2]
    time = "2023-11-14T22:13:20.123456789Z"
    identity = {"T": "t", "S": "BTC/USD", "i": 17, "t": time}
    assert first == identity | {"p": 60000.5, "s": 0.25, "tks": "B"}
    sides = {"bp": 60000.0, "bs": 0.5, "ap": 60001.0, "as": 0.1}
    assert second == {"T": "q", "S": "BTC/USD", "t": time.replace("789Z", "792Z")} | sides


SHAPES = {
    FeedKind.IEX: {
        "t": "T S i x p s c z t",
        "q": "T S bx bp bs ax ap as c z t",
        "b": "T S o h l c v n vw t",
        "d": "T S o h l c v n vw t",
    },
    FeedKind.CRYPTO: {
        "t": "T S i p s tks t",
        "q": "T S bp bs ap as t",
        "b": "T S o h l c v n vw t",
        "d": "T S o h l c v n vw t",
    },
}
TYPES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(["T", "S", "x", "z", "bx", "ax", "tks", "t"], str),
    **dict.fromkeys(["p", "s", "bp", "bs", "ap", "as", "o", "h", "l", "v", "vw"], float),
    **dict.fromkeys(("i", "n"), int),
    "c": (list, float),  # conditions, or a close
}


@pytest.mark.parametrize("kind", list(SHAPES))
def test_every_message_has_the_fields_of_alpacas_own(kind: FeedKind) -> None:
    """What the SDKs of the world look for: a missing one fails in the middle of a stream."""
    minute = 60 * (TIME // MINUTE) * SECOND
    events: list[MarketEvent] = [
        Trade(BTC, minute, minute, 200.5, 100.0, "5", Aggressor.BUYER),
        Quote(BTC, minute, minute, 200.0, 1.0, 201.0, 2.0),
        Bar(BTC, minute, minute + MINUTE, MINUTE, 1.0, 3.0, 0.5, 2.0, 12.5),
        MadeBar(BTC, minute, minute + MINUTE, MINUTE, 1.0, 3.0, 0.5, 2.0, 12.5, 3, 1.5),
        DayBar(BTC, minute, minute + MINUTE, MINUTE, 1.0, 3.0, 0.5, 2.0, 12.5, 3, 1.5),
    ]
    names = frozenset({BTC})
    items = heard(events, Group(kind, Codec.JSON, names, names, names, names))
    assert [item["T"] for item in items] == ["t", "q", "b", "b", "d"]
    for item in items:
        assert item.keys() == set(SHAPES[kind][item["T"]].split())
        assert all(isinstance(value, TYPES[name]) for name, value in item.items()), item
    assert [(item["n"], item["vw"]) for item in items[2:]] == [(0, 5.5 / 3), (3, 1.5), (3, 1.5)]


def test_the_star_also_hears_what_nobody_has_named() -> None:
    """A recorded market has symbols that no client has asked for: their class is guessed."""
    batch = Batch([*EVENTS, Trade(AAPL, TIME, 0, 200.5, 100.0, "5")], {})
    for kind, symbols in ((FeedKind.CRYPTO, [BTC, ETH, BTC]), (FeedKind.IEX, [AAPL])):
        frames = batch.frames(group(kind, trades="*"))
        assert [item["S"] for item in decode(Codec.JSON, frames)] == symbols


def test_the_star_is_everything_of_the_feeds_class() -> None:
    events = [*EVENTS, Trade(AAPL, TIME, 0, 200.5, 100.0, "5")]
    assert [i["S"] for i in heard(events, group(FeedKind.CRYPTO, trades="*"))] == [BTC, ETH, BTC]
    assert [i["S"] for i in heard(events, group(FeedKind.IEX, trades="*"))] == [AAPL]
    assert heard(events, group(FeedKind.FOREX, trades="*")) == []


def test_what_alpaca_has_no_words_for_is_not_sent() -> None:
    events: list[MarketEvent] = [
        Bar(BTC, TIME, 0, SECOND, 1.0, 3.0, 0.5, 2.0, 12.5),
        QuoteBar(BTC, TIME, 0, MINUTE, None, None, 1.0, 1.0),  # type: ignore[arg-type]
    ]
    assert heard(events, group(FeedKind.CRYPTO, trades="*", quotes="*", bars="*")) == []


def test_equal_groups_share_their_bytes_and_others_do_not() -> None:
    batch = Batch(EVENTS, {})
    one, same = (batch.frames(group(FeedKind.CRYPTO, trades="BTC/USD")) for _ in range(2))
    other = batch.frames(group(FeedKind.CRYPTO, trades="BTC/USD ETH/USD"))
    assert one is same
    assert other != one


def test_large_batches_are_cut_into_frames() -> None:
    events: list[MarketEvent] = [
        Trade(BTC, TIME + n, 0, 1.0, 1.0, str(n)) for n in range(2 * EVENTS_A_FRAME + 1)
    ]
    by = group(FeedKind.CRYPTO, trades="BTC/USD")
    sizes = [len(msgspec.json.decode(frame)) for frame in Batch(events, {}).frames(by)]
    assert sizes == [EVENTS_A_FRAME, EVENTS_A_FRAME, 1]
    assert [item["i"] for item in heard(events, by)] == list(range(2 * EVENTS_A_FRAME + 1))


@pytest.mark.parametrize("identity", ["0", "17", str(2**63 - 1)])
def test_trade_ids_arrive_as_they_were(identity: str) -> None:
    events: list[MarketEvent] = [Trade(BTC, TIME, 0, 1.0, 1.0, identity)]
    for codec in Codec:
        (item,) = heard(events, group(FeedKind.CRYPTO, codec, trades="BTC/USD"))
        assert item["i"] == int(identity)


@pytest.mark.parametrize("identity", ["007", "x", "", "9" * 30, "²"])
def test_a_trade_id_that_is_no_number_is_left_out(identity: str) -> None:
    """Alpaca's clients take an integer or nothing; the venue's own tape has it as it is."""
    events: list[MarketEvent] = [Trade(BTC, TIME, 0, 1.0, 1.0, identity)]
    (item,) = heard(events, group(FeedKind.CRYPTO, trades="BTC/USD"))
    assert "i" not in item


@given(st.integers(0, 2**33 * SECOND))
def test_times_are_exact_to_the_nanosecond(time: int) -> None:
    assert parse_rfc3339(rfc3339(time)) == time
    packed = timestamp(time)
    assert isinstance(packed, Ext)
    seconds, rest = divmod(time, SECOND)
    assert packed.data == (rest << 34 | seconds).to_bytes(8, "big")


# --- two ends in memory -----------------------------------------------------------------------


def converse(decoder: AlpacaDecoder, venue: Session, frames: list[bytes]) -> None:
    """Carry frames to and fro until both ends are silent."""
    while frames:
        for frame in frames:
            assert decoder.receive(frame, TIME) == []
        frames = [answer for out in decoder.data_to_send() for answer in venue.receive(out)]


def ends(
    codec: Codec, kind: FeedKind, secret: str = SECRET, **more: Any
) -> tuple[AlpacaDecoder, Session]:
    symbols = [BTC, ETH] if kind is FeedKind.CRYPTO else [AAPL]
    asset_class = kind.asset_class or AssetClass.CRYPTO
    wanted = [Subscription(symbol, asset_class) for symbol in symbols]
    decoder = AlpacaDecoder(KEY, secret, wanted, alpaca.Codec(codec))
    venue = session(kind, codec, **more)
    converse(decoder, venue, venue.greet())
    return decoder, venue


def received(decoder: AlpacaDecoder, frames: list[bytes]) -> list[Event]:
    return [event for frame in frames for event in decoder.receive(frame, TIME)]


@BOTH
def test_both_ends_agree_on_everything(codec: Codec) -> None:
    decoder, venue = ends(codec, FeedKind.CRYPTO)
    assert decoder.is_live
    events = received(decoder, Batch(EVENTS, {}).frames(venue.group))
    assert events == [msgspec.structs.replace(event, received=TIME) for event in EVENTS]
    assert (decoder.malformed, decoder.ignored) == (0, {})


@BOTH
def test_stocks_lose_only_the_taker(codec: Codec) -> None:
    decoder, venue = ends(codec, FeedKind.IEX)
    print_ = Trade(AAPL, TIME, TIME, 200.5, 100.0, "5", Aggressor.BUYER)
    assert received(decoder, Batch([print_], {}).frames(venue.group)) == [
        msgspec.structs.replace(print_, aggressor=Aggressor.UNKNOWN)
    ]


@BOTH
def test_a_wrong_secret_is_a_refusal(codec: Codec) -> None:
    decoder, venue = ends(codec, FeedKind.CRYPTO, secret="wrong")
    assert decoder.refusal is not None
    assert decoder.refusal.code == 402
    assert venue.ending == 402


@BOTH
def test_an_unknown_symbol_is_a_refusal(codec: Codec) -> None:
    decoder, _ = ends(codec, FeedKind.CRYPTO, available=lambda symbol: symbol != ETH)
    assert "ETH/USD" in str(decoder.refusal)


@BOTH
def test_a_full_house_is_of_the_moment(codec: Codec) -> None:
    decoder, _ = ends(codec, FeedKind.CRYPTO, occupancy=Occupancy(0))
    assert decoder.refusal is None
    assert decoder.fault == "the venue said 406 connection limit exceeded"


FINITE = st.floats(1e-300, 1e300)
SIZE = st.floats(0, 1e300)
TIMES = st.integers(0, 2**62)
SYMBOLS = st.sampled_from([BTC, ETH])
MARKET = st.one_of(
    st.builds(
        Trade,
        SYMBOLS,
        TIMES,
        st.just(TIME),
        FINITE,
        SIZE,
        st.integers(0, 2**63 - 1).map(str) | st.just(""),
        st.sampled_from(Aggressor),
    ),
    st.builds(Quote, SYMBOLS, TIMES, st.just(TIME), FINITE, SIZE, FINITE, SIZE),
    st.builds(
        Bar, SYMBOLS, TIMES, st.just(TIME), st.just(MINUTE), FINITE, FINITE, FINITE, FINITE, SIZE
    ),
)


@BOTH
@given(events=st.lists(MARKET, max_size=8))
@settings(max_examples=200)
def test_any_market_data_arrives_exactly(codec: Codec, events: list[MarketEvent]) -> None:
    decoder, venue = ends(codec, FeedKind.CRYPTO)
    assert received(decoder, Batch(events, {}).frames(venue.group)) == events


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
REQUEST = st.fixed_dictionaries(
    {"action": st.sampled_from(["auth", "subscribe", "unsubscribe", "x"])},
    optional=dict.fromkeys((*EVERYWHERE, "key", "secret", "news"), ANYTHING)
    | {"trades": st.lists(st.sampled_from([BTC, ETH, AAPL, "*"]))},
)


@BOTH
@given(
    requests=st.lists(
        st.binary(max_size=64) | st.text(max_size=64) | REQUEST | ANYTHING, max_size=5
    ),
    authenticated=st.booleans(),
)
@settings(max_examples=200)
def test_any_request_has_a_documented_answer(
    codec: Codec, requests: list[object], authenticated: bool
) -> None:
    made = logged_in(codec=codec) if authenticated else session(codec=codec)
    for request in requests:
        frame = request if isinstance(request, bytes | str) else encode(codec, request)
        over = made.ending is not None
        answers = decode(codec, made.receive(frame))
        assert len(answers) == (0 if over else 1)
        for answer in answers:
            assert answer["T"] in {"success", "error", "subscription"}
            assert answer["T"] != "error" or ERRORS[answer["code"]] == answer["msg"]


def test_paths_name_every_feed() -> None:
    assert set(PATHS.values()) == set(FeedKind)
    for asset_class, path in alpaca.PATHS.items():
        assert PATHS[path].asset_class is asset_class
