"""From typing `tidegate run` to the first on_data, on the embedded paper venue.

Run it: python -m benchmarks.startup [--passes N]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROBE = """
from runtime import Resolution, Slice, Strategy

class Probe(Strategy):
    def initialize(self) -> None:
        self.add_equity("SPY", Resolution.TICK)

    def on_data(self, slice: Slice) -> None:
        self.quit("first on_data")
"""


def measure(folder: Path) -> float:
    """Return seconds from the start of the process to the line that on_data causes."""
    began = time.perf_counter()
    command = [str(Path(sys.executable).with_name("tidegate")), "run", "probe.py"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "first on_data" in line:
                took = time.perf_counter() - began
                process.wait(10)
                return took
    raise RuntimeError("the run ended without an on_data")


def bare_start() -> float:
    """Return seconds to start an interpreter that imports numpy and websockets, and leave."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import numpy, websockets.asyncio.client"], check=True)
    return time.perf_counter() - began


def main() -> None:
    """Print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passes", type=int, default=7)
    passes = parser.parse_args().passes
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "probe.py").write_text(PROBE)
        runs, bare = [], []
        for _ in range(passes):
            bare.append(bare_start())
            runs.append(measure(folder))
    figures = {
        "passes": passes,
        "first_on_data_s": round(statistics.median(runs), 3),
        "slowest_s": round(max(runs), 3),
        "bare_interpreter_s": round(statistics.median(bare), 3),
        "ratio": round(statistics.median(a / b for a, b in zip(runs, bare, strict=True)), 2),
    }
    print(f"command to first on_data (budget: under 2 s)  {figures['first_on_data_s']:>7} s")
    print(f"interpreter with numpy and websockets alone   {figures['bare_interpreter_s']:>7} s")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
