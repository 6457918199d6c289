"""A strategy whose trainings do whatever can be done to a worker, which imports it by this name."""

import contextlib
import ctypes
import gc
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from threadpoolctl import threadpool_info  # type: ignore[import-untyped]

from feeds.events import Symbol
from runtime import ModelSlot, Resolution, Slice, Strategy

SPY = Symbol("SPY")


def better(candidate: Any, current: Any) -> bool:
    """A gate that looks at the model that serves."""
    return current is None or bool(candidate > current)


def open_kinds() -> list[str]:
    """What each open descriptor is, without the one that is used to find out."""
    kinds = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            kinds.append(os.readlink(f"/proc/self/fd/{name}").split(":")[0])
    return sorted(kinds)


def has_terminal() -> bool:
    """Whether this process has a terminal that could stop it."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


class Bomb:
    """Cannot be pickled, or cannot be made again, or does something when it is."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __reduce__(self) -> tuple[Any, ...]:
        if self.kind == "raises":
            raise ValueError("not me")
        if self.kind == "acts":
            return os.system, ("touch planted",)
        if self.kind == "reaches in":
            from runtime.training.manager import TrainingManager

            return TrainingManager, ()
        return Bomb, (self.kind,), {"kind": self.kind}

    def __setstate__(self, _: object) -> NoReturn:
        raise ValueError("never again")


class Unsayable:
    """Has no text."""

    def __str__(self) -> str:
        raise ValueError("no words")


class Held:
    """What a strategy holds."""


UNPICKLING, RELEASE = threading.Event(), threading.Event()
"""Of the process that unpickles."""


class Stuck:
    """Takes its time to be made again."""

    def __getstate__(self) -> object:
        return {"stuck": True}

    def __setstate__(self, _: object) -> None:
        UNPICKLING.set()
        RELEASE.wait(60)


