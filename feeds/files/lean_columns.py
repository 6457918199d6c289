"""LEAN's equity trades, a block of text at a time: numpy finds the fields and reads their digits.

A block is read here only where every row is as plain as can be. Anything else, one letter in a
number is enough, is left to `lean_rows.EquityTrades`, which decides what becomes of each row; so
rows are counted by one rule.
"""

import numpy as np
import numpy.typing as npt

from feeds.base import Audit
from feeds.columns import TradeColumns
from feeds.events import Symbol
from feeds.files.lean_rows import EQUITY_SCALE, RowClock

_COMMA, _NEWLINE = ord(","), ord("\n")
_COMMAS = 5  # time, price, size, exchange, condition, suspicious
_DIGITS = 8
"""Digits of a number that fit one machine word; a longer one is left to the rows."""

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]


def read_block(block: bytes, symbol: Symbol, clock: RowClock, audit: Audit) -> TradeColumns | None:
    """Read rows and count them, or do neither and return None: then they are not plain.

    Args:
        block: whole lines; the end of the last one may be missing.
        symbol: of every row.
        clock: knows the day and its zone.
        audit: counts the rows.
    """
    fields = _fields(block)
    if fields is None:
        return None
    text, begins, ends = fields
    flag = text[begins[:, 5]]
    if not ((ends[:, 5] - begins[:, 5] == 1) & ((flag == ord("0")) | (flag == ord("1")))).all():
        return None
    numbers = [_numbers(text, begins[:, n], ends[:, n]) for n in range(3)]
    if any(column is None for column in numbers):
        return None
    kept = flag == ord("0")
    time, paid, amount = (column[kept] for column in numbers if column is not None)
    moments = clock.many(time)
    if moments is None or not len(time) or not paid.all() or (np.diff(moments) < 0).any():
        return None
    rows, used = len(begins), len(time)
    audit.rows += rows
    audit.rows_used += used
    audit.events += used
    audit.suspicious += rows - used
    # An exact quotient, rounded once: the float's text is the price's decimal text.
    return TradeColumns(symbol, moments, paid / EQUITY_SCALE, amount.astype(np.float64))


def _fields(block: bytes) -> tuple[Bytes, Places, Places] | None:
    """Return the text with a word's room before it, and where the fields of each row begin and end.

    None where any row has more or fewer of them.
    """
    text = np.frombuffer(b"\0" * _DIGITS + block + b"\n" * (not block.endswith(b"\n")), np.uint8)
    marks = np.flatnonzero((text == _COMMA) | (text == _NEWLINE))
    if len(marks) % (_COMMAS + 1):
        return None
    ends = marks.reshape(-1, _COMMAS + 1)
    kinds = text[ends]
    if not ((kinds[:, :_COMMAS] == _COMMA).all() and (kinds[:, _COMMAS] == _NEWLINE).all()):
        return None
    begins = np.empty_like(ends)
    begins.ravel()[0] = _DIGITS
    begins.ravel()[1:] = marks[:-1] + 1
    return text, begins, ends


def _numbers(text: Bytes, begin: Places, end: Places) -> Places | None:
    """Read one field of each row, or return None where one is not 1 to 8 digits.

    The eight bytes before a field's end are one word: its digits lie in the high bytes, and what is
    not of the field is shifted out below them. Then neighbours are joined: 8 digits, 4 pairs, 2
    fours, 1 number; multiplications by 10, 100 and 10,000 for all rows at once.
    """
    width = end - begin
    if len(width) and not (width.min() >= 1 and width.max() <= _DIGITS):
        return None
    words = np.ndarray((len(text) - _DIGITS + 1,), np.dtype("<u8"), text.data, strides=(1,))
    unused = (8 * (_DIGITS - width)).astype(np.uint64)
    zeros = np.uint64(0x3030303030303030)
    word = words[end - _DIGITS] >> unused << unused | zeros >> (64 - unused)
    # A digit is 0x30 to 0x39: its high half is 3, and also with 6 added.
    high = np.uint64(0xF0F0F0F0F0F0F0F0)
    if not (
        ((word & high) == zeros) & (((word + np.uint64(0x0606060606060606)) & high) == zeros)
    ).all():
        return None
    word = word - zeros
    word = (word * np.uint64(10) + (word >> np.uint64(8))) & np.uint64(0x00FF00FF00FF00FF)
    word = (word * np.uint64(100) + (word >> np.uint64(16))) & np.uint64(0x0000FFFF0000FFFF)
    word = (word * np.uint64(10_000) + (word >> np.uint64(32))) & np.uint64(0xFFFFFFFF)
    return word.astype(np.int64)
