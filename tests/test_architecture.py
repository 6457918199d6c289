"""Imports run one way, in no circle, and pure modules know neither the clock nor the outside.

Every module of `feeds` and `runtime` is pure unless SHELLS names it: one that has to touch the
outside is added there, and one that no longer does is taken off. Only explicit imports count;
those under TYPE_CHECKING bind packages, not modules.
"""

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]

FORKS = "runtime.training.isolation.warden"
MAY_IMPORT = {
    "feeds": {"feeds"},
    "runtime": {"feeds", "runtime"},
    "strategies": {"feeds", "runtime", "strategies"},
    "benchmarks": {"feeds", "runtime", "strategies", "benchmarks"},
    "tests": {"feeds", "runtime", "strategies", "benchmarks", "tests"},
}

# The examples are data to the command line: it knows the folder, never a strategy.
EXCEPTIONS = {"runtime.cli.run imports strategies.folder"}

SHELLS = {
    "feeds.budget": "waits for turns, asks over HTTP",
    "feeds.ccxt_feed": "waits for what ccxt hears",
    "feeds.connection": "one line that comes back",
    "feeds.dial": "opens a socket",
    "feeds.fast_dial": "opens a socket",
    "feeds.transports": "chooses what opens a socket",
    "feeds.recorder": "writes what a feed hears",
    "feeds.replay": "waits at the recorded pace",
    "feeds.session": "one socket",
    "feeds.stream": "a connection and its decoder",
    "feeds.synthetic": "plays the made-up market at its pace",
    "feeds.venue.broken_http": "cuts connections",
    "feeds.venue.ledger": "a file",
    "feeds.venue.trading_server": "HTTP of the other party",
    "feeds.venue.process": "starts the other party",
    "feeds.venue.server": "sockets of the other party",
    "runtime.assembly": "knows every concrete class",
    "runtime.brokers": "looks at a venue's account",
    "runtime.cli": "begins and ends the process",
    "runtime.cli.app": "says what went wrong",
    "runtime.cli.main": "begins and ends the process",
    "runtime.cli.new": "writes files",
    "runtime.cli.models": "looks into the state folder",
    "runtime.cli.options": "reads the environment",
    "runtime.cli.run": "starts the loop",
    "runtime.cli.backtest": "hears signals",
    "runtime.cli.simulating": "offers options of the environment",
    "runtime.cli.sweep": "hears signals",
    "runtime.cli.sweep_view": "shows a ledger",
    "runtime.cli.replay": "offers options of the environment",
    "runtime.sessions.beginning": "asks the time",
    "runtime.sessions.engine": "knows its recorder",
    "runtime.sessions.opening": "opens files",
    "runtime.sessions.recorder": "a thread and its files",
    "runtime.sessions.replay": "speaks to the logger",
    "runtime.sweep.cell": "the whole of a process",
    "runtime.sweep.ledger": "a file and its lock",
    "runtime.sweep.pool": "starts, hears and buries processes",
    "runtime.cli.progress": "asks how late it is",
    "runtime.backtest": "times itself",
    "runtime.simulation": "opens files",
    "runtime.cli.stopping": "signals before there is a loop",
    "runtime.cli.venue": "starts the loop of the other party",
    "runtime.cli.record": "starts the loop",
    "runtime.clock": "the one that asks the system",
    "runtime.control.burden": "hears of lags",
    "runtime.client": "asks a run over its socket",
    "runtime.cli.control": "asks the time",
    "runtime.control.api.connection": "a socket",
    "runtime.control.api.guard": "answers HTTP",
    "runtime.control.api.problems": "answers HTTP",
    "runtime.control.api.operator": "asks the run's loop",
    "runtime.control.api.routes": "waits between two looks",
    "runtime.control.api.server": "a thread and its sockets",
    "runtime.control.api.streams": "waits between two looks",
    "runtime.control.halts": "a file",
    "runtime.control.logfile": "a file",
    "runtime.control.snapshots": "takes them every second",
    "runtime.control.first": "looks after another process",
    "runtime.control.notify": "speaks to a service manager",
    "runtime.control.heartbeat": "a file that says a run is alive",
    "runtime.control.lag": "measures the event loop",
    "runtime.control.leaving": "ends the process",
    "runtime.control.logs": "writes the log",
    "runtime.control.printed": "hears what is printed",
    "runtime.control.reload": "reads settings again, in a thread",
    "runtime.control.rotation": "a file",
    "runtime.control.sinks": "threads that write lines",
    "runtime.redaction": "quotes as URLs do",
    "runtime.control.pace": "times the callbacks",
    "runtime.control.signals": "hears the operating system",
    "runtime.control.strays": "hears what fails in the background",
    "runtime.control.training_log": "speaks to the logger",
    "runtime.control.watchdog": "a thread that looks after the loop",
    "runtime.live": "the task group",
    "runtime.trading.alpaca": "speaks to a venue",
    "runtime.trading.ccxt_line": "speaks to a venue through ccxt",
    "runtime.trading.remote": "the tasks of a broker at a venue",
    "runtime.trading.account": "a journal and its broker",
    "runtime.trading.journal": "a file",
    "runtime.trading.journal_v1": "a file",
    "runtime.trading.journaled": "waits for the disk",
    "runtime.sources": "opens feeds and the clocks that go with them",
    "runtime.recording": "a feed, its recorder and the signals",
    "runtime.testing": "runs what it tests",
    "runtime.training.isolation.anyworker": "names what the next ones have in common",
    "runtime.training.isolation.channel": "one local socket",
    "runtime.training.isolation.cluster": "the same workers on other machines",
    "runtime.training.isolation.line": "the other end of the socket",
    "runtime.training.isolation.payload": "shared memory",
    "runtime.training.isolation.pool": "keeps workers",
    "runtime.training.isolation.printed": "asks how often it has spoken",
    "runtime.training.isolation.process": "follows jobs in other processes",
    "runtime.training.isolation.session": "follows one of them",
    "runtime.training.isolation.thread": "runs a job's method",
    "runtime.training.isolation.warden": "starts and ends the other process",
    "runtime.training.isolation.words": "reads the system's numbers",
    "runtime.training.isolation.worker": "the other process",
    "runtime.training.isolation.workers": "starts, hears and buries it",
    "runtime.training.manager": "starts jobs",
    "runtime.control.models": "the models command",
    "runtime.control.requests": "files between two processes",
    "runtime.control.state": "a folder and its lock",
    "runtime.deployment": "what outlives a run",
    "runtime.disk": "the disk, in a thread",
    "runtime.training.finished": "reads model files",
    "runtime.training.keeper": "stores and restores models",
    "runtime.training.ledger": "stores the quota",
    "runtime.training.store": "files of models",
    "runtime.training.shelf": "wakes when a model's age runs out",
    "runtime.training.reporting": "reports what it supervises",
    "runtime.training.supervision": "waits beside a running job",
    "runtime.training.waiting": "waits for tokens",
}

