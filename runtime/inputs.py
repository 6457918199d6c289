"""Digests of what a run reads: the same content has the same digest, wherever it lies."""

import hashlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from feeds.files.corporate import FACTORS, MAPS
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
        found += [(f"{each.parent.name}/{each.name}", each) for each in _actions_of(path)]
    return list(dict.fromkeys(found))


def _actions_of(path: Path) -> Iterator[Path]:
    """The factor and map files of LEAN that lie outside of the folder that was named."""
    for folder in list(path.absolute().parents)[:3]:
        for kind in (FACTORS, MAPS):
            yield from sorted((folder / kind).glob("*.csv"))


def files_of_strategy(reference: str) -> list[tuple[str, Path]]:
    """Return the file of a strategy that is loaded, and what it imported from beside it."""
    path = Path(reference.partition(":")[0]).resolve()
    found = {path}
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file is not None and Path(file).resolve().is_relative_to(path.parent):
            found.add(Path(file).resolve())
    return [(str(each.relative_to(path.parent)), each) for each in found]
