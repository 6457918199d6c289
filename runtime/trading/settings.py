"""What a user may set about money, fills on paper, and the limits of risk."""

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from feeds.ccxt_words import PREFIX as CCXT
from runtime.trading.cash import is_currency

LARGEST_SUM = 1e15
BROKERS = ("paper", "alpaca")
"""Of `trading.broker`; and ccxt:NAME."""


class TradingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Money, the costs and manners of fills on paper, and the limits that risk keeps.

    Attributes:
        broker: "paper" fills in this process, "alpaca" sends to an account at Alpaca, or at the
            paper venue: the embedded one, or one that is named by `url`. "ccxt:NAME" sends to a
            venue of ccxt's.
        url: where that broker's REST API is; None is the embedded venue's, or else Alpaca's paper
            account.
        ccxt: what the constructor of ccxt's venue takes, such as apiKey and secret.
        account: the number of the account there, which is checked; real money needs it.
        reconcile_seconds: between two looks at all orders and holdings there.
        acceptance_seconds: after which an order that was sent has arrived or never will.
        cash: what a new account begins with; at a real venue it is what the account holds.
        currency: what the account is kept in, such as EUR; None is what all symbols are paid in, or
            else USD.
        fee_model: "percent" of the value of each fill, or "per-share" as LEAN's Interactive Brokers
            model for US equities has it.
        fee_bps: of the value of a fill, in basis points.
        maker_fee_bps: the same for orders that waited for their price; None is `fee_bps`.
        fee_per_share: with "per-share", as the next two.
        fee_minimum: of one order.
        fee_maximum_share: of the value of one order.
        slippage_model: "none", "fixed" (`slippage_bps`), or "volume": the square of the share of
            what is there that an order takes, as LEAN's VolumeShareSlippageModel.
        slippage_bps: of the price, in basis points.
        respect_size: whether a fill takes at most the size that a quote shows.
        participation: the share of a trade or bar that a fill takes at most; None is no limit.
        latency_ms: how much later orders arrive.
        hours: "any" fills whenever there is data, "regular" in the market's regular hours alone.
        allow_short: whether equities may be sold without being held.
        max_order_value: of one order; None is no limit, as below.
        max_position_value: of what is held of one symbol.
        max_open_orders: at a time.
        max_orders_per_second: of the strategy.
        price_collar: how far beyond the last price a limit may be, as a share of it.
        max_daily_loss: of equity within one day of the strategy's zone; then trading halts.
        max_quote_age_seconds: older data fills nothing.
    """

    broker: str = "paper"
    url: str | None = None
    ccxt: dict[str, Any] = {}
    account: str | None = None
    reconcile_seconds: float = 30.0
    acceptance_seconds: float = 5.0
    cash: float = 100_000.0
    currency: str | None = None
    fee_model: Literal["percent", "per-share"] = "percent"
    fee_bps: float = 1.0
    maker_fee_bps: float | None = None
    fee_per_share: float = 0.005
    fee_minimum: float = 1.0
    fee_maximum_share: float = 0.005
    slippage_model: Literal["none", "fixed", "volume"] = "none"
    slippage_bps: float = 0.0
    respect_size: bool = True
    participation: float | None = None
    latency_ms: float = 0.0
    hours: Literal["any", "regular"] = "any"
    allow_short: bool = True
    max_order_value: float | None = None
    max_position_value: float | None = None
    max_open_orders: int = 100
    max_orders_per_second: int | None = None
    price_collar: float | None = None
    max_daily_loss: float | None = None
    max_quote_age_seconds: float = 60.0

    @property
    def ccxt_venue(self) -> str:
        """The name of ccxt's venue, empty where `broker` names none."""
        return self.broker.removeprefix(CCXT) if self.broker.startswith(CCXT) else ""


def trading_rows(trading: TradingSettings) -> Iterator[tuple[str, object, bool, str]]:
    """Yield what is checked of the numbers: key, value, whether it is good, what is allowed."""
    bounds: dict[str, tuple[float, float, str]] = {
        "reconcile_seconds": (0.1, 86_400, "0.1 to 86400 is allowed"),
        "acceptance_seconds": (0.1, 3600, "0.1 to 3600 is allowed"),
        "cash": (0, LARGEST_SUM, "a sum of 0 or more is needed"),
        "fee_bps": (0, 1000, "0 to 1000 is allowed"),
        "maker_fee_bps": (-1000, 1000, "-1000 (a rebate) to 1000 is allowed"),
        "fee_per_share": (0, 1000, "0 to 1000 is allowed"),
        "fee_minimum": (0, 1000, "0 to 1000 is allowed"),
        "fee_maximum_share": (0, 1, "0 to 1 is allowed"),
        "slippage_bps": (0, 1000, "0 to 1000 is allowed"),
        "latency_ms": (0, 60_000, "0 to 60000 is allowed"),
        "participation": (1e-6, 1, "more than 0, at most 1 is allowed"),
        "price_collar": (1e-6, 1, "more than 0, at most 1 is allowed"),
        "max_order_value": (1e-6, LARGEST_SUM, "more than 0 is needed"),
        "max_position_value": (1e-6, LARGEST_SUM, "more than 0 is needed"),
        "max_open_orders": (1, LARGEST_SUM, "more than 0 is needed"),
        "max_orders_per_second": (1, LARGEST_SUM, "more than 0 is needed"),
        "max_daily_loss": (1e-6, LARGEST_SUM, "more than 0 is needed"),
        "max_quote_age_seconds": (1e-6, LARGEST_SUM, "more than 0 is needed"),
    }
    names = ", ".join((*BROKERS, "ccxt:NAME"))
    is_known = trading.broker in BROKERS or bool(trading.ccxt_venue)
    yield "trading.broker", repr(trading.broker), is_known, f"allowed are {names}"
    named = trading.currency is None or is_currency(trading.currency)
    yield "trading.currency", repr(trading.currency), named, "a currency is needed, such as EUR"
    for name, (least, most, allowed) in bounds.items():
        value = getattr(trading, name)
        yield f"trading.{name}", value, value is None or least <= value <= most, allowed
