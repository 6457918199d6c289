"""Every type of order through the whole engine, on a tape: from the wish to the events."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from feeds.events import SECOND, Quote
from runtime import OrderState, OrderTicket, Slice, TimeInForce
from runtime.testing import run_on_events
from tests.stories.market import BTC, SPY, T0, Recorder, moments, once, quote, trade


def clock(text: str) -> float:
    """Seconds after T0 of a time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() - T0 / SECOND


OPEN, CLOSE = clock("2024-01-02T14:30"), clock("2024-01-02T21:00")
NEXT_OPEN, NEXT_CLOSE = OPEN + 86400, CLOSE + 86400


def states(strategy: Recorder) -> list[str]:
    return [f"{event.status} {event.message}".rstrip() for event in strategy.order_events]


async def test_a_stop_protects_a_position_until_it_is_reached() -> None:
    def act(s: Recorder) -> None:
        s.market_order(SPY, 10)
        s.stop_market_order(SPY, -10, 95)

    strategy = Recorder(act=once(act))
    prices = [100.0, 100.0, 96.0, 94.0, 90.0]
    await run_on_events(strategy, moments(*(trade(n, p) for n, p in enumerate(prices, 1))))
    fills = [e for e in strategy.order_events if e.fill_quantity]
    assert [f"{e.side} {e.fill_price}" for e in fills] == ["buy 100.0", "sell 94.0"]
    assert "accepted the stop price 95 was reached" in states(strategy)


async def test_a_trailing_stop_keeps_the_profit_of_a_rise() -> None:
    def act(s: Recorder) -> None:
        s.market_order(SPY, 10)
        s.trailing_stop_order(SPY, -10, 0.1, trailing_as_percentage=True)

    strategy = Recorder(act=once(act))
    prices = [100.0, 100.0, 120.0, 109.0, 107.0]
    await run_on_events(strategy, moments(*(trade(n, p) for n, p in enumerate(prices, 1))))
    assert [e.fill_price for e in strategy.order_events if e.fill_quantity] == [100, 107]


async def test_an_order_of_the_day_expires_at_the_close_although_no_data_comes_then() -> None:
    expired: list[datetime] = []

    class Day(Recorder):
        def on_order_event(self, order_event: object) -> None:
            super().on_order_event(order_event)  # type: ignore[arg-type]  # an OrderEvent
            expired.append(self.time)

    strategy = Day(act=once(lambda s: s.limit_order(SPY, 1, 50, time_in_force=TimeInForce.DAY)))
    await run_on_events(strategy, moments(trade(CLOSE - 60), trade(CLOSE + 3600)))
    assert states(strategy) == ["accepted", "expired its time is over"]
    assert expired[-1] == datetime(2024, 1, 2, 21, tzinfo=UTC)


async def test_an_order_of_the_day_in_a_market_that_never_closes_ends_with_the_day() -> None:
    strategy = Recorder(
        BTC, act=once(lambda s: s.limit_order(BTC, 1, 50, time_in_force=TimeInForce.DAY))
    )
    await run_on_events(strategy, moments(trade(5, symbol=BTC), trade(86399, symbol=BTC)))
    assert states(strategy)[1] == "cancelled cancelled on request"  # by the end of the run
    strategy = Recorder(
        BTC, act=once(lambda s: s.limit_order(BTC, 1, 50, time_in_force=TimeInForce.DAY))
    )
    await run_on_events(strategy, moments(trade(5, symbol=BTC), trade(86401, symbol=BTC)))
    assert states(strategy)[1] == "expired its time is over"


async def test_orders_for_the_open_and_the_close_take_part_in_them() -> None:
    def act(s: Recorder) -> None:
        s.market_on_open_order(SPY, 3)
        s.market_on_close_order(SPY, -3)

    strategy = Recorder(act=once(act))
    quotes: list[Quote] = [
        quote(CLOSE + 10, 99, 100),  # after the close: the next session is meant
        quote(NEXT_OPEN - 1, 101, 102),
        quote(NEXT_OPEN + 1, 103, 104),
        quote(NEXT_CLOSE - 10, 105, 106),
        quote(NEXT_CLOSE + 10, 107, 108),
    ]
    await run_on_events(strategy, moments(*quotes))
    fills = [e for e in strategy.order_events if e.fill_quantity]
    assert [f"{e.side} {e.fill_price} at {(e.time - T0) / SECOND}" for e in fills] == [
        f"buy 104 at {NEXT_OPEN + 1}",
        f"sell 105 at {NEXT_CLOSE}",
    ]


