"""What `tidegate models` does: the stored versions of a deployment, and a rollback among them.

A deployment that is stopped is rolled back here; one that runs is asked, and does it itself.
"""

import getpass
import time
from pathlib import Path

import msgspec

from runtime.control.requests import ask
from runtime.control.state import StateFolder, deployments
from runtime.errors import AlreadyRunning, ConfigError, RunFailed
from runtime.training.store import KEY, ModelStore, folder_name

KEEP_ALL = 1_000_000


class ModelRow(msgspec.Struct, frozen=True):
    """One stored version; `state` is serving, standby, or withdrawn by a rollback; times ns UTC."""

    deployment: str
    slot: str
    version: int
    state: str
    trained_at: int
    data_until: int
    job: str
    format: str
    bytes: int
    metrics: dict[str, float]


def list_models(root: Path, name: str | None) -> tuple[list[ModelRow], list[str]]:
    """Return the versions of one deployment, or of all, and a sentence for each damaged file.

    Raises:
        ConfigError: there is no such deployment, or its folder cannot be read.
    """
    rows: list[ModelRow] = []
    notes: list[str] = []
    for path in deployments(root) if name is None else [_deployment(root, name)]:
        if not (path / KEY).exists():
            continue
        catalog, left_out = ModelStore.open(path, KEEP_ALL).catalog()
        notes += left_out
        for versions in catalog.values():
            serving = [found.version for found in versions.serving[:1]]
            for found in versions.versions:
                state = "serving" if found.version in serving else "standby"
                rows.append(
                    ModelRow(
                        deployment=path.name,
                        slot=found.slot,
                        version=found.version,
                        state="withdrawn" if versions.is_withdrawn(found.version) else state,
                        trained_at=found.trained_at,
                        data_until=found.data_until,
                        job=found.job,
                        format=found.formats.get("", ""),
                        bytes=found.size,
                        metrics=found.metrics,
                    )
                )
    return rows, notes


def roll_back(root: Path, name: str | None, slot: str, to: int | None) -> str:
    """Let an older version of a slot serve and say what was done; `to` None is the one before.

    Raises:
        ConfigError: there is no such deployment, slot or version.
        RunFailed: the run that has the folder refused, or does not answer; the disk failed.
    """
    path = _deployment(root, name)
    by = f"{getpass.getuser()} by tidegate models rollback"
    try:
        folder = StateFolder.open(path.parent, path.name)
    except AlreadyRunning:
        return ask(path, slot, to, by)
    try:
        store = ModelStore.open(path, KEEP_ALL)
        catalog, _ = store.catalog()
        versions = catalog.get(folder_name(slot))
        if versions is None:
            known = ", ".join(sorted(found.slot for found in catalog.values())) or "none"
            raise ConfigError(f"{path.name} has no stored slot {slot!r}: it has {known}")
        rollback = store.roll_back(versions, to, by, time.time_ns())
    except OSError as error:
        raise RunFailed(f"the rollback was not written: {error.strerror}") from None
    finally:
        folder.close()
    return f"{slot} rolled back to v{rollback.to}: the next run of {path.name} begins with it"


def _deployment(root: Path, name: str | None) -> Path:
    found = {path.name: path for path in deployments(root)}
    known = ", ".join(found) or "none"
    if name is None:
        if len(found) != 1:
            raise ConfigError(f"say which deployment with --name: {root} has {known}")
        return next(iter(found.values()))
    if name not in found:
        raise ConfigError(f"{root} has no deployment {name!r}: it has {known}")
    return found[name]
