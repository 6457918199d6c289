"""The account over time: few samples for charts, and what statistics need of all of them.

A sample tells the account as it was after the last moment before it was due, so the last one of a
day is the day's close. Samples are taken each second at first, then rarer, down to one a minute;
from there on the chart halves its own resolution, and the statistics go on with every sample.
"""

from datetime import UTC, tzinfo

from feeds.events import MINUTE, SECOND
from runtime.report.drawdown import Drawdown, Underwater
from runtime.report.sampling import Sampling, end_of_period
from runtime.results import CURVE_SAMPLES, Sample


class AccountCurve:
    """Follows one account.

    Attributes:
        samples: in order of time, for charts; the deepest drawdown is among them once closed.
        closes: the account at the beginning, then at the end of each period that had data.
        due: the time (ns UTC) at which the account as it was until then is worth a sample.
        days: dates that had data.
    """

    def __init__(
        self,
        zone: tzinfo = UTC,
        sampling: Sampling = Sampling.DAY,
        step: int = SECOND,
        most: int = CURVE_SAMPLES,
    ) -> None:
        self.samples: list[Sample] = []
        self.closes: list[Sample] = []
        self.due = 0
        self.days = 0
        self.sampling = sampling
        self._zone, self._step, self._kept_step, self._most = zone, step, step, most
        self._keep_at = self._sample_at = 0
        self._period_end = self._day_end = 0
        self._underwater = Underwater()
        self._worst: tuple[Sample, Sample] | None = None
        self._high: Sample | None = None
        self._weight = self._invested = self._gross = 0.0

    def add(self, sample: Sample, now: int) -> None:
        """Take the account as it was before `now`, the first moment that was due."""
        if now >= self._period_end:
            self.closes.append(sample)
            self._period_end = end_of_period(now, self.sampling, self._zone)
        if now >= self._day_end:
            self.days += 1
            self._day_end = end_of_period(now, Sampling.DAY, self._zone)
        self._measure(sample)
        if now >= self._sample_at:
            self._sample_at = now + self._step
        if sample.time >= self._keep_at:
            self.samples.append(sample)
            self._keep_at = sample.time + self._kept_step
            if len(self.samples) >= self._most:
                self._thin()
        self.due = min(self._sample_at, self._period_end)

    def close(self, sample: Sample) -> None:
        """Take the last sample, whatever its time; it replaces another one of the same moment."""
        self._measure(sample)
        if self.samples and self.samples[-1].time == sample.time:
            self.samples.pop()
        self.samples.append(sample)
        if self._worst is not None:
            times = {kept.time for kept in self.samples}
            self.samples += [each for each in self._worst if each.time not in times]
            self.samples.sort(key=lambda each: each.time)
        self.closes.append(sample)

    def drawdown(self) -> Drawdown:
        """Return the worst drawdown, of all samples that were taken."""
        return self._underwater.worst()

    @property
    def invested(self) -> float | None:
        """The share of the time in which anything was held."""
        return self._invested / self._weight if self._weight else None

    @property
    def gross(self) -> float | None:
        """What was held, shorts counted positive, as a mean share of the equity."""
        return self._gross / self._weight if self._weight else None

    def _measure(self, sample: Sample) -> None:
        if self._high is None or sample.equity >= self._high.equity:
            self._high = sample
        if self._underwater.add(sample.time, sample.equity):
            self._worst = (self._high, sample)
        self._weight += self._step
        if sample.exposure:
            self._invested += self._step
            if sample.equity > 0:
                self._gross += self._step * sample.exposure / sample.equity

    def _thin(self) -> None:
        del self.samples[1::2]
        self._kept_step *= 2
        self._step = min(self._kept_step, max(self._step, MINUTE))
        self._keep_at = self.samples[-1].time + self._kept_step