# fmt: off
OUTSIDE = {
    "anyio", "asyncio", "http", "multiprocessing", "os", "secrets", "select", "selectors", "shutil",
    "signal", "socket", "sqlite3", "ssl", "structlog", "subprocess", "tempfile", "time", "urllib",
    "websockets",
}
# fmt: on
NEVER_THE_SAME = {
    "datetime.date.today",
    "datetime.datetime.now",
    "datetime.datetime.today",
    "datetime.datetime.utcnow",
    "uuid.uuid1",
    "uuid.uuid4",
}
SEEDED = {"Random", "default_rng", "Generator", "PCG64", "SeedSequence"}


class Module(NamedTuple):
    """What one source says: the dotted names it imports, and its calls on clock and chance."""

    imports: frozenset[str]
    typing_imports: frozenset[str]
    impure_calls: frozenset[str]


def dotted(node: ast.expr) -> str:
    """The name `a.b.c` of an expression, or "" where it is not a plain name."""
    if isinstance(node, ast.Attribute):
        return f"{owner}.{node.attr}" if (owner := dotted(node.value)) else ""
    return node.id if isinstance(node, ast.Name) else ""


def imported(node: ast.AST, package: str) -> Iterator[tuple[str, str]]:
    """What an import statement binds: (name here, dotted name); `from a import b` is a.b."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.asname or alias.name, alias.name
    elif isinstance(node, ast.ImportFrom):
        parts = package.split(".")
        base = parts[: len(parts) + 1 - node.level] if node.level else []
        for alias in node.names:
            yield (
                alias.asname or alias.name,
                ".".join([*base, *filter(None, [node.module]), alias.name]),
            )


def impure(call: ast.Call, bound: Mapping[str, str]) -> str:
    """The full name of a call that answers differently each time, or ""."""
    root, dot, rest = dotted(call.func).partition(".")
    name = bound.get(root, "") + dot + rest
    if name.startswith(("random.", "numpy.random.")):
        seeded = name.rpartition(".")[2] in SEEDED and (call.args or call.keywords)
        return "" if seeded else name
    return name if name in NEVER_THE_SAME else ""


def tree_of(source: str) -> ast.Module:
    """Parse, and once more where Python 3.11 has lost count of its depth: cpython issue 106905."""
    try:
        return ast.parse(source)
    except SystemError:
        return ast.parse(source)


def parse(name: str, source: str, *, is_package: bool = False) -> Module:
    """Read one module's imports and calls."""
    package = name if is_package else name.rpartition(".")[0]
    tree = tree_of(source)
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and dotted(node.test).endswith("TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    real: dict[str, str] = {}
    typing: dict[str, str] = {}
    for node in ast.walk(tree):
        (typing if id(node) in typing_only else real).update(imported(node, package))
    calls = {impure(node, real) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return Module(frozenset(real.values()), frozenset(typing.values()), frozenset(calls - {""}))


def sources(packages: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """Each module of these packages of the checkout, and its file."""
    for path in (p for package in packages for p in sorted((ROOT / package).rglob("*.py"))):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def read(packages: Iterable[str]) -> dict[str, Module]:
    """All modules of these packages of the checkout."""
    return {
        name: parse(name, path.read_text("utf-8"), is_package=path.stem == "__init__")
        for name, path in sources(packages)
    }


def ours(wanted: str, modules: Mapping[str, Module]) -> str | None:
    """The module of ours that holds this dotted name, or None."""
    while wanted and wanted not in modules:
        wanted = wanted.rpartition(".")[0]
    return wanted or None


def graph(modules: Mapping[str, Module]) -> dict[str, set[str]]:
    """Module -> the modules of ours that it imports when it runs."""
    return {
        name: {found for wanted in module.imports if (found := ours(wanted, modules))} - {name}
        for name, module in modules.items()
    }


def wrong_arrows(modules: Mapping[str, Module]) -> list[str]:
    """Imports across packages that MAY_IMPORT does not allow."""
    return [
        f"{name} imports {wanted}"
        for name, module in modules.items()
        for wanted in sorted(module.imports | module.typing_imports)
        if (to := wanted.split(".")[0]) in MAY_IMPORT
        and to not in MAY_IMPORT[name.split(".")[0]]
        and f"{name} imports {wanted}" not in EXCEPTIONS
    ]


def circle(modules: Mapping[str, Module]) -> list[str]:
    """One import cycle, or nothing."""
    try:
        TopologicalSorter(graph(modules)).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def impurities(name: str, modules: Mapping[str, Module]) -> list[str]:
    """How this module reaches the outside: each path of imports and what it ends in."""
    edges = graph(modules)
    found: list[str] = []
    pending: list[tuple[str, ...]] = [(name,)]
    seen = {name}
    while pending:
        path = pending.pop()
        module = modules[path[-1]]
        reached = OUTSIDE & {w.split(".")[0] for w in module.imports} | module.impure_calls
        found += [" -> ".join([*path, what]) for what in sorted(reached)]
        for further in sorted(edges[path[-1]] - seen):
            seen.add(further)
            pending.append((*path, further))
    return found


@pytest.fixture(scope="module")
def modules() -> dict[str, Module]:
    return read(MAY_IMPORT)


def planted(**sources: str) -> dict[str, Module]:
    """Modules from sources; `__` in a name is a dot."""
    return {n.replace("__", "."): parse(n.replace("__", "."), s) for n, s in sources.items()}


def test_packages_import_one_way(modules: dict[str, Module]) -> None:
    assert wrong_arrows(modules) == []


def test_no_import_circle(modules: dict[str, Module]) -> None:
    assert circle(modules) == []


def test_modules_are_pure_unless_listed(modules: dict[str, Module]) -> None:
    pure = [n for n in modules if n.split(".")[0] in {"feeds", "runtime"} and n not in SHELLS]
    assert len(pure) > 10
    ways = [lines[0] for name in pure if (lines := impurities(name, modules))]
    assert not ways, "no shells of SHELLS, and yet:\n" + "\n".join(ways)


def test_list_of_shells_is_exact(modules: dict[str, Module]) -> None:
    """What is gone, or touches the outside no more, is taken off the list."""
    assert [name for name in SHELLS if name not in modules or not impurities(name, modules)] == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("feeds.base", "from runtime.errors import StrategyError"),
        ("feeds.base", "def late():\n    import runtime"),
        ("feeds.base", "if TYPE_CHECKING:\n    from runtime import clock"),
        ("runtime.engine", "from strategies.demo import Demo"),
        ("runtime.engine", "import tests.conftest"),
        ("strategies.demo", "from benchmarks import throughput"),
        ("benchmarks.throughput", "from tests import conftest"),
    ],
)
def test_planted_wrong_arrow_is_seen(name: str, source: str) -> None:
    assert len(wrong_arrows({name: parse(name, source)})) == 1


def test_planted_circle_is_seen() -> None:
    late = "def late():\n    from runtime import a"
    assert circle(planted(runtime__a="from runtime.b import x", runtime__b="from . import c")) == []
    assert set(
        circle(
            planted(
                runtime__a="from runtime.b import x",
                runtime__b="from . import c",
                runtime__c=late,
            )
        )
    ) == {"runtime.a", "runtime.b", "runtime.c"}
    typing_only = "if typing.TYPE_CHECKING:\n    from runtime import a"
    assert circle(planted(runtime__a="import runtime.b", runtime__b=typing_only)) == []


@pytest.mark.parametrize(
    "source",
    [
        "import asyncio",
        "from os import path",
        "def late():\n    import time",
        "from datetime import datetime\nnow = datetime.now(UTC)",
        "import datetime as dt\nnow = dt.date.today()",
        "from uuid import uuid4 as fresh\nname = fresh()",
        "import random\nx = random.uniform(0, 1)",
        "from random import choice\nx = choice('ab')",
        "import random\nx = random.Random()",
        "import numpy as np\nx = np.random.normal(0, 1)",
        "from numpy.random import default_rng\nx = default_rng()",
    ],
)
def test_planted_impurity_is_seen_through_others(source: str) -> None:
    modules = planted(feeds__a="from feeds.b import x", feeds__b="from . import c", feeds__c=source)
    assert [line.rpartition(" -> ")[0] for line in impurities("feeds.a", modules)] == [
        "feeds.a -> feeds.b -> feeds.c"
    ]


@pytest.mark.parametrize(
    "source",
    [
        "import threading, datetime, zipfile",
        "from random import Random\ndef delay(random: Random):\n    return random.uniform(0, 1)",
        "import numpy as np\nx = np.random.default_rng(7).normal()",
        "from datetime import datetime\nx = datetime.fromtimestamp(0, UTC)",
        "if TYPE_CHECKING:\n    import asyncio",
    ],
)
def test_pure_source_passes(source: str) -> None:
    assert impurities("feeds.a", planted(feeds__a=source)) == []


def test_row_20_only_the_warden_forks_and_it_knows_the_standard_library_only() -> None:
    """A fork of a process with threads may hang; the warden has one, and its imports start none."""
    modules = read(["feeds", "runtime"])
    forks = {"os.fork", "os.forkpty", "pty.fork", "multiprocessing"}
    for name, path in sources(["feeds", "runtime"]):
        tree = tree_of(path.read_text("utf-8"))
        called = {dotted(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        assert (name == FORKS) or not (called | modules[name].imports) & forks, name
        keywords = {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword)}
        assert "preexec_fn" not in keywords, name
    top = ast.parse(Path(ROOT, *FORKS.split(".")).with_suffix(".py").read_text("utf-8")).body
    known = {wanted for node in top for _, wanted in imported(node, "")}
    assert {wanted.partition(".")[0] for wanted in known} <= sys.stdlib_module_names
