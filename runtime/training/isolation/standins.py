"""What a strategy finds in a worker in place of the runtime: the run as the job found it.

The past is asked for when it is wanted. Whatever acts (orders, subscriptions, further training) is
refused in one sentence.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

import numpy as np

from feeds.events import AssetClass, Symbol
from runtime.errors import StrategyError
from runtime.history import BarWindow, TickWindow
from runtime.securities import Resolution, Security
from runtime.strategy import Context
from runtime.trading.portfolio import Portfolio
from runtime.training.control import CURRENT_JOB, TrainingControl
from runtime.training.isolation.messages import SecurityState, SlotState, Surroundings
from runtime.training.slots import ModelSlot, Published, Validate
from runtime.training.updates import TrainingStatistics

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Columns = Callable[[str, str, int], list[memoryview]]
"""Asks the runtime: (bars or ticks, symbol, count) -> columns, in the order of the window."""


def surroundings(context: Context) -> Surroundings:
    """Note how a run stands."""
    zone = context.time.tzinfo
    return Surroundings(
        now=context.now_ns,
        zone=zone.key if isinstance(zone, ZoneInfo) else "UTC",
        parameters=dict(context.parameters),
        is_warming_up=context.is_warming_up,
        is_training_on=context.training.is_on,
        securities=tuple(_state(security) for security in context.securities.values()),
    )


def _state(security: Security) -> SecurityState:
    return SecurityState(
        security.symbol,
        security.asset_class.value,
        security.resolution.value,
        security.price,
        security.bid,
        security.ask,
        security.bid_size,
        security.ask_size,
        security.updated,
        security.has_traded,
    )


def _security(state: SecurityState) -> Security:
    security = Security(
        Symbol(state.symbol), AssetClass(state.asset_class), Resolution(state.resolution)
    )
    for name in ("price", "bid", "ask", "bid_size", "ask_size", "updated", "has_traded"):
        setattr(security, name, getattr(state, name))
    return security


def _not_here(what: str) -> StrategyError:
    return StrategyError(
        f"{what} cannot be used in a training that runs in a process of its own: return what was "
        "learned, and act in on_data",
        "train",
    )


class WorkerContext:
    """A strategy's Context in a worker; what it lacks is what acts."""

    def __init__(self, around: Surroundings, portfolio: Portfolio, columns: Columns) -> None:
        self.now_ns = around.now
        self.parameters = around.parameters
        self.is_warming_up = around.is_warming_up
        self.portfolio = portfolio
        self.securities: Mapping[Symbol, Security] = {
            Symbol(state.symbol): _security(state) for state in around.securities
        }
        self.training = TrainingControl(lambda: around.is_training_on, _no_statistics)
        self._zone = ZoneInfo(around.zone)
        self._columns = columns

    @property
    def time(self) -> datetime:
        """Engine time when the job began, in the strategy's zone."""
        return (EPOCH + timedelta(microseconds=self.now_ns // 1000)).astimezone(self._zone)

    def history(self, symbol: Symbol, count: int) -> BarWindow:
        """Return the newest bars, as they are now."""
        return BarWindow(*_typed(BarWindow, self._columns("bars", symbol, count)))

    def tick_history(self, symbol: Symbol, count: int) -> TickWindow:
        """Return the newest ticks, as they are now."""
        return TickWindow(*_typed(TickWindow, self._columns("ticks", symbol, count)))

    def log(self, level: str, message: str, fields: Mapping[str, object]) -> None:
        """Write a line."""
        job = CURRENT_JOB.get()
        if job is not None:
            job.say(level, message, fields)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise _not_here(f"{name!r}")


class Elsewhere:
    """Something of the runtime that the strategy holds, a handle or a schedule, seen from here."""

    def __init__(self, place: int, kind: str) -> None:
        self.place = place
        self.kind = kind

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise _not_here(f"{name!r} of a {self.kind}")

    def __repr__(self) -> str:
        return f"<{self.kind} in the runtime>"


def _typed(window: type[BarWindow | TickWindow], columns: list[memoryview]) -> list[Any]:
    dtypes = {"time": np.dtype(np.int64), "is_trade": np.dtype(np.bool_)}
    floats = np.dtype(np.float64)
    return [
        np.frombuffer(column, dtypes.get(name, floats))
        for name, column in zip(window.__struct_fields__, columns, strict=True)
    ]


def _no_statistics() -> TrainingStatistics:
    raise _not_here("self.training.statistics")


class SlotView(ModelSlot):
    """A slot to read: the model that served when the job began, fetched when it is looked at."""

    def __init__(
        self, state: SlotState, fetch: Callable[[], Published | None], gate: Validate | None
    ) -> None:
        self._state = state
        self._fetch: Callable[[], Published | None] | None = fetch if state.version else None
        self._bundle: Published | None = None
        super().__init__(state.name, gate, storage=state.storage)
        self.is_stored = state.is_stored
        self.has_build = state.has_build
        if state.is_ready:
            self.readiness.ready(state.version)

    @property
    def bundle(self) -> Published | None:
        """What served when the job began."""
        if self._fetch is not None:
            self._bundle, self._fetch = self._fetch(), None
        return self._bundle

    @bundle.setter
    def bundle(self, _: Published | None) -> None:
        """Take nothing: publishing is for the runtime, after the job."""

    @property
    def version(self) -> int:
        """The version that served when the job began."""
        return self._state.version

    def publish(self, *_: object, **__: object) -> NoReturn:
        """Refuse: what the method returns is published."""
        raise _not_here(f"publish of slot {self.name!r}")

    def rollback(self, *_: object, **__: object) -> NoReturn:
        """Refuse."""
        raise _not_here(f"rollback of slot {self.name!r}")
