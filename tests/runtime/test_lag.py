"""Quantiles from buckets: never below the truth, and above it by less than a bucket."""

import anyio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.control.lag import EDGES_MS, Histogram, LagMonitor

RATIO = 2**0.25


@given(
    samples=st.lists(st.floats(0.0, 60_000.0), min_size=1, max_size=200),
    share=st.sampled_from([0.01, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0]),
)
def test_a_quantile_is_right_within_a_bucket(samples: list[float], share: float) -> None:
    histogram = Histogram()
    for sample in samples:
        histogram.add(sample)
    found = histogram.quantile(share)
    # The rank of a share is a product of floats: one sample to either side may be meant.
    low, high = (
        np.quantile(samples, min(1.0, max(0.0, share + d)), method="inverted_cdf")
        for d in (-1e-9, 1e-9)
    )
    assert found >= low or found >= EDGES_MS[0]
    assert found >= low * (1 - 1e-9)
    if high <= EDGES_MS[-1]:
        assert found <= max(high * RATIO, EDGES_MS[0]) * (1 + 1e-9)
    assert found <= histogram.max_ms == max(samples)
    assert histogram.samples == len(samples)


def test_quantiles_do_not_fall() -> None:
    histogram = Histogram()
    for sample in np.random.default_rng(1).lognormal(0, 2, 1000):
        histogram.add(float(sample))
    found = [histogram.quantile(share) for share in np.linspace(0, 1, 101)]
    assert found == sorted(found)
    assert found[-1] == histogram.max_ms


def test_beyond_the_last_edge_it_is_the_largest() -> None:
    histogram = Histogram()
    histogram.add(EDGES_MS[-1] * 10)
    assert histogram.quantile(0.5) == EDGES_MS[-1] * 10


def test_of_nothing_it_is_nothing() -> None:
    assert Histogram().quantile(0.99) == 0.0
    assert LagMonitor().take().samples == 0


@pytest.mark.parametrize("edge", [0, 1, 40, 79])
def test_an_edge_belongs_to_the_bucket_below_it(edge: int) -> None:
    histogram = Histogram()
    histogram.add(EDGES_MS[edge])
    histogram.add(1e9)
    assert histogram.quantile(0.5) == EDGES_MS[edge]


async def test_the_monitor_measures_and_starts_afresh() -> None:
    monitor = LagMonitor()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(monitor.run)
        await anyio.sleep(0.035)
        found, left = monitor.take(), monitor.take()
        tasks.cancel_scope.cancel()
    assert found.samples >= 1
    assert 0.0 <= found.p50_ms <= found.p99_ms <= found.max_ms
    assert left.samples == 0
