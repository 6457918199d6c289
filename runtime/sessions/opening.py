"""A recording is found again, and put together for a replay."""

from collections.abc import Callable
from pathlib import Path

import msgspec
from structlog.typing import FilteringBoundLogger

from runtime.assembly import make_desk, make_timeslice, make_training
from runtime.clock import VirtualClock
from runtime.control.state import deployment_name
from runtime.deployment import fresh_quota
from runtime.engine import Engine
from runtime.errors import ConfigError, RunFailed
from runtime.inputs import digest_of_files, files_of_strategy
from runtime.loading import load_strategy
from runtime.sessions.beginning import SESSIONS
from runtime.sessions.file import HEAD, read_head
from runtime.sessions.recorder import KEEP_ALL
from runtime.sessions.replay import Replay
from runtime.sessions.words import Head
from runtime.settings import Settings
from runtime.training.formats import Unreadable, decode
from runtime.training.isolation.base import Isolation
from runtime.training.isolation.thread import ThreadIsolation
from runtime.training.slots import ModelSlot, Published
from runtime.training.store import ModelStore


def find_session(named: str, state_dir: str) -> Path:
    """Return the folder of a recording: itself, or the newest of a deployment of this name.

    Raises:
        ConfigError: there is none.
    """
    path = Path(named)
    if (path / HEAD).exists():
        return path
    for root in (path / SESSIONS, Path(state_dir) / deployment_name(None, named) / SESSIONS):
        found = [(read_head(each).began, each) for each in root.glob("*") if (each / HEAD).exists()]
        if found:
            return max(found)[1]
    raise ConfigError(
        f"{named} is no recorded session, and no deployment in {state_dir} that has one: "
        "tidegate run --record makes them"
    )


def build_replay(
    folder: Path, head: Head, strategy: str | None, log: FilteringBoundLogger
) -> tuple[Replay, bool]:
    """Put a replay together; also say whether the strategy is the one that was recorded.

    Raises:
        ConfigError: the settings or the key of the recording cannot be read, or as `load_strategy`.
    """
    reference = strategy or head.strategy
    loaded = load_strategy(reference)
    try:
        settings = msgspec.convert(head.settings, Settings)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{folder / HEAD} is of another version: settings: {error}") from None
    is_same = digest_of_files(files_of_strategy(reference)) == head.digest
    ways: dict[str, Isolation] = dict.fromkeys(("thread", "process", "cluster"), ThreadIsolation())
    training = make_training(
        settings.training,
        ways,
        fresh_quota(settings.training),
        VirtualClock(0),
        log,
        make_timeslice(settings.engine),
    )
    if not settings.training.enabled:  # a session begins as if it were on
        training.switch(True, "the session")
    desk = make_desk(settings, head.run, training, ways)
    return Replay(Engine(loaded, desk), training, _loader(folder), log), is_same


def _loader(folder: Path) -> Callable[[str, int, ModelSlot | None], Published]:
    store = ModelStore.open(folder, KEEP_ALL)

    def load(slot: str, number: int, into: ModelSlot | None) -> Published:
        what = f"version {number} of {slot!r}"
        try:
            found = [each for each in store.versions(slot).versions if each.version == number]
        except OSError:
            found = []
        if not found:
            raise RunFailed(f"{what} is not in the recording {folder}: it cannot be replayed on")
        made = found[0]
        try:
            model, extras = decode(store.load(made), None if into is None else into.build)
        except Unreadable as error:
            raise RunFailed(f"{what} in the recording {folder} {error}") from None
        return Published(
            model=model,
            version=number,
            trained_at=made.trained_at,
            job=made.job,
            metrics=made.metrics,
            name=made.name,
            data_until=made.data_until,
            extras=extras,
        )

    return load
