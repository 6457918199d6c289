"""How long one callback has gone on, and what is to be done about it.

Time is what passes between two looks while nothing moves: a process that was stopped and goes on
has not used it up. Minutes that the quota grants to training inside a callback are added to its
limit, as LEAN does. Past the limit the callback is interrupted; if it goes on, the process is left.
"""

from enum import Enum

from feeds.events import MINUTE, SECOND

INTERRUPTS = 4
"""Looks at a callback that goes on although it was interrupted, before the process is left."""
AT_ONCE_NS = SECOND // 2


class Verdict(Enum):
    """What a look says must be done."""

    TELL = "tell"
    INTERRUPT = "interrupt"
    LEAVE = "leave"


class Timeslice:
    """The callback that runs now.

    The loop's thread calls `enter`, `leave` and `turned`; a watching thread calls `look`; `extend`
    and `ask_to_stop` come from wherever they come. No call waits for another.

    Args:
        limit_ns: more than this is a fault.
        tell_ns: more than this is worth a line.
        stop_grace_ns: what is left to a callback once the run was asked to stop.
    """

    def __init__(self, limit_ns: int, tell_ns: int, stop_grace_ns: int) -> None:
        self.name: str | None = None
        """The callback that runs now, or None."""
        self.serial = 0
        """Another number means that something has moved."""
        self.stuck_ns = 0
        """How long nothing has moved, as far as was looked."""
        self._limit_ns = limit_ns
        self._tell_ns = tell_ns
        self._stop_grace_ns = stop_grace_ns
        self._granted_ns = 0
        self._stops = 0
        self._seen = -1
        self._since_stop_ns = self._since_second_ns = 0
        self.interrupts = 0
        """How often the callback was to be interrupted."""
        self._told = False

    @property
    def longest_ns(self) -> int:
        """How long a callback may go on at most, with what it was granted and a stop's grace."""
        return self._limit_ns + self._granted_ns + self._stop_grace_ns

    def enter(self, name: str) -> None:
        """A callback begins; what the one before was granted is spent."""
        self.serial += 1
        self._granted_ns = 0
        self.name = name

    def leave(self) -> None:
        """It has ended; once more does no harm."""
        self.name = None
        self.serial += 1

    def turned(self) -> None:
        """The loop has turned: nothing is stuck."""
        self.serial += 1

    def extend(self, span_ns: int) -> None:
        """Grant the callback that runs now this much more."""
        self._granted_ns += span_ns

    def ask_to_stop(self) -> None:
        """The run was asked to stop; the second time it must not wait."""
        self._stops += 1

    def look(self, passed_ns: int) -> Verdict | None:
        """Return what must be done now.

        Args:
            passed_ns: since the last look; not more than a look usually takes.
        """
        serial = self.serial
        if serial != self._seen:
            self._seen = serial
            self.stuck_ns = self._since_stop_ns = self._since_second_ns = self.interrupts = 0
            self._told = False
            return None
        self.stuck_ns += passed_ns
        if self._stops > 0:
            self._since_stop_ns += passed_ns
        if self._stops > 1:
            self._since_second_ns += passed_ns
            patience = AT_ONCE_NS if self.name is not None else 4 * AT_ONCE_NS
            if self._since_second_ns >= patience:
                return Verdict.LEAVE
        if self._is_over():
            if self.name is None or self.interrupts == INTERRUPTS:
                return Verdict.LEAVE
            self.interrupts += 1
            return Verdict.INTERRUPT
        if self.stuck_ns > self._tell_ns and not self._told:
            self._told = True
            return Verdict.TELL
        return None

    def why(self) -> str:
        """Say what it has come to, as what follows the callback's name."""
        if self._stops:
            seconds = (self._since_second_ns or self._since_stop_ns) / SECOND
            again = "the second signal to stop" if self._stops > 1 else "the signal to stop"
            return f"did not return within {seconds:.1f} s of {again}"
        granted = f" and the {self._granted_ns / MINUTE:g} granted to training"
        return (
            f"took longer than {self._limit_ns / MINUTE:g} minutes, the limit of one timeslice "
            f"(engine.timeslice_minutes){granted if self._granted_ns else ''}"
        )

    def _is_over(self) -> bool:
        # Outside of callbacks the loop is our own: slow for want of processor time, and not stuck.
        if self.name is not None and self._since_stop_ns > self._stop_grace_ns:
            return True
        return self.stuck_ns > self._limit_ns + self._granted_ns
