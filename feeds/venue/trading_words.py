"""Alpaca's trading words: what a request may say, and how orders, positions and money are written.

Money and quantities leave as strings without an exponent, times as RFC 3339; what a client sends
may be a string or a number. A Refusal is an answer: HTTP status, Alpaca's own code, a sentence.
"""

from decimal import Decimal
from typing import Any, TypeVar
from uuid import NAMESPACE_URL, uuid5

import msgspec

from feeds.events import AssetClass, Symbol
from feeds.venue.accounts import Account, AccountOrder, Execution, Holding, OrderStatus
from feeds.venue.orders import EXACT, ZERO
from feeds.venue.words import rfc3339

BAD_REQUEST, UNAUTHORIZED = 40010001, 40110000
FORBIDDEN, NOT_FOUND, UNPROCESSABLE = 40310000, 40410000, 42210000
INTERNAL = 50010000
LARGEST = Decimal("1e15")
LONGEST_CLIENT_ID = 128
CLASSES = {
    AssetClass.EQUITY: "us_equity",
    AssetClass.CRYPTO: "crypto",
    AssetClass.FOREX: "forex",  # an extension of our own, as on the data's side
}
TYPES = ("market", "limit", "stop", "stop_limit", "trailing_stop")
FORCES = {
    AssetClass.EQUITY: ("day", "gtc", "ioc", "fok", "opg", "cls"),
    AssetClass.CRYPTO: ("gtc", "ioc"),
    AssetClass.FOREX: ("day", "gtc", "ioc", "fok"),
}


