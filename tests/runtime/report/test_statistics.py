"""The table of statistics: each has a value where there is one, and None where there is not."""

import math
import re
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.report.folds import FoldBooks
from runtime.report.record import make_report, to_json
from runtime.report.sampling import Sampling, TradingYear
from runtime.report.statistics import STATISTICS, describe_trades, shown, span_text, turnover
from runtime.report.trades import match_trades
from runtime.results import FillRow
from tests.runtime.report.books import DAY, T0, fill, record, sample, trained

ROOT = Path(__file__).resolve().parents[3]
ROUND_TRIPS = [
    *(fill(0.2, "10", "100", "1", "a"), fill(0.8, "-10", "120", "1", "b")),  # +198
    *(fill(1.2, "10", "100", "1", "c"), fill(1.8, "-10", "90", "1", "d")),  # -102
    *(fill(2.2, "10", "100", "0", "e"), fill(2.8, "-10", "100", "0", "f")),  # 0
    *(fill(3.2, "-5", "100", "1", "g"), fill(3.8, "5", "80", "1", "h")),  # +98
]


def test_a_run_by_hand() -> None:
    told = make_report(record([1000, 1198, 1096, 1096, 1194], ROUND_TRIPS)).statistics
    assert list(told) == list(STATISTICS)
    assert (told["Start Equity"], told["End Equity"]) == (1000, 1194)
    assert told["Net Profit"] == pytest.approx(0.194)
    assert told["Compounding Annual Return"] == pytest.approx(1.194 ** (365 / 4) - 1)
    assert told["Drawdown"] == pytest.approx(102 / 1198)
    assert told["Drawdown Length"] == 3 * 86_400
    calmar = (1.194 ** (365 / 4) - 1) / (102 / 1198)
    assert told["Calmar Ratio"] == pytest.approx(calmar)
    assert (told["Total Orders"], told["Total Trades"], told["Returns"]) == (8, 4, 4)
    assert (told["Win Rate"], told["Loss Rate"]) == (0.5, 0.25)
    win, loss = (198 / 1000 + 98 / 1096) / 2, 102 / 1198
    assert told["Average Win"] == pytest.approx(win)
    assert told["Average Loss"] == pytest.approx(-loss)
    assert told["Profit-Loss Ratio"] == pytest.approx(win / loss)
    assert told["Expectancy"] == pytest.approx(0.5 * win / loss - 0.25)
    assert told["Profit Factor"] == pytest.approx(296 / 102)
    assert told["Total Fees"] == 6
    traded = 2200 / 1198 + 1900 / 1096 + 2000 / 1096 + 900 / 1194
    assert told["Portfolio Turnover"] == pytest.approx(traded / 4)
    assert (told["Exposure"], told["Gross Exposure"]) == (0.5, 0.25)
    assert told["Annual Variance"] == pytest.approx((told["Annual Standard Deviation"] or 0) ** 2)


def test_no_trades_have_no_win_rate() -> None:
    told = make_report(record([1000, 1000, 1000])).statistics
    assert told["Total Trades"] == told["Total Fees"] == told["Portfolio Turnover"] == 0
    assert told["Net Profit"] == told["Drawdown"] == told["Annual Standard Deviation"] == 0
    without = {name for name, value in told.items() if value is None}
    assert without == {
        "Sharpe Ratio",
        "Sortino Ratio",
        "Probabilistic Sharpe Ratio",
        "Calmar Ratio",
        "Win Rate",
        "Loss Rate",
        "Average Win",
        "Average Loss",
        "Profit-Loss Ratio",
        "Profit Factor",
        "Expectancy",
    }


@pytest.mark.parametrize("equity", [[], [1000], [0, 0], [1000, -200], [1000, -200, 50]])
def test_degenerate_runs_still_make_a_whole_report(equity: list[float]) -> None:
    report = make_report(record(equity))
    assert report.statistics["Sharpe Ratio"] is None
    assert report.statistics["Compounding Annual Return"] is None or equity[-1] > 0
    told = msgspec.json.decode(to_json(report))
    assert set(told["statistics"]) == set(STATISTICS)


def test_debt_is_told_as_a_loss_of_more_than_all() -> None:
    told = make_report(record([1000, -200])).statistics
    assert told["Net Profit"] == pytest.approx(-1.2)
    assert told["Drawdown"] == pytest.approx(1.2)


@given(
    st.lists(st.integers(-(10**6), 10**8).map(lambda cents: cents / 100), max_size=12),
    st.lists(st.tuples(st.integers(-9, 9).filter(bool), st.integers(1, 999)), max_size=12),
)
def test_whatever_happened_every_statistic_is_finite_or_none(
    equity: list[float], orders: list[tuple[int, int]]
) -> None:
    fills = [
        fill(n / 2, str(quantity), str(price), "0.5", f"o{n}")
        for n, (quantity, price) in enumerate(orders)
    ]
    report = make_report(record(equity, fills))
    for name, value in report.statistics.items():
        assert value is None or math.isfinite(value), name
        assert shown(name, value)
    for name in ("Win Rate", "Loss Rate", "Probabilistic Sharpe Ratio"):
        assert 0 <= (report.statistics[name] or 0) <= 1
    assert to_json(report).endswith(b"}\n")


