"""A strategy's orders from the wish to the end: proposed, reviewed by risk, told about.

Everything that is asked of the broker is emitted as a command; nothing is carried out here.
"""

import itertools
import math
from collections import deque
from collections.abc import Container, Mapping
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from typing import Protocol

import msgspec

from feeds.events import MINUTE, SECOND, Symbol
from runtime.commands import AmendOrder, CancelOrder, Command, Halt, NoteDay, Submit
from runtime.errors import StrategyError
from runtime.schedule.calendars import Market, market_of, next_close, next_open
from runtime.securities import Security
from runtime.trading.cash import paid_in
from runtime.trading.daily_loss import DailyLoss
from runtime.trading.orders import (
    AT_MARKET,
    EXACT,
    ClientOrderId,
    Order,
    OrderEvent,
    OrderTerms,
    OrderType,
    OrderUpdate,
    Side,
    TimeInForce,
    UpdateKind,
)
from runtime.trading.portfolio import Portfolio
from runtime.trading.recovered import Recovered
from runtime.trading.risk import AUCTIONS, Approved, RiskGate, RiskView, lot_size, risk_view
from runtime.trading.tickets import Amendment, OrderTicket
from runtime.trading.tracked import TrackedOrder

# What set_holdings keeps free, so that fees and a moving price do not make the order too large, and
# the smallest share of the equity worth an order. Both are LEAN's defaults: its settings
# FreePortfolioValuePercentage and MinimumOrderMarginPortfolioPercentage.
FREE_SHARE = Decimal("0.0025")
SMALLEST_SHARE = Decimal("0.001")

DAY = 24 * 60 * MINUTE
CLOSING_NS = MINUTE
"""So long after the close an order for it may still fill, on what was told of the close."""
RUSH_NS = SECOND
"""The span in which `max_orders_per_second` counts."""


class Floor(Protocol):
    """What an order desk sees of the run around it."""

    now_ns: int
    is_warming_up: bool
    securities: dict[Symbol, Security]

    @property
    def time(self) -> datetime:
        """Now, in the strategy's zone."""
        ...

    def emit(self, command: Command) -> None:
        """Have a command carried out."""
        ...

    def log(self, level: str, message: str, fields: Mapping[str, object]) -> None:
        """Write a line."""
        ...


