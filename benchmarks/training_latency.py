"""From a tick's sending to on_data, while models train: each case beside an idle one.

A venue process sends ticks at a steady rate, what is due in each 2 ms as frames that go off
together; the runtime takes them by its own feed and engine. So p99 is that of some 500 wake-ups a
second, and a stretch of 2 s has 10 beyond it. Every case is measured between two idle stretches of
the same run, and its ratio is to their mean, since an idle machine's own p99 moves from minute to
minute; a row has the medians over the passes. Nothing is pinned to a processor: the kernel places
venue, runtime and worker as it would in a real run.
Run it: python -m benchmarks.training_latency [--rate N] [--seconds S] [--passes N]
"""

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio
import numpy as np
import structlog

from benchmarks.stamping_venue import KEY
from feeds.stream import AlpacaFeed
from runtime import ModelSlot, Resolution, Slice, Strategy
from runtime.assembly import build_run
from runtime.clock import SystemClock
from runtime.settings import load_settings
from runtime.training.jobs import TrainingHandle

SYMBOLS = ["BTC/USD", "ETH/USD", "SOL/USD", "XRP/USD"]
SETTLE_SECONDS = 0.3
"""What is not counted at both ends of a stretch: jobs start and end there."""
QUANTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}


def pure_python() -> object:
    """Fit a line to made-up points by hand, in the interpreter's own loops."""
    slope, points = 0.0, [(x / 1000, x / 500) for x in range(1000)]
    for _ in range(300):
        slope += 0.1 * sum((y - slope * x) * x for x, y in points) / len(points)
    return slope


def _points() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    inputs = random.standard_normal((20_000, 20))
    return inputs, (inputs[:, 0] + random.standard_normal(20_000) > 0).astype(int)


def sklearn_boosting() -> object:
    """Fit scikit-learn's gradient boosting."""
    from sklearn.ensemble import GradientBoostingClassifier  # noqa: PLC0415  # only where it is installed

    inputs, targets = _points()
    return GradientBoostingClassifier(n_estimators=5).fit(inputs, targets)


def lightgbm_boosting() -> object:
    """Fit LightGBM."""
    import lightgbm  # noqa: PLC0415  # only where it is installed

    inputs, targets = _points()
    model = lightgbm.LGBMClassifier(n_estimators=50, verbose=-1)
    return model.fit(inputs, targets)


