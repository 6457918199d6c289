"""What a run finds of the runs before it, and leaves for the next: its folder, quota and models.

A tape persists and restores nothing unless asked, so the same tape stays the same run. All that can
be wrong with the folder is known before anything starts; while the run goes on, a folder that
vanishes is told and made again, and trading does not notice.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import msgspec
from structlog.typing import FilteringBoundLogger

from runtime.clock import HighWaterClock
from runtime.control.halts import keep_halt, kept_halt
from runtime.control.heartbeat import write_heartbeat
from runtime.control.requests import answer, take_request
from runtime.control.state import StateFolder, deployment_name
from runtime.disk import DiskThread
from runtime.errors import ConfigError
from runtime.settings import Settings, TrainingSettings
from runtime.trading.account import Account
from runtime.trading.journal import FILE as JOURNAL
from runtime.trading.journal import Journal
from runtime.training.bucket import BucketState, LeakyBucket
from runtime.training.finished import load_finished
from runtime.training.formats import warm
from runtime.training.ledger import FILE, Ledger, QuotaRecord, read_record
from runtime.training.quota import TrainingQuota
from runtime.training.shelf import ModelShelf
from runtime.training.slots import Published
from runtime.training.store import ModelStore, SlotVersions

LOOK_SECONDS = 1.0

Beat = Callable[[dict[str, object]], Awaitable[None]]


class Deployment(msgspec.Struct, frozen=True):
    """What `open_deployment` gives; without a `store` nothing outlives the run but its heartbeat.

    `deployed` are finished models by slot, each with its file; `catalog` the stored versions;
    `halted` why a person has let no order leave; `account` what its orders have come to.
    """

    path: Path
    quota: TrainingQuota
    deployed: Mapping[str, tuple[Published, str]]
    folder: StateFolder | None = None
    store: ModelStore | None = None
    disk: DiskThread | None = None
    catalog: Mapping[str, SlotVersions] = {}
    halted: str = ""
    account: Account | None = None


@asynccontextmanager
async def open_deployment(
    settings: Settings, strategy: str, log: FilteringBoundLogger, file: str = ""
) -> AsyncIterator[Deployment]:
    """Lock the folder and read what is there; leaving the context writes the quota once more.

    Args:
        settings: name, folder, quota, finished models.
        strategy: its class's name, which names the deployment where nothing else does.
        log: where trouble is told.
        file: that the strategy is written in; a folder that another file has left is told.

    Raises:
        AlreadyRunning: another run has the folder.
        ConfigError: the folder or a model file cannot be used.
    """
    name = deployment_name(settings.name, strategy)
    path = Path(settings.state_dir) / name
    if not settings.persists:
        deployed = await anyio.to_thread.run_sync(_finished, settings.models, path)
        yield Deployment(path, fresh_quota(settings.training), deployed)
        return
    folder = await anyio.to_thread.run_sync(StateFolder.open, Path(settings.state_dir), name)
    try:
        other = await anyio.to_thread.run_sync(folder.take_over, file)
        if other:
            log.warning(
                "the quota and models here were left by another file",
                folder=str(path),
                left_by=other,
                text="give this one a --name of its own, unless that file has moved",
            )
        found, ledger = await anyio.to_thread.run_sync(_read, folder, settings, log)
        await ledger.settled()
        yield found
        await ledger.close()
    finally:
        folder.close()


def fresh_quota(settings: TrainingSettings) -> TrainingQuota:
    """Return a full bucket that ends with the run, on the wall clock whatever the engine's does."""
    clock = HighWaterClock()
    return TrainingQuota(LeakyBucket(*settings.bucket(), clock.now()), clock.now)


def _read(
    folder: StateFolder, settings: Settings, log: FilteringBoundLogger
) -> tuple[Deployment, Ledger]:
    store = ModelStore.open(folder.path, settings.training.keep_versions)
    store.tidy()
    catalog, notes = store.catalog()
    for note in notes:
        log.warning("model file left out", text=note)
    deployed = {
        slot: (load_finished(slot, Path(file), store), file)
        for slot, file in settings.models.items()
    }
    quota, ledger = stored_quota(folder.path, settings.training, log)
    disk = DiskThread("model-store")
    formats = {
        name
        for slot in catalog.values()
        for made in slot.serving[:1]
        for name in made.formats.values()
    }
    disk.put(partial(warm, formats))  # while the feed is opened
    halted = kept_halt(folder.path)
    if halted:
        log.warning("halted", reason=halted, text="no order leaves until tidegate resume")
    journal = Journal.open(folder.path / JOURNAL)
    account = Account(journal, journal.recover())
    found = Deployment(folder.path, quota, deployed, folder, store, disk, catalog, halted, account)
    return found, ledger


