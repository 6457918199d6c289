"""Over an outage history goes out first, then what came since; or the gap that stays."""

from feeds.continuity import Mark
from feeds.events import Event, Gap, Quote, Symbol, Trade
from feeds.outage import HELD_AT_MOST
from feeds.seam import Seam

A, B = Symbol("A/USD"), Symbol("B/USD")


def trade(number: int, symbol: Symbol = A) -> Trade:
    return Trade(symbol, number, number, 1.0, 1.0, str(number))


def lost() -> Seam:
    """A seam whose connection was lost after trade 5, and is back at 20."""
    seam = Seam(10)
    seam.outages.begin(A, Mark("5", 5), "reset", 10)
    assert list(seam.take([trade(11)], 11)) == []  # on an attempt that did not last
    seam.outages.begin(A, Mark("11", 11), "reset again", 12)
    assert seam.outages.marks() == [(A, Mark("5", 5))]
    assert seam.next_wake() is None
    seam.outages.wait(A, 20, 50)
    assert seam.next_wake() == 50
    return seam


def test_history_goes_before_what_came_since_and_others_do_not_wait() -> None:
    seam = lost()
    quote = Quote(A, 21, 21, 1.0, 1.0, 2.0, 1.0)
    passed = seam.take([trade(21), quote, trade(22, B)], 21)
    assert list(passed) == [quote, trade(22, B)]
    assert list(seam.take([trade(7), trade(9)], 22, is_history=True)) == []
    assert seam.conclude(A) == [trade(7), trade(9), trade(11), trade(21)]
    assert (seam.filled, seam.gaps, seam.next_wake()) == (2, 0, None)
    assert list(seam.take([trade(23)], 23)) == [trade(23)]


def test_a_gap_of_the_history_stands_before_what_came_since() -> None:
    seam, gap = lost(), Gap(A, 5, 20, 20, "outage: refused")
    assert list(seam.take([gap], 22, is_history=True)) == []
    assert seam.conclude(A) == [gap, trade(11)]
    assert (seam.filled, seam.gaps) == (0, 1)


def test_a_gap_of_a_book_passes_and_ends_nothing() -> None:
    seam, gap = lost(), Gap(A, 5, 20, 20, "order book: a change was lost")
    assert list(seam.take([gap], 22)) == [gap]
    assert A in seam.outages.open


def test_history_that_does_not_come_in_time_is_told_as_the_gap() -> None:
    seam = lost()
    assert seam.expire(49) == []
    gap, since = seam.expire(50)
    assert isinstance(gap, Gap)
    assert (gap.symbol, gap.start, gap.end) == (A, 5, 20)
    assert since == trade(11)
    assert list(seam.take([trade(30)], 60)) == [trade(30)]


def test_what_waits_is_bounded_and_nothing_waits_at_the_end() -> None:
    seam, out = lost(), list[Event]()
    for number in range(30, 30 + HELD_AT_MOST):
        out += seam.take([trade(number)], 25)
    assert isinstance(out[0], Gap)
    assert len(out) == HELD_AT_MOST + 2
    (gap, since) = lost().drain()
    assert isinstance(gap, Gap)
    assert since == trade(11)


def test_what_nobody_can_be_asked_about_is_let_go_without_a_word() -> None:
    seam = lost()
    assert seam.outages.release(A) == [trade(11)]
    assert (seam.gaps, seam.next_wake()) == (0, None)
