"""Cash and positions, in Decimal, by the average-price method.

What is kept is the cost of each position, not its average price: closing a part releases its share
of the cost, rounded once to RELEASE, and the rest keeps what is left. So to the last digit
cash + holdings_value == start + realised_pnl + unrealised_pnl - fees, after any fills at any marks.
P&L is before fees. That holds in each currency by itself, and so for the sums in the account's own,
which are all made at the last rates.
"""

from collections.abc import Iterable, Iterator
from decimal import Decimal, localcontext

from feeds.events import Symbol
from feeds.symbols import known_as
from runtime.trading.cash import CashBook, currency_named, paid_in
from runtime.trading.orders import EXACT, LARGEST, MEAN, ZERO, Fill

RELEASE = Decimal("1e-12")
"""The cost that a partial close releases is rounded to this, half even."""

_LARGEST = float(LARGEST)


class Position:
    """What is held of one symbol: a live view, flat (all zero) where nothing is.

    `quantity` in base units, negative when short; `cost` what it was bought for, negative when
    short; `realised_pnl` before fees. All money is in the `currency` that the symbol is paid in:
    Portfolio has the sums in the account's.
    """

    __slots__ = (
        "_marks",
        "cost",
        "currency",
        "fees",
        "quantity",
        "realised_pnl",
        "symbol",
        "valued",
    )

    def __init__(self, symbol: Symbol, marks: dict[Symbol, float]) -> None:
        self.symbol = symbol
        self.currency = paid_in(symbol)
        self.quantity = ZERO
        self.cost = ZERO
        self.realised_pnl = ZERO
        self.fees = ZERO
        self.valued = ZERO  # what the portfolio's sums have counted for it
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
    """One account: cash by currency, a position by symbol, and the sums in its own currency.

    A fill must be applied once: `TrackedOrder.apply` tells which are new. Cash may go below zero:
    market orders fill at a price that was not known when they were reviewed, and what is bought in
    another currency borrows that, against the account's own.

    Attributes:
        cash_book: what there is of each currency.
    """

    __slots__ = (
        "_changed",
        "_marks",
        "_paid",
        "_positions",
        "_short",
        "_value",
        "cash_book",
    )

    def __init__(self, cash: Decimal, currency: str = "") -> None:
        self._marks: dict[Symbol, float] = {}
        self._positions: dict[Symbol, Position] = {}
        self._paid: set[str] = set()  # what any position is paid in
        self._changed: set[Symbol] = set()  # positions whose `valued` is not their value now
        self._value = self._short = ZERO  # of all `valued`, and of those below zero
        self.cash_book = CashBook(cash, self._marks, currency)

    def __getitem__(self, name: str) -> Position:
        """Return the position, a flat one where there is none: never KeyError."""
        symbol = Symbol(name)
        position = self._positions.get(symbol)
        if position is None:
            symbol = known_as(name, self._marks.keys())
            position = self._positions.get(symbol)
        if position is None:
            position = self._positions[symbol] = Position(symbol, self._marks)
            self._paid.add(position.currency)
        return position

    def __iter__(self) -> Iterator[Position]:
        """Go through what is held now."""
        return iter([position for position in self._positions.values() if position.quantity])

    def apply(self, fill: Fill) -> None:
        """Count one fill, in the currency that its symbol is paid in."""
        position = self[fill.symbol]
        with localcontext(EXACT):
            earned = -fill.signed_quantity * fill.price - fill.fee
        self.cash_book.add(earned, position.currency)
        position.apply(fill)
        self._changed.add(position.symbol)

    def deposit(self, amount: Decimal, currency: str = "", rate: Decimal = ZERO) -> None:
        """Begin with this amount of a currency, of the account's own where none is named.

        Args:
            amount: instead of what there was.
            currency: its name.
            rate: what one is worth in the account's currency until a price says so; 0 is unknown.
        """
        self.cash_book.put(amount, currency)
        if rate:
            self.cash_book.rates[currency_named(currency)] = rate

    def mark(self, symbol: Symbol, price: float) -> None:
        """Note the last price; one that is no sane price is passed over."""
        if 0.0 < price <= _LARGEST:
            self._marks[symbol] = price
            if symbol in self._positions:
                self._changed.add(symbol)

    def rate_of(self, symbol: Symbol) -> Decimal | None:
        """Return what a unit of what it is paid in is worth to the account; None: not known yet."""
        return self.cash_book.rate(paid_in(symbol))

    @property
    def currency(self) -> str:
        """The account's own, "" while all count as that."""
        return self.cash_book.currency

    @property
    def unconverted(self) -> list[str]:
        """The currencies that it has, or has positions in, and no price to convert them at.

        What was only looked at is neither: a flat position needs no rate.
        """
        if self._is_plain:
            return []
        book = self.cash_book
        names = {name for name, amount in book.foreign.items() if amount}
        names.update(held.currency for held in self)
        return sorted(name for name in names if book.rate(name) is None)

    @property
    def cash(self) -> Decimal:
        """All cash, in the account's currency."""
        return self.cash_book.total

    @property
    def fees(self) -> Decimal:
        """All fees that were paid."""
        return self._sum((held, held.fees) for held in self._positions.values())

    @property
    def realised_pnl(self) -> Decimal:
        """Profit of what was closed, before fees."""
        return self._sum((held, held.realised_pnl) for held in self._positions.values())

    @property
    def unrealised_pnl(self) -> Decimal:
        """Profit of what is held, at the last prices, before fees."""
        return self._sum((held, held.unrealised_pnl) for held in self)

    @property
    def holdings_value(self) -> Decimal:
        """What is held, at the last prices: shorts count negative."""
        if not self._is_plain:
            return self._sum((held, held.holdings_value) for held in self)
        self._revalue()
        return self._value

    @property
    def exposure(self) -> Decimal:
        """What is held, at the last prices: shorts count as much as longs."""
        if not self._is_plain:
            return self._sum((held, held.holdings_value.copy_abs()) for held in self)
        self._revalue()
        return EXACT.subtract(self._value, EXACT.multiply(2, self._short))

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
        if self._is_plain:
            self._revalue()
            short = self._short
        else:
            short = self._sum((held, held.holdings_value) for held in self if held.is_short)
        return EXACT.fma(2, short, self.cash)

    @property
    def _is_plain(self) -> bool:
        """Whether all that it has is in its own currency."""
        paid = self._paid
        return len(self.cash_book) == 1 and len(paid) <= 1 and all(map(self.cash_book.is_own, paid))

    def _revalue(self) -> None:
        """Bring the sums up to date: only what has changed is looked at, as sums are exact."""
        for symbol in self._changed:
            position = self._positions[symbol]
            old, new = position.valued, position.holdings_value
            position.valued = new
            self._value = EXACT.add(self._value, EXACT.subtract(new, old))
            short = EXACT.subtract(min(new, ZERO), min(old, ZERO))
            self._short = EXACT.add(self._short, short)
        self._changed.clear()

    def _sum(self, amounts: Iterable[tuple[Position, Decimal]]) -> Decimal:
        """Add what is in the currencies of positions."""
        total = ZERO
        for held, amount in amounts:
            total = EXACT.fma(amount, self.cash_book.rate(held.currency) or ZERO, total)
        return total

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


class Profit:
    """What an account gains from now on, or from when all of it can be converted."""

    def __init__(self, portfolio: Portfolio) -> None:
        self._portfolio = portfolio
        self._start: Decimal | None = None
        self._begin()

    @property
    def value(self) -> Decimal:
        """The gain in the account's currency."""
        self._begin()
        return ZERO if self._start is None else EXACT.subtract(self._portfolio.equity, self._start)

    def _begin(self) -> None:
        if self._start is None and not self._portfolio.unconverted:
            self._start = self._portfolio.equity
