"""Each adapter under fire over a socket for a moment; docs/feeds.md has figures of long runs."""

from pathlib import Path

import anyio
import pytest

from benchmarks.specimens import venues
from tests.venues.socket_fuzz import fire
from tests.venues.speakers import SPEAKERS


@pytest.mark.parametrize("venue", [name for name in venues() if name in SPEAKERS])
async def test_every_outcome_is_a_documented_one(venue: str, shared_data: Path) -> None:
    with anyio.fail_after(50):
        figures = await fire(venue, 800, 3, shared_data)
    assert figures["frames"] >= 800
    assert figures["malformed"] > 0
