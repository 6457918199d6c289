"""Starts what the queue allows, has it run, and applies what comes back, all on one event loop.

The queue decides what may start, the quota what may go on, an isolation how it runs, the slot what
serves. A training that fails, in whatever way, is an update and never the end of the run; only the
policy "stop" ends it, by QuotaExhausted from `run`.
"""

import asyncio
import contextlib
import inspect
import itertools
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import anyio
import msgspec
from anyio.abc import TaskGroup

import runtime.training.waiting  # noqa: F401  # puts in place how tasks wait for readiness
from runtime.callbacks import Overtime
from runtime.errors import ConfigError, QuotaExhausted, StrategyError
from runtime.training.control import JobControl, TrainingControl
from runtime.training.isolation.base import Isolation, JobResult, execute
from runtime.training.jobs import Job, JobEvent, JobId, JobRequest, JobState, TrainingHandle
from runtime.training.queue import Outcome, Switch, TrainingQueue
from runtime.training.quota import TrainingClock, TrainingQuota
from runtime.training.readiness import ReadinessCause
from runtime.training.reporting import OnUpdate, Reporter
from runtime.training.slots import ModelSlot, Published
from runtime.training.supervision import Ending, JobRun, TrainingRules
from runtime.training.updates import TrainingStatistics
from runtime.training.updates import TrainingUpdateKind as Kind

ENDINGS = {
    JobState.SUCCEEDED: Kind.FINISHED,
    JobState.FAILED: Kind.FAILED,
    JobState.CANCELLED: Kind.CANCELLED,
    JobState.OUT_OF_QUOTA: Kind.OUT_OF_QUOTA,
    JobState.ABANDONED: Kind.ABANDONED,
}
PASSING = (KeyboardInterrupt, Overtime)
"""What a job that runs inline does not answer for: it ends whoever called."""


HoldBack = Callable[[float, Callable[[], None]], bool]
OnResult = Callable[[JobResult], Awaitable[Callable[[], None]]]
OnMade = Callable[[ModelSlot, Published, JobResult], Awaitable[None]]


