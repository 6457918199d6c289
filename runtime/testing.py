"""What tests of strategies need: a strategy on a made-up market, or on events written by hand.

Nothing here is a double: it is the real engine, broker and training, fed from memory.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import structlog
from structlog.typing import FilteringBoundLogger

from feeds.base import Deliver, FeedStatistics, Subscription
from feeds.events import Event, Symbol
from runtime.assembly import build_run, run_strategy
from runtime.clock import Clock, VirtualClock
from runtime.live import LiveRun, Outcome
from runtime.settings import Settings, load_settings
from runtime.strategy import Strategy

__all__ = ["ScriptedFeed", "VirtualClock", "run_on_events", "run_on_synthetic"]


class ScriptedFeed:
    """A feed that delivers the batches it was given, in lockstep unless told otherwise.

    `added` and `removed` are the symbols that a strategy added and removed while it ran.
    """

    def __init__(self, batches: Sequence[Sequence[Event]], *, lockstep: bool = True) -> None:
        self.lockstep = lockstep
        self._batches = batches
        self._delivered = 0
        self.added: list[Symbol] = []
        self.removed: list[Symbol] = []

    async def run(self, subscriptions: Sequence[Subscription], deliver: Deliver) -> None:
        """Deliver every batch, whatever is subscribed."""
        del subscriptions
        for batch in self._batches:
            self._delivered += len(batch)
            await deliver(batch)

    def subscribe(self, subscriptions: Sequence[Subscription]) -> None:
        """Note what was added while it ran."""
        self.added += [each.symbol for each in subscriptions]

    def unsubscribe(self, symbols: Sequence[Symbol]) -> None:
        """Note what was taken out while it ran."""
        self.removed += symbols

    def statistics(self) -> FeedStatistics:
        """Return the counters so far."""
        return FeedStatistics("scripted", frames=self._delivered, events=self._delivered)


async def run_on_synthetic(
    strategy: Strategy,
    *,
    minutes: float = 10.0,
    seed: int = 1,
    rate: float = 20.0,
    parameters: Mapping[str, str] | None = None,
    log: FilteringBoundLogger | None = None,
    **tables: Mapping[str, Any],
) -> Outcome:
    """Run a strategy flat out on `minutes` of the synthetic market; the same seed, the same run.

    `tables` are settings by table, such as training={"isolation": "process"}.
    """
    feed = {"kind": "synthetic", "speed": 0.0, "minutes": minutes, "seed": seed, "rate": rate}
    settings = _settings({**tables, "feed": feed, "parameters": dict(parameters or {})})
    return await run_strategy(strategy, settings, log or _silent())


async def run_on_events(
    strategy: Strategy,
    batches: Sequence[Sequence[Event]],
    *,
    cash: Decimal = Decimal(100_000),
    log: FilteringBoundLogger | None = None,
    **tables: Mapping[str, Any],
) -> Outcome:
    """Run a strategy on batches written by hand, each one moment of a tape.

    Args:
        strategy: to be run once.
        batches: in order of time.
        cash: at the start.
        log: where lines go; nowhere by default.
        tables: settings by table, such as trading={"fee_bps": 0.0}.
    """
    settings = _settings({**tables, "trading": {"cash": float(cash), **tables.get("trading", {})}})
    run = scripted_run(strategy, ScriptedFeed(batches), VirtualClock(), settings, log)
    return await run.run()


def scripted_run(
    strategy: Strategy,
    feed: ScriptedFeed,
    clock: Clock,
    settings: Settings | None = None,
    log: FilteringBoundLogger | None = None,
) -> LiveRun:
    """Return a run that has not begun yet, for tests that steer it."""
    return build_run(strategy, settings or Settings(), feed, clock, log or _silent(), "test")


def _settings(overrides: Mapping[str, Any]) -> Settings:
    return load_settings(None, overrides)[0]


def _silent() -> FilteringBoundLogger:
    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.ReturnLogger(),
        processors=[],
        wrapper_class=structlog.make_filtering_bound_logger(50),
    )
    return logger
