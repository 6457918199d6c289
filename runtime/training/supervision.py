"""One running job from its start to its ending: billed, timed, stopped, and at last given up.

Whoever wants the job to end gives a reason; the first one stands, and whatever the method returns
after that is discarded. Asking comes first, a grace follows, then the isolation ends it its way.
Minutes are settled at the end too, so a bill never depends on how busy the event loop was.
"""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal, NamedTuple

import anyio
import msgspec

from feeds.events import MINUTE, SECOND
from runtime.training.control import JobControl
from runtime.training.isolation.base import Isolation, JobResult, failure
from runtime.training.jobs import Job, JobEvent, JobState
from runtime.training.meter import Meter
from runtime.training.quota import TrainingClock, TrainingQuota
from runtime.training.updates import QuotaStatistics, TrainingUpdateKind


class TrainingRules(msgspec.Struct, frozen=True):
    """How jobs are billed and ended; times in ns.

    `policy` says what a refused minute ends: the job (cancel), or the run (stop, LEAN's way).
    `grace_ns` is free, then one token is due for each `quantum_ns` that begins. A job told to stop
    has `stop_grace_ns` for it, one that can be killed `kill_grace_ns`. `timeout_ns` limits a job's
    run time. With `abandon_limit` threads left behind, training switches itself off.
    """

    policy: Literal["cancel", "stop"] = "cancel"
    grace_ns: int = MINUTE
    quantum_ns: int = MINUTE
    stop_grace_ns: int = 5 * SECOND
    kill_grace_ns: int = SECOND
    timeout_ns: int | None = None
    abandon_limit: int = 3


class Ending(NamedTuple):
    """How a run ended; `result` is what may be applied, None where there is nothing to apply."""

    event: JobEvent
    error: str = ""
    result: JobResult | None = None


class Verdict(NamedTuple):
    """Why a job has to end, decided before it did."""

    event: JobEvent
    reason: str


Tell = Callable[["JobRun", TrainingUpdateKind, str], None]


