"""Versions on the disk: whole, signed, checked; damaged ones are left out, the one before stays."""

import os
import pickle
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import ConfigError
from runtime.training.formats import Encoded, Format, Part, Unreadable, decode, encode
from runtime.training.store import KEY, ModelStore, folder_name

SLOT = "order flow/SPY"


def manifest(version: int, slot: str = SLOT) -> dict[str, Any]:
    return {
        "slot": slot,
        "version": version,
        "trained_at": version * 10,
        "data_until": version * 9,
        "job": f"fit-{version}",
        "name": "fit",
        "metrics": {"accuracy": 0.5},
    }


def stored(folder: Path, *versions: int, keep: int = 10) -> ModelStore:
    store = ModelStore.open(folder, keep)
    for version in versions:
        store.save(manifest(version), encode({"model": version}, {}, "safe"))
    return store


def place(folder: Path) -> Path:
    return folder / "models" / folder_name(SLOT)


def numbers(store: ModelStore) -> list[int]:
    catalog, _ = store.catalog()
    return [found.version for found in catalog[folder_name(SLOT)].versions]


def test_what_is_saved_is_there_for_the_next_run(tmp_path: Path) -> None:
    stored(tmp_path, 1, 2, 3)
    store = ModelStore.open(tmp_path, 10)
    catalog, notes = store.catalog()
    versions = catalog[folder_name(SLOT)]
    assert notes == []
    assert (versions.slot, versions.highest, numbers(store)) == (SLOT, 3, [3, 2, 1])
    newest = versions.serving[0]
    assert (newest.trained_at, newest.job, newest.metrics) == (30, "fit-3", {"accuracy": 0.5})
    assert decode(store.load(newest)) == ({"model": 3}, {})


def test_a_number_that_was_given_and_not_stored_is_not_given_again(tmp_path: Path) -> None:
    store = stored(tmp_path, 1)
    store.note_number(SLOT, 4)
    store.note_number("never stored", 2)
    catalog, notes = ModelStore.open(tmp_path, 10).catalog()
    assert {found.slot: found.highest for found in catalog.values()} == {SLOT: 4, "never stored": 2}
    assert notes == []
    (place(tmp_path) / "highest").write_text("rubbish")
    assert store.versions(SLOT).highest == 1


def test_everything_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        stored(tmp_path, 1)
    finally:
        os.umask(before)
    for path in tmp_path.rglob("*"):
        assert not path.stat().st_mode & 0o077 or path == tmp_path / "models", path


def test_the_newest_stay_and_what_serves_stays(tmp_path: Path) -> None:
    store = stored(tmp_path, *range(1, 6), keep=2)
    assert numbers(store) == [5, 4]
    store.roll_back(store.versions(SLOT), 4, "me", 0)
    for version in (6, 7, 8):
        store.save(manifest(version), encode(version, {}, "safe"))
    assert numbers(store) == [8, 7]
    assert len(list(place(tmp_path).glob("*.model"))) == 2


def test_a_rollback_takes_what_is_above_out_of_service_for_good(tmp_path: Path) -> None:
    store = stored(tmp_path, 1, 2, 3)
    store.roll_back(store.versions(SLOT), None, "me", 7)
    versions = store.versions(SLOT)
    assert [found.version for found in versions.serving] == [2, 1]
    assert versions.highest == 3
    store.save(manifest(4), encode(4, {}, "safe"))
    assert [found.version for found in store.versions(SLOT).serving] == [4, 2, 1]
    store.roll_back(store.versions(SLOT), None, "me", 7)
    assert [found.version for found in store.versions(SLOT).serving] == [2, 1]
    store.roll_back(store.versions(SLOT), 3, "me", 7)
    assert store.versions(SLOT).serving[0].version == 3, "also one that was withdrawn, by its name"


def test_a_rollback_to_nothing_says_what_there_is(tmp_path: Path) -> None:
    store = stored(tmp_path, 1)
    with pytest.raises(ConfigError, match="has no version to roll back to"):
        store.roll_back(store.versions(SLOT), None, "me", 0)
    with pytest.raises(ConfigError, match="has no version 9: stored are 1"):
        store.roll_back(store.versions(SLOT), 9, "me", 0)


