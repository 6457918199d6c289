"""The user's objects become bytes and are made again: one document each, so a bad one has a name.

The documents of one list share what they have in common, as one pickle would. Large buffers (numpy
arrays) are kept out of the bytes. What belongs to the runtime (the strategy, its slots, securities)
does not travel: it is referred to by name and looked up on the other side.
"""

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol

SMALL_BUFFER = 4096
"""Bytes below which a buffer is not worth a place of its own."""

REASON_CHARS = 300

Reference = tuple[str | int, ...]
Refer = Callable[[object], Reference | None]
"""The name of an object that stays where it is; None for one that travels."""
Resolve = Callable[[Reference], object]
Allow = Callable[[str, str], None]
"""Raises where a module and a name in it may not be used to make an object."""


class Source(Protocol):
    """What documents are read from."""

    def read(self, size: int, /) -> bytes:
        """Return that many bytes."""
        ...

    def readline(self) -> bytes:
        """Return bytes up to a line's end."""
        ...


class Fault(NamedTuple):
    """Which document, and why."""

    name: str
    reason: str


class Unwritable(Exception):
    """A document could not be made; `name` says which, the message why.

    `faults` are all that are known, that one first.
    """

    def __init__(self, name: str, reason: str, others: Sequence[Fault] = ()) -> None:
        super().__init__(reason)
        self.name = name
        self.faults = (Fault(name, reason), *others)


class Unreadable(Unwritable):
    """A document could not be read."""


class Written(NamedTuple):
    """So many documents: one stream of bytes, and the buffers kept out of it, in order.

    `sizes` are the bytes that each document has in the stream, and in buffers of its own.
    """

    documents: int
    stream: memoryview
    buffers: list[memoryview]
    sizes: list[tuple[int, int]]

    @property
    def parts(self) -> list[memoryview]:
        """All of it, to be sent in this order."""
        return [self.stream, *self.buffers]


_RESOLVE: ContextVar[Resolve] = ContextVar("_RESOLVE")


def look_up(*reference: str | int) -> object:
    """Return what a reference names, among the objects of who is reading."""
    return _RESOLVE.get()(reference)


class _Sink:
    """Takes the bytes of documents.

    Its method is Python on purpose: between two calls the interpreter lets other threads in, which
    the pickler by itself never does.
    """

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes, /) -> None:
        self.data += data


class _Writer(pickle.Pickler):
    def __init__(self, sink: _Sink, buffers: list[memoryview], refer: Refer) -> None:
        def keep(buffer: pickle.PickleBuffer) -> bool:
            raw = buffer.raw()
            if raw.nbytes < SMALL_BUFFER:
                return True
            buffers.append(raw)
            return False

        # No method of its own: a pickler in a cycle would keep what it has seen until a collection.
        super().__init__(sink, 5, buffer_callback=keep)
        self._refer = refer

    def reducer_override(self, value: object) -> Any:
        reference = self._refer(value)
        return NotImplemented if reference is None else (look_up, reference)


class _Reader(pickle.Unpickler):
    def __init__(self, source: Source, buffers: Iterable[object], allow: Allow | None) -> None:
        super().__init__(source, buffers=buffers)
        self._allow = allow

    def find_class(self, module: str, name: str, /) -> Any:
        if self._allow is not None and (module, name) != (__name__, look_up.__name__):
            self._allow(module, name)
        return super().find_class(module, name)


def write(items: Sequence[tuple[str, object]], refer: Refer, limit: int | None = None) -> Written:
    """Turn named objects into documents.

    Args:
        items: name and object.
        refer: says what stays where it is.
        limit: the bytes that all of it may have.

    Raises:
        Unwritable: some cannot be pickled, each is named; or one is too large.
    """
    sink, buffers = _Sink(), list[memoryview]()
    writer = _Writer(sink, buffers, refer)
    sizes: list[tuple[int, int]] = []
    total = 0
    for place, (name, value) in enumerate(items):
        at, already = len(sink.data), len(buffers)
        reason = _dump(writer, value)
        if reason:
            others = items[place + 1 :]
            raise Unwritable(name, reason, [f for o in others if (f := _fault(*o, refer))])
        sizes.append((len(sink.data) - at, sum(raw.nbytes for raw in buffers[already:])))
        size = sum(sizes[-1])
        total += size
        if limit is not None and total > limit:
            text = f"it has {size} bytes, all together may have {limit} (training.result_mb)"
            raise Unwritable(name, text)
    return Written(len(items), memoryview(sink.data), buffers, sizes)


def _fault(name: str, value: object, refer: Refer) -> Fault | None:
    """Say what is wrong with one document by itself."""
    reason = _dump(_Writer(_Sink(), [], refer), value)
    return Fault(name, reason) if reason else None


def _dump(writer: _Writer, value: object) -> str:
    """Write a document and return "", or why it cannot be."""
    try:
        writer.dump(value)
    except RecursionError:
        return "it is nested too deeply"
    except Exception as error:  # noqa: BLE001  # an object may raise anything while it is pickled
        return f"{type(error).__name__}: {error}"[:REASON_CHARS]
    return ""


def read(
    names: Sequence[str],
    source: Source,
    buffers: Iterable[object],
    resolve: Resolve,
    allow: Allow | None = None,
) -> dict[str, Any]:
    """Make the objects again, in order.

    Raises:
        Unreadable: one cannot be made.
    """
    reader = _Reader(source, buffers, allow)
    found: dict[str, Any] = {}
    with _resolving(resolve):
        for name in names:
            try:
                found[name] = reader.load()
            except RecursionError:
                raise Unreadable(name, "it is nested too deeply") from None
            except Exception as error:  # an object may raise anything while it is made
                raise Unreadable(name, f"{type(error).__name__}: {error}"[:REASON_CHARS]) from error
    return found


@contextmanager
def _resolving(resolve: Resolve) -> Iterator[None]:
    token = _RESOLVE.set(resolve)
    try:
        yield
    finally:
        _RESOLVE.reset(token)
