"""The process that runs jobs: it imports the strategy once, then waits for one after the other.

It was made by `warden.py`, which also kills it: nothing in here has to end well. The main thread
runs the jobs; another listens to the runtime, so that a job hears that it should stop; a third
sends what a chatty job has let wait.
"""

import contextlib
import faulthandler
import gc
import importlib
import io
import os
import pickle
import resource
import socket
import sys
import threading
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, cast

import msgspec
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from runtime.errors import StrategyError
from runtime.loading import PRIVATE, import_file
from runtime.securities import Security
from runtime.strategy import Context, Strategy
from runtime.training.control import JobControl, TrainingControl
from runtime.training.isolation.base import JobResult, execute, failure
from runtime.training.isolation.channel import Channel
from runtime.training.isolation.documents import (
    Reference,
    Unreadable,
    Unwritable,
    Written,
    read,
    write,
)
from runtime.training.isolation.line import Line
from runtime.training.isolation.messages import (
    LARGE_STREAM,
    Done,
    Prepare,
    Ready,
    Run,
    decode_for_worker,
)
from runtime.training.isolation.payload import mapped, pack
from runtime.training.isolation.standins import Elsewhere, SlotView, WorkerContext
from runtime.training.isolation.transaction import (
    GATE,
    METHOD,
    STORED,
    VALUE,
    changes,
    revive,
)
from runtime.training.jobs import JobId, JobRequest
from runtime.training.slots import Published

OWN_THREADS = 3
OUT_OF_MEMORY = "out of memory: "


class Workshop:
    """The strategy's class, and what is done with it."""

    def __init__(self, prepare: Prepare, line: Line) -> None:
        self._cls = find_class(prepare)
        self._prepare = prepare
        self._line = line
        self._folder, self._path = os.getcwd(), [*sys.path]

    def perform(self, run: Run, descriptor: int | None, control: JobControl) -> None:
        """Run one job and send what it came to."""
        with threadpool_limits(limits=self._prepare.native_threads):
            try:
                done, segment = self._perform(run, descriptor, control)
            except Unreadable as fault:
                # Perhaps because of what an earlier job has done here.
                said = [f"{_owned(fault.name)} cannot be unpickled in the worker: {fault}"]
                done, segment = Done(error=said[0], left=("what cannot be unpickled",)), None
            except Unwritable as fault:
                said = [
                    f"{_owned(name)} cannot be handed back: {why}" for name, why in fault.faults
                ]
                done, segment = Done(error="; ".join(said)), None
            except BaseException as error:  # noqa: BLE001  # foreign code runs while unpickling
                result = failure(error)
                done, segment = Done(error=_explained(result), traceback=result.traceback), None
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        self._line.end()
        sys.path[:] = self._path
        with contextlib.suppress(OSError):  # it has been removed
            os.chdir(self._folder)
        done = msgspec.structs.replace(
            done,
            metrics=control.metrics,
            noticed=control.has_noticed,
            left=(*done.left, *_left_behind(done.error)),
        )
        self._line.send(done, segment)

    def _perform(
        self, run: Run, descriptor: int | None, control: JobControl
    ) -> tuple[Done, int | None]:
        try:
            portfolio, stream, *buffers = mapped(run.payload, descriptor)
        except OSError as error:
            size = sum(run.payload.sizes) >> 20
            raise MemoryError(f"no room for the strategy's attributes of {size} MB") from error
        books = pickle.loads(portfolio)  # noqa: S301  # from the runtime
        context = WorkerContext(run.surroundings, books, self._columns)
        gates = [GATE] if run.has_gate else []
        bench = Bench(run, context, self._cls, self._line)
        names = [METHOD, *gates, *run.attributes]
        found = read(names, io.BytesIO(stream), buffers, bench.resolve)
        attributes = {name: found[name] for name in run.attributes}
        vars(bench.strategy).update(attributes)
        slot = None if run.slot is None else bench.slots[run.slot]
        if slot is not None:
            slot.gate = found.get(GATE)
        request = JobRequest(
            JobId(run.job), run.name, found[METHOD], slot, "process", context.now_ns
        )
        result = execute(request, control)
        if result.error:
            return Done(error=_explained(result), traceback=result.traceback), None
        change = changes(attributes, vars(bench.strategy))
        value = None if slot is None else result.value
        assigned = change.assigned if result.accepted else {}
        stored, unstorable = self._stored(result)
        written = write(
            [(VALUE, value), *assigned.items(), (STORED, stored and pickle.PickleBuffer(stored))],
            bench.refer,
            self._prepare.result_bytes + len(stored or b""),
        )
        objects, has_cycles = self._weigh(written, bench)
        payload, segment = pack(written.parts)
        removed = change.removed if result.accepted else ()
        return (
            Done(
                payload=payload,
                attributes=tuple(assigned),
                removed=removed,
                accepted=result.accepted,
                unstorable=unstorable,
                objects=objects,
                has_cycles=has_cycles,
            ),
            segment,
        )

    def _stored(self, result: JobResult) -> tuple[bytes | None, str]:
        """Write what is to be stored, within the same limit as what is to serve."""
        if result.encoded is None:
            return None, result.unstorable
        stored = msgspec.msgpack.encode(result.encoded)
        if len(stored) > self._prepare.result_bytes:
            return None, f"it has {len(stored) >> 20} MB, more than training.result_mb"
        return stored, ""

    def _weigh(self, written: Written, bench: "Bench") -> tuple[int, bool]:
        """Make a large result again: count its containers, see whether they go by themselves."""
        if len(written.stream) < LARGE_STREAM:
            return 0, False
        gc.collect()
        gc.disable()
        before = len(gc.get_objects())
        names = [str(place) for place in range(written.documents)]
        try:
            found = read(names, io.BytesIO(written.stream), written.buffers, bench.resolve)
            objects = len(gc.get_objects()) - before
            del found
            return objects, gc.collect() > 0
        except (MemoryError, Unreadable):
            return 0, False  # whoever reads it will say so
        finally:
            gc.enable()

    def _columns(self, about: str, name: str, count: int) -> list[memoryview]:
        return mapped(*self._line.ask(about, name, count))


