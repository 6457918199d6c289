"""Waits between attempts grow twofold up to a cap, and each is drawn from zero up to that bound.

The draw ("full jitter") keeps many clients from returning in step. The random source is passed in.
Only real data resets the growth: a login that is cut at once would otherwise spin.
"""

from collections.abc import Callable

from feeds.events import SECOND


class Backoff:
    """The delays of one connection.

    `draw` returns a float in [0, 1), as `random.Random().random` does; `base` and `cap` are ns.
    """

    def __init__(
        self, draw: Callable[[], float], base: int = SECOND, cap: int = 30 * SECOND
    ) -> None:
        if not 0 < base <= cap:
            raise ValueError(f"base is {base} and cap {cap}: 0 < base <= cap is needed")
        self._draw, self._base, self._cap = draw, base, cap
        self._bound = base

    @property
    def bound(self) -> int:
        """The longest delay, in ns, that the next failure can bring."""
        return self._bound

    def failed(self) -> int:
        """Count one failure and return the ns to wait before the next attempt."""
        delay = int(self._draw() * self._bound)
        self._bound = min(self._cap, self._bound * 2)
        return delay

    def data_came(self) -> None:
        """Start over: the venue gave real data since the last failure."""
        self._bound = self._base