class Refusal(Exception):
    """The venue says no: an HTTP status, one of Alpaca's codes, and why."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code

    @property
    def body(self) -> dict[str, object]:
        """What is answered."""
        return {"code": self.code, "message": str(self)}


class OrderRequest(msgspec.Struct, frozen=True):
    """The body of POST /v2/orders; what is not known is passed over, as Alpaca does."""

    symbol: str
    side: str
    type: str = "market"
    time_in_force: str = "day"
    qty: Decimal | None = None
    notional: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None
    extended_hours: bool | None = None
    client_order_id: str | None = None
    order_class: str | None = None


class Replacement(msgspec.Struct, frozen=True):
    """The body of PATCH /v2/orders/{id}; None leaves it as it is."""

    qty: Decimal | None = None
    time_in_force: str | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    trail: Decimal | None = None
    client_order_id: str | None = None


T = TypeVar("T")


def parse(body: bytes, kind: type[T]) -> T:
    """Read a request's body.

    Raises:
        Refusal: it is no JSON of this kind.
    """
    try:
        return msgspec.json.decode(body, type=kind, strict=False)
    except (msgspec.ValidationError, msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Refusal(400, BAD_REQUEST, f"request body format is invalid: {error}") from None


def check(request: OrderRequest, asset_class: AssetClass) -> None:
    """Refuse what is no order.

    Raises:
        Refusal: 422, and what is wrong with it.
    """
    if request.side not in {"buy", "sell"}:
        raise unprocessable(f"invalid side: {request.side}")
    if request.type not in TYPES:
        raise unprocessable(f"invalid order type: {request.type}")
    if request.order_class not in {None, "", "simple"}:
        raise unprocessable(f"order class {request.order_class} is not offered by this venue")
    allowed = FORCES[asset_class]
    if request.time_in_force not in allowed:
        raise unprocessable(
            f"invalid {CLASSES[asset_class]} time_in_force {request.time_in_force}: "
            f"{', '.join(allowed)} are allowed"
        )
    if (request.qty is None) == (request.notional is None):
        raise unprocessable("one of qty and notional is required, not both")
    _check_prices(request)
    if len(request.client_order_id or "") > LONGEST_CLIENT_ID:
        raise unprocessable(f"client_order_id must be at most {LONGEST_CLIENT_ID} characters")


def _check_prices(request: OrderRequest) -> None:
    wanted = {
        "limit_price": request.type in {"limit", "stop_limit"},
        "stop_price": request.type in {"stop", "stop_limit"},
    }
    for name, is_wanted in wanted.items():
        if is_wanted and getattr(request, name) is None:
            raise unprocessable(f"{request.type} orders require {name}")
        if not is_wanted and getattr(request, name) is not None:
            raise unprocessable(f"{request.type} orders must not have {name}")
    trails = [t for t in (request.trail_price, request.trail_percent) if t is not None]
    if len(trails) != (request.type == "trailing_stop"):
        raise unprocessable("trailing_stop orders, and no others, require one of the two trails")
    for name in ("qty", "notional", "limit_price", "stop_price", "trail_price", "trail_percent"):
        value = getattr(request, name)
        if value is not None and not (value.is_finite() and 0 < value <= LARGEST):
            raise unprocessable(f"{name} must be above 0 and at most {LARGEST:f}: it is {value}")


def unprocessable(message: str) -> Refusal:
    """Return the refusal of what is well written and cannot be done."""
    return Refusal(422, UNPROCESSABLE, message)


# --- written ------------------------------------------------------------------------------------


def text(value: Decimal | None) -> str | None:
    """Write a number without an exponent and without zeros that tell nothing."""
    if value is None:
        return None
    written = f"{value:f}"
    return written.rstrip("0").rstrip(".") if "." in written else written


def asset_id(symbol: str) -> str:
    """Return the id of a symbol: a UUID, as SDKs want it."""
    return str(uuid5(NAMESPACE_URL, f"tidegate:{symbol}"))


def order_body(order: AccountOrder) -> dict[str, Any]:
    """Write an order as it stands."""

    def when(status: OrderStatus) -> str | None:
        return _time(order.ended_at) if order.status is status else None

    return {
        "id": order.id,
        "client_order_id": order.client_order_id,
        "created_at": rfc3339(order.submitted),
        "updated_at": rfc3339(order.updated),
        "submitted_at": rfc3339(order.submitted),
        "filled_at": _time(order.filled_at),
        "expired_at": when(OrderStatus.EXPIRED),
        "canceled_at": when(OrderStatus.CANCELED),
        "failed_at": when(OrderStatus.REJECTED),
        "replaced_at": when(OrderStatus.REPLACED),
        "replaced_by": order.replaced_by,
        "replaces": order.replaces,
        "asset_id": asset_id(order.symbol),
        "symbol": order.symbol,
        "asset_class": CLASSES[order.asset_class],
        "notional": None,
        "qty": text(order.quantity),
        "filled_qty": text(order.filled),
        "filled_avg_price": text(order.average_price),
        "order_class": "",
        "order_type": order.type,
        "type": order.type,
        "side": "buy" if order.is_buy else "sell",
        "time_in_force": order.time_in_force,
        "limit_price": text(order.limit_price),
        "stop_price": text(order.stop_price),
        "trail_price": text(order.trail_price),
        "trail_percent": text(order.trail_percent),
        "hwm": None,
        "status": str(order.status),
        "extended_hours": order.extended_hours,
        "legs": None,
        "reject_reason": order.reason if order.status is OrderStatus.REJECTED else None,
    }


def update_body(
    event: str, order: AccountOrder, execution: Execution | None, time: int
) -> dict[str, Any]:
    """Write the data of one trade_updates message."""
    body: dict[str, Any] = {
        "event": event,
        "order": order_body(order),
        "timestamp": rfc3339(time),
        "execution_id": str(uuid5(NAMESPACE_URL, f"{order.id} {event} {time}")),
    }
    if execution is not None:
        body |= {
            "execution_id": execution.id,
            "price": text(execution.price),
            "qty": text(execution.quantity),
            "position_qty": text(execution.position),
        }
    return body


def activity_body(execution: Execution) -> dict[str, Any]:
    """Write an execution as an account activity."""
    return {
        "id": activity_id(execution),
        "activity_type": "FILL",
        "transaction_time": rfc3339(execution.time),
        "type": "partial_fill" if execution.remaining else "fill",
        "price": text(execution.price),
        "qty": text(execution.quantity),
        "side": "buy" if execution.is_buy else "sell",
        "symbol": execution.symbol,
        "leaves_qty": text(execution.remaining),
        "cum_qty": text(execution.total),
        "order_id": execution.order_id,
        "order_status": "partially_filled" if execution.remaining else "filled",
    }


def activity_id(execution: Execution) -> str:
    """Return an activity's id, which sorts by time."""
    digits = rfc3339(execution.time)[:23].translate(str.maketrans("", "", "-:T."))
    return f"{digits}::{execution.id}"


