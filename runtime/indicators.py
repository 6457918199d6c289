"""Incremental indicators: one number in, one number out, in constant time, LEAN's figures.

`update` takes the newest number and says whether the indicator is ready; before that, `value` is
its best effort over what has come. NaN and infinities are skipped and counted, since an average
would carry them for ever. Rolling sums are taken anew once a period, so rounding never piles up.
"""

import math
from abc import ABC, abstractmethod
from collections import deque
from typing import Self


class Indicator(ABC):
    """What every indicator has.

    Attributes:
        period: how many numbers it looks back over.
        value: the latest figure; 0.0 before the first update.
        samples: how many numbers it was given, the skipped ones not counted.
        skipped: how many were not finite.
        is_ready: whether it was given as many as it needs.

    Raises:
        ValueError: the period is below 1.
    """

    def __init__(self, period: int) -> None:
        if period < 1:
            raise ValueError(f"{type(self).__name__} over {period} numbers: give it 1 or more")
        self.period = period
        self.value = 0.0
        self.samples = 0
        self.skipped = 0
        self.is_ready = False
        self._needed = period

    @property
    def current(self) -> Self:
        """Itself, so that LEAN's `indicator.current.value` reads on."""
        return self

    def update(self, value: float) -> bool:
        """Take the newest number; return whether the indicator is ready."""
        if not math.isfinite(value):
            self.skipped += 1
            return self.is_ready
        self.samples += 1
        self.value = self._next(value)
        self.is_ready = self.samples >= self._needed
        return self.is_ready

    @abstractmethod
    def _next(self, value: float) -> float:
        """Return the new figure; `samples` counts this number already."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.period}) = {self.value} after {self.samples}"


class ExponentialMovingAverage(Indicator):
    """Each update moves the average 2 / (period + 1) of the way to the new number.

    As in LEAN (Indicators/ExponentialMovingAverage.cs) it starts from the mean of the first
    `period` numbers. Until then `value` is the mean of those that came, where LEAN's is 0.
    """

    def __init__(self, period: int) -> None:
        super().__init__(period)
        self._weight = 2.0 / (period + 1)

    def _next(self, value: float) -> float:
        weight = self._weight if self.samples > self.period else 1.0 / self.samples
        return self.value + weight * (value - self.value)


class SimpleMovingAverage(Indicator):
    """The mean of the last `period` numbers, or of all that came if fewer."""

    def __init__(self, period: int) -> None:
        super().__init__(period)
        self._window: deque[float] = deque(maxlen=period)
        self._sum = 0.0

    def _next(self, value: float) -> float:
        leaving = self._window[0] if self.samples > self.period else 0.0
        self._window.append(value)
        if self.samples % self.period:
            self._sum += value - leaving
        else:
            self._sum = math.fsum(self._window)
        return self._sum / len(self._window)


class StandardDeviation(Indicator):
    """The population standard deviation of the last `period` numbers (divided by n, as LEAN's)."""

    def __init__(self, period: int) -> None:
        super().__init__(period)
        self._window: deque[float] = deque(maxlen=period)
        self._mean = 0.0
        self._squares = 0.0

    def _next(self, value: float) -> float:
        window, mean = self._window, self._mean
        leaving = window[0] if self.samples > self.period else None
        window.append(value)
        count = len(window)
        if self.samples % self.period == 0:
            self._mean = math.fsum(window) / count
            self._squares = math.fsum((number - self._mean) ** 2 for number in window)
        elif leaving is None:
            self._mean = mean + (value - mean) / count
            self._squares += (value - mean) * (value - self._mean)
        else:
            self._mean = mean + (value - leaving) / count
            self._squares += (value - leaving) * (value - self._mean + leaving - mean)
        return math.sqrt(max(self._squares, 0.0) / count)


class RelativeStrengthIndex(Indicator):
    """Wilder's RSI, 0 to 100; ready after `period` changes, so `period` + 1 numbers.

    Gains and losses are averaged by Wilder's rule (weight 1 / period, starting from the mean of the
    first `period` changes). 100 where nothing was ever lost, as in LEAN.
    """

    def __init__(self, period: int) -> None:
        super().__init__(period)
        self._needed = period + 1
        self._previous: float | None = None
        self._gain = 0.0
        self._loss = 0.0

    def _next(self, value: float) -> float:
        if self._previous is not None:
            change = value - self._previous
            weight = 1.0 / min(self.samples - 1, self.period)
            self._gain += weight * (max(change, 0.0) - self._gain)
            self._loss += weight * (max(-change, 0.0) - self._loss)
        self._previous = value
        if self._loss == 0.0:
            return 100.0
        return 100.0 * self._gain / (self._gain + self._loss)


class RateOfChange(Indicator):
    """The newest number over the one `period` updates before, minus 1; 0 where that one was 0.

    Ready after `period` + 1 numbers, when it looks back the whole period; LEAN's says so one
    number earlier. Until then it looks back to the first number.
    """

    def __init__(self, period: int) -> None:
        super().__init__(period)
        self._needed = period + 1
        self._window: deque[float] = deque(maxlen=period + 1)

    def _next(self, value: float) -> float:
        self._window.append(value)
        before = self._window[0]
        return value / before - 1.0 if before else 0.0
