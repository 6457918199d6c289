"""The same backtest over and over, under several Pythons and hash seeds: one digest of its orders.

Each run is a process of its own, `tidegate backtest` with the order-flow model, whose jobs cost a
fixed time; every run has another PYTHONHASHSEED. It exits with 1 if any digest differs.
Run it: python -m benchmarks.determinism [--runs N] [--python OTHER/bin/python]... [--minutes M]
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

MODEL = Path(__file__).resolve().parents[1] / "strategies" / "order_flow_model.py"
CODE = "from runtime.cli.main import main; main()"
VERSION = "import platform; print(platform.python_version())"


def digest(python: str, minutes: float, hash_seed: int) -> tuple[str, int, int]:
    """Run one backtest and return the digest of its orders, its fills and its models."""
    words = ["backtest", str(MODEL), "--minutes", str(minutes), "--job-cost", "1", "--json"]
    done = subprocess.run(
        [python, "-c", CODE, *words],
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        cwd=MODEL.parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout)
    models = sum(row["kind"] == "model published" for row in told["training"])
    return told["summary"]["orders_sha256"], len(told["fills"]), models


def main() -> None:
    """Print a line a run, then whether they are one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="with each Python")
    parser.add_argument("--python", action="append", default=[], help="another interpreter")
    parser.add_argument("--minutes", type=float, default=20.0, help="length of the market")
    arguments = parser.parse_args()
    found = set()
    for python in [sys.executable, *arguments.python]:
        asked = subprocess.run([python, "-c", VERSION], capture_output=True, text=True, check=True)
        version = asked.stdout.strip()
        for number in range(arguments.runs):
            sha, fills, models = digest(python, arguments.minutes, number)
            found.add(sha)
            print(f"Python {version}  hash seed {number:<3} {fills} fills, {models} models  {sha}")
    print(f"{platform.machine()}: {len(found)} digest(s)")
    sys.exit(len(found) != 1)


if __name__ == "__main__":
    main()
