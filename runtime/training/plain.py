"""Plain data as msgpack that comes back as it was; what is not plain is refused by name.

Exact types only: None, bool, int (64 bit), float, str, bytes, list, tuple, dict with plain keys,
numpy arrays and scalars without objects.
"""

from typing import Any

import msgspec
import numpy as np

TUPLE, ARRAY, SCALAR = 1, 2, 3
KINDS = "biufcSUmM"


class NotPlain(TypeError):
    """What is not plain, named."""


def encode_plain(value: object) -> bytes:
    """Write plain data.

    Raises:
        NotPlain: something in it is none.
    """
    try:
        return msgspec.msgpack.encode(_out(value))
    except RecursionError:
        raise NotPlain("what is nested without end") from None
    except OverflowError:
        raise NotPlain("an integer of more than 64 bits") from None


def decode_plain(data: bytes) -> Any:
    """Read plain data.

    Raises:
        ValueError: these are not its bytes.
    """
    return msgspec.msgpack.decode(data, ext_hook=_in)


def _out(value: object) -> object:
    kind = type(value)
    if kind in {type(None), bool, int, float, str, bytes}:
        return value
    if kind is list:
        return [_out(item) for item in value]  # type: ignore[attr-defined]
    if kind is tuple:
        items = [_out(item) for item in value]  # type: ignore[attr-defined]
        return msgspec.msgpack.Ext(TUPLE, msgspec.msgpack.encode(items))
    if kind is dict:
        return {_key(key): _out(item) for key, item in value.items()}  # type: ignore[attr-defined]
    if isinstance(value, np.generic) and value.dtype.kind in KINDS:
        return msgspec.msgpack.Ext(SCALAR, _array(np.asarray(value)))
    if kind is np.ndarray and value.dtype.kind in KINDS:  # type: ignore[attr-defined]
        return msgspec.msgpack.Ext(ARRAY, _array(np.asarray(value)))
    raise NotPlain(f"{kind.__module__}.{kind.__qualname__}")


def _key(key: object) -> object:
    if type(key) not in {str, int, float, bool}:
        raise NotPlain(f"a dict key of type {type(key).__name__}")
    return key


def _array(array: np.ndarray[Any, Any]) -> bytes:
    return msgspec.msgpack.encode([array.dtype.str, array.shape, array.tobytes()])


def _in(code: int, data: memoryview) -> Any:
    if code == TUPLE:
        return tuple(msgspec.msgpack.decode(data, ext_hook=_in))
    dtype, shape, content = msgspec.msgpack.decode(data)
    kind = np.dtype(dtype)
    if kind.kind not in KINDS or code not in {ARRAY, SCALAR}:
        raise ValueError(f"no plain data: {dtype!r}")
    array = np.frombuffer(content, kind).reshape(shape).copy()
    return array[()] if code == SCALAR else array
