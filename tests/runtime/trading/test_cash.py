"""Cash by currency: what is paid in which, what it is worth, and that none is lost."""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.events import AssetClass, Quote, Symbol
from runtime.securities import Resolution
from runtime.strategy import Strategy
from runtime.testing import run_on_events
from runtime.trading.cash import CashBook, paid_in
from runtime.trading.orders import ClientOrderId, Fill, Order, OrderState, OrderType, Side
from runtime.trading.portfolio import Portfolio, Profit
from runtime.trading.risk import Approved, Refused, RiskGate, risk_view, standard_checks

SPY, BTC_USD, BTC_EUR, ETH_BTC = map(Symbol, ("SPY", "BTC/USD", "BTC/EUR", "ETH/BTC"))
EUR_USD, USD_JPY = Symbol("EUR/USD"), Symbol("USD/JPY")


def fill(symbol: Symbol, signed: str | Decimal, price: str | Decimal, fee: str = "0") -> Fill:
    quantity = Decimal(signed)
    side = Side.BUY if quantity > 0 else Side.SELL
    name = ClientOrderId("o")
    return Fill("f", name, symbol, side, abs(quantity), Decimal(price), Decimal(fee), 0)


def account(**marks: float) -> Portfolio:
    portfolio = Portfolio(Decimal(100_000), "USD")
    for name, price in marks.items():
        portfolio.mark(Symbol(name.replace("_", "/")), price)
    return portfolio


@pytest.mark.parametrize(
    ("symbol", "currency"),
    [
        ("SPY", "USD"),
        ("BTC/USD", "USD"),
        ("BTC/USDT", "USD"),
        ("ETH/USDC", "USD"),
        ("BTC/EUR", "EUR"),
        ("ETH/BTC", "BTC"),
        ("USD/JPY", "JPY"),
    ],
)
def test_what_a_symbol_is_paid_in(symbol: str, currency: str) -> None:
    assert paid_in(Symbol(symbol)) == currency


@pytest.mark.parametrize(
    ("marks", "currency", "rate"),
    [
        ({"EUR_USD": 1.25}, "EUR", "1.25"),
        ({"EUR_USDT": 1.25}, "EUR", "1.25"),
        ({"USD_JPY": 125.0}, "JPY", "0.008"),
        ({"BTC_USDC": 50_000.0}, "BTC", "50000"),
        ({"USD_EUR": 0.5, "EUR_USD": 1.9}, "EUR", "1.9"),  # the direct one before the inverse
        ({"EUR_GBP": 0.9}, "EUR", None),
        ({}, "USD", "1"),
        ({}, "USDT", "1"),
    ],
)
def test_a_rate_is_the_price_of_the_pair(
    marks: dict[str, float], currency: str, rate: str | None
) -> None:
    cash = account(**marks).cash_book[currency]
    assert cash.conversion_rate == (None if rate is None else Decimal(rate))


def test_what_is_bought_in_euros_borrows_them() -> None:
    portfolio = account(EUR_USD=1.25)
    portfolio.apply(fill(BTC_EUR, "2", "10000", "20"))
    book = portfolio.cash_book
    assert (book["USD"].amount, book["EUR"].amount) == (Decimal(100_000), Decimal(-20_020))
    assert book["EUR"].value_in_account_currency == -25_025
    assert portfolio.cash == 74_975
    assert portfolio.holdings_value == portfolio.exposure == 25_000
    assert portfolio.fees == 25
    assert portfolio.equity == 100_000 - 25
    portfolio.mark(BTC_EUR, 11_000.0)
    portfolio.mark(EUR_USD, 1.5)
    assert portfolio.unrealised_pnl == 3_000
    assert portfolio[BTC_EUR].unrealised_pnl == 2_000  # a position is in its own currency
    assert portfolio.equity == 100_000 + Decimal("1.5") * (2_000 - 20)


def test_while_one_currency_is_traded_nothing_is_converted() -> None:
    portfolio = Portfolio(Decimal(1_000))  # whose currency is not settled yet
    portfolio.apply(fill(BTC_EUR, "1", "500"))
    portfolio.cash_book.settle("EUR")
    assert portfolio.currency == "EUR"
    assert (portfolio.cash, portfolio.equity) == (Decimal(500), Decimal(1_000))
    assert list(portfolio.cash_book) == ["EUR"]
    assert portfolio.unconverted == []


def test_what_has_no_rate_counts_nothing_and_is_named() -> None:
    portfolio = account()
    portfolio.deposit(Decimal(5_000), "EUR")
    assert portfolio.equity == 100_000
    assert portfolio.unconverted == ["EUR"]
    profit = Profit(portfolio)
    portfolio.mark(EUR_USD, 1.1)
    assert portfolio.equity == 105_500
    assert portfolio.unconverted == []
    assert profit.value == 0  # what was there before has not been gained
    portfolio.mark(EUR_USD, 1.2)
    assert profit.value == 500


