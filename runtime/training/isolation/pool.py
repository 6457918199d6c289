"""Workers that wait for jobs: one is kept warm, others are started when they are needed."""

import threading
from collections.abc import Callable

from runtime.training.isolation.anyworker import AnyWorker
from runtime.training.isolation.messages import Prepare
from runtime.training.isolation.session import Session
from runtime.training.isolation.workers import BROKEN, WorkerDied, WorkerLimits

Hire = Callable[[WorkerLimits], AnyWorker]
"""Starts a worker, or raises OSError or WorkerDied."""


class Pool:
    """Workers that wait, and those that are being started; any thread may call."""

    def __init__(self, limits: WorkerLimits, hire: Hire) -> None:
        self._limits = limits
        self._hire = hire
        self._prepare: Prepare | None = None
        self._changed = threading.Condition()  # guards all that follows
        self._idle: list[AnyWorker] = []
        self._starting: list[AnyWorker] = []
        self._pending = 0  # starts in the background that are under way
        self._threads: list[threading.Thread] = []
        self._is_closed = False

    @property
    def is_used(self) -> bool:
        """Whether there was ever a worker."""
        return self._prepare is not None

    def warm(self, prepare: Prepare) -> None:
        """Have a worker ready soon, unless one waits or is on its way."""
        with self._changed:
            self._prepare = prepare
            if self._is_closed or self._idle or self._pending:
                return
            self._pending += 1
            thread = threading.Thread(target=self._warm, name="training worker", daemon=True)
            self._threads = [one for one in self._threads if one.is_alive()] + [thread]
            thread.start()

    def take(self, session: Session, prepare: Prepare) -> AnyWorker:
        """Return a worker that is ready, started if need be.

        Raises:
            WorkerDied: there is none to be had; or the session was killed meanwhile.
        """
        with self._changed:
            self._prepare = prepare
            self._changed.wait_for(
                lambda: self._idle or not self._pending or session.is_killed or self._is_closed
            )
            if session.is_killed or self._is_closed:
                raise WorkerDied("the run is ending")
            waiting, self._idle = self._idle, []
        while waiting:
            worker = waiting.pop()
            if worker.still_lives():
                for other in waiting:
                    self.give_back(other)
                session.use(worker)
                return worker
            worker.bury()
        return self._start(prepare, session.use)

    def give_back(self, worker: AnyWorker) -> None:
        """Keep a worker for the next job."""
        with self._changed:
            if not self._is_closed:
                self._idle.append(worker)
                self._changed.notify_all()
                return
        worker.bury()

    def wake(self) -> None:
        """Have whoever waits for a worker look again."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Bury every worker; blocks until they are dead."""
        with self._changed:
            self._is_closed = True
            idle, self._idle = self._idle, []
            for worker in self._starting:
                worker.tell(b"K")
            threads, self._threads = self._threads, []
            self._changed.notify_all()
        for worker in idle:
            worker.bury()
        for thread in threads:
            thread.join()

    def _warm(self) -> None:
        try:
            assert self._prepare is not None  # noqa: S101  # warm has set it
            worker = self._start(self._prepare, lambda _: None)
        except WorkerDied:
            worker = None  # the next job tries for itself, and says why
        with self._changed:
            self._pending -= 1
            self._changed.notify_all()
        if worker is not None:
            self.give_back(worker)

    def _start(self, prepare: Prepare, use: Callable[[AnyWorker], None]) -> AnyWorker:
        try:
            worker = self._hire(self._limits)
        except OSError as error:
            raise WorkerDied(f"no worker could be started: {error}") from error
        with self._changed:
            self._starting.append(worker)
            if self._is_closed:
                worker.tell(b"K")
        use(worker)
        try:
            worker.prepare(prepare)
        except BROKEN as error:
            worker.bury()
            raise WorkerDied(f"the worker sent what makes no sense: {error}") from error
        except BaseException:
            worker.bury()
            raise
        finally:
            with self._changed:
                self._starting.remove(worker)
        return worker
