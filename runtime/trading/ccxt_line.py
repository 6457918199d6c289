"""A broker at any venue of ccxt, an extra: its orders and executions in the reconciler's words.

ccxt raises what went wrong as classes of its own; only those that say that the venue has refused
are a refusal, all others are a lost answer. Its numbers are floats made from the venue's text:
their shortest text is that text again.
"""

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from random import Random
from typing import Any

import anyio

from feeds.backoff import Backoff
from feeds.ccxt_feed import load_ccxt
from feeds.ccxt_words import PREFIX
from feeds.errors import ConfigError
from feeds.events import SECOND, Symbol
from runtime.trading.orders import ZERO, ClientOrderId, Order, OrderType, Side
from runtime.trading.reconciler import (
    Amend,
    Ask,
    AskFills,
    Cancel,
    Request,
    Send,
    Standing,
    VenueFill,
    VenueState,
)
from runtime.trading.remote import (
    Answered,
    Executed,
    Holdings,
    KeyRefused,
    Lost,
    Missing,
    NoAnswer,
    Outcome,
    Refused,
    Taken,
)

MILLISECOND = SECOND // 1000
MOST = 500
POLL_SECONDS = 2.0
CLOSE_SECONDS = 2.0
CASH = ("USD", "USDT", "USDC", "EUR")
"""What a venue's account may be kept in: the first of these that it has, or the first of all."""

ABSENT = {OrderType.TRAILING_STOP, OrderType.MARKET_ON_OPEN, OrderType.MARKET_ON_CLOSE}

STANDINGS = {
    "closed": Standing.FILLED,
    "canceled": Standing.CANCELLED,
    "expired": Standing.EXPIRED,
    "rejected": Standing.REJECTED,
}
REFUSALS = (
    *("InsufficientFunds", "InvalidOrder", "BadRequest", "BadSymbol", "NotSupported"),
    *("PermissionDenied", "AuthenticationError", "ArgumentsRequired", "MarketClosed"),
)


