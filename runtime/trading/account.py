"""The account of a deployment on the paper broker: what its journal has, and how it goes on."""

from collections.abc import Callable
from decimal import Decimal

from structlog.typing import FilteringBoundLogger

from runtime.trading.daily_loss import DayBegun
from runtime.trading.journal import Journal
from runtime.trading.journaled import JournaledBroker
from runtime.trading.paper import PaperBroker
from runtime.trading.recovered import Recovered


class Account:
    """An open journal, and what the runs before have left in it.

    Attributes:
        recovered: cash, orders and fills.
    """

    def __init__(self, journal: Journal, recovered: Recovered) -> None:
        self.recovered = recovered
        self._journal = journal
        self._paper: PaperBroker | None = None
        self._written: JournaledBroker | None = None

    def behind(
        self, paper: PaperBroker, log: FilteringBoundLogger, now: Callable[[], int]
    ) -> JournaledBroker:
        """Return the broker whose orders and reports are in the journal first."""
        self._paper = paper
        self._written = JournaledBroker(paper, self._journal, log, now)
        return self._written

    def alarm(self, tell: Callable[[str], None]) -> None:
        """Have `tell` called, on the loop, where the journal cannot be relied on any more."""
        if self._written is not None:
            self._written.alarm = tell

    def begin(self, cash: Decimal, now: int) -> None:
        """Note what a new account begins with, before anything is ordered."""
        if self._written is not None:
            self._written.begin(cash, now)

    def note(self, day: DayBegun) -> None:
        """Note what a day began with."""
        if self._written is not None:
            self._written.note(day)

    def go_on(self, now: int) -> None:
        """Have the orders work again that had not ended."""
        if self._paper is None:
            return
        for tracked in self.recovered.open_orders:
            count = self.recovered.fill_counts.get(tracked.order.id, 0)
            self._paper.restore(tracked, count, now)
