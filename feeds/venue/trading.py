"""The venue's trading: requests and market data in, changes of orders out, on the one matching.

`changes` are all that happened since they were last taken, in order: whoever serves this stores
each before anybody is told of it. Nothing here reads a clock; `now` is the venue's time in ns.
"""

from collections.abc import Callable, Sequence
from decimal import ROUND_DOWN, Decimal

import msgspec

from feeds.events import MINUTE, AssetClass, MarketEvent, Quote, QuoteBar, Symbol
from feeds.symbols import guess_class, known_as
from feeds.venue.accounts import Account, AccountOrder, Execution, OrderStatus
from feeds.venue.hours import next_close, next_open
from feeds.venue.matching import Matcher
from feeds.venue.orders import (
    EXACT,
    ZERO,
    Cancelled,
    Expired,
    Filled,
    Rejected,
    Report,
    Trailed,
    Triggered,
    VenueOrder,
)
from feeds.venue.trading_words import (
    FORBIDDEN,
    NOT_FOUND,
    OrderRequest,
    Refusal,
    Replacement,
    check,
    unprocessable,
)
from feeds.venue.working import Past

SMALLEST_LOT = Decimal("1e-9")
COINS = (Symbol("BTC/USD"), Symbol("ETH/USD"))


class Change(msgspec.Struct, frozen=True):
    """What happened to an order, in the words of trade_updates, and how it stands after that.

    Without a word for it, `event` is empty: it is stored, and nobody is told.
    """

    event: str
    order: AccountOrder
    execution: Execution | None
    time: int


