"""Canonical names of pairs."""

import pytest

from feeds.events import AssetClass, Symbol
from feeds.symbols import BINANCE_QUOTES, currency_pair, guess_class, split_pair


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("btcusdt", "BTC/USDT"),
        ("BTCUSD", "BTC/USD"),
        ("SKL-BTC", "SKL/BTC"),
        ("BTC_USDC", "BTC/USDC"),
        ("BTC/USDT", "BTC/USDT"),
        ("RUNEEUR", "RUNE/EUR"),
        ("ETHBTC", "ETH/BTC"),
        ("shibusd", "SHIB/USD"),
        ("USD", "USD"),
        ("ABCXYZ", "ABCXYZ"),
    ],
)
def test_pair_is_split_at_its_quote_currency(name: str, symbol: str) -> None:
    assert split_pair(name) == symbol


def test_binance_has_quote_currencies_of_its_own() -> None:
    assert split_pair("BTCBUSD", BINANCE_QUOTES) == "BTC/BUSD"
    assert split_pair("BTCFDUSD", BINANCE_QUOTES) == "BTC/FDUSD"


@pytest.mark.parametrize(
    ("name", "symbol"), [("eurusd", "EUR/USD"), ("EUR/USD", "EUR/USD"), ("xauusdx", "XAUUSDX")]
)
def test_currencies_are_three_letters_each(name: str, symbol: str) -> None:
    assert currency_pair(name) == symbol


@pytest.mark.parametrize(
    ("symbol", "asset_class"),
    [("SPY", AssetClass.EQUITY), ("EUR/USD", AssetClass.FOREX), ("BTC/USD", AssetClass.CRYPTO)],
)
def test_class_is_guessed_from_the_name(symbol: str, asset_class: AssetClass) -> None:
    assert guess_class(Symbol(symbol)) is asset_class
