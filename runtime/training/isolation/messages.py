"""What the runtime and a worker say to each other: plain data, never a pickle.

What the user's code made (a result, attributes) is named here by its sizes only and travels as a
Payload, for others to open.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

LARGE_STREAM = 1 << 20
"""Bytes of pickled objects, without buffers, from which taking them in needs care."""
Plain = str | int | float | bool | None


class Payload(msgspec.Struct, frozen=True):
    """Some parts of bytes: all in `inline`, one after the other, or in a descriptor beside it."""

    sizes: tuple[int, ...]
    inline: bytes | None = None


class SlotState(msgspec.Struct, frozen=True):
    """A model slot as it stood when the job began; the model itself is asked for."""

    name: str
    version: int
    is_ready: bool
    storage: Literal["safe", "pickle"]
    is_stored: bool
    has_build: bool


class SecurityState(msgspec.Struct, frozen=True, array_like=True):
    """A security as it stood when the job began."""

    symbol: str
    asset_class: str
    resolution: int
    price: float
    bid: float
    ask: float
    bid_size: float
    ask_size: float
    updated: int
    has_traded: bool


class Surroundings(msgspec.Struct, frozen=True):
    """What a strategy reads of its run, as it stood when the job began."""

    now: int
    zone: str
    parameters: Mapping[str, str]
    is_warming_up: bool
    is_training_on: bool
    securities: tuple[SecurityState, ...]


# ---- to the worker -------------------------------------------------------------------------------


class Prepare(msgspec.Struct, frozen=True, tag=True):
    """Import the strategy: by `module`, from `file` where it is not to be found by name."""

    module: str
    file: str | None
    qualname: str
    native_threads: int
    result_bytes: int


class Run(msgspec.Struct, frozen=True, tag=True):
    """Run a job.

    The payload holds the portfolio, then the documents of transaction.Captured: `attributes` names
    those of the strategy in order; `missing` those that could not travel, with the reason. `slot`
    is the place in `slots` of the one that is trained into.
    """

    job: str
    name: str
    payload: Payload
    attributes: tuple[str, ...]
    missing: Mapping[str, str]
    slots: tuple[SlotState, ...]
    slot: int | None
    has_gate: bool
    surroundings: Surroundings


class Ask(msgspec.Struct, frozen=True, tag=True):
    """Have the job stop, or take the asking back."""

    stop: bool


class Answer(msgspec.Struct, frozen=True, tag=True):
    """What a Question asked for, or in `error` why there is none."""

    number: int
    payload: Payload | None = None
    error: str = ""


# ---- to the runtime ------------------------------------------------------------------------------


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The strategy is imported; or in `error` why it could not be."""

    error: str = ""


class Progressed(msgspec.Struct, frozen=True, tag=True):
    """How far the job is."""

    fraction: float
    text: str


class Reported(msgspec.Struct, frozen=True, tag=True):
    """Figures about what is being trained."""

    metrics: Mapping[str, float]


class Said(msgspec.Struct, frozen=True, tag=True):
    """A line for the log; `dropped` were too many before it."""

    level: str
    text: str
    fields: Mapping[str, Plain]


class Question(msgspec.Struct, frozen=True, tag=True):
    """Ask for `count` bars or ticks of the symbol `name`, or for the model of slot `name`."""

    number: int
    about: Literal["bars", "ticks", "model"]
    name: str
    count: int = 0


class Done(msgspec.Struct, frozen=True, tag=True):
    """What the job came to.

    The payload holds the value, then the attributes that were assigned; `removed` were deleted.
    Last comes the value as it can be stored, None where it can't because it is `unstorable`.
    `noticed` says that the job saw that it should stop; `left` names what it left in the worker.
    Of a large result, `objects` is how many the garbage collector would look at, and `has_cycles`
    that they don't go away by counting references alone.
    """

    error: str = ""
    traceback: str = ""
    payload: Payload | None = None
    attributes: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    accepted: bool = True
    unstorable: str = ""
    metrics: Mapping[str, float] = {}
    noticed: bool = False
    left: tuple[str, ...] = ()
    objects: int = 0
    has_cycles: bool = False


ToWorker = Prepare | Run | Ask | Answer
ToRuntime = Ready | Progressed | Reported | Said | Question | Done

_encode = msgspec.msgpack.Encoder().encode


def encode(message: ToWorker | ToRuntime) -> bytes:
    """Write a message; where text in it is none that can be written, in escapes."""
    try:
        return _encode(message)
    except UnicodeEncodeError:
        return _encode(_writable(message))


def _writable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, tuple):
        return tuple(map(_writable, value))
    if isinstance(value, Mapping):
        return {_writable(name): _writable(item) for name, item in value.items()}
    if isinstance(value, msgspec.Struct):
        fields = {name: _writable(getattr(value, name)) for name in value.__struct_fields__}
        return msgspec.structs.replace(value, **fields)
    return value


decode_for_worker = msgspec.msgpack.Decoder(ToWorker).decode
decode_for_runtime = msgspec.msgpack.Decoder(ToRuntime).decode