def torch_network() -> object:
    """Fit a small network in PyTorch."""
    torch = importlib.import_module("torch")  # not in the lock: for who has it

    inputs, targets = (torch.from_numpy(part).float() for part in _points())
    model = torch.nn.Sequential(torch.nn.Linear(20, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(20):
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(inputs)[:, 0], targets)
        loss.backward()
        optimizer.step()
    return model.state_dict()


KINDS: dict[str, tuple[str, Callable[[], object]]] = {
    "pure Python": ("", pure_python),
    "scikit-learn GB": ("sklearn", sklearn_boosting),
    "LightGBM": ("lightgbm", lightgbm_boosting),
    "PyTorch": ("torch", torch_network),
}
SHORT = "short jobs"
"""One small job after the other, dozens a second: what starting and ending them costs."""


class Probe(Strategy):
    """Notes how old each tick is when on_data sees it; trains when it is told to."""

    def initialize(self) -> None:
        """Ask for every tick."""
        self.slot = ModelSlot("probe")
        self.kind = ""
        self.until = 0.0
        for symbol in SYMBOLS:
            self.add_crypto(symbol, Resolution.TICK)

    def begin(self, kind: str, isolation: str, seconds: float) -> None:
        """Train models of one kind for so many seconds, one after the other in one job."""
        self.kind, self.until = kind, time.monotonic() + seconds
        method = self.short if kind == SHORT else self.fit
        RUNNING[:] = [(self.train(method, into=self.slot, isolation=isolation), isolation)]

    def begin_again(self) -> None:
        """Have the next short job follow the last, until the time is over."""
        handle, isolation = RUNNING[0]
        if handle.state.is_terminal and time.monotonic() < self.until:
            RUNNING[:] = [(self.train(self.short, into=self.slot, isolation=isolation), isolation)]

    def short(self) -> object:
        """Read the last ticks; hand back a model and an attribute of 1 MB."""
        window = self.tick_history(SYMBOLS[0], 1000)
        self.weights = np.ones(125_000) * window.price.mean()
        return pure_python()

    def fit(self) -> object:
        """Fit until the time is over."""
        fit = KINDS[self.kind][1]
        while True:
            model = fit()
            if time.monotonic() >= self.until or self.training.cancelled:
                return model

    def on_data(self, slice: Slice) -> None:
        """Do what is asked for, then note the ages."""
        if ORDERS:
            self.begin(*ORDERS.pop())
        elif self.kind == SHORT:
            self.begin_again()
        now = time.time_ns()
        AGES.extend([now - event.time for event in slice.events])  # type: ignore[union-attr]


AGES: list[int] = []
"""ns from sending to on_data of each tick; not on the strategy, which travels to a worker."""
RUNNING: list[tuple[TrainingHandle, str]] = []
"""The last job and its isolation."""
ORDERS: list[tuple[str, str, float]] = []
"""What on_data has to begin: kind, isolation, seconds."""


@contextmanager
def venue(rate: float) -> Iterator[str]:
    """Give the URL of a stamping venue in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.stamping_venue", str(rate / len(SYMBOLS))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdout.readline().decode().strip()
        process.stdin.close()


async def stretch(seconds: float, case: tuple[str, str] | None) -> dict[str, float]:
    """Return the quantiles of one stretch, in ms; a case trains all through it."""
    if case is not None:
        ORDERS.append((*case, seconds + 2 * SETTLE_SECONDS))
    await anyio.sleep(SETTLE_SECONDS)
    AGES.clear()
    await anyio.sleep(seconds)
    ages = np.array(AGES) / 1e6
    figures = {name: float(np.quantile(ages, q)) for name, q in QUANTILES.items()}
    return {**figures, "ticks_per_s": len(ages) / seconds}


Pass = dict[tuple[str, str], tuple[dict[str, float], dict[str, float]]]


async def one_pass(
    cases: list[tuple[str, str]], seconds: float, idle: Callable[[], object]
) -> Pass:
    """Measure each case between two idle stretches; return its figures beside theirs."""
    found: Pass = {}
    before = await stretch(seconds, None)
    for case in cases:
        figures = await stretch(seconds, case)
        await anyio.sleep(SETTLE_SECONDS)
        await idle()  # type: ignore[misc]
        await anyio.sleep(SETTLE_SECONDS)
        after = await stretch(seconds, None)
        found[case] = figures, {key: (before[key] + after[key]) / 2 for key in before}
        before = after
    return found


async def measure(rate: float, seconds: float, passes: int) -> list[Pass]:
    """Run the whole thing once and return its passes, without the first, which warms up."""
    known = [kind for kind, (module, _) in KINDS.items() if not module or _has(module)]
    cases = [(kind, isolation) for isolation in ("thread", "process") for kind in known]
    cases.append((SHORT, "process"))
    silent = structlog.wrap_logger(
        structlog.ReturnLogger(), wrapper_class=structlog.make_filtering_bound_logger(50)
    )
    settings, _ = load_settings(None, {"training": {"preset": "unlimited"}})
    with venue(rate) as url:
        feed = AlpacaFeed(url, KEY, KEY)
        run = build_run(Probe(), settings, feed, SystemClock(), silent, "bench")
        found: list[Pass] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.run)
            while not AGES:  # noqa: ASYNC110  # the first tick
                await anyio.sleep(0.05)
            await one_pass(cases, 0.5, run.training.idle)
            for number in range(passes):
                print(f"pass {number + 1} of {passes}", file=sys.stderr)
                found.append(await one_pass(cases, seconds, run.training.idle))
            run.stop("measured")
    return found


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def table(passes: list[Pass]) -> list[dict[str, object]]:
    """Return one row a case: medians over the passes, in ms, and the ratio of the p99s."""
    rows: list[dict[str, object]] = []
    idle = [beside for found in passes for _, beside in found.values()]
    rows.append({"case": "idle", "isolation": "", **_medians(idle), "p99_ratio": 1.0})
    for case in passes[0]:
        kind, isolation = case
        pairs = [found[case] for found in passes]
        ratio = statistics.median(busy["p99"] / beside["p99"] for busy, beside in pairs)
        figures = _medians([busy for busy, _ in pairs])
        rows.append({"case": kind, "isolation": isolation, **figures, "p99_ratio": round(ratio, 2)})
    return rows


def _medians(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: round(statistics.median(row[key] for row in rows), 3) for key in rows[0]}


def main() -> None:
    """Print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=10_000.0, help="ticks a second")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a stretch")
    parser.add_argument("--passes", type=int, default=5)
    arguments = parser.parse_args()
    passes = anyio.run(measure, arguments.rate, arguments.seconds, arguments.passes)
    rows = table(passes)
    print(f"{'training':<18}{'isolation':<10}{'p50':>8}{'p99':>8}{'p99.9':>8}{'max':>9}  p99/idle")
    for row in rows:
        times = "".join(f"{row[key]:>8.3f}" for key in ("p50", "p99", "p99.9"))
        print(
            f"{row['case']:<18}{row['isolation']:<10}{times}{row['max']:>9.2f}  {row['p99_ratio']}"
        )
    print(
        "ms from sending to on_data; budget: process <= 1.2 of idle, pure Python in a thread < 1 ms"
    )
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
