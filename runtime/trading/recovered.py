"""An account as it was left: what a broker's side gives and the desk takes over."""

from decimal import Decimal

import msgspec

from runtime.trading.daily_loss import DayBegun
from runtime.trading.orders import ClientOrderId, Fill
from runtime.trading.tracked import TrackedOrder


class Recovered(msgspec.Struct, frozen=True):
    """The account as the journal has it.

    `cash` is what it was `opened` with (ns), None where it is new. `orders` are all that were ever
    meant, in order, each as its reports have left it; `fills` all executions in order;
    `fill_counts` how many each open order has had; `day` is what the last day began with, where
    that was noted; `confirmed` are the orders that the venue has shown, `external` those that
    somebody else has placed; `holder` says who keeps the account; `currency` is the account's own,
    "" where that was never noted, and `balances` what it was opened with of others.
    """

    cash: Decimal | None
    orders: tuple[TrackedOrder, ...] = ()
    fills: tuple[Fill, ...] = ()
    fill_counts: dict[ClientOrderId, int] = {}
    day: DayBegun | None = None
    confirmed: frozenset[ClientOrderId] = frozenset()
    opened: int = 0
    external: frozenset[ClientOrderId] = frozenset()
    holder: str = "paper"
    currency: str = ""
    balances: dict[str, Decimal] = {}

    @property
    def open_orders(self) -> list[TrackedOrder]:
        """Those that had not ended."""
        return [tracked for tracked in self.orders if tracked.state.is_open]

    @property
    def latest(self) -> int:
        """When the last of it was ordered or filled, ns."""
        made = (tracked.order.created for tracked in self.orders)
        return max(self.opened, *made, *(fill.time for fill in self.fills), 0)
