"""What stands behind a strategy's Context: books, orders, history, and the list of commands.

Everything a strategy asks for becomes a value in `commands`; nothing is carried out here.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Literal, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from feeds.base import Subscription
from feeds.events import AssetClass, Bar, FeedState, Symbol
from runtime.callbacks import require_plain
from runtime.commands import (
    Command,
    HoldTraining,
    Log,
    Register,
    Stop,
    Subscribe,
    Train,
    Unsubscribe,
)
from runtime.errors import StrategyError
from runtime.history import BarWindow, TickWindow
from runtime.lines import SymbolLine
from runtime.rhythm import Rhythm
from runtime.schedule.agenda import ScheduledEvent
from runtime.schedule.dates import DateRule
from runtime.schedule.local_time import in_zone
from runtime.schedule.schedule import Schedule, check_rules
from runtime.schedule.times import TimeRule
from runtime.schedule.training_hours import TrainingHours
from runtime.securities import Resolution, Security
from runtime.trading.cash import DOLLAR, currency_named, is_currency, paid_in
from runtime.trading.daily_loss import DailyLoss
from runtime.trading.ordering import OrderDesk
from runtime.trading.orders import ZERO, OrderTerms
from runtime.trading.portfolio import Portfolio
from runtime.trading.risk import RiskGate
from runtime.trading.tickets import OrderTicket
from runtime.training.control import CURRENT_JOB, TrainingControl
from runtime.training.jobs import JobId, JobOptions, JobRequest, TrainingHandle
from runtime.training.slots import ModelSlot

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_Window = TypeVar("_Window", BarWindow, TickWindow)


class Parameters(dict[str, str]):
    """What the user gave; `unread` is what nobody has asked for yet."""

    def __init__(self, given: Mapping[str, str]) -> None:
        super().__init__(given)
        self.unread = dict.fromkeys(given)

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override]  # text only
        """Return a parameter, and note that it was asked for."""
        self.unread.pop(name, None)
        return super().get(name, default)


class Desk:
    """The Context of one strategy; the engine drives it, told the time by `now_ns`."""

    def __init__(
        self,
        *,
        run_id: str,
        portfolio: Portfolio,
        gate: RiskGate,
        daily_loss: DailyLoss | None = None,
        training: TrainingControl,
        parameters: Mapping[str, str],
        time_zone: str,
        history: int,
        isolations: Sequence[str] = ("thread",),
        train_when: Literal["always", "closed"] = "always",
    ) -> None:
        self.now_ns = 0
        self.portfolio = portfolio
        self.training = training
        self.parameters = Parameters(parameters)
        self.commands: list[Command] = []
        self.lines: dict[Symbol, SymbolLine] = {}
        self.securities: dict[Symbol, Security] = {}
        self.rhythms: dict[Symbol, Rhythm] = {}
        self.feeds: dict[str, FeedState] = {}
        self.slots: dict[str, ModelSlot] = {}
        self.warm_up: timedelta | int | None = None
        self.is_warming_up = False
        self.trade_from = 0
        """The moment, ns UTC, before which the warm-up does not end."""
        self.job_reach: int | None = None
        """How far back, ns, the history goes that a training job is given; None is all there is."""
        self.is_initializing = True
        self.has_quit = False
        self.zone = ZoneInfo(time_zone)
        self.train_at_once: Callable[[Train], None] | None = None
        """Runs a job inside the call of `train`, in a backtest; None queues it as a command."""
        self.schedule = Schedule(
            securities=self.securities,
            zone=lambda: self.zone,
            now=lambda: self.now_ns,
            warn=lambda message, fields: self.log("warning", message, fields),
        )
        self.run_id = run_id
        self.ordering = OrderDesk(self, run_id, portfolio, gate, daily_loss)
        self._history = history
        self._isolations = isolations  # the first is the run's own
        self._train_when = train_when
        self._jobs = itertools.count(1)
        self._short: set[Symbol] = set()
        self._bar_spans: frozenset[int] | None = None  # not reckoned yet

    # ---- what a strategy reads ---------------------------------------------------------------

    @property
    def time(self) -> datetime:
        """Engine time in the strategy's zone."""
        return (EPOCH + timedelta(microseconds=self.now_ns // 1000)).astimezone(self.zone)

    @property
    def subscriptions(self) -> list[Subscription]:
        """What the feed should bring."""
        return [Subscription(s.symbol, s.asset_class) for s in self.securities.values()]

    @property
    def bar_spans(self) -> frozenset[int]:
        """How long the bars are that trades are built into, ns; 0 where trades are shown."""
        if self._bar_spans is None:
            lines = self.lines.values()
            self._bar_spans = frozenset(span for line in lines for span in line.spans or [0])
        return self._bar_spans

    # ---- what a strategy asks in initialize --------------------------------------------------

    def add(self, symbol: Symbol, asset_class: AssetClass, resolution: Resolution) -> Security:
        """Subscribe; the same symbol again returns what is there."""
        if symbol not in self.securities:
            security = Security(symbol, asset_class, resolution)
            self.securities[symbol] = security
            self.lines[symbol] = SymbolLine(security, self._history)
            self.rhythms[symbol] = Rhythm()
            self._bar_spans = None
            if not self.is_initializing:
                self.commands.append(Subscribe(Subscription(symbol, asset_class)))
        return self.securities[symbol]

    def remove(self, symbol: Symbol) -> bool:
        """Close what is held, then unsubscribe; False where the symbol is not there."""
        if symbol not in self.securities:
            return False
        self.liquidate(symbol, "Removed")
        del self.securities[symbol], self.lines[symbol], self.rhythms[symbol]
        self._bar_spans = None
        if not self.is_initializing:
            self.commands.append(Unsubscribe(symbol))
        return True

    def is_stale(self, symbol: Symbol) -> bool:
        """Whether a symbol has been silent for longer than its own pace explains, or all is."""
        if self.feeds and FeedState.LIVE not in self.feeds.values():
            return True
        rhythm = self.rhythms.get(symbol)
        return rhythm is None or rhythm.is_stale(self.now_ns)

    def set_cash(self, amount: Decimal, currency: str = "", rate: Decimal = ZERO) -> None:
        """Set the starting cash, of the account's currency where none is named."""
        self._only_in_initialize("set_cash")
        for what, value in (("a sum", amount), ("a rate", rate)):
            if not value.is_finite() or value < 0:
                raise StrategyError(
                    f"set_cash({value}): {what} of 0 or more is needed", "initialize"
                )
        self.portfolio.deposit(amount, _currency(currency, "set_cash") if currency else "", rate)

    def set_account_currency(self, currency: str) -> None:
        """Say what the account is kept in."""
        self._only_in_initialize("set_account_currency")
        name = _currency(currency, "set_account_currency")
        if self.portfolio.currency not in {"", name}:
            raise StrategyError(
                f"set_account_currency({currency}): it is {self.portfolio.currency} already",
                "initialize",
            )
        self.portfolio.cash_book.settle(name)

    def settle_currency(self) -> None:
        """Where nobody has said it: what all symbols are paid in, or dollars."""
        paid = {paid_in(symbol) for symbol in self.securities} | {*self.portfolio.cash_book.foreign}
        self.portfolio.cash_book.settle(paid.pop() if len(paid) == 1 else DOLLAR)

    def set_time_zone(self, name: str) -> None:
        """Set the strategy's zone."""
        try:
            self.zone = ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise StrategyError(
                f"set_time_zone({name!r}): an IANA name such as UTC is needed", "initialize"
            ) from None

    def set_warm_up(self, span: timedelta | int) -> None:
        """Gather data first."""
        self._only_in_initialize("set_warm_up")
        if (span <= 0) if isinstance(span, int) else (span <= timedelta(0)):
            raise StrategyError(f"set_warm_up({span}): more than 0 is needed", "initialize")
        self.warm_up = span
        self.is_warming_up = True

    def hold_orders_until(self, moment: int) -> None:
        """Warm up until this moment, ns UTC, or longer where the strategy has asked for it."""
        self.trade_from = moment
        self.warm_up = self.warm_up or timedelta(0)
        self.is_warming_up = True

    def consolidate(self, symbol: Symbol, span: timedelta, handler: Callable[[Bar], None]) -> None:
        """Call `handler` with each finished bar."""
        if not callable(handler):
            raise StrategyError(f"consolidate({symbol}): {handler!r} is no handler", "initialize")
        require_plain("consolidate", getattr(handler, "__name__", "handler"), handler)
        span_ns = round(span / timedelta(microseconds=1)) * 1000
        if span_ns <= 0:
            raise StrategyError(f"consolidate({symbol}, {span}): the span is empty", "initialize")
        self._line(symbol).consolidate(span_ns, handler)
        self._bar_spans = None

    def tell_unread(self) -> None:
        """Say which parameters nobody has asked for, such as one with a slip of the pen."""
        names = ", ".join(self.parameters.unread)
        if names:
            self.log("warning", "parameters that initialize did not ask for", {"names": names})

    # ---- data --------------------------------------------------------------------------------

    def history(self, symbol: Symbol, count: int) -> BarWindow:
        """Return the newest bars."""
        window = self._line(symbol).bar_window(count)
        self.training.note_data(self.now_ns)  # after the reading: a job's thread reads as time runs
        return self._in_reach(symbol, window, count)

    def tick_history(self, symbol: Symbol, count: int) -> TickWindow:
        """Return the newest ticks."""
        window = self._line(symbol).tick_window(count)
        self.training.note_data(self.now_ns)
        return self._in_reach(symbol, window, count)

    # ---- orders ------------------------------------------------------------------------------

    def order(self, symbol: Symbol, quantity: Decimal, terms: OrderTerms, tag: str) -> OrderTicket:
        """Propose an order; the risk gate decides here and now."""
        return self.ordering.propose(symbol, quantity, terms, tag)

    def target(self, symbol: Symbol, weight: float, tag: str) -> OrderTicket | None:
        """Order what is missing to hold `weight` of the equity."""
        self._line(symbol)
        return self.ordering.target(symbol, weight, tag)

    def liquidate(self, symbol: Symbol | None, tag: str) -> list[OrderTicket]:
        """Cancel open orders, then close what is held."""
        return self.ordering.liquidate(self._these(symbol), tag)

    def cancel_open_orders(self, symbol: Symbol | None) -> list[OrderTicket]:
        """Ask for the end of what works."""
        return self.ordering.cancel_open(self._these(symbol))

    def open_tickets(self, symbol: Symbol | None) -> list[OrderTicket]:
        """Return the tickets of the open orders."""
        return self.ordering.tickets(symbol)

    # ---- training, words, the end ------------------------------------------------------------

    def train(
        self,
        method: Callable[[], object],
        into: ModelSlot | None,
        name: str | None,
        options: JobOptions,
        when: tuple[DateRule, TimeRule] | None = None,
    ) -> TrainingHandle:
        """Queue a job, now or at each time of two rules."""
        if not callable(method):
            raise StrategyError(f"train({method!r}): a method without arguments is needed", "")
        isolation = options.isolation or self._isolations[0]
        if isolation not in self._isolations:
            allowed = ", ".join(sorted(set(self._isolations)))
            raise StrategyError(f"train(isolation={isolation!r}): allowed are {allowed}", "")
        label = name or str(getattr(method, "__name__", type(method).__name__))
        if into is not None:
            self.know(into)
        request = JobRequest(
            id=JobId(f"{label}-{'scheduled' if when else next(self._jobs)}"),
            name=label,
            method=method,
            slot=into,
            isolation=isolation,
            requested=self.now_ns,
            timeout_ns=options.timeout_ns,
            retries=options.retries,
        )
        handle = TrainingHandle(request)
        if when is None:
            self._ask_for(Train(request, handle))
            return handle

        def queue() -> None:
            job = JobId(f"{label}-{next(self._jobs)}")
            due = msgspec.structs.replace(request, id=job, requested=self.now_ns)
            self._ask_for(Train(due, handle))

        check_rules("train", *when)
        handle.scheduled = self.schedule.on(*when, queue)
        self.commands.append(Register(request))
        return handle

    def _ask_for(self, training: Train) -> None:
        if self.train_at_once is None:
            self.commands.append(training)
        else:
            self.train_at_once(training)

    def keep_training_hours(self) -> None:
        """After initialize: where training is for closed markets, follow those of the symbols."""
        if self._train_when == "always":
            return
        hours = TrainingHours(self.schedule.markets())
        if hours.always_open:
            names = ", ".join(hours.always_open)
            text = f'training.when is "closed", but {names} never closes: it is not waited for'
            self.log("warning", text, {})

        def look() -> None:
            held = hours.must_wait(self.now_ns)
            self.commands.append(HoldTraining(held))
            self.log("info", "training waits for the close" if held else "training may run", {})

        # It leads: what is due at the open must find training held, and at the close let go.
        self.schedule.agenda.lead(ScheduledEvent("training hours", hours.next_look, look))
        if self.now_ns and hours.must_wait(self.now_ns):  # before what initialize asked to train
            self.commands.insert(0, HoldTraining(True))

    def know(self, slot: ModelSlot) -> None:
        """Take note of a slot of the strategy.

        Raises:
            StrategyError: another one has its name.
        """
        if self.slots.setdefault(slot.name, slot) is not slot:
            raise StrategyError(
                f"two slots are named {slot.name!r}: a name stands for one model in logs, commands "
                "and storage",
                "",
            )

    def log(self, level: str, message: str, fields: Mapping[str, object]) -> None:
        """Write a line; inside of a job in its own thread it is the job's, and comes at once."""
        job = CURRENT_JOB.get()
        if job is not None:
            job.say(level, message, fields)
            return
        self.commands.append(Log(level, message, dict(fields)))

    def stop(self) -> None:
        """Refuse every order from now on, and take back what has not left yet."""
        self.commands = self.ordering.refuse(self.commands)

    def quit(self, reason: str) -> None:
        """End the run in order."""
        self.has_quit = True
        self.commands.append(Stop(str(reason)))

    # ---- inside ------------------------------------------------------------------------------

    def emit(self, command: Command) -> None:
        """Have a command carried out after this callback."""
        self.commands.append(command)

    def _these(self, symbol: Symbol | None) -> list[Symbol]:
        return list(self.securities) if symbol is None else [symbol]

    def _line(self, symbol: Symbol) -> SymbolLine:
        if symbol not in self.lines:
            known = ", ".join(self.lines) or "none"
            raise StrategyError(f"{symbol} was not added in initialize (added: {known})", "")
        return self.lines[symbol]

    def _in_reach(self, symbol: Symbol, window: _Window, count: int) -> _Window:
        """Leave out what a training job may not see, and say where it would have seen more."""
        if self.job_reach is None or CURRENT_JOB.get() is None or not len(window):
            return window
        oldest = self.now_ns - self.job_reach
        is_cut = count > self._history <= len(window) and window.time[0] > oldest
        if is_cut and symbol not in self._short:
            self._short.add(symbol)
            about = {
                "symbol": symbol,
                "rows": len(window),
                "from": in_zone(int(window.time[0]), UTC),
            }
            text = "the history is shorter than what is to be trained on: raise engine.history"
            self.log("warning", text, about)
        return window.since(oldest)

    def _only_in_initialize(self, what: str) -> None:
        if not self.is_initializing:
            raise StrategyError(f"{what}: only initialize may do that", "")


def _currency(name: str, what: str) -> str:
    """Return a currency by its name.

    Raises:
        StrategyError: it is no name of one.
    """
    if not is_currency(name):
        raise StrategyError(f"{what}({name!r}): a currency is needed, such as EUR", "initialize")
    return currency_named(name)
