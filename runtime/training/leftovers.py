"""What is no longer needed and made of very many objects goes piece by piece, off the event loop.

To let go of a large structure at once would hold the interpreter until the last object in it is
freed, and with it the loop. Here a thread takes it apart from the outside: only what nobody else
refers to, and a few objects at a time, between which others have their turn.
"""

import queue
import sys
import threading

import msgspec

from runtime.training.isolation.footprint import FOOTPRINT

PIECE = 500
OWN_REFERENCES = 2
"""Of a local variable, and of the call that counts."""


class Leftovers:
    """The thread and what waits for it; it is started with the first thing to let go of."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[list[object]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._is_started = False

    def take(self, values: list[object]) -> None:
        """Let go of the values soon: the list is emptied. Any thread may call."""
        self._waiting.put(values)
        with self._lock:
            if not self._is_started:
                self._is_started = True
                threading.Thread(target=self._work, name="leftovers", daemon=True).start()

    def _work(self) -> None:
        while True:
            pile = self._waiting.get()
            with FOOTPRINT.brisk():
                take_apart(pile)


def take_apart(pile: list[object]) -> None:
    """Free what only the pile refers to, from the outside in; the pile is empty then.

    What others refer to stays as it is.
    """
    while pile:
        value = pile.pop()
        if sys.getrefcount(value) > OWN_REFERENCES:
            continue
        if type(value) is list:
            if value:
                pile.append(value)
                pile += value[-PIECE:]
                del value[-PIECE:]
        elif type(value) is dict:
            if value:
                pile.append(value)
                for _ in range(min(PIECE, len(value))):
                    pile += value.popitem()
        elif type(value) is tuple or type(value) is set or type(value) is frozenset:
            pile += value  # it goes at once, what is in it stays a moment longer
        elif isinstance(value, msgspec.Struct):
            pile += [getattr(value, name) for name in value.__struct_fields__]
        elif hasattr(value, "__dict__") and not isinstance(value, type):
            pile.append(vars(value))


LEFTOVERS = Leftovers()
"""Of this process."""
