"""Our orders and a venue's, held against each other: what was asked, seen, and is unknown.

The venue's cumulative fills are the measure: an execution counts once, by what its order had filled
after it, whichever way it was heard of, so the same fill has the same id after each restart. What
nobody answered is UNKNOWN and is asked for until the venue answers; silence ends nothing, and "no
such order" only counts once all that was sent must have arrived.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import StrEnum

import msgspec

from feeds.events import SECOND, Symbol
from runtime.trading.orders import (
    EXACT,
    MEAN,
    ZERO,
    ClientOrderId,
    Fill,
    Order,
    OrderState,
    OrderType,
    OrderUpdate,
    Side,
    UpdateKind,
)
from runtime.trading.tracked import TrackedOrder

ACCEPTANCE = 5 * SECOND
FIRST_ASK, LAST_ASK = SECOND // 4, 10 * SECOND
FILL_TRIES = 5
EXTERNAL = "external"
"""The tag of an order that was not placed by us: it is shown, and counts, and is not touched."""
SUCCESSOR = "~"
"""Between our name for an order and what makes the name of its successor at the venue unique."""
SYNTHETIC_PRICE = Decimal("1e-12")


class Standing(StrEnum):
    """Where the venue says that an order stands."""

    OPEN = "open"
    FILLED = "filled"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    REPLACED = "replaced"


class VenueState(msgspec.Struct, frozen=True):
    """An order as the venue shows it; `filled` is all of it so far, `time` of the latest change."""

    venue_id: str
    client_id: str
    symbol: Symbol
    side: Side
    quantity: Decimal
    filled: Decimal
    average: Decimal
    standing: Standing
    time: int
    submitted: int = 0
    type: OrderType = OrderType.MARKET
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    reason: str = ""
    replaced_by: str = ""


class VenueFill(msgspec.Struct, frozen=True):
    """One execution; `total` is what its order had filled after it."""

    venue_id: str
    total: Decimal
    quantity: Decimal
    price: Decimal
    time: int
    fee: Decimal = ZERO


class Send(msgspec.Struct, frozen=True):
    """Place an order."""

    order: Order


class Amend(msgspec.Struct, frozen=True):
    """Have an order replaced by one of these terms, under a name of its own at the venue."""

    order: Order
    venue_id: str
    name: str


class Cancel(msgspec.Struct, frozen=True):
    """End an order."""

    id: ClientOrderId
    venue_id: str
    symbol: Symbol


class Ask(msgspec.Struct, frozen=True):
    """Ask how an order stands, by our name for it, or by the venue's where that is given."""

    id: ClientOrderId
    venue_id: str
    symbol: Symbol


class AskFills(msgspec.Struct, frozen=True):
    """Ask for the executions since a time (ns) of these orders, by the venue's names."""

    after: int
    venue_ids: tuple[str, ...]
    symbols: frozenset[Symbol]


Request = Send | Amend | Cancel | Ask | AskFills


class _Mirror:
    """One order on both sides."""

    __slots__ = (
        *("accepted", "asks", "cancel", "cancelling", "confirmed", "disowned", "due", "ended"),
        "external",
        *("fill_asks", "in_flight", "known", "lost", "notional", "offset", "order", "pending"),
        *("successor", "sent", "venue_id", "wanted"),
    )

    def __init__(self, order: Order, sent: int) -> None:
        self.order = order
        self.sent = sent  # when the last request to place it can have left
        self.venue_id = ""
        self.successor = ""  # the venue's name of what has taken its place, while that is asked for
        self.wanted: Order | None = None  # terms that were asked for and not answered
        self.known = self.notional = ZERO  # fills that were told
        self.offset = ZERO  # filled before we knew of it
        self.accepted = False  # told so, since it was last lost
        self.confirmed = False  # the venue has shown it, in this run or one before
        self.lost = self.ended = self.disowned = self.external = False
        self.cancel = self.cancelling = False  # wanted; asked for and not answered
        self.in_flight = 0  # questions that are out
        self.asks = self.fill_asks = 0
        self.due: int | None = None
        self.pending: VenueState | None = None  # waits for its fills

    @property
    def rests(self) -> bool:
        """Whether nothing more is to be asked about it."""
        return self.ended and not self.in_flight and self.due is None and self.pending is None


