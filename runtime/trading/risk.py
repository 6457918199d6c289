"""What may leave: an order passes every check and becomes Approved, or is Refused with a reason.

Only `RiskGate.review` makes an Approved, and a broker takes nothing else. A check is a function of
the order and of the view it is seen in; it returns why not, or None. ALWAYS runs first, so every
other check reads finite numbers and a sane price. Values are estimates at the last price: a market
order can cost a little more than was reviewed, and fees come on top.
"""

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import final

import msgspec

from feeds.events import AssetClass, Symbol
from runtime.trading.orders import EXACT, LARGEST, ZERO, Order, OrderType, Side, TrackedOrder
from runtime.trading.portfolio import Portfolio

_SEAL = object()


def lot_size(asset_class: AssetClass) -> Decimal:
    """Return the smallest step of an order's quantity: 1 share, or 1e-8 of a coin or currency."""
    return Decimal(1) if asset_class is AssetClass.EQUITY else Decimal("0.00000001")


class RiskView(msgspec.Struct, frozen=True):
    """What the checks see around one order; `risk_view` makes it.

    `asset_class` is None for a symbol the strategy did not add, `price` None before its first data;
    `position` signed, `pending_buys` and `pending_sells` what open orders of the symbol may still
    fill (positive); `free_cash` is what new positions may cost, open orders deducted;
    `halted` says why nothing may leave, empty while it may.
    """

    asset_class: AssetClass | None
    price: float | None
    position: Decimal = ZERO
    pending_buys: Decimal = ZERO
    pending_sells: Decimal = ZERO
    free_cash: Decimal = ZERO
    open_orders: int = 0
    warming_up: bool = False
    halted: str = ""


@final
class Approved:
    """An order that passed the gate. Made by RiskGate.review alone.

    Raises:
        TypeError: anyone else tries.
    """

    __slots__ = ("_order",)

    def __init__(self, order: Order, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("only RiskGate.review makes an Approved")
        self._order = order

    @property
    def order(self) -> Order:
        """The order as reviewed."""
        return self._order

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Approved) and self._order == other._order

    def __hash__(self) -> int:
        return hash(self._order)

    def __repr__(self) -> str:
        return f"Approved({self._order!r})"


class Refused(msgspec.Struct, frozen=True):
    """An order that may not leave, and why."""

    order: Order
    reason: str


Check = Callable[[Order, RiskView], str | None]
"""Return why the order may not leave, or None where this check has nothing against it."""


class RiskGate:
    """The one door to a broker: ALWAYS, then `checks`; the first that objects decides."""

    def __init__(self, checks: Sequence[Check]) -> None:
        self._checks = (*ALWAYS, *checks)

    def review(self, order: Order, view: RiskView) -> Approved | Refused:
        """Decide whether the order may leave now."""
        for check in self._checks:
            reason = check(order, view)
            if reason is not None:
                return Refused(order, reason)
        return Approved(order, _SEAL)


def standard_checks(
    *,
    max_order_value: Decimal | None = None,
    max_open_orders: int = 100,
    short: frozenset[AssetClass] = frozenset({AssetClass.EQUITY}),
) -> tuple[Check, ...]:
    """Return the checks that a run adds to ALWAYS, cheapest first.

    `max_order_value` in the account's currency, None for no limit but buying power; `short` are
    the classes that may be sold without being held.
    """
    value = () if max_order_value is None else (order_value_below(max_order_value),)
    return (
        whole_lots,
        open_orders_below(max_open_orders),
        *value,
        buying_power(short),
    )


def well_formed(order: Order, view: RiskView) -> str | None:
    """Refuse what is no order at all: no, odd or absurd numbers, a limit in the wrong place."""
    del view
    if reason := _not_a_number("the quantity", order.quantity):
        return reason
    if order.type is OrderType.LIMIT:
        return _not_a_number("the limit price", order.limit_price)
    if order.limit_price is not None:
        return f"a market order has no limit price: {order.limit_price} was given"
    return None


def _not_a_number(what: str, value: object) -> str | None:
    if not isinstance(value, Decimal):
        return f"{what} is {value!r}: a Decimal is needed"
    if not (value.is_finite() and 0 < value <= LARGEST):
        return f"{what} is {value}: more than 0 and at most {LARGEST:f} is needed"
    return None


def allowed_to_trade(order: Order, view: RiskView) -> str | None:
    """Refuse everything during warm-up, after a halt and while stopping."""
    del order
    if view.halted:
        return f"trading is halted: {view.halted}"
    return "the strategy is warming up" if view.warming_up else None


def known_symbol(order: Order, view: RiskView) -> str | None:
    """Refuse what the strategy did not subscribe to: there is no data to trade it by."""
    return None if view.asset_class else f"{order.symbol} is unknown: add it in initialize"