class CcxtLine:
    """Speaks to one account.

    Args:
        venue: ccxt's name of it.
        options: what ccxt's constructor takes, such as apiKey, secret, options or urls.
        draw: for the waits between attempts: a float in [0, 1).

    Raises:
        ConfigError: ccxt is not installed, or has no such venue.
    """

    def __init__(
        self,
        venue: str,
        options: Mapping[str, Any],
        draw: Callable[[], float] | None = None,
    ) -> None:
        self.name = PREFIX + venue
        try:
            self._ccxt = load_ccxt()
        except ConfigError:
            raise ConfigError("--broker ccxt:NAME needs ccxt: install tidegate[ccxt]") from None
        if venue not in self._ccxt.exchanges:
            raise ConfigError(f"ccxt has no streams of {venue!r}: see ccxt.pro.exchanges")
        self._make, self._options = getattr(self._ccxt, venue), dict(options)
        self._refusals = tuple(getattr(self._ccxt, name) for name in REFUSALS)
        self._backoff = Backoff(draw or Random().random, base=SECOND // 4)
        self._exchange: Any = None
        self._keeps_names = False  # as far as the venue has shown

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Hold ccxt's connections while the context lasts."""
        self._exchange = await anyio.to_thread.run_sync(self._make, self._options)
        try:
            yield
        finally:
            with anyio.move_on_after(CLOSE_SECONDS, shield=True):
                await self._exchange.close()
            self._exchange = None

    # ---- one thing -----------------------------------------------------------------------------

    async def carry_out(self, request: Request) -> Outcome:
        """Do one thing; whatever goes wrong is an outcome."""
        try:
            return await self._carry_out(request)
        except self._ccxt.DuplicateOrderId as error:  # it has one of this name: that one counts
            return Lost(_words(error))
        except self._ccxt.OrderNotFound as error:
            return Missing() if isinstance(request, Ask) else Refused(_words(error))
        except self._refusals as error:
            said = _words(error)
            if isinstance(request, Ask):
                return Missing() if "not found" in said.lower() else Lost(said)
            return Lost(said) if "client_order_id" in said else Refused(said)
        except (self._ccxt.BaseError, OSError, TimeoutError, ValueError, ArithmeticError) as error:
            return Lost(_words(error))
        except NoAnswer as error:
            return Lost(str(error))

    async def _carry_out(self, request: Request) -> Outcome:
        exchange = await self._ready()
        match request:
            case Send(order) if order.type in ABSENT:
                return Refused(f"{order.type} is not offered over ccxt")
            case Send(order):
                made = await exchange.create_order(*_terms(order), _params(order, order.id))
                self._keeps_names = self._keeps_names or made.get("clientOrderId") == order.id
                return Answered(await self._whole(made, order.symbol))
            case Amend(order, venue_id, name):
                made = await exchange.edit_order(venue_id, *_terms(order), _params(order, name))
                return Answered(await self._whole(made, order.symbol))
            case Cancel(_, venue_id, symbol):
                await exchange.cancel_order(venue_id, symbol)
                return Taken()
            case Ask(_, venue_id, symbol) if venue_id:
                return Answered(read_order(await exchange.fetch_order(venue_id, symbol)))
            case Ask(name, _, symbol):
                return await self._find(name, symbol)
            case AskFills(after, venue_ids, symbols):
                return Executed(await self._fills(after, set(venue_ids), symbols))

    async def _ready(self) -> Any:
        if self._exchange is None:
            raise NoAnswer("the line is closed")
        await self._exchange.load_markets()
        return self._exchange

    async def _whole(self, made: Any, symbol: Symbol) -> VenueState:
        """Read an answer; where it is the bare id, as at many venues, ask for the order."""
        if made.get("status") is None or made.get("amount") is None:
            made = await self._exchange.fetch_order(made["id"], symbol)
        return read_order(made)

    async def _find(self, name: ClientOrderId, symbol: Symbol) -> Outcome:
        """Look for an order by our name for it among those of its symbol.

        That it is not there says something only where all are listed, and with our names.
        """
        exchange = self._exchange
        has_all = exchange.has.get("fetchOrders") is True
        is_whole = True
        for way in ("fetchOrders",) if has_all else ("fetchOpenOrders", "fetchClosedOrders"):
            if not exchange.has.get(way):
                is_whole = False
                continue
            found = await getattr(exchange, _snake(way))(symbol, None, MOST)
            is_whole = is_whole and len(found) < MOST
            for each in found:
                self._keeps_names = self._keeps_names or bool(each.get("clientOrderId"))
                if each.get("clientOrderId") == name:
                    return Answered(read_order(each))
        if exchange.has.get("fetchCanceledOrders"):
            for each in await exchange.fetch_canceled_orders(symbol, None, MOST):
                if each.get("clientOrderId") == name:
                    return Answered(read_order(each))
        if is_whole and self._keeps_names:
            return Missing()
        lacks = "list all orders" if not is_whole else "show our names of orders"
        return Lost(f"the venue does not {lacks}: what became of {name} is for a person to say")

    async def _fills(
        self, after: int, venue_ids: set[str], symbols: frozenset[Symbol]
    ) -> tuple[VenueFill, ...]:
        """Read executions, and sum up what each order had filled after each of its own."""
        since = max(0, after // MILLISECOND - 1000)
        fills: list[VenueFill] = []
        for symbol in sorted(symbols):
            found = await self._exchange.fetch_my_trades(symbol, since, None)
            totals: dict[str, Decimal] = {}
            for trade in sorted(found, key=lambda each: (each["timestamp"], str(each["id"]))):
                key = str(trade["order"])
                if key not in venue_ids:
                    continue
                quantity = _exact(trade["amount"])
                totals[key] = totals.get(key, ZERO) + quantity
                price, time = _exact(trade["price"]), trade["timestamp"] * MILLISECOND
                fee = _fee(trade.get("fee"), symbol, price)
                fills.append(VenueFill(key, totals[key], quantity, price, time, fee))
        return tuple(fills)

    # ---- all of it -----------------------------------------------------------------------------

    async def open_orders(self) -> list[VenueState]:
        """Return all orders that work.

        Raises:
            NoAnswer: the venue could not be asked.
        """
        return [read_order(each) for each in await self._ask("fetch_open_orders", None, None, MOST)]

    async def ended_orders(self, after: int) -> list[VenueState]:
        """Return the orders placed after a time that have ended, where the venue lists them.

        Raises:
            NoAnswer: the venue could not be asked.
        """
        if not self._exchange.has.get("fetchClosedOrders"):
            return []
        found = await self._ask("fetch_closed_orders", None, after // MILLISECOND, MOST)
        return [state for state in map(read_order, found) if state.standing is not Standing.OPEN]

    async def holdings(self, *, priced: bool = True) -> Holdings:
        """Return what the account holds; positions at the last price, for want of their cost.

        Args:
            priced: whether the prices are wanted.

        Raises:
            NoAnswer: the venue could not be asked.
        """
        balance = await self._ask("fetch_balance")
        totals = {name: _exact(total or 0) for name, total in balance["total"].items()}
        cash = next((name for name in CASH if name in totals), next(iter(totals), "USD"))
        positions: dict[Symbol, tuple[Decimal, Decimal]] = {}
        for name, total in totals.items():
            symbol = Symbol(f"{name}/{cash}")
            if name != cash and total and symbol in self._exchange.markets:
                price = ZERO
                if priced:
                    price = _exact((await self._ask("fetch_ticker", symbol))["last"])
                positions[symbol] = total, price
        return Holdings(totals.get(cash, ZERO), positions)

    async def _ask(self, way: str, *more: Any) -> Any:
        try:
            exchange = await self._ready()
            return await getattr(exchange, way)(*more)
        except (self._ccxt.AuthenticationError, self._ccxt.PermissionDenied) as error:
            raise KeyRefused(_words(error)) from None
        except (self._ccxt.BaseError, OSError, TimeoutError) as error:
            raise NoAnswer(_words(error)) from None

    async def listen(
        self,
        ready: Callable[[], Coroutine[Any, Any, None]],
        hear: Callable[[VenueState, VenueFill | None], None],
        trouble: Callable[[str], None],
    ) -> None:
        """Hear updates until cancelled; where the venue has none, look again and again."""
        while True:
            await ready()
            if not self._exchange.has.get("watchOrders"):
                await anyio.sleep(POLL_SECONDS)
                continue
            try:
                await self._ready()
                while True:
                    for each in await self._exchange.watch_orders():
                        hear(read_order(each), None)
                    self._backoff.data_came()
            except (self._ccxt.BaseError, NoAnswer, OSError, ValueError, ArithmeticError) as error:
                trouble(f"no updates: {_words(error)}")
            await anyio.sleep(self._backoff.failed() / SECOND)


def read_order(found: Mapping[str, Any]) -> VenueState:
    """Read an order as ccxt shows it.

    Raises:
        ValueError: it makes no sense.
    """
    filled, quantity = _exact(found.get("filled") or 0), _exact(found.get("amount") or 0)
    standing = STANDINGS.get(str(found.get("status")), Standing.OPEN)
    submitted = (found.get("timestamp") or 0) * MILLISECOND
    limit = found.get("price") if found.get("type") == "limit" else None
    return VenueState(
        venue_id=str(found["id"]),
        client_id=str(found.get("clientOrderId") or found["id"]),
        symbol=Symbol(str(found["symbol"])),
        side=Side(str(found["side"])),
        quantity=max(quantity, filled),
        filled=filled,
        average=_exact(found.get("average") or 0),
        standing=standing,
        time=(found.get("lastUpdateTimestamp") or found.get("lastTradeTimestamp") or 0)
        * MILLISECOND
        or submitted,
        submitted=submitted,
        type=OrderType.MARKET if limit is None else OrderType.LIMIT,
        limit_price=None if limit is None else _exact(limit),
    )


def _terms(order: Order) -> tuple[str, str, str, float, float | None]:
    """Say what to trade as ccxt wants it: symbol, type, side, amount, price."""
    kind = "market" if order.limit_price is None else "limit"
    price = None if order.limit_price is None else float(order.limit_price)
    return str(order.symbol), kind, str(order.side), float(order.quantity), price


def _params(order: Order, name: str) -> dict[str, Any]:
    params: dict[str, Any] = {"clientOrderId": name}
    params["timeInForce"] = str(order.time_in_force).upper()
    if order.stop_price is not None:
        params["triggerPrice"] = float(order.stop_price)
    return params


def _fee(found: Mapping[str, Any] | None, symbol: Symbol, price: Decimal) -> Decimal:
    """Return a fee in the currency of the price; one that was taken in coins at this price."""
    cost = None if found is None else found.get("cost")
    if found is None or cost is None:
        return ZERO
    base = symbol.partition("/")[0]
    return _exact(cost) * (price if found.get("currency") == base else 1)


def _exact(value: float | str) -> Decimal:
    number = Decimal(str(value))
    if not number.is_finite():
        raise ValueError(f"it says {value}")
    return number


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def _words(error: BaseException) -> str:
    return (str(error) or type(error).__name__)[:200]
