"""The average-price method in fractions, rounding nothing: slow, and short enough to believe."""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

import msgspec


class Book(msgspec.Struct):
    """One symbol after some fills."""

    cash: Fraction = Fraction(0)
    quantity: Fraction = Fraction(0)
    average: Fraction = Fraction(0)
    realised: Fraction = Fraction(0)


def book_of(fills: Sequence[tuple[Decimal, Decimal]]) -> Book:
    """Return where (signed quantity, price) one after the other lead, fees left out."""
    book = Book()
    for signed, price in ((Fraction(q), Fraction(p)) for q, p in fills):
        book.cash -= signed * price
        before, after = book.quantity, book.quantity + signed
        if before * signed >= 0:
            book.average = (before * book.average + signed * price) / after
        else:
            closed = min(abs(signed), abs(before)) * (1 if before > 0 else -1)
            book.realised += closed * (price - book.average)
            if before * after < 0:
                book.average = price
        book.quantity = after
        if after == 0:
            book.average = Fraction(0)
    return book