class Exchange:
    """Carries out what an account's owner asks.

    Args:
        account: whose orders these are; its working orders go on.
        matcher: fills them.
        opens: says whether there is a market in a symbol, and opens it at a time.
        now: when this begins.
    """

    def __init__(
        self,
        account: Account,
        matcher: Matcher,
        opens: Callable[[Symbol, AssetClass, int], bool],
        now: int,
    ) -> None:
        self.account = account
        self.most: Decimal | None = None
        """The most that one execution may fill, None for no limit: a fault switch."""
        self._matcher, self._opens = matcher, opens
        self._changes: list[Change] = []
        self._latest: dict[Symbol, MarketEvent] = {}
        for order in account.working():
            opens(order.symbol, order.asset_class, now)
            self._hear(matcher.submit(_to_matcher(order), now, _past(order)))

    def take_changes(self) -> list[Change]:
        """Return what happened since the last call."""
        changes, self._changes = self._changes, []
        return changes

    # ---- the market ----------------------------------------------------------------------------

    def on_market(self, events: Sequence[MarketEvent], now: int) -> None:
        """Let the market fill what works."""
        latest = self._latest
        for event in events:
            latest[event.symbol] = event
        if self.most is not None:
            events = [_thinned(event, self.most) for event in events]
        reports = self._matcher.on_market(events, now)
        if reports:
            self._hear(reports)

    def price(self, symbol: Symbol) -> Decimal | None:
        """Return the last price of a symbol (the mid of a quote); None before its first."""
        event = self._latest.get(symbol)
        if event is None:
            return None
        if isinstance(event, Quote):
            price = (event.bid + event.ask) / 2
        elif isinstance(event, QuoteBar):
            price = (event.bid.close + event.ask.close) / 2
        else:
            price = event.price
        return Decimal(str(price)) if 1e-15 <= price <= 1e15 else None

    def values(self) -> tuple[Decimal, Decimal]:
        """Return what long and short positions are worth; shorts below 0."""
        long = short = ZERO
        for holding in self.account.holdings.values():
            price = self.price(holding.symbol)
            worth = holding.cost if price is None else EXACT.multiply(holding.quantity, price)
            if holding.quantity > 0:
                long = EXACT.add(long, worth)
            else:
                short = EXACT.add(short, worth)
        return long, short

    def buying_power(self) -> Decimal:
        """Return what new positions may cost: cash, less what shorts and open buys set aside."""
        _, short = self.values()
        free = EXACT.fma(2, short, self.account.cash)
        for order in self.account.working():
            unit = order.limit_price or order.stop_price or self.price(order.symbol)
            if order.is_buy and unit is not None:
                free = EXACT.subtract(free, EXACT.multiply(order.remaining, unit))
        return max(free, ZERO)

    # ---- requests ------------------------------------------------------------------------------

    def place(self, request: OrderRequest, now: int) -> AccountOrder:
        """Take an order; it may have filled when this returns.

        Raises:
            Refusal: it was not taken, and nothing has changed.
        """
        symbol = self.known(request.symbol)
        asset_class = guess_class(symbol)
        check(request, asset_class)
        if not self._opens(symbol, asset_class, now):
            raise unprocessable(f"asset {symbol} is not found")
        name = request.client_order_id
        if name is not None and self.account.by_client_id(name) is not None:
            raise unprocessable("client_order_id must be unique")
        number, key = self.account.new_id()
        order = AccountOrder(
            number=number,
            id=key,
            client_order_id=name or key,
            symbol=symbol,
            asset_class=asset_class,
            is_buy=request.side == "buy",
            quantity=self._quantity(request, symbol),
            type=request.type,
            time_in_force=request.time_in_force,
            submitted=now,
            updated=now,
            limit_price=request.limit_price,
            stop_price=request.stop_price,
            trail_price=request.trail_price,
            trail_percent=request.trail_percent,
            extended_hours=bool(request.extended_hours),
            due=_due(request.time_in_force, now),
            expires=_expires(request.time_in_force, now),
        )
        self._check_power(order)
        return self._begin(order, now)

    def cancel(self, order_id: str, now: int) -> None:
        """End an order.

        Raises:
            Refusal: there is none, or it has ended.
        """
        order = self.order(order_id)
        if not order.status.is_open:
            raise unprocessable(f'order is already in "{order.status}" state')
        self._hear(self._matcher.cancel(order.id, now))

    def replace(self, order_id: str, changes: Replacement, now: int) -> AccountOrder:
        """End an order and begin another in its place, which keeps what has filled.

        Raises:
            Refusal: there is none, it has ended, or the new one is none.
        """
        old = self.order(order_id)
        if not old.status.is_open:
            raise unprocessable(f'order is already in "{old.status}" state')
        name = changes.client_order_id
        if name is not None and self.account.by_client_id(name) is not None:
            raise unprocessable("client_order_id must be unique")
        quantity = old.quantity if changes.qty is None else changes.qty
        if not quantity.is_finite() or quantity <= old.filled:
            raise unprocessable(f"qty must be above what is filled, {old.filled}")
        trail = changes.trail
        number, key = self.account.new_id()
        new = msgspec.structs.replace(
            old,
            number=number,
            id=key,
            client_order_id=name or key,
            quantity=quantity,
            time_in_force=changes.time_in_force or old.time_in_force,
            limit_price=old.limit_price if changes.limit_price is None else changes.limit_price,
            stop_price=old.stop_price if changes.stop_price is None else changes.stop_price,
            trail_price=trail if trail and old.trail_price is not None else old.trail_price,
            trail_percent=trail if trail and old.trail_percent is not None else old.trail_percent,
            submitted=now,
            updated=now,
            replaces=old.id,
        )
        check(_request(new), new.asset_class)
        self._matcher.cancel(old.id, now)
        self._change(
            "replaced",
            msgspec.structs.replace(
                old, status=OrderStatus.REPLACED, replaced_by=key, updated=now, ended_at=now
            ),
            now,
        )
        return self._begin(new, now)

    def close(self, name: str, quantity: Decimal | None, now: int) -> AccountOrder:
        """Close a position, all of it or `quantity` of it, with a market order.

        Raises:
            Refusal: none is held, or less than that.
        """
        symbol = self.known(name)
        held = self.account.held(symbol)
        if not held:
            raise Refusal(404, NOT_FOUND, f"position does not exist: {name}")
        wanted = abs(held) if quantity is None else quantity
        if not 0 < wanted <= abs(held):
            raise Refusal(403, FORBIDDEN, f"insufficient qty available: {abs(held)} is held")
        force = "day" if guess_class(symbol) is AssetClass.EQUITY else "gtc"
        side = "sell" if held > 0 else "buy"
        return self.place(OrderRequest(symbol, side, "market", force, qty=wanted), now)

    def order(self, order_id: str) -> AccountOrder:
        """Return an order.

        Raises:
            Refusal: there is none.
        """
        found = self.account.orders.get(order_id)
        if found is None:
            raise Refusal(404, NOT_FOUND, f"order not found for {order_id}")
        return found

    @property
    def symbols(self) -> set[Symbol]:
        """All that had a price or are held."""
        return {*self._latest, *self.account.holdings}

    def opens(self, symbol: Symbol, now: int) -> bool:
        """Whether there is a market in this symbol; it is open from then on."""
        return self._opens(symbol, guess_class(symbol), now)

    def known(self, name: str) -> Symbol:
        """Return the symbol that is meant: BTCUSD is BTC/USD."""
        return known_as(name.upper(), {*self.symbols, *COINS})

    # ---- inside --------------------------------------------------------------------------------

    def _quantity(self, request: OrderRequest, symbol: Symbol) -> Decimal:
        if request.qty is not None:
            return request.qty
        price = self.price(symbol)
        if price is None or request.notional is None:
            raise unprocessable(f"notional needs a price of {symbol}, and there is none yet")
        return (request.notional / price).quantize(SMALLEST_LOT, rounding=ROUND_DOWN)

    def _check_power(self, order: AccountOrder) -> None:
        """Refuse what cannot be paid for, and a coin that is not held."""
        held = self.account.held(order.symbol)
        if not order.is_buy and order.asset_class is AssetClass.CRYPTO:
            selling = sum(
                (o.remaining for o in self.account.working() if _is_sale_of(o, order.symbol)), ZERO
            )
            free = EXACT.subtract(held, selling)
            if order.quantity > free:
                raise Refusal(
                    403,
                    FORBIDDEN,
                    f"insufficient balance for {order.symbol.partition('/')[0]} "
                    f"(requested: {order.quantity}, available: {free})",
                )
            return
        against = -held if order.is_buy else held
        opening = EXACT.subtract(order.quantity, min(order.quantity, max(against, ZERO)))
        unit = order.limit_price or order.stop_price or self.price(order.symbol)
        if unit is None or not opening:
            return
        if EXACT.multiply(opening, unit) > self.buying_power():
            raise Refusal(403, FORBIDDEN, "insufficient buying power")

    def _begin(self, order: AccountOrder, now: int) -> AccountOrder:
        self._change("new", order, now)
        self._hear(self._matcher.submit(_to_matcher(order), now, _past(order)))
        return self.account.orders[order.id]

    def _hear(self, reports: Sequence[Report]) -> None:
        for report in reports:
            order = self.account.orders[report.order_id]
            if isinstance(report, Filled):
                self._fill(order, report)
            elif isinstance(report, Triggered):
                after = msgspec.structs.replace(order, triggered=True, updated=report.time)
                self._change("", after, report.time)
            elif isinstance(report, Trailed):
                after = msgspec.structs.replace(
                    order, stop_price=report.stop_price, updated=report.time
                )
                self._change("", after, report.time)
            elif isinstance(report, Rejected | Cancelled | Expired):
                status = _ENDS[type(report)]
                after = msgspec.structs.replace(
                    order,
                    status=status,
                    reason=report.reason,
                    updated=report.time,
                    ended_at=report.time,
                )
                self._change(str(status), after, report.time)

    def _fill(self, order: AccountOrder, fill: Filled) -> None:
        filled = EXACT.add(order.filled, fill.quantity)
        is_done = filled >= order.quantity
        count = order.executions + 1
        after = msgspec.structs.replace(
            order,
            filled=filled,
            notional=EXACT.fma(fill.quantity, fill.price, order.notional),
            executions=count,
            status=OrderStatus.FILLED if is_done else OrderStatus.PARTIALLY_FILLED,
            filled_at=fill.time,
            updated=fill.time,
        )
        change = fill.quantity if fill.is_buy else -fill.quantity
        execution = Execution(
            id=self.account.execution_id(order, count),
            order_id=order.id,
            symbol=order.symbol,
            is_buy=order.is_buy,
            quantity=fill.quantity,
            price=fill.price,
            fee=fill.fee,
            total=filled,
            remaining=after.remaining,
            position=EXACT.add(self.account.held(order.symbol), change),
            time=fill.time,
        )
        self.account.execute(execution, order.asset_class)
        self._change("fill" if is_done else "partial_fill", after, fill.time, execution)

    def _change(
        self, event: str, order: AccountOrder, now: int, execution: Execution | None = None
    ) -> None:
        self.account.put(order)
        self._changes.append(Change(event, order, execution, now))


