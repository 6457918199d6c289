"""Digests of what a run reads: the same content has the same digest, wherever it lies."""

import hashlib
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from runtime.errors import ConfigError


def digest_of_files(files: Iterable[tuple[str, Path]]) -> str:
    """Return one digest of names and contents, whatever the order.

    Raises:
        ConfigError: one cannot be read.
    """
    total = hashlib.sha256()
    for name, path in sorted(files):
        try:
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
        total.update(f"{content} {name}\n".encode())
    return total.hexdigest()


def files_of_data(paths: Sequence[str]) -> list[tuple[str, Path]]:
    """Return every file below these paths, by its name from there."""
    found: list[tuple[str, Path]] = []
    for text in paths:
        path = Path(text)
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        found += [(str(each.relative_to(path.parent)), each) for each in inside if each.is_file()]
    return found


def files_of_strategy(reference: str) -> list[tuple[str, Path]]:
    """Return the file of a strategy that is loaded, and what it imported from beside it."""
    path = Path(reference.partition(":")[0]).resolve()
    found = {path}
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file is not None and Path(file).resolve().is_relative_to(path.parent):
            found.add(Path(file).resolve())
    return [(str(each.relative_to(path.parent)), each) for each in found]
