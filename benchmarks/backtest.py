"""Ticks a second through a whole backtest of an EMA cross, beside a bare loop and NautilusTrader.

The ticks are LEAN's SPY trades of one day. `1 symbol` is that day with strategies/ema_cross.py,
`100 symbols` are a hundred different stretches of it, all from the open on, with a strategy that
does the same for each. Tidegate is measured twice: from the zips, and with what is read held in
memory, as the others have it. All take turns, and their fills must agree in count, side and order.

NautilusTrader comes from an environment of its own, named by --nautilus or BENCH_NAUTILUS:
python3.12 -m venv DIR && DIR/bin/pip install nautilus_trader
Run it: python -m benchmarks.backtest [--passes N] [--nautilus DIR] [--profile FILE]
"""

import argparse
import cProfile
import json
import os
import statistics
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple, Self

import msgspec
import numpy as np
import structlog

from benchmarks.bare_loop import Loop, Row
from benchmarks.crosses import EmaCrosses
from feeds.base import Audit, Source, Subscription
from feeds.columns import TradeColumns
from feeds.events import MarketEvent, Symbol
from feeds.files import open_source
from feeds.files.strands import Strand
from runtime.loading import load_strategy
from runtime.settings import load_settings
from runtime.simulation import build_backtest
from runtime.strategy import Strategy

DAY = Path("lean/equity/usa/tick/spy/20131007_trade.zip")
MEMBER = "20131007_spy_Trade_Tick.csv"
OPEN_MS = 34_200_000  # 9:30, ms after midnight
SYMBOLS, STRETCH = 100, 10_000
BLOCK = 8_192
OTHER = Path(__file__).with_name("backtest_nautilus.py")
STRATEGY = Path(__file__).parent.parent / "strategies" / "ema_cross.py"

Sides = dict[str, list[str]]
"""Of each symbol: buy or sell, fill by fill."""


class Case(NamedTuple):
    """Some zips, and how to make the strategy that is run over them."""

    name: str
    zips: list[Path]
    symbols: list[str]
    strategy: Callable[[], Strategy]


class Measured(NamedTuple):
    """Ticks a second of one run, and its fills."""

    rate: float
    fills: Sides


class Line(msgspec.Struct):
    """The medians of one case, ticks a second; `others` without NautilusTrader are None."""

    case: str
    ticks: int
    fills: int
    from_zips: float
    from_memory: float
    bare_loop: float
    nautilus: float | None
    of_bare_loop: float
    times_nautilus: float | None


def one_symbol(day: Path) -> Case:
    """The whole day, as it is."""
    return Case("1 symbol", [day], ["SPY"], lambda: load_strategy(str(STRATEGY)))


def many_symbols(day: Path, folder: Path) -> Case:
    """Different stretches of the day as so many symbols, each from the open on."""
    with zipfile.ZipFile(day) as archive:
        text = archive.read(archive.namelist()[0]).decode()
    rows = [line.split(",", 1) for line in text.splitlines()]
    names = [f"X{n:02}" for n in range(SYMBOLS)]
    zips = []
    for n, name in enumerate(names):
        first = n * (len(rows) - STRETCH) // SYMBOLS
        stretch = rows[first : first + STRETCH]
        moved = OPEN_MS - int(stretch[0][0])
        path = folder / f"equity/usa/tick/{name.lower()}/{day.name}"
        path.parent.mkdir(parents=True)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            lines = [f"{int(ms) + moved},{rest}\n" for ms, rest in stretch]
            archive.writestr(MEMBER.replace("spy", name.lower()), "".join(lines))
        zips.append(path)
    return Case(f"{SYMBOLS} symbols", zips, names, lambda: EmaCrosses(names))


class FromZips:
    """Files that are read while the backtest runs."""

    def __init__(self, zips: Sequence[Path]) -> None:
        self._zips = zips

    def open(self, _: Sequence[Subscription]) -> Source:
        """Open them."""
        return open_source(self._zips)

    def held(self) -> str:
        """Name what it holds."""
        return "ticks"


