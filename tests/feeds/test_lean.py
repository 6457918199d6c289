"""LEAN's files: every row of every recorded file is accounted for, and means what LEAN says."""

import tracemalloc
import zipfile
from collections import Counter
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.base import Audit
from feeds.errors import DecodeError
from feeds.events import (
    MINUTE,
    SECOND,
    AssetClass,
    Bar,
    MarketEvent,
    Ohlc,
    Quote,
    QuoteBar,
    Symbol,
    Trade,
)
from feeds.files.lean import LeanFile, parse_path, row_parser
from feeds.files.lean_rows import RowClock
from feeds.numbers import iso_ns

ROWS = {
    "crypto/bybit/minute/btcusdt/20221213_quote.zip": 721,
    "crypto/bybit/minute/btcusdt/20221213_trade.zip": 1440,
    "crypto/coinbase/minute/btcusd/20180404_quote.zip": 1437,
    "crypto/coinbase/minute/btcusd/20180404_trade.zip": 1007,
    "crypto/coinbase/minute/btcusd/20180405_quote.zip": 1436,
    "crypto/coinbase/minute/btcusd/20180405_trade.zip": 1440,
    "crypto/coinbase/second/btcusd/20161007_trade.zip": 4063,
    "equity/usa/minute/aapl/20140605_quote.zip": 830,
    "equity/usa/minute/aapl/20140605_trade.zip": 686,
    "equity/usa/minute/aapl/20140606_quote.zip": 835,
    "equity/usa/minute/aapl/20140606_trade.zip": 783,
    "equity/usa/minute/ibm/20131007_quote.zip": 554,
    "equity/usa/minute/ibm/20131007_trade.zip": 453,
    "equity/usa/minute/spy/20131007_quote.zip": 908,
    "equity/usa/minute/spy/20131007_trade.zip": 828,
    "equity/usa/minute/spy/20131008_quote.zip": 910,
    "equity/usa/minute/spy/20131008_trade.zip": 828,
    "equity/usa/second/ibm/20131007_quote.zip": 11676,
    "equity/usa/second/ibm/20131007_trade.zip": 5123,
    "equity/usa/tick/ibm/20131007_quote.zip": 109067,
    "equity/usa/tick/ibm/20131007_trade.zip": 24293,
    "equity/usa/tick/spy/20131007_trade.zip": 250601,
    "forex/fxcm/tick/eurusd/20140501_quote.zip": 51053,
    "forex/oanda/minute/eurusd/20140501_quote.zip": 1363,
    "forex/oanda/tick/eurusd/20140501_quote.zip": 24179,
    "forex/oanda/tick/eurusd/20140502_quote.zip": 49341,
}
NEW_YORK = ZoneInfo("America/New_York")
SPY = "equity/usa/tick/spy/20131007_trade.zip"
IBM_QUOTES = "equity/usa/tick/ibm/20131007_quote.zip"


def lean_file(path: Path) -> LeanFile:
    what = parse_path(path)
    assert what is not None
    return LeanFile(path, what)


def parse(name: str, *lines: str) -> tuple[list[MarketEvent], Audit]:
    """What some rows make in a file of this name."""
    what = parse_path(Path(name))
    assert what is not None
    parser = row_parser(what, Audit())
    events = parser.feed(list(lines))
    return events + parser.finish(), parser.audit


@pytest.mark.parametrize("name", ROWS)
def test_every_recorded_row_is_accounted_for(shared_data: Path, name: str) -> None:
    file = lean_file(shared_data / "lean" / name)
    kinds = Counter(type(event) for event in file.events())
    audit = file.audit()
    assert audit.rows == ROWS[name]
    assert audit.unaccounted == 0
    assert audit.malformed == 0
    assert sum(kinds.values()) == audit.events
    assert len(kinds) == 1
    if name != IBM_QUOTES:
        assert audit.events == audit.rows


def test_table_of_rows_names_every_file_there_is(shared_data: Path) -> None:
    folder = shared_data / "lean"
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*.zip")} == set(ROWS)


def test_reading_again_counts_again(shared_data: Path) -> None:
    file = lean_file(shared_data / "lean" / "equity/usa/minute/spy/20131007_trade.zip")
    assert list(file.events()) == list(file.events())
    assert file.audit().rows == 828


def test_prices_are_exact_decimals(shared_data: Path) -> None:
    file = lean_file(shared_data / "lean" / "equity/usa/tick/ibm/20131007_trade.zip")
    with zipfile.ZipFile(file.path) as archive:
        text = archive.read(archive.namelist()[0]).decode()
    scaled = [Decimal(row.split(",")[1]) / 10_000 for row in text.splitlines()]
    events = list(file.events())
    assert [Decimal(str(event.price)) for event in events] == scaled


