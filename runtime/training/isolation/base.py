"""How a job is run: the interface of every isolation, and the run itself, the same in all of them.

Whatever a training method does is a value here: what it returned, or why it failed. The manager
decides what becomes of it; an isolation only starts the method and brings the result back.
"""

import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from runtime.training.control import CURRENT_JOB, JobControl
from runtime.training.formats import Encoded
from runtime.training.jobs import JobId, JobRequest
from runtime.training.slots import TrainedModel

TRACEBACK_CHARS = 16_000
ERROR_CHARS = 500


class JobResult(msgspec.Struct, frozen=True):
    """What a method came to: a value, or an `error` in one sentence with the traceback behind it.

    `accepted` is the word of the slot's gate about the value. `data_until` is the engine time (ns
    UTC) of the newest data the method read, None where it read none by `history`. `encoded` is the
    value as it can be stored, None where it is not to be, or cannot be because it is `unstorable`.
    `commit` makes what else the method changed come true, once, on the loop: it has `assigned`
    these attributes and `removed` those. `let_go` takes what the value replaces, in a list that it
    empties; None where that may go at once.
    """

    value: Any = None
    accepted: bool = True
    metrics: Mapping[str, float] = {}
    error: str = ""
    traceback: str = ""
    data_until: int | None = None
    commit: Callable[[], None] | None = None
    assigned: Mapping[str, Any] = {}
    removed: Sequence[str] = ()
    encoded: Encoded | None = None
    unstorable: str = ""
    let_go: Callable[[list[object]], None] | None = None


class Isolation(Protocol):
    """One way to run jobs; several may run at once."""

    @property
    def kills(self) -> bool:
        """Whether being cancelled ends a job, whatever it does."""
        ...

    def make_ready(self) -> None:
        """Make ready for jobs, in the background."""
        ...

    async def close(self) -> None:
        """Leave nothing behind that can be ended; no job runs any more, and none will."""
        ...

    async def run(self, request: JobRequest, control: JobControl) -> JobResult:
        """Run the method to its end and return what it came to; never raises for the method.

        Being cancelled means: the manager has asked and waited, end it now. A job that can be
        killed is dead when this returns; another is left behind and named in `abandoned`.
        """
        ...

    def pause(self, job: JobId) -> bool:
        """Freeze a running job; False where this isolation cannot."""
        ...

    def resume(self, job: JobId) -> None:
        """Let a frozen job go on."""
        ...

    def abandoned(self) -> Mapping[JobId, str]:
        """Return the jobs left behind that still run, with their names."""
        ...


def failure(error: BaseException, context: str = "") -> JobResult:
    """Put an exception into words; the newest part of an endless traceback is kept."""
    sentence = traceback.format_exception_only(error)[-1].strip()[:ERROR_CHARS]
    text = "".join(traceback.format_exception(error))
    return JobResult(error=context + sentence, traceback=text[-TRACEBACK_CHARS:])


def execute(
    request: JobRequest,
    control: JobControl,
    passing: Sequence[type[BaseException]] = (),
) -> JobResult:
    """Run the method in this thread, ask the slot's gate, and return what it came to.

    Even SystemExit and KeyboardInterrupt are failures of the job: in a thread of ours they would
    only end that thread. `passing` are let through, for a caller whose own thread this is.
    """
    slot = request.slot
    token = CURRENT_JOB.set(control)
    try:
        value = request.method()
        if slot is None:
            return JobResult(value, metrics=dict(control.metrics), data_until=control.data_until)
        made = value.model if isinstance(value, TrainedModel) else value
        if made is None:
            return JobResult(
                error=f"{request.name} returned None: a method that trains into slot "
                f"{slot.name!r} returns the trained model"
            )
        accepted = slot.accepts(value)
        encoded, unstorable = slot.encode(value) if accepted else (None, "")
        return JobResult(
            value,
            accepted,
            dict(control.metrics),
            data_until=control.data_until,
            encoded=encoded,
            unstorable=unstorable,
        )
    except tuple(passing):
        raise
    except BaseException as error:  # noqa: BLE001  # the method is foreign code; see above
        return failure(error)
    finally:
        CURRENT_JOB.reset(token)
