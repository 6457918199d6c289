"""Models as bytes come back as they were, by formats that run no code; what cannot is named."""

import datetime
import math
import pickle
import threading
from decimal import Decimal
from typing import Any

import lightgbm
import msgspec
import numpy as np
import pytest
import sklearn
import skops.io
from hypothesis import given
from hypothesis import strategies as st
from river import linear_model
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from runtime.training import formats
from runtime.training.formats import Encoded, Format, Part, Unreadable, Unstorable, decode, encode
from runtime.training.plain import NotPlain, decode_plain, encode_plain

X = np.random.default_rng(7).normal(size=(80, 3))
Y = X[:, 0] + 0.3 * X[:, 1] > 0

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text() | st.integers(-9, 9), inner, max_size=4)
    ),
    max_leaves=20,
)


def same(left: Any, right: Any) -> bool:
    if type(left) is not type(right):
        return False
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    return bool(left == right)


@given(PLAIN)
def test_plain_data_comes_back_with_its_types(value: object) -> None:
    assert same(decode_plain(encode_plain(value)), value)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3)),
        np.array([], dtype=np.float32),
        np.array(["a", "bcd"]),
        np.array([True, False]),
        np.array(["2024-01-02"], dtype="datetime64[ns]"),
        np.float32(1.5),
        np.array(7),
    ],
)
def test_arrays_and_scalars_come_back(array: Any) -> None:
    back = decode_plain(encode_plain({"a": (array,)}))["a"][0]
    assert type(back) is type(array)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)
    if back.ndim:
        back[:] = back[::-1]  # it may be written to


@pytest.mark.parametrize(
    "value",
    [object(), {1, 2}, Decimal(1), datetime.timedelta(1), {(1, 2): 3}, np.array([None]), 2**64],
)
def test_what_is_not_plain_is_refused(value: object) -> None:
    with pytest.raises(NotPlain):
        encode_plain([value])


def test_what_is_nested_without_end_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(NotPlain):
        encode_plain(value)


# As older versions of LightGBM have it, which name the columns of an array.
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(),
        make_pipeline(StandardScaler(), MLPClassifier((4,), max_iter=200, tol=1.0)),
        GradientBoostingClassifier(n_estimators=3),
        HistGradientBoostingClassifier(max_iter=3),
        KNeighborsClassifier(3),
        lightgbm.LGBMClassifier(n_estimators=3, verbose=-1),
    ],
    ids=lambda model: type(model).__name__,
)
def test_scikit_learn_and_its_like_predict_the_same(model: Any) -> None:
    model.fit(X, Y)
    encoded = encode(model, {"scaler": StandardScaler().fit(X)}, "safe")
    back, extras = decode(encoded)
    np.testing.assert_array_equal(back.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(extras["scaler"].mean_, StandardScaler().fit(X).mean_)
    assert encoded.formats == {"": "skops", "scaler": "skops"}
    assert "sklearn" in encoded.model.libraries


def test_lightgbm_is_its_own_text() -> None:
    data = lightgbm.Dataset(X, Y.astype(int))
    model = lightgbm.train({"objective": "binary", "verbose": -1}, data, 3)
    encoded = encode(model, {}, "safe")
    assert encoded.model.data.startswith(b"tree")
    back, _ = decode(encoded)
    np.testing.assert_array_equal(back.predict(X), model.predict(X))


def test_river_is_a_pickle_and_only_by_choice() -> None:
    model = linear_model.LogisticRegression()
    for row, up in zip(X, Y, strict=True):
        model.learn_one({"a": row[0]}, bool(up))
    with pytest.raises(
        Unstorable, match=r"LogisticRegression has no safe format here; ModelSlot.*'pickle'"
    ):
        encode(model, {}, "safe")
    encoded = encode(model, {"seen": 80}, "pickle")
    assert encoded.formats == {"": "pickle", "seen": "msgpack"}
    back, _ = decode(encoded)
    assert back.predict_proba_one({"a": 1.0}) == model.predict_proba_one({"a": 1.0})


def test_torch_is_its_tensors_with_the_class_named() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    model = torch.nn.Linear(3, 1).eval()
    encoded = encode(model, {"tensors": model.state_dict()}, "safe")
    assert encoded.formats == {"": "safetensors", "tensors": "safetensors"}
    assert encoded.model.kind == "torch.nn.modules.linear:Linear"
    back, extras = decode(encoded, lambda: torch.nn.Linear(3, 1))
    given = torch.ones(1, 3)
    assert torch.equal(back(given), model(given))
    assert not back.training
    assert torch.equal(extras["tensors"]["weight"], model.weight)
    with pytest.raises(
        Unreadable, match=r"needs arguments, so the slot has .*ModelSlot\(..., build"
    ):
        decode(encoded)
    with pytest.raises(Unstorable, match=r"class Linear needs arguments, so the slot has to know"):
        encode(model, {}, "safe", has_build=False)
    with pytest.raises(Unstorable, match=r"its extra 'net': class Linear needs arguments"):
        encode(1, {"net": model}, "safe")


def strange(x: Any) -> Any:
    return x


def test_a_function_of_somebody_is_no_part_of_a_safe_model() -> None:
    model = make_pipeline(FunctionTransformer(strange), LogisticRegression()).fit(X, Y)
    with pytest.raises(Unstorable, match="strange is not a type that skops may load"):
        encode(model, {}, "safe")
    planted = Part(Format.SKOPS, skops.io.dumps(model), "a:B")
    with pytest.raises(Unreadable, match=r"holds .*strange, which is not a type"):
        formats.decode_part(planted)


@pytest.mark.parametrize("value", [lambda: 1, threading.Lock()], ids=["lambda", "lock"])
def test_what_not_even_pickle_takes_is_named(value: object) -> None:
    with pytest.raises(Unstorable, match="cannot be pickled"):
        encode(value, {}, "pickle")
    with pytest.raises(Unstorable, match="its extra 'x': "):
        encode(1, {"x": value}, "safe")


@pytest.mark.parametrize("format", [f for f in Format if f is not Format.LIGHTGBM])
@pytest.mark.parametrize("data", [b"", b"garbage", b"\x80\x05.", b"PK\x03\x04"])
def test_bytes_that_are_something_else_are_one_sentence(format: Format, data: bytes) -> None:
    if format is Format.SAFETENSORS:
        pytest.importorskip("torch", reason="torch is not installed")
    with pytest.raises(Unreadable):
        formats.decode_part(Part(format, data, "a:B"))


def test_what_another_version_of_a_library_has_written_is_left() -> None:
    part = encode(LogisticRegression().fit(X, Y), {}, "safe").model
    older = Part(part.format, part.data, part.kind, {"sklearn": "0.24.1"})
    with pytest.raises(Unreadable, match=r"was written by sklearn 0\.24\.1, and .* is installed"):
        formats.decode_part(older)
    missing = Part(Format.PICKLE, pickle.dumps(1), "a:B", {"no_such_library": "1.0"})
    with pytest.raises(Unreadable, match=r"needs no_such_library 1\.0, which is not installed"):
        formats.decode_part(missing)


def test_a_version_that_is_a_class_of_its_own_is_written_as_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As torch has it."""

    class Version(str):
        __slots__ = ()

    monkeypatch.setattr(sklearn, "__version__", Version(sklearn.__version__))
    encoded = encode(LogisticRegression().fit(X, Y), {}, "safe")
    assert type(encoded.model.libraries["sklearn"]) is str
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(encoded), type=Encoded) == encoded


def test_not_a_number_is_plain() -> None:
    assert math.isnan(decode_plain(encode_plain(math.nan)))
