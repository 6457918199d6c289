"""One frozen bundle at a time, versions that rise by one, and no moment without a model."""

import threading
from datetime import timedelta
from typing import Any

import msgspec
import numpy as np
import pytest

from feeds.events import SECOND
from runtime.training.readiness import ReadinessCause, ReadinessState
from runtime.training.slots import ModelSlot, Published, TrainedModel

T0 = 1_700_000_000 * SECOND


def test_an_empty_slot_has_nothing_and_says_so() -> None:
    slot = ModelSlot("model")
    assert (slot.current, slot.bundle, slot.previous, slot.version) == (None, None, None, 0)
    assert not slot.is_ready
    assert slot.stale_at is None
    assert not slot.expire(T0)
    assert repr(slot) == "ModelSlot('model', version 0, untrained)"


def test_publishing_swaps_the_bundle_and_keeps_the_one_before() -> None:
    slot = ModelSlot("model")
    assert slot.publish("first", "job-1", T0, {"accuracy": 0.5}) == 1
    assert slot.bundle == Published("first", 1, T0, "job-1", {"accuracy": 0.5}, data_until=T0)
    assert slot.publish("second", "job-2", T0 + 1) == 2
    assert (slot.current, slot.version, slot.is_ready) == ("second", 2, True)
    assert slot.previous is not None
    assert slot.previous.model == "first"
    assert slot.readiness.version == 2


def test_a_bundle_is_frozen() -> None:
    slot = ModelSlot("model")
    slot.publish("first", "job-1", T0)
    with pytest.raises(AttributeError):
        slot.bundle.version = 9  # type: ignore[misc,union-attr]
    assert msgspec.structs.asdict(slot.bundle)["version"] == 1  # type: ignore[arg-type]


@pytest.mark.parametrize("nothing", [None, TrainedModel(None, {"scaler": 1})])
def test_none_is_not_a_model(nothing: object) -> None:
    slot = ModelSlot("model")
    with pytest.raises(ValueError, match="cannot publish None"):
        slot.publish(nothing, "job-1", T0)
    assert not slot.is_ready


def test_an_old_model_becomes_stale_by_itself_and_a_new_one_mends_it() -> None:
    slot = ModelSlot("model", max_age=timedelta(seconds=10))
    slot.publish("first", "job-1", T0)
    assert slot.stale_at == T0 + 10 * SECOND
    assert not slot.expire(T0 + 10 * SECOND - 1)
    assert slot.expire(T0 + 10 * SECOND)
    assert not slot.expire(T0 + 11 * SECOND), "it becomes stale once"
    assert (slot.is_ready, slot.readiness.state) == (False, ReadinessState.STALE)
    assert slot.readiness.reason == "expired: version 1 is older than 0:00:10"
    assert slot.current == "first", "whoever wants it anyway still has it"
    slot.publish("second", "job-2", T0 + 12 * SECOND)
    assert slot.is_ready
    assert not slot.expire(T0 + 13 * SECOND)


def test_the_gate_compares_with_what_serves() -> None:
    slot = ModelSlot("score", validate=lambda candidate, current: candidate > (current or 0))
    assert slot.accepts(1)
    slot.publish(5, "job-1", T0)
    assert not slot.accepts(5)
    assert slot.accepts(6)
    assert ModelSlot("open").accepts(object())


@pytest.mark.parametrize("verdict", [float("nan"), None, 0, "no"])
def test_a_gate_that_says_neither_true_nor_false_is_no_verdict(verdict: Any) -> None:
    slot = ModelSlot("m", validate=lambda *_: verdict)
    with pytest.raises(TypeError, match=r"the gate of slot 'm' returned .*: True or False is nee"):
        slot.accepts(1)


def test_numpys_true_is_true() -> None:
    def gate(*_: Any) -> Any:
        return np.bool_(True)

    assert ModelSlot("m", validate=gate).accepts(1)


def test_a_model_and_its_companions_swap_together() -> None:
    slot = ModelSlot("model", validate=lambda candidate, current: candidate != current)
    trained = TrainedModel("model", {"scaler": "of the same fit"})
    slot.publish(trained, "job-1", T0, name="fit", data_until=T0 - 1)
    bundle = slot.bundle
    assert bundle is not None
    assert (bundle.model, bundle.extras) == ("model", {"scaler": "of the same fit"})
    assert (bundle.name, bundle.data_until) == ("fit", T0 - 1)
    assert bundle.age(T0 + 5 * SECOND) == timedelta(seconds=5)
    assert not slot.accepts(trained), "the gate compares what methods return"
    slot.publish("alone", "job-2", T0)
    assert slot.bundle is not None
    assert slot.bundle.extras == {}
    assert not slot.accepts("alone")


def test_a_rollback_serves_the_version_before_and_the_next_gets_a_fresh_number() -> None:
    slot = ModelSlot("model")
    for name in ("first", "second", "third"):
        slot.publish(name, "job", T0)
    assert slot.rollback().version == 2
    assert (slot.current, slot.version, slot.readiness.version) == ("second", 2, 2)
    with pytest.raises(ValueError, match="'model' has no version to roll back to"):
        slot.rollback()
    assert slot.publish("fourth", "job", T0) == 4
    assert slot.rollback().model == "second", "what was rolled back does not come back by it"


def test_skips_are_counted_by_cause() -> None:
    slot = ModelSlot("model")
    for _ in range(3):
        assert not slot.is_ready
    slot.readiness.not_yet(ReadinessCause.OUT_OF_QUOTA)
    assert not slot.is_ready
    assert not slot.readiness.is_ready, "which is for the runtime, and no skip"
    assert slot.skipped == 4
    assert slot.skips == {ReadinessCause.NEVER_TRAINED: 3, ReadinessCause.OUT_OF_QUOTA: 1}


def test_two_writers_and_a_reader_never_see_a_mixed_bundle() -> None:
    """Row 68. Each model knows its own job; a bundle that mixes two trainings would disagree."""
    slot = ModelSlot("model")
    writes = 3000
    versions: dict[str, list[int]] = {"left": [], "right": []}
    faults: list[object] = []
    done = threading.Event()

    def write(who: str) -> None:
        for number in range(writes):
            job = f"{who}-{number}"
            versions[who].append(slot.publish(job, job, number, {"number": number}))

    def read() -> None:
        last = 0
        while not done.is_set():
            ready, bundle = slot.is_ready, slot.bundle
            if bundle is None:
                faults.extend(["ready without a model"] if ready else [])
                continue
            of_one = (bundle.model, bundle.metrics) == (bundle.job, {"number": bundle.trained_at})
            if not of_one or bundle.version < last:
                faults.append(bundle)
            last = bundle.version

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(who,)) for who in versions]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert faults == []
    assert sorted(versions["left"] + versions["right"]) == list(range(1, 2 * writes + 1))
    assert slot.version == slot.readiness.version == 2 * writes
