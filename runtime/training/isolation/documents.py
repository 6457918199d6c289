"""The user's objects become bytes and are made again: one document each, so a bad one has a name.

The documents of one list share what they have in common, as one pickle would. Large buffers (numpy
arrays) are kept out of the bytes. What belongs to the runtime (the strategy, its slots, securities)
does not travel: it is referred to by name and looked up on the other side.
"""

import io
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


class Unwritable(Exception):
    """A document could not be made; `name` says which, the message why."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason)
        self.name = name


class Unreadable(Unwritable):
    """A document could not be read."""


class Written(NamedTuple):
    """So many documents: one stream of bytes, and the buffers kept out of it, in order."""

    documents: int
    stream: memoryview
    buffers: list[memoryview]

    @property
    def parts(self) -> list[memoryview]:
        """All of it, to be sent in this order."""
        return [self.stream, *self.buffers]


_RESOLVE: ContextVar[Resolve] = ContextVar("_RESOLVE")


def look_up(*reference: str | int) -> object:
    """Return what a reference names, among the objects of who is reading."""
    return _RESOLVE.get()(reference)


class _Writer(pickle.Pickler):
    def __init__(self, stream: io.BytesIO, buffers: list[memoryview], refer: Refer) -> None:
        super().__init__(stream, 5, buffer_callback=self._keep)
        self._buffers = buffers
        self._refer = refer

    def _keep(self, buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < SMALL_BUFFER:
            return True
        self._buffers.append(raw)
        return False

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
        Unwritable: one cannot be pickled, or is too large.
    """
    stream, buffers = io.BytesIO(), list[memoryview]()
    writer = _Writer(stream, buffers, refer)
    total = out_of_band = 0
    for name, value in items:
        already = len(buffers)
        try:
            writer.dump(value)
        except RecursionError:
            raise Unwritable(name, "it is nested too deeply") from None
        except Exception as error:  # an object may raise anything while it is pickled
            raise Unwritable(name, f"{type(error).__name__}: {error}"[:REASON_CHARS]) from error
        out_of_band += sum(raw.nbytes for raw in buffers[already:])
        before, total = total, stream.tell() + out_of_band
        if limit is not None and total > limit:
            raise Unwritable(name, f"it has {total - before} bytes, all together may have {limit}")
    return Written(len(items), stream.getbuffer(), buffers)


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
