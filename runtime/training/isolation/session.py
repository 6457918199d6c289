"""One job in a worker, followed from a thread: what it asks is answered, what it says passed on.

The event loop only ever sets flags and reads the result, which is made here, off the loop.
"""

import contextlib
import gc
import os
import pickle
import socket
import threading
from typing import Any

import msgspec
import numpy as np

from feeds.events import Symbol
from runtime.errors import StrategyError, TidegateError
from runtime.history import BarWindow, TickWindow
from runtime.strategy import Context, Strategy
from runtime.training.control import CURRENT_JOB, JobControl, Line
from runtime.training.formats import Encoded
from runtime.training.isolation.allowed import check_allowed
from runtime.training.isolation.anyworker import AnyWorker
from runtime.training.isolation.base import JobResult, failure
from runtime.training.isolation.channel import Received
from runtime.training.isolation.documents import Unreadable, Unwritable, read, write
from runtime.training.isolation.footprint import FOOTPRINT
from runtime.training.isolation.messages import (
    Answer,
    Ask,
    Done,
    Payload,
    Progressed,
    Question,
    Reported,
    Run,
    Said,
    SlotState,
    decode_for_runtime,
)
from runtime.training.isolation.payload import BadPayload, Opened, Room, pack
from runtime.training.isolation.printed import Printed
from runtime.training.isolation.standins import surroundings
from runtime.training.isolation.transaction import (
    STORED,
    VALUE,
    Captured,
    Changes,
    References,
    capture,
    committing,
)
from runtime.training.isolation.words import Lost, Output, Swept
from runtime.training.isolation.workers import BROKEN
from runtime.training.jobs import JobRequest
from runtime.training.leftovers import LEFTOVERS
from runtime.training.slots import Published

FREEZE_OBJECTS = 10_000
MANY_OBJECTS = 100_000
"""So many containers in a result are worth a warning."""


