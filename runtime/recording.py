"""`tidegate record`: a real venue's feed into a folder, until a signal, the time, or its end."""

from collections.abc import Collection, Sequence
from pathlib import Path

import anyio
import msgspec
from structlog.typing import FilteringBoundLogger

from feeds.base import FeedStatistics, Subscription
from feeds.events import AssetClass, Event, FeedState, Gap, Status, Symbol
from feeds.protocols.registry import VENUES
from feeds.recorder import Recorder
from feeds.session import only
from feeds.stream import LiveFeed
from feeds.symbols import guess_class
from runtime.control import signals
from runtime.errors import ConfigError
from runtime.securities import canonical
from runtime.settings import Settings
from runtime.sources import Credentials, real_feed


class Recording(msgspec.Struct, frozen=True):
    """How a recording ended: `lines` of captures, `rows` of tables."""

    reason: str
    lines: int
    rows: int
    feed: FeedStatistics

    def figures(self) -> dict[str, object]:
        """Return what a summary line shows."""
        return {
            "reason": self.reason,
            "lines": self.lines,
            "rows": self.rows,
            "feed_frames": self.feed.frames,
            "feed_events": self.feed.events,
            "feed_malformed": self.feed.malformed,
            "feed_reconnects": self.feed.reconnects,
            "gaps": self.feed.gaps,
        }


async def record(
    settings: Settings,
    symbols: Sequence[str],
    out: Path,
    log: FilteringBoundLogger,
    *,
    tables: bool = True,
    duration: float | None = None,
    credentials: Credentials | None = None,
) -> Recording:
    """Record these symbols of the settings' venue.

    Raises:
        TidegateError: it could not begin, or ended in a failure; what was heard is written.
    """
    if not symbols:
        raise ConfigError("--symbol is missing: name what is to be recorded, such as BTC/USD")
    kinds = VENUES[settings.feed.kind].asset_classes
    wanted = [_subscription(text, kinds) for text in symbols]
    feed = real_feed(settings.feed, credentials)
    recorder = await anyio.to_thread.run_sync(lambda: feed.recorded(out, tables=tables))
    ending = _Ending(feed, recorder, log)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(recorder.run)
            tasks.start_soon(ending.hear_signals, tasks.cancel_scope)
            with anyio.move_on_after(duration) as limit:
                await feed.run(wanted, ending.deliver)
                ending.reason = ending.reason or "the data has ended"
            if limit.cancelled_caught:
                ending.reason = f"the duration of {duration:g} s is over"
            tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise only(group) from None
    return Recording(ending.reason, recorder.lines, recorder.rows, feed.statistics())


class _Ending:
    """What ends it, and what is told meanwhile."""

    def __init__(self, feed: LiveFeed, recorder: Recorder, log: FilteringBoundLogger) -> None:
        self.reason = ""
        self._feed, self._recorder, self._log = feed, recorder, log

    async def deliver(self, events: Sequence[Event]) -> None:
        for event in events:
            match event:
                case Status():
                    is_bad = event.state is FeedState.DISCONNECTED
                    level = self._log.warning if is_bad else self._log.info
                    level("feed", feed=event.feed, state=event.state, detail=event.detail)
                case Gap():
                    about = {"symbol": event.symbol or "all", "missing": event.missing}
                    self._log.warning("data gap", **about, reason=event.reason)
                case _:
                    pass
        await self._recorder.deliver(events)

    async def hear_signals(self, scope: anyio.CancelScope) -> None:
        def stop(name: str) -> None:
            self.reason = f"{name} received"
            scope.cancel()

        await signals.listen(on_stop=stop, on_toggle=_ignore, on_train_now=_ignore)


def _ignore(_: str) -> None:
    """Nothing is trained here."""


def _subscription(text: str, kinds: Collection[AssetClass]) -> Subscription:
    guessed = guess_class(Symbol(text.strip().upper()))
    asset_class = next(iter(kinds)) if len(kinds) == 1 else guessed
    return Subscription(canonical(text, asset_class), asset_class)
