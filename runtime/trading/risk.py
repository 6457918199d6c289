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

from feeds.events import SECOND, AssetClass, Symbol
from runtime.trading.cash import ONE, paid_in
from runtime.trading.orders import EXACT, LARGEST, ZERO, Order, OrderType, Side, TimeInForce
from runtime.trading.portfolio import Portfolio
from runtime.trading.tracked import TrackedOrder

_SEAL = object()


def lot_size(asset_class: AssetClass) -> Decimal:
    """Return the smallest step of an order's quantity: 1 share, or 1e-8 of a coin or currency."""
    return Decimal(1) if asset_class is AssetClass.EQUITY else Decimal("0.00000001")


class RiskView(msgspec.Struct, frozen=True):
    """What the checks see around one order; `risk_view` makes it.

    `asset_class` is None for a symbol the strategy did not add, `price` None before its first data;
    `position` signed, `pending_buys` and `pending_sells` what open orders of the symbol may still
    fill (positive); `free_cash` is what new positions may cost, open orders deducted;
    `halted` says why nothing may leave, empty while it may; `recent_orders` left within a second;
    `unknown` is an order of the symbol of which nobody can say whether the venue has it;
    `rate` is what the account pays for a unit of the currency of the price, 0 while none is known,
    `unconverted` what currencies have none.
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
    recent_orders: int = 0
    unknown: str = ""
    rate: Decimal = ONE
    unconverted: tuple[str, ...] = ()


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

    def review(self, order: Order, view: RiskView, filled: Decimal = ZERO) -> Approved | Refused:
        """Decide whether the order may leave now; `filled` of it counts as position already."""
        rest = order
        if filled:
            rest = msgspec.structs.replace(order, quantity=EXACT.subtract(order.quantity, filled))
        for check in self._checks:
            reason = check(rest, view)
            if reason is not None:
                return Refused(order, reason)
        return Approved(order, _SEAL)


def standard_checks(
    *,
    max_order_value: Decimal | None = None,
    max_open_orders: int = 100,
    max_position_value: Decimal | None = None,
    price_collar: Decimal | None = None,
    max_orders_per_second: int | None = None,
    short: frozenset[AssetClass] = frozenset({AssetClass.EQUITY}),
) -> tuple[Check, ...]:
    """Return the checks that a run adds to ALWAYS, cheapest first.

    Args:
        max_order_value: of one order, in the account's currency; None for no limit, as below.
        max_open_orders: at a time.
        max_position_value: of what is held of one symbol with all that may fill on the same side.
        price_collar: how far beyond the last price a limit may be, as a share of it.
        max_orders_per_second: a strategy that orders without end is stopped by it.
        short: the classes that may be sold without being held.
    """
    limits = (
        (order_value_below, max_order_value),
        (position_value_below, max_position_value),
        (price_within, price_collar),
    )
    return (
        whole_lots,
        *(() if max_orders_per_second is None else (orders_per_second(max_orders_per_second),)),
        open_orders_below(max_open_orders),
        *(check(limit) for check, limit in limits if limit is not None),
        buying_power(short),
    )


def well_formed(order: Order, view: RiskView) -> str | None:
    """Refuse what is no order at all: no, odd or absurd numbers, a price too many or too few."""
    del view
    if reason := _not_a_number("the quantity", order.quantity):
        return reason
    needed, possible = PRICES[order.type]
    for name in ("limit_price", "stop_price", "trailing_amount"):
        value, words = getattr(order, name), name.replace("_", " ")
        if value is None and name in needed:
            return f"a {_words(order.type)} order needs a {words}"
        if value is None:
            continue
        if name not in needed | possible:
            return f"a {_words(order.type)} order has no {words}: {value} was given"
        if reason := _not_a_number(f"the {words}", value):
            return reason
    if order.trailing_as_percentage and not (order.trailing_amount or ZERO) < 1:
        return f"the trailing amount is {order.trailing_amount} of the price: below 1 is needed"
    return None


PRICES: dict[OrderType, tuple[set[str], set[str]]] = {
    OrderType.MARKET: (set(), set()),
    OrderType.LIMIT: ({"limit_price"}, set()),
    OrderType.STOP_MARKET: ({"stop_price"}, set()),
    OrderType.STOP_LIMIT: ({"stop_price", "limit_price"}, set()),
    OrderType.TRAILING_STOP: ({"trailing_amount"}, {"stop_price"}),
    OrderType.MARKET_ON_OPEN: (set(), set()),
    OrderType.MARKET_ON_CLOSE: (set(), set()),
}
"""The prices that each type needs, and those that it may have."""


def _words(name: str) -> str:
    return name.replace("_", " ")


def in_time(order: Order, view: RiskView) -> str | None:
    """Refuse an order for an open or close that never comes, or comes too soon.

    The buffer before the close is LEAN's, MarketOnCloseOrder.DefaultSubmissionTimeBuffer: exchanges
    take such orders until some minutes before it.
    """
    del view
    if order.type not in AUCTIONS:
        return None
    if not order.due:
        return f"the market of {order.symbol} never closes: there is no auction to wait for"
    if order.time_in_force not in {TimeInForce.GTC, TimeInForce.DAY}:
        return f"a {_words(order.type)} order cannot be {order.time_in_force}: it waits"
    left = order.due - order.created
    if order.type is OrderType.MARKET_ON_CLOSE and left < CLOSE_BUFFER_NS:
        return "a market on close order is taken until 15.5 minutes before the close"
    return None


AUCTIONS = {OrderType.MARKET_ON_OPEN, OrderType.MARKET_ON_CLOSE}
CLOSE_BUFFER_NS = 930 * SECOND


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


def convertible(order: Order, view: RiskView) -> str | None:
    """Refuse what opens a position while nobody can say what the account is worth."""
    if not view.unconverted or not _opening(order, view):
        return None
    names = ", ".join(view.unconverted)
    return f"nothing says what {names} is worth: add its pair with the account's currency"


def answered(order: Order, view: RiskView) -> str | None:
    """Refuse what opens a position beside an order that may have filled without our knowing."""
    if not view.unknown or not _opening(order, view):
        return None
    return f"nobody can say yet what became of {view.unknown}: nothing of {order.symbol} opens"


ALWAYS: tuple[Check, ...] = (
    well_formed,
    allowed_to_trade,
    known_symbol,
    priced,
    in_time,
    answered,
    convertible,
)


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


def position_value_below(limit: Decimal) -> Check:
    """Make the check that a position is worth at most `limit`, once all has filled that may.

    What makes a position smaller may always leave.
    """

    def check(order: Order, view: RiskView) -> str | None:
        if order.side is Side.BUY:
            after = EXACT.add(EXACT.add(view.position, view.pending_buys), order.quantity)
        else:
            after = EXACT.subtract(
                EXACT.subtract(view.position, view.pending_sells), order.quantity
            )
        grows = after > 0 if order.side is Side.BUY else after < 0
        value = EXACT.multiply(abs(after), _unit_cost(order, view))
        if grows and value > limit:
            return f"the position would be worth {value:.2f}, more than {limit}"
        return None

    return check


def price_within(collar: Decimal) -> Check:
    """Make the check that a limit gives away at most `collar` of the last price.

    A buy far above the market, or a sale far below it, is a slip of the pen.
    """

    def check(order: Order, view: RiskView) -> str | None:
        if order.limit_price is None:
            return None
        # A stop-limit order meets its limit when the market is at its stop.
        price = order.stop_price or Decimal(str(view.price))
        sign = 1 if order.side is Side.BUY else -1
        edge = EXACT.multiply(price, 1 + sign * collar)
        if (order.limit_price - edge) * sign > 0:
            return (
                f"the limit price {order.limit_price} is beyond {edge:f}, {collar:%} from {price}"
            )
        return None

    return check


def orders_per_second(limit: int) -> Check:
    """Make the check that at most `limit` orders leave within a second, this one included."""

    def check(order: Order, view: RiskView) -> str | None:
        del order
        if view.recent_orders >= limit:
            return f"{view.recent_orders} orders have left within a second, the limit"
        return None

    return check


def buying_power(short: frozenset[AssetClass]) -> Check:
    """Make the check that what the order opens can be paid for, and may be short where it is.

    What it closes needs nothing and pays for what it opens; open orders of the symbol count as
    having closed first.
    """

    def check(order: Order, view: RiskView) -> str | None:
        opening = _opening(order, view)
        if not opening:
            return None
        if order.side is Side.SELL and view.asset_class not in short:
            return (
                f"{order.symbol} cannot be sold short: {view.position} held, "
                f"{view.pending_sells} already being sold"
            )
        unit, price = _unit_cost(order, view), EXACT.multiply(Decimal(str(view.price)), view.rate)
        freed = price if order.side is Side.SELL else EXACT.subtract(EXACT.multiply(2, price), unit)
        cost = EXACT.multiply(opening, unit)
        closing = EXACT.subtract(order.quantity, opening)
        power = EXACT.fma(closing, freed, view.free_cash)
        return f"the order needs {cost:.2f}, {power:.2f} is free" if cost > power else None

    return check


def _opening(order: Order, view: RiskView) -> Decimal:
    """How much of an order makes a position larger; open orders count as having closed first."""
    if order.side is Side.BUY:
        closing = _closing(order.quantity, -view.position, view.pending_buys)
    else:
        closing = _closing(order.quantity, view.position, view.pending_sells)
    return EXACT.subtract(order.quantity, closing)


def _closing(quantity: Decimal, held: Decimal, pending: Decimal) -> Decimal:
    """How much of an order goes against what is held and no other order closes already."""
    return min(quantity, max(ZERO, EXACT.subtract(held, pending)))


def _unit_cost(order: Order, view: RiskView) -> Decimal:
    """What a unit may cost the account: a buy at its limit or from its stop, a short the higher."""
    if order.side is Side.BUY and order.limit_price is not None:
        price = order.limit_price
    else:
        last = Decimal(str(view.price))
        price = max(last, order.limit_price or ZERO, order.stop_price or ZERO)
    return EXACT.multiply(price, view.rate)


def risk_view(
    symbol: Symbol,
    *,
    asset_class: AssetClass | None,
    price: float | None,
    portfolio: Portfolio,
    open_orders: Iterable[TrackedOrder],
    warming_up: bool = False,
    halted: str = "",
    recent_orders: int = 0,
) -> RiskView:
    """Gather what the checks see around an order of `symbol`; its price from the newest data.

    Each open order that would open a position sets aside its remaining quantity at its limit price,
    or at the last price where that is higher or there is no limit.
    """
    pending: dict[tuple[Symbol, Side], Decimal] = {}
    unit: dict[tuple[Symbol, Side], Decimal] = {}
    count = 0
    unknown = ""
    for tracked in open_orders:
        order = tracked.order
        if order.symbol == symbol and tracked.is_unknown:
            unknown = order.id
        key = (order.symbol, order.side)
        last = portfolio[order.symbol].last_price
        count += 1
        pending[key] = EXACT.add(pending.get(key, ZERO), tracked.remaining)
        own = order.limit_price or order.stop_price or ZERO
        unit[key] = max(unit.get(key, ZERO), last, own)
    free = portfolio.free_cash
    for key, quantity in pending.items():
        held = portfolio[key[0]].quantity
        against = held.copy_negate() if key[1] is Side.BUY else held
        opening = EXACT.subtract(quantity, _closing(quantity, against, ZERO))
        worth = EXACT.multiply(unit[key], portfolio.rate_of(key[0]) or ZERO)
        free = EXACT.subtract(free, EXACT.multiply(opening, worth))
    rate = portfolio.rate_of(symbol)
    missing = portfolio.unconverted if rate is not None else [paid_in(symbol)]
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
        recent_orders=recent_orders,
        unknown=unknown,
        rate=rate or ZERO,
        unconverted=tuple(missing),
    )
