"""Our own feed on a venue that does wrong on purpose: data comes again after each fault."""

import anyio
import pytest

from feeds.events import FeedState, Trade
from feeds.venue.faults import Fault, FaultPlan, Faults, What, Where
from tests.live.cli_kit import PATIENCE
from tests.live.venue_kit import WANTED, Endless, Listener, feed, serving

DATA = Where.DATA


@pytest.mark.parametrize(
    "fault",
    [
        Fault(What.DROP, DATA, after=3, count=5),
        Fault(What.REPEAT, DATA, after=3, count=5),
        Fault(What.REORDER, DATA, after=3, count=5),
        Fault(What.DELAY, DATA, after=3, count=3, seconds=0.05),
        Fault(What.STALL, DATA, after=3, count=1, seconds=0.5),
        Fault(What.HALF_CLOSE, DATA, after=3, count=2),
        Fault(What.CUT, DATA, after=3, count=2),
        Fault(What.REFUSE, DATA, code=406, count=2),
        Fault(What.REFUSE, DATA, code=407, after=3, count=2),
    ],
    ids=lambda fault: f"{fault.what}-{fault.code}",
)
async def test_data_comes_again_after_each_fault(fault: Fault) -> None:
    faults, listener = Faults(FaultPlan(1, (fault,))), Listener()
    with anyio.fail_after(PATIENCE):
        async with (
            serving(Endless(), faults=faults) as venue,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(feed(venue.url).run, WANTED, listener.deliver)
            await listener.until(lambda: faults.struck[0] == fault.count)
            before = len(listener.of(Trade))
            await listener.until(lambda: len(listener.of(Trade)) >= before + 20)
            tasks.cancel_scope.cancel()
    assert FeedState.LIVE in listener.states
    assert FeedState.ENDED not in listener.states
