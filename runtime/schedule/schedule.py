"""`self.schedule` of a strategy: its rules, its agenda, and the hours of its symbols."""

from collections.abc import Callable, Mapping
from datetime import tzinfo

from feeds.errors import ConfigError
from feeds.events import AssetClass, Symbol
from feeds.symbols import guess_class, split_pair
from runtime.callbacks import require_plain
from runtime.errors import StrategyError
from runtime.schedule.agenda import Agenda, ScheduledEvent, next_due
from runtime.schedule.calendars import Market, market_of
from runtime.schedule.date_rules import DateRules
from runtime.schedule.dates import DateRule
from runtime.schedule.time_rules import TimeRules
from runtime.schedule.times import TimeRule
from runtime.securities import Security, canonical


class Schedule:
    """What is to be called when; `on` is for the strategy, the agenda for the engine.

    Args:
        securities: what the strategy has added, as it grows.
        zone: the strategy's zone, as it stands.
        now: engine time, ns UTC.
        warn: writes a warning: a message and fields.
    """

    def __init__(
        self,
        *,
        securities: Mapping[Symbol, Security],
        zone: Callable[[], tzinfo],
        now: Callable[[], int],
        warn: Callable[[str, Mapping[str, object]], None],
    ) -> None:
        self.agenda = Agenda()
        self.date_rules = DateRules(self._market_of, zone, now)
        self.time_rules = TimeRules(self._market_of, self._markets, zone, now)
        self._securities = securities
        self._now = now
        self._warn = warn
        self._strangers: set[str] = set()

    def on(
        self,
        date_rule: DateRule,
        time_rule: TimeRule,
        callback: Callable[[], object],
        *,
        name: str | None = None,
    ) -> ScheduledEvent:
        """Call `callback`, without arguments, at each time of the two rules from now on.

        It runs on the event loop, as on_data does, and must be short.

        Raises:
            StrategyError: what is given is no date rule, no time rule or no plain function.
        """
        check_rules("schedule.on", date_rule, time_rule)
        if not callable(callback):
            raise StrategyError(f"schedule.on: {callback!r} is no function without arguments", "")
        require_plain("schedule.on", getattr(callback, "__name__", "callback"), callback)
        event = ScheduledEvent(
            name or f"{date_rule.name}: {time_rule.name}",
            lambda after: next_due(date_rule, time_rule, after),
            callback,
        )
        self.agenda.add(event, self._now())
        return event

    def markets(self) -> dict[Symbol, Market]:
        """Return the hours of everything that was added."""
        return {symbol: market_of(s.asset_class) for symbol, s in self._securities.items()}

    def _markets(self) -> list[Market]:
        """Return the hours that rules without a symbol go by: equities are always among them."""
        classes = {AssetClass.EQUITY, *(s.asset_class for s in self._securities.values())}
        return [market_of(asset_class) for asset_class in AssetClass if asset_class in classes]

    def _market_of(self, symbol: object, asked: str) -> Market:
        """Return the hours of a symbol; one that was not added goes by what it looks like."""
        if not isinstance(symbol, str):
            raise StrategyError(f'{asked}: {symbol!r} is no symbol: "SPY" would be one', "")
        name = Symbol(symbol.strip().upper())
        security = self._securities.get(name) or self._securities.get(split_pair(name))
        if security is not None:
            return market_of(security.asset_class)
        asset_class = guess_class(name)
        try:
            canonical(name, asset_class)
        except ConfigError as error:
            raise StrategyError(f"{asked}: {error}", "") from None
        if name not in self._strangers:
            self._strangers.add(name)
            about = {"symbol": name, "hours_of": asset_class}
            self._warn("a schedule goes by a symbol that was not added", about)
        return market_of(asset_class)


def check_rules(asked: str, date_rule: object, time_rule: object) -> None:
    """Check that what is given in the place of rules are such.

    Raises:
        StrategyError: it is not; `asked` is how the sentence begins.
    """
    if not hasattr(date_rule, "first") or hasattr(date_rule, "reach"):
        raise StrategyError(f"{asked}: {date_rule!r} is no date rule: take one of date_rules", "")
    if not hasattr(time_rule, "reach"):
        raise StrategyError(f"{asked}: {time_rule!r} is no time rule: take one of time_rules", "")
