"""What a worker prints becomes lines of the log; what was left out is said now and then."""

import math
import time

from runtime.training.control import JobControl, Line
from runtime.training.isolation.words import Lost

NOTICE_SECONDS = 5.0
"""How often it is said that too much is printed."""
LINE_BYTES = 2000
"""A printed line is cut after so many bytes."""


class Printed:
    """Printed bytes become lines of the log."""

    def __init__(self, control: JobControl) -> None:
        self._control = control
        self._rest = b""
        self._lost = Lost(0, 0)
        self._told = -math.inf  # monotonic seconds

    def take(self, data: bytes) -> None:
        """Take bytes; a line that has not ended waits."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_BYTES:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            self._say(line)

    def lost(self, lost: Lost) -> None:
        """Take note that something is missing at this place, and say so now and then."""
        self._flush()
        self._lost = Lost(self._lost.bytes + lost.bytes, self._lost.lines + lost.lines)
        if time.monotonic() - self._told >= NOTICE_SECONDS:
            self._tell()

    def end(self) -> None:
        """Take the last line as it is, and say what was not said yet."""
        self._flush()
        if self._lost.bytes:
            self._tell()

    def _tell(self) -> None:
        lost, self._lost, self._told = self._lost, Lost(0, 0), time.monotonic()
        self._control.pass_on(
            Line(
                "warning",
                "it printed too much: some was left out",
                {"bytes": lost.bytes, "lines": lost.lines},
            )
        )

    def _flush(self) -> None:
        self._say(self._rest)
        self._rest = b""

    def _say(self, line: bytes) -> None:
        text = line[:LINE_BYTES].decode("utf-8", "replace").rstrip()
        if text:
            self._control.say("info", text, {"printed": True})
