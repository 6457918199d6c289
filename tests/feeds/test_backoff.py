from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.backoff import Backoff
from feeds.events import SECOND


def test_bounds_double_up_to_the_cap() -> None:
    backoff = Backoff(lambda: 1.0, base=SECOND, cap=5 * SECOND)
    assert [backoff.failed() // SECOND for _ in range(5)] == [1, 2, 4, 5, 5]


def test_only_real_data_starts_over() -> None:
    backoff = Backoff(lambda: 1.0, base=SECOND, cap=30 * SECOND)
    backoff.failed()
    backoff.failed()
    assert backoff.bound == 4 * SECOND
    backoff.data_came()
    assert backoff.failed() == SECOND


@given(st.integers(), st.integers(1, 40))
def test_jitter_is_full(seed: int, failures: int) -> None:
    """Each delay is drawn from zero up to a bound that never passes the cap."""
    backoff = Backoff(Random(seed).random, base=SECOND, cap=30 * SECOND)
    for _ in range(failures):
        bound = backoff.bound
        assert 0 <= backoff.failed() < bound <= 30 * SECOND


def test_the_whole_range_is_drawn() -> None:
    backoff = Backoff(Random(7).random, base=SECOND, cap=SECOND)
    delays = [backoff.failed() for _ in range(1000)]
    assert min(delays) < SECOND // 100
    assert max(delays) > SECOND - SECOND // 100


@pytest.mark.parametrize(("base", "cap"), [(0, 1), (-1, 1), (2, 1)])
def test_senseless_bounds_are_refused(base: int, cap: int) -> None:
    with pytest.raises(ValueError, match="base"):
        Backoff(Random(1).random, base=base, cap=cap)
