"""Replay: what is delivered, in which batches, at which pace, and how it ends."""

import asyncio
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from feeds.base import Audit, Subscription
from feeds.errors import ConfigError, DecodeError
from feeds.events import AssetClass, Bar, Event, FeedState, MarketEvent, Status, Symbol, Trade
from feeds.files import open_source
from feeds.moments import due
from feeds.replay import BATCHES_PER_CHECKPOINT, PACED_TURN, ReplayFeed

X, Y = Symbol("X"), Symbol("Y")
MILLISECOND = 1_000_000
START = 1_600_000_000 * 1_000 * MILLISECOND


def subscription(*symbols: str) -> list[Subscription]:
    return [Subscription(Symbol(symbol), AssetClass.EQUITY) for symbol in symbols]


def trade(time: int, symbol: Symbol = X) -> Trade:
    return Trade(symbol, START + time, START + time, 1.0, 1.0)


class Listed:
    """A source of a list, which knows whether it was closed."""

    name = "listed"

    def __init__(self, events: Sequence[MarketEvent]) -> None:
        self._events = events
        self._audit = Audit()
        self.closed = False

    def events(self) -> Iterator[MarketEvent]:
        try:
            for event in self._events:
                self._audit.rows += 1
                self._audit.rows_used += 1
                self._audit.events += 1
                yield event
        finally:
            self.closed = True

    def audit(self) -> Audit:
        return self._audit


class Taker:
    """Keeps what was delivered."""

    def __init__(self) -> None:
        self.batches: list[Sequence[Event]] = []

    async def __call__(self, batch: Sequence[Event]) -> None:
        self.batches.append(batch)

    @property
    def events(self) -> list[Event]:
        return [event for batch in self.batches for event in batch]


async def test_flat_out_delivers_one_moment_a_batch_and_then_the_end() -> None:
    events = [trade(1), trade(1, Y), trade(2), trade(5), trade(5), trade(5)]
    feed, taker = ReplayFeed(Listed(events)), Taker()
    assert feed.lockstep
    await feed.run(subscription("X", "Y"), taker)
    end = Status("listed", FeedState.ENDED, START + 5, "all was played")
    assert taker.batches == [events[:2], events[2:3], events[3:], [end]]
    assert feed.statistics().events == 6


async def test_bar_comes_at_its_end() -> None:
    bar = Bar(X, START, START + 10, 10, 1.0, 1.0, 1.0, 1.0, 1.0)
    taker = Taker()
    await ReplayFeed(Listed([trade(9), bar, trade(10)])).run(subscription("X"), taker)
    assert taker.batches[:-1] == [[trade(9)], [bar, trade(10)]]


@pytest.mark.parametrize("speed", [None, 1000.0])
async def test_only_subscribed_symbols_come_and_the_rest_is_counted(speed: float | None) -> None:
    feed, taker = ReplayFeed(Listed([trade(1), trade(2, Y), trade(3)]), speed), Taker()
    await feed.run(subscription("X"), taker)
    assert taker.events[:-1] == [trade(1), trade(3)]
    statistics = feed.statistics()
    assert (statistics.frames, statistics.events) == (3, 2)
    assert (statistics.foreign, statistics.unplayed, statistics.ignored) == (1, 0, {})


async def test_end_names_what_was_asked_for_and_never_came() -> None:
    taker = Taker()
    await ReplayFeed(Listed([trade(1)])).run(subscription("X", "QQQ", "SPY"), taker)
    (end,) = taker.batches[-1]
    assert isinstance(end, Status)
    assert end.detail == "all was played; it holds nothing of QQQ, SPY"


async def test_source_may_be_a_plain_iterator() -> None:
    class Plain(Listed):
        def events(self) -> Iterator[MarketEvent]:
            return iter(self._events)

    taker = Taker()
    await ReplayFeed(Plain([trade(1)])).run(subscription("X"), taker)
    assert taker.events[:-1] == [trade(1)]


@pytest.mark.parametrize("speed", [None, 1000.0])
async def test_nothing_to_play_is_an_end(speed: float | None) -> None:
    for source in (Listed([]), Listed([trade(1, Y)])):
        taker = Taker()
        await ReplayFeed(source, speed).run(subscription("X"), taker)
        assert [type(event) for event in taker.events] == [Status]
        assert source.closed


