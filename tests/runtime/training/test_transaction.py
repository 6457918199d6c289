"""A copy of a strategy and what a job made of it: pure, as if both sides were in one process."""

import contextlib
import gc
import io
import pickle
import threading
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import StrategyError
from runtime.securities import Security
from runtime.training.isolation.allowed import check_allowed
from runtime.training.isolation.documents import (
    SMALL_BUFFER,
    Reference,
    Unreadable,
    Unwritable,
    read,
    write,
)
from runtime.training.isolation.standins import Elsewhere
from runtime.training.isolation.transaction import (
    METHOD,
    References,
    capture,
    changes,
    committing,
    revive,
)
from tests.live.patients import Bomb, Patient
from tests.live.ward import Ward
from tests.runtime.training.support import request

ALL = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
        | st.tuples(inner, inner)
    ),
    max_leaves=20,
)


def nothing(_: object) -> Reference | None:
    return None


def unknown(reference: Reference) -> object:
    raise LookupError(str(reference))


def there_and_back(items: dict[str, Any]) -> dict[str, Any]:
    written = write(list(items.items()), nothing)
    return read(list(items), io.BytesIO(written.stream), written.buffers, unknown)


# ---- documents -------------------------------------------------------------------------------


@given(st.dictionaries(st.text(), ALL, max_size=5))
def test_objects_come_back_equal(items: dict[str, Any]) -> None:
    assert there_and_back(items) == items


@given(st.integers(0, 3 * SMALL_BUFFER), st.sampled_from(["u1", "f8", "i4", "?"]))
def test_arrays_come_back_and_large_ones_are_kept_out(size: int, dtype: str) -> None:
    array = np.arange(size).astype(dtype)
    written = write([("a", array), ("b", array[::2]), ("c", array)], nothing)
    assert (array.nbytes >= SMALL_BUFFER) <= len(written.buffers)
    found = read(["a", "b", "c"], io.BytesIO(written.stream), written.buffers, unknown)
    assert np.array_equal(found["a"], array)
    assert np.array_equal(found["b"], array[::2])
    assert found["c"] is found["a"]


def test_what_is_shared_between_documents_still_is() -> None:
    inner = [1]
    found = there_and_back({"a": inner, "b": {"x": inner}})
    assert found["b"]["x"] is found["a"]


def deep() -> object:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    return nested


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (threading.Lock(), "TypeError: cannot pickle"),
        (Bomb("raises"), "ValueError: not me"),
        (deep(), "it is nested too deeply"),
    ],
)
def test_a_document_that_cannot_be_made_has_a_name(value: object, reason: str) -> None:
    with pytest.raises(Unwritable) as caught:
        write([("good", 1), ("bad", value), ("good too", 2)], nothing)
    assert caught.value.name == "bad"
    assert str(caught.value).startswith(reason)


def test_all_that_cannot_be_made_are_named_at_once() -> None:
    lock = threading.Lock()
    with pytest.raises(Unwritable) as caught:
        write([("a", lock), ("b", 1), ("c", Bomb("raises")), ("d", [lock])], nothing)
    assert [fault.name for fault in caught.value.faults] == ["a", "c", "d"]
    assert caught.value.faults[1].reason == "ValueError: not me"


def test_what_was_written_is_not_kept() -> None:
    """A pickler in a cycle would keep it until a collection, on whichever thread that comes."""
    held = Bomb("good")
    seen = weakref.ref(held)
    gc.disable()
    try:
        write([("a", [held])], nothing)
        del held
        assert seen() is None
    finally:
        gc.enable()


def test_a_document_that_cannot_be_read_has_a_name() -> None:
    written = write([("good", 1), ("bad", Bomb("again"))], nothing)
    with pytest.raises(Unreadable) as caught:
        read(["good", "bad"], io.BytesIO(written.stream), written.buffers, unknown)
    assert (caught.value.name, str(caught.value)) == ("bad", "ValueError: never again")


def test_too_large_is_said_of_the_one_that_is_too_much() -> None:
    items = [("small", bytes(100)), ("large", np.zeros(10_000)), ("never", 1)]
    with pytest.raises(Unwritable, match=r"it has 80\d{3} bytes, all together may have 1000"):
        write(items, nothing, 1000)


@given(st.binary(max_size=200))
def test_rubbish_is_read_or_refused(rubbish: bytes) -> None:
    with contextlib.suppress(Unreadable):  # the only thing it may raise
        read(["it"], io.BytesIO(rubbish), [], unknown, check_allowed)


@pytest.mark.parametrize(
    "planted",
    [
        "os.system", "posix.system", "builtins.eval", "builtins.exec", "builtins.__import__",
        "subprocess.Popen", "importlib.import_module", "runtime.live.LiveRun", "sys.exit",
        "runtime.training.manager.TrainingManager", "feeds.connection.Connection", "pickle.loads",
        "runtime.training.isolation.documents.write", "ctypes.CDLL", "signal.raise_signal",
    ],
)  # fmt: skip
def test_row_67_machinery_is_refused(planted: str) -> None:
    module, _, name = planted.rpartition(".")
    with pytest.raises(pickle.UnpicklingError, match="a result is made of values only"):
        check_allowed(module, name)


