"""What a strategy author types: `from runtime import Strategy, Resolution, Slice, ModelSlot`."""

from feeds.errors import TidegateError
from feeds.events import (
    Aggressor,
    AssetClass,
    Bar,
    Gap,
    Quote,
    QuoteBar,
    Status,
    Symbol,
    Trade,
)
from runtime.history import BarWindow, RollingWindow, TickWindow
from runtime.indicators import (
    ExponentialMovingAverage,
    RateOfChange,
    RelativeStrengthIndex,
    SimpleMovingAverage,
    StandardDeviation,
)
from runtime.schedule.agenda import ScheduledEvent
from runtime.schedule.dates import FuncDateRule
from runtime.schedule.local_time import DayOfWeek
from runtime.schedule.times import CompositeTimeRule, FuncTimeRule
from runtime.securities import Resolution, Security
from runtime.slices import Slice
from runtime.strategy import Strategy, when_ready
from runtime.trading.orders import OrderEvent, OrderState, OrderType, Side, TimeInForce
from runtime.trading.portfolio import Portfolio, Position
from runtime.trading.tickets import OrderTicket
from runtime.training.jobs import JobState, TrainingHandle
from runtime.training.readiness import Readiness, ReadinessCause
from runtime.training.slots import ModelSlot, Published, TrainedModel

__all__ = [
    # the strategy and what it is given
    "Strategy",
    "when_ready",
    "Slice",
    "Resolution",
    "Security",
    # market data
    "Aggressor",
    "AssetClass",
    "Bar",
    "Gap",
    "Quote",
    "QuoteBar",
    "Status",
    "Symbol",
    "Trade",
    # the past, as arrays and as single figures
    "BarWindow",
    "TickWindow",
    "RollingWindow",
    "ExponentialMovingAverage",
    "RateOfChange",
    "RelativeStrengthIndex",
    "SimpleMovingAverage",
    "StandardDeviation",
    # schedules
    "CompositeTimeRule",
    "DayOfWeek",
    "FuncDateRule",
    "FuncTimeRule",
    "ScheduledEvent",
    # models
    "ModelSlot",
    "Published",
    "TrainedModel",
    "Readiness",
    "ReadinessCause",
    "JobState",
    "TrainingHandle",
    # orders and money
    "OrderEvent",
    "OrderState",
    "OrderTicket",
    "OrderType",
    "Portfolio",
    "Position",
    "Side",
    "TimeInForce",
    # errors
    "TidegateError",
]
