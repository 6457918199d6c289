"""Numbers and times as venues and files write them, or ValueError: never a NaN, never an infinity.

A price is finite and above zero, a size finite and not below zero, a time within the years that an
int64 of nanoseconds holds. Nothing above LARGEST, so that sums and products of two stay finite.
"""

import calendar
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from functools import lru_cache

LARGEST = 1e18
NANOSECONDS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
_LAST_NS = 2**63 - 1


def number(value: str | float) -> float:
    """Read decimal text (or a number already read).

    Raises:
        ValueError: not a number, not finite, or larger than LARGEST.
    """
    if isinstance(value, str) and "_" in value:  # Python's own spelling of thousands
        raise ValueError(f"{value[:40]!r} is not a number")
    result = float(value)
    if not -LARGEST <= result <= LARGEST:
        raise ValueError(f"{str(value)[:40]!r} is not finite or too large")
    return result


def price(value: str | float) -> float:
    """Read a price.

    Raises:
        ValueError: not a finite number above zero.
    """
    result = number(value)
    if result <= 0.0:
        raise ValueError(f"a price of {str(value)[:40]!r} is not above zero")
    return result


def size(value: str | float) -> float:
    """Read a size or a volume.

    Raises:
        ValueError: not a finite number of zero or more.
    """
    result = number(value)
    if result < 0.0:
        raise ValueError(f"a size of {str(value)[:40]!r} is below zero")
    return result


def check_ohlc(opened: float, high: float, low: float, closed: float) -> None:
    """Refuse a bar whose prices contradict each other.

    Raises:
        ValueError: the low is not the lowest or the high not the highest of the four.
    """
    if not (low <= opened <= high and low <= closed <= high):
        raise ValueError(f"open {opened}, high {high}, low {low}, close {closed} contradict")


def exact_ns(text: str, unit: str = "s") -> int:
    """Read decimal text in a unit of NANOSECONDS without going through a float.

    Raises:
        ValueError: not a decimal number, or outside the years of an int64.
    """
    if len(text) > 40 or "e" in text.lower():  # an exponent could ask for a billion digits
        raise ValueError(f"{text[:40]!r} is not a time")
    try:
        return check_ns(int(Decimal(text) * NANOSECONDS[unit]))
    except ArithmeticError as error:
        raise ValueError(f"{text!r} is not a time") from error


def check_ns(moment: int) -> int:
    """Return it, if it is a time after 1970 that an int64 of nanoseconds holds.

    Raises:
        ValueError: it is not.
    """
    if not 0 < moment <= _LAST_NS:
        raise ValueError(f"{moment} ns is no time after 1970")
    return moment


def epoch_unit(value: float) -> str:
    """Name the unit in which this epoch time falls between the years 1973 and 5138."""
    size = abs(value)
    return "s" if size < 1e11 else "ms" if size < 1e14 else "us" if size < 1e17 else "ns"


def iso_ns(text: str, zone: tzinfo = UTC) -> int:
    """Read ISO-8601 text, to the nanosecond; `zone` is that of a text which names none.

    Raises:
        ValueError: not ISO-8601, or before 1970.
    """
    head, dot, tail = text.partition(".")
    fraction = 0
    if dot:
        digits = len(tail) - len(tail.lstrip("0123456789"))
        fraction = int(tail[:digits][:9].ljust(9, "0"))
        head += tail[digits:]
    return check_ns(_iso_second(head, zone) * NANOSECONDS["s"] + fraction)


@lru_cache(maxsize=4096)  # what a venue sends shares its second with its neighbours
def _iso_second(text: str, zone: tzinfo) -> int:
    return utc_seconds(datetime.fromisoformat(text), zone)


def utc_seconds(moment: datetime, zone: tzinfo) -> int:
    """Seconds since the epoch of a datetime, in `zone` where it names none; fractions are cut.

    Raises:
        ValueError: outside the years of a datetime once it is in UTC.
    """
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    try:
        return calendar.timegm(moment.utctimetuple())
    except OverflowError as error:
        raise ValueError(f"{moment} is not a time") from error
