"""The deepest fall and the longest time below: against a slow obvious model, and by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.report.drawdown import Drawdown, Underwater


def follow(*equity: float) -> Drawdown:
    water = Underwater()
    for time, value in enumerate(equity):
        water.add(time, value)
    return water.worst()


def obvious(equity: list[float]) -> tuple[float, int]:
    depth, length = 0.0, 0
    for end in range(len(equity)):
        high = max(equity[: end + 1])
        peak = max(n for n in range(end + 1) if equity[n] == high)
        depth = max(depth, (high - equity[end]) / high)
        back = next((n for n in range(peak, len(equity)) if n > peak and equity[n] >= high), None)
        length = max(length, 0 if peak == end else end - peak)
        if back == end + 1 and peak != end:
            length = max(length, back - peak)
    return depth, length


@given(st.lists(st.integers(1, 50).map(float), min_size=1, max_size=40))
def test_the_same_as_the_obvious(equity: list[float]) -> None:
    told = follow(*equity)
    depth, length = obvious(equity)
    assert told.depth == pytest.approx(depth)
    assert told.length == length


def test_by_hand() -> None:
    told = follow(100, 120, 90, 110, 120, 60, 80)
    assert told == Drawdown(depth=0.5, length=3, peak=4, trough=5)


@pytest.mark.parametrize(
    ("equity", "expected"),
    [
        ([], Drawdown()),
        ([100], Drawdown(depth=0.0)),
        ([100, 100, 100], Drawdown(depth=0.0)),
        ([1, 2, 3], Drawdown(depth=0.0)),
        ([100, -50], Drawdown(depth=1.5, length=1, peak=0, trough=1)),
        ([0, -10, -20], Drawdown(depth=None, length=2)),
        ([-10, 10, 5], Drawdown(depth=0.5, length=1, peak=1, trough=2)),
    ],
    ids=["nothing", "one", "flat", "up", "owed", "never money", "money later"],
)
def test_borders(equity: list[float], expected: Drawdown) -> None:
    assert follow(*equity) == expected