class FromMemory:
    """What is in the files, read before."""

    name = "memory"

    def __init__(self, zips: Sequence[Path]) -> None:
        source = open_source(zips)
        self._events = list(source.events())
        self._audit = source.audit()
        series: dict[Symbol, list[MarketEvent]] = {}
        for event in self._events:
            series.setdefault(event.symbol, []).append(event)
        self._series = {
            symbol: [columns_of(events[n : n + BLOCK]) for n in range(0, len(events), BLOCK)]
            for symbol, events in series.items()
        }

    @property
    def rows(self) -> list[Row]:
        """As the bare loop and NautilusTrader take them."""
        return [(e.time, e.symbol, e.price, e.size) for e in self._events]  # type: ignore[union-attr]  # trades

    def open(self, _: Sequence[Subscription]) -> Self:
        """Return itself."""
        return self

    def held(self) -> str:
        """Name what it holds."""
        return "ticks"

    def events(self) -> Iterator[MarketEvent]:
        """Go through them."""
        return iter(self._events)

    def strands(self) -> list[Strand]:
        """Go through them by symbol, in columns."""
        return [Strand(symbol, iter(blocks)) for symbol, blocks in self._series.items()]

    def audit(self) -> Audit:
        """Return the counts of the reading."""
        return self._audit


def columns_of(events: Sequence[MarketEvent]) -> TradeColumns:
    """The columns of trades that are in order of time.

    Raises:
        ValueError: they are not.
    """
    columns = TradeColumns.of(events)
    if columns is None:
        raise ValueError("the ticks of the benchmark are no trades in order of time")
    return columns


def through_tidegate(
    case: Case, data: FromZips | FromMemory, begin: int, profile: cProfile.Profile | None = None
) -> Measured:
    """Run the backtest as the command does, and time its data."""
    parameters = {"symbol": case.symbols[0]} if len(case.symbols) == 1 else {}
    settings, _ = load_settings(None, {"parameters": parameters})
    silent = structlog.wrap_logger(
        structlog.ReturnLogger(), wrapper_class=structlog.make_filtering_bound_logger(50)
    )
    test = build_backtest(case.strategy(), settings, begin, silent)
    with profile or nullcontext():
        outcome = test.run(data, begin)
    if outcome.failure is not None:
        raise outcome.failure
    fills: Sides = {}
    for fill in test.journal.fills:
        fills.setdefault(fill.symbol, []).append(str(fill.side))
    return Measured(outcome.engine.events / test.seconds, fills)


def through_a_bare_loop(case: Case, rows: Sequence[Row]) -> Measured:
    """Run the loop over rows that are there."""
    loop = Loop(case.symbols)
    began = time.perf_counter()
    told = loop.run(rows)
    rate = len(rows) / (time.perf_counter() - began)
    fills: Sides = {}
    for symbol, side in told:
        fills.setdefault(symbol, []).append(side)
    return Measured(rate, fills)