async def test_recorded_day_comes_whole_and_in_lockstep(shared_data: Path) -> None:
    folder = shared_data / "lean" / "equity" / "usa" / "second" / "ibm"
    source = await asyncio.to_thread(open_source, [folder])
    feed, taker = ReplayFeed(source), Taker()
    await feed.run(subscription("IBM"), taker)
    moments = [{due(event) for event in batch} for batch in taker.batches[:-1]]  # type: ignore[arg-type]
    assert all(len(batch) == 1 for batch in moments)
    recorded = await asyncio.to_thread(lambda: {due(event) for event in source.events()})
    assert [moment.pop() for moment in moments] == sorted(recorded)
    statistics = feed.statistics()
    assert statistics.frames == statistics.events == 11_676 + 5_123


async def test_flat_out_lets_other_tasks_run() -> None:
    """The taker never waits, and still somebody else gets the loop now and then."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    batches = 10 * BATCHES_PER_CHECKPOINT
    seen: list[int] = []

    async def deliver(batch: Sequence[Event]) -> None:
        seen.append(turns)

    await ReplayFeed(Listed([trade(n) for n in range(batches)])).run(subscription("X"), deliver)
    task.cancel()
    assert len(set(seen)) >= 10


async def test_pace_keeps_the_recorded_distances_divided_by_the_speed() -> None:
    loop = asyncio.get_running_loop()
    events = [trade(n * 200 * MILLISECOND) for n in range(5)]
    arrivals: list[float] = []

    async def deliver(batch: Sequence[Event]) -> None:
        arrivals.extend(loop.time() for event in batch if isinstance(event, Trade))

    feed = ReplayFeed(Listed(events), speed=20.0)
    assert not feed.lockstep
    begun = loop.time()
    await feed.run(subscription("X"), deliver)
    # No event is early; how late they are is the machine's business.
    resolution = 0.002
    for number, arrival in enumerate(arrivals):
        assert arrival - begun >= number * 0.01 - resolution


async def test_slow_taker_gets_what_became_due_in_one_batch() -> None:
    events = [trade(n * MILLISECOND) for n in range(PACED_TURN)]
    taker = Taker()

    async def deliver(batch: Sequence[Event]) -> None:
        if not taker.batches:
            await asyncio.sleep(0.02)
        await taker(batch)

    await ReplayFeed(Listed(events), speed=100.0).run(subscription("X"), deliver)
    assert taker.events[:-1] == events
    assert len(taker.batches[1]) > 100


async def test_pace_goes_over_many_turns_of_reading() -> None:
    events = [trade(n) for n in range(3 * PACED_TURN + 7)]
    taker = Taker()
    await ReplayFeed(Listed(events), speed=1.0).run(subscription("X"), taker)
    assert taker.events[:-1] == events


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan"), float("inf")])
def test_speed_is_above_zero(speed: float) -> None:
    with pytest.raises(ConfigError, match="speed"):
        ReplayFeed(Listed([]), speed)


async def test_cancelled_replay_closes_its_source() -> None:
    source = Listed([trade(0), trade(3_600_000 * MILLISECOND)])
    taker = Taker()
    begun = asyncio.Event()

    async def deliver(batch: Sequence[Event]) -> None:
        await taker(batch)
        begun.set()

    task = asyncio.create_task(ReplayFeed(source, speed=1.0).run(subscription("X"), deliver))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert source.closed
    assert taker.events == [trade(0)]


async def test_taker_that_fails_closes_the_source() -> None:
    async def deliver(batch: Sequence[Event]) -> None:
        raise KeyError

    source = Listed([trade(0), trade(1)])
    with pytest.raises(KeyError):
        await ReplayFeed(source).run(subscription("X"), deliver)
    assert source.closed


async def test_damage_in_the_middle_comes_after_what_was_good(tmp_path: Path) -> None:
    path = tmp_path / "equity" / "usa" / "tick" / "x" / "20131007_trade.zip"
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", "".join(f"{n},{n + 1},{n % 97},P,0,0\n" for n in range(200_000)))
    data = bytearray(path.read_bytes())
    data[-5000:-4900] = bytes(100)
    path.write_bytes(data)
    source = await asyncio.to_thread(open_source, [path])
    taker = Taker()
    with pytest.raises(DecodeError, match=r"20131007_trade.zip"):
        await ReplayFeed(source).run(subscription("X"), taker)
    assert len(taker.events) > 50_000


async def test_statistics_may_be_asked_at_any_moment(shared_data: Path) -> None:
    path = shared_data / "lean" / "equity" / "usa" / "tick" / "ibm" / "20131007_quote.zip"
    feed = ReplayFeed(await asyncio.to_thread(open_source, [path]))
    frames: list[int] = []

    async def deliver(batch: Sequence[Event]) -> None:
        frames.append(feed.statistics().frames)

    await feed.run(subscription("IBM"), deliver)
    assert frames == sorted(frames)
    assert feed.statistics().suspicious == 1
