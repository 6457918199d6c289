"""`self.time_rules`: LEAN's names for the rules of times; a bad argument is one clear sentence."""

import math
from collections.abc import Callable, Sequence
from datetime import timedelta, tzinfo

from runtime.errors import StrategyError
from runtime.schedule.calendars import Market
from runtime.schedule.date_rules import MarketOf
from runtime.schedule.local_time import DAY, zone_named
from runtime.schedule.times import EveryInterval, MarketTime, Now, TimeRule, WallTime

NOTHING = timedelta(0)


class TimeRules:
    """`self.time_rules` of a strategy.

    Args:
        market_of: the hours of a symbol.
        markets: the hours of everything the strategy has added, NYSE's always among them.
        zone: the strategy's zone, for what names no other.
        now: engine time, ns UTC.
    """

    def __init__(
        self,
        market_of: MarketOf,
        markets: Callable[[], Sequence[Market]],
        zone: Callable[[], tzinfo],
        now: Callable[[], int],
    ) -> None:
        self._market_of = market_of
        self._markets = markets
        self._zone = zone
        self._now = now

    def set_default_time_zone(self, time_zone: str | tzinfo) -> None:
        """Let times without a zone be those of this one instead of the strategy's."""
        zone = zone_named(time_zone, "time_rules.set_default_time_zone")
        self._zone = lambda: zone

    @property
    def now(self) -> TimeRule:
        """At once, whatever the date rule says."""
        return Now(self._now)

    @property
    def midnight(self) -> TimeRule:
        """When the date begins."""
        return WallTime("Midnight", NOTHING, self._zone)

    @property
    def noon(self) -> TimeRule:
        """At 12:00."""
        return WallTime("Noon", timedelta(hours=12), self._zone)

    def at(
        self,
        hour: int | timedelta,
        minute: int | str | tzinfo | None = None,
        second: int | str | tzinfo = 0,
        time_zone: str | tzinfo | None = None,
    ) -> TimeRule:
        """Take a time of day: `at(9, 30)`, `at(9, 30, 15)` or `at(timedelta(hours=9.5))`.

        Each takes a zone as its last argument, by name or as a tzinfo; the strategy's by default.

        Raises:
            StrategyError: there is no such time of day, or no such zone.
        """
        parts = [hour, minute, second, time_zone]
        zones = [part for part in parts if isinstance(part, str | tzinfo)]
        numbers = [part for part in parts if isinstance(part, int)]
        asked = f"time_rules.at{tuple(part for part in parts if part is not None)}"
        if isinstance(hour, timedelta):
            after_midnight, good = hour, NOTHING <= hour < DAY and not any(numbers)
        else:
            hours, minutes, seconds = (*numbers, 0, 0, 0)[:3]
            good = isinstance(minute, int) and hours in range(24)
            good = good and minutes in range(60) and seconds in range(60)
            after_midnight = timedelta(hours=hours, minutes=minutes, seconds=seconds)
        if not good or len(zones) > 1:
            raise StrategyError(
                f"{asked}: an hour of 0 to 23, a minute and a second of 0 to 59, or a timedelta "
                "of less than a day is needed, then at most one time zone",
                "",
            )
        name = f"{round(after_midnight / timedelta(hours=1), 2):g}"
        if not zones:
            return WallTime(name, after_midnight, self._zone)
        zone = zone_named(zones[0], asked)
        return WallTime(name, after_midnight, lambda: zone)

    def every(self, interval: timedelta) -> TimeRule:
        """Take midnight and each further step of `interval` on the same date.

        Raises:
            StrategyError: the interval is not more than nothing.
        """
        if not _is_span(interval):
            raise StrategyError(
                f"time_rules.every({interval!r}): a timedelta of more than 0 is needed", ""
            )
        name = f"Every {round(interval / timedelta(minutes=1), 2):g} min"
        return EveryInterval(name, interval, self._zone)

    def after_market_open(
        self,
        symbol: str | float | None = None,
        minutes_after_open: float = 0,
        extended_market_open: bool = False,
    ) -> TimeRule:
        """Take so many minutes after the open of the symbol, or of the first market to open.

        Raises:
            StrategyError: the market never opens, or the minutes are no number.
        """
        return self._market("after_market_open", symbol, minutes_after_open, extended_market_open)

    def before_market_open(
        self,
        symbol: str | float | None = None,
        minutes_before_open: float = 0,
        extended_market_open: bool = False,
    ) -> TimeRule:
        """Take so many minutes before the open of the symbol, or of the first market to open.

        Raises:
            StrategyError: the market never opens, or the minutes are no number.
        """
        return self._market("before_market_open", symbol, minutes_before_open, extended_market_open)

    def before_market_close(
        self,
        symbol: str | float | None = None,
        minutes_before_close: float = 0,
        extended_market_close: bool = False,
    ) -> TimeRule:
        """Take so many minutes before the close of the symbol, or of the last market to close.

        Raises:
            StrategyError: the market never closes, or the minutes are no number.
        """
        return self._market(
            "before_market_close", symbol, minutes_before_close, extended_market_close
        )

    def after_market_close(
        self,
        symbol: str | float | None = None,
        minutes_after_close: float = 0,
        extended_market_close: bool = False,
    ) -> TimeRule:
        """Take so many minutes after the close of the symbol, or of the last market to close.

        Raises:
            StrategyError: the market never closes, or the minutes are no number.
        """
        return self._market(
            "after_market_close", symbol, minutes_after_close, extended_market_close
        )

    def _market(
        self, word: str, given: str | float | None, minutes: float, extended: bool
    ) -> TimeRule:
        """Make a rule of a market's hours; the symbol may be left out before the minutes."""
        symbol: str | None = None
        if isinstance(given, int | float):
            minutes, extended = given, bool(minutes) or extended
        else:
            symbol = given
        if not _is_number(minutes):
            raise StrategyError(f"time_rules.{word}: {minutes!r} is not a number of minutes", "")
        before, at_open = word.startswith("before"), word.endswith("open")
        named_before = not at_open  # LEAN's names: minutes after the open, minutes before the close
        shown = minutes if before == named_before else -minutes
        kind = ("Extended" if extended else "") + ("MarketOpen" if at_open else "MarketClose")
        prefix = "" if symbol is None else f"{symbol}: "
        name = f"{prefix}{round(shown, 2):g} min {'after' if at_open else 'before'} {kind}"
        markets: Callable[[], Sequence[Market]] = self._markets
        if symbol is not None:
            market = self._market_of(symbol, f"time_rules.{word}")
            if market.never_closes:
                raise StrategyError(
                    f"time_rules.{word}: {symbol} trades around the clock and has no open or "
                    "close: use time_rules.at or time_rules.midnight",
                    "",
                )
            markets = lambda: (market,)  # noqa: E731  # one market, in the form of many
        return MarketTime(name, markets, -minutes if before else minutes, at_open, extended)


def _is_span(given: object) -> bool:
    return isinstance(given, timedelta) and given > NOTHING


def _is_number(given: object) -> bool:
    return isinstance(given, int | float) and math.isfinite(given)
