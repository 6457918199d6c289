"""process(events, now) -> commands: every decision of a run, with no clock, socket or loop.

Market data, reports of the broker and notices of training come in as one list of values; what the
strategy wants done goes out as one. Live and backtest differ only in who calls it.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, timedelta
from typing import Any

import msgspec

from feeds.base import Subscription
from feeds.columns import Span
from feeds.events import (
    SECOND,
    Event,
    FeedState,
    Gap,
    Malformed,
    MarketEvent,
    Status,
    Symbol,
)
from runtime.callbacks import Callbacks, Unwatched, Watch, require_plain_callbacks
from runtime.commands import Command
from runtime.desk import Desk
from runtime.errors import StrategyError
from runtime.lines import Ended
from runtime.moments import split
from runtime.schedule.local_time import in_zone
from runtime.slices import MARKET_TYPES, build_slice
from runtime.strategy import Strategy
from runtime.trading.orders import OrderUpdate
from runtime.trading.recovered import Recovered
from runtime.training.slots import ModelSlot

EngineEvent = Event | OrderUpdate

ENDLESS_ORDER_EVENTS = 2000
"""More order events than this at one moment are a strategy that orders without end."""

ENDLESS_SCHEDULE = 2000
"""More scheduled events than this at one moment are a strategy that schedules without end."""

LATE_NS = SECOND
"""A scheduled event that fires later than this is told as late."""


class EngineStatistics(msgspec.Struct, frozen=True):
    """A snapshot of what the engine has done.

    `events` are market events taken; `unused_bars` bars that the feed made of the ticks it sends as
    well; `slices` dispatches of on_data; `foreign` market events of symbols nobody asked for;
    `malformed` what the feed could not read.
    """

    events: int
    unused_bars: int
    slices: int
    orders: int
    fills: int
    foreign: int
    malformed: int
    gaps: int


class Engine:
    """One strategy, its desk, and the rules by which events reach it.

    `watch` is told when each callback begins and ends.
    """

    def __init__(self, strategy: Strategy, desk: Desk, watch: Watch | None = None) -> None:
        self.strategy = strategy
        self.desk = desk
        self._name = type(strategy).__name__
        self._callbacks = Callbacks(self._name, watch or Unwatched())
        self._events = self._slices = self._fills = 0
        self._foreign = self._malformed = self._gaps = 0
        self._told = 0  # order events at this moment
        self._fired = 0  # scheduled events at this moment
        self._wake: int | None = None
        self._ended: list[Ended] = []  # bars of this batch, not shown yet
        self._warm_since: int | None = None

    @property
    def subscriptions(self) -> list[Subscription]:
        """What the strategy added in initialize."""
        return self.desk.subscriptions

    def statistics(self) -> EngineStatistics:
        """Return the counters so far."""
        unused = sum(line.ready_made for line in self.desk.lines.values())
        return EngineStatistics(
            self._events - unused,
            unused,
            self._slices,
            len(self.desk.ordering.orders),
            self._fills,
            self._foreign,
            self._malformed,
            self._gaps,
        )

    def start(self, now: int) -> list[Command]:
        """Call initialize and return what it asked for.

        Raises:
            StrategyError: initialize raised, or added no symbol; or a callback is no plain one.
        """
        require_plain_callbacks(self.strategy)
        self._move(now)
        self.strategy.bind(self.desk)
        self._callbacks.call("initialize", self.strategy.initialize)
        self.desk.is_initializing = False
        self.desk.tell_unread()
        for slot in _slots(vars(self.strategy).values()):
            self.desk.know(slot)
        if not self.desk.securities:
            raise StrategyError(
                f"{self._name}.initialize added no symbol: call add_equity, add_crypto, add_forex "
                "or add_security",
                "initialize",
            )
        self.desk.settle_currency()
        self.desk.keep_training_hours()
        self._tell_orders()
        return self._take_commands()

    def process(
        self, events: Sequence[EngineEvent], now: int, *, closing: bool = False
    ) -> list[Command]:
        """Take what has arrived, in order, then dispatch it: one slice for each end of a bar.

        Args:
            events: market data and reports, in order of arrival.
            now: engine time, ns UTC; an earlier one than before counts as that one.
            closing: whether time alone closes the bars that have ended by now.

        Raises:
            StrategyError: a callback of the strategy raised.
        """
        self._move(now)
        if self.desk.now_ns:  # a tape tells the time with its first data
            self.desk.schedule.agenda.begin(self.desk.now_ns)
        lines = self.desk.lines
        out: list[MarketEvent | Gap] = []
        touched: dict[Symbol, int] = {}
        event: Any  # by its type, as this runs for each tick
        for event in events:
            if type(event) in MARKET_TYPES:
                symbol: Symbol = event.symbol
                line = lines.get(symbol)
                if line is None:
                    self._foreign += 1
                    continue
                line.take(event, out)  # type: ignore[arg-type]  # a list that also takes gaps
                touched[symbol] = touched.get(symbol, 0) + 1
            else:
                self._notice(event, out)
        for symbol, count in touched.items():
            self._events += count
            self._settle(symbol)
        if closing:
            self._close(self.desk.now_ns, out)
        self.desk.ordering.look_at_equity()
        self._turn(out)
        return self._take_commands()

    def quiet_until(self, first: int) -> int:
        """Return the time before which trades from `first` (ns UTC) on would call nobody.

        No bar ends before it, nothing is scheduled, and no trade is shown as such: `fold` may take
        them. It is `first` itself, or earlier, where that trade must be told to `process`.
        """
        until = self.next_wake()
        for span in self.desk.bar_spans:
            if not span:
                return first
            end = first - first % span + span
            if until is None or end < until:
                until = end
        return first if until is None else until

    def fold(self, spans: Iterable[Span], now: int) -> None:
        """Take trades before `quiet_until`, of symbols that are added, as `process` would do.

        Args:
            spans: rows of columns.
            now: the time of the last of them, ns UTC.
        """
        self._move(now)
        desk = self.desk
        for span in spans:
            symbol = span.rows.symbol
            self._events += span.end - span.begin
            line = desk.lines[symbol]
            line.fold(span)
            desk.portfolio.mark(symbol, line.security.price)
            desk.rhythms[symbol].follow(span)
            wake = line.wake
            if wake is not None and (self._wake is None or wake < self._wake):
                self._wake = wake

    def next_wake(self) -> int | None:
        """Return when `advance` is next due, ns UTC: the end of a bar, or what is scheduled."""
        scheduled = self.desk.schedule.agenda.next_wake()
        if self._wake is None or scheduled is None:
            return scheduled if self._wake is None else self._wake
        return min(self._wake, scheduled)

    def advance(self, now: int) -> list[Command]:
        """Let time pass without data: close the bars that are due, then call what is scheduled.

        Raises:
            StrategyError: a callback of the strategy raised.
        """
        return self.process((), now, closing=True)

    def recover(self, found: Recovered) -> None:
        """Take over the account of the run before; after `start`, before anything else."""
        self.desk.ordering.recover(found)

    def stop_orders(self) -> None:
        """From here on every order is refused, also what a callback that failed had asked for."""
        self.desk.stop()

    def finish(self, now: int) -> list[Command]:
        """Call on_end_of_algorithm, the last callback of a run.

        Raises:
            StrategyError: it raised.
        """
        self._move(now)
        self.stop_orders()
        self._callbacks.call("on_end_of_algorithm", self.strategy.on_end_of_algorithm)
        return self._take_commands()

    # ---- steps -------------------------------------------------------------------------------

    def _move(self, now: int) -> None:
        """Time goes on or stands, even where the clock that tells it was set back."""
        if now > self.desk.now_ns:
            self.desk.now_ns = now
            self._told = self._fired = 0

    def _notice(self, event: EngineEvent, out: list[MarketEvent | Gap]) -> None:
        """Take what is not a price: a report, a gap, a change of the feed, a bad frame."""
        match event:
            case OrderUpdate():
                self._fills += event.fill is not None
                self.desk.ordering.apply(event)
            case Gap():
                self._gaps += 1
                out.append(event)
                seconds = round((event.end - event.start) / SECOND, 3)
                about = {"symbol": event.symbol or "all", "seconds": seconds}
                self.desk.log("warning", "data gap", {**about, "reason": event.reason})
            case Status():
                self.desk.feeds[event.feed] = event.state
                is_bad = event.state is FeedState.DISCONNECTED
                about = {"feed": event.feed, "state": event.state, "detail": event.detail}
                self.desk.log("warning" if is_bad else "info", "feed", about)
                self._callbacks.call("on_feed_status", self.strategy.on_feed_status, event)
            case Malformed():
                self._malformed += 1
            case _:
                raise TypeError(f"the engine does not take {type(event).__name__}")

    def _settle(self, symbol: Symbol) -> None:
        """After a batch: mark the position, remember when the line must wake and what has ended."""
        line = self.desk.lines[symbol]
        self.desk.portfolio.mark(symbol, line.security.price)
        self.desk.rhythms[symbol].beat(self.desk.now_ns)
        wake = line.settle()
        if wake is not None and (self._wake is None or wake < self._wake):
            self._wake = wake
        self._ended += line.take_ended()

    def _close(self, now: int, out: list[MarketEvent | Gap]) -> None:
        """Close the bars that ended at `now` or before, of whatever symbol."""
        if self._wake is None or self._wake > now:
            return
        self._wake = None
        for line in self.desk.lines.values():
            wake = line.wake
            if wake is not None and wake <= now:
                line.scan(now, out)  # type: ignore[arg-type]  # a list that also takes gaps
                self._ended += line.take_ended()
                wake = line.wake
            if wake is not None and (self._wake is None or wake < self._wake):
                self._wake = wake

    def _turn(self, out: list[MarketEvent | Gap]) -> None:
        """Call the strategy with what a batch came to, moment by moment."""
        if not self._ended:
            self._tell_orders()
            self._fire(self.desk.now_ns)
            self._dispatch(out)
            return
        ended, self._ended = self._ended, []
        moments = split(out, ended)
        for place, moment in enumerate(moments, 1):
            for bar, handler in moment.ended:
                if handler is None and bar.symbol in self.desk.lines:  # not removed meanwhile
                    self.desk.lines[bar.symbol].show(bar)
            for bar, handler in moment.ended:
                if handler is not None:
                    self._callbacks.call(
                        getattr(handler, "__name__", "a bar handler"), handler, bar
                    )
            self._tell_orders()
            is_last = place == len(moments)
            following = self.desk.now_ns if is_last else moments[place].ended[0].bar.end_time - 1
            self._fire(following)
            self._dispatch(moment.events)
            if self.desk.has_quit:
                return

    def _tell_orders(self) -> None:
        """Deliver order events; a handler may place orders, whose refusals are delivered too."""
        while events := self.desk.ordering.take_events():
            self._told += len(events)
            if self._told > ENDLESS_ORDER_EVENTS:
                raise StrategyError(
                    f"{self._name} orders without end: more than {ENDLESS_ORDER_EVENTS} order "
                    "events at one moment; does on_order_event answer each with a new order?",
                    "on_order_event",
                )
            for event in events:
                self._callbacks.call("on_order_event", self.strategy.on_order_event, event)

    def _fire(self, until: int) -> None:
        """Call what is scheduled by `until`, in order; what is late says by how much."""
        desk = self.desk
        while not (desk.has_quit or desk.ordering.is_stopping):
            firing = desk.schedule.agenda.take(desk.now_ns, until)
            if firing is None:
                return
            self._fired += 1
            if self._fired > ENDLESS_SCHEDULE:
                raise StrategyError(
                    f"{self._name} schedules without end: more than {ENDLESS_SCHEDULE} scheduled "
                    f"events at one moment, the last of them {firing.event.name!r}",
                    firing.event.name,
                )
            if firing.late > LATE_NS:
                about = {"late_s": round(firing.late / SECOND, 3), "due": in_zone(firing.due, UTC)}
                desk.log("warning", "schedule late", {"name": firing.event.name, **about})
            self._callbacks.call(firing.event.name, firing.event.callback)
            self._tell_orders()

    def _dispatch(self, out: list[MarketEvent | Gap]) -> None:
        if not out:
            return
        self._warm()
        for slot in self.desk.slots.values():
            slot.expire(self.desk.now_ns)
        self._slices += 1
        moment = build_slice(out, self.desk.now_ns, self.desk.zone, self.desk.is_stale)
        self._callbacks.call("on_data", self.strategy.on_data, moment)
        self._tell_orders()

    @property
    def warmed(self) -> float | None:
        """The share of the warm-up that lies behind, 0 to 1; None where none goes on."""
        desk = self.desk
        if not desk.is_warming_up or desk.warm_up is None:
            return None
        if not isinstance(desk.warm_up, timedelta):
            return min(1.0, self._slices / desk.warm_up)
        if self._warm_since is None or not desk.warm_up:
            return 0.0
        passed = timedelta(microseconds=(desk.now_ns - self._warm_since) // 1000)
        return min(1.0, max(0.0, passed / desk.warm_up))

    def _warm(self) -> None:
        """End the warm-up once its span of time, or its count of slices, lies behind."""
        desk = self.desk
        if not desk.is_warming_up or desk.warm_up is None:
            return
        if self._warm_since is None:
            self._warm_since = desk.now_ns
        if isinstance(desk.warm_up, timedelta):
            passed = timedelta(microseconds=(desk.now_ns - self._warm_since) // 1000)
            done = passed >= desk.warm_up
        else:
            done = self._slices >= desk.warm_up
        if done and desk.now_ns >= desk.trade_from:
            desk.is_warming_up = False
            desk.log("info", "warm-up finished", {"slices": self._slices})
            self._callbacks.call("on_warmup_finished", self.strategy.on_warmup_finished)

    def _take_commands(self) -> list[Command]:
        commands, self.desk.commands = self.desk.commands, []
        return commands


def _slots(values: Iterable[object]) -> Iterator[ModelSlot]:
    """The slots among these values, and in the lists and dicts among them."""
    for value in values:
        match value:
            case ModelSlot():
                yield value
            case list() | tuple():
                yield from (inner for inner in value if isinstance(inner, ModelSlot))
            case dict():
                yield from (inner for inner in value.values() if isinstance(inner, ModelSlot))
