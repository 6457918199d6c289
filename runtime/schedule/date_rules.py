"""`self.date_rules`: LEAN's names for the rules of dates; a bad argument is one clear sentence."""

from collections.abc import Callable, Iterable
from datetime import date, datetime, tzinfo

from runtime.errors import StrategyError
from runtime.schedule.calendars import Market
from runtime.schedule.dates import (
    DateRule,
    GivenDates,
    InEachPeriod,
    Period,
    RelativeDay,
    TradingDays,
    Weekdays,
    as_date,
    months,
    week_from,
)
from runtime.schedule.local_time import DayOfWeek, in_zone, zone_named

MarketOf = Callable[[str, str], Market]
"""(symbol, who asks) -> the hours it trades; raises StrategyError where it is no symbol."""

LONGEST_OFFSET = {"Week": 6, "Month": 30, "Quarter": 92, "Year": 365}
MONTHS = {"Month": 1, "Quarter": 3, "Year": 12}


class DateRules:
    """`self.date_rules` of a strategy.

    Args:
        market_of: the hours of a symbol.
        zone: the strategy's zone, for today and tomorrow.
        now: engine time, ns UTC.
    """

    def __init__(
        self, market_of: MarketOf, zone: Callable[[], tzinfo], now: Callable[[], int]
    ) -> None:
        self._market_of = market_of
        self._zone = zone
        self._now = now

    def set_default_time_zone(self, time_zone: str | tzinfo) -> None:
        """Let today and tomorrow be those of this zone instead of the strategy's."""
        zone = zone_named(time_zone, "date_rules.set_default_time_zone")
        self._zone = lambda: zone

    @property
    def today(self) -> DateRule:
        """This date, by the strategy's clocks."""
        return RelativeDay("TodayOnly", self._today, 0)

    @property
    def tomorrow(self) -> DateRule:
        """The next date, by the strategy's clocks."""
        return RelativeDay("TomorrowOnly", self._today, 1)

    def on(self, *dates: int | date | datetime | Iterable[date | datetime]) -> DateRule:
        """Take these dates: `on(2024, 7, 3)`, or one or many dates.

        Raises:
            StrategyError: there is no such date.
        """
        try:
            if len(dates) == 3 and all(isinstance(part, int) for part in dates):
                found = [date(*dates)]  # type: ignore[arg-type]  # three ints, as just seen
            else:
                many = [d if isinstance(d, Iterable) else [d] for d in dates]
                found = sorted({as_date(d) for group in many for d in group})
        except (TypeError, ValueError) as error:
            raise StrategyError(
                f"date_rules.on{dates}: {error}: a year, month and day, or dates are needed", ""
            ) from None
        if not found:
            raise StrategyError("date_rules.on(): name at least one date", "")
        return GivenDates(",".join(f"{d:%m/%d/%Y}" for d in found), found)

    def every(self, *days: DayOfWeek) -> DateRule:
        """Take each of these days of the week.

        Raises:
            StrategyError: no day, or something else than a DayOfWeek.
        """
        if not days or not all(isinstance(day, DayOfWeek) for day in days):
            raise StrategyError(
                f"date_rules.every{days}: days such as DayOfWeek.MONDAY are needed", ""
            )
        return Weekdays(",".join(day.name.capitalize() for day in days), frozenset(days))

    def every_day(self, symbol: str | None = None, extended_market_hours: bool = False) -> DateRule:
        """Take each date, or each on which the symbol trades.

        The hours that count make no difference to the dates of the markets known here.
        """
        del extended_market_hours
        if symbol is None:
            return Weekdays("EveryDay", frozenset(DayOfWeek))
        return TradingDays(f"{symbol}: EveryDay", self._market_of(symbol, "date_rules.every_day"))

    def week_start(
        self,
        symbol: str | int | None = None,
        days_offset: int = 0,
        extended_market_hours: bool = True,
    ) -> DateRule:
        """Take Monday plus the offset, or the first trading day of each week plus the offset.

        Raises:
            StrategyError: the offset leaves the week.
        """
        return self._each("Week", True, symbol, days_offset)

    def week_end(
        self,
        symbol: str | int | None = None,
        days_offset: int = 0,
        extended_market_hours: bool = True,
    ) -> DateRule:
        """Take Friday minus the offset, or the last trading day of each week minus the offset.

        Raises:
            StrategyError: the offset leaves the week.
        """
        return self._each("Week", False, symbol, days_offset)

    def month_start(
        self,
        symbol: str | int | None = None,
        days_offset: int = 0,
        extended_market_hours: bool = True,
    ) -> DateRule:
        """Take the first of each month, or its first trading day, plus the offset."""
        return self._each("Month", True, symbol, days_offset)

    def month_end(
        self,
        symbol: str | int | None = None,
        days_offset: int = 0,
        extended_market_hours: bool = True,
    ) -> DateRule:
        """Take the last of each month, or its last trading day, minus the offset."""
        return self._each("Month", False, symbol, days_offset)

    def quarter_start(
        self,
        symbol: str | int | None = None,
        days_offset: int = 0,
        extended_market_hours: bool = True,
    ) -> DateRule:
        """Take the first of January, April, July and October, plus the offset."""
        return self._each("Quarter", True, symbol, days_offset)

    def quarter_end(
        self,
        symbol: str | int | None = None,
        days_offset: int = 0,
        extended_market_hours: bool = True,
    ) -> DateRule:
        """Take the last of March, June, September and December, minus the offset."""
        return self._each("Quarter", False, symbol, days_offset)

    def year_start(
        self,
        symbol: str | int | None = None,
        days_offset: int = 0,
        extended_market_hours: bool = True,
    ) -> DateRule:
        """Take the first of each year, or its first trading day, plus the offset."""
        return self._each("Year", True, symbol, days_offset)

    def year_end(
        self,
        symbol: str | int | None = None,
        days_offset: int = 0,
        extended_market_hours: bool = True,
    ) -> DateRule:
        """Take the last of each year, or its last trading day, minus the offset."""
        return self._each("Year", False, symbol, days_offset)

    def _today(self) -> date:
        return in_zone(self._now(), self._zone()).date()

    def _each(self, kind: str, from_start: bool, given: str | int | None, offset: int) -> DateRule:
        """Make the rule of one kind of period; the symbol may be left out before the offset."""
        symbol, days = (None, given) if isinstance(given, int) else (given, offset)
        label = kind + ("Start" if from_start else "End")
        word = f"date_rules.{kind.lower()}_{'start' if from_start else 'end'}"
        market = None if symbol is None else self._market_of(symbol, word)
        longest = LONGEST_OFFSET[kind]
        if kind == "Week" and market is not None:
            longest = len(market.week) - 1
        if days not in range(longest + 1):
            of = "" if symbol is None else f" for {symbol}"
            raise StrategyError(
                f"{word}: days_offset is {days!r}: 0 to {longest} is allowed{of}", ""
            )
        sign = "" if not days else f"{days if from_start else -days:+d}"
        prefix = "" if symbol is None else f"{symbol}: "
        period = _period(kind, from_start, has_market=market is not None)
        return InEachPeriod(f"{prefix}{label}{sign}", period, market, days, from_start)


def _period(kind: str, from_start: bool, *, has_market: bool) -> Callable[[date], Period]:
    """Return the periods of a kind.

    With a market a week is from Sunday, when forex opens; without, it begins with the Monday or
    ends with the Friday that the offset is counted from.
    """
    if kind != "Week":
        return months(MONTHS[kind])
    if has_market:
        return week_from(DayOfWeek.SUNDAY)
    return week_from(DayOfWeek.MONDAY if from_start else DayOfWeek.SATURDAY)
