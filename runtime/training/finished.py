"""Finished models from files, for inference only: `--model NAME=FILE`. Blocks on the disk.

A file that comes from elsewhere is read only in formats that run no code. A pickle is read only
where it is a version that this deployment's own state folder has stored and signed.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from runtime.errors import ConfigError
from runtime.training.formats import Format, Unreadable, decode, load_booster, load_skops
from runtime.training.slots import Published
from runtime.training.store import ModelStore, Signed, read_checked

PICKLES = {".pkl", ".pickle", ".joblib", ".pt", ".pth", ".bin"}
PROBE = "import sys, lightgbm; lightgbm.Booster(model_file=sys.argv[1])"


def load_finished(slot: str, path: Path, store: ModelStore | None) -> Published:
    """Read a finished model.

    Args:
        slot: the slot it is for.
        path: the file; its ending says the format.
        store: knows which versions are its own; None knows none.

    Raises:
        ConfigError: it is not there, damaged, or in a format that may run code.
    """
    subject = f"--model {slot}={path}"
    if path.suffix in PICKLES:
        raise ConfigError(
            f"{subject}: a {path.suffix} file can run code when it is read; allowed are "
            f"{', '.join(READERS)} and, where this deployment stored it itself, .model"
        )
    try:
        trained_at = path.stat().st_mtime_ns
        if path.suffix == ".model":
            return _own(path, store)
        if path.suffix not in READERS:
            raise Unreadable(f"has an unknown ending: {', '.join(READERS)} or .model is needed")
        return Published(READERS[path.suffix](path), 1, trained_at, path.name)
    except Unreadable as error:
        raise ConfigError(f"{subject}: the file {error}") from None
    except OSError as error:
        raise ConfigError(f"{subject}: the file cannot be read: {error.strerror}") from None
    except ImportError as error:
        raise ConfigError(f"{subject} needs {error.name}: install tidegate[models]") from None
    except Exception as error:  # noqa: BLE001  # what a foreign format may raise has no end
        said = " ".join(str(error).split())[:200]
        raise ConfigError(f"{subject}: the file is no {path.suffix[1:]}: {said}") from None


def _own(path: Path, store: ModelStore | None) -> Published:
    """Read a version of a store, of this one or of another."""
    beside = path.with_suffix(".json")
    try:
        signed = msgspec.json.decode(beside.read_bytes(), type=Signed)
    except FileNotFoundError:
        raise Unreadable(f"needs {beside.name} beside it") from None
    except msgspec.DecodeError:
        raise Unreadable(f"has a damaged {beside.name} beside it") from None
    found = signed.manifest
    encoded = read_checked(path, found)
    if Format.PICKLE in found.formats.values() or Format.PICKLE in encoded.formats.values():
        try:
            if store is None:
                raise Unreadable("nobody")
            store.read_manifest(beside)
        except Unreadable:
            raise Unreadable(
                "holds a pickle, which can run code when it is read, and this deployment's state "
                "folder has not signed it"
            ) from None
    model, extras = decode(encoded)
    return Published(
        model,
        found.version,
        found.trained_at,
        found.job,
        found.metrics,
        found.name,
        found.data_until,
        extras,
    )


def _json(path: Path) -> Any:
    return msgspec.json.decode(path.read_bytes())


def _skops(path: Path) -> Any:
    return load_skops(path.read_bytes())


def _tensors(path: Path) -> Any:
    from safetensors.numpy import load  # noqa: PLC0415

    return load(path.read_bytes())


def _booster(path: Path) -> Any:
    """Read LightGBM's text, after another process has: damaged text ends the one that reads it."""
    data = path.read_bytes()
    if not data.startswith(b"tree") or _ends_its_reader(path):
        raise Unreadable("is no LightGBM model that LightGBM here can read")
    return load_booster(data)


def _ends_its_reader(path: Path) -> bool:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(path)], capture_output=True, check=False
    )
    return done.returncode != 0


READERS: dict[str, Callable[[Path], Any]] = {
    ".json": _json,
    ".safetensors": _tensors,
    ".skops": _skops,
    ".txt": _booster,
}
