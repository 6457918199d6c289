"""A broker at a venue: carries the reconciler's requests over some line, and hears its updates.

The loop is never held up: what is asked for goes into a queue, tasks carry it, answers come as
updates. Orders of one symbol leave in their order; cancels overtake. Streams lose fills while they
look healthy, so the venue is asked for everything at the start, after each reconnect, and on a
timer.
"""

import math
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from typing import Any, Protocol

import anyio
import msgspec
from structlog.typing import FilteringBoundLogger

from feeds.events import SECOND, MarketEvent, Symbol
from runtime.trading.orders import EXACT, ZERO, ClientOrderId, OrderUpdate
from runtime.trading.reconciler import (
    Ask,
    AskFills,
    Cancel,
    Reconciler,
    Request,
    Send,
    VenueFill,
    VenueState,
)
from runtime.trading.recovered import Recovered
from runtime.trading.risk import Approved

OVERLAP = 60 * SECOND
"""How far back the orders that ended since the last look are listed again."""
MOST_AT_ONCE = 16
MOST_LOOKS = 20


class Answered(msgspec.Struct, frozen=True):
    """How the order stands."""

    state: VenueState


class Executed(msgspec.Struct, frozen=True):
    """The executions that were asked for."""

    fills: tuple[VenueFill, ...]


class Taken(msgspec.Struct, frozen=True):
    """The cancel was taken."""


class Refused(msgspec.Struct, frozen=True):
    """The venue has understood and said no."""

    reason: str


class Missing(msgspec.Struct, frozen=True):
    """The venue has no order of this name."""


class Lost(msgspec.Struct, frozen=True):
    """Nobody knows: no answer, or none that can be read."""

    reason: str


Outcome = Answered | Executed | Taken | Refused | Missing | Lost


class Holdings(msgspec.Struct, frozen=True):
    """What the venue's account holds: cash, and by symbol how much at which average price."""

    cash: Decimal
    positions: Mapping[Symbol, tuple[Decimal, Decimal]]


class Opened(msgspec.Struct, frozen=True):
    """An account as it was found when we came to it, at a time of the venue's (ns)."""

    holdings: Holdings
    orders: tuple[VenueState, ...]
    time: int

    @property
    def cash(self) -> Decimal:
        """What there would be had its positions just been bought at their average prices."""
        worth = ZERO
        for quantity, price in self.holdings.positions.values():
            worth = EXACT.fma(quantity, price, worth)
        return EXACT.add(self.holdings.cash, worth)


class NoAnswer(Exception):
    """The venue could not be asked, for the reason given: that says nothing about the account."""


class KeyRefused(NoAnswer):
    """The venue does not take the key."""


class Line(Protocol):
    """How one venue is spoken to; a broker has one."""

    @property
    def name(self) -> str:
        """What the venue is called."""
        ...

    def open(self) -> AbstractAsyncContextManager[None]:
        """Hold what asking takes while the context lasts."""
        ...

    async def carry_out(self, request: Request) -> Outcome:
        """Do one thing; whatever goes wrong is an outcome."""
        ...

    async def open_orders(self) -> list[VenueState]:
        """Return all orders that work. Raises NoAnswer."""
        ...

    async def ended_orders(self, after: int) -> list[VenueState]:
        """Return the orders placed after a time (ns) that have ended. Raises NoAnswer."""
        ...

    async def holdings(self, *, priced: bool = True) -> Holdings:
        """Return what the account holds, with prices where they are wanted. Raises NoAnswer."""
        ...

    async def listen(
        self,
        ready: Callable[[], Coroutine[Any, Any, None]],
        hear: Callable[[VenueState, VenueFill | None], None],
        trouble: Callable[[str], None],
    ) -> None:
        """Hear updates until cancelled, connecting again and again; `ready` follows each login."""
        ...


