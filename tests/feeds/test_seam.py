"""Holes and seams: every trade once and in order, or its number in a Gap that was told."""

from hypothesis import given
from hypothesis import strategies as st

from feeds.continuity import Continuity
from feeds.events import Bar, Event, FeedState, Gap, Quote, Status, Symbol, Trade
from feeds.seam import HELD_AT_MOST, Seam

A, B = Symbol("A/USD"), Symbol("B/USD")
WINDOW = 10


class Line:
    """A stream of numbered trades into continuity and seam, and what comes out."""

    def __init__(self) -> None:
        self.continuity = Continuity()
        self.seam = Seam(WINDOW)
        self.out: list[Event] = []

    def trade(self, number: int, now: int = 0, symbol: Symbol = A) -> None:
        verdict = self.continuity.admit(symbol, number, number, now)
        events: list[Event] = [] if verdict.gap is None else [verdict.gap]
        if verdict.is_new:
            events.append(Trade(symbol, number, now, 1.0, 1.0, str(number)))
        self.out += self.seam.take(events, now)

    def told(self, symbol: Symbol = A) -> list[int | tuple[int, int]]:
        """Trades by number, gaps by their first and last."""
        rows: list[int | tuple[int, int]] = []
        for event in self.out:
            if isinstance(event, Trade) and event.symbol == symbol:
                rows.append(int(event.trade_id))
            elif isinstance(event, Gap) and event.symbol == symbol:
                assert event.first is not None
                assert event.missing is not None
                assert event.start <= event.end
                rows.append((event.first, event.first + event.missing - 1))
        return rows


def quote(at: int) -> Quote:
    return Quote(A, at, at, 1.0, 1.0, 2.0, 1.0)


def test_what_comes_out_of_order_within_the_window_goes_out_in_order() -> None:
    line = Line()
    for number in (1, 2, 5, 3, 6, 4, 7):
        line.trade(number)
    assert line.told() == [1, 2, 3, 4, 5, 6, 7]
    assert (line.seam.gaps, line.seam.filled) == (0, 2)
    assert line.seam.next_wake() is None


def test_what_stays_missing_is_told_between_its_neighbours() -> None:
    line = Line()
    for number in (1, 5, 3, 9):
        line.trade(number)
    assert line.told() == [1]
    assert line.seam.next_wake() == WINDOW
    line.out += line.seam.expire(WINDOW - 1)
    assert line.told() == [1]
    line.out += line.seam.expire(WINDOW)
    assert line.told() == [1, (2, 2), 3, (4, 4), 5, (6, 8), 9]
    (gap, *_) = [event for event in line.out if isinstance(event, Gap)]
    assert (gap.start, gap.end) == (1, 3)
    assert line.seam.gaps == 3


def test_one_symbol_waits_without_the_others() -> None:
    line = Line()
    for number, symbol in ((1, A), (1, B), (3, A), (2, B)):
        line.trade(number, symbol=symbol)
    assert (line.told(A), line.told(B)) == ([1], [1, 2])
    assert line.seam.take([quote(1)], 1) == [quote(1)]


def test_history_on_its_way_is_waited_for() -> None:
    line = Line()
    line.trade(1)
    line.trade(4)
    (gap,) = line.seam.take_unasked()
    assert (gap.symbol, gap.first, gap.missing) == (A, 2, 2)
    assert line.seam.take_unasked() == []
    line.seam.extend(A, 100)
    assert line.seam.expire(WINDOW) == []
    line.trade(2, now=50)
    line.trade(3, now=50)
    assert line.told() == [1, 2, 3, 4]


def test_holes_are_asked_for_again_on_another_connection() -> None:
    line = Line()
    for number, symbol in ((1, A), (4, A), (1, B)):
        line.trade(number, symbol=symbol)
    asked = line.seam.take_unasked()
    line.seam.ask_again()
    assert line.seam.take_unasked() == asked


def test_history_that_has_come_without_it_all_ends_the_wait() -> None:
    line = Line()
    for number in (1, 4, 3):
        line.trade(number)
    line.out += line.seam.conclude(A)
    assert line.told() == [1, (2, 2), 3, 4]
    assert line.seam.conclude(A) == []


def test_a_new_count_is_told_after_what_was_held() -> None:
    line = Line()
    line.trade(10)
    line.trade(12)
    restart = Gap(A, 12, 13, 0, "the numbers went from 12 to 1")
    line.out += line.seam.take([restart], 0)
    assert line.out[-1] is restart
    assert [type(event) for event in line.out] == [Trade, Gap, Trade, Gap]


def test_too_many_held_end_the_wait() -> None:
    line = Line()
    line.trade(1)
    for number in range(3, 3 + HELD_AT_MOST):
        line.trade(number)
    assert line.told()[:3] == [1, (2, 2), 3]
    assert line.seam.next_wake() is None


def test_of_two_connections_one_gives_the_quotes_and_both_the_trades() -> None:
    seam = Seam(WINDOW)
    trade, status = Trade(A, 1, 1, 1.0, 1.0, "1"), Status("f", FeedState.LIVE, 1)
    assert seam.take([quote(1), trade, status], 1, leads=False) == [trade, status]
    assert seam.take([quote(2)], 2) == [quote(2)]


def test_a_bar_over_both_connections_is_told_once() -> None:
    seam = Seam(WINDOW)
    first, second = (Bar(A, at, at, 60, 1.0, 1.0, 1.0, 1.0, 1.0) for at in (0, 60))
    assert seam.take([first], 1) == [first]
    assert seam.take([first, second], 1, leads=False) == [second]
    assert seam.take([second], 1) == []


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(0, 8)), min_size=1, max_size=60),
)
def test_every_number_is_told_once_as_trade_or_gap_or_late(
    steps: list[tuple[int, int]],
) -> None:
    """Any order, any losses, any duplicates, any pauses: nothing twice, nothing unsaid."""
    line, now = Line(), 0
    for number, pause in steps:
        now += pause
        line.out += line.seam.expire(now)
        line.trade(number, now)
    line.out += line.seam.drain()
    rows = line.told()
    trades = [row for row in rows if isinstance(row, int)]
    first, sent = steps[0][0], {number for number, _ in steps}
    assert sorted(trades) == sorted(n for n in sent if n >= first)
    told = [n for row in rows if not isinstance(row, int) for n in range(row[0], row[1] + 1)]
    assert len(told) == len(set(told))
    assert set(trades) | set(told) == set(range(first, max(sent) + 1))
    highest = 0
    for row in rows:  # in order, but for those whose gap had been told before
        number = row if isinstance(row, int) else row[0]
        assert number > highest or number in told
        highest = max(highest, number if isinstance(row, int) else row[1])
    assert line.seam.gaps == len(rows) - len(trades)
