"""Ticks on their way to on_data while others switch training off and on as fast as they can.

Four processes send 10,000 SIGUSR1 in a second, again and again, beside 10,000 ticks a second; each
storm is measured between two quiet stretches. Every switch that the kernel delivers is a line of
the log, which is written to a file as in a real run.
Run it: python -m benchmarks.signal_storm [--passes N]
"""

import argparse
import io
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import anyio

from benchmarks.stamping_venue import KEY
from benchmarks.training_latency import AGES, Probe, stretch, venue
from feeds.stream import AlpacaFeed
from runtime.assembly import build_run
from runtime.clock import SystemClock
from runtime.control.logs import open_log
from runtime.settings import load_settings

SENDERS, SIGNALS, SECONDS = 4, 2500, 1.0
SENDER = f"""
import os, sys, time
begun = time.perf_counter()
for n in range({SIGNALS}):
    os.kill(int(sys.argv[1]), {signal.SIGUSR1.value})
    time.sleep(max(0.0, begun + n * {SECONDS} / {SIGNALS} - time.perf_counter()))
"""

Figures = dict[str, float]


def begin() -> list[subprocess.Popen[bytes]]:
    """Start those who send."""
    command = [sys.executable, "-S", "-c", SENDER, str(os.getpid())]
    return [subprocess.Popen(command) for _ in range(SENDERS)]


async def storm() -> Figures:
    """Measure a second in which the signals come."""
    senders = begin()
    figures = await stretch(SECONDS, None)
    for sender in senders:
        await anyio.to_thread.run_sync(sender.wait)
    return figures


async def measure(passes: int) -> tuple[list[tuple[Figures, Figures]], list[int]]:
    """Return each storm's figures beside the quiet ones, in ms, and the switches of each."""
    found: list[tuple[Figures, Figures]] = []
    switches: list[int] = []
    with tempfile.TemporaryDirectory() as folder, venue(10_000) as url:
        file = Path(folder) / "log"
        settings, _ = load_settings(None, {"log": {"file": str(file), "format": "json"}})
        with open_log(settings.log, io.StringIO()) as (log, _):
            feed = AlpacaFeed(url, KEY, KEY)
            run = build_run(Probe(), settings, feed, SystemClock(), log, "storm")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run.run)
                while not AGES:  # noqa: ASYNC110  # the first tick
                    await anyio.sleep(0.05)
                before = await stretch(SECONDS, None)
                for _ in range(passes):
                    beside = await storm()
                    await anyio.sleep(1.0)  # the last of it
                    after = await stretch(SECONDS, None)
                    found.append((beside, {key: (before[key] + after[key]) / 2 for key in before}))
                    before = after
                    lines = [json.loads(line) for line in file.read_text().splitlines()]
                    numbers = [line["toggle"] for line in lines if "toggle" in line]
                    assert numbers == list(range(1, len(numbers) + 1)), "a line for each, in order"
                    switches.append(len(numbers) - sum(switches))
                run.stop("measured")
    return found, switches


def main() -> None:
    """Print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passes", type=int, default=5)
    found, switches = anyio.run(measure, parser.parse_args().passes)
    rows = {
        name: {key: round(statistics.median(p[at][key] for p in found), 3) for key in found[0][0]}
        for at, name in ((1, "quiet"), (0, "storm"))
    }
    print(f"{'':<8}{'p50':>8}{'p99':>8}{'p99.9':>8}{'max':>9}   ms from sending to on_data")
    for name, row in rows.items():
        times = "".join(f"{row[key]:>8.3f}" for key in ("p50", "p99", "p99.9"))
        print(f"{name:<8}{times}{row['max']:>9.2f}")
    sent = SENDERS * SIGNALS
    print(f"{sent} signals sent in each storm; delivered and logged: {switches}")
    print(json.dumps({"rows": rows, "switches": switches}))


if __name__ == "__main__":
    main()