class Bench:
    """The objects of one job that others refer to."""

    def __init__(self, run: Run, context: WorkerContext, cls: type[Strategy], line: Line) -> None:
        self.context = context
        self.strategy: Strategy = revive(cls, run.missing)
        self.strategy.bind(cast("Context", context))
        self._line = line
        self.slots = [
            SlotView(state, partial(self._fetch, place), None)
            for place, state in enumerate(run.slots)
        ]

    def refer(self, value: object) -> Reference | None:
        """Name what is the runtime's, for the way back."""
        if value is self.strategy:
            return ("strategy",)
        if value is self.context:
            return ("context",)
        if isinstance(value, SlotView) and value in self.slots:
            return ("slot", self.slots.index(value))
        if isinstance(value, Security) and self.context.securities.get(value.symbol) is value:
            return ("security", value.symbol)
        if isinstance(value, TrainingControl):
            return ("training",)
        if isinstance(value, Elsewhere):
            return ("kept", value.place, value.kind)
        return None

    def resolve(self, reference: Reference) -> object:
        """Return what the runtime refers to."""
        match reference:
            case ("strategy",):
                return self.strategy
            case ("context",):
                return self.context
            case ("training",):
                return self.context.training
            case ("slot", int(place)):
                return self.slots[place]
            case ("kept", int(place), str(kind)):
                return Elsewhere(place, kind)
            case ("security", str(symbol)):
                return self.context.securities[symbol]  # type: ignore[index]  # a Symbol is a str
        raise LookupError(f"nothing here is called {reference!r}")

    def _fetch(self, place: int) -> Published | None:
        stream, *buffers = mapped(*self._line.ask("model", str(place)))
        found = read(["the model"], io.BytesIO(stream), buffers, self.resolve)
        return cast("Published", found["the model"])


def _left_behind(error: str) -> tuple[str, ...]:
    """Name what a job has left in this process that the next one should not find."""
    threads = ["threads"] * (threading.active_count() > OWN_THREADS)
    # What has met the limit once is not trusted to be as it was.
    return (*threads, *["memory"] * (error.startswith(OUT_OF_MEMORY) or not _is_slim()))


def _is_slim() -> bool:
    """Whether this process has kept less than half of the memory it may have."""
    limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:  # another system
        return True
    return limit == resource.RLIM_INFINITY or pages * resource.getpagesize() < limit // 2


def find_class(prepare: Prepare) -> type[Strategy]:
    """Import the strategy's module under the name it has in the runtime, and return the class."""
    if prepare.module == "__main__":
        module = _main_again(prepare.file)
    elif prepare.module.startswith(PRIVATE) and prepare.file is not None:
        module = import_file(Path(prepare.file), prepare.module)
    else:
        module = importlib.import_module(prepare.module)
    found: Any = module
    for name in prepare.qualname.split("."):
        found = getattr(found, name)
    return cast("type[Strategy]", found)


def _main_again(file: str | None) -> ModuleType:
    """Import a script once more, as a module: what is under its `if __name__` does not run."""
    if file is None:
        raise StrategyError(
            "a strategy that was typed in cannot be trained in a process of its own: put it into a "
            "file",
            "load",
        )
    module = import_file(Path(file), "__mp_main__")
    sys.modules["__main__"] = module
    return module


def _owned(name: str) -> str:
    return name if name in {METHOD, GATE, VALUE} else f"self.{name}"


def _explained(result: JobResult) -> str:
    if not any(word in result.error for word in ("MemoryError", "Cannot allocate memory")):
        return result.error
    limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
    allowed = f" (a worker may use {limit >> 20} MB: training.memory_mb)"
    return f"{OUT_OF_MEMORY}{result.error}{allowed if limit != resource.RLIM_INFINITY else ''}"


def main(descriptor: int) -> NoReturn:
    """Serve until the runtime is gone."""
    sys.stdin = open(0, encoding="utf-8")  # noqa: SIM115  # for the life of the process
    sys.stdout, sys.stderr = (
        open(number, "w", buffering=1, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
        for number in (1, 2)
    )
    faulthandler.enable(sys.stderr, all_threads=False)
    channel = Channel(socket.socket(fileno=descriptor))
    line = Line(channel)
    first = channel.receive()
    if not first:
        os._exit(0)
    prepare = decode_for_worker(first[0].body)
    assert isinstance(prepare, Prepare)  # noqa: S101  # the runtime begins so
    try:
        workshop = Workshop(prepare, line)
    except BaseException as error:  # noqa: BLE001  # the module may raise anything
        line.send(Ready(failure(error).error))
        os._exit(1)
    line.start()
    line.send(Ready())
    while True:
        workshop.perform(*line.jobs.get())
        gc.collect()  # what a job had goes before the next one comes, cycles too
