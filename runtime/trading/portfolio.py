"""Cash and positions, in Decimal, by the average-price method.

What is kept is the cost of each position, not its average price: closing a part releases its share
of the cost, rounded once to RELEASE, and the rest keeps what is left. So to the last digit
cash + holdings_value == start + realised_pnl + unrealised_pnl - fees, after any fills at any marks.
P&L is before fees. Every price is in the account's currency: nothing is converted.
"""

from collections.abc import Iterator
from decimal import Decimal, localcontext

from feeds.events import Symbol
from feeds.symbols import known_as
from runtime.trading.orders import EXACT, LARGEST, MEAN, ZERO, Fill

RELEASE = Decimal("1e-12")
"""The cost that a partial close releases is rounded to this, half even."""

_LARGEST = float(LARGEST)


class Position:
    """What is held of one symbol: a live view, flat (all zero) where nothing is.

    `quantity` in base units, negative when short; `cost` what it was bought for, negative when
    short; `realised_pnl` before fees.
    """

    __slots__ = ("_marks", "cost", "fees", "quantity", "realised_pnl", "symbol")

    def __init__(self, symbol: Symbol, marks: dict[Symbol, float]) -> None:
        self.symbol = symbol
        self.quantity = ZERO
        self.cost = ZERO
        self.realised_pnl = ZERO
        self.fees = ZERO
        self._marks = marks

    @property
    def invested(self) -> bool:
        """Whether anything is held."""
        return bool(self.quantity)

    @property
    def is_long(self) -> bool:
        """Whether more was bought than sold."""
        return self.quantity > 0

    @property
    def is_short(self) -> bool:
        """Whether more was sold than bought."""
        return self.quantity < 0

    @property
    def average_price(self) -> Decimal:
        """What one unit was bought (or sold short) for, to 28 digits; 0 when flat."""
        return MEAN.divide(self.cost, self.quantity) if self.quantity else ZERO

    @property
    def last_price(self) -> Decimal:
        """The last price marked, or filled at before any mark; 0 before both."""
        mark = self._marks.get(self.symbol)
        return ZERO if mark is None else Decimal(str(mark))

    @property
    def holdings_value(self) -> Decimal:
        """What it is worth at the last price, negative when short."""
        return EXACT.multiply(self.quantity, self.last_price) if self.quantity else ZERO

    @property
    def unrealised_pnl(self) -> Decimal:
        """What closing at the last price would realise, before fees."""
        return EXACT.subtract(self.holdings_value, self.cost)

    def apply(self, fill: Fill) -> None:
        """Count one fill: close what it is against, open with what is left."""
        with localcontext(EXACT):
            change = fill.signed_quantity
            self.fees += fill.fee
            if self.quantity * change < 0:
                closed = -self.quantity if abs(change) >= abs(self.quantity) else change
                released = self._release(closed)
                self.realised_pnl += -closed * fill.price - released
                self.cost -= released
                self.quantity += closed
                change -= closed
            self.quantity += change
            self.cost += change * fill.price
        self._marks.setdefault(self.symbol, float(fill.price))

    def _release(self, closed: Decimal) -> Decimal:
        if closed == -self.quantity:
            return self.cost
        return (self.cost * -closed / self.quantity).quantize(RELEASE)

    def __repr__(self) -> str:
        return f"Position({self.symbol}: {self.quantity} at {self.average_price})"


class Portfolio:
    """One account: `cash` and `fees` in its currency, and a position by symbol.

    A fill must be applied once: `TrackedOrder.apply` tells which are new. `cash` may go below
    zero: market orders fill at a price that was not known when they were reviewed.
    """

    __slots__ = ("_marks", "_positions", "cash", "fees")

    def __init__(self, cash: Decimal) -> None:
        self.cash = cash
        self.fees = ZERO
        self._marks: dict[Symbol, float] = {}
        self._positions: dict[Symbol, Position] = {}

    def __getitem__(self, name: str) -> Position:
        """Return the position, a flat one where there is none: never KeyError."""
        symbol = Symbol(name)
        position = self._positions.get(symbol)
        if position is None:
            symbol = known_as(name, self._marks.keys())
            position = self._positions.get(symbol)
        if position is None:
            position = self._positions[symbol] = Position(symbol, self._marks)
        return position

    def __iter__(self) -> Iterator[Position]:
        """Go through what is held now."""
        return iter([position for position in self._positions.values() if position.quantity])

    def apply(self, fill: Fill) -> None:
        """Count one fill."""
        with localcontext(EXACT):
            self.cash -= fill.signed_quantity * fill.price + fill.fee
            self.fees += fill.fee
        self[fill.symbol].apply(fill)

    def mark(self, symbol: Symbol, price: float) -> None:
        """Note the last price; one that is no sane price is passed over."""
        if 0.0 < price <= _LARGEST:
            self._marks[symbol] = price

    @property
    def realised_pnl(self) -> Decimal:
        """Profit of what was closed, before fees."""
        with localcontext(EXACT):
            return sum((held.realised_pnl for held in self._positions.values()), ZERO)

    @property
    def unrealised_pnl(self) -> Decimal:
        """Profit of what is held, at the last prices, before fees."""
        with localcontext(EXACT):
            return sum((held.unrealised_pnl for held in self), ZERO)

    @property
    def holdings_value(self) -> Decimal:
        """What is held, at the last prices: shorts count negative."""
        total = ZERO
        for position in self._positions.values():
            if position.quantity:
                total = EXACT.add(total, position.holdings_value)
        return total

    @property
    def equity(self) -> Decimal:
        """Cash and holdings."""
        return EXACT.add(self.cash, self.holdings_value)

    @property
    def free_cash(self) -> Decimal:
        """What new positions may cost without borrowing.

        All cash when nothing is short. A short takes twice its value: the cash that its sale
        brought, and as much again to stand for it.
        """
        with localcontext(EXACT):
            short = sum((held.holdings_value for held in self if held.is_short), ZERO)
            return self.cash + 2 * short

    @property
    def invested(self) -> bool:
        """Whether anything is held."""
        return any(held.quantity for held in self._positions.values())

    @property
    def total_portfolio_value(self) -> Decimal:
        """LEAN's name for `equity`."""
        return self.equity

    @property
    def total_profit(self) -> Decimal:
        """LEAN's name for `realised_pnl`."""
        return self.realised_pnl

    @property
    def total_unrealized_profit(self) -> Decimal:
        """LEAN's name for `unrealised_pnl`."""
        return self.unrealised_pnl

    @property
    def total_fees(self) -> Decimal:
        """LEAN's name for `fees`."""
        return self.fees

    def __repr__(self) -> str:
        return f"Portfolio(cash {self.cash}, equity {self.equity}, {list(self)})"
