"""Every trade once and in order, or its number in a gap, whatever the network does.

TIDEGATE_CHAOS_DISCONNECTS=1000 makes the short run of each venue a long one, with all faults;
TIDEGATE_CHAOS_SEED chooses the weather.
"""

import os
from pathlib import Path

import anyio
import pytest

from feeds.events import FeedState
from tests.venues.chaos import Storm, faults_for, storm
from tests.venues.faults import Fault
from tests.venues.speakers import SPEAKERS

SLOW = {Fault.STATUS, Fault.RUBBISH, Fault.BABBLE, Fault.DRIP}  # each costs a second
LONG = int(os.environ.get("TIDEGATE_CHAOS_DISCONNECTS", "0"))
SEED = int(os.environ.get("TIDEGATE_CHAOS_SEED", "5"))
DISCONNECTS = LONG or 6
MINUTES = LONG / 20


def check(result: Storm) -> None:
    verdict, ledger = result.verdict, result.ledger
    assert verdict["seen twice"] == verdict["missing unsaid"] == 0
    assert verdict["played"] == verdict["seen once"] + verdict["told as gaps"] > 100
    assert ledger.states[FeedState.DISCONNECTED] >= DISCONNECTS
    assert ledger.outages >= result.statistics.reconnects >= DISCONNECTS
    assert len(result.proxy.done) >= 4


@pytest.mark.timeout(60 + MINUTES * 60)
@pytest.mark.parametrize("venue", sorted(SPEAKERS))
async def test_a_bad_day_loses_no_trade_unsaid(venue: str) -> None:
    faults = [fault for fault in faults_for(venue) if LONG or fault not in SLOW]
    with anyio.fail_after(50 + MINUTES * 60):
        result = await storm(venue, SEED, DISCONNECTS, faults=faults)
    check(result)
    if SPEAKERS[venue].is_numbered:  # else two connections side by side may differ
        assert result.verdict["out of order"] == 0


@pytest.mark.timeout(60 + MINUTES * 60)
@pytest.mark.parametrize("history", [True, False])
@pytest.mark.usefixtures("either")
async def test_a_bad_day_of_recorded_trades(shared_data: Path, history: bool) -> None:
    capture = shared_data / "wire" / "COINBASE.ws.28.0.gz"
    faults = [fault for fault in Fault if LONG or fault not in SLOW]
    with anyio.fail_after(50 + MINUTES * 60):
        result = await storm(
            "coinbase", SEED, DISCONNECTS, history=history, faults=faults, capture=capture
        )
    check(result)
    assert not history or result.statistics.filled > 0
    assert result.verdict["out of order"] == 0
