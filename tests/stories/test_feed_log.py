"""What the feed goes through is in the log without the strategy's doing: away, back, a gap."""

import structlog
from structlog.testing import capture_logs

from feeds.events import SECOND, FeedState, Gap, Quote, Status, Symbol
from runtime import Resolution, Strategy
from runtime.testing import run_on_events

SPY = Symbol("SPY")


class Watcher(Strategy):
    def initialize(self) -> None:
        self.add_equity("SPY", Resolution.TICK)


async def test_an_outage_is_logged_with_its_gap() -> None:
    quote = Quote(SPY, SECOND, SECOND, 9.0, 1.0, 10.0, 1.0)
    away = Status("paper", FeedState.DISCONNECTED, SECOND, "reset")
    back = Status("paper", FeedState.LIVE, 3 * SECOND)
    gap = Gap(None, SECOND, 3 * SECOND, 3 * SECOND, "reset")
    with capture_logs() as lines:
        await run_on_events(Watcher(), [[quote], [away], [gap, back]], log=structlog.get_logger())
    told = [
        (line["log_level"], line["event"])
        for line in lines
        if line["event"] in {"feed", "data gap"}
    ]
    assert told == [("warning", "feed"), ("warning", "data gap"), ("info", "feed")]
    (missing,) = (line for line in lines if line["event"] == "data gap")
    assert (missing["symbol"], missing["seconds"], missing["reason"]) == ("all", 2.0, "reset")
