"""Tables: columns known by header or declared, times in any unit, bad rows counted."""

import builtins
import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.errors import ConfigError, DecodeError
from feeds.events import MINUTE, Aggressor, AssetClass, Bar, MarketEvent, Quote, Symbol, Trade
from feeds.files.table import TableMapping, TableParser
from feeds.files.table_file import TableFile
from feeds.numbers import iso_ns

CRYPTO = TableMapping(asset_class=AssetClass.CRYPTO)
X = Symbol("X")
KLINES = TableMapping(
    symbol=Symbol("ADA/BTC"),
    header=False,
    columns={"time": 0, "open": 1, "high": 2, "low": 3, "close": 4, "volume": 5},
    span=MINUTE,
)


def read(
    path: Path, mapping: TableMapping | None = None, rows: int | None = None
) -> list[MarketEvent]:
    """All events of a file of which each row is accounted for."""
    file = TableFile(path, mapping or TableMapping())
    file.check()
    events = list(file.events())
    assert file.audit().unaccounted == 0
    assert file.audit().events == len(events)
    if rows is not None:
        assert file.audit().rows == rows
        assert file.audit().malformed == 0
    return events


def parse(header: str, *rows: str, **mapping: Any) -> tuple[list[MarketEvent], TableParser]:
    parser = TableParser("t.csv", TableMapping(symbol=X, **mapping), header.split(","))
    return parser.feed(row.split(",") for row in rows), parser


def test_truefx_quotes(shared_data: Path) -> None:
    path = shared_data / "nautilus/truefx/usdjpy-ticks.csv"
    events = read(path, TableMapping(symbol=Symbol("USD/JPY")), rows=1001)
    assert len(events) == 1000
    time = iso_ns("2013-01-01T22:00:00.295Z")
    assert events[0] == Quote(Symbol("USD/JPY"), time, time, 86.655, 0.0, 86.728, 0.0)


def test_tardis_trades(shared_data: Path) -> None:
    events = read(shared_data / "nautilus/tardis/bitmex_trades_XBTUSD.csv", CRYPTO, rows=11)
    assert len(events) == 10
    assert events[0] == Trade(
        Symbol("XBT/USD"),
        1583020803145000_000,
        1583020803307160_000,
        8531.5,
        2152.0,
        "ccc3c1fa-212c-e8b0-1706-9b9c4f3d5ecf",
        Aggressor.SELLER,
    )


def test_tardis_book_gives_its_top(shared_data: Path) -> None:
    path = shared_data / "nautilus/tardis/binance-futures_book_snapshot_5_BTCUSDT.csv"
    (first, *rest) = read(path, CRYPTO, rows=11)
    assert len(rest) == 9
    assert first == Quote(
        Symbol("BTC/USDT"),
        1598918403696000_000,
        1598918403810979_000,
        11657.07,
        10.896,
        11657.08,
        1.714,
    )


def test_binance_klines_by_declared_columns(shared_data: Path) -> None:
    events = read(shared_data / "nautilus/ADABTC-1m-2021-11-27.csv", KLINES, rows=10)
    start = 1637971200000_000_000
    assert events[0] == Bar(
        Symbol("ADA/BTC"),
        start,
        start + MINUTE,
        MINUTE,
        0.00002853,
        0.00002854,
        0.00002851,
        0.00002854,
        36304.2,
    )


def test_histdata_quotes_by_a_pattern_and_a_zone(shared_data: Path) -> None:
    mapping = TableMapping(
        symbol=Symbol("EUR/USD"),
        header=False,
        columns={"time": 0, "bid": 1, "ask": 2},
        time_format="%Y%m%d %H%M%S%f",
        zone="EST",
    )
    events = read(shared_data / "nautilus/quote_tick_data.csv", mapping, rows=9500)
    assert len(events) == 9500
    assert isinstance(events[0], Quote)
    assert events[0].time == iso_ns("2020-01-01T22:00:00.065Z")


