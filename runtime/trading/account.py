"""The account of a deployment: what its journal has, and how it goes on."""

from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from runtime.trading.cash import CashBook
from runtime.trading.daily_loss import DayBegun
from runtime.trading.journal import Journal, Opening
from runtime.trading.journaled import JournaledBroker
from runtime.trading.paper import PaperBroker
from runtime.trading.recovered import Recovered
from runtime.trading.remote import Opened, RemoteBroker


class Account:
    """An open journal, and what the runs before have left in it.

    Attributes:
        recovered: cash, orders and fills.
        holder: who keeps it: paper, or the broker and its account there.
        opening: a venue's account as it was found, where a new one begins with that.
    """

    def __init__(self, journal: Journal, recovered: Recovered) -> None:
        self.recovered = recovered
        self.holder = "paper"
        self.opening: Opened | None = None
        self._journal = journal
        self._broker: PaperBroker | RemoteBroker | None = None
        self._written: JournaledBroker | None = None

    def behind(
        self,
        broker: PaperBroker | RemoteBroker,
        log: FilteringBoundLogger,
        now: Callable[[], int],
    ) -> JournaledBroker:
        """Return the broker whose orders and reports are in the journal first."""
        self._broker = broker
        self._written = JournaledBroker(broker, self._journal, log, now)
        return self._written

    def alarm(self, tell: Callable[[str], None]) -> None:
        """Have `tell` called, on the loop, where the journal cannot be relied on any more."""
        if self._written is not None:
            self._written.alarm = tell

    def begin(self, book: CashBook, now: int) -> None:
        """Note what a new account begins with, before anything is ordered.

        At a venue it is the venue's, whatever was asked for.
        """
        if self.opening is not None:
            book.put(self.opening.cash)
        if self._written is not None:
            opening = Opening(book.own, now, self.holder, book.currency, book.foreign)
            self._written.note(opening)
        if self.opening is not None and isinstance(self._broker, RemoteBroker):
            self._broker.begin(self.opening)

    def note(self, day: DayBegun) -> None:
        """Note what a day began with."""
        if self._written is not None:
            self._written.note(day)

    def go_on(self, now: int) -> None:
        """Have the orders work again that had not ended."""
        if isinstance(self._broker, RemoteBroker):
            self._broker.recover(self.recovered)
        elif self._broker is not None:
            for tracked in self.recovered.open_orders:
                count = self.recovered.fill_counts.get(tracked.order.id, 0)
                self._broker.restore(tracked, count, now)