def test_best_quotes_make_the_bars_that_lean_made_of_them(shared_data: Path) -> None:
    """The reason for taking the rows as one stream: LEAN's second bars close where it stands."""
    folder = shared_data / "lean" / "equity/usa"
    closes: dict[int, tuple[float, float, float, float]] = {}
    crossed = 0
    for tick in lean_file(folder / "tick/ibm/20131007_quote.zip").events():
        assert isinstance(tick, Quote)
        top = (tick.bid, tick.bid_size, tick.ask, tick.ask_size)
        closes[tick.time // SECOND * SECOND] = top
        crossed += tick.bid > tick.ask
    assert crossed < 50
    agreeing = total = 0
    told = None
    for bar in lean_file(folder / "second/ibm/20131007_quote.zip").events():
        assert isinstance(bar, QuoteBar)
        told = closes.get(bar.time, told)
        agreeing += told == (bar.bid.close, bar.bid_size, bar.ask.close, bar.ask_size)
        total += 1
    assert total - agreeing <= 2


@pytest.mark.parametrize(
    ("name", "symbol", "asset_class", "day"),
    [
        ("x/equity/usa/tick/spy/20131007_trade.zip", "SPY", "equity", date(2013, 10, 7)),
        ("Equity/USA/Minute/BRK.B/20131007_quote.zip", "BRK.B", "equity", date(2013, 10, 7)),
        ("forex/oanda/tick/eurusd/20140501_quote.zip", "EUR/USD", "forex", date(2014, 5, 1)),
        ("crypto/bybit/minute/btcusdt/20221201_trade.zip", "BTC/USDT", "crypto", date(2022, 12, 1)),
        ("crypto/binance/minute/abusd/20221201_trade.zip", "A/BUSD", "crypto", date(2022, 12, 1)),
        ("equity/usa/daily/spy.zip", "SPY", "equity", None),
        ("crypto/coinbase/hour/btcusd_quote.zip", "BTC/USD", "crypto", None),
    ],
)  # fmt: skip
def test_path_tells_what_a_file_holds(
    name: str, symbol: str, asset_class: str, day: date | None
) -> None:
    what = parse_path(Path(name))
    assert what is not None
    assert (what.symbol, what.asset_class, what.date) == (symbol, asset_class, day)


@pytest.mark.parametrize(
    "name",
    [
        "spy/20131007_trade.zip",
        "equity/usa/tick/spy/20131307_trade.zip",
        "equity/usa/tick/spy/20131007_openinterest.zip",
        "crypto/coinbase/tick/btcusd/20180404_trade.zip",
        "forex/oanda/tick/eurusd/20140501_trade.zip",
        "option/usa/minute/spy/20131007_trade.zip",
        "equity/usa/tick/spy/20131007_trade.csv",
    ],
)
def test_other_paths_are_not_ours(name: str) -> None:
    assert parse_path(Path(name)) is None


def test_equity_time_is_new_yorks() -> None:
    (trade,), _ = parse(SPY, "34200000,1674100,100,P,20002000,0")
    time = iso_ns("2013-10-07T13:30:00Z")
    assert trade == Trade(Symbol("SPY"), time, time, 167.41, 100.0)


def test_forex_zone_is_the_markets() -> None:
    (oanda,), _ = parse("forex/oanda/tick/eurusd/20140501_quote.zip", "1787.5,1.38727,1.38729")
    (fxcm,), _ = parse("forex/fxcm/tick/eurusd/20140501_quote.zip", "1787,1.38727,1.38729")
    time = iso_ns("2014-05-01T00:00:01.7875Z")
    assert oanda == Quote(Symbol("EUR/USD"), time, time, 1.38727, 0.0, 1.38729, 0.0)
    assert isinstance(fxcm, Quote)
    assert fxcm.time == iso_ns("2014-05-01T00:00:01.787-05:00")


@given(st.sampled_from(["2013-03-10", "2013-11-03", "2013-10-07"]), st.integers(0, 86_399_999))
def test_clock_is_right_on_days_when_clocks_change(day: str, milliseconds: int) -> None:
    clock = RowClock(date.fromisoformat(day), NEW_YORK)
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    local = datetime.fromisoformat(day).replace(
        hour=hours, minute=minutes, second=rest // 1000, tzinfo=NEW_YORK
    )
    seconds = int((local.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    assert clock.ns(str(milliseconds)) == seconds * SECOND + rest % 1000 * 1_000_000


@pytest.mark.parametrize("text", ["-1", "86400000", "", "x", "nan", "1e3000", "1e30", "²"])
def test_clock_refuses_what_is_no_time_of_the_day(text: str) -> None:
    with pytest.raises((ValueError, ArithmeticError)):
        RowClock(date(2013, 10, 7), UTC).ns(text)


def test_suspicious_trades_are_dropped_and_counted() -> None:
    events, audit = parse(SPY, "1,10000,1,P,0,1", "2,10000,1,P,0,0")
    assert len(events) == 1
    assert (audit.rows, audit.suspicious, audit.unaccounted) == (2, 1, 0)


@pytest.mark.parametrize(
    "row",
    [
        "",
        "1,10000,1,P,0",
        "1,10000,1,P,0,2",
        "1,0,1,P,0,0",
        "1,-5,1,P,0,0",
        "1,10000,-1,P,0,0",
        "1,nan,1,P,0,0",
        "1,10000,inf,P,0,0",
        "99999999,10000,1,P,0,0",
        "x,10000,1,P,0,0",
        "1,10000," + "9" * 5000 + ",P,0,0",
        "1," + "9" * 400 + ",1,P,0,0",
        "\ufffd\x00",
    ],
)
def test_bad_rows_are_malformed_and_end_nothing(row: str) -> None:
    events, audit = parse(SPY, "1,10000,1,P,0,0", row, "2,10000,1,P,0,0")
    assert len(events) == 2
    assert (audit.malformed, audit.unaccounted) == (1, 0)


def quotes(*rows: str) -> tuple[list[tuple[float, float, float, float]], Audit]:
    events, audit = parse(IBM_QUOTES, *(f"{row},Q,1,0" for row in rows))
    assert audit.unaccounted == 0
    return [(q.bid, q.bid_size, q.ask, q.ask_size) for q in events if isinstance(q, Quote)], audit


def test_bid_and_ask_of_one_moment_are_one_change() -> None:
    """Between the two rows the new bid would stand against the old ask, and seem crossed."""
    tops, audit = quotes("1,10000,3,0,0", "1,0,0,10100,4", "2,10200,5,0,0", "2,0,0,10300,6")
    assert tops == [(1.0, 3.0, 1.01, 4.0), (1.02, 5.0, 1.03, 6.0)]
    assert (audit.rows_used, audit.joined, audit.events) == (4, 2, 2)


def test_zero_is_unchanged_never_a_price() -> None:
    tops, _ = quotes("1,10000,3,10100,4", "2,0,0,10300,6", "3,9900,1,0,0", "4,0,0,0,0")
    assert tops == [(1.0, 3.0, 1.01, 4.0), (1.0, 3.0, 1.03, 6.0), (0.99, 1.0, 1.03, 6.0)]


def test_what_makes_no_new_top_is_counted_by_kind() -> None:
    tops, audit = quotes("1,10000,3,0,0", "2,10000,3,10100,4", "3,0,0,10100,4", "4,0,0,0,0")
    assert tops == [(1.0, 3.0, 1.01, 4.0)]
    assert audit.ignored == {"other side unknown": 1, "top unchanged": 1, "no side": 1}


def test_crossed_top_is_delivered_and_not_sane() -> None:
    events, _ = parse(IBM_QUOTES, "1,10200,3,10100,4,Q,1,0")
    (quote,) = events
    assert isinstance(quote, Quote)
    assert not quote.is_sane


def test_suspicious_half_leaves_the_other_half() -> None:
    rows = ("1,10000,3,10100,4,Q,1,0", "2,10050,3,0,0,Q,1,0", "2,0,0,99999,1,P,1,1")
    events, audit = parse(IBM_QUOTES, *rows)
    assert [(event.bid, event.ask) for event in events if isinstance(event, Quote)] == [
        (1.0, 1.01),
        (1.005, 1.01),
    ]
    assert (audit.suspicious, audit.unaccounted) == (1, 0)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3), st.integers(0, 2), st.integers(0, 2), st.sampled_from("0011x")
        ),
        max_size=30,
    )
)
def test_quote_rows_are_accounted_for_whatever_comes(
    rows: list[tuple[int, int, int, str]],
) -> None:
    lines = [f"{time},{bid},{bid},{ask},{ask},Q,1,{flag}" for time, bid, ask, flag in rows]
    events, audit = parse(IBM_QUOTES, *lines)
    assert audit.unaccounted == 0
    assert audit.rows == len(rows)
    assert audit.events == len(events)