class Patient(Strategy):
    """Holds what strategies hold."""

    fresh: Any
    lock: Any

    def __init__(self) -> None:
        self.count = 1
        self.data = np.arange(100_000, dtype=np.float64)
        self.also = self.data
        self.notes = {"a": [1, 2]}
        self.lock = threading.Lock()
        self.doomed = "soon gone"
        self.slot = ModelSlot("model")
        self.gated = ModelSlot("gated", validate=better)

    def initialize(self) -> None:
        self.spy = self.add_equity("SPY", Resolution.TICK)
        self.handle = self.train(self.nothing)

    # ---- good ones -----------------------------------------------------------------------------

    def learn(self) -> object:
        """Assign, change in place, delete; return a model."""
        assert self.also is self.data, "what was one object still is"
        self.count += 1
        self.notes["a"].append(3)
        self.fresh = self.data * 2
        self.same = self.fresh
        self.where = self.spy
        self.handles = {"last": self.handle}
        del self.doomed
        print("printed")  # noqa: T201  # what is tested
        print("complained", file=sys.stderr)  # noqa: T201
        os.write(1, b"by hand, without an end")
        self.log("said", rows=len(self.data), kind=str(type(self.spy).__name__), what=[1])
        self.training.progress(0.5, "half")
        self.training.report(accuracy=0.75)
        return {"pid": os.getpid(), "mean": float(self.data.mean())}

    def look(self) -> dict[str, Any]:
        """Read all that can be read."""
        window = self.tick_history(SPY, 1000)
        window.price[0] += 0.0  # it may be written to
        return {
            "ticks": window,
            "bars": self.history(SPY, 2),
            "time": self.time,
            "cash": self.portfolio.cash,
            "price": self.spy.price,
            "same": self.securities[SPY] is self.spy,
            "on": self.training.is_on,
            "parameter": self.get_parameter("depth"),
            "warming": self.is_warming_up,
        }

    def warm_start(self) -> object:
        assert self.slot.is_ready
        assert self.slot.version == 1
        assert self.slot.bundle is not None
        return self.slot.current["weights"] + 1, self.slot.bundle.metrics

    def act(self) -> list[str]:
        """Try what only on_data may do."""
        said = []
        for attempt in (
            lambda: self.market_order(SPY, 1),
            lambda: self.set_holdings(SPY, 1.0),
            self.liquidate,
            lambda: self.add_equity("AAPL"),
            lambda: self.train(self.look),
            lambda: self.quit("now"),
            lambda: self.slot.publish(1, "me", 0),
            lambda: self.training.statistics,
            lambda: self.history("AAPL", 5),
        ):
            try:
                attempt()
            except Exception as error:  # noqa: BLE001  # whatever comes
                said.append(f"{type(error).__name__}: {error}")
        return said

    def read_missing(self) -> object:
        return self.lock

    def replace_missing(self) -> str:
        self.lock = None
        return str(self.lock)

    def candidate(self) -> int:
        self.count = 99
        return 5

    def describe(self) -> dict[str, Any]:
        """Tell how the worker stands in the machine."""
        np.linalg.norm(np.eye(3))
        return {
            "nice": os.nice(0),
            "scheduler": os.sched_getscheduler(0),
            "oom": Path("/proc/self/oom_score_adj").read_text().strip(),
            "threads": sorted({one["num_threads"] for one in threadpool_info()}),
            "environment": dict(os.environ),
            "open": open_kinds(),
            "stdin": sys.stdin.read(),
            "pid": os.getpid(),
            "parent": os.getppid(),
            "session": os.getsid(0),
            "group": os.getpgid(0),
            "terminal": has_terminal(),
            "data": resource.getrlimit(resource.RLIMIT_DATA)[0],
            "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
            "ctypes": ctypes.sizeof(ctypes.c_void_p),
        }

    def pid(self) -> int:
        return os.getpid()

    def nothing(self) -> None:
        return None

    # ---- bad results ---------------------------------------------------------------------------

    def returns_lock(self) -> object:
        self.count = -1
        return threading.Lock()

    def assigns_lock(self) -> object:
        self.count = -1
        self.fresh = (i for i in range(3))
        return 1

    def returns_bomb(self) -> object:
        self.count = -1
        return Bomb(self.get_parameter("bomb"))

    def assigns_locks(self) -> object:
        self.fresh, self.count, self.lock = threading.Lock(), -1, (i for i in range(3))
        return 1

    def assigns_bomb(self) -> object:
        self.count = -1
        self.fresh = Bomb(self.get_parameter("bomb"))
        return 1

    def assigns_much(self) -> object:
        self.count = -1
        self.fresh = np.ones(4_000_000)
        return 1

    def fails(self) -> object:
        self.count = -1
        raise ValueError("no data")

    # ---- bad ends ------------------------------------------------------------------------------

    def segfault(self) -> None:
        ctypes.string_at(0)

    def abort(self) -> None:
        os.abort()

    def leave(self) -> None:
        os._exit(0)

    def leave_with_three(self) -> None:
        os._exit(3)

    def leave_in_order(self) -> None:
        sys.exit(4)

    def close_everything(self) -> None:
        os.closerange(0, 1000)

    def stop_its_warden(self) -> None:
        self.log("stopping", warden=os.getppid())
        time.sleep(0.2)  # until it is said
        os.kill(os.getppid(), signal.SIGSTOP)
        while True:
            pass

    def returns_stuck(self) -> object:
        return Stuck()

    def kill_itself(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def allocate(self) -> None:
        held = []
        while True:
            held.append(np.ones(4_000_000))

    def returns_more_than_there_is(self) -> int:
        """One byte here, half a gigabyte wherever it is unpickled."""
        self.fresh = np.broadcast_to(np.zeros(1, np.uint8), 500 << 20)
        return 1

    def allocate_in_children(self) -> None:
        hog = "x = b'x' * (160 << 20); import time; time.sleep(600)"
        self.hogs = [subprocess.Popen([sys.executable, "-c", hog]) for _ in range(3)]
        for one in self.hogs:
            one.wait()

    def deaf(self) -> None:
        """Run for ever, and block whatever can be blocked."""
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self.log("deaf", pid=os.getpid())
        while True:
            pass

    def obedient(self) -> str:
        self.log("listening", pid=os.getpid())
        while not self.training.cancelled:
            time.sleep(0.001)
        return "stopped"

    def spawn_and_wait(self) -> None:
        self.log("family", pids=",".join(map(str, self._spawn())))
        while True:
            pass

    def spawn_and_return(self) -> list[int]:
        return self._spawn()

    def _spawn(self) -> list[int]:
        """Start children that would outlive anyone: in sessions of their own, twice removed."""
        stay = "import time; time.sleep(600)"
        pids = [subprocess.Popen([sys.executable, "-c", stay], start_new_session=True).pid]
        read, write = os.pipe()
        if os.fork() == 0:
            grandchild = os.fork()
            if grandchild == 0:
                os.setsid()
                signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
                os.write(write, str(os.getpid()).encode())
                time.sleep(600)
            os._exit(0)
        os.wait()
        return [*pids, int(os.read(read, 20))]

    # ---- floods --------------------------------------------------------------------------------

    def print_much(self) -> str:
        line = b"x" * 99 + b"\n"
        block = line * 10_000
        for _ in range(20):
            os.write(1, block)
        return "printed"

    def log_much(self) -> str:
        for number in range(200_000):
            self.log("line", number=number)
            self.training.progress(number / 200_000, "on the way")
        return "logged"

    # ---- models --------------------------------------------------------------------------------

    def leave_thread(self) -> int:
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
        return os.getpid()

    def says_strange_things(self) -> int:
        """What an author writes without thinking of how it travels."""
        self.log("strange \ud800", p=np.float64(0.5), n=np.int64(3), big=10**30, held=Unsayable())
        self.log("strange too", yes=np.bool_(True), text=np.str_("a"), ring="\x07")
        self.training.progress(0.5, 3)  # type: ignore[arg-type]
        self.training.report(loss=np.float64(0.25))
        return 1

    def fails_strangely(self) -> None:
        raise ValueError("\ud800")

    def wander(self) -> int:
        """Change what belongs to the process."""
        os.chdir("/")
        sys.path.clear()
        return os.getpid()

    def where_am_i(self) -> tuple[str, int, int]:
        return os.getcwd(), len(sys.path), os.getpid()

    def break_held(self) -> int:
        """Take away what the strategy's attributes are made of."""
        globals()["Held"] = None
        return os.getpid()

    def many_objects(self) -> object:
        gc.disable()
        return [{"n": n, "x": (n, str(n))} for n in range(400_000)]


class Tape(Strategy):
    """Trains at each second tick and notes what serves."""

    def initialize(self) -> None:
        self.add_equity("SPY", Resolution.TICK)
        self.slot = ModelSlot("last")
        self.seen: list[tuple[int, float | None]] = []

    def on_data(self, slice: Slice) -> None:
        self.seen.append((self.slot.version, self.slot.current))
        if len(self.seen) % 2 == 0:
            self.train(self.fit, into=self.slot)

    def fit(self) -> float:
        return float(self.history("SPY", 1).close[0] - 100)
