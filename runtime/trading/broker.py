"""What the runtime asks of a broker. Approved orders go in, reports come out as values.

All but `run` is called on the loop and returns at once: a broker that talks to somebody queues its
words there, and `run` carries them. No report is lost, none is told twice, the order is kept.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from feeds.events import MarketEvent
from runtime.trading.orders import ClientOrderId, OrderUpdate
from runtime.trading.risk import Approved


class Broker(Protocol):
    """One way to the market; `now` is engine time in ns."""

    @property
    def name(self) -> str:
        """What it is called in logs and settings."""
        ...

    def submit(self, approved: Approved, now: int) -> None:
        """Send an order; what becomes of it, a refusal included, comes as updates."""
        ...

    def cancel(self, order_id: ClientOrderId, now: int) -> None:
        """Ask for the end of an order; nothing comes of it where the order has ended."""
        ...

    def amend(self, approved: Approved, now: int) -> None:
        """Ask for other terms of an order that was submitted; the answer comes as an update."""
        ...

    def on_market(self, events: Sequence[MarketEvent], now: int) -> None:
        """Hear what the market did, before the strategy does. Only local fills need it.

        Without events it hears the time, which is what `next_wake` asks for.
        """
        ...

    def next_wake(self) -> int | None:
        """Return when `on_market` is next needed although no data comes, ns; None: not at all."""
        ...

    def take_updates(self) -> list[OrderUpdate]:
        """Return what was reported since the last call, in order, and forget it."""
        ...

    def listen(self, wake: Callable[[], None]) -> None:
        """Have `wake` called, on any thread, when reports come by themselves."""
        ...

    async def settle(self) -> None:
        """Return when all that is on the way inside this process has arrived, in bounded time."""
        ...

    def close(self) -> None:
        """Let go of what is held open; nothing is asked after that."""
        ...

    async def run(self) -> None:
        """Carry words and reports until cancelled; returns at once where nobody is talked to."""
        ...