def test_parquet_trades_and_quotes(shared_data: Path) -> None:
    pytest.importorskip("pyarrow", reason="Parquet needs the extra tidegate[parquet]")
    folder = shared_data / "nautilus/binance"
    trades = read(
        folder / "btcusdt-trades.parquet", TableMapping(symbol=Symbol("BTC/USDT")), rows=2001
    )
    time = iso_ns("2021-01-08T00:00:00.278Z")
    assert trades[0] == Trade(
        Symbol("BTC/USDT"), time, time, 39432.48, 0.000263, "553287559", Aggressor.SELLER
    )
    quotes = read(folder / "btcusdt-quotes.parquet", rows=451)
    time = iso_ns("2021-01-08T00:00:01.076Z")
    assert quotes[0] == Quote(Symbol("BTC/USDT"), time, time, 39432.99, 0.0031, 39433.62, 0.066851)


def test_parquet_types_of_time(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="Parquet needs the extra tidegate[parquet]")
    from pyarrow import parquet

    seconds = 1_600_000_000
    for name, column in {
        "us": pyarrow.array([seconds * 10**6, None], pyarrow.timestamp("us")),
        "zone": pyarrow.array([seconds * 1000, None], pyarrow.timestamp("ms", tz="Asia/Tokyo")),
        "int": pyarrow.array([seconds * 1000, None]),
        "text": pyarrow.array(["2020-09-13T12:26:40", None]),
    }.items():
        path = tmp_path / f"{name}.parquet"
        table = pyarrow.table({"time": column, "note": ["a", "b"], "price": [1.5, 2.5]})
        parquet.write_table(table, path)
        file = TableFile(path, TableMapping(symbol=X))
        (trade,) = file.events()
        assert trade.time == seconds * 10**9
        assert (file.audit().malformed, file.audit().unaccounted) == (1, 0)


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"install tidegate\[parquet\]"):
        TableFile(tmp_path / "x.parquet", TableMapping()).check()


def test_damaged_parquet_names_its_file(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="Parquet needs the extra tidegate[parquet]")
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1 no PAR1")
    with pytest.raises(DecodeError, match=r"x.parquet cannot be read"):
        TableFile(path, TableMapping()).check()


@pytest.mark.parametrize(
    ("header", "row", "kind"),
    [
        ("Timestamp,Price,Qty", "1600000000,1.5,2", Trade),
        ("date,last,amount,id,side", "2020-09-13,1.5,2,7,Buy", Trade),
        ("ts,best_bid,best_ask", "1600000000123,1.5,2", Quote),
        ("time,bid_price,ask_price,bid_qty,ask_qty,price", "1600000000,1,2,3,4,5", Quote),
        ("time,open,high,low,close,volume", "1600000000,1,2,1,2,9", Bar),
    ],
)
def test_common_headers_are_recognised(header: str, row: str, kind: type) -> None:
    (event,), parser = parse(header, row, span=MINUTE)
    assert type(event) is kind
    assert parser.audit.unaccounted == 0


def test_declared_columns_win_over_recognised_ones() -> None:
    (trade,), _ = parse(
        "time,price,size,fair,when", "1600000000,1,2,3,1700000000",
        columns={"price": "Fair", "time": 4},
    )  # fmt: skip
    assert (trade.time, trade.price) == (1_700_000_000 * 10**9, 3.0)


