"""Canonical names from the spellings of venues and files: "BTC/USDT" from btcusdt or BTC-USDT.

A name without a separator is split at the longest quote currency it ends in; where none fits, the
name stays as it is, in capitals, and is its own symbol.
"""

from collections.abc import Collection
from functools import lru_cache

from feeds.events import AssetClass, Symbol

DOLLARS = ("USDT", "USDC", "USD")
BINANCE_ONLY = ("FDUSD", "BUSD", "TUSD")
# fmt: off
OTHERS = (
    "USDP", "DAI", "BTC", "ETH", "BNB", "EUR", "GBP", "JPY", "AUD", "BRL", "TRY", "RUB", "UAH",
    "NGN", "IDRT", "BIDR", "BVND", "ZAR", "PLN", "RON", "ARS", "MXN", "CZK", "COP", "TRX", "XRP",
    "DOGE", "DOT", "SOL", "PAX", "VAI", "CHF", "CAD", "KRW", "INR", "SGD", "HKD",
)
CURRENCIES = frozenset({
    "USD", "EUR", "GBP", "JPY", "AUD", "NZD", "CAD", "CHF", "SEK", "NOK", "DKK", "PLN", "CZK",
    "HUF", "TRY", "ZAR", "MXN", "SGD", "HKD", "CNH", "CNY", "INR", "KRW", "THB", "ILS", "BRL",
    "RUB",
})
# fmt: on
QUOTES = tuple(sorted(DOLLARS + OTHERS, key=len, reverse=True))
BINANCE_QUOTES = tuple(sorted(DOLLARS + BINANCE_ONLY + OTHERS, key=len, reverse=True))


@lru_cache(maxsize=16_384)
def split_pair(name: str, quotes: tuple[str, ...] = QUOTES) -> Symbol:
    """Name a pair canonically.

    Args:
        name: "btcusdt", "BTC-USD", "BTC_USD" or already "BTC/USD".
        quotes: the quote currencies to split at, longest first. SHIBUSD is SHI/BUSD on Binance and
            SHIB/USD everywhere else.
    """
    name = name.upper().replace("-", "/").replace("_", "/")
    if "/" not in name:
        for quote in quotes:
            if len(name) > len(quote) and name.endswith(quote):
                return Symbol(f"{name[: -len(quote)]}/{quote}")
    return Symbol(name)


def currency_pair(name: str) -> Symbol:
    """Name a forex pair canonically: "eurusd" is EUR/USD."""
    name = name.upper().replace("-", "/").replace("_", "/")
    return Symbol(name if "/" in name or len(name) != 6 else f"{name[:3]}/{name[3:]}")


def guess_class(symbol: Symbol) -> AssetClass:
    """Tell what a canonical name most likely names: a share, two currencies, or a coin."""
    base, slash, quote = symbol.partition("/")
    if not slash:
        return AssetClass.EQUITY
    return AssetClass.FOREX if {base, quote} <= CURRENCIES else AssetClass.CRYPTO


def known_as(symbol: str, known: Collection[Symbol]) -> Symbol:
    """Return the one of `known` that `symbol` means: itself, or the pair written without its slash.

    LEAN writes BTCUSD where the canonical form is BTC/USD. What nothing known is called stays.
    """
    name = Symbol(symbol)
    if name not in known and "/" not in symbol:
        for pair in known:
            if pair.replace("/", "") == symbol:
                return pair
    return name
