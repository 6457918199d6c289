"""Every trade once and in order, or its number in a gap, whatever the network does."""

from pathlib import Path

import anyio
import pytest

from feeds.events import FeedState
from tests.venues.chaos import storm
from tests.venues.faults import Fault

SLOW = {Fault.STATUS, Fault.RUBBISH, Fault.BABBLE, Fault.DRIP}  # each costs a second
FAST = [fault for fault in Fault if fault not in SLOW]


@pytest.mark.parametrize("history", [True, False])
async def test_a_bad_day_loses_no_trade_unsaid(shared_data: Path, history: bool) -> None:
    capture = shared_data / "wire" / "COINBASE.ws.28.0.gz"
    with anyio.fail_after(50):
        verdict, ledger, statistics, proxy = await storm(
            capture, seed=5, disconnects=12, history=history, faults=FAST
        )
    assert verdict["seen twice"] == verdict["missing unsaid"] == verdict["out of order"] == 0
    assert verdict["played"] == verdict["seen once"] + verdict["told as gaps"]
    assert ledger.states[FeedState.DISCONNECTED] >= 12
    assert ledger.outages == statistics.reconnects >= 12
    assert len(proxy.done) >= 8
    assert not history or statistics.filled > 0
