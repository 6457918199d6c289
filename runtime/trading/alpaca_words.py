"""Alpaca's trading words as ours: orders out, orders and executions in.

What the venue says is read into the reconciler's words, or is unreadable, which is a lost answer
and no more: nothing of it is guessed.
"""

from decimal import Decimal
from typing import Any

import msgspec

from feeds.events import AssetClass, Symbol
from feeds.protocols.alpaca_wire import parse_rfc3339
from feeds.symbols import guess_class
from runtime.trading.orders import ZERO, Order, OrderType, Side, TimeInForce
from runtime.trading.reconciler import Standing, VenueFill, VenueState

STANDINGS = {
    "filled": Standing.FILLED,
    "canceled": Standing.CANCELLED,
    "expired": Standing.EXPIRED,
    "rejected": Standing.REJECTED,
    "replaced": Standing.REPLACED,
}
"""All other words of Alpaca's are of orders that work, or may again."""


TYPES = {
    OrderType.MARKET: "market",
    OrderType.LIMIT: "limit",
    OrderType.STOP_MARKET: "stop",
    OrderType.STOP_LIMIT: "stop_limit",
    OrderType.TRAILING_STOP: "trailing_stop",
    OrderType.MARKET_ON_OPEN: "market",
    OrderType.MARKET_ON_CLOSE: "market",
}
OUR_TYPES = {word: kind for kind, word in reversed(TYPES.items())}
FORCES = {OrderType.MARKET_ON_OPEN: "opg", OrderType.MARKET_ON_CLOSE: "cls"}


class OrderJson(msgspec.Struct, frozen=True):
    """What we read of an order."""

    id: str
    client_order_id: str
    symbol: str
    side: str
    status: str
    qty: Decimal | None = None
    notional: Decimal | None = None
    filled_qty: Decimal | None = None
    filled_avg_price: Decimal | None = None
    type: str = "market"
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    replaced_by: str | None = None
    submitted_at: str | None = None
    created_at: str | None = None
    updated_at: str | None = None
    reject_reason: str | None = None


class ActivityJson(msgspec.Struct, frozen=True):
    """What we read of an execution."""

    id: str
    order_id: str
    price: Decimal
    qty: Decimal
    cum_qty: Decimal
    transaction_time: str


class UpdateJson(msgspec.Struct, frozen=True):
    """What we read of a trade_updates message."""

    event: str
    order: OrderJson
    timestamp: str | None = None
    price: Decimal | None = None
    qty: Decimal | None = None


class MessageJson(msgspec.Struct, frozen=True):
    """A message of the stream; `data` by its `stream`."""

    stream: str = ""
    data: msgspec.Raw = msgspec.Raw(b"{}")


class PositionJson(msgspec.Struct, frozen=True):
    """What we read of a position; a short's quantity is negative."""

    symbol: str
    qty: Decimal
    avg_entry_price: Decimal
    asset_class: str = "us_equity"


class AccountJson(msgspec.Struct, frozen=True):
    """What we read of an account."""

    cash: Decimal
    account_number: str = ""
    status: str = ""
    trading_blocked: bool = False
    account_blocked: bool = False


class ErrorJson(msgspec.Struct, frozen=True):
    """What a refusal says."""

    message: str = ""
    code: int | None = None


def order_body(order: Order) -> dict[str, Any]:
    """Write an order."""
    force = FORCES.get(order.type, str(order.time_in_force))
    body: dict[str, Any] = {
        "symbol": order.symbol,
        "qty": f"{order.quantity:f}",
        "side": str(order.side),
        "type": TYPES[order.type],
        "time_in_force": force,
        "client_order_id": order.id,
    }
    if order.type is OrderType.TRAILING_STOP:
        return body | _trail(order, "trail_price", "trail_percent")
    return body | _prices(order)


def amend_body(order: Order, name: str) -> dict[str, Any]:
    """Write other terms of an order."""
    body: dict[str, Any] = {"qty": f"{order.quantity:f}", "client_order_id": name}
    if order.type is OrderType.TRAILING_STOP:
        return body | _trail(order, "trail", "trail")
    return body | _prices(order)


def _prices(order: Order) -> dict[str, str]:
    prices = {"limit_price": order.limit_price, "stop_price": order.stop_price}
    return {name: f"{price:f}" for name, price in prices.items() if price is not None}


def _trail(order: Order, amount: str, percent: str) -> dict[str, str]:
    trail = order.trailing_amount or ZERO
    if order.trailing_as_percentage:
        return {percent: f"{trail.scaleb(2):f}"}
    return {amount: f"{trail:f}"}


def read_order(found: OrderJson) -> VenueState:
    """Read an order.

    Raises:
        ValueError: it makes no sense.
    """
    filled = found.filled_qty or ZERO
    quantity = found.qty if found.qty is not None else filled
    submitted = _time(found.submitted_at or found.created_at)
    if not (quantity.is_finite() and filled.is_finite() and 0 <= filled <= max(quantity, filled)):
        raise ValueError(f"order {found.id} has the quantities {quantity} and {filled}")
    return VenueState(
        venue_id=found.id,
        client_id=found.client_order_id,
        symbol=Symbol(found.symbol),
        side=Side(found.side.partition("_")[0]),  # "sell_short" is a sale
        quantity=quantity,
        filled=filled,
        average=found.filled_avg_price or ZERO,
        standing=STANDINGS.get(found.status, Standing.OPEN),
        time=_time(found.updated_at) or submitted,
        submitted=submitted,
        type=OUR_TYPES.get(found.type, OrderType.MARKET),
        limit_price=found.limit_price,
        stop_price=found.stop_price,
        replaced_by=found.replaced_by or "",
        reason=found.reject_reason or "",
    )


def read_update(found: UpdateJson) -> tuple[VenueState, VenueFill | None]:
    """Read one message of the stream: how the order stands, and the execution that it tells of.

    Raises:
        ValueError: it makes no sense.
    """
    state = read_order(found.order)
    if found.event not in {"fill", "partial_fill"} or found.price is None or found.qty is None:
        return state, None
    time = _time(found.timestamp) or state.time
    return state, VenueFill(state.venue_id, state.filled, found.qty, found.price, time)


def read_activity(found: ActivityJson) -> VenueFill:
    """Read one execution.

    Raises:
        ValueError: it makes no sense.
    """
    time = _time(found.transaction_time)
    return VenueFill(found.order_id, found.cum_qty, found.qty, found.price, time)


def read_symbol(position: PositionJson) -> Symbol:
    """Return a position's symbol: coins are held without the slash that their orders have."""
    name = position.symbol
    if position.asset_class == "crypto" and "/" not in name:
        for quote in ("USDT", "USDC", "USD", "BTC"):
            if name.endswith(quote) and len(name) > len(quote):
                return Symbol(f"{name[: -len(quote)]}/{quote}")
    return Symbol(name)


def objection(order: Order) -> str:
    """Say why Alpaca could not take an order, empty where it may."""
    if guess_class(order.symbol) is not AssetClass.CRYPTO:
        return ""
    if order.time_in_force not in {TimeInForce.GTC, TimeInForce.IOC}:
        return f"{order.time_in_force} is not offered for coins: gtc and ioc are"
    if order.type not in {OrderType.MARKET, OrderType.LIMIT, OrderType.STOP_LIMIT}:
        return f"{order.type} is not offered for coins: market, limit and stop_limit are"
    return ""


def _time(text: str | None) -> int:
    return 0 if not text else parse_rfc3339(text)