@pytest.mark.parametrize("what", ["000002.json", "000002.model"])
@pytest.mark.parametrize("harm", ["cut", "flip", "empty", "remove", "grow"])
def test_a_damaged_version_is_a_sentence_and_the_one_before_is_good(
    tmp_path: Path, what: str, harm: str
) -> None:
    store = stored(tmp_path, 1, 2)
    path = place(tmp_path) / what
    data = bytearray(path.read_bytes())
    match harm:
        case "cut":
            path.write_bytes(data[: len(data) // 2])
        case "flip":
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
        case "empty":
            path.write_bytes(b"")
        case "grow":
            path.write_bytes(bytes(data) + b"more")
        case _:
            path.unlink()
    catalog, notes = store.catalog()
    versions = catalog[folder_name(SLOT)]
    good = []
    for found in versions.serving:
        try:
            good.append(decode(store.load(found))[0])
        except Unreadable as error:
            notes.append(str(error))
    assert good == [{"model": 1}]
    assert versions.highest == 2, "the number is not given again"
    assert len(notes) == 1 or (what.endswith("json") and harm == "remove")


def test_each_of_many_flipped_bits_is_found(tmp_path: Path) -> None:
    store = stored(tmp_path, 1)
    (found,) = store.versions(SLOT).versions
    path = place(tmp_path) / "000001.model"
    data = path.read_bytes()
    for position in range(len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :])
        with pytest.raises(Unreadable, match="checksum"):
            store.load(found)


def test_what_another_folder_has_signed_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "ours").mkdir()
    stored(tmp_path / "theirs", 1, 2)
    ours = stored(tmp_path / "ours", 1)
    for suffix in ("json", "model"):
        foreign = place(tmp_path / "theirs") / f"000002.{suffix}"
        (place(tmp_path / "ours") / foreign.name).write_bytes(foreign.read_bytes())
    _, notes = ours.catalog()
    assert numbers(ours) == [1]
    assert "000002.json was not signed by this state folder: it is left out" in notes[0]


class Bomb:
    def __reduce__(self) -> Any:
        return (Path("/nowhere").touch, ())


def test_a_planted_pickle_is_never_opened(tmp_path: Path) -> None:
    """Whoever can write into the folder, but has not the key, cannot have code run."""
    store = stored(tmp_path, 1)
    (found,) = store.versions(SLOT).versions
    planted = msgspec.msgpack.encode(Encoded(Part(Format.PICKLE, pickle.dumps(Bomb()), "a:B")))
    (place(tmp_path) / "000001.model").write_bytes(planted)
    with pytest.raises(Unreadable):
        store.load(found)


def test_what_a_killed_run_left_half_written_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dies at each file operation of a save in turn: the version is there whole, or not at all."""

    class Killed(BaseException):
        pass

    left = 0
    real = {name: getattr(os, name) for name in ("fsync", "open")}

    def dying(name: str) -> Any:
        def step(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return real[name](*args, **kwargs)

        return step

    store = stored(tmp_path, 1)
    whole = 0
    for steps in range(40):
        left = steps
        with monkeypatch.context() as patched:
            for name in real:
                patched.setattr(os, name, dying(name))
            try:
                store.save(manifest(2), encode({"model": 2}, {}, "safe"))
            except Killed:
                pass
            else:
                whole += 1
        catalog, notes = store.catalog()
        assert notes == []
        for found in catalog[folder_name(SLOT)].versions:
            assert decode(store.load(found))[0] == {"model": found.version}
        if whole:
            break
        for path in place(tmp_path).glob("000002.*"):
            path.unlink()
    assert whole
    assert steps > 5, "it has died at several places before"


def test_leavings_are_removed_by_who_holds_the_folder(tmp_path: Path) -> None:
    store = stored(tmp_path, 1)
    (place(tmp_path) / ".000002.model-abc").write_bytes(b"half")
    store.catalog()
    assert (place(tmp_path) / ".000002.model-abc").exists(), "a listing removes nothing"
    store.tidy()
    assert not (place(tmp_path) / ".000002.model-abc").exists()
    assert numbers(store) == [1]


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [(b"short", 0o600, "has 5 bytes, not 32"), (b"x" * 32, 0o644, "mode 644.: chmod 600 it")],
)
def test_a_key_that_is_none_is_refused(
    tmp_path: Path, content: bytes, mode: int, words: str
) -> None:
    (tmp_path / KEY).write_bytes(content)
    (tmp_path / KEY).chmod(mode)
    with pytest.raises(ConfigError, match=words):
        ModelStore.open(tmp_path, 5)


@given(st.text(), st.text())
def test_every_slot_has_a_folder_of_its_own(one: str, other: str) -> None:
    try:
        names = {folder_name(one), folder_name(other)}
    except UnicodeEncodeError:
        return  # a lone surrogate names no slot
    assert len(names) == (1 if one == other else 2)
    for name in names:
        assert name
        assert not name.startswith(".")
        assert "/" not in name
        assert "\0" not in name
        assert len(name) <= 200
