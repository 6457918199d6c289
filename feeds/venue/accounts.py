"""One client's account at the venue: cash, positions, and every order and execution, in its words.

Money moves with executions and with nothing else, so an account is its opening cash and the list of
them: whoever stores both can build it again. An order's id follows from its number, so the same
history gives the same ids.
"""

from collections.abc import Iterator
from decimal import Context, Decimal
from enum import StrEnum
from uuid import UUID, uuid5

import msgspec

from feeds.events import AssetClass, Symbol
from feeds.venue.orders import EXACT, ZERO

MEAN = Context(prec=28)


class OrderStatus(StrEnum):
    """Where an order stands, in Alpaca's words."""

    NEW = "new"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REPLACED = "replaced"
    REJECTED = "rejected"

    @property
    def is_open(self) -> bool:
        """Whether it works."""
        return self in {OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED}


class AccountOrder(msgspec.Struct, frozen=True):
    """An order as it stands; times in ns UTC, None where it did not happen.

    `quantity` and `filled` in units; `notional` is what the fills came to. `number` counts the
    account's orders from 1. `due` is the open or close that it takes part in, `triggered` whether
    its stop price was reached.
    """

    number: int
    id: str
    client_order_id: str
    symbol: Symbol
    asset_class: AssetClass
    is_buy: bool
    quantity: Decimal
    type: str
    time_in_force: str
    submitted: int
    updated: int
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None
    extended_hours: bool = False
    due: int | None = None
    expires: int | None = None
    triggered: bool = False
    status: OrderStatus = OrderStatus.NEW
    filled: Decimal = ZERO
    notional: Decimal = ZERO
    executions: int = 0
    filled_at: int | None = None
    ended_at: int | None = None
    replaces: str | None = None
    replaced_by: str | None = None
    reason: str = ""

    @property
    def remaining(self) -> Decimal:
        """What is not filled."""
        return EXACT.subtract(self.quantity, self.filled)

    @property
    def average_price(self) -> Decimal | None:
        """The mean price of its fills, to 28 digits; None before the first."""
        return MEAN.divide(self.notional, self.filled) if self.filled else None


class Execution(msgspec.Struct, frozen=True):
    """One fill. `total` is what the order had filled by then, `position` what was held after it."""

    id: str
    order_id: str
    symbol: Symbol
    is_buy: bool
    quantity: Decimal
    price: Decimal
    fee: Decimal
    total: Decimal
    remaining: Decimal
    position: Decimal
    time: int


class Holding(msgspec.Struct):
    """What is held of one symbol: `quantity` and what it `cost`, both negative when short."""

    symbol: Symbol
    asset_class: AssetClass
    quantity: Decimal = ZERO
    cost: Decimal = ZERO

    @property
    def average_price(self) -> Decimal:
        """What one unit was bought (or sold short) for, to 28 digits."""
        return MEAN.divide(self.cost, self.quantity) if self.quantity else ZERO

    def take(self, change: Decimal, price: Decimal) -> None:
        """Count a change of `change` units at `price`."""
        if self.quantity * change < 0:
            closed = min(abs(change), abs(self.quantity)).copy_sign(change)
            if closed == -self.quantity:
                self.cost = ZERO
            else:
                share = EXACT.multiply(self.cost, -closed)
                share = MEAN.divide(share, self.quantity)
                self.cost = EXACT.subtract(self.cost, share)
            self.quantity = EXACT.add(self.quantity, closed)
            change = EXACT.subtract(change, closed)
        self.quantity = EXACT.add(self.quantity, change)
        self.cost = EXACT.fma(change, price, self.cost)


class Account:
    """An account; `key` is a UUID that names it, `opened` ns UTC, `cash` what it holds now."""

    def __init__(self, key: str, cash: Decimal, opened: int) -> None:
        self.key, self.opening_cash, self.opened = key, cash, opened
        self.cash = cash
        self.orders: dict[str, AccountOrder] = {}
        self.executions: list[Execution] = []
        self.holdings: dict[Symbol, Holding] = {}
        self._by_client_id: dict[str, str] = {}
        self._working: dict[str, None] = {}
        self._namespace = UUID(key)

    @property
    def number(self) -> str:
        """The account's number, as people read it."""
        return "PA" + self.key.replace("-", "")[:8].upper()

    def new_id(self) -> tuple[int, str]:
        """Return the number and id of the next order."""
        number = len(self.orders) + 1
        return number, str(uuid5(self._namespace, f"order {number}"))

    def execution_id(self, order: AccountOrder, count: int) -> str:
        """Return the id of an order's execution, `count` from 1."""
        return str(uuid5(self._namespace, f"execution {count} of {order.id}"))

    def put(self, order: AccountOrder) -> None:
        """Take an order as it now stands."""
        self.orders[order.id] = order
        self._by_client_id[order.client_order_id] = order.id
        if order.status.is_open:
            self._working[order.id] = None
        else:
            self._working.pop(order.id, None)

    def execute(self, execution: Execution, asset_class: AssetClass) -> None:
        """Move money and position; the order itself is put beside it."""
        change = execution.quantity if execution.is_buy else execution.quantity.copy_negate()
        cost = EXACT.multiply(change, execution.price)
        self.cash = EXACT.subtract(EXACT.subtract(self.cash, cost), execution.fee)
        holding = self.holdings.setdefault(execution.symbol, Holding(execution.symbol, asset_class))
        holding.take(change, execution.price)
        if not holding.quantity:
            del self.holdings[execution.symbol]
        self.executions.append(execution)

    def held(self, symbol: Symbol) -> Decimal:
        """Return the position, negative when short."""
        holding = self.holdings.get(symbol)
        return ZERO if holding is None else holding.quantity

    def by_client_id(self, client_order_id: str) -> AccountOrder | None:
        """Return the order of this name, None where there never was one."""
        found = self._by_client_id.get(client_order_id)
        return None if found is None else self.orders[found]

    def working(self) -> Iterator[AccountOrder]:
        """Go through the orders that work, oldest first."""
        return iter([self.orders[key] for key in self._working])
