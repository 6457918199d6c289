"""A batch is cut where the moment changes; nothing is lost, moved, or told before it could be."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from feeds.events import SECOND, Event, FeedState, Status
from feeds.moments import due, moments
from tests.stories.market import at, bar, quote_bar, trade


def status(received: int = 0) -> Status:
    return Status("paper", FeedState.LIVE, received)


def test_what_shares_a_moment_stays_together() -> None:
    batch: list[Event] = [trade(1), trade(1), trade(2), bar(1, 1.0), quote_bar(2, 1.0)]
    assert [(moment, len(events)) for moment, events in moments(batch)] == [
        (at(1), 2),
        (at(2), 2),
        (at(3), 1),
    ]


def test_a_bar_counts_from_its_end_however_early_it_is_said_to_have_come() -> None:
    early = bar(0, 60.0)
    assert due(early) == early.time + 60 * SECOND


def test_what_is_no_market_data_has_no_moment() -> None:
    batch: list[Event] = [status(), trade(1), status(), trade(2)]
    assert [(moment, list(events)) for moment, events in moments(batch)] == [
        (at(1), batch[:3]),
        (at(2), batch[3:]),
    ]
    assert list(moments([status()])) == [(None, [status()])]
    assert list(moments([])) == []


@given(st.lists(st.one_of(st.integers(0, 3).map(trade), st.just(status()))))
def test_the_order_is_that_of_the_batch(batch: list[Event]) -> None:
    cut = list(moments(batch))
    assert [event for _, events in cut for event in events] == batch
    times = [moment for moment, _ in cut]
    assert all(one != other for one, other in pairwise(times))
