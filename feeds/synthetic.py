"""The synthetic market without a venue: the symbols that are subscribed, played as a tape."""

from collections.abc import Sequence

from feeds.base import Deliver, FeedStatistics, Subscription
from feeds.events import SECOND, Symbol
from feeds.market import SyntheticSource
from feeds.replay import ReplayFeed

START = 1_704_153_600 * SECOND
"""When a synthetic tape begins: 2024-01-02 00:00 UTC, so that two runs have the same times."""


class SyntheticFeed:
    """Plays `minutes` of market time of whatever is subscribed.

    Args:
        seed: of the market; the same seed gives the same ticks.
        rate: ticks a second and symbol.
        minutes: length of the tape, in market time.
        speed: None plays flat out and in lockstep, n plays n times as fast as the market's time.
    """

    def __init__(self, seed: int, rate: float, minutes: float, speed: float | None) -> None:
        self._seed, self._rate, self._speed = seed, rate, speed
        self._span = round(minutes * 60 * SECOND)
        self._replay = self._make(())

    @property
    def lockstep(self) -> bool:
        """Whether the tape waits for the reader: when it plays flat out."""
        return self._speed is None

    async def run(self, subscriptions: Sequence[Subscription], deliver: Deliver) -> None:
        """Make a market of the subscribed symbols and play it."""
        self._replay = self._make(subscriptions)
        await self._replay.run(subscriptions, deliver)

    def subscribe(self, subscriptions: Sequence[Subscription]) -> None:
        """Let more symbols through: a market that has been made holds no further ones."""
        self._replay.subscribe(subscriptions)

    def unsubscribe(self, symbols: Sequence[Symbol]) -> None:
        """Let symbols through no more."""
        self._replay.unsubscribe(symbols)

    def statistics(self) -> FeedStatistics:
        """Return the counters so far."""
        return self._replay.statistics()

    def _make(self, subscriptions: Sequence[Subscription]) -> ReplayFeed:
        symbols = [subscription.symbol for subscription in subscriptions]
        source = SyntheticSource(self._seed, self._rate, symbols, START, self._span)
        return ReplayFeed(source, self._speed)
