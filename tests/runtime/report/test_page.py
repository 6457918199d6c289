"""One file that needs no other, whatever the names in it; and the columns its charts draw."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from feeds.events import Symbol
from runtime.report.folds import Fold
from runtime.report.page import ROWS, page
from runtime.report.record import make_report
from runtime.report.series import position, quota, series_of, thin
from runtime.report.statistics import STATISTICS
from runtime.report.terminal import summary
from tests.runtime.report.books import DAY, SPY, T0, fill, record, sample, trained

VOID = {"meta", "br", "input", "link", "img", "hr"}


class Reader(HTMLParser):
    """Checks that tags close as they opened, and gathers what a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in {"src", "href", "action"}]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["script"], ["style"]):
            self.text.append(data)


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


def series(html: str) -> dict[str, object]:
    found = re.search(r'id="series">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    told: dict[str, object] = json.loads(found[1])
    return told


def whole() -> str:
    rows = [
        trained(1, "started"),
        trained(1, "model published", text="slot", version=1),
        trained(1, "finished", elapsed=1.0),
        trained(2, "started", "fit-2"),
        trained(2, "failed", "fit-2", text="ValueError: <b>"),
    ]
    return page(
        make_report(
            record(
                [1000, 1100, 1050],
                [fill(0.5, "1", "100"), fill(1.5, "-1", "150")],
                training=rows,
                prices={SPY: [(T0, 100.0), (T0 + DAY, 120.0)]},
                folds=[Fold(T0 - DAY, T0, T0 + 2 * DAY, 0.05, None, 0.1, 1)],
            )
        )
    )


def test_a_page_needs_nothing_else() -> None:
    html = whole()
    reader = read(html)
    assert reader.fetched == []
    assert not re.search(r"@import|url\(|https?://(?!github\.com/leeoniya/uPlot)", html)
    text = " ".join(reader.text)
    assert all(name in text for name in STATISTICS)
    assert "slot v1" in text
    assert "ValueError: <b>" in text
    assert "Walk-forward" in text
    assert "uPlot (v1.6.32)" in html


def test_what_others_named_cannot_break_out() -> None:
    evil = "</script><script>alert(1)</script>"
    html = page(
        make_report(
            record(
                [1000, 1100],
                [fill(0.5, "1", "100", symbol=Symbol(evil))],
                strategy=evil,
                parameters={evil: "{{css}} \\1 " + evil},
                reason=evil,
                failure=evil,
                prices={Symbol(evil): [(T0, 1.0)]},
                training=[trained(1, "started", evil), trained(1, "failed", evil, text=evil)],
            )
        )
    )
    reader = read(html)
    assert html.count("<script") == 3  # the data, the charts, ours
    assert "alert(1)" in " ".join(reader.text)
    told = series(html)["symbols"]
    assert isinstance(told, dict)
    assert list(told) == [evil]


@pytest.mark.parametrize("equity", [[], [1000], [0, 0], [1000, -5]])
def test_degenerate_runs_have_a_page(equity: list[float]) -> None:
    reader = read(page(make_report(record(equity))))
    assert "No trade was closed." in " ".join(reader.text)


def test_a_long_table_shows_its_end_and_says_so() -> None:
    fills = [fill(n, "1" if n % 2 == 0 else "-1", "100", order=f"o{n}") for n in range(1000)]
    text = " ".join(read(page(make_report(record([1, 2], fills)))).text)
    assert "500 closed trades" in text
    assert f"the last {ROWS}" in text


def test_few_returns_are_said_to_say_little() -> None:
    short, long = ([1000.0 + n for n in range(count)] for count in (3, 30))
    assert "say little: see --sampling hour" in page(make_report(record(short)))
    assert "say little" not in page(make_report(record(long)))


@given(st.lists(st.floats(-1e6, 1e6), max_size=400), st.integers(6, 60))
def test_thinning_keeps_both_ends_the_lowest_and_the_highest(
    values: list[float], most: int
) -> None:
    kept = thin(np.array(values), most).tolist()
    assert len(kept) <= max(most, 0)
    assert kept == sorted(set(kept))
    if values:
        chosen = [values[n] for n in kept]
        assert (chosen[0], chosen[-1]) == (values[0], values[-1])
        assert (min(chosen), max(chosen)) == (min(values), max(values))


def test_positions_follow_the_fills() -> None:
    fills = [
        fill(1, "10", "1"),
        fill(2, "0.1", "1", symbol=Symbol("QQQ")),
        fill(3, "-4", "1", order="a"),
        fill(3, "-16", "1", order="b"),
    ]
    assert position(fills, SPY) == [(T0 + DAY, 10.0), (T0 + 3 * DAY, -10.0)]


def test_the_bucket_is_told_where_it_changes() -> None:
    samples = [sample(day, 1, available=level) for day, level in enumerate([120, 120, 90, 90, 90])]
    rows = [trained(1.5, "minute taken", available=100), trained(1.4, "queued", available=1)]
    assert quota(samples, rows) == [
        (T0, 120.0),
        (T0 + DAY * 3 // 2, 100.0),
        (T0 + 2 * DAY, 90.0),
        (T0 + 4 * DAY, 90.0),
    ]


def test_series_carry_times_to_the_millisecond() -> None:
    told = series_of(
        make_report(record([1, 2], [fill(0.5, "1", "100")], prices={SPY: [(T0, 1.0)]}))
    )
    assert told["begin"] == T0 / 1e9
    assert told["symbols"][SPY]["fills"] == [[T0 / 1e9 + 43_200, 100.0, 1.0]]


@pytest.mark.parametrize("width", [60, 120])
def test_the_terminal_has_every_value_and_names_what_has_none(width: int) -> None:
    console = Console(width=width, record=True, file=None, quiet=False, markup=False)
    with console.capture() as captured:
        console.print(summary(make_report(record([1000, 1100, 1050])), {"a_figure": 7}, width))
    text = " ".join(captured.get().split())
    assert "Net Profit 5.00%" in text
    assert "a figure 7" in text
    assert "without a value here:" in text
    assert "Win Rate" in text.partition("without a value here:")[2]
