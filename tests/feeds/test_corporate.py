"""Splits, dividends and tickers: files in LEAN's documented form, and what is made of them."""

import zipfile
from datetime import date
from pathlib import Path

import pytest

from feeds.errors import DecodeError
from feeds.events import Bar, MarketEvent, Quote, QuoteBar, Trade
from feeds.files import FileSource, open_source
from feeds.files.corporate import Actions

AAPL = """19980102,0.9311149,0.0357143
20140606,0.9741588,0.142857
20140806,0.9741588,1
20501231,1,1
"""
FOXA = "20041112,nwsa\n20130628,nwsa\n20501231,foxa\n"
NWSA = "20130628,nwsa.x\n20501231,nwsa\n"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.csv", text)
    else:
        path.write_text(text)
    return path


@pytest.fixture
def usa(tmp_path: Path) -> Path:
    usa = tmp_path / "equity" / "usa"
    write(usa / "factor_files" / "aapl.csv", AAPL)
    write(usa / "map_files" / "aapl.csv", "19980102,aapl\n20501231,aapl\n")
    return usa


def read(*paths: Path, adjusted: bool = True) -> list[MarketEvent]:
    return list(open_source(paths, adjusted=adjusted).events())


def test_a_row_holds_for_its_date_and_those_before_it(usa: Path) -> None:
    actions = Actions(usa)
    factors = {
        date(1998, 1, 2): 0.9311149 * 0.0357143,
        date(1998, 1, 3): 0.9741588 * 0.142857,
        date(2014, 6, 6): 0.9741588 * 0.142857,
        date(2014, 6, 7): 0.9741588,
        date(2014, 8, 6): 0.9741588,
        date(2014, 8, 7): 1.0,
        date(2051, 1, 1): 1.0,
    }
    assert {day: actions.factor("aapl", day) for day in factors} == factors
    assert actions.factor("none", date(2014, 6, 6)) == 1.0


def test_every_kind_of_file_is_adjusted_and_sizes_are_not(usa: Path) -> None:
    split = 0.9741588 * 0.142857
    minute = usa / "minute" / "aapl"
    write(minute / "20140606_trade.zip", "34200000,6500000,6510000,6490000,6500000,700\n")
    quotes = "34200000,6490000,6490000,6490000,6490000,5,6500000,6500000,6500000,6500000,7\n"
    write(minute / "20140606_quote.zip", quotes)
    tick = usa / "tick" / "aapl"
    write(tick / "20140606_trade.zip", "34200000,6500000,100,Q,0,0\n")
    sides = "34200000,6490000,5,0,0,Q,0,0\n34200000,0,0,6500000,7,Q,0,0\n"
    write(tick / "20140606_quote.zip", sides)
    bar, quote_bar = sorted(read(minute), key=lambda e: isinstance(e, QuoteBar))
    assert isinstance(bar, Bar)
    assert (bar.open, bar.high, bar.low, bar.volume) == (
        650 * split, 651 * split, 649 * split, 700
    )  # fmt: skip
    assert isinstance(quote_bar, QuoteBar)
    assert (quote_bar.bid.close, quote_bar.ask.close) == (649 * split, 650 * split)
    assert (quote_bar.bid_size, quote_bar.ask_size) == (5, 7)
    trade, quote = sorted(read(tick), key=lambda e: isinstance(e, Quote))
    assert isinstance(trade, Trade)
    assert isinstance(quote, Quote)
    assert (trade.price, trade.size, trade.symbol) == (650 * split, 100, "AAPL")
    assert (quote.bid, quote.ask, quote.bid_size) == (649 * split, 650 * split, 5)
    assert [event.price for event in read(tick / "20140606_trade.zip", adjusted=False)] == [650.0]


