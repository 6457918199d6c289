"""The live view of one symbol: last prices, and none that is no price."""

import math

import pytest

from feeds.errors import ConfigError
from feeds.events import AssetClass, Ohlc, Quote, QuoteBar
from runtime.securities import Resolution, Security, canonical
from tests.stories.market import SPY, at, bar, quote, quote_bar, trade


def security() -> Security:
    return Security(SPY, AssetClass.EQUITY, Resolution.TICK)


def test_before_the_first_data_there_is_no_price() -> None:
    fresh = security()
    assert not fresh.has_data
    assert math.isnan(fresh.price)
    assert math.isnan(fresh.bid_price)
    assert math.isnan(fresh.ask_price)


def test_the_mid_is_the_price_until_a_trade_comes() -> None:
    seen = security()
    seen.on_quote(quote(1, 9.0, 11.0))
    assert (seen.price, seen.bid_price, seen.ask_price) == (10.0, 9.0, 11.0)
    seen.on_trade(trade(2, 10.5))
    seen.on_quote(quote(3, 1.0, 2.0))
    assert (seen.price, seen.bid, seen.ask, seen.updated) == (10.5, 1.0, 2.0, at(3))


def test_bars_give_their_closes_at_their_ends() -> None:
    seen = security()
    seen.on_quote_bar(quote_bar(0, 60, 50.0))
    assert (seen.price, seen.bid, seen.ask, seen.updated) == (50.0, 49.5, 50.5, at(60))
    seen.on_bar(bar(60, 60, 70.0))
    assert (seen.price, seen.updated) == (70.0, at(120))
    seen.on_quote_bar(quote_bar(120, 60, 50.0))
    assert seen.price == 70.0


@pytest.mark.parametrize(
    ("bid", "ask"),
    [(2.0, 1.0), (0.0, 1.0), (-1.0, 1.0), (math.nan, 1.0), (1.0, math.nan), (1.0, math.inf)],
)
def test_an_insane_quote_changes_nothing(bid: float, ask: float) -> None:
    seen = security()
    seen.on_quote(Quote(SPY, at(1), at(1), bid, 1.0, ask, 1.0))
    assert not seen.has_data
    assert math.isnan(seen.price)


@pytest.mark.parametrize(
    ("ticker", "asset_class", "symbol"),
    [
        ("spy", AssetClass.EQUITY, "SPY"),
        (" brk.b ", AssetClass.EQUITY, "BRK.B"),
        ("btcusd", AssetClass.CRYPTO, "BTC/USD"),
        ("ETH/USDT", AssetClass.CRYPTO, "ETH/USDT"),
        ("eurusd", AssetClass.FOREX, "EUR/USD"),
    ],
)
def test_a_ticker_becomes_canonical(ticker: str, asset_class: AssetClass, symbol: str) -> None:
    assert canonical(ticker, asset_class) == symbol
    assert canonical(symbol, asset_class) == symbol


@pytest.mark.parametrize(
    ("ticker", "asset_class", "what"),
    [
        ("", AssetClass.EQUITY, "is not a symbol"),
        ("A B", AssetClass.EQUITY, "is not a symbol"),
        ("A" * 33, AssetClass.EQUITY, "is not a symbol"),
        ("../x\0", AssetClass.EQUITY, "is not a symbol"),
        ("BTC/USD", AssetClass.EQUITY, "is a pair, not an equity"),
        ("/USD", AssetClass.CRYPTO, "is not a pair"),
        ("BTC/", AssetClass.CRYPTO, "is not a pair"),
    ],
)
def test_what_is_no_symbol_is_refused(ticker: str, asset_class: AssetClass, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        canonical(ticker, asset_class)


def test_insane_bars_make_no_price() -> None:
    seen = security()
    bad = Ohlc(math.nan, math.nan, math.nan, math.nan)
    seen.on_bar(bar(0, 60, math.nan))
    seen.on_quote_bar(QuoteBar(SPY, at(0), at(60), 60, bad, bad, 1.0, 1.0))
    assert not seen.has_data


@pytest.mark.parametrize(
    ("bid", "ask", "doubted"),
    [(99.0, 101.0, False), (101.0, 99.0, True), (999.0, 1001.0, True), (9.0, 11.0, True)],
)
def test_a_quote_crossed_or_far_off_the_trades_is_doubted(
    bid: float, ask: float, doubted: bool
) -> None:
    seen = security()
    assert not seen.doubts(quote(1, 9.0, 11.0))
    seen.on_trade(trade(2, 100.0))
    assert seen.doubts(quote(3, bid, ask)) is doubted
