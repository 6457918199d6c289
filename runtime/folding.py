"""Trades between two stops are taken at once: nobody is called, so nobody could see them come.

A stop is whatever may call somebody: the end of a bar, an entry of the schedule, a model that comes
to serve, a look at the account, a trade of a symbol with an open order, or of any while the loss of
the day is watched. Before it a trade leaves nothing behind but state (the last price, the open bar,
the history, the pace of its symbol), the same whether trades come one by one or together. At a stop
the moment is told as ever.
"""

from collections.abc import Sequence
from typing import Protocol

from feeds.columns import Span
from feeds.events import MarketEvent, Symbol
from feeds.files.strands import NEVER, Strands
from runtime.engine import Engine


class Shell(Protocol):
    """Who tells the engine what happens, in order of time."""

    @property
    def is_over(self) -> bool:
        """Whether the run ends with the moment that is being told."""
        ...

    @property
    def wanted(self) -> frozenset[Symbol]:
        """The symbols to be told; another object where they are others."""
        ...

    @property
    def next_stop(self) -> int:
        """When it has something to do of its own accord, ns UTC."""
        ...

    def arrive(self, at: int) -> None:
        """Do what is due before the moment `at`, which comes next."""
        ...

    def tell(self, at: int, batch: Sequence[MarketEvent]) -> None:
        """Tell one moment."""
        ...

    def take(self, spans: Sequence[Span]) -> None:
        """Let the broker and the engine have trades that call nobody."""
        ...


def play(strands: Strands, engine: Engine, shell: Shell, end: int | None) -> bool:
    """Tell what comes before `end`, ns UTC, and return whether all of it was in order.

    Where it is not, rows that run back or are no columns come next: the rest of the strands is to
    be told event by event.
    """
    end = NEVER if end is None else end
    while (at := strands.head) < end and not shell.is_over:
        if not strands.pass_others(at + 1):
            return False
        shell.arrive(at)
        until = min(_quiet_until(at, strands, engine, shell), end)
        if until > at:
            shell.take(strands.take(strands.reach(until)))
        else:
            shell.tell(at, [event for span in strands.take(at + 1) for event in span.events()])
        if shell.wanted is not strands.wanted:
            strands.choose(shell.wanted)
    return shell.is_over or strands.pass_others(end)


def _quiet_until(at: int, strands: Strands, engine: Engine, shell: Shell) -> int:
    """Return the first stop that may come after `at`, or `at` where it is one itself."""
    ordering = engine.desk.ordering
    if ordering.watches_equity:
        return at
    if shell.is_over or shell.wanted is not strands.wanted:  # as of now: this moment was on its way
        return at
    until = min(engine.quiet_until(at), shell.next_stop)
    for tracked in ordering.open_orders:
        until = min(until, strands.head_of(tracked.order.symbol))
    return until
