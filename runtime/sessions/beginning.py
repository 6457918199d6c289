"""A recording begins beside a run, hears of its training, and ends with it."""

import platform
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from structlog.typing import FilteringBoundLogger

from runtime.errors import ConfigError
from runtime.inputs import digest_of_files, files_of_strategy
from runtime.sessions.recorder import SessionRecorder
from runtime.sessions.words import Head
from runtime.settings import Settings
from runtime.training.isolation.base import JobResult
from runtime.training.manager import TrainingManager
from runtime.training.slots import ModelSlot, Published

SESSIONS = "sessions"


def begin_recording(
    settings: Settings, place: Path, run_id: str, file: str, name: str, log: FilteringBoundLogger
) -> SessionRecorder:
    """Begin to record a run in the folder of its deployment; blocks.

    Raises:
        ConfigError: the folder cannot be written, or the strategy has no file to be loaded from.
    """
    if not file:
        raise ConfigError(f"{name} cannot be recorded: it has no file that a replay could load")

    def tell(level: str, event: str, fields: dict[str, object]) -> None:
        getattr(log, level)(event, **fields)

    folder = place / SESSIONS / run_id
    try:
        return SessionRecorder(folder, _head(settings, run_id, file, name), tell)
    except OSError as error:
        raise ConfigError(f"the recording {folder} cannot be written: {error.strerror}") from None


def hear_training(training: TrainingManager, recorder: SessionRecorder) -> None:
    """Have what training makes in the recording before it serves; others still hear of it."""
    others = training.on_made

    async def made(slot: ModelSlot, bundle: Published, result: JobResult) -> None:
        await recorder.made(slot, bundle, result)
        if others is not None:
            await others(slot, bundle, result)

    async def came(result: JobResult) -> Callable[[], None]:
        number = await recorder.assigned(result)
        return partial(recorder.committed, number, result.removed)

    training.on_made, training.on_result = made, came


async def end_recording(recorder: SessionRecorder, reason: str, log: FilteringBoundLogger) -> None:
    """Write what is left and say what there is."""
    done = await recorder.close(reason)
    log.info(
        "session recorded",
        folder=str(recorder.folder),
        entries=done.entries,
        bytes=done.bytes,
        orders_sha256=done.orders_sha256,
        **({"trouble": done.trouble} if done.trouble else {}),
    )


def _head(settings: Settings, run_id: str, file: str, name: str) -> Head:
    """Say what a session is; a proxy's address is left out, since it may hold a password."""
    plain: dict[str, Any] = msgspec.to_builtins(settings)
    plain["feed"]["proxy"] = None
    reference = f"{Path(file).resolve()}:{name}"
    return Head(
        run=run_id,
        strategy=reference,
        name=name,
        digest=digest_of_files(files_of_strategy(reference)),
        began=time.time_ns(),
        tidegate=version("tidegate"),
        python=platform.python_version(),
        settings=plain,
    )
