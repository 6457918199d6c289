"""Latency ends where on_data begins, and it is the callback that is slow, not the slice."""

import time

from feeds.events import SECOND
from runtime.control.pace import Pace
from runtime.timeslice import Timeslice

HOUR = 3600 * SECOND


def pace(slow_ms: float = 1e9) -> Pace:
    return Pace(Timeslice(HOUR, HOUR, HOUR), slow_ms)


def test_latency_is_from_the_arrival_of_the_oldest_event_to_on_data() -> None:
    target = pace()
    for name in ("on_order_event", "on_data", "on_data"):
        target.oldest = time.time_ns() - 5 * SECOND
        target.enter(name)
        target.leave()
    latency = target.take_latency()
    assert latency.samples == 2
    assert latency.quantile(0.01) >= 5000
    assert target.take_latency().samples == 0


def test_a_slice_that_no_event_began_has_no_latency() -> None:
    target = pace()
    target.enter("on_data")
    target.leave()
    assert target.take_latency().samples == 0


def test_a_venue_whose_clock_leads_ours_has_no_negative_latency() -> None:
    target = pace()
    target.oldest = time.time_ns() + HOUR
    target.enter("on_data")
    assert target.take_latency().max_ms == 0


def test_slow_callbacks_are_named_once_and_by_their_own_names() -> None:
    target = pace(slow_ms=-1.0)
    for name in ("on_bar", "on_data"):
        target.enter(name)
        target.leave()
        target.leave()
    assert [name for name, _ in target.take_slow()] == ["on_bar", "on_data"]
    assert target.take_slow() == []