class TrainingManager:
    """All training of one run. Every method belongs to the event loop's thread.

    Args:
        queue: what may start next.
        quota: the minutes.
        isolations: the ways to run a job, by the name a request asks for.
        clock: what jobs are timed by: real time, also in a replay.
        on_update: told everything that happens, on the loop; it must be short and not raise.
        rules: billing and limits.
        engine_time: stamps models and updates, ns UTC; default the clock.
        on_inline_minute: told of each minute granted to a job that runs inline, as its length in
            ns, in the thread that settles it: what the job holds up may take so much longer.
    """

    def __init__(
        self,
        queue: TrainingQueue,
        quota: TrainingQuota,
        isolations: Mapping[str, Isolation],
        clock: TrainingClock,
        on_update: OnUpdate,
        *,
        rules: TrainingRules | None = None,
        engine_time: Callable[[], int] | None = None,
        on_inline_minute: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.on_made: OnMade | None = None
        """Awaited, in bounded time, with what is about to serve, before it does."""
        self.on_result: OnResult | None = None
        """Awaited, in bounded time, with what a job came to; what it returns is called when the
        attributes that the job has assigned are about to become true."""
        self.hold_back: HoldBack = lambda _elapsed, _finish: False
        """Asked of each job that ran inline, with its seconds; True keeps its end for later."""
        self.control = TrainingControl(lambda: queue.is_on, self.statistics)
        self._queue = queue
        self._quota = quota
        self._isolations = isolations
        self._clock = clock
        self._rules = rules or TrainingRules()
        self._engine_time = engine_time or clock.now
        self._on_inline_minute = on_inline_minute
        self._inline: JobRun | None = None
        self._known: dict[tuple[str, str], JobRequest] = {}
        self._again = itertools.count(1)
        self._jobs: dict[JobId, Job] = {}
        self._runs: dict[JobId, JobRun] = {}
        self._before_commit: dict[JobId, Callable[[], None]] = {}
        self._report = Reporter(
            queue=queue,
            quota=quota,
            isolations=isolations,
            runs=self._runs,
            engine_time=self._engine_time,
            on_update=on_update,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: TaskGroup | None = None
        self._is_closing = False
        self._fatal: QuotaExhausted | None = None
        self._closed = anyio.Event()
        self._changed = anyio.Event()

    # ---- asked of it -------------------------------------------------------------------------

    def register(self, request: JobRequest) -> None:
        """Let `train_now` know a method, by name and slot, before it is first submitted.

        Raises:
            ConfigError: no such isolation, or a coroutine function, which no thread can run.
        """
        if request.isolation not in self._isolations:
            raise ConfigError(
                f"training {request.name!r} asks for isolation {request.isolation!r}: "
                f"allowed are {', '.join(self._isolations)}"
            )
        if inspect.iscoroutinefunction(request.method):
            raise ConfigError(
                f"training {request.name!r} is a coroutine function: it runs beside the event "
                "loop, so write it with a plain def"
            )
        self._known[request.name, request.slot.name if request.slot else ""] = request

    def submit(self, request: JobRequest, handle: TrainingHandle | None = None) -> TrainingHandle:
        """Queue a request, start it if it may, and return its handle (or bind the one given).

        After `close` the job is cancelled at once.

        Raises:
            ConfigError: as `register`.
        """
        handle = handle or TrainingHandle(request)
        self._enqueue(request, handle)
        self._pump()
        return handle

    def run_inline(self, request: JobRequest, handle: TrainingHandle | None = None) -> Job:
        """Run a request here and now, for a backtest: the same rules, without a loop.

        The bill is settled at the end, and by whoever calls `settle_inline` meanwhile; a time limit
        cannot be kept. Where training is off, or the
        method itself asked for its next run, the job stays queued until something else runs.

        Raises:
            QuotaExhausted: a minute was refused and the policy is "stop".
            ConfigError: as `register`.
        """
        job = self._enqueue(request, handle or TrainingHandle(request))
        self.run_waiting_inline()
        return job

    def run_waiting_inline(self) -> None:
        """Run here and now what waits and may start; raises as `run_inline`."""
        while (taken := self._queue.take()) is not None:
            run = self._inline = self._begin(taken)
            try:
                ending = run.judge(execute(taken, run.control, PASSING))
                run.tell_taken()
            except PASSING as error:
                why = "interrupted from the keyboard"
                if isinstance(error, Overtime):
                    why = f"its callback {error}"
                self._finish(run, Ending(JobEvent.CANCEL, why))
                raise
            finally:
                self._inline = None
            if not self.hold_back(run.elapsed, partial(self._finish_late, run, ending)):
                self._finish_inline(run, ending)

    def hold_until_steps(self) -> None:
        """Let nothing start by itself: what is asked for waits until `train_step`."""
        self._queue.admit()

    def train_step(self, by: str) -> None:
        """Run here and now every known method and what waits; raises as `run_inline`."""
        self.train_now(by)
        self._queue.admit()
        self.run_waiting_inline()

    def _finish_inline(self, run: JobRun, ending: Ending) -> None:
        self._finish(run, ending, self._bundle(run.job, ending))
        if self._fatal is not None:
            raise self._fatal

    def _finish_late(self, run: JobRun, ending: Ending) -> None:
        """Publish what was held back; its method counted as running until then, as live."""
        self._finish_inline(run, ending)
        self.run_waiting_inline()

    def settle_inline(self) -> None:
        """Take the minutes that the job running inline owes by now; safe in any thread."""
        run = self._inline
        if run is not None:
            run.bill()
            run.tell_taken()

    def train_now(self, by: str) -> list[TrainingHandle]:
        """Submit every known method, as `by` (a person, a signal) asked; return the handles."""
        handles = []
        for known in list(self._known.values()):
            again = JobId(f"{known.name}-{by}-{next(self._again)}")
            request = msgspec.structs.replace(known, id=again, requested=self._engine_time())
            handles.append(self.submit(request))
        return handles

    def cancel(self, job: str) -> bool:
        """Cancel the jobs of this id, or of the method of this name; False where there are none."""
        found = [
            each for each in self._jobs.values() if job in {each.request.id, each.request.name}
        ]
        for each in found:
            self._cancel(each)
        return bool(found)

    def toggle(self, by: str) -> Switch:
        """Switch training off or on, whichever it is not."""
        return self.switch(not self._queue.is_on, by)

    def switch(self, on: bool, by: str) -> Switch:
        """Switch training on or off, as `by` asked, and return what changed.

        Off: nothing starts; a running job is frozen where its isolation can, else asked to stop.
        On: what waits starts. It stays off while too many threads are left behind.
        """
        text, left = "", self._report.abandoned()
        if on and len(left) >= self._rules.abandon_limit:
            on, text = False, f"left behind and still running: {', '.join(left)}"
        could_start = self._queue.may_start
        change = self._queue.switch(on)
        self._report.toggled(by, text)
        self._follow(could_start, "training was switched off")
        return change

    def hold(self, held: bool) -> None:
        """Let training wait while a market is open, by the rules of `switch`; or let it go on."""
        could_start = self._queue.may_start
        self._queue.is_held = held
        self._follow(could_start, "the market has opened")

    @property
    def available(self) -> int:
        """How many minutes the quota has left."""
        return self._quota.available

    def statistics(self) -> TrainingStatistics:
        """Return a snapshot."""
        return self._report.statistics()

    # ---- its life ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Run jobs until `close`; being cancelled gives the running ones up.

        Raises:
            QuotaExhausted: a minute was refused and the policy is "stop".
        """
        self._loop = asyncio.get_running_loop()
        for way in self._isolations.values():
            way.make_ready()
        try:
            async with anyio.create_task_group() as self._tasks:
                self._pump()
                await self._closed.wait()
                self._is_closing = True
                self._tasks.cancel_scope.cancel()
        finally:
            self._is_closing, self._tasks = True, None
            self._drop_queued()
            with anyio.CancelScope(shield=True):  # bounded: what does not end in time is killed
                for way in self._isolations.values():
                    await way.close()
        if self._fatal is not None:
            raise self._fatal

    async def idle(self) -> None:
        """Return when nothing runs and nothing may start."""
        while not self._queue.is_idle:
            await self._changed.wait()

    async def close(self, grace_ns: int) -> tuple[str, ...]:
        """Cancel everything, wait up to `grace_ns` for it, and end `run`.

        Returns:
            The names of jobs left behind whose threads still run: the process need not wait for
            them, but the interpreter's own shutdown may not be clean while they do.
        """
        self._is_closing = True
        self._drop_queued()
        for run in list(self._runs.values()):
            run.stop(JobEvent.CANCEL, "the run is ending", grace_ns)
        await self.idle()
        self._closed.set()
        return self._report.abandoned()

    # ---- inside ------------------------------------------------------------------------------

    def _follow(self, could_start: bool, why: str) -> None:
        """Hold what runs, or carry on, where it has changed whether anything may start."""
        may_start = self._queue.may_start
        if may_start != could_start:
            for run in list(self._runs.values()):
                run.carry_on() if may_start else run.hold(why)
        for request in self._queue.queued:
            self._jobs[request.id].tell_waiting(self._waits_for())
        self._pump()
        self._notify()

    def _enqueue(self, request: JobRequest, handle: TrainingHandle) -> Job:
        self.register(request)
        job = Job(request)
        refusal = self._refusal(request)
        if refusal:
            handle.bind(job, lambda: None)
            self._drop(job, refusal)
            return job
        offer = self._queue.offer(request)
        if offer.outcome is Outcome.QUEUED:
            self._jobs[request.id] = job
            self._report.tell(Kind.QUEUED, job)
        else:
            job = self._jobs[offer.request.id]
            self._report.tell(Kind.COALESCED, job, f"{request.id} is served by {offer.request.id}")
        handle.bind(job, lambda: self._cancel(job), lambda pause: self._pause(job, pause))
        job.tell_waiting(self._waits_for())
        if handle.wants_cancel:
            self._cancel(job)
        return job

    def _refusal(self, request: JobRequest) -> str:
        """Say why a request is not even queued, or ""."""
        if self._is_closing:
            return "training has ended"
        if request.slot is not None and request.slot.deployed:
            return f"slot {request.slot.name!r} serves {request.slot.deployed}: it is not trained"
        return ""

    def _pump(self) -> None:
        """Start what may start; before `run` and after its end nothing does."""
        while self._tasks is not None and not self._is_closing:
            request = self._queue.take()
            if request is None:
                return
            self._tasks.start_soon(self._supervise, self._begin(request))

    def _begin(self, request: JobRequest) -> JobRun:
        def on_news() -> None:
            if self._loop is None:
                self._take_news(run)
            else:
                with contextlib.suppress(RuntimeError):  # the loop has closed: nobody listens
                    self._loop.call_soon_threadsafe(self._take_news, run)

        job = self._jobs[request.id]
        run = JobRun(
            job,
            isolation=self._isolations[request.isolation],
            control=JobControl(on_news, self._clock.now),
            quota=self._quota,
            clock=self._clock,
            rules=self._rules,
            tell=self._tell,
        )
        self._runs[request.id] = run
        job.advance(JobEvent.START)
        job.started = self._engine_time()
        job.tell_training()
        self._report.tell(Kind.STARTED, job)
        return run

    def _tell(self, run: JobRun, kind: Kind, text: str) -> None:
        if kind is Kind.MINUTE_TAKEN and run is self._inline:
            self._on_inline_minute(self._rules.quantum_ns)
        self._report.tell(kind, run.job, text)

    async def _supervise(self, run: JobRun) -> None:
        try:
            ending = await run.run()
            bundle = await self._keep(run.job, ending)
        except anyio.get_cancelled_exc_class():
            self._is_closing = True  # `run` itself is being cancelled: start nothing more
            self._finish(run, run.judge(None))
            raise
        self._finish(run, ending, bundle)

    async def _keep(self, job: Job, ending: Ending) -> Published | None:
        """Have the model stored before it serves: what has served is there after a restart."""
        bundle = self._bundle(job, ending)
        slot, result = job.request.slot, ending.result
        if self.on_made is not None and bundle and slot and result:
            await self.on_made(slot, bundle, result)
        if self.on_result is not None and result and result.commit is not None:
            self._before_commit[job.request.id] = await self.on_result(result)
        return bundle

    def _bundle(self, job: Job, ending: Ending) -> Published | None:
        """Number what a run has made, where it is to serve."""
        slot, result = job.request.slot, ending.result
        if slot is None or result is None or ending.event is not JobEvent.SUCCEED:
            return None
        if not result.accepted:
            return None
        return slot.prepare(
            result.value,
            job.request.id,
            self._engine_time(),
            result.metrics,
            name=job.request.name,
            data_until=result.data_until,
        )

    def _finish(self, run: JobRun, ending: Ending, bundle: Published | None = None) -> None:
        """Apply what a run came to, and make room for the next one."""
        run.control.end()
        self._take_news(run)
        job = run.job
        if job.state is JobState.PAUSED:
            job.advance(JobEvent.RESUME)
        job.error = ending.error
        if ending.result is not None:
            job.traceback = ending.result.traceback
        if ending.event is JobEvent.FAIL and self._retry(job):
            return
        job.advance(ending.event)
        job.finished = self._engine_time()
        if job.state is JobState.SUCCEEDED:
            self._apply(job, ending, bundle)
        else:
            job.tell_ended()
        self._report.tell(ENDINGS[job.state], job, job.error)
        self._forget(job)
        self._queue.finish(job.request.id)
        if job.state is JobState.OUT_OF_QUOTA and self._rules.policy == "stop":
            self._fatal, self._is_closing = QuotaExhausted(job.error), True
            self._closed.set()
        elif job.state is JobState.ABANDONED and self._queue.is_on:
            left = self._report.abandoned()
            if len(left) >= self._rules.abandon_limit:
                self.switch(on=False, by=f"limit of {self._rules.abandon_limit} abandoned jobs")
        self._pump()
        self._notify()

    def _retry(self, job: Job) -> bool:
        """Queue a job that failed again, behind what waits already; whether it was.

        Where the same training is pending by itself, that run is the retry.
        """
        request = job.request
        if self._is_closing or job.retried >= request.retries:
            return False
        if not self._queue.requeue(request.id):
            return False
        job.retried += 1
        job.advance(JobEvent.RETRY)
        job.tell_retrying()
        self._report.tell(
            Kind.RETRYING, job, f"run {job.retried} of {request.retries + 1} failed: {job.error}"
        )
        self._runs.pop(request.id)
        self._pump()
        self._notify()
        return True

    def _apply(self, job: Job, ending: Ending, bundle: Published | None) -> None:
        slot, result = job.request.slot, ending.result
        if result is not None and result.commit is not None and result.accepted:
            self._before_commit.pop(job.request.id, lambda: None)()
            result.commit()
        if slot is None or result is None:
            job.tell_done()
        elif bundle is not None:
            job.version = bundle.version
            replaced: list[object] = [slot.previous]
            if slot.serve(bundle):
                self._report.tell(Kind.MODEL_PUBLISHED, job, slot.name, metrics=result.metrics)
                if result.let_go is not None:
                    result.let_go(replaced)
            else:  # one that was asked for later was done sooner
                text = f"{slot.name}: version {slot.version} is newer, and serves already"
                self._report.tell(Kind.MODEL_REJECTED, job, text, metrics=result.metrics)
        else:
            slot.readiness.not_yet(ReadinessCause.REJECTED)
            self._report.tell(Kind.MODEL_REJECTED, job, slot.name, metrics=result.metrics)

    def _waits_for(self) -> ReadinessCause:
        if not self._queue.is_on:
            return ReadinessCause.OFF
        return ReadinessCause.MARKET_OPEN if self._queue.is_held else ReadinessCause.QUEUED

    def _cancel(self, job: Job) -> None:
        if self._queue.withdraw(job.request.id):
            self._drop(job, "cancelled before it started")
            self._notify()
        elif (run := self._runs.get(job.request.id)) is not None:
            run.stop(JobEvent.CANCEL, "cancelled")

    def _pause(self, job: Job, pause: bool) -> None:
        run = self._runs.get(job.request.id)
        if run is None:
            return
        if not pause:
            run.resume()
        elif not run.pause():
            raise StrategyError(
                f"training {job.request.name!r} runs in a {job.request.isolation}, which cannot be "
                'paused: give it isolation="process"',
                "",
            )

    def _drop_queued(self) -> None:
        for request in self._queue.queued:
            self._queue.withdraw(request.id)
            self._drop(self._jobs[request.id], "the run is ending")
        self._notify()

    def _drop(self, job: Job, reason: str) -> None:
        """End a job that has not started."""
        job.advance(JobEvent.CANCEL)
        job.finished, job.error = self._engine_time(), reason
        job.tell_ended()
        self._report.tell(Kind.CANCELLED, job, reason)
        self._forget(job)

    def _forget(self, job: Job) -> None:
        self._report.count(job)
        self._jobs.pop(job.request.id, None)
        self._runs.pop(job.request.id, None)
        self._before_commit.pop(job.request.id, None)

    def _take_news(self, run: JobRun) -> None:
        news = run.control.take()
        if run.job.request.id not in self._runs:
            return  # it has ended: what a thread left behind still says is not its job's word
        for line in news.lines:
            self._report.said(run.job, line)
        if news.progress is not None:
            self._report.tell(
                Kind.PROGRESS, run.job, news.progress.text, fraction=news.progress.fraction
            )

    def _notify(self) -> None:
        """Wake who waits in `idle` to look again."""
        self._changed.set()
        self._changed = anyio.Event()
