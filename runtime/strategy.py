"""What a strategy author subclasses. LEAN's snake_case words mean here what they mean there.

Everything a strategy can do goes through the narrow Context below; the engine is behind it and
stays there. Callbacks run on the event loop, one at a time, and must be short: heavy work belongs
into `train`.
"""

import functools
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from feeds.events import AssetClass, Bar, Status, Symbol
from feeds.symbols import guess_class, known_as
from runtime.errors import StrategyError
from runtime.history import BarWindow, TickWindow
from runtime.schedule.date_rules import DateRules
from runtime.schedule.dates import DateRule
from runtime.schedule.schedule import Schedule
from runtime.schedule.time_rules import TimeRules
from runtime.schedule.times import TimeRule
from runtime.securities import Resolution, Security, canonical
from runtime.slices import Slice
from runtime.trading.orders import OrderEvent, OrderTerms, OrderType, TimeInForce
from runtime.trading.portfolio import Portfolio
from runtime.trading.tickets import OrderTicket
from runtime.training.control import TrainingControl
from runtime.training.jobs import JobOptions, TrainingHandle, job_options
from runtime.training.slots import ModelSlot


class Context(Protocol):
    """What a strategy is given: the only door between it and the runtime."""

    @property
    def now_ns(self) -> int:
        """Engine time, ns since the epoch, UTC."""
        ...

    @property
    def time(self) -> datetime:
        """Engine time in the strategy's zone."""
        ...

    @property
    def portfolio(self) -> Portfolio:
        """Cash, positions, profit."""
        ...

    @property
    def securities(self) -> Mapping[Symbol, Security]:
        """What has been added."""
        ...

    @property
    def parameters(self) -> Mapping[str, str]:
        """What the user gave with --param or in [parameters]."""
        ...

    @property
    def training(self) -> TrainingControl:
        """The training seen from inside a job and from the loop."""
        ...

    @property
    def schedule(self) -> Schedule:
        """What is to be called when."""
        ...

    @property
    def is_warming_up(self) -> bool:
        """Whether orders are still refused because history is being gathered."""
        ...

    def add(self, symbol: Symbol, asset_class: AssetClass, resolution: Resolution) -> Security:
        """Subscribe."""
        ...

    def remove(self, symbol: Symbol) -> bool:
        """Close and unsubscribe."""
        ...

    def set_cash(self, amount: Decimal, currency: str = "", rate: Decimal = Decimal(0)) -> None:
        """Set the starting cash."""
        ...

    def set_account_currency(self, currency: str) -> None:
        """Set what the account is kept in."""
        ...

    def set_time_zone(self, name: str) -> None:
        """Set the strategy's zone."""
        ...

    def set_warm_up(self, span: timedelta | int) -> None:
        """Gather data first."""
        ...

    def consolidate(self, symbol: Symbol, span: timedelta, handler: Callable[[Bar], None]) -> None:
        """Call `handler` with each finished bar."""
        ...

    def history(self, symbol: Symbol, count: int) -> BarWindow:
        """Return the newest bars."""
        ...

    def tick_history(self, symbol: Symbol, count: int) -> TickWindow:
        """Return the newest ticks."""
        ...

    def order(self, symbol: Symbol, quantity: Decimal, terms: OrderTerms, tag: str) -> OrderTicket:
        """Propose an order; a positive quantity buys."""
        ...

    def target(self, symbol: Symbol, weight: float, tag: str) -> OrderTicket | None:
        """Order what is missing to hold `weight` of the equity."""
        ...

    def liquidate(self, symbol: Symbol | None, tag: str) -> list[OrderTicket]:
        """Cancel and close."""
        ...

    def cancel_open_orders(self, symbol: Symbol | None) -> list[OrderTicket]:
        """Ask for the end of what works."""
        ...

    def open_tickets(self, symbol: Symbol | None) -> list[OrderTicket]:
        """Return the tickets of the open orders."""
        ...

    def train(
        self,
        method: Callable[[], object],
        into: ModelSlot | None,
        name: str | None,
        options: JobOptions,
        when: tuple[DateRule, TimeRule] | None = None,
    ) -> TrainingHandle:
        """Queue a job, now or at each time of two rules."""
        ...

    def log(self, level: str, message: str, fields: Mapping[str, object]) -> None:
        """Write a line."""
        ...

    def quit(self, reason: str) -> None:
        """End the run in order."""
        ...