def position_body(holding: Holding, price: Decimal) -> dict[str, Any]:
    """Write what is held, at a price."""
    value = EXACT.multiply(holding.quantity, price)
    profit = EXACT.subtract(value, holding.cost)
    share = profit / abs(holding.cost) if holding.cost else ZERO
    return {
        "asset_id": asset_id(holding.symbol),
        "symbol": holding.symbol.replace("/", ""),
        "exchange": "CRYPTO" if holding.asset_class is AssetClass.CRYPTO else "NASDAQ",
        "asset_class": CLASSES[holding.asset_class],
        "asset_marginable": False,
        "qty": text(holding.quantity),
        "qty_available": text(holding.quantity),
        "avg_entry_price": text(holding.average_price),
        "side": "long" if holding.quantity > 0 else "short",
        "market_value": text(value),
        "cost_basis": text(holding.cost),
        "unrealized_pl": text(profit),
        "unrealized_plpc": text(share),
        "unrealized_intraday_pl": text(profit),
        "unrealized_intraday_plpc": text(share),
        "current_price": text(price),
        "lastday_price": text(price),
        "change_today": "0",
    }


def account_body(account: Account, long: Decimal, short: Decimal, power: Decimal) -> dict[str, Any]:
    """Write the account; `long` and `short` (below 0) are what its positions are worth."""
    equity = EXACT.add(account.cash, EXACT.add(long, short))
    return {
        "id": account.key,
        "account_number": account.number,
        "status": "ACTIVE",
        "crypto_status": "ACTIVE",
        "currency": "USD",
        "cash": text(account.cash),
        "buying_power": text(power),
        "regt_buying_power": text(power),
        "daytrading_buying_power": "0",
        "non_marginable_buying_power": text(power),
        "portfolio_value": text(equity),
        "equity": text(equity),
        "last_equity": text(equity),
        "long_market_value": text(long),
        "short_market_value": text(short),
        "position_market_value": text(EXACT.add(long, short)),
        "initial_margin": "0",
        "maintenance_margin": "0",
        "last_maintenance_margin": "0",
        "sma": "0",
        "accrued_fees": "0",
        "multiplier": "1",
        "daytrade_count": 0,
        "pattern_day_trader": False,
        "trading_blocked": False,
        "transfers_blocked": False,
        "account_blocked": False,
        "trade_suspended_by_user": False,
        "shorting_enabled": True,
        "created_at": rfc3339(account.opened),
    }


def asset_body(symbol: Symbol, asset_class: AssetClass) -> dict[str, Any]:
    """Write what can be traded."""
    is_share = asset_class is AssetClass.EQUITY
    return {
        "id": asset_id(symbol),
        "class": CLASSES[asset_class],
        "exchange": "NASDAQ" if is_share else "CRYPTO",
        "symbol": symbol,
        "name": symbol,
        "status": "active",
        "tradable": True,
        "marginable": False,
        "shortable": is_share,
        "easy_to_borrow": is_share,
        "fractionable": True,
        "min_order_size": "1" if is_share else "0.00000001",
        "min_trade_increment": "1" if is_share else "0.00000001",
        "price_increment": "0.01",
    }


def _time(time: int | None) -> str | None:
    return None if time is None else rfc3339(time)