_ENDS: dict[type[Report], OrderStatus] = {
    Rejected: OrderStatus.REJECTED,
    Cancelled: OrderStatus.CANCELED,
    Expired: OrderStatus.EXPIRED,
}


def _to_matcher(order: AccountOrder) -> VenueOrder:
    share = order.trail_percent
    force = order.time_in_force
    return VenueOrder(
        order_id=order.id,
        symbol=order.symbol,
        is_buy=order.is_buy,
        quantity=order.quantity,
        limit_price=order.limit_price,
        immediate=force in {"ioc", "fok"},
        lot=_lot(order),
        stop_price=order.stop_price,
        trail=order.trail_price,
        trail_share=None if share is None else EXACT.scaleb(share, -2),
        whole=force == "fok",
        at_open=order.due if force == "opg" else None,
        at_close=order.due if force == "cls" else None,
        expires=order.expires,
    )


def _past(order: AccountOrder) -> Past:
    return Past(order.executions, order.filled, order.notional, ZERO, order.triggered)


def _due(force: str, now: int) -> int | None:
    if force == "opg":
        return next_open(now)
    return next_close(now) if force == "cls" else None


def _expires(force: str, now: int) -> int | None:
    if force == "cls":
        return next_close(now) + MINUTE  # on what is told of the close
    return next_close(now) if force == "day" else None


def _lot(order: AccountOrder) -> Decimal:
    """Whole shares fill in whole shares; a part of one, and a coin, in the smallest parts."""
    is_whole = order.quantity == order.quantity.to_integral_value()
    return Decimal(1) if order.asset_class is AssetClass.EQUITY and is_whole else SMALLEST_LOT


def _request(order: AccountOrder) -> OrderRequest:
    return OrderRequest(
        symbol=order.symbol,
        side="buy" if order.is_buy else "sell",
        type=order.type,
        time_in_force=order.time_in_force,
        qty=order.quantity,
        limit_price=order.limit_price,
        stop_price=order.stop_price,
        trail_price=order.trail_price,
        trail_percent=order.trail_percent,
        client_order_id=order.client_order_id,
    )


def _is_sale_of(order: AccountOrder, symbol: Symbol) -> bool:
    return order.symbol == symbol and not order.is_buy


def _thinned(event: MarketEvent, most: Decimal) -> MarketEvent:
    """Show no more than so much of a quote."""
    if not isinstance(event, Quote):
        return event
    size = float(most)
    return msgspec.structs.replace(
        event,
        bid_size=min(event.bid_size, size) if event.bid_size else size,
        ask_size=min(event.ask_size, size) if event.ask_size else size,
    )
