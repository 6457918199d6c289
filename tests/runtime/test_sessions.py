"""A session's file, cut and damaged; what is written is what is read."""

import io
from decimal import Decimal
from pathlib import Path

import anyio
import msgspec
import pytest

from feeds.events import FeedState, Gap, Malformed, Status
from runtime.errors import ConfigError
from runtime.sessions.file import EVENTS, chunk_of, read_entries, read_head
from runtime.sessions.recorder import MOST_WAITING, SessionRecorder, Step, Tell
from runtime.sessions.words import (
    KINDS,
    Amended,
    Assigned,
    Cancelled,
    Ended,
    Entry,
    Finished,
    Halted,
    Head,
    Held,
    SlotStood,
    Started,
    Stepped,
    Submitted,
    Switched,
    TakenOver,
    describe,
    heard,
    recovered,
    taken_over,
    told,
)
from runtime.trading.daily_loss import DayBegun
from runtime.trading.orders import (
    ClientOrderId,
    Fill,
    Order,
    OrderState,
    OrderType,
    OrderUpdate,
    Side,
    TimeInForce,
    UpdateKind,
)
from runtime.trading.recovered import Recovered
from runtime.trading.tracked import TrackedOrder
from tests.stories.market import SPY, at, bar, quote, quote_bar, trade

ORDER = Order(
    id=ClientOrderId("x-1"),
    symbol=SPY,
    side=Side.BUY,
    quantity=Decimal("1.50"),
    type=OrderType.LIMIT,
    limit_price=Decimal("100.10"),
    time_in_force=TimeInForce.GTC,
    tag="",
    created=at(1),
)
FILL = Fill(
    fill_id="f-1",
    order_id=ORDER.id,
    symbol=SPY,
    side=Side.BUY,
    quantity=Decimal("0.5"),
    price=Decimal("100.05"),
    fee=Decimal("0.01"),
    time=at(2),
)
HEAD = Head(
    run="x", strategy="x.py:X", name="X", digest="", began=1, tidegate="0", python="3", settings={}
)
ENTRIES: list[Entry] = [
    Started(at(0), [], ""),
    SlotStood("m", 2, 1, "", 2, ""),
    Halted("why"),
    Switched(False),
    Assigned(3, ["gone"]),
    TakenOver("100.5", [(ORDER, OrderState.PARTIALLY_FILLED, "")], [FILL]),
    Held(),
    Finished(at(9), [Submitted(ORDER), Amended(ORDER), Cancelled(ORDER.id)], "it broke"),
    Ended("00", "the end"),
]


def read(content: bytes) -> list[Entry]:
    return list(read_entries(io.BytesIO(content), Path("x")))


async def begin(folder: Path, tell: Tell = lambda *_: None) -> SessionRecorder:
    return await anyio.to_thread.run_sync(SessionRecorder, folder / "s", HEAD, tell)


def test_entries_come_back_as_they_were() -> None:
    assert read(chunk_of(ENTRIES[:4]) + chunk_of(ENTRIES[4:])) == ENTRIES


def test_events_of_every_kind_come_back_as_they_were(tmp_path: Path) -> None:
    events = [
        trade(1, float("nan")),
        quote(1),
        bar(1),
        quote_bar(1),
        Gap(None, 1, 2, 3, "away"),
        Status("feed", FeedState.LIVE, 3),
        Malformed("bad", "x", 3),
        OrderUpdate(ORDER.id, UpdateKind.FILL, at(2), FILL),
    ]
    assert [type(event) for event in events] == list(KINDS)

    async def write() -> None:
        recorder = await begin(tmp_path)
        recorder.add(Step(Stepped, at(3), events, True, [], ""))
        await recorder.close("done")

    anyio.run(write)
    entries = read((tmp_path / "s" / EVENTS).read_bytes())
    assert isinstance(entries[0], Stepped)
    assert repr(heard(entries[0].events)) == repr(events)
    assert told(events)[1][0] == 1
    assert isinstance(entries[1], Ended)
    assert read_head(tmp_path / "s") == HEAD


def test_wherever_the_file_is_cut_whole_chunks_count() -> None:
    chunks = [chunk_of([entry]) for entry in ENTRIES]
    content = b"".join(chunks)
    for size in range(len(content)):
        whole, room = 0, size
        while room >= len(chunks[whole]):
            room -= len(chunks[whole])
            whole += 1
        assert read(content[:size]) == ENTRIES[:whole]


def test_a_byte_that_became_another_is_told() -> None:
    content = bytearray(chunk_of(ENTRIES) + chunk_of(ENTRIES))
    for place in (4, 8, 20, len(content) // 2 - 1):
        damaged = content.copy()
        damaged[place] ^= 1
        with pytest.raises(ConfigError, match="x is damaged at byte 0: "):
            read(bytes(damaged))


def test_an_account_comes_back_as_it_was() -> None:
    tracked = TrackedOrder(ORDER)
    tracked.submit()
    tracked.apply(OrderUpdate(ORDER.id, UpdateKind.FILL, at(2), FILL))
    tracked.request_cancel()
    day = DayBegun("2024-01-02", Decimal("99.5"), at(1))
    found = Recovered(Decimal("100.50"), (tracked,), (FILL,), day=day)
    (entry,) = read(chunk_of([taken_over(found)]))
    assert isinstance(entry, TakenOver)
    again = recovered(entry)
    assert (again.cash, again.fills, again.day) == (Decimal("100.5"), (FILL,), day)
    (order,) = again.orders
    assert (order.order, order.state, order.filled) == (ORDER, tracked.state, Decimal("0.5"))
    assert recovered(taken_over(Recovered(None))) == Recovered(None)


def test_orders_are_named_in_words() -> None:
    assert describe(Submitted(ORDER)) == "buy 1.50 SPY at 100.10 (limit, x-1)"
    assert describe(Cancelled(ORDER.id)) == "a cancel of x-1"
    stop = msgspec.structs.replace(ORDER, stop_price=Decimal(99))
    assert describe(Amended(stop)) == (
        "an amendment to buy 1.50 SPY stop 99 at 100.10 (limit, x-1)"
    )
    assert describe(None) == "nothing"


def test_a_disk_that_is_too_slow_ends_the_recording_and_not_the_run(tmp_path: Path) -> None:
    said: list[str] = []

    async def write() -> str:
        recorder = await begin(tmp_path, lambda _, event, __: said.append(event))
        for _ in range(2 * MOST_WAITING):  # faster than the thread may look
            recorder._waiting.append(Held())
        recorder.add(Held())
        recorder.add(Held())
        return (await recorder.close("done")).trouble

    assert anyio.run(write) == f"{MOST_WAITING:,} entries wait for the disk"
    assert said == ["the recording has ended, the run goes on"]


def test_the_folder_of_a_recording_is_its_own(tmp_path: Path) -> None:
    async def write() -> None:
        recorder = await begin(tmp_path)
        await recorder.close("done")
        with pytest.raises(FileExistsError):
            await begin(tmp_path)

    anyio.run(write)
    assert (tmp_path / "s").stat().st_mode & 0o077 == 0