async def test_an_auction_that_never_comes_is_refused() -> None:
    strategy = Recorder(BTC, act=once(lambda s: s.market_on_open_order(BTC, 1)))
    await run_on_events(strategy, moments(trade(1, symbol=BTC)))
    assert states(strategy) == [
        "rejected the market of BTC/USD never closes: there is no auction to wait for"
    ]
    late = Recorder(act=once(lambda s: s.market_on_close_order(SPY, 1)))
    await run_on_events(late, moments(trade(CLOSE - 900)))
    assert "until 15.5 minutes before the close" in states(late)[0]


async def test_fill_or_kill_and_immediate_orders_never_wait() -> None:
    def act(s: Recorder) -> None:
        s.limit_order(SPY, 10, 101, time_in_force=TimeInForce.FOK)
        s.limit_order(SPY, 10, 101, time_in_force=TimeInForce.IOC)

    strategy = Recorder(act=once(act))
    await run_on_events(strategy, moments(quote(1, size=4.0), quote(2, size=50.0)))
    assert states(strategy) == [
        "accepted",
        "cancelled it could not fill whole at once",
        "accepted",
        "partially_filled",
        "cancelled nothing more could fill at once",
    ]
    assert strategy.filled == 4


async def test_an_order_can_be_amended_and_its_ticket_shows_it() -> None:
    tickets: list[OrderTicket] = []
    asked: list[bool] = []

    def act(s: Recorder, slice: Slice) -> None:
        match len(s.slices):
            case 1:
                tickets.append(s.limit_order(SPY, 10, 90))
            case 2:
                asked.append(tickets[0].update(limit_price=102, quantity=4))
                asked.append(tickets[0].update(limit_price=103))  # one question at a time
            case 3:
                asked.append(tickets[0].update(limit_price=103))  # it has filled

    strategy = Recorder(act=act)
    await run_on_events(strategy, moments(*(quote(n) for n in range(1, 5))))
    assert asked == [True, False, False]
    assert tickets[0].status is OrderState.FILLED
    assert tickets[0].quantity == 4
    assert tickets[0].average_fill_price == 101
    assert states(strategy) == ["accepted", "accepted", "filled"]


async def test_terms_that_risk_does_not_allow_are_not_asked_for() -> None:
    asked: list[bool] = []

    def act(s: Recorder, slice: Slice) -> None:
        if len(s.slices) == 1:
            ticket = s.limit_order(SPY, 10, 90)
            asked.append(ticket.update(quantity=100_000))
            asked.append(ticket.update(stop_price=5))

    strategy = Recorder(act=act)
    await run_on_events(strategy, moments(quote(1)))
    assert asked == [False, False]


async def test_open_orders_can_be_listed_and_cancelled_together() -> None:
    found: list[int] = []

    def act(s: Recorder) -> None:
        s.limit_order(SPY, 1, 50)
        s.stop_market_order(SPY, 1, 200)
        s.market_order(SPY, 1)
        found.append(len(s.open_orders()))
        found.append(len(s.cancel_open_orders(SPY)))

    strategy = Recorder(act=once(act))
    await run_on_events(strategy, moments(quote(1), quote(2)))
    assert found == [3, 2]
    assert strategy.filled == 1


@pytest.mark.parametrize(
    ("trading", "fee", "price"),
    [
        ({"fee_model": "per-share"}, "1", "101"),
        ({"fee_bps": 10, "slippage_model": "fixed", "slippage_bps": 100}, "1.0201", "102.01"),
    ],
)
async def test_costs_are_chosen_by_settings(
    trading: dict[str, object], fee: str, price: str
) -> None:
    strategy = Recorder(act=once(lambda s: s.market_order(SPY, 10)))
    await run_on_events(strategy, moments(quote(1), quote(2)), trading=trading)
    (event,) = (e for e in strategy.order_events if e.fill_quantity)
    assert (event.fill_price, event.fee) == (Decimal(price), Decimal(fee))


async def test_with_latency_an_order_meets_a_later_market() -> None:
    strategy = Recorder(act=once(lambda s: s.market_order(SPY, 1)))
    quotes = [quote(1), quote(1.2, 109, 110), quote(1.4, 119, 120)]
    await run_on_events(strategy, moments(*quotes), trading={"latency_ms": 300})
    (event,) = (e for e in strategy.order_events if e.fill_quantity)
    assert event.fill_price == 110
    assert event.time - T0 == round(1.3 * SECOND)


async def test_in_regular_hours_alone_nothing_fills_before_the_open() -> None:
    strategy = Recorder(act=once(lambda s: s.market_order(SPY, 1)))
    quotes = [quote(OPEN - 60), quote(OPEN - 1, 109, 110), quote(OPEN, 119, 120)]
    await run_on_events(strategy, moments(*quotes), trading={"hours": "regular"})
    (event,) = (e for e in strategy.order_events if e.fill_quantity)
    assert event.fill_price == 120
