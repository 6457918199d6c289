"""Settings become a backtest: the data, the engine, and training that runs at once."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from feeds.base import Source, Subscription
from feeds.events import SECOND, Symbol
from feeds.files import FileSource, open_source
from feeds.market import SyntheticSource
from feeds.moments import due
from feeds.synthetic import START
from runtime.assembly import (
    make_desk,
    make_timeslice,
    make_training,
    make_watchdog,
)
from runtime.backtest import Backtest, Progress, Rules
from runtime.clock import VirtualClock
from runtime.control.pace import Pace
from runtime.control.training_log import ReadinessLog
from runtime.deployment import fresh_quota
from runtime.engine import Engine
from runtime.errors import ConfigError
from runtime.results import Journal
from runtime.settings import FeedSettings, Settings, TrainingSettings
from runtime.sources import held
from runtime.strategy import Strategy
from runtime.trading.parts import make_broker
from runtime.training.bucket import LeakyBucket
from runtime.training.finished import load_finished
from runtime.training.isolation.base import Isolation
from runtime.training.isolation.thread import ThreadIsolation
from runtime.training.quota import TrainingQuota
from runtime.training.shelf import ModelShelf


class Data:
    """What a backtest plays: files, or else a made-up market of `minutes`.

    Attributes:
        begin: the time of its first event, ns UTC.
        end: the time after its last one; None where that is not known before it is read.

    Raises:
        ConfigError: a path is missing, is nothing we know, or needs another mapping.
        DecodeError: a file is damaged.
    """

    def __init__(self, wanted: FeedSettings) -> None:
        self._wanted = wanted
        self._files: FileSource | None = None
        self.begin = START
        self.end: int | None = None
        if not wanted.data:
            self.end = START + round(wanted.minutes * 60 * SECOND)
        else:
            self._files = open_source(
                [Path(path) for path in wanted.data],
                wanted.table,
                adjusted=wanted.normalization == "adjusted",
            )
            self.begin = min((due(event) for event in self._files.first_events()), default=0)

    def open(self, subscriptions: Sequence[Subscription]) -> Source:
        """Return the data for these symbols."""
        symbols = [Symbol(each.symbol) for each in subscriptions]
        if self._files is None:
            wanted = self._wanted
            span = round(wanted.minutes * 60 * SECOND)
            return SyntheticSource(wanted.seed, wanted.rate, symbols, START, span)
        return self._files

    def held(self) -> str:
        """Name what the data holds."""
        return held(self._wanted) if self._wanted.data else "whatever it is asked for"


def build_backtest(
    strategy: Strategy,
    settings: Settings,
    begin: int,
    log: FilteringBoundLogger,
    *,
    rules: Rules = Rules(),  # noqa: B008  # frozen
    on_progress: Callable[[Progress], None] = lambda _: None,
    leave: Callable[[str], None] | None = None,
) -> Backtest:
    """Put a backtest together; it has not begun, and leaves nothing on the disk.

    Args:
        strategy: to be run once.
        settings: those of a live run; isolation, workers and time limits of jobs have no meaning.
        begin: time of the first event, ns UTC.
        log: where lines go.
        rules: what is otherwise than live.
        on_progress: told now and then how far it has come.
        leave: called from a thread, with one sentence, where a callback never returns.

    Raises:
        ConfigError: a finished model cannot be read, or the rules contradict each other.
    """
    if rules.start is not None and rules.end is not None and rules.start >= rules.end:
        raise ConfigError("--from is not before --to")
    name = type(strategy).__name__
    clock = VirtualClock(begin)
    job_clock = None if rules.job_cost is None else VirtualClock(begin)
    timeslice = make_timeslice(settings.engine)
    pace = Pace(timeslice, settings.engine.slow_callback_ms)
    journal = Journal()
    # A job runs in the caller's own thread, whatever its isolation would be live.
    ways: Mapping[str, Isolation] = dict.fromkeys(
        ("thread", "process", "cluster"), ThreadIsolation()
    )
    quota = _quota(settings.training, None if job_clock is None else clock)
    training = make_training(
        settings.training, ways, quota, clock, log, timeslice, job_clock, journal.trained
    )

    def tell(level: str, event: str, fields: dict[str, object]) -> None:
        getattr(log, level)(event, **fields)

    deployed = {
        slot: (load_finished(slot, Path(file), None), file)
        for slot, file in settings.models.items()
    }
    desk = make_desk(settings, f"{name[:24]}-backtest", training, ways)
    return Backtest(
        engine=Engine(strategy, desk, pace),
        broker=make_broker(settings.trading),
        training=training,
        models=ModelShelf(clock, ReadinessLog(log), tell, None, deployed),
        clock=clock,
        job_clock=job_clock,
        log=log,
        pace=pace,
        watchdog=make_watchdog(strategy, settings.engine, timeslice, training, log, leave),
        journal=journal,
        rules=rules,
        on_progress=on_progress,
    )


def _quota(settings: TrainingSettings, clock: VirtualClock | None) -> TrainingQuota:
    """Real jobs take real minutes from a bucket of real time; priced ones live in the data's."""
    if clock is None:
        return fresh_quota(settings)
    return TrainingQuota(LeakyBucket(*settings.bucket(), clock.now()), clock.now)