@pytest.mark.parametrize(("resolution", "when"), [("daily", "00:00"), ("hour", "15:00")])
def test_in_a_file_of_many_dates_each_has_its_own_factor(
    usa: Path, resolution: str, when: str
) -> None:
    """The split of 7 for 1 on 2014-06-09 is no fall of six sevenths."""
    rows = "".join(
        f"{day} {when},{price},{price},{price},{price},100\n"
        for day, price in (("20140605", 6474000), ("20140606", 6455700), ("20140609", 937000))
    )
    path = write(usa / resolution / "aapl.zip", rows)
    before, eve, after = (event.price for event in read(path))
    split = 0.9741588 * 0.142857
    assert [before, eve] == pytest.approx([647.4 * split, 645.57 * split])
    assert after == pytest.approx(93.7 * 0.9741588)
    assert abs(after / eve - 1) < 0.02
    assert [event.price for event in read(path, adjusted=False)] == [647.4, 645.57, 93.7]


def test_a_share_that_changed_its_ticker_is_one_symbol(usa: Path) -> None:
    """Fox was in the files of NWSA until 2013-06-28; who has that ticker since is another share."""
    write(usa / "map_files" / "foxa.csv", FOXA)
    write(usa / "map_files" / "nwsa.csv", NWSA)
    row = "34200000,300000,300000,300000,300000,{}\n"
    for ticker, day, volume in (
        ("nwsa", "20130627", 1),
        ("nwsa", "20130628", 2),
        ("foxa", "20130701", 3),
        ("nwsa", "20130701", 4),
    ):
        write(usa / "minute" / ticker / f"{day}_trade.zip", row.format(volume))
    source = open_source([usa])
    assert set(source.symbols) == {"FOXA", "NWSA"}
    told = [(event.symbol, event.volume) for event in source.events() if isinstance(event, Bar)]
    assert sorted(told) == [("FOXA", 1), ("FOXA", 2), ("FOXA", 3), ("NWSA", 4)]
    assert [volume for symbol, volume in told if symbol == "FOXA"] == [1, 2, 3]
    raw = [(event.symbol, event.volume) for event in read(usa, adjusted=False)]  # type: ignore[union-attr]
    assert sorted(raw) == [("FOXA", 3), ("NWSA", 1), ("NWSA", 2), ("NWSA", 4)]


def test_a_file_of_many_dates_may_hold_two_shares(usa: Path) -> None:
    write(usa / "map_files" / "foxa.csv", FOXA)
    write(usa / "map_files" / "nwsa.csv", NWSA)
    rows = "".join(
        f"{day} 00:00,300000,300000,300000,300000,1\n" for day in ("20130628", "20130701")
    )
    source = open_source([write(usa / "daily" / "nwsa.zip", rows)])
    assert set(source.symbols) == {"NWSA", "FOXA"}
    assert [event.symbol for event in source.events()] == ["FOXA", "NWSA"]


def test_what_has_no_such_files_is_read_as_before(tmp_path: Path, usa: Path) -> None:
    ibm = write(usa / "tick" / "ibm" / "20140606_trade.zip", "34200000,1850000,100,Q,0,0\n")
    assert [(event.symbol, event.price) for event in read(ibm)] == [("IBM", 185.0)]
    other = tmp_path / "other" / "equity" / "usa" / "tick" / "ibm" / "20140606_trade.zip"
    write(other, "34200000,1850000,100,Q,0,0\n")
    assert [event.price for event in read(other)] == [185.0]


def test_the_files_themselves_are_no_market_data(usa: Path) -> None:
    path = write(usa / "tick" / "aapl" / "20140807_trade.zip", "34200000,950000,100,Q,0,0\n")
    source: FileSource = open_source([usa])
    assert source.audits().keys() == {path}


@pytest.mark.parametrize("line", ["20140606", "20140606,x,1", "2014-06-06,1,1", "20140606,0,1"])
def test_a_damaged_row_is_named(usa: Path, line: str) -> None:
    factors = write(usa / "factor_files" / "aapl.csv", AAPL + line + "\n")
    path = write(usa / "tick" / "aapl" / "20140606_trade.zip", "34200000,950000,100,Q,0,0\n")
    with pytest.raises(DecodeError, match=f"{factors.name} line 5: "):
        read(path)
