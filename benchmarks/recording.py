"""What `--record` costs: from a tick's sending to on_data, with and without a recorder beside it.

The same venue process and the same strategy as in training_latency, run after run in turn; nothing
trains. A row has the medians over the passes, and CPU seconds of this process a second.
Run it: python -m benchmarks.recording [--rate N] [--seconds S] [--passes N]
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import anyio
import structlog

from benchmarks.stamping_venue import KEY
from benchmarks.training_latency import AGES, Probe, stretch, venue
from feeds.stream import AlpacaFeed
from runtime.assembly import build_run
from runtime.clock import SystemClock
from runtime.sessions.recorder import SessionRecorder
from runtime.sessions.words import Head
from runtime.settings import load_settings

SILENT = structlog.wrap_logger(
    structlog.ReturnLogger(), wrapper_class=structlog.make_filtering_bound_logger(50)
)
HEAD = Head(
    run="bench", strategy="", name="", digest="", began=0, tidegate="", python="", settings={}
)


async def measure(rate: float, seconds: float, folder: Path | None) -> dict[str, float]:
    """Run once and return the quantiles in ms, CPU, and bytes written a tick."""
    settings, _ = load_settings(None, {})
    recorder = None
    if folder is not None:
        recorder = await anyio.to_thread.run_sync(SessionRecorder, folder, HEAD, print)
    with venue(rate) as url:
        feed = AlpacaFeed(url, KEY, KEY)
        run = build_run(Probe(), settings, feed, SystemClock(), SILENT, "bench", recorder=recorder)
        AGES.clear()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.run)
            while not AGES:  # noqa: ASYNC110  # the first tick
                await anyio.sleep(0.05)
            await stretch(0.5, None)
            cpu = time.process_time()
            figures = await stretch(seconds, None)
            figures["cpu"] = (time.process_time() - cpu) / (seconds + 0.3)
            run.stop("measured")
    if recorder is not None:
        done = await recorder.close("measured")
        figures["bytes_a_tick"] = done.bytes / max(1, run.engine.statistics().events)
    return figures


def main() -> None:
    """Print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=10_000.0, help="ticks a second")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a stretch")
    parser.add_argument("--passes", type=int, default=5)
    arguments = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {"plain": [], "recorded": []}
    with tempfile.TemporaryDirectory() as place:
        for number in range(arguments.passes):
            print(f"pass {number + 1} of {arguments.passes}", file=sys.stderr)
            for name, rows in found.items():
                folder = Path(place, str(number)) if name == "recorded" else None
                ask = (arguments.rate, arguments.seconds, folder)
                rows.append(anyio.run(measure, *ask))
    medians = {
        name: {key: round(statistics.median(row[key] for row in rows), 3) for key in rows[0]}
        for name, rows in found.items()
    }
    ratio = statistics.median(
        recorded["p99"] / plain["p99"]
        for plain, recorded in zip(found["plain"], found["recorded"], strict=True)
    )
    for name, row in medians.items():
        print(f"{name:<10}" + "".join(f"  {key} {value}" for key, value in row.items()))
    print(f"p99 recorded / plain: {ratio:.2f} (median of the passes)")
    print(json.dumps({**medians, "p99_ratio": round(ratio, 2)}))


if __name__ == "__main__":
    main()