class RemoteBroker:
    """Implements `Broker` at a venue.

    Args:
        line: to the venue.
        core: what is known of the orders.
        log: told what a person should know.
        now: ns UTC; it never goes back.
        period: seconds between two looks at everything.
        since: orders that others have placed before this (ns) are in the books already.
    """

    def __init__(
        self,
        line: Line,
        core: Reconciler,
        log: FilteringBoundLogger,
        now: Callable[[], int],
        *,
        period: float = 30.0,
        since: int = 0,
    ) -> None:
        self.name = line.name
        self.books: Callable[[], Holdings] | None = None
        """What our own books hold, where somebody can say it."""
        self._line, self._core, self._log, self._now = line, core, log, now
        self._period, self._since = period, since
        self._wake: Callable[[], None] = lambda: None
        self._ready, self._changed, self._rearm = anyio.Event(), anyio.Event(), anyio.Event()
        self._looking = anyio.Lock()
        self._lanes: dict[Symbol, anyio.Lock] = {}
        self._slots = anyio.Semaphore(MOST_AT_ONCE)
        self._difference = self._told_difference = ""
        self._trouble = ""

    # ---- on the loop ---------------------------------------------------------------------------

    def listen(self, wake: Callable[[], None]) -> None:
        """Have `wake` called when reports came by themselves."""
        self._wake = wake

    def submit(self, approved: Approved, now: int) -> None:
        """Have an order sent."""
        del now
        self._core.submit(approved.order, self._now())
        self._ready.set()

    def cancel(self, order_id: ClientOrderId, now: int) -> None:
        """Ask for the end of an order."""
        del now
        self._core.cancel(order_id, self._now())
        self._ready.set()

    def amend(self, approved: Approved, now: int) -> None:
        """Ask for other terms of an order."""
        del now
        self._core.amend(approved.order, self._now())
        self._turn()

    def next_wake(self) -> int | None:
        """Return None: time is kept in `run`."""

    def recover(self, found: Recovered) -> None:
        """Take over the orders of the runs before; what had not ended is asked for."""
        now = self._now()
        for tracked in found.orders:
            name = tracked.order.id
            self._core.recover(
                tracked, now, confirmed=name in found.confirmed, external=name in found.external
            )
        self._ready.set()

    def begin(self, opening: Opened) -> None:
        """Begin with an account as it was found: what it holds, and the orders that work in it."""
        self._core.hold(opening.holdings.positions, opening.time)
        self._core.adopt(opening.orders)

    def on_market(self, events: Sequence[MarketEvent], now: int) -> None:
        """Do nothing: the venue fills."""

    def take_updates(self) -> list[OrderUpdate]:
        """Return what was reported since the last call."""
        return self._core.take_updates()

    async def settle(self) -> None:
        """Return when the venue has answered everything and ended what it was asked to end."""
        while self._core.unsettled:
            self._changed = anyio.Event()
            await self._changed.wait()

    def close(self) -> None:
        """Do nothing: what is open ends with `run`."""

    # ---- the tasks -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Carry requests and hear updates until cancelled."""
        async with self._line.open(), anyio.create_task_group() as tasks:
            tasks.start_soon(self._keep_time)
            tasks.start_soon(self._look_often)
            tasks.start_soon(self._line.listen, self._look, self._hear, self._tell_trouble)
            while True:
                self._ready = anyio.Event()
                for request in self._core.take_requests():
                    tasks.start_soon(self._carry, request)
                await self._ready.wait()

    async def _carry(self, request: Request) -> None:
        """Carry out one request, and take in what came of it."""
        if isinstance(request, Send):
            lane = self._lanes.setdefault(request.order.symbol, anyio.Lock())
            async with lane, self._slots:
                self._take(request, await self._line.carry_out(request))
        else:
            async with self._slots:
                self._take(request, await self._line.carry_out(request))

    def _take(self, request: Request, outcome: Outcome) -> None:
        core, now = self._core, self._now()
        match request, outcome:
            case ((Send() | Ask()), Answered(state)):
                core.answered(request, state, now)
            case AskFills(), Executed(fills):
                core.executed(request, fills, now)
            case Cancel(), Taken():
                core.cancelled(request, now)
            case Ask(), Missing():
                core.missing(request, now)
            case ((Send() | Cancel()), Refused(reason)):
                core.refused(request, now, reason)
            case _, Lost(reason) | Refused(reason):
                core.lost(request, now, reason)
            case _:
                core.lost(request, now, "the answer was to something else")
        self._turn()

    def _hear(self, state: VenueState, fill: VenueFill | None) -> None:
        """Take in what the stream tells."""
        self._core.seen(state, self._now())
        if fill is not None:
            self._core.fill(fill)
        self._turn()

    def _turn(self) -> None:
        """Have everybody look at what has changed."""
        for event, fields in self._core.take_notes():
            self._log.warning(event, **fields)
        for waiting in (self._ready, self._changed, self._rearm):
            waiting.set()
        self._wake()

    async def _keep_time(self) -> None:
        """Have the core ask again when it is time to."""
        while True:
            self._rearm = anyio.Event()
            due = self._core.next_wake()
            wait = math.inf if due is None else max(0.0, (due - self._now()) / SECOND)
            with anyio.move_on_after(wait):
                await self._rearm.wait()
            self._core.wake(self._now())
            self._ready.set()

    async def _look_often(self) -> None:
        """Look at everything, also where nobody has told of anything."""
        while True:
            await anyio.sleep(self._period)
            await self._look()

    async def _look(self) -> None:
        """Hold our orders against the venue's; where it cannot be asked, nothing is concluded."""
        began = self._now()
        async with self._looking:
            try:
                self._core.listed(await self._line.open_orders(), self._now())
                for state in await self._line.ended_orders(self._since):
                    self._core.seen(state, self._now())
                self._turn()
                await self._compare()
            except NoAnswer as error:
                self._tell_trouble(f"the orders could not be compared: {error}")
                return
            self._since = max(self._since, began - OVERLAP)
            self._tell_trouble("")

    async def _compare(self) -> None:
        """Hold the books against the account, once nothing is on its way; tell what differs."""
        if self.books is None or not self._core.at_rest:
            return
        before = self.books()
        theirs, after = await self._line.holdings(priced=False), self.books()
        if before != after or not self._core.at_rest:
            return
        difference = _difference(after, theirs)
        if difference and difference == self._difference and difference != self._told_difference:
            self._told_difference = difference
            self._log.error("the books differ from the venue's account", text=difference)
        self._difference = difference

    def _tell_trouble(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            self._log.warning("broker", name=self.name, text=trouble)
        elif self._trouble and not trouble:
            self._log.info("broker", name=self.name, text="it answers again")
        self._trouble = trouble


def _difference(ours: Holdings, theirs: Holdings) -> str:
    """Say in what two accounts differ, empty where they do not."""
    words = []
    if ours.cash != theirs.cash:
        words.append(f"cash is {ours.cash} here and {theirs.cash} there")
    for symbol in sorted({*ours.positions, *theirs.positions}):
        here = ours.positions.get(symbol, (ZERO, ZERO))[0]
        there = theirs.positions.get(symbol, (ZERO, ZERO))[0]
        if here != there:
            words.append(f"{symbol} is {here} here and {there} there")
    return ", ".join(words)


async def open_account(line: Line, now: Callable[[], int]) -> Opened:
    """Look at an account until two looks in a row show the same: its parts are asked one by one.

    Raises:
        NoAnswer: it could not be looked at, or never kept still.
    """
    before: Opened | None = None
    for _ in range(MOST_LOOKS):
        orders = tuple(await line.open_orders())
        found = Opened(await line.holdings(), orders, now())
        if before is not None and (before.orders, before.cash) == (found.orders, found.cash):
            return before
        before = found
    raise NoAnswer("the account changes all the time")