class Strategy:
    """A trading strategy: override `initialize` and `on_data`, and whatever else you need."""

    _context: Context | None = None

    # ---- what you override -------------------------------------------------------------------

    def initialize(self) -> None:
        """Add symbols, build indicators, ask for training. Called once, before any data."""

    def on_data(self, slice: Slice) -> None:
        """Take all that arrived since the last call, at one moment."""

    def on_order_event(self, order_event: OrderEvent) -> None:
        """Hear what became of an order."""

    def on_feed_status(self, status: Status) -> None:
        """Hear that the feed went live, away, or ended."""

    def on_warmup_finished(self) -> None:
        """Hear that warm-up is over; from here on orders are taken."""

    def on_end_of_algorithm(self) -> None:
        """Say goodbye: called once, when the run ends in order; orders are refused by then."""

    # ---- what you read -----------------------------------------------------------------------

    @property
    def time(self) -> datetime:
        """The engine's time, aware, in the strategy's zone (America/New_York unless set)."""
        return self._door.time

    @property
    def time_ns(self) -> int:
        """The engine's time in ns since the epoch, UTC."""
        return self._door.now_ns

    @property
    def portfolio(self) -> Portfolio:
        """Cash, positions and profit, Decimal-exact."""
        return self._door.portfolio

    @property
    def securities(self) -> Mapping[Symbol, Security]:
        """The live view of each added symbol."""
        return self._door.securities

    @property
    def training(self) -> TrainingControl:
        """Inside a job: `cancelled` and `progress(fraction, text)`; anywhere: `is_on`."""
        return self._door.training

    @property
    def schedule(self) -> Schedule:
        """`schedule.on(date_rule, time_rule, callback)` calls something short at its times."""
        return self._door.schedule

    @property
    def date_rules(self) -> DateRules:
        """The dates of a schedule: every_day, week_start, month_end and so on."""
        return self._door.schedule.date_rules

    @property
    def time_rules(self) -> TimeRules:
        """The times of a schedule: at, every, before_market_close and so on."""
        return self._door.schedule.time_rules

    @property
    def is_warming_up(self) -> bool:
        """Whether the warm-up of `set_warm_up` is still going on; orders are refused meanwhile."""
        return self._door.is_warming_up

    # ---- what you call in initialize ---------------------------------------------------------

    def add_equity(self, ticker: str, resolution: Resolution = Resolution.MINUTE) -> Security:
        """Subscribe to a share or fund, such as "SPY"."""
        return self._door.add(canonical(ticker, AssetClass.EQUITY), AssetClass.EQUITY, resolution)

    def add_crypto(self, ticker: str, resolution: Resolution = Resolution.MINUTE) -> Security:
        """Subscribe to a crypto pair, "BTC/USD" or "BTCUSD"."""
        return self._door.add(canonical(ticker, AssetClass.CRYPTO), AssetClass.CRYPTO, resolution)

    def add_forex(self, ticker: str, resolution: Resolution = Resolution.MINUTE) -> Security:
        """Subscribe to a currency pair, "EUR/USD" or "EURUSD"."""
        return self._door.add(canonical(ticker, AssetClass.FOREX), AssetClass.FOREX, resolution)

    def add_security(self, ticker: str, resolution: Resolution = Resolution.MINUTE) -> Security:
        """Subscribe to whatever the ticker looks like: "SPY", "BTC/USD" or "EUR/USD"."""
        asset_class = guess_class(Symbol(ticker.strip().upper()))
        return self._door.add(canonical(ticker, asset_class), asset_class, resolution)

    def remove_security(self, symbol: str) -> bool:
        """Cancel its orders, close its position, unsubscribe; False where it was never added.

        Like the add_* words this may be called at any time; a live feed changes while it runs.
        """
        return self._door.remove(self._known(symbol))

    @overload
    def set_cash(self, amount: float | Decimal, /) -> None: ...
    @overload
    def set_cash(
        self, currency: str, amount: float | Decimal, conversion_rate: float | Decimal = 0, /
    ) -> None: ...
    def set_cash(
        self,
        first: str | float | Decimal,
        amount: float | Decimal = 0,
        conversion_rate: float | Decimal = 0,
    ) -> None:
        """Set the starting cash of a paper account, of its own currency or of one that is named.

        Only in initialize: self.set_cash(100_000), self.set_cash("EUR", 5_000, 1.1). The rate is
        what one euro is worth to the account until a price of EUR/USD says so; while nothing does,
        it counts nothing, and no position is opened.
        """
        if isinstance(first, str):
            rate = Decimal(str(conversion_rate))
            self._door.set_cash(Decimal(str(amount)), first, rate)
        else:
            self._door.set_cash(Decimal(str(first)))

    def set_account_currency(self, currency: str) -> None:
        """Set what the account is kept in; only in initialize.

        Without it that is what all symbols are paid in, or dollars where they differ. Symbols that
        are paid in another need its price: add_forex("EURUSD") beside add_crypto("BTC/EUR").
        """
        self._door.set_account_currency(currency)

    def set_time_zone(self, name: str) -> None:
        """Set the zone of `self.time` by its IANA name."""
        self._door.set_time_zone(name)

    def set_warm_up(self, span: timedelta | int) -> None:
        """Let `span` of market time, or that many slices, pass before orders are taken."""
        self._door.set_warm_up(span)

    def get_parameter(self, name: str, default: str = "") -> str:
        """Return what the user gave with `--param NAME=VALUE` or in [parameters]."""
        return self._door.parameters.get(name, default)

    def consolidate(self, symbol: str, span: timedelta, handler: Callable[[Bar], None]) -> None:
        """Build bars of any span from the symbol's trades and call `handler` with each."""
        self._door.consolidate(self._known(symbol), span, handler)

    # ---- what you call at any time -----------------------------------------------------------

    def history(self, symbol: str, count: int) -> BarWindow:
        """Return the newest `count` bars (fewer if there are fewer), oldest first, as numpy copies.

        The bars are those of the symbol's own resolution; at Resolution.TICK each trade is one.
        Nothing in it is later than `self.time`, and a training job may keep it.
        """
        return self._door.history(self._known(symbol), count)

    def tick_history(self, symbol: str, count: int) -> TickWindow:
        """Return the newest `count` trades and quotes, oldest first, as numpy copies."""
        return self._door.tick_history(self._known(symbol), count)

    def market_order(
        self,
        symbol: str,
        quantity: float | Decimal,
        tag: str = "",
        *,
        time_in_force: TimeInForce = TimeInForce.GTC,
    ) -> OrderTicket:
        """Buy (quantity > 0) or sell (< 0) at the market, in base units."""
        return self._order(symbol, quantity, tag, OrderType.MARKET, time_in_force)

    def limit_order(
        self,
        symbol: str,
        quantity: float | Decimal,
        limit_price: float | Decimal,
        tag: str = "",
        *,
        time_in_force: TimeInForce = TimeInForce.GTC,
    ) -> OrderTicket:
        """Buy (quantity > 0) or sell (< 0) at `limit_price` or better; rests until cancelled."""
        return self._order(
            symbol, quantity, tag, OrderType.LIMIT, time_in_force, limit_price=limit_price
        )

    def stop_market_order(
        self,
        symbol: str,
        quantity: float | Decimal,
        stop_price: float | Decimal,
        tag: str = "",
        *,
        time_in_force: TimeInForce = TimeInForce.GTC,
    ) -> OrderTicket:
        """Buy or sell at the market once it has reached `stop_price`."""
        return self._order(
            symbol, quantity, tag, OrderType.STOP_MARKET, time_in_force, stop_price=stop_price
        )

    def stop_limit_order(
        self,
        symbol: str,
        quantity: float | Decimal,
        stop_price: float | Decimal,
        limit_price: float | Decimal,
        tag: str = "",
        *,
        time_in_force: TimeInForce = TimeInForce.GTC,
    ) -> OrderTicket:
        """Buy or sell at `limit_price` or better, once the market has reached `stop_price`."""
        return self._order(
            symbol,
            quantity,
            tag,
            OrderType.STOP_LIMIT,
            time_in_force,
            stop_price=stop_price,
            limit_price=limit_price,
        )

    def trailing_stop_order(
        self,
        symbol: str,
        quantity: float | Decimal,
        trailing_amount: float | Decimal,
        trailing_as_percentage: bool = False,
        tag: str = "",
        *,
        time_in_force: TimeInForce = TimeInForce.GTC,
    ) -> OrderTicket:
        """Buy or sell at the market once it has turned by `trailing_amount` from its best price.

        Args:
            symbol: as added.
            quantity: below 0 sells: the stop follows a rising price from below.
            trailing_amount: in the currency of the price.
            trailing_as_percentage: whether it is a share of the price instead, such as 0.05.
            tag: comes back in every event of the order.
            time_in_force: how long it works.
        """
        return self._order(
            symbol,
            quantity,
            tag,
            OrderType.TRAILING_STOP,
            time_in_force,
            trailing_amount=trailing_amount,
            trailing_as_percentage=trailing_as_percentage,
        )

    def market_on_open_order(
        self, symbol: str, quantity: float | Decimal, tag: str = ""
    ) -> OrderTicket:
        """Buy or sell at the first price after the market's next open."""
        return self._order(symbol, quantity, tag, OrderType.MARKET_ON_OPEN, TimeInForce.GTC)

    def market_on_close_order(
        self, symbol: str, quantity: float | Decimal, tag: str = ""
    ) -> OrderTicket:
        """Buy or sell at the market's next close; it must be asked for 15.5 minutes before that."""
        return self._order(symbol, quantity, tag, OrderType.MARKET_ON_CLOSE, TimeInForce.GTC)

    def cancel_open_orders(self, symbol: str | None = None) -> list[OrderTicket]:
        """Ask for the end of the open orders, of one symbol or of all, and return them.

        Market orders are as good as filled, and left.
        """
        return self._door.cancel_open_orders(None if symbol is None else self._known(symbol))

    def open_orders(self, symbol: str | None = None) -> list[OrderTicket]:
        """Return the orders that may still fill, of one symbol or of all."""
        return self._door.open_tickets(None if symbol is None else self._known(symbol))

    def set_holdings(self, symbol: str, weight: float, tag: str = "") -> OrderTicket | None:
        """Order what is missing to hold `weight` (-1 to 1) of the equity in a symbol.

        Its open market orders count as filled, its limit orders don't. None when nothing is
        missing.
        """
        return self._door.target(self._known(symbol), weight, tag)

    def liquidate(self, symbol: str | None = None, tag: str = "Liquidated") -> list[OrderTicket]:
        """Cancel open orders and close the position, of one symbol or of all."""
        return self._door.liquidate(None if symbol is None else self._known(symbol), tag)

    @overload
    def train(
        self,
        method: Callable[[], object],
        /,
        *,
        into: ModelSlot | None = None,
        name: str | None = None,
        isolation: str | None = None,
        timeout: timedelta | None = None,
        retries: int = 0,
    ) -> TrainingHandle: ...

    @overload
    def train(
        self,
        date_rule: DateRule,
        time_rule: TimeRule,
        method: Callable[[], object],
        /,
        *,
        into: ModelSlot | None = None,
        name: str | None = None,
        isolation: str | None = None,
        timeout: timedelta | None = None,
        retries: int = 0,
    ) -> TrainingHandle: ...

    def train(
        self,
        *what: Any,
        into: ModelSlot | None = None,
        name: str | None = None,
        isolation: str | None = None,
        timeout: timedelta | None = None,
        retries: int = 0,
    ) -> TrainingHandle:
        """Queue a training job: it runs in the pool under the quota, beside trading.

        `train(method)` queues it now, `train(date_rule, time_rule, method)` at each of its times:
        one that comes while the method is queued already is served by that run.

        Args:
            what: a method, called without arguments; before it the two rules, if any. What it
                returns is published `into` the slot.
            into: the slot that becomes ready with the result.
            name: how logs call it; the method's own name by default.
            isolation: how it is run, "thread" or "process"; by default as the settings say.
            timeout: what it may run, without pauses; by default as the settings say.
            retries: how often it is queued again when it fails.

        Raises:
            StrategyError: no such isolation, or an option out of its range.
        """
        options = job_options(isolation, timeout, retries)
        match what:
            case (method,):
                return self._door.train(method, into, name, options)
            case (date_rule, time_rule, method):
                return self._door.train(method, into, name, options, (date_rule, time_rule))
            case _:
                raise StrategyError(
                    f"train was given {len(what)} things: a method, or a date rule, a time rule "
                    "and a method are needed",
                    "",
                )

    def log(self, message: object, /, **fields: object) -> None:
        """Write an info line; fields become keys of the JSON line."""
        self._door.log("info", str(message), fields)

    def debug(self, message: object, /, **fields: object) -> None:
        """Write a debug line."""
        self._door.log("debug", str(message), fields)

    def error(self, message: object, /, **fields: object) -> None:
        """Write an error line."""
        self._door.log("error", str(message), fields)

    def quit(self, reason: str = "the strategy asked") -> None:
        """End the run in order."""
        self._door.quit(reason)

    # ---- how it is wired ---------------------------------------------------------------------

    def bind(self, context: Context) -> None:
        """Give the strategy its door; the engine does this before initialize."""
        self._context = context

    @property
    def _door(self) -> Context:
        if self._context is None:
            raise StrategyError(
                f"{type(self).__name__} is not running yet: move the call into initialize",
                "__init__",
            )
        return self._context

    def _known(self, symbol: str) -> Symbol:
        return known_as(symbol, self._door.securities.keys())

    def _order(
        self,
        symbol: str,
        quantity: float | Decimal,
        tag: str,
        kind: OrderType,
        time_in_force: TimeInForce,
        *,
        trailing_as_percentage: bool = False,
        **prices: float | Decimal,
    ) -> OrderTicket:
        terms = OrderTerms(
            type=kind,
            time_in_force=TimeInForce(time_in_force),
            trailing_as_percentage=trailing_as_percentage,
            **{name: Decimal(str(price)) for name, price in prices.items()},
        )
        return self._door.order(self._known(symbol), Decimal(str(quantity)), terms, tag)


P = ParamSpec("P")
S = TypeVar("S", bound=Strategy)


def when_ready(
    *slots: str,
) -> Callable[[Callable[Concatenate[S, P], None]], Callable[Concatenate[S, P], None]]:
    """Skip a handler until the named ModelSlots of the strategy are ready; each skip is counted.

    Args:
        slots: names of attributes that hold a ModelSlot.
    """

    def decorate(handler: Callable[Concatenate[S, P], None]) -> Callable[Concatenate[S, P], None]:
        @functools.wraps(handler)
        def guarded(self: S, /, *args: P.args, **kwargs: P.kwargs) -> None:
            for name in slots:
                slot: Any = getattr(self, name, None)
                if not isinstance(slot, ModelSlot):
                    raise StrategyError(
                        f"when_ready({name!r}): {type(self).__name__}.{name} is "
                        f"{type(slot).__name__}, not a ModelSlot: set it in initialize",
                        handler.__name__,
                    )
                if not slot.is_ready:  # which counts the skip
                    return
            handler(self, *args, **kwargs)

        return guarded

    return decorate
