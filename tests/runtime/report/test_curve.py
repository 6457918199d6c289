"""A day's close is the day's last sample, and nothing is lost where the chart shows less."""

from datetime import UTC
from zoneinfo import ZoneInfo

import pytest

from feeds.events import MINUTE, SECOND, AssetClass
from runtime.report.curve import AccountCurve
from runtime.report.prices import Prices
from runtime.report.sampling import (
    HOUR,
    Sampling,
    TradingYear,
    end_of_period,
    trading_year,
)
from runtime.results import Sample
from runtime.securities import Resolution, Security
from tests.runtime.report.books import DAY, SPY, T0
from tests.stories.market import at, trade


def follow(curve: AccountCurve, account: list[tuple[int, float]], held: float = 0.0) -> None:
    """Tell a curve an account as a backtest does: as it was before each moment that is due."""
    now, equity = account[0]
    for time, value in account:
        if time >= curve.due:
            curve.add(Sample(now, equity, equity, held, 120), time)
        now, equity = time, value
    curve.close(Sample(now, equity, equity, held, 120))


def test_closes_are_the_last_of_each_day_that_had_data() -> None:
    """Three days of data with a weekend between the second and the third."""
    curve = AccountCurve()
    hours = [*range(48), *range(96, 120)]
    follow(curve, [(T0 + hour * HOUR, 100.0 + hour) for hour in hours])
    assert [close.equity for close in curve.closes] == [100, 123, 147, 219]
    assert curve.days == 3


def test_days_end_at_midnight_of_the_zone() -> None:
    curve = AccountCurve(ZoneInfo("America/New_York"))
    follow(curve, [(T0 + hour * HOUR, float(hour)) for hour in range(24)])
    assert [close.equity for close in curve.closes] == [0, 4, 23]  # midnight UTC is 19:00


@pytest.mark.parametrize(
    ("sampling", "count"), [(Sampling.DAY, 2), (Sampling.HOUR, 7), (Sampling.MINUTE, 361)]
)
def test_sampling_says_how_long_a_return_is(sampling: Sampling, count: int) -> None:
    curve = AccountCurve(UTC, sampling)
    follow(curve, [(T0 + n * 30 * SECOND, 1.0 + n) for n in range(720)])
    assert len(curve.closes) == count
    assert curve.closes[-1].equity == 720


def test_a_long_run_keeps_few_samples_and_its_worst_moment() -> None:
    curve = AccountCurve(most=100)
    account = [(T0 + n * SECOND, 1000.0 if n < 5000 else 900.0) for n in range(20_000)]
    account[4321] = (T0 + 4321 * SECOND, 1.0)
    follow(curve, account)
    assert len(curve.samples) <= 102
    times = [each.time for each in curve.samples]
    assert times == sorted(set(times))
    # Beyond 100 seconds samples are rarer, and a second may pass unseen.
    worst = curve.drawdown()
    assert worst.depth is not None
    assert worst.depth >= 0.1
    assert {worst.peak, worst.trough} <= set(times)


def test_every_minute_is_seen_however_long_it_takes() -> None:
    curve = AccountCurve(most=50)
    account = [(T0 + n * MINUTE, 1000.0) for n in range(3 * 1440)]
    account[3333] = (account[3333][0], 100.0)
    follow(curve, account)
    worst = curve.drawdown()
    assert (worst.depth, worst.trough) == (0.9, account[3333][0])
    assert len(curve.samples) <= 52
    assert 100.0 in [each.equity for each in curve.samples]


def test_exposure_is_of_the_markets_time() -> None:
    curve = AccountCurve()
    follow(curve, [(T0 + n * SECOND, 100.0) for n in range(10)], held=50.0)
    assert (curve.invested, curve.gross) == (1.0, 0.5)
    assert AccountCurve().invested is None


def test_a_run_without_data_has_one_sample() -> None:
    curve = AccountCurve()
    curve.close(Sample(T0, 100.0, 100.0, 0.0, 120))
    assert [each.equity for each in curve.closes] == [100]
    assert curve.drawdown().depth == 0
    assert curve.days == 0


@pytest.mark.parametrize("zone", ["America/New_York", "America/Sao_Paulo", "Asia/Kolkata"])
def test_a_period_ends_after_each_of_its_moments(zone: str) -> None:
    """Through every hour of a year with daylight saving, in Brazil at midnight (2018)."""
    start = 1_514_764_800 * SECOND  # 2018
    ends = [
        end_of_period(start + hour * HOUR, Sampling.DAY, ZoneInfo(zone)) for hour in range(8760)
    ]
    assert all(start + hour * HOUR < end for hour, end in enumerate(ends))
    assert all(end - (start + hour * HOUR) <= 25 * HOUR for hour, end in enumerate(ends))
    assert ends == sorted(ends)
    assert len(set(ends)) == 366


def test_years() -> None:
    assert trading_year([AssetClass.EQUITY]).periods(Sampling.DAY) == 252
    assert trading_year([AssetClass.EQUITY, AssetClass.CRYPTO]) == TradingYear(365, 24.0)
    assert trading_year([AssetClass.FOREX]).periods(Sampling.HOUR) == 252 * 24
    assert trading_year([]).periods(Sampling.MINUTE) == 252 * 390


def test_prices_are_few_however_many_there_were() -> None:
    prices = Prices(most=64)
    begin = at(0)
    security = Security(SPY, AssetClass.EQUITY, Resolution.TICK)
    prices.add(begin, [security])
    assert prices.series == {}  # it had none yet
    for n in range(100_000):
        security.on_trade(trade(n, 100.0 + n))
        if at(n) >= prices.due:
            prices.add(at(n), [security])
    series = prices.series[SPY]
    assert 16 <= len(series) <= 64
    assert series[0] == (at(1), 101.0)
    assert [time for time, _ in series] == sorted({time for time, _ in series})
    assert all(price == 100.0 + (time - begin) / SECOND for time, price in series)
    assert series[-1][0] > begin + DAY
