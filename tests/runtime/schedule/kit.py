"""Rules as a strategy makes them, on a clock by hand."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from feeds.events import AssetClass
from runtime.schedule.agenda import next_due
from runtime.schedule.calendars import Market, market_of
from runtime.schedule.date_rules import DateRules
from runtime.schedule.dates import DateRule
from runtime.schedule.local_time import instant
from runtime.schedule.time_rules import TimeRules
from runtime.schedule.times import TimeRule

CLASSES = {
    "SPY": AssetClass.EQUITY,
    "BTC/USD": AssetClass.CRYPTO,
    "EUR/USD": AssetClass.FOREX,
}
NYSE = market_of(AssetClass.EQUITY)


def utc(text: str) -> int:
    """An instant from "2013-10-07 00:00", in UTC unless it says otherwise."""
    return instant(datetime.fromisoformat(text))


class Kit:
    """`date_rules` and `time_rules` of a strategy in a zone, with these symbols added."""

    def __init__(
        self, zone: str = "America/New_York", now: str = "2000-01-01", added: Sequence[str] = ()
    ) -> None:
        self.now = utc(now)
        self.asked: list[str] = []
        self.date_rules = DateRules(self.market, lambda: ZoneInfo(zone), lambda: self.now)
        self.time_rules = TimeRules(
            self.market,
            lambda: [NYSE, *(market_of(CLASSES[symbol]) for symbol in added)],
            lambda: ZoneInfo(zone),
            lambda: self.now,
        )

    def market(self, symbol: str, asked: str) -> Market:
        self.asked.append(asked)
        return market_of(CLASSES[symbol])


def dates_of(rule: DateRule, first: str, last: str) -> list[date]:
    """All dates of a rule between two, both included."""
    day: date | None = date.fromisoformat(first)
    found: list[date] = []
    while day is not None and (hit := rule.first(day)) is not None:
        if hit > date.fromisoformat(last):
            break
        found.append(hit)
        day = date.fromordinal(hit.toordinal() + 1)
    return found


def times_of(dates: DateRule, times: TimeRule, first: str, last: str) -> list[str]:
    """All moments of two rules in [first, last), UTC, as "2013-10-13 12:00"."""
    moment, found = utc(first) - 1, []
    while (due := next_due(dates, times, moment)) is not None and due < utc(last):
        found.append(f"{datetime.fromtimestamp(due / 1e9, UTC):%Y-%m-%d %H:%M}")
        moment = due
    return found
