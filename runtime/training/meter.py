"""What a running job owes: nothing in its grace, then one token for each minute it starts.

The caller says what time it is. Paused time is not billed, tokens are never given back, and a
clock that goes back bills nothing.
"""

from feeds.events import MINUTE


class Meter:
    """The bill of one job.

    Args:
        started: when the job began, ns.
        grace_ns: free time at the start; the first token is due when it has passed.
        quantum_ns: length of a billed minute.
    """

    def __init__(self, started: int, grace_ns: int = MINUTE, quantum_ns: int = MINUTE) -> None:
        self.spent = 0
        self._grace_ns = grace_ns
        self._quantum_ns = quantum_ns
        self._before = 0  # run time up to the last pause
        self._since: int | None = started

    @property
    def is_paused(self) -> bool:
        """Whether time passes unbilled."""
        return self._since is None

    def elapsed(self, now: int) -> int:
        """Return how long the job has run, in ns, without its pauses."""
        return self._before + (0 if self._since is None else max(0, now - self._since))

    def due(self, now: int) -> int:
        """Return the tokens to take now: those owed and not yet paid."""
        billable = self.elapsed(now) - self._grace_ns
        owed = 0 if billable < 0 else billable // self._quantum_ns + 1
        return max(0, owed - self.spent)

    def pay(self) -> None:
        """Note that one token was taken."""
        self.spent += 1

    def next_wake(self, now: int) -> int | None:
        """Return when the next token falls due (ns; `now` where one is due), None while paused."""
        if self._since is None:
            return None
        next_bill = self._grace_ns + self.spent * self._quantum_ns
        return now + max(0, next_bill - self.elapsed(now))

    def pause(self, now: int) -> None:
        """Stop billing; a second pause changes nothing."""
        self._before, self._since = self.elapsed(now), None

    def resume(self, now: int) -> None:
        """Bill again from `now` on; a meter that runs goes on as it is."""
        if self._since is None:
            self._since = now
