"""Cash by currency, and what each is worth in the account's own.

A pair is paid for in its quote currency and a share in dollars; coins that are pegged to the
dollar count as dollars. Rates come from the last prices of what the strategy has added: one euro
is worth EUR/USD dollars, or 1 / (USD/EUR).
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import cache, lru_cache

import msgspec

from feeds.events import Symbol
from feeds.symbols import DOLLARS
from runtime.trading.orders import EXACT, MEAN, ZERO

DOLLAR = "USD"
ONE = Decimal(1)


def currency_named(name: str) -> str:
    """Return the currency that a name stands for: USDT and USDC are the dollar."""
    code = name.strip().upper()
    return DOLLAR if code in DOLLARS else code


def is_currency(name: str) -> bool:
    """Whether a name can be one of a currency, or of a coin."""
    code = currency_named(name)
    return 2 <= len(code) <= 10 and code.isalnum()


@lru_cache(maxsize=16_384)
def paid_in(symbol: Symbol) -> str:
    """Return the currency that a symbol is bought with."""
    quote = symbol.partition("/")[2]
    return currency_named(quote) if quote else DOLLAR


class Cash(msgspec.Struct, frozen=True):
    """What an account has of one currency, below zero where it is borrowed.

    `conversion_rate` is what one unit is worth in the account's currency, None while no price says
    so.
    """

    currency: str
    amount: Decimal
    conversion_rate: Decimal | None

    @property
    def value_in_account_currency(self) -> Decimal:
        """The amount at that rate, 0 while there is none."""
        return EXACT.multiply(self.amount, self.conversion_rate or ZERO)


class CashBook(Mapping[str, Cash]):
    """All cash of one account: a live view by currency.

    Attributes:
        currency: the account's own. While it is "" every amount counts as that, whatever a symbol
            is paid in.
        rates: of currencies that no price has told yet.
    """

    __slots__ = ("_foreign", "_home", "_marks", "currency", "rates")

    def __init__(self, amount: Decimal, marks: Mapping[Symbol, float], currency: str = "") -> None:
        self.currency = currency
        self._home = amount
        self._foreign: dict[str, Decimal] = {}
        self._marks = marks
        self.rates: dict[str, Decimal] = {}

    def __getitem__(self, name: str) -> Cash:
        """Return what there is of a currency, nothing of one that never came: no KeyError."""
        currency = currency_named(name)
        if self.is_own(currency):
            return Cash(self.currency or currency, self._home, ONE)
        return Cash(currency, self._foreign.get(currency, ZERO), self.rate(currency))

    def __iter__(self) -> Iterator[str]:
        """Go through the account's currency and all others that there are."""
        return iter([self.currency or DOLLAR, *self._foreign])

    def __len__(self) -> int:
        return 1 + len(self._foreign)

    def is_own(self, currency: str) -> bool:
        """Whether nothing needs converting."""
        return currency == self.currency or not self.currency

    def settle(self, currency: str) -> None:
        """Say what the account's currency is, where that was open."""
        if not self.currency:
            self.currency = currency
            self._home = EXACT.add(self._home, self._foreign.pop(currency, ZERO))

    def restore(self, amount: Decimal, currency: str, others: Mapping[str, Decimal]) -> None:
        """Have what an account was opened with; its currency stays where that was not noted, ""."""
        self.currency = currency or self.currency
        self._home, self._foreign = amount, dict(others)

    def put(self, amount: Decimal, currency: str = "") -> None:
        """Have this amount of a currency, of the account's own where none is named."""
        currency = currency_named(currency)
        if not currency or currency == self.currency:
            self._home = amount
        else:
            self._foreign[currency] = amount

    def add(self, amount: Decimal, currency: str) -> None:
        """Have so much more of a currency."""
        if self.is_own(currency):
            self._home = EXACT.add(self._home, amount)
        else:
            self._foreign[currency] = EXACT.add(self._foreign.get(currency, ZERO), amount)

    def rate(self, currency: str) -> Decimal | None:
        """Return what one unit is worth in the account's currency; None while no price says so."""
        if self.is_own(currency):
            return ONE
        for pair, is_inverse in _pairs(currency, self.currency):
            mark = self._marks.get(pair)
            if mark is not None:
                price = Decimal(str(mark))
                return MEAN.divide(ONE, price) if is_inverse else price
        return self.rates.get(currency)

    @property
    def own(self) -> Decimal:
        """What there is of the account's currency alone."""
        return self._home

    @property
    def foreign(self) -> dict[str, Decimal]:
        """What there is of the others, by name."""
        return dict(self._foreign)

    @property
    def total(self) -> Decimal:
        """All of it in the account's currency; what has no rate yet counts nothing."""
        total = self._home
        for currency, amount in self._foreign.items():
            total = EXACT.fma(amount, self.rate(currency) or ZERO, total)
        return total

    def __repr__(self) -> str:
        return ", ".join(f"{each.amount} {each.currency}" for each in self.values())


@cache
def _pairs(currency: str, into: str) -> tuple[tuple[Symbol, bool], ...]:
    """Return the pairs whose price is a rate, and whether it is the inverse; the best first."""
    ours, theirs = _names(currency), _names(into)
    direct = [(Symbol(f"{a}/{b}"), False) for a in ours for b in theirs]
    return (*direct, *((Symbol(f"{b}/{a}"), True) for a in ours for b in theirs))


def _names(currency: str) -> tuple[str, ...]:
    """Return what a currency is called in pairs, itself first."""
    if currency != DOLLAR:
        return (currency,)
    return (DOLLAR, *(name for name in DOLLARS if name != DOLLAR))
