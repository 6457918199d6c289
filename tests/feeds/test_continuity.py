"""Numbered trades: each once, each hole told, against a model that remembers every number."""

from hypothesis import given
from hypothesis import strategies as st

from feeds.continuity import HOLES_REMEMBERED, IDS_REMEMBERED, LARGEST_GAP, Continuity
from feeds.events import Symbol

A, B = Symbol("A/USD"), Symbol("B/USD")


def admitted(continuity: Continuity, numbers: list[int], symbol: Symbol = A) -> list[int]:
    """The numbers let through, where each trade happened at its number's second."""
    return [n for n in numbers if continuity.admit(symbol, n, n, n).is_new]


@given(st.lists(st.integers(0, 60), min_size=1, max_size=80), st.integers(1, 10**15))
def test_each_number_above_the_first_is_admitted_once(steps: list[int], base: int) -> None:
    """The slow model: all numbers seen, in a set; the highest tells what is missing."""
    numbers = [base + 60 - step for step in steps]
    continuity = Continuity()
    seen: set[int] = set()
    first = numbers[0]
    missing_told = 0
    for number in numbers:
        verdict = continuity.admit(A, number, number, number)
        assert verdict.is_new == (number >= first and number not in seen)
        if verdict.gap is not None:
            assert verdict.gap.missing == number - max(seen) - 1
            assert (verdict.gap.start, verdict.gap.end) == (max(seen), number)
            assert verdict.gap.first == max(seen) + 1
            missing_told += verdict.gap.missing
        if verdict.is_new:
            seen.add(number)
    assert missing_told - continuity.late == max(seen) - first + 1 - len(seen)
    assert continuity.duplicates == len(numbers) - len(seen)


@given(st.lists(st.tuples(st.sampled_from([A, B]), st.integers(1, 20)), max_size=40))
def test_symbols_do_not_disturb_each_other(trades: list[tuple[Symbol, int]]) -> None:
    together, alone = Continuity(), {A: Continuity(), B: Continuity()}
    for symbol, number in trades:
        assert together.admit(symbol, number, number, 0) == alone[symbol].admit(
            symbol, number, number, 0
        )


def test_two_ways_of_counting_do_not_disturb_each_other() -> None:
    continuity = Continuity()
    assert continuity.admit(A, 10, 1, 1, "trade").is_new
    assert continuity.admit(A, 10, 1, 1, "aggTrade").is_new


def test_replayed_overlap_is_dropped() -> None:
    continuity = Continuity()
    assert admitted(continuity, [5, 6, 7, 8]) == [5, 6, 7, 8]
    assert admitted(continuity, [6, 7, 8, 9]) == [9]
    assert (continuity.duplicates, continuity.gaps, continuity.late) == (3, 0, 0)


def test_gap_names_symbol_times_and_count() -> None:
    continuity = Continuity()
    continuity.admit(A, 5, 100, 101)
    gap = continuity.admit(A, 9, 200, 202).gap
    assert gap is not None
    assert (gap.symbol, gap.start, gap.end, gap.received, gap.missing) == (A, 100, 200, 202, 3)
    assert continuity.gaps == 1


def test_gap_never_ends_before_it_starts() -> None:
    """A venue's clock may run back over a jump in its numbers."""
    continuity = Continuity()
    continuity.admit(A, 10, 500, 500)
    gap = continuity.admit(A, 13, 400, 600).gap
    assert gap is not None
    assert (gap.start, gap.end, gap.missing) == (500, 500, 2)


def test_venue_that_counts_from_one_again_is_followed() -> None:
    """A lower number at a later time is no duplicate, which would repeat its time, too."""
    continuity = Continuity()
    assert admitted(continuity, [1000, 1001]) == [1000, 1001]
    verdict = continuity.admit(A, 1, 2000, 2000)
    assert verdict.is_new
    assert verdict.gap is not None
    assert verdict.gap.missing is None
    assert continuity.admit(A, 2, 2001, 2001).gap is None


def test_duplicate_of_a_late_trade_with_the_latest_time_is_a_duplicate() -> None:
    continuity = Continuity()
    times = {5: 100, 7: 101, 6: 102}
    for number, time in times.items():
        assert continuity.admit(A, number, time, 0).is_new
    assert not continuity.admit(A, 6, 102, 0).is_new


def test_absurd_jump_is_another_way_of_counting() -> None:
    continuity = Continuity()
    continuity.admit(A, 1, 1, 1)
    gap = continuity.admit(A, 2 + LARGEST_GAP, 2, 2).gap
    assert gap is not None
    assert gap.missing == LARGEST_GAP
    gap = continuity.admit(A, 2**60, 3, 3).gap
    assert gap is not None
    assert gap.missing is None
    assert not continuity.admit(A, 5, 1, 1).is_new  # the holes of the old way are forgotten


def test_holes_are_bounded() -> None:
    continuity = Continuity()
    for number in range(0, 4 * HOLES_REMEMBERED, 2):
        continuity.admit(A, number, number, 0)
    newest = 4 * HOLES_REMEMBERED - 3
    assert continuity.admit(A, newest, newest, 0).is_new
    assert not continuity.admit(A, 1, 1, 0).is_new


def test_priming_sets_the_start_and_delivers_nothing() -> None:
    continuity = Continuity()
    assert continuity.prime(A, 41, 1, 1) is None
    assert not continuity.admit(A, 41, 1, 1).is_new
    assert continuity.admit(A, 42, 2, 2).gap is None


def test_priming_after_an_outage_tells_what_is_missing() -> None:
    """The primed trade itself was not delivered: it is missing, and welcome if it comes."""
    continuity = Continuity()
    continuity.admit(A, 10, 1, 1)
    gap = continuity.prime(A, 13, 13, 14)
    assert gap is not None
    assert gap.missing == 3
    assert admitted(continuity, [11, 13, 13]) == [11, 13]
    assert continuity.admit(A, 14, 14, 14).gap is None


def test_priming_with_what_is_known_changes_nothing() -> None:
    continuity = Continuity()
    continuity.admit(A, 10, 7, 7)
    assert continuity.prime(A, 10, 7, 8) is None
    gap = continuity.prime(A, 3, 9, 9)
    assert gap is not None
    assert gap.missing is None
    assert continuity.admit(A, 4, 10, 10) == continuity.admit(A, 5, 11, 11)


def test_ids_without_order_are_admitted_once_within_what_is_remembered() -> None:
    continuity = Continuity()
    ids = [f"id-{n}" for n in range(IDS_REMEMBERED)]
    assert [continuity.admit_once(A, i, 0) for i in [*ids, *ids]] == [True] * 1000 + [False] * 1000
    assert continuity.duplicates == 1000
    assert continuity.admit_once(B, ids[0], 0)
    assert continuity.admit_once(A, "id-new", 0)  # the oldest is forgotten
    assert continuity.admit_once(A, ids[0], 0)