def test_bar_starts_at_its_time_and_is_received_at_its_end() -> None:
    (bar,), _ = parse(
        "equity/usa/minute/spy/20131007_trade.zip", "34200000,20000,30000,10000,20000,5"
    )
    start = iso_ns("2013-10-07T13:30:00Z")
    assert bar == Bar(
        Symbol("SPY"), start, start + MINUTE, MINUTE, 2.0, 3.0, 1.0, 2.0, 5.0
    )  # fmt: skip


def test_quote_bar_has_both_sides() -> None:
    row = "0,7424.9,7424.9,7424.9,7424.9,1.5,7424.91,7425,7424.91,7424.91,33.35399601000002"
    (bar,), _ = parse("crypto/coinbase/second/btcusd/20180404_quote.zip", row)
    start = iso_ns("2018-04-04T00:00:00Z")
    assert bar == QuoteBar(
        Symbol("BTC/USD"),
        start,
        start + SECOND,
        SECOND,
        Ohlc(7424.9, 7424.9, 7424.9, 7424.9),
        Ohlc(7424.91, 7425.0, 7424.91, 7424.91),
        1.5,
        33.35399601000002,
    )


@pytest.mark.parametrize(
    "row", ["0,,,,,,2,2,2,2,5", "0,2,2,2,2,5,,,,,", "0,2,2,2,2,5,2,,2,2,5", "0" + "," * 10]
)
def test_bar_with_an_empty_side_is_ignored_by_kind(row: str) -> None:
    events, audit = parse("crypto/coinbase/minute/btcusd/20180404_quote.zip", row)
    assert events == []
    assert audit.ignored == {"one-sided bar": 1}


