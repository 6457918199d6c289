"""The venue's market of recorded files: what a replay plays is to be had here too, or refused."""

from pathlib import Path

import pytest

from feeds.events import AssetClass, Bar, Symbol
from feeds.venue.recorded import RecordedMarket

SPY, EUR, QQQ = Symbol("SPY"), Symbol("EUR/USD"), Symbol("QQQ")
EQUITY, FOREX = AssetClass.EQUITY, AssetClass.FOREX


def lean(shared_data: Path, *names: str) -> list[str]:
    return [str(shared_data / "lean" / name) for name in names]


def table(folder: Path, name: str, header: str, *rows: str) -> str:
    path = folder / name
    path.write_text("\n".join([header, *rows]) + "\n")
    return str(path)


def test_files_of_several_kinds_are_one_market(tmp_path: Path) -> None:
    """A table with a column of symbols does not say what it holds: who asks may have it."""
    ticks = table(tmp_path, "ticks.csv", "time,symbol,price,size", "1380000000,SPY,1,1")
    quotes = table(
        tmp_path, "quotes.csv", "time,symbol,bid,bid_size,ask,ask_size", "1380000001,SPY,1,1,2,1"
    )
    market = RecordedMarket([ticks, quotes], {})
    assert market.subscribe(SPY, EQUITY, 0)
    assert market.subscribe(SPY, None, 0)
    assert market.start == market.upcoming == 1_380_000_000 * 10**9
    assert len(market.advance(2**62)) == 2
    assert market.exhausted
    assert market.upcoming is None


def test_columns_may_be_declared(tmp_path: Path) -> None:
    path = table(tmp_path, "odd.csv", "when,what,px,qty", "1380000000,SPY,1,1")
    columns = {"time": "when", "symbol": "what", "price": "px", "size": "qty"}
    market = RecordedMarket([path], {"columns": columns})
    assert len(market.advance(2**62)) == 1


@pytest.mark.parametrize(
    ("name", "symbol", "kind", "held"),
    [
        ("equity/usa/second/ibm/20131007_trade.zip", Symbol("IBM"), EQUITY, "bars of 1 s"),
        ("forex/oanda/minute/eurusd", EUR, FOREX, "quote bars"),
    ],
)
def test_what_alpaca_has_no_words_for_is_refused_on_its_channels(
    shared_data: Path, name: str, symbol: Symbol, kind: AssetClass, held: str
) -> None:
    market = RecordedMarket(lean(shared_data, name), {})
    assert market.untold == {symbol: held}
    assert not market.subscribe(symbol, kind, 0)
    assert market.subscribe(symbol, None, 0)


def test_a_symbol_that_also_has_minute_bars_is_told(shared_data: Path) -> None:
    names = ("equity/usa/minute/spy", "forex/oanda/tick/eurusd/20140501_quote.zip")
    market = RecordedMarket(lean(shared_data, *names), {})
    assert market.untold == {}
    assert market.subscribe(SPY, EQUITY, 0)
    assert market.subscribe(EUR, FOREX, 0)
    assert not market.subscribe(SPY, FOREX, 0)
    assert not market.subscribe(QQQ, EQUITY, 0)
    assert not market.subscribe(QQQ, None, 0)


def test_looking_for_kinds_does_not_play_the_tape(shared_data: Path) -> None:
    market = RecordedMarket(lean(shared_data, "equity/usa/minute/spy/20131007_trade.zip"), {})
    bars = market.advance(2**62)
    assert len(bars) == 828
    assert all(isinstance(bar, Bar) for bar in bars)
