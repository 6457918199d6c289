"""What the runtime knows of each symbol that a strategy added: its kind, beat and last prices."""

from enum import Enum

from feeds.columns import Span
from feeds.errors import ConfigError
from feeds.events import MINUTE, SECOND, AssetClass, Bar, Quote, QuoteBar, Symbol, Trade
from feeds.sanity import is_far_off
from feeds.symbols import split_pair

INFINITY = float("inf")


class Resolution(Enum):
    """How often a symbol's data reaches on_data; the value is the span in ns, 0 for each tick."""

    TICK = 0
    SECOND = SECOND
    MINUTE = MINUTE
    HOUR = 60 * MINUTE
    DAILY = 24 * 60 * MINUTE


class Security:
    """The live view of one symbol; prices are NaN until the first data.

    `price` is the last trade, or the mid where no trade has come. `updated` is the time (ns) of
    the last event. The engine writes it, the strategy reads it.
    """

    __slots__ = (
        "ask",
        "ask_size",
        "asset_class",
        "bid",
        "bid_size",
        "has_traded",
        "price",
        "resolution",
        "symbol",
        "updated",
    )

    def __init__(self, symbol: Symbol, asset_class: AssetClass, resolution: Resolution) -> None:
        self.symbol = symbol
        self.asset_class = asset_class
        self.resolution = resolution
        self.price = self.bid = self.ask = float("nan")
        self.bid_size = self.ask_size = 0.0
        self.updated = 0
        self.has_traded = False

    def __repr__(self) -> str:
        return f"Security({self.symbol}, {self.asset_class}, {self.price})"

    @property
    def has_data(self) -> bool:
        """Whether any price has come."""
        return self.updated > 0

    @property
    def bid_price(self) -> float:
        """LEAN's name for `bid`."""
        return self.bid

    @property
    def ask_price(self) -> float:
        """LEAN's name for `ask`."""
        return self.ask

    def doubts(self, quote: Quote) -> bool:
        """Whether a quote is crossed, or far off the last trade: it fills no paper order."""
        return not quote.is_sane or (
            self.has_traded and is_far_off(quote.bid, quote.ask, self.price)
        )

    def on_trade(self, trade: Trade) -> None:
        """Take the last price from a print."""
        self.price = trade.price
        self.updated = trade.time
        self.has_traded = True

    def on_rows(self, span: Span) -> None:
        """Take the last price from the last of some prints."""
        rows, last = span.rows, span.end - 1
        self.price = rows.prices[last]
        self.updated = rows.times[last]
        self.has_traded = True

    def on_quote(self, quote: Quote) -> None:
        """Take both sides; the mid is the price until a trade comes. Insane quotes don't count."""
        bid, ask = quote.bid, quote.ask
        if not 0.0 < bid <= ask < INFINITY:  # is_sane, without the call: this runs for every tick
            return
        self.bid, self.ask = bid, ask
        self.bid_size, self.ask_size = quote.bid_size, quote.ask_size
        self.updated = quote.time
        if not self.has_traded:
            self.price = (bid + ask) * 0.5

    def on_bar(self, bar: Bar) -> None:
        """Take the close of a finished bar, unless it is no price."""
        if not 0.0 < bar.close < INFINITY:
            return
        self.price = bar.close
        self.updated = bar.end_time
        self.has_traded = True

    def on_quote_bar(self, bar: QuoteBar) -> None:
        """Take both closes of a finished quote bar. Insane ones don't count."""
        if not 0.0 < bar.bid.close <= bar.ask.close < INFINITY:
            return
        self.bid, self.ask = bar.bid.close, bar.ask.close
        self.bid_size, self.ask_size = bar.bid_size, bar.ask_size
        self.updated = bar.end_time
        if not self.has_traded:
            self.price = bar.close


def canonical(ticker: str, asset_class: AssetClass) -> Symbol:
    """Return the canonical symbol of what an author typed: "btcusd" as crypto is BTC/USD.

    Raises:
        ConfigError: it cannot be a symbol of that class.
    """
    text = ticker.strip().upper()
    if not text or len(text) > 32 or not all(c.isalnum() or c in "./-" for c in text):
        raise ConfigError(f"{ticker!r} is not a symbol: letters, digits and . / - are allowed")
    if asset_class is AssetClass.EQUITY:
        if "/" in text:
            raise ConfigError(f"{ticker!r} is a pair, not an equity: use add_crypto or add_forex")
        return Symbol(text)
    pair = split_pair(text)
    base, _, quote = pair.partition("/")
    if not base or not quote:
        raise ConfigError(f"{ticker!r} is not a pair: write base and quote, such as BTC/USD")
    return pair