def test_what_was_only_looked_at_needs_no_rate() -> None:
    """A look must not stop the loss of the day from being watched, nor orders from leaving."""
    portfolio = account()
    assert not portfolio[BTC_EUR].invested
    assert portfolio.unconverted == []
    view = risk_view(
        BTC_EUR, asset_class=None, price=None, portfolio=portfolio, open_orders=[]
    )  # as for an order of a symbol that was never added
    assert view.unconverted == ("EUR",)
    assert portfolio.unconverted == []
    assert isinstance(review(portfolio, order(BTC_USD, "0.001")), Approved)
    portfolio.apply(fill(BTC_EUR, "1", "10000"))
    assert portfolio.unconverted == ["EUR"]


def test_a_rate_that_is_given_holds_until_a_price_comes() -> None:
    portfolio = account()
    portfolio.deposit(Decimal(5_000), "EUR", Decimal("1.1"))
    assert portfolio.equity == 105_500
    portfolio.mark(EUR_USD, 1.2)
    assert portfolio.equity == 106_000


def test_a_short_in_another_currency_takes_twice_its_value() -> None:
    portfolio = account(EUR_USD=2.0)
    portfolio.apply(fill(BTC_EUR, "-1", "10000"))
    assert portfolio.cash == 120_000
    assert portfolio.free_cash == 80_000


def order(symbol: Symbol, signed: str, limit: str | None = None) -> Order:
    quantity = Decimal(signed)
    return Order(
        id=ClientOrderId("o"),
        symbol=symbol,
        side=Side.BUY if quantity > 0 else Side.SELL,
        quantity=abs(quantity),
        type=OrderType.MARKET if limit is None else OrderType.LIMIT,
        limit_price=None if limit is None else Decimal(limit),
    )


def review(portfolio: Portfolio, proposed: Order, **limits: Decimal) -> Approved | Refused:
    view = risk_view(
        proposed.symbol,
        asset_class=AssetClass.CRYPTO,
        price=10_000.0,
        portfolio=portfolio,
        open_orders=[],
    )
    return RiskGate(standard_checks(**limits)).review(proposed, view)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({}, "the order needs 150000.00, 100000.00 is free"),
        ({"max_order_value": Decimal(149_999)}, "the order is worth 150000.00, more than 149999"),
        (
            {"max_position_value": Decimal(149_999)},
            "the position would be worth 150000.00, more than 149999",
        ),
    ],
)
def test_limits_are_in_the_currency_of_the_account(limits: dict[str, Decimal], reason: str) -> None:
    portfolio = account(EUR_USD=1.5)
    for proposed in order(BTC_EUR, "10"), order(BTC_EUR, "10", "10000"):
        verdict = review(portfolio, proposed, **limits)
        assert isinstance(verdict, Refused)
        assert verdict.reason == reason
    assert isinstance(review(portfolio, order(BTC_EUR, "6"), **limits), Approved)


def test_nothing_opens_while_nobody_knows_what_it_costs() -> None:
    portfolio = account()
    verdict = review(portfolio, order(BTC_EUR, "0.001"))
    assert isinstance(verdict, Refused)
    assert verdict.reason == (
        "nothing says what EUR is worth: add its pair with the account's currency"
    )
    portfolio.apply(fill(BTC_EUR, "1", "10000"))  # by the run before, say
    assert isinstance(review(portfolio, order(BTC_USD, "0.001")), Refused)
    assert isinstance(review(portfolio, order(BTC_EUR, "-1")), Approved)  # what closes may leave


AMOUNTS = st.integers(1, 10**12).map(lambda n: Decimal(n).scaleb(-8))
PRICES = st.floats(1e-3, 1e6).map(lambda price: Decimal(str(price)))
FILLS = st.lists(
    st.builds(
        lambda symbol, sign, amount, price, fee: fill(symbol, sign * amount, price, str(fee)),
        st.sampled_from([SPY, BTC_USD, BTC_EUR, ETH_BTC, USD_JPY]),
        st.sampled_from([1, -1]),
        AMOUNTS,
        PRICES,
        AMOUNTS,
    ),
    max_size=20,
)
MARKS = st.fixed_dictionaries(
    {name: st.floats(1e-3, 1e6) for name in (SPY, BTC_USD, BTC_EUR, ETH_BTC, EUR_USD, USD_JPY)}
)