class Reconciler:
    """Takes what is wanted and what was heard; gives reports, and requests to be carried out.

    Args:
        acceptance: ns after which a request that was sent has arrived or never will.
    """

    def __init__(self, acceptance: int = ACCEPTANCE) -> None:
        self._acceptance = acceptance
        self._mirrors: dict[ClientOrderId, _Mirror] = {}
        self._moving: dict[
            ClientOrderId, _Mirror
        ] = {}  # of these, those that have not come to rest
        self._names: dict[str, ClientOrderId] = {}
        self._replaced: set[str] = set()  # the venue's names of what others have taken the place of
        self._updates: list[OrderUpdate] = []
        self._requests: list[Request] = []
        self._notes: list[tuple[str, dict[str, object]]] = []

    # ---- out -----------------------------------------------------------------------------------

    def take_updates(self) -> list[OrderUpdate]:
        """Return what to report, in order, and forget it."""
        updates, self._updates = self._updates, []
        return updates

    def take_requests(self) -> list[Request]:
        """Return what to ask of the venue, in order, and forget it."""
        requests, self._requests = self._requests, []
        return requests

    def take_notes(self) -> list[tuple[str, dict[str, object]]]:
        """Return what a person should know."""
        notes, self._notes = self._notes, []
        return notes

    def next_wake(self) -> int | None:
        """When to call `wake`, ns; None: not by itself."""
        for mirror in [mirror for mirror in self._moving.values() if mirror.rests]:
            del self._moving[mirror.order.id]
        return min((m.due for m in self._moving.values() if m.due is not None), default=None)

    def statistics(self) -> tuple[int, int]:
        """Return how many orders are known, and how many of them have not come to rest."""
        return len(self._mirrors), len(self._moving)

    @property
    def at_rest(self) -> bool:
        """Whether nothing is on its way, nothing unknown, and nothing waits to be reported."""
        moving = any(m.in_flight or m.lost or m.due is not None for m in self._moving.values())
        return not (moving or self._updates or self._requests)

    @property
    def unsettled(self) -> bool:
        """Whether the venue owes an answer, or the end of an order that it was asked to end."""
        return any(
            mirror.in_flight or (mirror.cancel and not mirror.ended)
            for mirror in self._moving.values()
        )

    # ---- what is wanted ------------------------------------------------------------------------

    def submit(self, order: Order, now: int) -> None:
        """Have an order placed, once."""
        mirror = self._mirrors[order.id] = self._moving[order.id] = _Mirror(order, now)
        mirror.in_flight += 1
        self._requests.append(Send(order))

    def cancel(self, order_id: ClientOrderId, now: int) -> None:
        """Have an order ended, as soon as the venue is known to have it; others' are left alone."""
        mirror = self._mirrors.get(order_id)
        if mirror is None or mirror.ended or mirror.external:
            return
        mirror.cancel = True
        self._press(mirror)
        if not mirror.venue_id and not mirror.in_flight:
            self._doubt(mirror, now)

    def amend(self, order: Order, now: int) -> None:
        """Have an order go on with other terms."""
        mirror = self._mirrors.get(order.id)
        if mirror is None or mirror.ended or not mirror.venue_id or mirror.wanted is not None:
            reason = "it does not work at the venue, or is being changed"
            self._updates.append(
                OrderUpdate(order.id, UpdateKind.AMEND_REJECTED, now, reason=reason)
            )
            return
        mirror.wanted, mirror.sent = order, now
        mirror.in_flight += 1
        name = f"{order.id}{SUCCESSOR}{now:x}"
        self._requests.append(Amend(order, mirror.venue_id, name))

    def recover(
        self, tracked: TrackedOrder, now: int, *, confirmed: bool, external: bool = False
    ) -> None:
        """Take over an order of a run before: what had not ended is unknown until it is asked."""
        mirror = self._mirrors[tracked.order.id] = _Mirror(tracked.order, now)
        mirror.known = tracked.filled
        mirror.notional = tracked.notional
        mirror.confirmed, mirror.external = confirmed, external
        mirror.ended = tracked.state.is_terminal
        mirror.disowned = tracked.state is OrderState.REJECTED
        if not mirror.ended:
            self._moving[tracked.order.id] = mirror
            self._lose(mirror, now, "the run has begun anew")
            mirror.due = now

    def adopt(self, states: Iterable[VenueState]) -> None:
        """Take in what works when an account is opened, whose fills so far are in its positions."""
        for state in states:
            mirror = self._adopt(state, state.filled)
            mirror.offset, mirror.confirmed = state.filled, True
            mirror.venue_id = state.venue_id
            self._names[state.venue_id] = mirror.order.id

    def hold(self, positions: Mapping[Symbol, tuple[Decimal, Decimal]], time: int) -> None:
        """Take in what an account holds when it is opened, as if it had just been bought."""
        for symbol, (quantity, price) in positions.items():
            name = ClientOrderId(f"opening-{symbol}")
            side = Side.SELL if quantity < 0 else Side.BUY
            amount = quantity.copy_abs()
            order = Order(name, symbol, side, amount, tag=EXTERNAL, created=time)
            fill = Fill(f"{name}@{amount:f}", name, symbol, side, amount, price, ZERO, time)
            mirror = self._mirrors[name] = _Mirror(order, time)
            mirror.known, mirror.ended, mirror.external = amount, True, True
            self._updates += [
                OrderUpdate(name, UpdateKind.ACCEPTED, time, external=order),
                OrderUpdate(name, UpdateKind.FILL, time, fill),
            ]

    # ---- what is heard -------------------------------------------------------------------------

    def wake(self, now: int) -> None:
        """Ask again for what is due."""
        wanted: list[str] = []
        symbols: set[Symbol] = set()
        since = now
        for mirror in self._moving.values():
            if mirror.due is None or now < mirror.due:
                continue
            mirror.due = None
            if mirror.pending is not None:
                wanted.append(mirror.venue_id)
                symbols.add(mirror.order.symbol)
                since = min(since, mirror.pending.submitted)
                mirror.in_flight += 1
            elif mirror.in_flight:  # what is out may answer it, and may not
                mirror.due = now + FIRST_ASK
            else:
                mirror.in_flight += 1
                name = mirror.successor or mirror.venue_id
                self._requests.append(Ask(mirror.order.id, name, mirror.order.symbol))
        if wanted:
            self._requests.append(AskFills(since, tuple(wanted), frozenset(symbols)))

    def lost(self, request: Request, now: int, reason: str) -> None:
        """Note that nobody knows what became of a request."""
        for mirror in self._of(request):
            mirror.in_flight -= 1
            if isinstance(request, Send | Amend):
                mirror.sent = max(mirror.sent, now)
            if isinstance(request, Send):
                self._lose(mirror, now, reason)
            if isinstance(request, Cancel):
                mirror.cancelling = False
            self._doubt(mirror, now)

    def refused(self, request: Request, now: int, reason: str) -> None:
        """Note that the venue has understood a request and said no."""
        for mirror in self._of(request):
            mirror.in_flight -= 1
            if isinstance(request, Send):
                self._end(mirror, UpdateKind.REJECTED, now, reason)
                continue
            if isinstance(request, Amend):
                self._keep_terms(mirror, now, reason)
            if isinstance(request, Cancel):  # it has ended, or is about to: how, is asked
                mirror.cancelling = False
                self._notes.append(("cancel refused", {"order": request.id, "reason": reason}))
            self._doubt(mirror, now)

    def missing(self, request: Ask, now: int) -> None:
        """Note that the venue has no order of this name; it counts once all has arrived."""
        for mirror in self._of(request):
            mirror.in_flight -= 1
            if mirror.ended:
                continue
            if mirror.confirmed:
                if mirror.asks == 0:
                    self._notes.append(
                        (
                            "the venue no longer knows an order that it had",
                            {"order": request.id, "text": "it stays unknown: look at the account"},
                        )
                    )
                self._doubt(mirror, now)
            elif now - mirror.sent >= self._acceptance:
                mirror.disowned = True
                reason = "the venue never had it" if mirror.lost else "the venue has no such order"
                self._end(mirror, UpdateKind.REJECTED, now, reason)
            else:
                self._doubt(mirror, now)

    def cancelled(self, request: Cancel, now: int) -> None:
        """Note that the venue has taken a cancel: the order's end is still to be heard of."""
        for mirror in self._of(request):
            mirror.in_flight -= 1
            mirror.asks = 0
            self._doubt(mirror, now)

    def answered(self, request: Send | Amend | Ask, state: VenueState, now: int) -> None:
        """Take the venue's answer about one order."""
        for mirror in self._of(request):
            mirror.in_flight -= 1
        self.seen(state, now)

    def executed(self, request: AskFills, fills: Iterable[VenueFill], now: int) -> None:
        """Take executions that were asked for."""
        for fill in sorted(fills, key=lambda fill: fill.total):
            self.fill(fill)
        for mirror in self._of(request):
            mirror.in_flight -= 1
            if mirror.pending is None:
                if mirror.cancel or mirror.wanted is not None:  # what comes of that is still open
                    self._doubt(mirror, now)
                continue
            mirror.fill_asks += 1
            if mirror.fill_asks >= FILL_TRIES:
                self._make_up(mirror, mirror.pending)
            else:
                self._doubt(mirror, now)

    def listed(self, states: Iterable[VenueState], now: int) -> None:
        """Take all orders that work at the venue; those that we think do and don't are asked."""
        there = set()
        for state in states:
            there.add(state.venue_id)
            self.seen(state, now)
        for mirror in self._moving.values():
            is_out = mirror.ended or mirror.in_flight or mirror.due is not None
            if not is_out and mirror.venue_id not in there:
                mirror.due = now

    def seen(self, state: VenueState, now: int) -> None:
        """Take one order as the venue shows it, from wherever it was heard."""
        mirror = self._find(state)
        if mirror is None or self._is_replaced(mirror, state, now):
            return
        filled = EXACT.subtract(state.filled, mirror.offset)
        if mirror.ended and filled <= mirror.known:
            if mirror.disowned and state.standing is Standing.OPEN:
                self._take_back(mirror)
            return
        self._moving[mirror.order.id] = mirror
        if not mirror.cancelling:
            mirror.asks = 0
        mirror.due = None
        if not mirror.accepted and not mirror.ended and state.standing is not Standing.REJECTED:
            mirror.accepted, mirror.lost = True, False
            self._tell(mirror, UpdateKind.ACCEPTED, state.time)
        if filled > mirror.known:
            if mirror.pending is None or state.filled >= mirror.pending.filled:
                mirror.pending = state
            mirror.due = now
        else:
            self._settle(mirror, state)
        if mirror.wanted is not None and not mirror.in_flight:
            if now - mirror.sent >= self._acceptance:
                self._keep_terms(mirror, now, "the venue never had the wish")
            else:
                self._doubt(mirror, now)
        if mirror.cancelling:
            self._doubt(mirror, now)
        self._press(mirror)

    def fill(self, fill: VenueFill) -> None:
        """Take one execution; one that was counted is passed over, one too many is waited for."""
        name = self._names.get(fill.venue_id)
        mirror = None if name is None else self._mirrors[name]
        if mirror is None:
            return
        total = EXACT.subtract(fill.total, mirror.offset)
        if total <= mirror.known:
            return
        if EXACT.subtract(total, fill.quantity) != mirror.known:
            return  # one before it is missing: its order's state asks for both
        self._count(mirror, total, fill.quantity, fill.price, fill.fee, fill.time)
        pending = mirror.pending
        if pending is not None and mirror.known >= EXACT.subtract(pending.filled, mirror.offset):
            mirror.pending, mirror.fill_asks = None, 0
            if not mirror.cancel and mirror.wanted is None:  # else its end is still asked for
                mirror.due = None
            self._settle(mirror, pending)

    # ---- inside --------------------------------------------------------------------------------

    def _of(self, request: Request) -> list[_Mirror]:
        if isinstance(request, AskFills):
            names = [self._names[key] for key in request.venue_ids]
        else:
            names = [request.order.id if isinstance(request, Send | Amend) else request.id]
        return [self._mirrors[name] for name in names]

    def _find(self, state: VenueState) -> _Mirror | None:
        """Return the mirror of what the venue shows; of an order that is not ours, a new one."""
        if state.venue_id in self._replaced:
            return None  # late news of what another has taken the place of
        name = self._names.get(state.venue_id, ClientOrderId(state.client_id))
        mirror = self._mirrors.get(name)
        if mirror is None:
            name = ClientOrderId(state.client_id.partition(SUCCESSOR)[0])
            mirror = self._mirrors.get(name)
        if mirror is None:
            if state.standing is not Standing.OPEN and not state.filled:
                return None  # it came and went, and nothing came of it
            mirror = self._adopt(state, ZERO)
        if not mirror.venue_id and mirror.external:
            mirror.offset = EXACT.subtract(state.quantity, mirror.order.quantity)
        self._names[state.venue_id] = mirror.order.id
        mirror.confirmed = True
        if mirror.venue_id != state.venue_id and state.standing is not Standing.REPLACED:
            if mirror.venue_id or state.client_id != mirror.order.id:
                self._take_successor(mirror, state)
            mirror.venue_id = state.venue_id
        return mirror

    def _is_replaced(self, mirror: _Mirror, state: VenueState, now: int) -> bool:
        """Whether another order has taken this one's place: that one is asked for."""
        if state.standing is not Standing.REPLACED or not state.replaced_by:
            return False
        if mirror.venue_id not in {"", state.venue_id}:
            return True  # the one that counts is known already
        mirror.successor = state.replaced_by
        self._names[state.replaced_by] = mirror.order.id
        if not mirror.ended:
            self._doubt(mirror, now)
        return True

    def _take_successor(self, mirror: _Mirror, state: VenueState) -> None:
        """Go on with an order that has replaced ours, with the terms that it has."""
        mirror.successor = ""
        self._replaced.add(mirror.venue_id)
        if state.filled < mirror.known:  # it counts anew
            mirror.offset = mirror.known.copy_negate()
        old = mirror.wanted or mirror.order
        terms = msgspec.structs.replace(
            old,
            quantity=EXACT.subtract(state.quantity, mirror.offset),
            limit_price=state.limit_price,
            stop_price=old.stop_price if state.stop_price is None else state.stop_price,
        )
        mirror.order, mirror.wanted = terms, None
        if not mirror.ended:
            self._updates.append(OrderUpdate(terms.id, UpdateKind.AMENDED, state.time, terms=terms))

    def _keep_terms(self, mirror: _Mirror, now: int, reason: str) -> None:
        mirror.wanted = None
        self._tell(mirror, UpdateKind.AMEND_REJECTED, now, reason)

    def _adopt(self, state: VenueState, offset: Decimal) -> _Mirror:
        """Take in an order that somebody else has placed; `offset` of it is in the books."""
        order = Order(
            id=ClientOrderId(state.client_id),
            symbol=state.symbol,
            side=state.side,
            quantity=EXACT.subtract(state.quantity, offset),
            type=state.type,
            limit_price=state.limit_price,
            tag=EXTERNAL,
            created=state.submitted,
        )
        mirror = self._mirrors[order.id] = self._moving[order.id] = _Mirror(order, state.submitted)
        mirror.accepted = mirror.external = True
        self._updates.append(OrderUpdate(order.id, UpdateKind.ACCEPTED, state.time, external=order))
        self._notes.append(
            ("an order of somebody else", {"order": order.id, "symbol": order.symbol})
        )
        return mirror

    def _settle(self, mirror: _Mirror, state: VenueState) -> None:
        """Tell the end of an order whose fills are all told."""
        kinds = {
            Standing.CANCELLED: UpdateKind.CANCELLED,
            Standing.EXPIRED: UpdateKind.EXPIRED,
            Standing.REJECTED: UpdateKind.REJECTED,
            Standing.REPLACED: UpdateKind.CANCELLED,  # by what, the venue does not say
        }
        kind = kinds.get(state.standing)
        if kind is None or mirror.ended:
            return
        reason = state.reason
        if state.standing is Standing.REPLACED:
            reason = "replaced at the venue by another order"
        if kind is UpdateKind.REJECTED and mirror.known:
            kind = UpdateKind.CANCELLED  # a part has filled: that much was no rejection
        self._end(mirror, kind, state.time, reason)

    def _count(
        self,
        mirror: _Mirror,
        total: Decimal,
        quantity: Decimal,
        price: Decimal,
        fee: Decimal,
        time: int,
    ) -> None:
        order = mirror.order
        mirror.known = total
        mirror.notional = EXACT.fma(quantity, price, mirror.notional)
        fill = Fill(
            fill_id=f"{order.id}@{total.normalize(EXACT):f}",
            order_id=order.id,
            symbol=order.symbol,
            side=order.side,
            quantity=quantity,
            price=price,
            fee=fee,
            time=time,
        )
        self._updates.append(OrderUpdate(order.id, UpdateKind.FILL, time, fill))
        if total >= order.quantity:
            mirror.ended, mirror.due, mirror.cancel = True, None, False

    def _make_up(self, mirror: _Mirror, state: VenueState) -> None:
        """Make one fill of what is missing, at the price that the average leaves for it.

        The venue shows the fill on the order and nowhere else: better this than to be without.
        """
        filled = EXACT.subtract(state.filled, mirror.offset)
        quantity = EXACT.subtract(filled, mirror.known)
        worth = EXACT.subtract(EXACT.multiply(state.average, filled), mirror.notional)
        price = MEAN.divide(worth, quantity).quantize(SYNTHETIC_PRICE)
        mirror.pending, mirror.fill_asks, mirror.due = None, 0, None
        if price <= 0:
            price = state.average
        self._count(mirror, filled, quantity, price, ZERO, state.time)
        self._notes.append(
            ("a fill was made up of an average price", {"order": mirror.order.id, "price": price})
        )
        self._settle(mirror, state)

    def _press(self, mirror: _Mirror) -> None:
        """Send the cancel that is wanted, where it can be and is not on its way."""
        if mirror.cancel and mirror.venue_id and not mirror.ended and not mirror.cancelling:
            mirror.cancelling = True
            mirror.in_flight += 1
            self._requests.append(Cancel(mirror.order.id, mirror.venue_id, mirror.order.symbol))

    def _take_back(self, mirror: _Mirror) -> None:
        """Cancel an order that came to the venue after it had been given up."""
        if not mirror.cancelling:
            self._moving[mirror.order.id] = mirror
            mirror.cancelling = True
            mirror.in_flight += 1
            self._requests.append(Cancel(mirror.order.id, mirror.venue_id, mirror.order.symbol))
            self._notes.append(
                ("an order that was given up works at the venue", {"order": mirror.order.id})
            )

    def _lose(self, mirror: _Mirror, now: int, reason: str) -> None:
        if not mirror.lost and not mirror.ended:
            mirror.lost, mirror.accepted = True, False
            self._tell(mirror, UpdateKind.LOST, now, reason)

    def _doubt(self, mirror: _Mirror, now: int) -> None:
        """Ask about an order, each time a little later."""
        if mirror.ended and mirror.pending is None:
            return
        wait = min(FIRST_ASK << min(mirror.asks, 10), LAST_ASK)
        mirror.asks += 1
        mirror.due = now + wait

    def _end(self, mirror: _Mirror, kind: UpdateKind, time: int, reason: str) -> None:
        if mirror.ended:
            return
        mirror.ended, mirror.due, mirror.cancel, mirror.pending = True, None, False, None
        self._tell(mirror, kind, time, reason)

    def _tell(self, mirror: _Mirror, kind: UpdateKind, time: int, reason: str = "") -> None:
        self._updates.append(OrderUpdate(mirror.order.id, kind, time, reason=reason))
