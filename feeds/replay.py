"""Recorded data as a feed: flat out in lockstep with its reader, or at the recorded pace times n.

Flat out, a batch is everything of one moment, and the next is read when this one has been taken.
At a pace, a batch is everything due by now; a slow taker gets larger batches, not later ones.
Files are read in short turns on a worker thread, so the loop never waits for a disk.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

import anyio
from anyio import CancelScope, to_thread
from anyio.lowlevel import checkpoint

from feeds.base import Deliver, FeedStatistics, Source, Subscription
from feeds.errors import ConfigError
from feeds.events import SECOND, FeedState, MarketEvent, Status, Symbol
from feeds.moments import due

FLAT_OUT_TURN = 8192
"""Events read in one turn when the reader waits for them anyway."""
PACED_TURN = 256
"""Events read in one turn at a pace: a long turn would hold the interpreter, and delay the loop."""
BATCHES_PER_CHECKPOINT = 128
"""Flat-out batches between two chances for other tasks."""


class ReplayFeed:
    """Plays a source once.

    Args:
        source: what to play.
        speed: None plays flat out, 1.0 as recorded, n n times as fast.

    Raises:
        ConfigError: the speed is not above zero.
    """

    def __init__(self, source: Source, speed: float | None = None) -> None:
        if speed is not None and not 0.0 < speed < float("inf"):
            raise ConfigError(f"a replay speed of {speed} is not above zero: 1 is as recorded")
        self._source = source
        self._speed = speed
        self._wanted: frozenset[Symbol] = frozenset()
        self._unseen: set[Symbol] = set()
        self._delivered = 0
        self._foreign = 0
        self._last = 0

    @property
    def lockstep(self) -> bool:
        """Whether the tape waits for the reader: when it plays flat out."""
        return self._speed is None

    async def run(self, subscriptions: Sequence[Subscription], deliver: Deliver) -> None:
        """Deliver the subscribed symbols' events, then Status(ENDED).

        Raises:
            DecodeError: a file is damaged; everything before the damage was delivered.
        """
        self._wanted = frozenset(subscription.symbol for subscription in subscriptions)
        self._unseen = set(self._wanted)
        self._delivered = self._foreign = self._last = 0
        events = self._source.events()
        try:
            if self._speed is None:
                await self._run_flat_out(events, deliver)
            else:
                await self._run_paced(events, self._speed, deliver)
        finally:
            with CancelScope(shield=True):  # an open file is closed where it was read
                await to_thread.run_sync(_close, events)
        detail = "all was played"
        if self._unseen:
            detail += f"; it holds nothing of {', '.join(sorted(self._unseen))}"
        await deliver([Status(self._source.name, FeedState.ENDED, self._last, detail)])

    def subscribe(self, subscriptions: Sequence[Subscription]) -> None:
        """Let more symbols through from the next turn on, as far as the source holds them."""
        new = {each.symbol for each in subscriptions} - self._wanted
        self._wanted |= new
        self._unseen |= new

    def unsubscribe(self, symbols: Sequence[Symbol]) -> None:
        """Let symbols through no more."""
        self._wanted = self._wanted.difference(symbols)
        self._unseen.difference_update(symbols)

    def statistics(self) -> FeedStatistics:
        """Return the counters so far."""
        audit = self._source.audit()
        return FeedStatistics(
            name=self._source.name,
            frames=audit.rows,
            events=self._delivered,
            malformed=audit.malformed,
            suspicious=audit.suspicious,
            gaps=getattr(self._source, "gaps", 0),
            ignored=dict(audit.ignored),
            rows_used=audit.rows_used,
            rows_joined=audit.joined,
            foreign=self._foreign,
            unplayed=audit.events - self._delivered - self._foreign,
        )

    async def _run_flat_out(self, events: Iterator[MarketEvent], deliver: Deliver) -> None:
        batch: list[MarketEvent] = []
        moment = 0
        until_checkpoint = BATCHES_PER_CHECKPOINT
        while turn := await self._read(events, FLAT_OUT_TURN):
            for event in turn:
                at = due(event)
                if at != moment and batch:
                    self._last = moment
                    self._delivered += len(batch)
                    await deliver(batch)
                    batch = []
                    until_checkpoint -= 1
                    if not until_checkpoint:
                        until_checkpoint = BATCHES_PER_CHECKPOINT
                        await checkpoint()
                moment = at
                batch.append(event)
        if batch:
            self._last = moment
            self._delivered += len(batch)
            await deliver(batch)

    async def _run_paced(
        self, events: Iterator[MarketEvent], speed: float, deliver: Deliver
    ) -> None:
        begun: float | None = None  # on the loop's monotonic clock
        first = 0
        while turn := await self._read(events, PACED_TURN):
            if begun is None:
                begun, first = anyio.current_time(), due(turn[0])
            position = 0
            while position < len(turn):
                self._last = due(turn[position])
                # A deadline in the past still lets other tasks run.
                await anyio.sleep_until(begun + (self._last - first) / SECOND / speed)
                now = first + int((anyio.current_time() - begun) * speed * SECOND)
                batch = [turn[position]]
                for event in islice(turn, position + 1, None):
                    if due(event) > now:
                        break
                    batch.append(event)
                position += len(batch)
                self._delivered += len(batch)
                await deliver(batch)

    async def _read(self, events: Iterator[MarketEvent], count: int) -> list[MarketEvent]:
        """Read on a worker thread until there is something to deliver; empty at the end."""
        while turn := await to_thread.run_sync(_take, events, count):
            wanted = [event for event in turn if event.symbol in self._wanted]
            self._foreign += len(turn) - len(wanted)
            if wanted:
                if self._unseen:
                    self._unseen.difference_update(event.symbol for event in wanted)
                return wanted
        return []


def _take(events: Iterator[MarketEvent], count: int) -> list[MarketEvent]:
    return list(islice(events, count))


def _close(events: Iterator[MarketEvent]) -> None:
    close = getattr(events, "close", None)
    if close is not None:
        close()