@pytest.mark.parametrize(
    "value",
    [
        "numpy._core.multiarray._reconstruct", "builtins.set", "builtins.getattr",
        "runtime.history.BarWindow", "feeds.events.Trade", "sklearn.svm.SVC",
        "decimal.Decimal", "datetime.datetime", "functools.partial", "types.SimpleNamespace",
        "collections.OrderedDict", "_tidegate_strategy_mine.Model", "copyreg._reconstructor",
    ],
)  # fmt: skip
def test_values_of_any_library_pass(value: str) -> None:
    module, _, name = value.rpartition(".")
    check_allowed(module, name)


# ---- the strategy ----------------------------------------------------------------------------


@pytest.fixture
def ward() -> Ward:
    made = Ward()
    made.admit(Patient())
    return made


def test_what_cannot_travel_stays_behind_and_is_not_tried_again(ward: Ward) -> None:
    strategy, known = ward.strategy, dict[str, Any]()
    assert isinstance(strategy, Patient)
    for _ in range(2):
        captured = capture(
            strategy, request(strategy.nothing), References(strategy, ward.desk), known
        )
        assert list(captured.missing) == ["lock"]
        assert "lock" not in captured.attributes
        assert "_context" not in captured.attributes
        assert {"data", "also", "notes", "slot", "spy"} <= set(captured.attributes)
    strategy.lock = None
    captured = capture(strategy, request(strategy.nothing), References(strategy, ward.desk), known)
    assert captured.missing == {}


def test_what_is_the_runtimes_is_referred_to(ward: Ward) -> None:
    strategy = ward.strategy
    assert isinstance(strategy, Patient)
    references = References(strategy, ward.desk)
    captured = capture(strategy, request(strategy.nothing, strategy.slot), references, {})
    names = [METHOD, *captured.attributes]
    stream = io.BytesIO(captured.written.stream)
    found = read(names, stream, captured.written.buffers, references.resolve)
    assert found[METHOD] == strategy.nothing
    assert found["slot"] is strategy.slot
    assert found["spy"] is strategy.spy
    assert isinstance(found["spy"], Security)
    assert captured.slot == 0
    assert references.slots == [strategy.slot, strategy.gated]
    with pytest.raises(LookupError):
        references.resolve(("slot", 9))


def test_what_a_strategy_holds_of_the_runtime_stands_there_by_its_place(ward: Ward) -> None:
    strategy: Any = ward.strategy
    strategy.handles = [strategy.train(strategy.nothing)]
    strategy.event = strategy.schedule.on(
        strategy.date_rules.every_day(), strategy.time_rules.noon, strategy.nothing
    )
    strategy.rule = strategy.time_rules.at(9, 30)
    strategy.ready = strategy.slot.readiness
    references = References(strategy, ward.desk)
    captured = capture(strategy, request(strategy.nothing), references, {})
    assert list(captured.missing) == ["lock"]

    def elsewhere(reference: Reference) -> object:
        kind, *rest = reference
        return Elsewhere(*rest) if kind == "kept" else references.resolve(reference)  # type: ignore[arg-type]

    names = [METHOD, *captured.attributes]
    stream = io.BytesIO(captured.written.stream)
    found = read(names, stream, captured.written.buffers, elsewhere)
    assert repr(found["event"]) == "<ScheduledEvent in the runtime>"
    with pytest.raises(StrategyError, match="'cancel' of a TrainingHandle cannot be used in a tr"):
        found["handles"][0].cancel()
    place = found["handles"][0].place
    assert references.resolve(("kept", place, "any")) is strategy.handles[0]
    with pytest.raises(LookupError):
        references.resolve(("kept", 9, "any"))


def test_a_missing_attribute_explains_itself_until_another_is_assigned() -> None:
    copy = revive(Patient, {"lock": "no locks"})
    assert type(copy).__name__ == "Patient"
    assert isinstance(copy, Patient)
    with pytest.raises(StrategyError, match=r"self\.lock cannot be used .*\(no locks\)"):
        _ = copy.lock
    copy.lock = 1
    assert copy.lock == 1
    assert vars(copy) == {"lock": 1}
    del copy.lock
    with pytest.raises(StrategyError):
        _ = copy.lock


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(), max_size=6),
    st.dictionaries(st.sampled_from("abcdef"), st.integers(), max_size=6),
    st.sets(st.sampled_from("abcdef")),
)
def test_applied_changes_make_one_what_the_other_is(
    before: dict[str, Any], assigned: dict[str, Any], removed: set[str]
) -> None:
    boxed = {name: [value] for name, value in before.items()}
    after = {**boxed, **{name: [value] for name, value in assigned.items()}}
    after = {name: value for name, value in after.items() if name not in removed}
    change = changes(boxed, after)
    assert set(change.assigned) == set(assigned) - removed
    original = object.__new__(Patient)
    vars(original).update(boxed)
    committing(original, change)()
    assert vars(original) == after