def stored_quota(
    folder: Path, settings: TrainingSettings, log: FilteringBoundLogger
) -> tuple[TrainingQuota, Ledger]:
    """Return the bucket that the run before has left, under today's settings; blocks."""
    capacity, refill, interval = settings.bucket()
    try:
        stored = read_record(folder)
    except ValueError as error:
        log.warning(
            "training quota is damaged: the bucket starts empty and fills with time",
            text=f"{error}; remove the file to start full",
        )
        clock = HighWaterClock()
        state = BucketState(0, clock.now() + interval)
        bucket = LeakyBucket.restore(state, capacity, refill, interval, clock.now())
    else:
        clock = HighWaterClock(0 if stored is None else stored.clock)
        bucket = (
            LeakyBucket(capacity, refill, interval, clock.now())
            if stored is None
            else LeakyBucket.restore(stored.bucket, capacity, refill, interval, clock.now())
        )

    def record() -> QuotaRecord:
        state = bucket.snapshot()
        return QuotaRecord(state.available, state.next_refill, clock.now(), capacity)

    def on_trouble(reason: str) -> None:
        if reason:
            log.warning("training quota is not stored", text=f"{folder / FILE}: {reason}")
        else:
            log.info("training quota is stored again")

    quota = TrainingQuota(bucket, clock.now, shown=clock.on_the_wall)
    quota.ledger = ledger = Ledger(folder, record, on_trouble)
    ledger.touch()
    return quota, ledger


def _finished(models: Mapping[str, str], path: Path) -> dict[str, tuple[Published, str]]:
    store = ModelStore.open(path, 1) if models and (path / "key").exists() else None
    return {slot: (load_finished(slot, Path(file), store), file) for slot, file in models.items()}


def halt_keeper(deployment: Deployment | None, log: FilteringBoundLogger) -> Callable[[str], None]:
    """Return what stores why the runtime itself lets no order leave; it returns at once."""
    if deployment is None or deployment.disk is None:
        return lambda _: None
    disk, path = deployment.disk, deployment.path

    def keep(reason: str) -> None:
        try:
            keep_halt(path, reason)
        except OSError as error:
            log.error("the halt is not stored: it ends with this run", text=str(error))

    return lambda reason: disk.put(partial(keep, reason))


def heartbeat(path: Path, run_id: str) -> Beat:
    """Return what leaves a sign of life of this run."""

    async def beat(status: dict[str, object]) -> None:
        await anyio.to_thread.run_sync(write_heartbeat, path, run_id, status)

    return beat


async def look_after(deployment: Deployment, models: ModelShelf, log: FilteringBoundLogger) -> None:
    """Until cancelled, look each second, off the loop, whether the folder is there and who asks.

    A rollback that `tidegate models rollback` asks for is done and answered here.
    """
    folder, store = deployment.folder, deployment.store
    if folder is None or store is None:
        return
    disk, told = DiskThread("state-folder"), ""
    try:
        while True:
            problem = await disk.run(folder.check)
            if problem and problem != told:
                log.warning("state folder", text=problem)
                await disk.run(partial(_write_again, store))
                if deployment.quota.ledger is not None:
                    deployment.quota.ledger.touch()
            told = problem
            request = await disk.run(partial(take_request, deployment.path))
            if request is not None:
                said = await _roll_back(models, request)
                await disk.run(partial(answer, deployment.path, request, said))
            await anyio.sleep(LOOK_SECONDS)
    finally:
        disk.close()


def _write_again(store: ModelStore) -> None:
    try:
        store.write_key()
    except OSError:
        return  # the folder is told as gone already


async def _roll_back(models: ModelShelf, request: Any) -> tuple[bool, str]:
    try:
        version = await models.roll_back(request.slot, request.to, request.by)
    except ConfigError as error:
        return False, str(error)
    return True, f"{request.slot} rolled back to v{version}"
