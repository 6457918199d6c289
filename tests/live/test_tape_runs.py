"""A tape over the venue's socket: the engine goes by its time, at any speed, as a replay would."""

from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from feeds.events import SECOND, Event, Symbol
from runtime import Resolution, Slice, Strategy
from runtime.assembly import run_strategy
from runtime.errors import RunFailed, TidegateError
from runtime.live import Outcome
from runtime.settings import load_settings
from runtime.sources import Credentials
from tests.live.venue_kit import CREDENTIALS, START, Endless, ListTape, serving, trades
from tests.stories.market import listening

KEYS = Credentials(CREDENTIALS.key, CREDENTIALS.secret)
FLAT_OUT = 0.0
WAYS: list[dict[str, Any]] = [
    {"kind": "replay", "speed": FLAT_OUT},
    {"kind": "replay", "speed": 20_000.0},
    {"kind": "paper", "speed": FLAT_OUT},
    {"kind": "paper", "speed": 20_000.0},
]


class Watcher(Strategy):
    """Keeps all that it is told and when, and buys once."""

    def __init__(self, resolution: Resolution, *symbols: str) -> None:
        self.resolution, self.names = resolution, symbols
        self.began = 0
        self.enough: int | None = None
        self.told: list[tuple[int, Event]] = []
        self.fills: list[tuple[int, str]] = []

    def initialize(self) -> None:
        self.began = self.time_ns
        for name in self.names:
            self.add_security(name, self.resolution)

    def on_data(self, slice: Slice) -> None:
        if not self.told:
            self.market_order(self.names[0], 1)
        self.told += [(self.time_ns, event) for event in slice.events]
        if self.enough is not None and len(self.told) >= self.enough:
            self.quit("enough")

    def on_order_event(self, order_event: Any) -> None:
        if order_event.fill_quantity:
            self.fills.append((order_event.time, str(order_event.fill_price)))


async def watch(
    feed: dict[str, Any],
    resolution: Resolution,
    *symbols: str,
    folder: Path,
    enough: int | None = None,
    **more: Any,
) -> tuple[Watcher, Outcome, list[dict[str, Any]]]:
    settings, _ = load_settings(None, {"state_dir": str(folder), "feed": feed})
    strategy = Watcher(resolution, *symbols)
    strategy.enough = enough
    log, lines = listening()
    with anyio.fail_after(50):
        outcome = await run_strategy(strategy, settings, log, **more)
    return strategy, outcome, lines


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Two symbols that trade three times a second for five minutes, two of them at one moment."""
    rows = ["time,received,symbol,price,size,trade_id"]
    for n in range(900):
        time = START + n * SECOND // 3
        late = 40_000_000 * (n % 2)  # so that arrivals cross the ends of bars that times do not
        rows.append(f"{time},{time + late},SPY,{100 + n % 7},1,{n}")
        rows.append(f"{time},{time + late},BTC/USD,{200 + n % 5},0.5,x{n}")
    path = tmp_path / "ticks.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize("resolution", [Resolution.TICK, Resolution.SECOND, Resolution.MINUTE])
async def test_same_tape_same_run_whatever_carries_it_and_however_fast(
    tmp_path: Path, table: Path, resolution: Resolution
) -> None:
    """The strategy is told the same at the same times, and its order fills at the same price."""
    runs = []
    for way in WAYS:
        feed = {**way, "data": [str(table)]}
        strategy, outcome, _ = await watch(feed, resolution, "SPY", "BTC/USD", folder=tmp_path)
        assert outcome.failure is None
        assert outcome.reason == "the data has ended"
        runs.append((strategy.began, strategy.told, strategy.fills, outcome.engine))
        if way["kind"] == "paper":
            assert outcome.figures()["venue_rows_used"] == outcome.figures()["venue_events"] == 1800
            assert outcome.figures()["feed_events"] == 1800
    assert runs[0][0] == START
    assert len(runs[0][1]) >= 8
    assert len(runs[0][2]) == 1
    assert all(run == runs[0] for run in runs[1:])


@pytest.mark.parametrize(
    ("data", "symbol", "resolution", "count"),
    [
        ("equity/usa/minute/spy/20131007_trade.zip", "SPY", Resolution.MINUTE, 828),
        ("equity/usa/second/ibm/20131007_trade.zip", "IBM", Resolution.SECOND, 5123),
        ("forex/oanda/minute/eurusd", "EUR/USD", Resolution.MINUTE, 1363),
    ],
)
async def test_recorded_bars_of_every_kind_come_whole(
    tmp_path: Path,
    shared_data: Path,
    data: str,
    symbol: str,
    resolution: Resolution,
    count: int,
) -> None:
    """Also those that Alpaca's stream has no words for: seconds, and bars of quotes."""
    told = []
    for way in (WAYS[0], WAYS[2], WAYS[3]):
        feed = {**way, "data": [str(shared_data / "lean" / data)]}
        strategy, outcome, _ = await watch(feed, resolution, symbol, folder=tmp_path)
        assert outcome.failure is None
        assert outcome.engine.events == count
        told.append(strategy.told)
    assert told[0] == told[1] == told[2]
    assert all(time >= event.end_time for time, event in told[0])  # type: ignore[union-attr]


