"""Fixtures for every test: blocking calls in the loop fail, recorded data is found or skipped."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
# Commands are tested as users have them: with streams that hold back what they are given.
os.environ.pop("PYTHONUNBUFFERED", None)
# No test asserts a time, hypothesis' own deadline included: another process may have the cores.
settings.register_profile("tidegate", deadline=None)
settings.load_profile("tidegate")


@pytest.fixture(autouse=True)
def blockbuster() -> Iterator[BlockBuster]:
    """Make a blocking call on the event loop an error, wherever our own packages make it."""
    with blockbuster_ctx(scanned_modules=["feeds", "runtime", "strategies"]) as detector:
        for function in detector.functions.values():
            # The lock of the coverage tool, taken inside whatever is being measured.
            function.can_block_in("coverage/collector.py", {"lock_data"})
            # An exchange's calendar is loaded once, when initialize makes the first rule by it.
            function.can_block_in("runtime/schedule/calendars.py", {"_sessions"})
        yield detector


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of recorded market data; the test is skipped where it is absent."""
    folder = Path(os.environ.get("TIDEGATE_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "lean").is_dir():
        pytest.skip(f"no recorded market data at {folder}: set TIDEGATE_SHARED_DATA to its folder")
    return folder
