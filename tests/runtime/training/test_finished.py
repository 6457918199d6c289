"""Finished models from files: formats that run no code, and pickles only of our own signing."""

import pickle
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import skops.io
from safetensors.numpy import save_file
from sklearn.linear_model import LogisticRegression

from runtime.errors import ConfigError
from runtime.training.finished import load_finished
from runtime.training.formats import encode
from runtime.training.store import ModelStore

X = np.random.default_rng(5).normal(size=(60, 2))
Y = X[:, 0] > 0


def test_scikit_learn(tmp_path: Path) -> None:
    model = LogisticRegression().fit(X, Y)
    skops.io.dump(model, tmp_path / "m.skops")
    found = load_finished("m", tmp_path / "m.skops", None)
    np.testing.assert_array_equal(found.model.predict(X), model.predict(X))
    assert (found.version, found.job) == (1, "m.skops")
    assert found.trained_at == (tmp_path / "m.skops").stat().st_mtime_ns


def test_lightgbm_and_the_damaged_text_that_would_end_the_process(tmp_path: Path) -> None:
    data = lightgbm.Dataset(X, Y.astype(int))
    model = lightgbm.train({"objective": "binary", "verbose": -1}, data, 3)
    file = tmp_path / "m.txt"
    model.save_model(file)
    np.testing.assert_array_equal(load_finished("m", file, None).model.predict(X), model.predict(X))
    file.write_bytes(file.read_bytes()[:600])
    with pytest.raises(ConfigError, match=r"m\.txt: the file is no LightGBM model that LightGBM"):
        load_finished("m", file, None)


def test_tensors_and_plain_data(tmp_path: Path) -> None:
    save_file({"weight": X}, tmp_path / "m.safetensors")
    found = load_finished("m", tmp_path / "m.safetensors", None)
    np.testing.assert_array_equal(found.model["weight"], X)
    (tmp_path / "m.json").write_text('{"slope": 1.5}')
    assert load_finished("m", tmp_path / "m.json", None).model == {"slope": 1.5}


def stored(folder: Path, model: Any) -> tuple[ModelStore, Path]:
    folder.mkdir()
    store = ModelStore.open(folder, 5)
    made: dict[str, Any] = {
        "slot": "m",
        "version": 3,
        "trained_at": 5,
        "data_until": 4,
        "job": "fit-1",
        "name": "fit",
        "metrics": {},
    }
    store.save(made, encode(model, {}, "pickle"))
    return store, folder / "models" / "m" / "000003.model"


def test_a_stored_version_and_a_pickle_only_of_our_own(tmp_path: Path) -> None:
    ours, pickled = stored(tmp_path / "ours", np.random.PCG64)
    theirs, plain = stored(tmp_path / "theirs", {"a": 1})
    assert load_finished("m", pickled, ours).model is np.random.PCG64
    found = load_finished("m", plain, ours)
    assert (found.model, found.version, found.trained_at) == ({"a": 1}, 3, 5)
    for store in (theirs, None):
        with pytest.raises(ConfigError, match=r"holds a pickle, .* has not signed it"):
            load_finished("m", pickled, store)
    pickled.with_suffix(".json").unlink()
    with pytest.raises(ConfigError, match=r"needs 000003\.json beside it"):
        load_finished("m", pickled, ours)


@pytest.mark.parametrize("ending", ["pkl", "pickle", "joblib", "pt", "pth", "bin"])
def test_what_can_run_code_is_not_opened(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"m.{ending}"
    file.write_bytes(pickle.dumps(1))
    with pytest.raises(ConfigError, match=f"a .{ending} file can run code when it is read"):
        load_finished("m", file, None)


@pytest.mark.parametrize("ending", ["skops", "safetensors", "json", "txt"])
def test_a_pickle_under_another_ending_is_not_opened_either(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"m.{ending}"
    file.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(ConfigError, match=r"--model m=.*: the file is no "):
        load_finished("m", file, None)
