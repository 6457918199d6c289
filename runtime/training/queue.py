"""What may start next: first come first served, at most `workers` at once, nothing while off.

A method never runs twice at once and has at most one run pending for the slot it trains into; a
further request is coalesced into that one. So firings that fall due while training is off become
one run when it is on again.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from runtime.training.jobs import JobId, JobRequest


class Outcome(StrEnum):
    """What became of a request."""

    QUEUED = "queued"
    COALESCED = "coalesced"


class Offer(NamedTuple):
    """The outcome, and the request that will serve: the one offered, or the one that pends."""

    outcome: Outcome
    request: JobRequest


class Switch(NamedTuple):
    """What a switch changed: on before, on now."""

    prev: bool
    current: bool


class TrainingQueue:
    """The order of training; it decides, others start.

    Raises:
        ValueError: fewer than one worker.
    """

    def __init__(self, workers: int = 1, *, is_on: bool = True) -> None:
        if workers < 1:
            raise ValueError(f"workers is {workers}: training needs at least 1")
        self.workers = workers
        self.is_on = is_on
        self.is_held = False
        """Whether training waits for a market to close."""
        self._admitted: set[JobId] | None = None
        self._pending: list[JobRequest] = []
        self._running: dict[JobId, JobRequest] = {}

    @property
    def queued(self) -> Sequence[JobRequest]:
        """Pending requests, first to start first."""
        return tuple(self._pending)

    @property
    def running(self) -> Sequence[JobRequest]:
        """Requests taken and not finished."""
        return tuple(self._running.values())

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs and nothing may start; pending requests of an off queue wait."""
        return not self._running and (not self._pending or not self.may_start)

    @property
    def may_start(self) -> bool:
        """Whether it is on, and no market is open that it waits for."""
        return self.is_on and not self.is_held

    def admit(self) -> None:
        """From now on let only that start which waits now; again, and also what has come since."""
        self._admitted = {request.id for request in self._pending}

    def offer(self, request: JobRequest) -> Offer:
        """Queue a request, or coalesce it into the pending run of the same method and slot."""
        for pending in self._pending:
            if pending.method == request.method and pending.slot is request.slot:
                return Offer(Outcome.COALESCED, pending)
        self._pending.append(request)
        return Offer(Outcome.QUEUED, request)

    def take(self) -> JobRequest | None:
        """Return the next request that may start now, counted as running, or None."""
        if not self.may_start or len(self._running) >= self.workers:
            return None
        busy = [running.method for running in self._running.values()]
        for place, request in enumerate(self._pending):
            is_admitted = self._admitted is None or request.id in self._admitted
            if is_admitted and request.method not in busy:
                del self._pending[place]
                self._running[request.id] = request
                return request
        return None

    def finish(self, job: JobId) -> None:
        """Free the place of a running request.

        Raises:
            KeyError: it does not run.
        """
        del self._running[job]

    def requeue(self, job: JobId) -> bool:
        """Put a running request behind those that wait; False where it would be coalesced.

        Raises:
            KeyError: it does not run.
        """
        request = self._running[job]
        if self.offer(request).outcome is Outcome.COALESCED:
            return False
        del self._running[job]
        return True

    def withdraw(self, job: JobId) -> bool:
        """Take a pending request out; False where it does not pend."""
        for place, request in enumerate(self._pending):
            if request.id == job:
                del self._pending[place]
                return True
        return False

    def switch(self, on: bool) -> Switch:
        """Switch on or off and return what changed."""
        change = Switch(self.is_on, on)
        self.is_on = on
        return change
