"""How soon something may go out again: at most so many within any span, and not while held back.

A sliding window, not a bucket: a bucket that was full lets nearly twice the rate through at once,
and a venue that counts by the second bans for that. Told the time in ns by any steady clock.
"""

from collections import deque
from email.utils import parsedate_to_datetime

from feeds.events import SECOND
from feeds.protocols.base import Rate


class Pacer:
    """Keeps to one Rate, whoever asks; `hold` is for a venue that says to stay away."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._gone: deque[int] = deque(maxlen=rate.count)
        self._held_until = 0

    def wait(self, now: int) -> int:
        """Return the ns until one more may go; 0 is now."""
        free = self._held_until
        if len(self._gone) == self._rate.count:
            free = max(free, self._gone[0] + self._rate.span)
        return max(0, free - now)

    def take(self, now: int) -> None:
        """Count one that goes now."""
        self._gone.append(now)

    def hold(self, until: int) -> None:
        """Let nothing go before `until`."""
        self._held_until = max(self._held_until, until)


def retry_after(text: str | None, now: int) -> int:
    """Return the ns that a Retry-After header asks to wait; 0 where it says nothing readable.

    Args:
        text: seconds, or a date of HTTP.
        now: ns since the epoch, UTC.
    """
    if text is None:
        return 0
    text = text.strip()
    if text.isascii() and text.isdigit():
        return (int(text) if len(text) < 10 else 10**9) * SECOND
    try:
        moment = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return 0
    return max(0, int(moment) * SECOND - now)