class OrderDesk:
    """All orders of one run; told the time by its floor.

    Attributes:
        orders: all that there ever were, by id.
        halted: why no order may leave, empty while orders may.
        is_stopping: whether the run is ending, so that none may leave either.
    """

    def __init__(
        self,
        floor: Floor,
        run_id: str,
        portfolio: Portfolio,
        gate: RiskGate,
        daily_loss: DailyLoss | None = None,
    ) -> None:
        self.orders: dict[ClientOrderId, TrackedOrder] = {}
        self.halted = ""
        self.is_stopping = False
        self._floor, self._run_id, self._portfolio, self._gate = floor, run_id, portfolio, gate
        self._open: dict[ClientOrderId, TrackedOrder] = {}
        self._events: list[OrderEvent] = []
        self._numbers = itertools.count(1)
        self._recent: deque[int] = deque()
        self._daily_loss = daily_loss

    @property
    def open_orders(self) -> list[TrackedOrder]:
        """Orders that may still fill."""
        return list(self._open.values())

    @property
    def watches_equity(self) -> bool:
        """Whether every price may halt trading now."""
        if self._daily_loss is None or self.halted:
            return False
        return self._portfolio.invested or len(self._portfolio.cash_book) > 1

    def look_at_equity(self) -> None:
        """Halt where the account has lost more today than it may."""
        if self._daily_loss is None or self._portfolio.unconverted:
            return
        floor = self._floor
        begun, reason = self._daily_loss.look(
            floor.time.date(), self._portfolio.equity, floor.now_ns, halted=bool(self.halted)
        )
        if begun is not None:
            floor.emit(NoteDay(begun))
        if reason:
            self.halted = reason  # at once: what the strategy orders next must not leave
            floor.emit(Halt(reason))

    def take_events(self) -> list[OrderEvent]:
        """Return what the strategy has not been told of yet."""
        events, self._events = self._events, []
        return events

    def propose(
        self, symbol: Symbol, quantity: Decimal, terms: OrderTerms, tag: str
    ) -> OrderTicket:
        """Propose an order; the risk gate decides here and now. A positive quantity buys."""
        now = self._floor.now_ns
        order = Order(
            id=ClientOrderId(f"{self._run_id}-{next(self._numbers)}"),
            symbol=symbol,
            side=Side.SELL if quantity.is_signed() else Side.BUY,  # NaN has no order, but a sign
            quantity=quantity.copy_abs(),
            tag=tag,
            created=now,
            **msgspec.structs.asdict(terms),
        )
        security = self._floor.securities.get(symbol)
        if security is not None and is_timed(order):
            order = timed(order, market_of(security.asset_class), now)
        tracked = TrackedOrder(order)
        self.orders[order.id] = tracked
        verdict = self._gate.review(order, self._view(symbol))
        if isinstance(verdict, Approved):
            tracked.submit()
            self._open[order.id] = tracked
            self._recent.append(now)
            self._floor.emit(Submit(verdict))
        else:
            self._log_refusal(order, verdict.reason)
            self.apply(OrderUpdate(order.id, UpdateKind.REJECTED, now, reason=verdict.reason))
        return OrderTicket(tracked, self)

    def target(self, symbol: Symbol, weight: float, tag: str) -> OrderTicket | None:
        """Order what is missing to hold `weight` of the equity."""
        security = self._floor.securities[symbol]
        if not math.isfinite(weight):
            raise StrategyError(f"set_holdings({symbol}, {weight}): a finite weight is needed", "")
        if not 0.0 < security.price < math.inf:
            self._floor.log("warning", "set_holdings without a price", {"symbol": symbol})
            return None
        equity, rate = self._portfolio.equity, self._portfolio.rate_of(symbol)
        missing_rates = self._portfolio.unconverted if weight else []
        if not rate or missing_rates:  # a share of what nobody can value would sell what is held
            about = {"symbol": symbol, "currency": ", ".join(missing_rates) or paid_in(symbol)}
            self._floor.log("warning", "set_holdings without a rate", about)
            return None
        price = EXACT.multiply(Decimal(str(security.price)), rate)
        lot = lot_size(security.asset_class)
        wanted = Decimal(str(weight)) * equity * (1 - FREE_SHARE) / price
        wanted = (wanted / lot).to_integral_value(rounding=ROUND_DOWN) * lot
        missing = wanted - self._portfolio[symbol].quantity - self._on_the_way(symbol)
        if not missing or (weight and abs(missing) * price < SMALLEST_SHARE * equity):
            return None
        return self.propose(symbol, missing, AT_MARKET, tag)

    def liquidate(self, symbols: list[Symbol], tag: str) -> list[OrderTicket]:
        """Cancel open orders, then close what is held."""
        self.cancel_open(symbols)
        tickets = []
        for name in symbols:
            # What may never have reached the venue is not there to be closed.
            held = self._portfolio[name].quantity + self._on_the_way(name, sure=True)
            if held:
                tickets.append(self.propose(name, -held, AT_MARKET, tag))
        return tickets

    def cancel_open(self, symbols: Container[Symbol]) -> list[OrderTicket]:
        """Ask for the end of all that works, but for market orders: those are as good as filled."""
        found = [
            tracked
            for tracked in self._open.values()
            if tracked.order.symbol in symbols and tracked.order.type is not OrderType.MARKET
        ]
        for tracked in found:
            self.cancel(tracked.order.id)
        return [OrderTicket(tracked, self) for tracked in found]

    def tickets(self, symbol: Symbol | None) -> list[OrderTicket]:
        """Return the tickets of the open orders, of one symbol or of all."""
        return [
            OrderTicket(tracked, self)
            for tracked in self._open.values()
            if symbol in (None, tracked.order.symbol)
        ]

    def cancel(self, order_id: ClientOrderId) -> None:
        """Ask for the end of an order; nothing happens where it has ended or was asked before."""
        tracked = self._open.get(order_id)
        if tracked is not None and tracked.request_cancel():
            self._floor.emit(CancelOrder(order_id))

    def amend(self, order_id: ClientOrderId, amendment: Amendment) -> bool:
        """Ask for other terms of an order; return whether the broker was asked."""
        tracked = self.orders[order_id]
        terms = amendment.of(tracked.order)
        if not tracked.is_amendable:
            reason = f"it is {tracked.state}" if tracked.wanted is None else "it is being amended"
        elif terms == tracked.order:
            reason = "these are its terms already"
        elif terms.quantity <= tracked.filled:
            reason = f"{tracked.filled} of it is filled already"
        elif self._floor.is_warming_up or order_id not in self._open:
            reason = "it cannot be amended now"
        else:
            view = self._view(terms.symbol, without=tracked)
            verdict = self._gate.review(terms, view, tracked.filled)
            if isinstance(verdict, Approved):
                tracked.request_amend(terms)
                self._recent.append(self._floor.now_ns)  # a venue counts it as an order, too
                self._floor.emit(AmendOrder(verdict))
                return True
            reason = verdict.reason
        self._log_refusal(tracked.order, f"other terms: {reason}")
        return False

    def recover(self, found: Recovered) -> None:
        """Take over the account of the run before, as its journal has it; after initialize."""
        if found.cash is None:
            return
        self._portfolio.cash_book.restore(found.cash, found.currency, found.balances)
        if self._daily_loss is not None and found.day is not None:
            self._daily_loss.restore(found.day)
        for fill in found.fills:
            self._portfolio.apply(fill)
        for tracked in found.orders:
            self.orders[tracked.order.id] = tracked
            if tracked.state.is_open:
                self._open[tracked.order.id] = tracked

    def apply(self, update: OrderUpdate) -> None:
        """Take a broker's report: the order's state, then the money, then the strategy's event."""
        tracked = self.orders.get(update.order_id)
        if tracked is None and update.external is not None:
            tracked = self.orders[update.order_id] = TrackedOrder(update.external)
            tracked.submit()
            self._open[update.order_id] = tracked
        if tracked is None:
            self._floor.log("warning", "report on an unknown order", {"order": update.order_id})
            return
        event = tracked.apply(update)
        if event is None:
            return
        if update.fill is not None:
            self._portfolio.apply(update.fill)
        if tracked.state.is_terminal:
            self._open.pop(update.order_id, None)
        self._events.append(event)

    def refuse(self, commands: list[Command]) -> list[Command]:
        """Refuse every order from now on, and those among `commands`; return the others."""
        self.is_stopping = True
        kept: list[Command] = []
        for command in commands:
            match command:
                case Submit(approved):
                    reason = "the run is stopping: it was not sent"
                    order = approved.order
                    self.apply(
                        OrderUpdate(
                            order.id, UpdateKind.REJECTED, self._floor.now_ns, reason=reason
                        )
                    )
                case AmendOrder(approved):
                    self.orders[approved.order.id].wanted = None
                case _:
                    kept.append(command)
        return kept

    # ---- inside ------------------------------------------------------------------------------

    def _log_refusal(self, order: Order, reason: str) -> None:
        about = {"order": order.id, "symbol": order.symbol, "reason": reason}
        self._floor.log("warning", "order refused", about)

    def _on_the_way(self, symbol: Symbol, *, sure: bool = False) -> Decimal:
        """What open market orders of a symbol will still change in the position.

        Others don't count, as in LEAN: nobody knows whether they ever fill. With `sure`, neither do
        those of which nobody can say whether the venue has them.
        """
        total = Decimal(0)
        for tracked in self._open.values():
            order = tracked.order
            if (
                order.symbol == symbol
                and order.type is OrderType.MARKET
                and not tracked.is_cancelling
                and not (sure and tracked.is_unknown)
            ):
                total += tracked.remaining if order.side is Side.BUY else -tracked.remaining
        return total

    def _view(self, symbol: Symbol, without: TrackedOrder | None = None) -> RiskView:
        """What risk sees around an order of a symbol, as if one order were not there."""
        security = self._floor.securities.get(symbol)
        now, recent = self._floor.now_ns, self._recent
        while recent and now - recent[0] >= RUSH_NS:
            recent.popleft()
        return risk_view(
            symbol,
            asset_class=security.asset_class if security else None,
            price=security.price if security and security.has_data else None,
            portfolio=self._portfolio,
            # What is being cancelled makes room now: liquidate closes in the same breath.
            open_orders=[
                tracked
                for tracked in self._open.values()
                if (tracked.is_unknown or not tracked.is_cancelling) and tracked is not without
            ],
            warming_up=self._floor.is_warming_up,
            halted="the run is stopping" if self.is_stopping else self.halted,
            recent_orders=len(recent),
        )


def is_timed(order: Order) -> bool:
    """Whether the market's hours matter to it: who never asks need not load a calendar."""
    return order.time_in_force is TimeInForce.DAY or order.type in AUCTIONS


def timed(order: Order, market: Market, now: int) -> Order:
    """Return the order with the times that its type and its time in force stand for.

    The open or close that it is for, the close or, where the market never does, the end of the UTC
    day that ends it.
    """
    due, expires = order.due, order.expires
    if order.time_in_force is TimeInForce.DAY:
        expires = next_close(market, now) or now - now % DAY + DAY
    if order.type is OrderType.MARKET_ON_OPEN:
        due = next_open(market, now) or 0
    elif order.type is OrderType.MARKET_ON_CLOSE:
        due = next_close(market, now) or 0
        expires = due and due + CLOSING_NS
    return msgspec.structs.replace(order, due=due, expires=expires)
