"""From a tick's sending to on_data, while others watch: each case beside one that nobody sees.

The run serves its control API as it does live, and its strategy logs 20 lines a second. The readers
are in a process of their own. Each case is measured between two stretches without readers, and its
ratio is to their mean; a row has the medians over the passes. One case is the same reading process
busy with nothing of ours: what a third process costs on this machine in any case.
Run it: python -m benchmarks.control [--rate N] [--seconds S] [--passes N]
"""

import argparse
import io
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import anyio
import numpy as np

from benchmarks.stamping_venue import KEY
from benchmarks.training_latency import QUANTILES, SYMBOLS, venue
from feeds.stream import AlpacaFeed
from runtime import Resolution, Slice, Strategy
from runtime.assembly import build_run
from runtime.clock import SystemClock
from runtime.control.api.operator import Operator
from runtime.control.api.server import serving
from runtime.control.board import Board, Identity
from runtime.control.logs import open_log
from runtime.control.snapshots import publish
from runtime.settings import LogSettings, load_settings

SETTLE_SECONDS = 1.0
"""What is not counted before a stretch: readers start then."""
CASES = {
    "20 streams, read": ("streams", 20),
    "20 pollers, 5 a second each": ("polls", 20),
    "20 readers of a pipe": ("elsewhere", 20),
    "300 streams, never read": ("unread", 300),
    "1,000 connections, silent": ("silent", 1000),
}


class Probe(Strategy):
    """Notes how old each tick is when on_data sees it, and talks now and then."""

    def initialize(self) -> None:
        """Ask for every tick."""
        self.next_line = 0
        for symbol in SYMBOLS:
            self.add_crypto(symbol, Resolution.TICK)

    def on_data(self, slice: Slice) -> None:
        """Note the ages."""
        now = time.time_ns()
        AGES.extend([now - event.time for event in slice.events])  # type: ignore[union-attr]
        if now >= self.next_line:
            self.next_line = now + 50_000_000
            self.log("tick", time=now, symbol=SYMBOLS[0])


AGES: list[int] = []


@contextmanager
def readers(socket: Path, kind: str, count: int) -> Iterator[None]:
    """Have so many readers of a kind in a process of their own."""
    command = [sys.executable, "-m", "benchmarks.control_readers", str(socket), kind, str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()  # all of them are there
        try:
            yield
        finally:
            process.stdin.close()


async def stretch(seconds: float, socket: Path, case: tuple[str, int] | None) -> dict[str, float]:
    """Return the quantiles of one stretch, in ms."""
    watched = nullcontext() if case is None else readers(socket, *case)
    with ExitStack() as stack:
        await anyio.to_thread.run_sync(stack.enter_context, watched)
        await anyio.sleep(SETTLE_SECONDS)
        AGES.clear()
        spent, began = _api_ns(), time.monotonic_ns()
        await anyio.sleep(seconds)
        share = (_api_ns() - spent) / (time.monotonic_ns() - began)
        ages = np.array(AGES) / 1e6
        rss = _rss_mb()
        await anyio.to_thread.run_sync(stack.pop_all().close)
    figures = {name: float(np.quantile(ages, q)) for name, q in QUANTILES.items()}
    return {
        **figures,
        "ticks_per_s": len(ages) / seconds,
        "rss_mb": rss,
        "api_cpu_percent": 100 * share,
    }


def _api_ns() -> int:
    """Return what the API's thread has had of a processor, ns, whoever else uses the machine."""
    thread = next(each for each in threading.enumerate() if each.name == "control-api")
    return int(Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text().split()[0])


def _rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


Pass = dict[str, tuple[dict[str, float], dict[str, float]]]


async def one_pass(seconds: float, socket: Path) -> Pass:
    """Measure each case between two stretches without readers."""
    found: Pass = {}
    before = await stretch(seconds, socket, None)
    for name, case in CASES.items():
        figures = await stretch(seconds, socket, case)
        after = await stretch(seconds, socket, None)
        found[name] = figures, {key: (before[key] + after[key]) / 2 for key in before}
        before = after
    return found


async def measure(rate: float, seconds: float, passes: int) -> list[Pass]:
    """Run the whole thing once and return its passes, without the first, which warms up."""
    board = Board(time.time_ns)
    found: list[Pass] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        open_log(LogSettings(format="json"), io.StringIO(), tap=board.wrote) as (log, sinks),
        venue(rate) as url,
    ):
        board.places.append(sinks.statistics)
        feed = AlpacaFeed(url, KEY, KEY)
        settings, _ = load_settings(None, {})
        run = build_run(Probe(), settings, feed, SystemClock(), log, "bench", board=board)
        board.identity = Identity("bench", run.id, "Probe", time.time_ns(), 0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.run)
            tasks.start_soon(publish, run, board)
            operator = Operator(run, board, lambda _: None)
            async with serving(Path(folder), board, operator, lambda: 0.0, log):
                while not AGES:  # noqa: ASYNC110  # the first tick
                    await anyio.sleep(0.05)
                socket = Path(folder) / "api.sock"
                await one_pass(0.5, socket)
                for number in range(passes):
                    print(f"pass {number + 1} of {passes}", file=sys.stderr)
                    found.append(await one_pass(seconds, socket))
            run.stop("measured")
            tasks.cancel_scope.cancel()
    return found


def table(passes: list[Pass]) -> list[dict[str, object]]:
    """Return one row a case: medians over the passes, in ms, and the ratio of the p99s."""
    unseen = [beside for found in passes for _, beside in found.values()]
    rows: list[dict[str, object]] = [{"readers": "nobody", **_medians(unseen), "p99_ratio": 1.0}]
    for case in passes[0]:
        pairs = [found[case] for found in passes]
        ratio = statistics.median(busy["p99"] / beside["p99"] for busy, beside in pairs)
        figures = _medians([busy for busy, _ in pairs])
        rows.append({"readers": case, **figures, "p99_ratio": round(ratio, 2)})
    return rows


def _medians(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: round(statistics.median(row[key] for row in rows), 3) for key in rows[0]}


def main() -> None:
    """Print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=5_000.0, help="ticks a second")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a stretch")
    parser.add_argument("--passes", type=int, default=5)
    arguments = parser.parse_args()
    rows = table(anyio.run(measure, arguments.rate, arguments.seconds, arguments.passes))
    heads = "".join(f"{head:>9}" for head in ("p50", "p99", "p99.9", "max", "RSS MB"))
    print(f"{'readers':<30}{heads}{'API cpu %':>10}  p99/nobody")
    for row in rows:
        times = "".join(f"{row[key]:>9.3f}" for key in ("p50", "p99", "p99.9", "max", "rss_mb"))
        times += f"{row['api_cpu_percent']:>10.2f}"
        print(f"{row['readers']:<30}{times}  {row['p99_ratio']}")
    print("ms from sending to on_data; budget: 20 streams not to be told from 20 readers of a pipe")
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