def test_a_broke_account_has_no_average_win() -> None:
    """What a win is a share of has gone; how many there were has not."""
    fills = [fill(0, "1", "100"), fill(1, "-1", "40"), fill(2, "1", "100"), fill(3, "-1", "150")]
    told = describe_trades(match_trades(fills)[0], Decimal(50))
    assert (told.win_rate, told.loss_rate) == (0.5, 0.5)
    assert told.profit_factor == pytest.approx(50 / 60)
    assert {told.average_win, told.average_loss, told.expectancy} == {None}


def test_turnover_of_a_broke_account_has_no_meaning() -> None:
    closes = [sample(0, 100), sample(1, 0)]
    assert turnover([fill(0, "1", "10")], closes, 1) is None
    assert turnover([], [], 0) is None


# ---- trainings and folds ---------------------------------------------------------------------


def test_jobs_are_gathered_from_what_training_told() -> None:
    rows = [
        trained(0.5, "queued"),
        trained(1, "started"),
        trained(2, "model published", text="slot", version=3),
        trained(2, "finished", elapsed=1.5, spent=2),
        trained(3, "started", "fit-2"),
        trained(3, "failed", "fit-2", text="ValueError: too few"),
        trained(4, "queued", "fit-3"),
        trained(5, "started", "fit-4"),
        trained(5, "toggled", ""),
    ]
    one, two, three = make_report(record([1, 2], training=rows)).jobs
    assert (one.start, one.end, one.state) == (T0 + DAY, T0 + 2 * DAY, "finished")
    assert (one.slot, one.version, one.took, one.minutes) == ("slot", 3, 1.5, 2)
    assert (two.state, two.text, two.version) == ("failed", "ValueError: too few", 0)
    assert (three.id, three.state, three.end) == ("fit-4", "running", None)


def test_folds_by_hand() -> None:
    """Trained at day 0, 2 and 4 on 5 days each."""
    samples = [sample(day, equity) for day, equity in enumerate([100, 110, 121, 60.5, 60.5, 66.55])]
    fills: list[FillRow] = [fill(0.5, "1", "10"), fill(2.5, "-1", "9")]
    books = FoldBooks()
    for day, each in enumerate(samples):
        (books.turn if day in {0, 2, 4} else books.add)(each)
    trades, _ = match_trades(fills)
    rows = [trained(2, "model published", text="m", version=2)]
    one, two, three = books.folds(5 * DAY, samples, trades, rows, Sampling.DAY, TradingYear())
    assert (one.train_start, one.start, one.end) == (T0 - 5 * DAY, T0, T0 + 2 * DAY)
    assert [fold.profit for fold in (one, two, three)] == [
        pytest.approx(0.21),
        pytest.approx(-0.5),
        pytest.approx(0.1),
    ]
    assert [fold.trades for fold in (one, two, three)] == [0, 1, 0]
    assert [fold.models for fold in (one, two, three)] == [[], ["m v2"], []]
    assert (one.drawdown, two.drawdown) == (0, pytest.approx(0.5))  # type: ignore[comparison-overlap]
    assert three.end == samples[-1].time
    # What the folds made is what the run has made.
    made = math.prod(1 + (fold.profit or 0) for fold in (one, two, three))
    assert made == pytest.approx(66.55 / 100)


def test_no_fold_without_a_training() -> None:
    books = FoldBooks()
    books.add(sample(0, 100))
    assert books.folds(DAY, [sample(0, 100)], [], [], Sampling.DAY, TradingYear()) == []


# ---- words -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("Net Profit", 0.12345, "12.35%"),
        ("Net Profit", -0.00004, "-0.004%"),
        ("Net Profit", 0.0, "0%"),
        ("Sharpe Ratio", -1.234, "-1.23"),
        ("Sharpe Ratio", 0.001234, "0.0012"),
        ("End Equity", 1234567.891, "1,234,567.89"),
        ("Total Trades", 1234.0, "1,234"),
        ("Drawdown Length", 90061.0, "1 d 1 h"),
        ("Win Rate", None, "-"),
    ],
)
def test_values_as_people_read_them(name: str, value: float | None, text: str) -> None:
    assert shown(name, value) == text


def test_spans() -> None:
    assert [span_text(seconds) for seconds in (0, 59, 60, 3601, 86_400 * 400)] == [
        "0 s",
        "59 s",
        "1 m",
        "1 h 1 s",
        "400 d",
    ]


def test_docs_explain_every_statistic_and_no_other() -> None:
    text = (ROOT / "docs/reports.md").read_text("utf-8")
    rows = re.findall(r"^\| ([A-Z][\w -]+?) \|", text, flags=re.MULTILINE)
    assert sorted(rows) == sorted(STATISTICS)