def priced(order: Order, view: RiskView) -> str | None:
    """Refuse what has no sane price yet."""
    if view.price is None:
        return f"{order.symbol} has no price yet"
    if not 0.0 < view.price <= LARGEST:
        return f"{order.symbol} has no sane price: {view.price}"
    return None


ALWAYS: tuple[Check, ...] = (well_formed, allowed_to_trade, known_symbol, priced)


def whole_lots(order: Order, view: RiskView) -> str | None:
    """Refuse a quantity between two lots."""
    lot = lot_size(view.asset_class or AssetClass.EQUITY)
    if EXACT.remainder(order.quantity, lot):
        return f"the quantity {order.quantity} of {order.symbol} is not a multiple of {lot:f}"
    return None


def open_orders_below(limit: int) -> Check:
    """Make the check that at most `limit` orders are open, this one included."""

    def check(order: Order, view: RiskView) -> str | None:
        del order
        return (
            f"{view.open_orders} orders are open, the limit" if view.open_orders >= limit else None
        )

    return check


def order_value_below(limit: Decimal) -> Check:
    """Make the check that one order is worth at most `limit`, in the account's currency."""

    def check(order: Order, view: RiskView) -> str | None:
        value = EXACT.multiply(order.quantity, _unit_cost(order, view))
        return f"the order is worth {value:.2f}, more than {limit}" if value > limit else None

    return check


def buying_power(short: frozenset[AssetClass]) -> Check:
    """Make the check that what the order opens can be paid for, and may be short where it is.

    What it closes needs nothing and pays for what it opens; open orders of the symbol count as
    having closed first.
    """

    def check(order: Order, view: RiskView) -> str | None:
        if order.side is Side.BUY:
            closing = _closing(order.quantity, -view.position, view.pending_buys)
        else:
            closing = _closing(order.quantity, view.position, view.pending_sells)
        opening = EXACT.subtract(order.quantity, closing)
        if not opening:
            return None
        if order.side is Side.SELL and view.asset_class not in short:
            return (
                f"{order.symbol} cannot be sold short: {view.position} held, "
                f"{view.pending_sells} already being sold"
            )
        unit, price = _unit_cost(order, view), Decimal(str(view.price))
        freed = price if order.side is Side.SELL else EXACT.subtract(EXACT.multiply(2, price), unit)
        cost = EXACT.multiply(opening, unit)
        power = EXACT.fma(closing, freed, view.free_cash)
        return f"the order needs {cost:.2f}, {power:.2f} is free" if cost > power else None

    return check


def _closing(quantity: Decimal, held: Decimal, pending: Decimal) -> Decimal:
    """How much of an order goes against what is held and no other order closes already."""
    return min(quantity, max(ZERO, EXACT.subtract(held, pending)))


def _unit_cost(order: Order, view: RiskView) -> Decimal:
    """What one unit may cost at worst: a buy at its limit, a sale short at the higher price."""
    price = Decimal(str(view.price))
    if order.limit_price is None:
        return price
    return order.limit_price if order.side is Side.BUY else max(order.limit_price, price)


def risk_view(
    symbol: Symbol,
    *,
    asset_class: AssetClass | None,
    price: float | None,
    portfolio: Portfolio,
    open_orders: Iterable[TrackedOrder],
    warming_up: bool = False,
    halted: str = "",
) -> RiskView:
    """Gather what the checks see around an order of `symbol`; its price from the newest data.

    Each open order that would open a position sets aside its remaining quantity at its limit price,
    or at the last price where that is higher or there is no limit.
    """
    pending: dict[tuple[Symbol, Side], Decimal] = {}
    unit: dict[tuple[Symbol, Side], Decimal] = {}
    count = 0
    for tracked in open_orders:
        order = tracked.order
        key = (order.symbol, order.side)
        last = portfolio[order.symbol].last_price
        count += 1
        pending[key] = EXACT.add(pending.get(key, ZERO), tracked.remaining)
        unit[key] = max(unit.get(key, ZERO), last, order.limit_price or ZERO)
    free = portfolio.free_cash
    for key, quantity in pending.items():
        held = portfolio[key[0]].quantity
        against = held.copy_negate() if key[1] is Side.BUY else held
        opening = EXACT.subtract(quantity, _closing(quantity, against, ZERO))
        free = EXACT.subtract(free, EXACT.multiply(opening, unit[key]))
    return RiskView(
        asset_class=asset_class,
        price=price,
        position=portfolio[symbol].quantity,
        pending_buys=pending.get((symbol, Side.BUY), ZERO),
        pending_sells=pending.get((symbol, Side.SELL), ZERO),
        free_cash=free,
        open_orders=count,
        warming_up=warming_up,
        halted=halted,
    )
