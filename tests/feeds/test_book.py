"""An order book is valid or marked as not, never silently wrong."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.book import CROSSED_NS, Book, BookState, Level
from feeds.events import Quote, Symbol
from tests.models.book import SlowBook

PAIR = Symbol("BTC/USD")
NOW = 1_700_000_000_000_000_000


def level(price: str, size: str) -> Level:
    return Decimal(price), Decimal(size)


BIDS = [level("99.5", "1.0"), level("99.0", "2.50")]
ASKS = [level("100.0", "3"), level("100.50", "4")]


def book(sequence: int | None = None, *, is_whole: bool = True) -> Book:
    made = Book(PAIR)
    assert made.snapshot(BIDS, ASKS, sequence, is_whole=is_whole)
    return made


def test_nothing_is_believed_before_a_snapshot() -> None:
    empty = Book(PAIR)
    assert empty.state is BookState.EMPTY
    assert not empty.update(BIDS, ASKS)
    assert empty.quote(NOW, NOW) is None
    assert empty.bids() == []


def test_top_is_told_once_until_it_changes() -> None:
    it = book()
    assert it.quote(NOW, NOW + 1) == Quote(PAIR, NOW, NOW + 1, 99.5, 1.0, 100.0, 3.0)
    assert it.quote(NOW, NOW) is None
    it.update([level("99.0", "7")], [])
    assert it.quote(NOW, NOW) is None
    it.update([level("99.5", "8")], [])
    assert it.quote(NOW + 5, NOW) == Quote(PAIR, NOW + 5, NOW, 99.5, 8.0, 100.0, 3.0)
    it.update([], [level("100.0", "0")])
    assert it.quote(NOW + 6, NOW) == Quote(PAIR, NOW + 6, NOW, 99.5, 8.0, 100.5, 4.0)
    it.update([level("99.6", "1")], [level("100.4", "2")])
    assert it.quote(NOW + 7, NOW) == Quote(PAIR, NOW + 7, NOW, 99.6, 1.0, 100.4, 2.0)


def test_levels_keep_the_text_of_the_venue() -> None:
    it = book()
    it.update([level("99.00", "2.500")], [])
    assert [(str(price), str(size)) for price, size in it.bids(2)] == [
        ("99.5", "1.0"),
        ("99.00", "2.500"),
    ]
    assert it.asks(1) == [level("100", "3")]
    assert it.bids(0) == it.asks(0) == []


def test_one_price_in_two_spellings_is_one_level() -> None:
    it = book()
    it.update([level("99.500", "0.0000")], [])
    assert it.bids() == [level("99", "2.5")]


def test_last_word_on_a_price_counts() -> None:
    it = book()
    it.update([level("99.7", "1"), level("99.7", "0"), level("99.7", "3")], [])
    assert it.bids(1) == [level("99.7", "3")]


def test_side_without_levels_has_no_quote() -> None:
    it = book()
    it.quote(NOW, NOW)
    it.update([level("99.5", "0"), level("99", "0")], [])
    assert it.is_valid
    assert it.quote(NOW, NOW) is None
    it.update([level("99.5", "1.0")], [])
    assert it.quote(NOW, NOW) == Quote(PAIR, NOW, NOW, 99.5, 1.0, 100.0, 3.0)


@pytest.mark.parametrize(
    "bad",
    [
        level("NaN", "1"),
        level("sNaN", "1"),
        level("1", "NaN"),
        level("1", "sNaN"),
        level("Infinity", "1"),
        level("1", "-Infinity"),
        level("-1", "1"),
        level("0", "1"),
        level("-0.0", "1"),
        level("1", "-0.5"),
        level("1e400", "1"),
        level("1e-400", "1"),
        level("1", "1e999999999"),
        level("1e-999999999", "1"),
        level("1." + "1" * 50, "1"),
        level("1." + "0" * 50, "1"),
    ],
)
def test_impossible_number_makes_the_book_invalid(bad: Level) -> None:
    for bids, asks in ([bad], []), ([], [bad]):
        it = book()
        assert not it.update(bids, asks)
        assert it.state is BookState.INVALID
        assert it.reason
        assert not Book(PAIR).snapshot(bids, asks)


def test_only_a_snapshot_mends_an_invalid_book() -> None:
    it = book(5)
    it.quote(NOW, NOW)
    it.invalidate("the checksum is wrong")
    assert not it.update([], [], 6, 5)
    assert it.quote(NOW + 1, NOW) is None
    gap = it.gap(NOW + 9, NOW + 10)
    assert (gap.symbol, gap.start, gap.end, gap.received) == (PAIR, NOW, NOW + 9, NOW + 10)
    assert gap.reason == "order book: the checksum is wrong"
    assert it.snapshot(BIDS, ASKS, 9)
    assert it.quote(NOW + 11, NOW) is not None
    assert (it.reason, it.sequence) == ("", 9)


def test_sequence_must_go_on_without_a_break() -> None:
    it = book(2**53 + 1)
    assert it.update([], [], 2**53 + 2, follows=2**53 + 1)
    assert not it.update([], [], 2**53 + 5, follows=2**53 + 3)
    assert it.state is BookState.INVALID
    assert str(2**53 + 3) in it.reason


def test_repeated_update_changes_nothing() -> None:
    it = book(5)
    change = [level("99.5", "9")]
    assert it.update(change, [], 6, follows=5)
    assert it.update([level("99.5", "1")], [], 6, follows=5)
    assert it.bids(1) == change


@pytest.mark.parametrize("sequence", [1, 4, 700])
def test_sequence_that_starts_again_is_no_update(sequence: int) -> None:
    it = book(5)
    assert not it.update([], [], sequence, follows=sequence - 1)


def test_crossed_book_is_told_for_a_second_and_then_invalid() -> None:
    it = book()
    it.quote(NOW, NOW)
    it.update([level("100.2", "1")], [])
    assert it.is_crossed
    crossed = it.quote(NOW, NOW)
    assert crossed is not None
    assert not crossed.is_sane
    assert it.quote(NOW, NOW + CROSSED_NS) is None
    assert it.is_valid
    assert it.quote(NOW, NOW + CROSSED_NS + 1) is None
    assert it.state is BookState.INVALID
    assert "100.2" in it.reason


def test_book_that_uncrosses_in_time_stays_valid() -> None:
    it = book()
    it.update([level("100", "1")], [])
    assert it.is_crossed
    it.quote(NOW, NOW)
    it.update([level("100", "0")], [])
    assert not it.is_crossed
    it.quote(NOW, NOW + CROSSED_NS)
    it.update([level("100.0", "1")], [])
    assert it.quote(NOW, NOW + CROSSED_NS + 1) is not None
    assert it.is_valid


def test_levels_beyond_a_partial_snapshot_are_unknown() -> None:
    it = book(is_whole=False)
    it.update([level("98", "1")], [level("101", "1")])
    assert (len(it.bids()), len(it.asks())) == (2, 2)
    assert it.update([], [level("100", "0"), level("100.1", "5")])
    assert not it.update([], [level("100.1", "0"), level("100.5", "0")])
    assert it.state is BookState.INVALID


def test_memory_is_bounded_on_both_sides() -> None:
    it = Book(PAIR, limit=10)
    many = [level(str(n), "1") for n in range(1, 1000)]
    it.snapshot(many, [], is_whole=True)
    assert it.bids() == many[:-11:-1]
    for n in range(1000, 3000):
        it.update([level(str(n), "1")], [level(str(5000 - n), "1")])
    assert (len(it.bids()), len(it.asks())) == (10, 10)


def test_book_of_a_depth_is_cut_to_it() -> None:
    it = Book(PAIR, depth=2)
    it.snapshot(BIDS, ASKS)
    it.update([level("99.7", "1")], [level("99.9", "1")])
    assert it.bids() == [level("99.7", "1"), BIDS[0]]
    assert it.asks() == [level("99.9", "1"), ASKS[0]]
    # The venue tells what comes within the depth, so an empty side is known to be empty.
    assert it.update([level("99.7", "0"), level("99.5", "0")], [])
    assert it.bids() == []


def test_reset_forgets_everything() -> None:
    it = book(5)
    it.reset()
    assert (it.state, it.sequence, it.bids(), it.asks()) == (BookState.EMPTY, None, [], [])


PRICES = st.integers(1, 12).map(Decimal)
SIZES = st.integers(0, 2).map(Decimal)
LEVEL_LISTS = st.lists(st.tuples(PRICES, SIZES), max_size=8)


@given(
    depth=st.none() | st.integers(1, 4),
    limit=st.integers(1, 6),
    is_whole=st.booleans(),
    start=st.tuples(LEVEL_LISTS, LEVEL_LISTS),
    updates=st.lists(st.tuples(LEVEL_LISTS, LEVEL_LISTS), max_size=12),
)
def test_book_agrees_with_a_slow_one(
    depth: int | None,
    limit: int,
    is_whole: bool,
    start: tuple[list[Level], list[Level]],
    updates: list[tuple[list[Level], list[Level]]],
) -> None:
    fast, slow = Book(PAIR, depth, limit), SlowBook(depth, limit)
    assert fast.snapshot(*start, is_whole=is_whole)
    slow.snapshot(*start, is_whole=is_whole)
    for moment, (bids, asks) in enumerate([([], []), *updates]):
        fast.update(bids, asks)
        slow.update(bids, asks)
        assert fast.is_valid == slow.is_valid
        if not fast.is_valid:
            return
        assert fast.bids() == slow.best_bids()
        assert fast.asks() == slow.best_asks()
        quote = fast.quote(NOW + moment, NOW)
        if quote is not None:
            assert (quote.bid, quote.bid_size) == tuple(map(float, slow.best_bids()[0]))
            assert (quote.ask, quote.ask_size) == tuple(map(float, slow.best_asks()[0]))