@given(FILLS, MARKS)
def test_money_is_conserved_in_each_currency_and_in_all(
    fills: Sequence[Fill], marks: dict[Symbol, float]
) -> None:
    portfolio = account()
    begun = {"USD": Fraction(100_000), "EUR": Fraction(7)}
    portfolio.deposit(Decimal(7), "EUR")
    for each in fills:
        portfolio.apply(each)
    for symbol, price in marks.items():
        portfolio.mark(symbol, price)
    book = portfolio.cash_book
    equity = start = Fraction(0)
    for currency in {*book, "JPY", "BTC"}:
        cash = book[currency]
        held = [p for p in map(portfolio.__getitem__, marks) if p.currency == currency]
        worth = sum((Fraction(p.holdings_value) for p in held), Fraction(cash.amount))
        earned = sum(Fraction(p.realised_pnl) + Fraction(p.unrealised_pnl) for p in held)
        fees = sum(Fraction(p.fees) for p in held)
        assert worth == begun.get(currency, 0) + earned - fees
        assert cash.conversion_rate is not None
        equity += worth * Fraction(cash.conversion_rate)
        start += begun.get(currency, Fraction(0)) * Fraction(cash.conversion_rate)
    assert Fraction(portfolio.equity) == equity
    earned = Fraction(portfolio.realised_pnl) + Fraction(portfolio.unrealised_pnl)
    assert equity == start + earned - Fraction(portfolio.fees)


def test_a_book_that_is_restored_has_nothing_else() -> None:
    book = CashBook(Decimal(5), {}, "USD")
    book.put(Decimal(9), "GBP")
    book.restore(Decimal(1), "EUR", {"USD": Decimal(2)})
    assert {each.currency: each.amount for each in book.values()} == {"EUR": 1, "USD": 2}


# ---- in a run --------------------------------------------------------------------------------


def quote(symbol: Symbol, price: float, time: int) -> Quote:
    return Quote(symbol, time, time, price, 100.0, price, 100.0)


class Buyer(Strategy):
    """Buys for half of the equity in euros at the third batch."""

    pairs: tuple[str, ...] = ("BTC/EUR", "EUR/USD")

    def initialize(self) -> None:
        for pair in self.pairs:
            self.add_security(pair, Resolution.TICK)
        self.set_cash("EUR", 1_000)
        self.seen = 0

    def on_data(self, data: object) -> None:
        self.seen += 1
        if self.seen == 3:
            self.ticket = self.set_holdings("BTC/EUR", 0.5)


async def play(strategy: Buyer, marks: Sequence[tuple[Symbol, float]]) -> None:
    second = 1_000_000_000
    batches = [[quote(name, price, n * second)] for n, (name, price) in enumerate(marks, 1)]
    outcome = await run_on_events(strategy, batches, trading={"fee_bps": 0.0})
    assert outcome.failure is None


async def test_a_run_trades_in_two_currencies() -> None:
    strategy = Buyer()
    await play(strategy, [(EUR_USD, 1.25), (BTC_EUR, 10_000.0)] * 3)
    assert strategy.ticket is not None
    assert strategy.ticket.status is OrderState.FILLED
    portfolio = strategy.portfolio
    assert portfolio.currency == "USD"  # the two are paid in euros and in dollars
    assert portfolio.equity == 101_250
    assert 0.498 < portfolio.holdings_value / portfolio.equity <= 0.5
    assert portfolio.cash_book["EUR"].amount == 1_000 - portfolio[BTC_EUR].cost


async def test_what_all_symbols_are_paid_in_is_the_accounts() -> None:
    class Only(Buyer):
        pairs = ("BTC/EUR",)

    strategy = Only()
    await play(strategy, [(BTC_EUR, 10_000.0)] * 4)
    assert strategy.portfolio.currency == "EUR"
    assert strategy.portfolio.equity == 101_000


async def test_an_account_may_be_kept_in_another_currency() -> None:
    class Ours(Buyer):
        def initialize(self) -> None:
            self.set_account_currency("eur")
            super().initialize()  # whose 1,000 euros are all that there is

    strategy = Ours()
    await play(strategy, [(EUR_USD, 1.25), (BTC_EUR, 10_000.0)] * 3)
    assert strategy.portfolio.currency == "EUR"
    assert strategy.portfolio.equity == 1_000


async def test_the_settings_may_name_it_in_either_case() -> None:
    strategy = Buyer()
    await run_on_events(strategy, [[quote(EUR_USD, 1.25, 1)]], trading={"currency": "eur"})
    assert strategy.portfolio.currency == "EUR"
    assert strategy.portfolio.cash_book["usd"].conversion_rate == Decimal("0.8")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("E!", 5), "a currency is needed, such as EUR"),
        (("EUR", -5), "a sum of 0 or more is needed"),
        (("EUR", 5, float("nan")), "a rate of 0 or more is needed"),
    ],
)
async def test_odd_sums_are_refused(words: tuple[str, float], told: str) -> None:
    class Odd(Buyer):
        def initialize(self) -> None:
            self.set_cash(*words)

    outcome = await run_on_events(Odd(), [])
    assert told in str(outcome.failure)