@given(st.integers(200_000_000, 9_000_000_000), st.integers(0, 999_999_999))
def test_time_units_mean_the_same_moment(seconds: int, rest: int) -> None:
    moment = seconds * 10**9 + rest
    for text, unit, digits in [
        (f"{seconds}.{rest:09d}", "s", 9),
        (str(moment // 10**6), "ms", 3),
        (str(moment // 1000), "us", 6),
        (str(moment), "ns", 9),
    ]:
        exact = moment // 10 ** (9 - digits) * 10 ** (9 - digits)
        for form in ("auto", unit):
            (trade,), _ = parse("time,price", f"{text},1", time_format=form)
            assert trade.time == exact


def test_text_time_without_zone_is_in_the_declared_one() -> None:
    for form in ("auto", "iso", "%Y-%m-%d %H:%M:%S"):
        (trade,), _ = parse(
            "time,price", "2013-07-01 09:30:00,1", time_format=form, zone="America/New_York"
        )
        assert trade.time == iso_ns("2013-07-01T13:30:00Z")


def test_date_in_digits_is_a_date() -> None:
    (trade,), _ = parse("date,price", "20130701,1")
    assert trade.time == iso_ns("2013-07-01")


@pytest.mark.parametrize(
    "row",
    [
        "",
        "1600000000",
        "x,1",
        "1600000000,nan",
        "1600000000,-1",
        "1600000000,1,-2",
        "0,1,1",
        ",1,1",
    ],
)
def test_bad_rows_are_malformed_and_end_nothing(row: str) -> None:
    events, parser = parse("time,price,size", "1600000000,1,1", row, "1600000001,1,1")
    assert len(events) == 2
    assert (parser.audit.malformed, parser.audit.unaccounted) == (1, 0)


def test_symbols_come_from_their_column() -> None:
    header = ["symbol", "time", "price"]
    rows = [["btcusdt", "1600000000", "1"], ["", "1600000000", "1"], ["Y" * 40, "1600000000", "1"]]
    parser = TableParser("t", CRYPTO, header)
    assert [event.symbol for event in parser.feed(rows)] == ["BTC/USDT"]
    assert parser.audit.malformed == 2
    forex = TableParser("t", TableMapping(asset_class=AssetClass.FOREX), header)
    assert forex.feed([["eurusd", "1600000000", "1"]])[0].symbol == "EUR/USD"
    share = TableParser("t", TableMapping(), header)
    assert share.feed([["spy", "1600000000", "1"]])[0].symbol == "SPY"


@pytest.mark.parametrize(
    ("header", "mapping", "message"),
    [
        ("a,b", TableMapping(symbol=X), "has columns a, b: declare"),
        ("time,price", TableMapping(), "has no column of symbols"),
        ("time,open,high,low,close", TableMapping(symbol=X), "declare their span"),
        ("time,bid", TableMapping(symbol=X), "declare the columns"),
        ("time,price", TableMapping(symbol=X, columns={"size": "vol"}), "no column 'vol'"),
        ("time,price", TableMapping(symbol=X, columns={"prize": 1}), "'prize' is nothing"),
        ("time,price", TableMapping(symbol=X, zone="Mars/Base"), "no time zone"),
        ("time,price", TableMapping(symbol=X, time_format="minutes"), "time_format 'minutes'"),
        (None, TableMapping(symbol=X, header=False), "has no header"),
    ],
)
def test_what_must_be_declared_is_said_in_one_sentence(
    header: str | None, mapping: TableMapping, message: str
) -> None:
    names: Sequence[str] | None = None if header is None else header.split(",")
    with pytest.raises(ConfigError, match=message) as raised:
        TableParser("t.csv", mapping, names)
    assert "\n" not in str(raised.value)


def test_quoted_cells_delimiters_and_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text('\ufefftime;price;size\n1600000000;"1.5";2\n"1600000001;1;1\n1600000002;1;1\n')
    file = TableFile(path, TableMapping(symbol=X, delimiter=";"))
    assert [event.price for event in file.events()] == [1.5, 1.0]
    assert (file.audit().malformed, file.audit().unaccounted) == (1, 0)


def test_absurd_cell_is_malformed(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f'time,price\n"{"9" * 200_000}",1\n1600000000,1\n')
    assert len(read(path, TableMapping(symbol=X))) == 1


def test_gzipped_csv_is_the_same(tmp_path: Path) -> None:
    text = "time,price\n1600000000,1.5\n"
    plain, packed = tmp_path / "x.csv", tmp_path / "x.csv.gz"
    plain.write_text(text)
    packed.write_bytes(gzip.compress(text.encode()))
    mapping = TableMapping(symbol=X)
    assert read(plain, mapping) == read(packed, mapping)


def test_declared_symbol_is_known_before_reading(tmp_path: Path) -> None:
    guessed = TableFile(tmp_path / "x.csv", TableMapping(symbol=Symbol("EUR/USD")))
    assert guessed.symbols == {"EUR/USD": AssetClass.FOREX}
    assert TableFile(tmp_path / "x.csv", TableMapping()).symbols == {}


def test_empty_table_has_no_columns(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("")
    with pytest.raises(ConfigError, match="declare"):
        TableFile(path, TableMapping(symbol=X)).check()