@pytest.mark.parametrize(
    "row",
    ["0,1,2,3,4", "0,2,1,3,2,5", "0,2,3,1,2,-1", "0,0,0,0,0,5", "0,2,nan,1,2,5", "x,2,3,1,2,5"],
)
def test_bad_bars_are_malformed(row: str) -> None:
    events, audit = parse("crypto/coinbase/minute/btcusd/20180404_trade.zip", row)
    assert events == []
    assert (audit.malformed, audit.unaccounted) == (1, 0)


@pytest.mark.parametrize("row", ["", "1,1.5", "1,nan,1.5", "1,1.5,-1", "x,1,1", "1,1,1,1"])
def test_bad_forex_ticks_are_malformed(row: str) -> None:
    events, audit = parse("forex/oanda/tick/eurusd/20140501_quote.zip", row)
    assert events == []
    assert (audit.malformed, audit.unaccounted) == (1, 0)


def test_quote_bar_needs_all_its_columns() -> None:
    _, audit = parse("crypto/coinbase/minute/btcusd/20180404_quote.zip", "0,1,1,1,1,5,1,1,1,1")
    assert (audit.malformed, audit.unaccounted) == (1, 0)


def test_daily_rows_tell_their_own_date() -> None:
    (bar,), _ = parse(
        "equity/usa/daily/spy.zip", "20131007 00:00,1677400,1690000,1670000,1678900,99"
    )
    assert isinstance(bar, Bar)
    assert bar.time == iso_ns("2013-10-07T00:00:00-04:00")
    assert bar.span == 1440 * MINUTE
    (quote_bar,), _ = parse(
        "forex/oanda/hour/eurusd.zip", "20140501 01:00,1,2,1,2,0,1,2,1,2,0"
    )  # fmt: skip
    assert isinstance(quote_bar, QuoteBar)
    assert quote_bar.time == iso_ns("2014-05-01T01:00:00Z")


def test_asset_class_comes_from_the_path() -> None:
    assert lean_file(Path(SPY)).symbols == {Symbol("SPY"): AssetClass.EQUITY}


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    path = tmp_path / SPY
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rows.csv", "1,10000,1,P,0,0\n" * 80_000)
    events = lean_file(path).events()
    next(events)  # the tables of the zone and the archive are loaded once
    tracemalloc.start()
    try:
        count = sum(1 for _ in events)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 79_999
    assert peak < 8_000_000  # all of these events at once are 13 MB


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign", "two members", "absent"])
def test_damaged_zip_names_its_file(tmp_path: Path, damage: str) -> None:
    path = tmp_path / SPY
    path.parent.mkdir(parents=True)
    rows = "".join(f"{n},10000,{n},P,0,0\n" for n in range(5000))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rows.csv", rows)
        if damage == "two members":
            archive.writestr("more.csv", rows)
    whole = path.read_bytes()
    match damage:
        case "cut":
            path.write_bytes(whole[: len(whole) // 2])
        case "flipped":
            middle = len(whole) // 2
            path.write_bytes(
                whole[:middle] + bytes([whole[middle] ^ 0xFF] * 64) + whole[middle + 64 :]
            )
        case "foreign":
            path.write_bytes(b"not a zip")
        case "absent":
            path.unlink()
    with pytest.raises(DecodeError, match=r"20131007_trade.zip cannot be read: .+"):
        list(lean_file(path).events())
