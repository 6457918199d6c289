"""A broker behind a journal: orders leave once their intent is on the disk, reports are told then.

A thread writes, everything that waits in one commit. Once it cannot (a full disk, say), orders that
have not left are rejected with that reason, cancelling goes on, and reports wait until it can
again. A row that it never can take is an alarm: the books on the disk are wrong from there on.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from feeds.events import MarketEvent
from runtime.disk import DiskThread
from runtime.trading.broker import Broker
from runtime.trading.daily_loss import DayBegun
from runtime.trading.journal import Entry, Journal, Opening, RowRefused
from runtime.trading.orders import ClientOrderId, OrderUpdate, UpdateKind
from runtime.trading.risk import Approved

AGAIN_SECONDS = 1.0


class _Waiting(NamedTuple):
    """What waits for the disk, and what follows on the loop: `refuse` is there for an intent."""

    entry: Entry
    then: Callable[[], None]
    refuse: Callable[[str], None] | None = None


class JournaledBroker:
    """Implements `Broker` around another one.

    Args:
        broker: that trades.
        journal: where it is written; used by the writing thread from now on.
        log: told when the journal cannot be written, and when it can again.
        now: engine time, ns UTC.
    """

    def __init__(
        self,
        broker: Broker,
        journal: Journal,
        log: FilteringBoundLogger,
        now: Callable[[], int],
    ) -> None:
        self.name = broker.name
        self._broker, self._journal, self._log, self._now = broker, journal, log, now
        self._disk = DiskThread("journal")
        self._wake: Callable[[], None] = lambda: None
        self._meant: deque[Approved] = deque()  # intents that are being written
        # What is asked about orders whose intent is being written.
        self._asked: dict[ClientOrderId, list[Callable[[int], None]]] = {}
        self._waiting: deque[_Waiting] = deque()
        self._lock = threading.Lock()  # guards the two below, and the queue above
        self._written: deque[Callable[[], None]] = deque()
        self._is_writing = False
        self._trouble = ""  # of the disk, while it lasts
        self._broken = ""  # why the journal is not to be relied on any more
        self._is_told = False
        self._closing = threading.Event()
        self._updates: list[OrderUpdate] = []
        self.alarm: Callable[[str], None] = lambda _: None
        """Called once, on the loop, where the journal cannot be relied on any more."""

    # ---- on the loop -------------------------------------------------------------------------

    def listen(self, wake: Callable[[], None]) -> None:
        """Have `wake` called, on any thread, when `take_updates` has something to do."""
        self._wake = wake
        self._broker.listen(wake)

    def note(self, entry: Opening | DayBegun) -> None:
        """Have something noted that is about the account and no order."""
        self._queue(_Waiting(entry, lambda: None))

    def submit(self, approved: Approved, now: int) -> None:
        """Write the intent; the order leaves once it is on the disk."""
        self._meant.append(approved)
        if reason := self._broken or self._trouble:
            self._refuse(approved, reason)
            return
        send, refuse = partial(self._send, approved), partial(self._refuse, approved)
        self._queue(_Waiting(approved.order, send, refuse))

    def cancel(self, order_id: ClientOrderId, now: int) -> None:
        """Ask for the end of an order, also of one that has not left yet."""
        self._ask(order_id, partial(self._broker.cancel, order_id), now)

    def amend(self, approved: Approved, now: int) -> None:
        """Ask for other terms, also of an order that has not left yet."""
        if reason := self._broken or self._trouble:
            self._updates.append(
                OrderUpdate(
                    approved.order.id,
                    UpdateKind.AMEND_REJECTED,
                    now,
                    reason=f"the journal cannot be written: {reason}",
                )
            )
            return
        self._ask(approved.order.id, partial(self._broker.amend, approved), now)

    def on_market(self, events: Sequence[MarketEvent], now: int) -> None:
        """Let the market fill what works."""
        self._broker.on_market(events, now)
        self._take_in()

    def next_wake(self) -> int | None:
        """Return when the broker must hear the time."""
        return self._broker.next_wake()

    def take_updates(self) -> list[OrderUpdate]:
        """Do what was waiting for the disk, and return the reports that are on it."""
        while self._written:
            self._written.popleft()()
        self._take_in()
        if self._broken and not self._is_told:
            self._is_told = True
            self.alarm(self._broken)
        updates, self._updates = self._updates, []
        return updates

    async def run(self) -> None:
        """Carry the broker's words until cancelled."""
        await self._broker.run()

    async def settle(self) -> None:
        """Return when all that was said is on the disk; then `take_updates` has it."""
        await self._broker.settle()
        while True:
            while self._written:
                self._written.popleft()()
            self._take_in()
            with self._lock:
                is_settled = not (self._is_writing or self._written)
            if is_settled or self._trouble:
                return
            await self._disk.run(lambda: None)  # behind what it writes

    def close(self) -> None:
        """Let the thread end once it has written what it has, or has tried to once more."""
        self._closing.set()
        self._disk.put(self._journal.close)
        self._disk.close()

    def _ask(self, order_id: ClientOrderId, what: Callable[[int], None], now: int) -> None:
        """Ask something about an order, once it has left."""
        if any(approved.order.id == order_id for approved in self._meant):
            self._asked.setdefault(order_id, []).append(what)
        else:
            what(now)
            self._take_in()

    def _send(self, approved: Approved) -> None:
        self._meant.remove(approved)
        now = self._now()
        self._broker.submit(approved, now)
        for what in self._asked.pop(approved.order.id, ()):
            what(now)

    def _refuse(self, approved: Approved, why: str) -> None:
        """Reject an order that has not left, and is in no journal."""
        self._meant.remove(approved)
        order = approved.order.id
        self._asked.pop(order, None)
        reason = f"the journal cannot be written: {why}"
        self._updates.append(OrderUpdate(order, UpdateKind.REJECTED, self._now(), reason=reason))

    def _take_in(self) -> None:
        """Have the broker's reports written, and told then."""
        reports = self._broker.take_updates()
        if reports:
            self._queue(*(_Waiting(each, partial(self._hear, each)) for each in reports))

    def _hear(self, report: OrderUpdate) -> None:
        self._updates.append(report)

    def _queue(self, *what: _Waiting) -> None:
        with self._lock:
            self._waiting += what
            if self._is_writing:
                return
            self._is_writing = True
        self._disk.put(self._write)

    # ---- on the writing thread ---------------------------------------------------------------

    def _write(self) -> None:
        """Write all that waits, in one go, again and again until nothing does."""
        while True:
            is_last = self._closing.is_set()
            with self._lock:
                batch = list(self._waiting)
                if not batch:
                    self._is_writing = False
                    return
            try:
                self._journal.write([each.entry for each in batch])
            except OSError as error:
                self._tell(str(error))
                self._refuse_intents(str(error))
                if is_last:
                    self._give_up(str(error))
                    return
                # A pace: nobody tells when a disk has room again.
                self._closing.wait(AGAIN_SECONDS)
            except RowRefused:
                self._write_singly(batch)
            else:
                self._tell("")
                self._pass_on([each.then for each in batch])

    def _write_singly(self, batch: Sequence[_Waiting]) -> None:
        """Find the rows that cannot be written; a report goes on without, its money is real."""
        for each in batch:
            follows = each.then
            try:
                self._journal.write([each.entry])
            except OSError:
                return  # and all goes its usual way
            except RowRefused as error:
                if each.refuse is not None:
                    follows = partial(each.refuse, str(error))
                else:
                    self._broken = f"it lacks {each.entry!r}: {error}"
                    self._log.error("the journal is wrong: no order leaves", text=self._broken)
            self._pass_on([follows])

    def _refuse_intents(self, why: str) -> None:
        """What is an order now must not leave whenever the disk has room, at any price."""
        with self._lock:
            for each in self._waiting:
                if each.refuse is not None:
                    self._written.append(partial(each.refuse, why))
            self._waiting = deque(each for each in self._waiting if each.refuse is None)
        self._wake()

    def _give_up(self, why: str) -> None:
        """Say what the next run will not know."""
        with self._lock:
            lost = [each.entry for each in self._waiting]
            self._waiting.clear()
        if lost:
            orders = sorted({each.order_id for each in lost if isinstance(each, OrderUpdate)})
            self._log.error(
                "the journal lacks what came last", rows=len(lost), orders=orders, text=why
            )

    def _pass_on(self, follows: Sequence[Callable[[], None]]) -> None:
        """The first that wait are done: the loop goes on with them."""
        with self._lock:
            for each in follows:
                self._waiting.popleft()
                self._written.append(each)
        self._wake()

    def _tell(self, trouble: str) -> None:
        if trouble and not self._trouble:
            self._log.error("the journal cannot be written: no order leaves", text=trouble)
        elif self._trouble and not trouble:
            self._log.warning("the journal is written again")
        self._trouble = trouble
