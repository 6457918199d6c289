"""The loss of a day halts trading, however the strategy tries to go on."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.testing import run_on_events
from runtime.trading.daily_loss import DailyLoss, DayBegun
from runtime.trading.journal import FILE, Journal, Opening
from tests.stories.market import SPY, Recorder, moments, trade

DAY = 86400


def states(strategy: Recorder) -> list[str]:
    return [f"{event.status} {event.message}".rstrip() for event in strategy.order_events]


async def test_a_loss_cancels_what_works_and_refuses_what_comes() -> None:
    def act(s: Recorder, slice: object) -> None:
        match len(s.slices):
            case 1:
                s.market_order(SPY, 100)
                s.limit_order(SPY, 1, 50)
            case 2 | 3:
                s.market_order(SPY, 1)

    strategy = Recorder(act=act)
    prices = [100.0, 95.0, 89.9]  # a loss of 500, then of 1010
    await run_on_events(
        strategy,
        moments(*(trade(n, p) for n, p in enumerate(prices, 1))),
        trading={"max_daily_loss": 1000, "fee_bps": 0},
    )
    assert states(strategy) == [
        "accepted",
        "filled",
        "accepted",
        "accepted",
        "filled",
        "rejected trading is halted: the loss of 2024-01-01 is 1015.10, the limit 1000.0",
        "cancelled cancelled on request",
    ]


async def test_a_gain_of_yesterday_is_no_room_for_a_loss_of_today() -> None:
    def act(s: Recorder, slice: object) -> None:
        if len(s.slices) == 1:
            s.market_order(SPY, 100)
        if len(s.slices) == 4:
            s.market_order(SPY, -100)

    strategy = Recorder(act=act)
    tape = [trade(1, 100.0), trade(2, 200.0), trade(DAY, 199.0), trade(DAY + 1, 180.0)]
    await run_on_events(strategy, moments(*tape), trading={"max_daily_loss": 1000, "fee_bps": 0})
    assert states(strategy)[-1].startswith("rejected trading is halted: the loss of 2024-01-02")


@given(st.lists(st.integers(-3000, 3000), min_size=1, max_size=30))
def test_no_loss_beyond_the_limit_goes_unsaid(changes: list[int]) -> None:
    guard, equity, said = DailyLoss(Decimal(1000)), Decimal(100_000), False
    start = equity
    for n, change in enumerate(changes):
        _, reason = guard.look(date(2024, 1, 2), equity, n, halted=said)
        assert bool(reason) == (start - equity >= 1000 and not said)
        said = said or bool(reason)
        equity += change


def test_after_a_person_has_looked_the_day_counts_anew() -> None:
    guard, today = DailyLoss(Decimal(100)), date(2024, 1, 2)
    guard.look(today, Decimal(1000), 1, halted=False)
    assert guard.look(today, Decimal(900), 2, halted=False)[1]
    assert guard.look(today, Decimal(850), 3, halted=True) == (None, "")
    begun, reason = guard.look(today, Decimal(840), 4, halted=False)
    assert (begun, reason) == (DayBegun("2024-01-02", Decimal(840), 4), "")
    assert guard.look(today, Decimal(741), 5, halted=False)[1] == ""
    assert guard.look(today, Decimal(740), 6, halted=False)[1]


@pytest.mark.parametrize("equity", ["100000", "99999.999999999999"])
def test_a_restart_does_not_begin_the_day_anew(tmp_path: Path, equity: str) -> None:
    journal = Journal.open(tmp_path / FILE)
    journal.write([Opening(Decimal(1), 1), DayBegun("2024-01-01", Decimal(7), 1)])
    journal.write([DayBegun("2024-01-02", Decimal(equity), 2)])
    day = journal.recover().day
    journal.close()
    assert day == DayBegun("2024-01-02", Decimal(equity), 2)
    guard = DailyLoss(Decimal(1000))
    guard.restore(day)
    begun, reason = guard.look(date(2024, 1, 2), Decimal(98_000), 3, halted=False)
    assert begun is None
    assert reason.startswith("the loss of 2024-01-02 is")
