"""A test that fails must not keep its training threads: the process would wait for them."""

from collections.abc import Iterator

import pytest

from tests.runtime.training.support import Gate


@pytest.fixture(autouse=True)
def let_go() -> Iterator[None]:
    """Release every gate of the test, however it ended."""
    yield
    while Gate.made:
        gate = Gate.made.pop()
        gate.begun.set()
        gate.release.set()
