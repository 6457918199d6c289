"""A block read as columns gives what its rows give one by one: the same trades, the same counts."""

from datetime import date
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.base import Audit
from feeds.columns import TradeColumns
from feeds.events import MarketEvent, Symbol
from feeds.files.lean_columns import read_block
from feeds.files.lean_rows import EquityTrades, RowClock
from feeds.files.lines import split_lines

SPY = Symbol("SPY")
CLOCK = RowClock(date(2013, 11, 3), ZoneInfo("America/New_York"))  # the clocks go back that day

PLAIN = st.tuples(
    st.integers(0, 90_000_000).map(str),
    st.one_of(st.integers(0, 99_999_999).map(str), st.sampled_from(["00012", "1", "123456789"])),
    st.integers(0, 99_999_999).map(str),
    st.sampled_from(["P", "", "é", "Q\r"]),
    st.sampled_from(["20002000", "", "x"]),
    st.sampled_from(["0", "0", "0", "1"]),
)
ODD = st.tuples(
    st.sampled_from(["34200000", "1.5", "", "-1", "9" * 20, "3420000a", "\uff11\uff12"]),
    st.sampled_from(["1674100", "0", "-5", "+7", " 7", "1_000", "/:", "\x00" * 3]),
    st.sampled_from(["100", "-1", "", "1e3"]),
    st.just("P"),
    st.just("0"),
    st.sampled_from(["0", "1", "2", "", "10", "0,", "0\r"]),
)
ROWS = st.lists(PLAIN, min_size=1, max_size=30)


def by_rows(block: bytes) -> tuple[list[MarketEvent], Audit]:
    audit = Audit()
    return EquityTrades(SPY, CLOCK, audit).feed(split_lines(block)), audit


def text(rows: list[tuple[str, ...]], *, in_order: bool) -> bytes:
    ordered = sorted(rows, key=lambda row: int(row[0])) if in_order else rows
    return "\n".join(",".join(row) for row in ordered).encode()


@given(ROWS, st.booleans())
def test_a_block_of_plain_rows_is_its_rows(rows: list[tuple[str, ...]], in_order: bool) -> None:
    block = text(rows, in_order=in_order)
    audit = Audit()
    columns = read_block(block, SPY, CLOCK, audit)
    events, expected = by_rows(block)
    if columns is None:
        assert audit == Audit()
    else:
        assert columns.events() == events
        assert audit == expected
        assert columns.times == sorted(columns.times)


@given(ROWS, ODD, st.integers(0, 30))
def test_a_block_with_an_odd_row_is_left_to_the_rows_or_read_as_they_are(
    rows: list[tuple[str, ...]], odd: tuple[str, ...], place: int
) -> None:
    lines = text(rows, in_order=True).split(b"\n")
    lines.insert(place, ",".join(odd).encode())
    block = b"\n".join(lines)
    audit = Audit()
    columns = read_block(block, SPY, CLOCK, audit)
    if columns is not None:
        events, expected = by_rows(block)
        assert columns.events() == events
        assert audit == expected


def test_plain_rows_are_read_as_columns() -> None:
    """And not left to the rows out of too much care."""
    rows = b"34200000,1674100,100,P,20002000,0\n34200001,1674200,7,Z,1,1\n34200001,99999999,0,Q,,0"
    audit = Audit()
    columns = read_block(rows, SPY, CLOCK, audit)
    assert columns is not None
    assert columns.prices == [167.41, 9999.9999]
    assert columns.sizes == [100.0, 0.0]
    assert (audit.rows, audit.events, audit.suspicious) == (3, 2, 1)


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"\n",
        b"34200000,1674100,100,P,20002000",
        b"34200000,1674100,100,P,20002000,0\n\n",
        b"34200000,1674100,100,P,20002000,0,9\n34200000,1674100,100,P,0",
        b"34200001,1,1,P,0,0\n34200000,1,1,P,0,0",
        b"86400000,1,1,P,0,0",
        b"34200000,0,1,P,0,0",
        b"34200000,123456789,1,P,0,0",
        b"34200000,1,1,P,0,1",
    ],
)
def test_what_is_not_plain_is_left_to_the_rows(block: bytes) -> None:
    audit = Audit()
    assert read_block(block, SPY, CLOCK, audit) is None
    assert audit == Audit()


@given(ROWS)
def test_events_become_columns_and_events_again(rows: list[tuple[str, ...]]) -> None:
    events, _ = by_rows(text(rows, in_order=True))
    columns = TradeColumns.of(events)
    if columns is not None:
        assert columns.events() == events
        assert list(zip(columns.times, columns.prices, columns.sizes, strict=True)) == list(
            zip(columns.time, columns.price, columns.size, strict=True)
        )
