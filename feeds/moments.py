"""The moment at which an event was there to be known: its arrival; for a bar, not before its end.

A tape is a sequence of moments; what shares one is told together, and time goes on between them.
"""

from collections.abc import Iterator, Sequence

from feeds.events import Bar, Event, MarketEvent, Quote, QuoteBar, Trade

_TICKS = (Trade, Quote)
_MARKET = (Trade, Quote, Bar, QuoteBar)


def due(event: MarketEvent) -> int:
    """The moment, ns UTC, before which nobody could have known this event."""
    if isinstance(event, _TICKS):
        return event.received
    return max(event.end_time, event.received)


def moments(batch: Sequence[Event]) -> Iterator[tuple[int | None, Sequence[Event]]]:
    """Cut a batch into its moments, in the order that it has.

    What is no market data has no moment of its own: it stays with what came before it, or at the
    head of a batch with what follows. The moment is None where there is nothing else.
    """
    begin = 0
    moment: int | None = None
    for index, event in enumerate(batch):
        if isinstance(event, _MARKET):
            at = due(event)
            if moment is not None and at != moment:
                yield moment, batch[begin:index]
                begin = index
            moment = at
    if begin < len(batch):
        yield moment, batch[begin:]