class Session:
    """A job and, from some moment on, its worker.

    Args:
        strategy: whose copy is worked on; `context` is what is behind it.
        control: the job's line to the manager.
    """

    def __init__(self, strategy: Strategy, context: Context, control: JobControl) -> None:
        self._strategy = strategy
        self._context = context
        self._references = References(strategy, context)
        self._bundles: list[Published | None] = []
        self._descriptor: int | None = None
        self._control = control
        self._printed = Printed(control)
        self._worker: AnyWorker | None = None
        self._lock = threading.Lock()  # guards the flags and the worker together
        self._is_killed = self._is_held = self._is_asked = False
        self._wake, self._waker = socket.socketpair()
        self._waker.setblocking(False)

    @property
    def is_killed(self) -> bool:
        """Whether it was given up."""
        return self._is_killed

    # ---- from the event loop -----------------------------------------------------------------

    def load(
        self, request: JobRequest, known: dict[str, Any], room: Room | None
    ) -> tuple[Captured, int]:
        """Copy what the job works on, as it is at this moment; return that and its bytes.

        Args:
            request: the job.
            known: as `capture` has it.
            room: where to put what is large.

        Raises:
            StrategyError: the method or the slot's gate cannot travel.
            OSError: there is no memory, or no descriptor left.
        """
        captured = capture(self._strategy, request, self._references, known)
        slots = list(self._references.slots)
        self._bundles = [slot.bundle for slot in slots]
        portfolio = pickle.dumps(self._context.portfolio, protocol=5)
        payload, self._descriptor = pack([memoryview(portfolio), *captured.written.parts], room)
        self._run = Run(
            job=request.id,
            name=request.name,
            payload=payload,
            attributes=captured.attributes,
            missing=captured.missing,
            slots=tuple(
                SlotState(
                    slot.name,
                    slot.version,
                    slot.readiness.is_ready,
                    slot.storage,
                    slot.is_stored,
                    slot.has_build,
                )
                for slot in slots
            ),
            slot=captured.slot,
            has_gate=captured.has_gate,
            surroundings=surroundings(self._context),
        )
        return captured, sum(payload.sizes)

    def ask(self, stop: bool) -> None:
        """Have the job told that it should stop, or that it need not any more."""
        self._is_asked = stop
        with contextlib.suppress(OSError):  # full: it will look; closed: it is over
            self._waker.send(b".")

    def hold(self) -> None:
        """Freeze the worker."""
        with self._lock:
            self._is_held = True
            if self._worker is not None:
                self._worker.tell(b"S")

    def release(self) -> None:
        """Let it go on."""
        with self._lock:
            self._is_held = False
            if self._worker is not None:
                self._worker.tell(b"C")

    def kill(self) -> None:
        """End it, whatever it does."""
        with self._lock:
            self._is_killed = True
            if self._worker is not None:
                self._worker.tell(b"K")
        self.ask(True)  # whatever became of the worker, its thread waits for it no longer

    # ---- in its thread -----------------------------------------------------------------------

    def use(self, worker: AnyWorker) -> None:
        """Work with this worker from now on, in the state the job is meant to be in."""
        with self._lock:
            self._worker = worker
            for flag, letter in ((self._is_killed, b"K"), (self._is_held, b"S")):
                if flag:
                    worker.tell(letter)

    def perform(self, worker: AnyWorker) -> tuple[JobResult, bool]:
        """Run the job; return what it came to, and whether the worker can be used again."""
        token = CURRENT_JOB.set(self._control)  # whose data is read
        try:
            worker.tell(b"B")
            descriptor, self._descriptor = self._descriptor, None
            worker.send(self._run, descriptor)
            if self._is_asked:
                worker.send(Ask(True))
            return self._follow(worker)
        except BROKEN as error:
            return failure(error, "the worker sent what makes no sense: "), False
        finally:
            self._printed.end()
            self._control.end()
            CURRENT_JOB.reset(token)

    def close(self) -> None:
        """Let go of what it holds."""
        with self._lock:
            self._worker = None
        self._wake.close()
        self._waker.close()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _follow(self, worker: AnyWorker) -> tuple[JobResult, bool]:
        done: tuple[Done, int | None] | None = None
        left: list[str] = []
        is_swept = False
        try:
            for heard in worker.listen(self._wake):
                match heard:
                    case None if self._is_killed:
                        break
                    case None:
                        worker.send(Ask(self._is_asked))
                    case Output(data):
                        self._printed.take(data)
                    case Lost() as lost:
                        self._printed.lost(lost)
                    case Received(body, descriptor):
                        message = decode_for_runtime(body)
                        if isinstance(message, Done):
                            done = (message, descriptor)
                            worker.tell(b"E")
                        else:
                            self._hear(worker, message)
                    case Swept(had_children) if done is not None:
                        is_swept, left = True, [*done[0].left, *["processes"] * had_children]
                        break
            if done is None:
                return JobResult(error=worker.how_it_ended()), False
            self._control.has_noticed = done[0].noticed or self._control.has_noticed
            if left:
                text = "the worker is replaced: the job has left something in it"
                self._control.pass_on(Line("info", text, {"left": ", ".join(left)}))
            return self._result(*done), is_swept and not left
        finally:
            if done is not None and done[1] is not None:
                os.close(done[1])

    def _hear(self, worker: AnyWorker, message: object) -> None:
        match message:
            case Progressed(fraction, text):
                self._control.progress(fraction, text)
            case Reported(metrics):
                self._control.report(metrics)
            case Said(level, text, fields):
                level = level if level in {"debug", "info", "warning", "error"} else "info"
                self._control.pass_on(Line(level, text, fields))
            case Question() as question:
                worker.send(*self._answer(question))

    def _answer(self, question: Question) -> tuple[Answer, int | None]:
        try:
            payload, descriptor = pack(self._found(question))
        except (TidegateError, Unwritable, OSError, IndexError) as error:
            return Answer(question.number, error=str(error)), None
        return Answer(question.number, payload), descriptor

    def _found(self, question: Question) -> list[memoryview]:
        symbol = Symbol(question.name)
        match question.about:
            case "bars":
                return _columns(self._context.history(symbol, question.count))
            case "ticks":
                return _columns(self._context.tick_history(symbol, question.count))
            case "model":
                place = int(question.name)
                try:
                    bundle = self._bundles[place]
                    with FOOTPRINT.brisk():
                        return write([("the model", bundle)], self._references.refer).parts
                except Unwritable as fault:
                    name = self._references.slots[place].name
                    raise StrategyError(
                        f"the model of slot {name!r} cannot be used in a training that runs in a "
                        f"process of its own: it cannot be pickled ({fault})",
                        "train",
                    ) from fault

    def _result(self, done: Done, descriptor: int | None) -> JobResult:
        """Make the result, all of it or none; other threads get their turn meanwhile."""
        if done.error:
            return JobResult(error=done.error, traceback=done.traceback)
        LEFTOVERS.take([])  # starts its thread here and not on the loop
        if done.payload is None:
            return JobResult(error="the worker has handed back nothing")
        try:
            found = self._opened(done, done.payload, descriptor)
        except Unreadable as fault:
            what = fault.name if fault.name == VALUE else f"self.{fault.name}"
            return JobResult(error=f"{what} cannot be taken from the worker: {fault}")
        except BadPayload as fault:
            return JobResult(error=f"what the worker handed back cannot be read: {fault}")
        value, stored = found.pop(VALUE), found.pop(STORED)
        change = Changes(found, done.removed)
        return JobResult(
            value,
            done.accepted,
            metrics=done.metrics,
            data_until=(
                self._run.surroundings.now  # what it was given, if it has asked for no more
                if self._control.data_until is None
                else self._control.data_until
            ),
            commit=committing(self._strategy, change, LEFTOVERS.take),
            assigned=change.assigned,
            removed=change.removed,
            let_go=LEFTOVERS.take,
            encoded=_encoded(stored),
            unstorable=done.unstorable,
        )

    def _opened(self, done: Done, payload: Payload, descriptor: int | None) -> dict[str, Any]:
        limit = self._worker.limits.result_bytes if self._worker is not None else 0
        # Twice: what serves, and the same as it is stored.
        opened = Opened(payload, descriptor, 2 * limit + (1 << 20))
        freezes = done.objects > FREEZE_OBJECTS and not done.has_cycles
        if freezes:
            gc.collect(1)  # what has just become garbage must not be kept with what is frozen
        if done.objects > MANY_OBJECTS:
            text = "the result is made of very many objects: taking it in and letting go of it hold"
            size = {"objects": done.objects}
            self._control.pass_on(Line("warning", f"{text} up the loop; arrays do not", size))
        with FOOTPRINT.taking_in():
            found = read(
                [VALUE, *done.attributes, STORED],
                opened.stream(),
                opened.buffers(),
                self._references.resolve,
                check_allowed,
            )
            if freezes:
                gc.freeze()  # the collector never needs to look at them; counting frees them
        return found


def _encoded(stored: object) -> Encoded | None:
    """Take what is to be stored; what is no such thing is not."""
    if not isinstance(stored, bytes | memoryview):
        return None
    try:
        return msgspec.msgpack.decode(stored, type=Encoded)
    except msgspec.DecodeError:
        return None


def _columns(window: BarWindow | TickWindow) -> list[memoryview]:
    columns = (np.ascontiguousarray(getattr(window, n)) for n in window.__struct_fields__)
    return [column.view(np.uint8).data for column in columns]
