"""Numbers and times from text: what is let through, and to the last digit."""

import math
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.numbers import (
    LARGEST,
    check_ohlc,
    epoch_unit,
    exact_ns,
    iso_ns,
    number,
    price,
    size,
    utc_seconds,
)

BAD = ["nan", "NaN", "inf", "-Infinity", "1e308", "1e400", "1,5", "1_0", "", "x", "0x10"]


@pytest.mark.parametrize("text", BAD)
def test_bad_numbers_are_refused(text: str) -> None:
    for read in (number, price, size):
        with pytest.raises(ValueError, match=r".+"):
            read(text)


@pytest.mark.parametrize("text", ["0", "-0", "-1", "1e-400", 0.0, -2.5])
def test_price_is_above_zero(text: str | float) -> None:
    with pytest.raises(ValueError, match="above zero"):
        price(text)


def test_size_may_be_zero_but_not_less() -> None:
    assert size("0.00000000") == 0.0
    with pytest.raises(ValueError, match="below zero"):
        size("-0.1")


@given(st.decimals(min_value="0.00000001", max_value="999999", places=8))
def test_text_of_the_float_is_the_text_that_came(value: Decimal) -> None:
    assert Decimal(str(price(f"{value:f}"))) == value


@given(st.integers(1, 9_223_372_036_854_775_807))
def test_exact_ns_loses_no_digit(moment: int) -> None:
    assert exact_ns(f"{moment // 10**9}.{moment % 10**9:09d}") == moment
    assert exact_ns(str(moment), "ns") == moment


@pytest.mark.parametrize(
    "text", ["", "x", "NaN", "Infinity", "-5", "0", "1e9", "1e999999999", "9" * 41, "9" * 30]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        exact_ns(text)


@pytest.mark.parametrize(
    ("value", "unit"),
    [(1633998512, "s"), (1633998512123, "ms"), (1633998512123456, "us"), (1.6339985121e18, "ns")],
)
def test_unit_follows_from_magnitude(value: float, unit: str) -> None:
    assert epoch_unit(value) == unit


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2261, 1, 1)),
    st.integers(0, 999),
    st.sampled_from([UTC, timezone(timedelta(hours=-5)), timezone(timedelta(hours=5, minutes=30))]),
)
def test_iso_keeps_nanoseconds(moment: datetime, nanoseconds: int, zone: timezone) -> None:
    moment = moment.replace(tzinfo=zone)
    head = moment.replace(microsecond=0, tzinfo=None).isoformat()
    offset = moment.isoformat()[-6:]
    text = f"{head}.{moment.microsecond:06d}{nanoseconds:03d}{offset}"
    passed = moment - datetime(1970, 1, 1, tzinfo=UTC)
    assert iso_ns(text) == passed // timedelta(microseconds=1) * 1000 + nanoseconds


def test_iso_without_zone_is_in_the_zone_given() -> None:
    summer, winter = "2013-07-01 12:00:00.5", "2013-12-01T12:00:00Z"
    assert iso_ns(summer, ZoneInfo("America/New_York")) == iso_ns("2013-07-01T16:00:00.5Z")
    assert iso_ns(winter, ZoneInfo("America/New_York")) == 1385899200 * 10**9


@pytest.mark.parametrize(
    "text", ["", "now", "1969-12-31T23:59:59Z", "2021-13-01", "2300-01-01", ".5", "٢٠٢١"]
)
def test_iso_refuses_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        iso_ns(text)


def test_last_datetime_in_a_western_zone_is_no_time() -> None:
    with pytest.raises(ValueError, match="not a time"):
        utc_seconds(datetime(9999, 12, 31, 23), timezone(timedelta(hours=-5)))


def test_contradicting_bar_is_refused() -> None:
    check_ohlc(2.0, 3.0, 1.0, 2.5)
    for prices in ((4.0, 3.0, 1.0, 2.0), (2.0, 3.0, 1.0, 0.5), (2.0, 1.0, 3.0, 2.0)):
        with pytest.raises(ValueError, match="contradict"):
            check_ohlc(*prices)


def test_largest_is_allowed_and_stays_finite_when_added_up() -> None:
    assert number("1e18") == LARGEST
    assert math.isfinite((LARGEST + LARGEST) * LARGEST)
