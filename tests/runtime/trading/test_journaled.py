"""What waits for the disk when the disk fails: no order leaves late, no report is lost."""

import asyncio
import sqlite3
import threading
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

import pytest
import structlog
import structlog.testing

from feeds.events import AssetClass, Quote, Symbol
from runtime.trading import journaled
from runtime.trading.journal import FILE, Entry, Journal, Opening
from runtime.trading.journaled import JournaledBroker
from runtime.trading.orders import ClientOrderId, Order, OrderUpdate, Side, UpdateKind
from runtime.trading.paper import PaperBroker
from runtime.trading.portfolio import Portfolio
from runtime.trading.risk import Approved, RiskGate, risk_view

SPY = Symbol("SPY")
QUOTE = Quote(SPY, 1, 1, 100.0, 50.0, 100.5, 50.0)


class FailingJournal(Journal):
    """A real one, whose disk fails while `fails` is set; `tries` is released at each failure."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        super().__init__(path, connection)
        self.fails = False
        self.tries = threading.Semaphore(0)

    def write(self, entries: Iterable[Entry]) -> None:
        if self.fails:
            self.tries.release()
            raise OSError("no room")
        super().write(entries)


class Paper(PaperBroker):
    """A real one that counts what reaches it."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[ClientOrderId] = []

    def submit(self, approved: Approved, now: int) -> None:
        self.sent.append(approved.order.id)
        super().submit(approved, now)


class Desk:
    """A journaled paper broker whose market stands at QUOTE."""

    def __init__(self, path: Path) -> None:
        self.path = path
        opened = FailingJournal.open(path)
        assert isinstance(opened, FailingJournal)
        self.journal = opened
        self.paper = Paper()
        self.alarms: list[str] = []
        log = structlog.get_logger()
        self.broker = JournaledBroker(self.paper, self.journal, log, lambda: 5)
        self.broker.alarm = self.alarms.append
        self.broker.note(Opening(Decimal(1000), 1))
        self.broker.on_market([QUOTE], 1)

    async def hear(self, count: int) -> list[OrderUpdate]:
        """Return the next reports, at least so many."""
        loop, came = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(came.set)

        self.broker.listen(wake)
        told = self.broker.take_updates()
        async with asyncio.timeout(30):
            while len(told) < count:
                await came.wait()
                came.clear()
                told += self.broker.take_updates()
        return told

    async def end(self) -> list[str]:
        """Close; the orders that the journal holds."""
        self.broker.close()
        thread = self.broker._disk._thread
        assert thread is not None
        await asyncio.to_thread(thread.join, 20)
        assert not thread.is_alive()
        return await asyncio.to_thread(self._read)

    def _read(self) -> list[str]:
        again = Journal.open(self.path)
        found: list[str] = [each.order.id for each in again.recover().orders]
        again.close()
        return found


def approved(n: int, tag: str = "") -> Approved:
    order = Order(ClientOrderId(f"r-{n}"), SPY, Side.BUY, Decimal(1), tag=tag)
    view = risk_view(
        SPY,
        asset_class=AssetClass.EQUITY,
        price=100.0,
        portfolio=Portfolio(Decimal(1000)),
        open_orders=(),
    )
    verdict = RiskGate([]).review(order, view)
    assert isinstance(verdict, Approved)
    return verdict


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(journaled, "AGAIN_SECONDS", 0.01)
    return Desk(tmp_path / FILE)


async def test_an_order_that_waits_for_a_full_disk_is_rejected_and_never_leaves(desk: Desk) -> None:
    await desk.broker.settle()
    desk.journal.fails = True
    desk.broker.submit(approved(1), 2)
    desk.broker.cancel(ClientOrderId("r-1"), 2)  # while it is being written
    (told,) = await desk.hear(1)
    assert (told.order_id, told.kind) == ("r-1", UpdateKind.REJECTED)
    assert "no room" in told.reason
    desk.broker.submit(approved(2), 3)
    (told,) = await desk.hear(1)
    assert (told.order_id, told.kind) == ("r-2", UpdateKind.REJECTED)
    await asyncio.to_thread(desk.journal.tries.acquire, timeout=30)
    desk.journal.fails = False
    assert desk.paper.sent == []
    assert await desk.end() == []


async def test_reports_wait_for_the_disk(desk: Desk) -> None:
    desk.broker.submit(approved(1), 2)
    while not desk.paper.sent:
        await desk.broker._disk.run(lambda: None)  # the intent is written
        desk.journal.fails = True
        desk.broker.take_updates()  # the order leaves, and its fill meets a full disk
    await asyncio.to_thread(desk.journal.tries.acquire, timeout=30)
    assert desk.broker.take_updates() == []
    desk.journal.fails = False
    told = await desk.hear(2)
    assert [each.kind for each in told] == [UpdateKind.ACCEPTED, UpdateKind.FILL]
    assert desk.alarms == []
    await desk.end()


async def test_an_order_that_is_no_row_is_rejected_and_the_next_one_leaves(desk: Desk) -> None:
    desk.broker.submit(approved(1, "half a character \ud800"), 2)
    desk.broker.submit(approved(2), 2)
    told = await desk.hear(3)
    assert [(each.order_id, each.kind) for each in told] == [
        ("r-1", UpdateKind.REJECTED),
        ("r-2", UpdateKind.ACCEPTED),
        ("r-2", UpdateKind.FILL),
    ]
    assert desk.paper.sent == ["r-2"]
    assert desk.alarms == []
    assert await desk.end() == ["r-2"]


async def test_a_report_that_is_no_row_is_told_and_halts(desk: Desk) -> None:
    """Its money is real, so the books of this run count it; the next one would not."""
    odd = OrderUpdate(ClientOrderId("r-9"), UpdateKind.ACCEPTED, 2, reason="half \ud800")
    desk.paper._updates.append(odd)
    assert await desk.hear(1) == [odd]
    (alarm,) = desk.alarms
    assert "it lacks OrderUpdate(order_id='r-9'" in alarm
    desk.broker.submit(approved(1), 3)
    assert [each.kind for each in desk.broker.take_updates()] == [UpdateKind.REJECTED]
    assert len(desk.alarms) == 1
    await desk.end()


async def test_closing_does_not_wait_for_a_disk_that_stays_full(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.broker.settle()
    monkeypatch.setattr(journaled, "AGAIN_SECONDS", 3600.0)
    desk.journal.fails = True
    desk.paper._updates.append(OrderUpdate(ClientOrderId("r-9"), UpdateKind.ACCEPTED, 2))
    desk.broker.take_updates()
    await asyncio.to_thread(desk.journal.tries.acquire, timeout=30)
    with structlog.testing.capture_logs() as lines:
        await desk.end()
    assert desk.journal.tries.acquire(blocking=False)  # it tried once more
    assert lines[-1] == {
        "log_level": "error",
        "event": "the journal lacks what came last",
        "rows": 1,
        "orders": ["r-9"],
        "text": "no room",
    }