def through_nautilus(python: Path, ticks: Path) -> Measured:
    """Run its own script in its own environment."""
    told = subprocess.run(
        [python, "-W", "ignore", OTHER, ticks], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    answer = json.loads(told.splitlines()[-1])
    return Measured(answer["rate"], answer["fills"])


def write_columns(rows: Sequence[Row], symbols: Sequence[str], path: Path) -> None:
    """Write the rows for the other environment."""
    places = {symbol: place for place, symbol in enumerate(symbols)}
    np.savez(
        path,
        time=np.array([row[0] for row in rows], np.int64),
        symbol=np.array([places[row[1]] for row in rows], np.int64),
        price=np.array([row[2] for row in rows]),
        size=np.array([row[3] for row in rows]),
        symbols=np.array(symbols),
    )


def measure(case: Case, nautilus: Path | None, passes: int, folder: Path) -> Line:
    """Let all take turns and return the medians.

    Raises:
        RuntimeError: their fills do not agree.
    """
    memory = FromMemory(case.zips)
    rows = memory.rows
    begin = rows[0][0]
    ways: dict[str, Callable[[], Measured]] = {
        "from zips": lambda: through_tidegate(case, FromZips(case.zips), begin),
        "from memory": lambda: through_tidegate(case, memory, begin),
        "bare loop": lambda: through_a_bare_loop(case, rows),
    }
    if nautilus is not None:
        ticks = folder / f"{case.name}.npz"
        write_columns(rows, case.symbols, ticks)
        ways["nautilus"] = lambda: through_nautilus(nautilus, ticks)
    found: dict[str, list[float]] = {way: [] for way in ways}
    told: Sides | None = None
    for _ in range(passes):
        for way, run in ways.items():
            measured = run()
            found[way].append(measured.rate)
            told = told or measured.fills
            if measured.fills != told:
                raise RuntimeError(
                    f"{case.name}: the fills of {way} {differ(told, measured.fills)}"
                )
    middle = {way: statistics.median(rates) for way, rates in found.items()}
    theirs = middle.get("nautilus")
    return Line(
        case=case.name,
        ticks=len(rows),
        fills=sum(map(len, (told or {}).values())),
        from_zips=round(middle["from zips"]),
        from_memory=round(middle["from memory"]),
        bare_loop=round(middle["bare loop"]),
        nautilus=None if theirs is None else round(theirs),
        of_bare_loop=round(middle["from memory"] / middle["bare loop"], 3),
        times_nautilus=None if theirs is None else round(middle["from memory"] / theirs, 1),
    )


def differ(expected: Sides, found: Sides) -> str:
    """Say where fills differ."""
    for symbol in sorted(expected.keys() | found.keys()):
        ours, theirs = expected.get(symbol, []), found.get(symbol, [])
        if ours != theirs:
            return f"of {symbol} are {len(theirs)} and not {len(ours)}, or of other sides"
    return "agree"


def python_of(given: str | None) -> Path | None:
    """The interpreter of NautilusTrader's environment, where there is one."""
    if not given:
        return None
    python = Path(given) / "bin" / "python"
    return python if python.exists() else None


def main() -> None:
    """Print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--nautilus", default=os.environ.get("BENCH_NAUTILUS"))
    parser.add_argument("--profile", type=Path, help="profile one run of each case from zips")
    arguments = parser.parse_args()
    day = Path(os.environ.get("TIDEGATE_SHARED_DATA", "../shared/data")) / DAY
    nautilus = python_of(arguments.nautilus)
    with tempfile.TemporaryDirectory() as folder:
        cases = [one_symbol(day), many_symbols(day, Path(folder))]
        if arguments.profile is not None:
            profile = cProfile.Profile()
            for case in cases:
                begin = FromMemory(case.zips).rows[0][0]
                through_tidegate(case, FromZips(case.zips), begin, profile)
            profile.dump_stats(arguments.profile)
            return
        lines = [measure(case, nautilus, arguments.passes, Path(folder)) for case in cases]
    if nautilus is None:
        print(
            "NautilusTrader is left out: name its environment with --nautilus (see the docstring)"
        )
    print(
        "ticks/s         ticks  fills   from zips  from memory   bare loop   share    nautilus"
        "  times"
    )
    for line in lines:
        theirs, times = ("-", "-")
        if line.nautilus is not None:
            theirs, times = f"{line.nautilus:,.0f}", f"{line.times_nautilus:.1f}"
        print(
            f"{line.case:<12} {line.ticks:>8,} {line.fills:>6,} {line.from_zips:>11,.0f} "
            f"{line.from_memory:>12,.0f} {line.bare_loop:>11,.0f} {line.of_bare_loop:>7.2f} "
            f"{theirs:>11} {times:>6}"
        )
    print("budget: over 1,000,000 ticks/s, a share of 0.3, and 10 times NautilusTrader")
    print(json.dumps([msgspec.to_builtins(line) for line in lines]))


if __name__ == "__main__":
    main()