async def test_a_symbol_that_the_data_has_not_is_one_sentence(tmp_path: Path, table: Path) -> None:
    feed = {"kind": "paper", "speed": FLAT_OUT, "data": [str(table)]}
    _, outcome, _ = await watch(feed, Resolution.TICK, "QQQ", folder=tmp_path)
    assert isinstance(outcome.failure, RunFailed)
    assert str(outcome.failure) == "the data held nothing for QQQ: it holds BTC/USD, SPY"


async def test_bars_that_the_channels_cannot_carry_are_refused_not_silent(
    tmp_path: Path, shared_data: Path
) -> None:
    """Only where somebody insists on the wall clock, and so on the channels of Alpaca."""
    data = str(shared_data / "lean/equity/usa/second/ibm")
    feed = {"kind": "paper", "speed": FLAT_OUT, "data": [data], "clock": "wall"}
    _, outcome, _ = await watch(feed, Resolution.SECOND, "IBM", folder=tmp_path)
    assert outcome.reason == (
        "the venue does not serve IBM: take them out, or name a venue that does; "
        "the data holds IBM, on a tape only: leave --clock wall out, or use --feed replay"
    )


async def test_a_sped_up_market_has_bars_of_its_own_time(tmp_path: Path) -> None:
    feed = {"kind": "paper", "speed": 600.0, "rate": 2.0}
    strategy, outcome, _ = await watch(
        feed, Resolution.MINUTE, "SPY", folder=tmp_path, duration=1.0
    )
    assert outcome.failure is None
    bars = [(time, event) for time, event in strategy.told if hasattr(event, "end_time")]
    assert bars
    assert all(event.end_time <= time for time, event in bars)


# --- a venue that runs already ----------------------------------------------------------------


async def test_a_venue_of_another_time_is_told_once_by_the_wall_clock(tmp_path: Path) -> None:
    async with serving(ListTape(trades(500, Symbol("SPY"))), speed=None) as venue:
        feed = {"url": venue.url}
        strategy, _, lines = await watch(
            feed, Resolution.TICK, "SPY", folder=tmp_path, credentials=KEYS
        )
    (warning,) = [line for line in lines if "far from this run's clock" in line["event"]]
    assert "--clock venue" in warning["event"]
    assert warning["level"] == "warning"
    assert "days" in warning["behind"]
    assert len(strategy.told) == 500
    assert min(time for time, _ in strategy.told) > START + SECOND * 86_400


async def test_its_clock_counts_where_the_user_says_so(tmp_path: Path) -> None:
    tape = [msgspec.structs.replace(t, received=t.time) for t in trades(500, Symbol("SPY"))]
    async with serving(ListTape(tape), speed=None) as venue:
        feed = {"url": venue.url, "clock": "venue"}
        strategy, outcome, lines = await watch(
            feed, Resolution.TICK, "SPY", folder=tmp_path, credentials=KEYS
        )
    assert [line for line in lines if line["level"] == "warning"] == []
    assert [time for time, _ in strategy.told] == [START + n * SECOND // 1000 for n in range(500)]
    assert strategy.fills == [(START, "100.0")]
    assert outcome.engine.slices == 500


async def test_a_venue_of_the_present_is_not_warned_of(tmp_path: Path) -> None:
    async with serving(Endless()) as venue:
        _, outcome, lines = await watch(
            {"url": venue.url},
            Resolution.TICK,
            "SPY",
            folder=tmp_path,
            credentials=KEYS,
            enough=1,
        )
    assert outcome.reason == "enough"
    assert [line for line in lines if line["level"] == "warning"] == []


async def test_a_tape_that_ends_in_silence_is_a_failed_run(tmp_path: Path) -> None:
    tape = trades(5, Symbol("SPY"))
    market = ListTape(tape)
    market.symbols.add(Symbol("QQQ"))
    async with serving(market, speed=None) as venue:
        _, outcome, _ = await watch(
            {"url": venue.url}, Resolution.TICK, "QQQ", folder=tmp_path, credentials=KEYS
        )
    assert str(outcome.failure) == "the venue's tape has ended and held nothing for QQQ"


@pytest.mark.parametrize("kind", ["replay", "synthetic"])
def test_a_tape_of_files_has_no_wall_clock(kind: str) -> None:
    with pytest.raises(TidegateError, match=f"feed.clock is wall: a {kind} tape goes by its own"):
        load_settings(None, {"feed": {"kind": kind, "clock": "wall"}})
