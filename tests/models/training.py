"""The slow obvious training: it goes from second to second, and looks at every job in each.

Two methods: "left" can be frozen and killed, "right" can be neither and is left behind.
"""

from tests.models.bucket import SlowBucket

SECOND = 1_000_000_000


class SlowJob:
    def __init__(self, side: str, retries: int) -> None:
        self.side = side
        self.retries = retries
        self.state = "queued"
        self.spent = 0
        self.begin()

    def begin(self) -> None:
        self.ran = 0
        self.paid = 0
        self.verdict = ""
        self.give_up_at = 0

    @property
    def owed(self) -> int:
        """The first minute is free, then one for each that begins."""
        return self.ran // 60


class SlowTraining:
    workers = 2
    timeout = 150
    stop_grace = 5
    abandon_limit = 2

    def __init__(self, capacity: int, refill: int, interval: int) -> None:
        self.now = 0
        self.bucket = SlowBucket(capacity, refill, interval * SECOND, 0)
        self.on = True
        self.held = False
        self.queued: list[SlowJob] = []
        self.running: list[SlowJob] = []
        self.stopping: list[SlowJob] = []
        self.left_behind = 0
        self.known: dict[str, int] = {}
        self.serving = {"left": [0], "right": [0]}  # what serves last, before it what did before
        self.highest = {"left": 0, "right": 0}

    # ---- asked of it

    def submit(self, side: str, retries: int) -> SlowJob:
        self.known[side] = retries
        job = self._offer(SlowJob(side, retries))
        self._start()
        return job

    def train_now(self) -> list[SlowJob]:
        return [self.submit(side, retries) for side, retries in list(self.known.items())]

    def cancel(self, job: SlowJob) -> None:
        if job in self.queued:
            self.queued.remove(job)
            job.state = "cancelled"
        elif job in self.running:
            self._stop(job, "cancelled")

    def toggle(self) -> None:
        self._may_start(not self.on and self.left_behind < self.abandon_limit, self.held)

    def hold(self, held: bool) -> None:
        self._may_start(self.on, held)

    def drain(self, tokens: int) -> bool:
        return self.bucket.try_consume(tokens, self.now * SECOND)

    def publish(self, side: str) -> None:
        self.highest[side] += 1
        self.serving[side] = [self.serving[side][-1], self.highest[side]]

    def roll_back(self, side: str) -> bool:
        if len(self.serving[side]) < 2 or self.serving[side][0] == 0:
            return False
        self.serving[side].pop()
        return True

    def end(self, side: str, sound: bool) -> None:
        """The method returns (or raises) by itself."""
        (job,) = [one for one in self.running if one.side == side]
        self._ended(job, job.verdict or ("succeeded" if sound else "failed"))

    def second(self) -> None:
        self.now += 1
        for job in list(self.running):
            if job.state == "running":
                job.ran += 1
            while not job.verdict and job.owed > job.paid:
                if self.drain(1):
                    job.paid += 1
                    job.spent += 1
                else:
                    self._stop(job, "out of quota")
            if job.ran >= self.timeout:
                self._stop(job, "failed")
        for job in list(self.stopping):
            if job.give_up_at <= self.now:
                self._given_up(job)

    # ---- inside

    def _offer(self, job: SlowJob) -> SlowJob:
        for waiting in self.queued:
            if waiting.side == job.side:
                return waiting
        self.queued.append(job)
        return job

    def _start(self) -> None:
        for job in list(self.queued):
            is_busy = job.side in [one.side for one in self.running]
            if self.on and not self.held and len(self.running) < self.workers and not is_busy:
                self.queued.remove(job)
                self.running.append(job)
                job.begin()
                job.state = "running"

    def _may_start(self, on: bool, held: bool) -> None:
        self.on, self.held = on, held
        for job in self.running:
            if job.side == "left" and not job.verdict:
                job.state = "running" if on and not held else "paused"
        self._start()

    def _stop(self, job: SlowJob, verdict: str) -> None:
        if not job.verdict:
            job.verdict = verdict
            job.state = "running"
            job.give_up_at = self.now + self.stop_grace
            self.stopping.append(job)

    def _given_up(self, job: SlowJob) -> None:
        if job.side == "left":
            self._ended(job, job.verdict)
            return
        self.left_behind += 1
        if self.left_behind >= self.abandon_limit:  # before its place is given to the next
            self.on = False
        self._ended(job, "abandoned")
        self._may_start(self.on, self.held)

    def _ended(self, job: SlowJob, state: str) -> None:
        self.running.remove(job)
        if job in self.stopping:
            self.stopping.remove(job)
        job.state = state
        if state == "succeeded":
            self.publish(job.side)
        elif state == "failed" and job.retries and self._offer(job) is job:
            job.retries -= 1
            job.state = "queued"
        self._start()