def refused(job: Job, quota: QuotaStatistics) -> str:
    """Say that a minute was refused, with the figures of the job and of the bucket."""
    due = datetime.fromtimestamp(quota.next_refill // SECOND, UTC).isoformat(sep=" ")
    return (
        f"training {job.request.name!r} ({job.request.id}) has spent {job.spent_minutes} minutes "
        f"and was refused another: the bucket holds {quota.available} of {quota.capacity}, "
        f"the next {quota.refill_amount} come at {due}"
    )


class JobRun:
    """A job, its thread of control, and its bill. Used on the event loop, except for `bill`."""

    def __init__(
        self,
        job: Job,
        *,
        isolation: Isolation,
        control: JobControl,
        quota: TrainingQuota,
        clock: TrainingClock,
        rules: TrainingRules,
        tell: Tell,
    ) -> None:
        self.job = job
        self.control = control
        self.isolation = isolation
        self._quota = quota
        self._clock = clock
        self._rules = rules
        self._tell = tell
        self._meter = Meter(clock.now(), rules.grace_ns, rules.quantum_ns)
        own = job.request.timeout_ns
        self._timeout_ns = rules.timeout_ns if own is None else own
        self._billing = threading.Lock()  # a job that runs inline is billed by another thread
        self._verdict: Verdict | None = None
        self._held_because = ""
        self._is_held = self._is_paused = False  # by training as a whole; by the job's author
        self._give_up_at: int | None = None
        self._untold = 0  # minutes that were taken and not told yet
        self._nap: anyio.CancelScope | None = None  # while the watch sleeps

    @property
    def elapsed(self) -> float:
        """Seconds the job has run, without pauses."""
        return self._meter.elapsed(self._clock.now()) / SECOND

    async def run(self) -> Ending:
        """Run the job to its end; an isolation that breaks fails its job and nothing else."""
        result: JobResult | None = None
        if self._verdict is None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch, tasks.cancel_scope)
                try:
                    result = await self.isolation.run(self.job.request, self.control)
                except Exception as error:  # noqa: BLE001  # see the first line
                    result = failure(error, "the isolation broke: ")
                tasks.cancel_scope.cancel()
        ending = self.judge(result)
        await self._settle()
        return ending

    def judge(self, result: JobResult | None) -> Ending:
        """Settle the bill and decide the ending; None is a job that was given up."""
        already = self._verdict
        if already is None and result is not None:
            self.bill()
            if result.error and not self.control.has_noticed:
                return Ending(JobEvent.FAIL, result.error, result)
        if self._verdict is None:
            if result is None:
                return self._given_up(Verdict(JobEvent.CANCEL, "the run has ended"))
            if self.control.has_noticed:
                return Ending(JobEvent.CANCEL, f"stopped early: {self._held_because}")
            return Ending(JobEvent.SUCCEED, "", result)
        if result is None:
            return self._given_up(self._verdict)
        return Ending(self._verdict.event, self._verdict.reason)

    def stop(self, event: JobEvent, reason: str, grace_ns: int | None = None) -> None:
        """Have the job end for this reason, given up after a grace (default: the rules')."""
        grace_ns = self._rules.stop_grace_ns if grace_ns is None else grace_ns
        if self.isolation.kills:
            grace_ns = min(grace_ns, self._rules.kill_grace_ns)
        give_up_at = self._clock.now() + grace_ns
        if self._give_up_at is None or give_up_at < self._give_up_at:
            self._give_up_at = give_up_at
        if self._verdict is None:
            self._verdict = Verdict(event, reason)
            self._thaw()  # a frozen job cannot stop
            self.control.ask_to_stop()
            self._tell(self, TrainingUpdateKind.STOPPING, reason)
        self._look_again()

    def hold(self, why: str) -> None:
        """Training has to wait: freeze the job, or ask it to stop and else let it run out."""
        if self._verdict is not None:
            return
        self._held_because, self._is_held = why, True
        if not self._freeze(why):
            self.control.ask_to_stop()
            self._tell(self, TrainingUpdateKind.STOPPING, why)

    def carry_on(self) -> None:
        """Training may go on: thaw the job, or take the asking back."""
        self._is_held = False
        if self._verdict is None:
            self._thaw_unless_kept()
            self.control.take_back()
            self._look_again()

    def pause(self) -> bool:
        """Freeze the job until `resume`, as its author asked; False where its isolation cannot."""
        self._is_paused = self._verdict is None and self._freeze("as asked")
        return self._is_paused or self._verdict is not None

    def resume(self) -> None:
        """Take the pause of its author back."""
        self._is_paused = False
        self._thaw_unless_kept()
        self._look_again()

    def _freeze(self, why: str) -> bool:
        if self.job.state is JobState.PAUSED:
            return True
        if not self.isolation.pause(self.job.request.id):
            return False
        self._meter.pause(self._clock.now())
        self.job.advance(JobEvent.PAUSE)
        self._tell(self, TrainingUpdateKind.PAUSED, why)
        self._look_again()
        return True

    def _thaw_unless_kept(self) -> None:
        if not (self._is_held or self._is_paused):
            self._thaw()

    def _thaw(self) -> None:
        if self.job.state is JobState.PAUSED:
            self.isolation.resume(self.job.request.id)
            self._meter.resume(self._clock.now())
            self.job.advance(JobEvent.RESUME)
            self._tell(self, TrainingUpdateKind.RESUMED, "")

    def _given_up(self, verdict: Verdict) -> Ending:
        if self.job.request.id not in self.isolation.abandoned():
            return Ending(verdict.event, verdict.reason)
        reason = f"{verdict.reason}; it did not stop when asked, and its thread is left behind"
        return Ending(JobEvent.ABANDON, reason)

    def bill(self) -> None:
        """Take the minutes that are due; the first one refused is a verdict. In any thread."""
        with self._billing:
            now = self._clock.now()
            while self._verdict is None and self._meter.due(now):
                if self._quota.try_consume(1):
                    self._meter.pay()
                    self.job.spent_minutes += 1  # a retry's minutes come on top
                    self._untold += 1
                else:
                    self.stop(JobEvent.EXHAUST, refused(self.job, self._quota.statistics()))

    async def _settle(self) -> None:
        """Tell the minutes that were taken, once they are where a restart finds them."""
        if self._untold:
            await self._quota.settled()
            self.tell_taken()

    def tell_taken(self) -> None:
        """Tell the minutes that were taken and not told yet. In any thread."""
        with self._billing:
            while self._untold:
                self._untold -= 1
                self._tell(self, TrainingUpdateKind.MINUTE_TAKEN, "")

    def _look_again(self) -> None:
        """Have the watch find out anew what it waits for."""
        if self._nap is not None:
            self._nap.cancel()

    async def _watch(self, scope: anyio.CancelScope) -> None:
        """Wake at each moment that matters: a minute, the time limit, the end of the grace.

        The last of these cancels `scope`: the isolation then ends the job its own way.
        """
        while True:
            self.bill()
            await self._settle()
            now = self._clock.now()
            limit = self._timeout_ns
            if limit is not None and self._meter.elapsed(now) >= limit:
                took = (
                    f"{self.job.request.name} ran longer than its limit of {limit / MINUTE:g} min"
                )
                self.stop(JobEvent.FAIL, took)
            if self._give_up_at is not None and self._give_up_at <= now:
                scope.cancel()
                return
            wake = self._next_moment(now)
            with anyio.CancelScope() as self._nap:
                await (anyio.sleep_forever() if wake is None else self._clock.sleep_until(wake))

    def _next_moment(self, now: int) -> int | None:
        if self._give_up_at is not None:
            return self._give_up_at
        wake, limit = self._meter.next_wake(now), self._timeout_ns
        if wake is None or limit is None:
            return wake
        return min(wake, now + limit - self._meter.elapsed(now))
