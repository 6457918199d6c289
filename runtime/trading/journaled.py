"""A broker behind a journal: an order leaves once its intent is on the disk, a report is told then.

A thread writes, everything that waits in one commit. While it cannot write (a full disk, say), new
orders are rejected with that reason, cancelling goes on, and reports wait until it can again.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial

from structlog.typing import FilteringBoundLogger

from feeds.events import MarketEvent
from runtime.disk import DiskThread
from runtime.trading.broker import Broker
from runtime.trading.journal import Entry, Journal, Opening
from runtime.trading.orders import ClientOrderId, OrderUpdate, UpdateKind
from runtime.trading.risk import Approved

AGAIN_SECONDS = 1.0


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
        self._cancels: set[ClientOrderId] = set()  # of orders whose intent is being written
        self._waiting: deque[tuple[list[Entry], Callable[[], None]]] = deque()
        self._lock = threading.Lock()  # guards the two below, and the queue above
        self._written: deque[Callable[[], None]] = deque()
        self._is_writing = False
        self._trouble = ""
        self._updates: list[OrderUpdate] = []

    # ---- on the loop -------------------------------------------------------------------------

    def listen(self, wake: Callable[[], None]) -> None:
        """Have `wake` called, on any thread, when `take_updates` has something to do."""
        self._wake = wake
        self._broker.listen(wake)

    def begin(self, cash: Decimal, now: int) -> None:
        """Note what a new account begins with."""
        self._queue([Opening(cash, now)], lambda: None)

    def submit(self, approved: Approved, now: int) -> None:
        """Write the intent; the order leaves once it is on the disk."""
        if self._trouble:
            reason = f"the journal cannot be written: {self._trouble}"
            order = approved.order
            self._updates.append(OrderUpdate(order.id, UpdateKind.REJECTED, now, reason=reason))
            return
        self._meant.append(approved)
        self._queue([approved.order], partial(self._send, approved))

    def cancel(self, order_id: ClientOrderId, now: int) -> None:
        """Ask for the end of an order, also of one that has not left yet."""
        if any(approved.order.id == order_id for approved in self._meant):
            self._cancels.add(order_id)
        else:
            self._broker.cancel(order_id, now)
            self._take_in()

    def on_market(self, events: Sequence[MarketEvent], now: int) -> None:
        """Let the market fill what works."""
        self._broker.on_market(events, now)
        self._take_in()

    def take_updates(self) -> list[OrderUpdate]:
        """Do what was waiting for the disk, and return the reports that are on it."""
        while self._written:
            self._written.popleft()()
        self._take_in()
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
        """Let the thread end once it has written what it has."""
        self._disk.put(self._journal.close)
        self._disk.close()

    def _send(self, approved: Approved) -> None:
        self._meant.remove(approved)
        now = self._now()
        self._broker.submit(approved, now)
        if approved.order.id in self._cancels:
            self._cancels.discard(approved.order.id)
            self._broker.cancel(approved.order.id, now)

    def _hear(self, reports: Sequence[OrderUpdate]) -> None:
        self._updates += reports

    def _take_in(self) -> None:
        """Have the broker's reports written, and told then."""
        reports = self._broker.take_updates()
        if reports:
            self._queue(list(reports), partial(self._hear, reports))

    def _queue(self, entries: list[Entry], then: Callable[[], None]) -> None:
        with self._lock:
            self._waiting.append((entries, then))
            if self._is_writing:
                return
            self._is_writing = True
        self._disk.put(self._write)

    # ---- on the writing thread ---------------------------------------------------------------

    def _write(self) -> None:
        """Write all that waits, in one go, again and again until nothing does."""
        while True:
            with self._lock:
                batch = list(self._waiting)
                if not batch:
                    self._is_writing = False
                    return
            try:
                self._journal.write([entry for entries, _ in batch for entry in entries])
            except OSError as error:
                self._tell(str(error))
                time.sleep(AGAIN_SECONDS)  # a pace: nobody tells when a disk has room again
                continue
            self._tell("")
            with self._lock:
                for _ in batch:
                    self._written.append(self._waiting.popleft()[1])
            self._wake()

    def _tell(self, trouble: str) -> None:
        if trouble and not self._trouble:
            self._log.error("the journal cannot be written: no order leaves", text=trouble)
        elif self._trouble and not trouble:
            self._log.warning("the journal is written again")
        self._trouble = trouble
