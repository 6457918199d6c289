"""Stops, trails, auctions, times in force and amendments, at the venue's matching."""

from collections.abc import Sequence
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.events import MINUTE, SECOND, Bar, MarketEvent, Quote, Symbol, Trade
from feeds.venue.matching import Matcher
from feeds.venue.orders import (
    Accepted,
    Amended,
    AmendRejected,
    Cancelled,
    Changes,
    Expired,
    Filled,
    Rejected,
    Report,
    Trailed,
    Triggered,
    VenueOrder,
)
from feeds.venue.working import Past

AAPL = Symbol("AAPL")
NOW = 10 * MINUTE


def quote(bid: float, ask: float, size: float = 0.0, now: int = NOW) -> Quote:
    return Quote(AAPL, now, now, bid, size, ask, size)


def trade(price: float, now: int = NOW, size: float = 1.0) -> Trade:
    return Trade(AAPL, now, now, price, size)


def bar(open_: float, high: float, low: float, close: float, start: int = NOW) -> Bar:
    return Bar(AAPL, start, start + MINUTE, MINUTE, open_, high, low, close, 5.0)


def order(
    *, buy: bool = True, quantity: str = "10", name: str = "o", **terms: object
) -> VenueOrder:
    made = VenueOrder(name, AAPL, buy, Decimal(quantity))
    exact = {
        key: Decimal(value) if isinstance(value, str) else value for key, value in terms.items()
    }
    return msgspec.structs.replace(made, **exact)


def told(*events: MarketEvent, now: int = NOW) -> Matcher:
    matcher = Matcher()
    matcher.on_market(events, now)
    return matcher


def words(reports: Sequence[Report]) -> list[str]:
    """Each report in a word, fills with their price."""
    return [
        f"{each.quantity} at {each.price:f}" if isinstance(each, Filled) else type(each).__name__
        for each in reports
    ]


# ---- stops -----------------------------------------------------------------------------------


def test_a_stop_sleeps_until_a_trade_reaches_it_and_fills_at_the_market() -> None:
    matcher = told(trade(100.0), quote(99.9, 100.1))
    assert words(matcher.submit(order(buy=False, stop_price="95"), NOW)) == ["Accepted"]
    assert matcher.on_trade(trade(95.01), NOW) == []
    matcher.on_quote(quote(93.0, 94.9), NOW)  # trades decide, where there are any
    reports = matcher.on_trade(trade(95.0), NOW)
    assert reports[0] == Triggered("o", NOW, Decimal(95))
    assert words(reports[1:]) == ["10 at 93.0"]


def test_a_buy_stop_is_reached_from_below() -> None:
    matcher = told(trade(100.0))
    assert words(matcher.submit(order(stop_price="105"), NOW)) == ["Accepted"]
    assert matcher.on_trade(trade(104.99), NOW) == []
    assert words(matcher.on_trade(trade(106.0), NOW)) == ["Triggered", "10 at 106.0"]


def test_a_stop_that_is_reached_already_is_a_market_order() -> None:
    assert words(told(trade(100.0)).submit(order(stop_price="99"), NOW)) == [
        "Accepted",
        "Triggered",
        "10 at 100.0",
    ]


def test_without_trades_the_side_that_would_fill_decides() -> None:
    matcher = told(quote(99.0, 101.0))
    assert words(matcher.submit(order(buy=False, stop_price="98"), NOW)) == ["Accepted"]
    assert matcher.on_quote(quote(98.1, 103.0), NOW) == []
    assert words(matcher.on_quote(quote(98.0, 103.0), NOW)) == ["Triggered", "10 at 98.0"]


def test_a_print_far_off_the_quote_reaches_no_stop() -> None:
    matcher = told(trade(100.0), quote(99.9, 100.1))
    matcher.submit(order(buy=False, stop_price="95"), NOW)
    assert matcher.on_trade(trade(1.0), NOW) == []
    assert matcher.on_trade(trade(100.0), NOW) == []


@pytest.mark.parametrize("price", [float("nan"), float("inf"), 0.0, -1.0])
def test_what_is_no_price_reaches_no_stop(price: float) -> None:
    for buy in (True, False):
        matcher = told(trade(100.0))
        matcher.submit(order(buy=buy, stop_price="110" if buy else "90"), NOW)
        assert matcher.on_trade(trade(price), NOW) == []


def test_a_stop_limit_waits_for_its_limit_once_it_was_reached() -> None:
    matcher = told(trade(100.0), quote(99.9, 100.1))
    matcher.submit(order(stop_price="105", limit_price="105.5"), NOW)
    matcher.on_quote(quote(105.8, 106.0), NOW)
    assert words(matcher.on_trade(trade(106.0), NOW)) == ["Triggered"]
    assert words(matcher.on_quote(quote(105.0, 105.4), NOW)) == ["10 at 105.5"]


def test_an_order_that_was_triggered_elsewhere_does_not_sleep() -> None:
    matcher = told(trade(100.0))
    past = Past(fills=2, quantity=Decimal(4), triggered=True)
    reports = matcher.submit(order(buy=False, stop_price="50"), NOW, past)
    assert words(reports) == ["Accepted", "6 at 100.0"]
    assert isinstance(reports[1], Filled)
    assert reports[1].fill_id == "o-3"


def test_a_trailing_stop_follows_the_best_price_and_never_goes_back() -> None:
    matcher = told(trade(100.0))
    matcher.submit(order(buy=False, trail="2"), NOW)
    for price, stop in ((99.0, None), (101.0, 99), (103.0, 101), (101.5, None), (103.1, None)):
        moved = [] if stop is None else [Trailed("o", NOW, Decimal(stop))]
        assert matcher.on_trade(trade(price), NOW) == moved  # each tenth of its distance
    reports = matcher.on_trade(trade(101.0), NOW)
    assert reports[0] == Triggered("o", NOW, Decimal("101.1"))
    assert words(reports[1:]) == ["10 at 101.0"]


def test_a_trail_may_be_a_share_of_the_price() -> None:
    matcher = told(trade(100.0))
    matcher.submit(order(trail_share="0.05"), NOW)
    for price, stop in ((90.0, "94.500"), (80.0, "84.000"), (83.9, None)):
        moved = [] if stop is None else [Trailed("o", NOW, Decimal(stop))]
        assert matcher.on_trade(trade(price), NOW) == moved
    assert words(matcher.on_trade(trade(84.0), NOW)) == ["Triggered", "10 at 84.0"]


PRICES = st.lists(st.integers(50, 150).map(float), min_size=1, max_size=30)


@given(PRICES, st.integers(1, 20), st.booleans())
def test_a_trailing_stop_is_reached_at_the_first_turn_of_its_distance(
    prices: list[float], distance: int, buy: bool
) -> None:
    """Against the plain reading: the first price that is `distance` worse than the best before."""
    matcher = told(trade(100.0))
    matcher.submit(order(buy=buy, trail=str(distance)), NOW)
    best, expected = 100.0, None
    for place, price in enumerate(prices):
        if (price - best if buy else best - price) >= distance:
            expected = place
            break
        best = min(best, price) if buy else max(best, price)
    found = None
    for place, price in enumerate(prices):
        if any(isinstance(each, Triggered) for each in matcher.on_trade(trade(price), NOW)):
            found = place
            break
    assert found == expected


# ---- bars ------------------------------------------------------------------------------------


def test_a_bar_that_went_through_a_stop_fills_there_or_where_it_opened() -> None:
    for opened, price in ((100.0, "95"), (93.0, "93")):
        matcher = told(bar(100.0, 101.0, 99.0, 100.0, NOW - MINUTE))
        matcher.submit(order(buy=False, stop_price="95"), NOW)
        reports = matcher.on_trade(bar(opened, 101.0, 90.0, 98.0), NOW + MINUTE)
        assert words(reports) == ["Triggered", f"10 at {Decimal(price):f}"] or words(reports) == [
            "Triggered",
            f"10 at {price}.0",
        ]


def test_a_bar_that_went_through_a_limit_fills_what_waited_since_before() -> None:
    matcher = told(bar(100.0, 101.0, 99.0, 100.0, NOW - MINUTE))
    matcher.submit(order(limit_price="95"), NOW)
    assert matcher.on_trade(bar(100.0, 101.0, 95.0, 98.0), NOW + MINUTE) == []  # touched only
    reports = matcher.on_trade(bar(98.0, 99.0, 94.0, 98.0, NOW + MINUTE), NOW + 2 * MINUTE)
    assert words(reports) == ["10 at 95"]


def test_what_a_bar_reached_before_the_order_came_counts_for_nothing() -> None:
    matcher = told(bar(100.0, 101.0, 99.0, 100.0, NOW - MINUTE))
    matcher.submit(order(limit_price="95"), NOW + SECOND)
    matcher.submit(order(buy=False, stop_price="95", name="s"), NOW + SECOND)
    assert matcher.on_trade(bar(100.0, 101.0, 90.0, 98.0), NOW + MINUTE) == []


# ---- times in force and auctions ---------------------------------------------------------------


def test_fill_or_kill_is_whole_or_nothing() -> None:
    matcher = told(quote(99.0, 100.0, 4.0))
    whole = {"immediate": True, "whole": True}
    assert words(matcher.submit(order(quantity="5", name="a", **whole), NOW)) == [
        "Accepted",
        "Cancelled",
    ]
    assert words(matcher.submit(order(quantity="4", name="b", **whole), NOW)) == [
        "Accepted",
        "4 at 100.0",
    ]


def test_an_order_of_the_day_ends_at_its_time_although_no_data_comes() -> None:
    matcher = told(quote(99.0, 100.0))
    matcher.submit(order(limit_price="50", expires=NOW + SECOND), NOW)
    assert matcher.next_wake() == NOW + SECOND
    assert matcher.on_market((), NOW + SECOND - 1) == []
    assert matcher.on_market((), NOW + SECOND) == [Expired("o", NOW + SECOND, "its time is over")]
    assert matcher.next_wake() is None
    assert words(matcher.submit(order(name="late", expires=NOW), NOW)) == ["Accepted", "Expired"]


def test_nobody_is_woken_for_an_order_that_has_ended() -> None:
    matcher = told(quote(99.0, 100.0))
    matcher.submit(order(limit_price="50", expires=NOW + SECOND), NOW)
    matcher.cancel("o", NOW)
    assert matcher.next_wake() is None


def test_an_order_for_the_open_takes_the_first_market_after_it() -> None:
    opens = NOW + SECOND
    matcher = told(quote(99.0, 100.0))
    matcher.submit(order(at_open=opens), NOW)
    assert matcher.on_quote(quote(98.0, 99.0, now=opens - 1), opens) == []
    assert words(matcher.on_quote(quote(101.0, 102.0, now=opens), opens)) == ["10 at 102.0"]
    bars = told(bar(1.0, 1.0, 1.0, 1.0, NOW - MINUTE))
    bars.submit(order(at_open=NOW), NOW - SECOND)
    assert words(bars.on_trade(bar(7.0, 9.0, 6.0, 8.0), NOW + MINUTE)) == ["10 at 7.0"]


def test_an_order_for_the_close_takes_the_market_as_it_stands_then() -> None:
    closes = NOW + SECOND
    matcher = told(quote(99.0, 100.0))
    matcher.submit(order(at_close=closes, expires=closes + MINUTE), NOW)
    assert matcher.on_quote(quote(98.0, 99.0), NOW) == []
    assert matcher.next_wake() == closes
    # What is told at the moment of the close belongs to it.
    assert words(matcher.on_quote(quote(97.0, 98.0, now=closes), closes)) == ["10 at 98.0"]
    quiet = told(quote(99.0, 100.0))
    quiet.submit(order(at_close=closes, expires=closes + MINUTE), NOW)
    assert words(quiet.on_market((), closes)) == ["10 at 100.0"]


def test_where_the_market_is_shut_only_the_close_fills() -> None:
    matcher = Matcher(is_open=lambda symbol, now: now < NOW)
    matcher.on_quote(quote(99.0, 100.0), NOW - 1)
    matcher.submit(order(at_close=NOW, expires=NOW + MINUTE, name="close"), NOW - 1)
    matcher.submit(order(limit_price="90", name="rest"), NOW - 1)
    assert words(matcher.on_quote(quote(79.0, 80.0), NOW)) == ["10 at 80.0"]


# ---- latency and amendments ----------------------------------------------------------------------


def test_with_latency_an_order_meets_the_market_of_its_arrival() -> None:
    matcher = Matcher(latency_ns=SECOND)
    matcher.on_quote(quote(99.0, 100.0), NOW)
    assert matcher.submit(order(), NOW) == []
    assert matcher.next_wake() == NOW + SECOND
    assert matcher.on_quote(quote(109.0, 110.0), NOW + SECOND - 1) == []
    assert words(matcher.on_market((), NOW + SECOND)) == ["Accepted", "10 at 110.0"]
    assert matcher.submit(order(limit_price="50", name="p"), NOW) == []
    matcher.on_market((), NOW + SECOND)
    assert matcher.cancel("p", NOW + SECOND) == []
    assert words(matcher.on_market((), NOW + 2 * SECOND)) == ["Cancelled"]


def test_an_amended_order_goes_on_with_its_new_terms() -> None:
    matcher = told(quote(99.0, 100.0, 4.0))
    assert words(matcher.submit(order(limit_price="100"), NOW)) == ["Accepted", "4 at 100.0"]
    changes = Changes(quantity=Decimal(6), limit_price=Decimal("99.5"))
    (report,) = matcher.amend("o", changes, NOW)
    assert isinstance(report, Amended)
    assert report.order == order(quantity="6", limit_price="99.5")
    matcher.on_quote(quote(99.4, 99.6), NOW)
    assert words(matcher.on_quote(quote(99.0, 99.4), NOW)) == ["2 at 99.5"]


def test_an_amendment_may_fill_at_once() -> None:
    matcher = told(quote(99.0, 100.0))
    matcher.submit(order(limit_price="95"), NOW)
    reports = matcher.amend("o", Changes(limit_price=Decimal(101)), NOW)
    assert words(reports) == ["Amended", "10 at 100.0"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (Changes(quantity=Decimal(4)), "4 of it is filled already"),
        (Changes(quantity=Decimal("4.5")), "not a multiple of the lot"),
        (Changes(limit_price=Decimal(0)), "the limit price is 0"),
        (Changes(stop_price=Decimal(5)), "it has no stop price to change"),
        (Changes(trail=Decimal(5)), "it has no trail to change"),
    ],
)
def test_what_cannot_be_amended_says_why_and_goes_on(changes: Changes, reason: str) -> None:
    matcher = told(quote(99.0, 100.0, 4.0))
    matcher.submit(order(limit_price="100"), NOW)
    (report,) = matcher.amend("o", changes, NOW)
    assert isinstance(report, AmendRejected)
    assert reason in report.reason
    assert words(matcher.on_quote(quote(99.0, 100.0), NOW)) == ["6 at 100.0"]


def test_what_does_not_work_cannot_be_amended() -> None:
    matcher = told(quote(99.0, 100.0))
    matcher.submit(order(), NOW)
    for name in ("o", "never sent"):
        reports = matcher.amend(name, Changes(quantity=Decimal(5)), NOW)
        assert reports == [AmendRejected(name, NOW, "it does not work")]
    matcher = told(trade(100.0))
    matcher.submit(order(buy=False, stop_price="100", limit_price="105"), NOW)
    (report,) = matcher.amend("o", Changes(stop_price=Decimal(90)), NOW)
    assert isinstance(report, AmendRejected)
    assert report.reason == "its stop price was reached already"


@pytest.mark.parametrize(
    "terms",
    [
        {"stop_price": "0"},
        {"trail": "-1"},
        {"trail_share": "1"},
        {"trail_share": "NaN"},
        {"trail": "1", "trail_share": "0.1"},
    ],
)
def test_what_is_no_stop_is_rejected(terms: dict[str, object]) -> None:
    (report,) = told(trade(100.0)).submit(order(**terms), NOW)  # type: ignore[arg-type]  # terms
    assert isinstance(report, Rejected)


# ---- any order of events -------------------------------------------------------------------------

TERMS = st.fixed_dictionaries(
    {"buy": st.booleans()},
    optional={
        "limit_price": st.sampled_from(["95", "100", "105"]),
        "stop_price": st.sampled_from(["96", "100", "104"]),
        "immediate": st.booleans(),
        "whole": st.booleans(),
        "expires": st.integers(NOW - 2, NOW + 20),
        "at_open": st.integers(NOW - 2, NOW + 20),
        "at_close": st.integers(NOW - 2, NOW + 20),
        "trail": st.sampled_from(["1", "5"]),
    },
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), TERMS),
        st.tuples(st.just("cancel"), st.integers(0, 5)),
        st.tuples(st.just("amend"), st.integers(0, 5), st.integers(1, 20)),
        st.tuples(st.just("trade"), st.integers(90, 110)),
        st.tuples(st.just("quote"), st.integers(90, 110), st.integers(0, 9)),
        st.tuples(st.just("time")),
    ),
    max_size=40,
)


@given(STEPS, st.integers(0, 3))
def test_every_order_has_one_life(steps: list[tuple[object, ...]], latency: int) -> None:
    """Accepted first, ended once, never overfilled, silent after its end, and no wake is left."""
    matcher = Matcher(latency_ns=latency)
    now, count = NOW, 0
    lives: dict[str, list[Report]] = {}

    def hear(reports: Sequence[Report]) -> None:
        for each in reports:
            lives.setdefault(each.order_id, []).append(each)

    for step in steps:
        now += 1
        match step:
            case ("submit", dict() as terms):
                name = str(count)
                count += 1
                hear(matcher.submit(order(name=name, **terms), now))
            case ("cancel", int() as number):
                hear(matcher.cancel(str(number), now))
            case ("amend", int() as number, int() as wanted):
                hear(matcher.amend(str(number), Changes(quantity=Decimal(wanted)), now))
            case ("trade", int() as price):
                hear(matcher.on_trade(trade(float(price), now), now))
            case ("quote", int() as price, int() as size):
                hear(matcher.on_quote(quote(price - 1.0, price + 1.0, float(size), now), now))
            case _:
                hear(matcher.on_market((), now))
        wake = matcher.next_wake()
        # What is due now happens when the time is told.
        assert wake is None or wake > now or step[0] in {"submit", "cancel", "amend"}
    hear(matcher.on_market((), now + MINUTE))
    for told_of in lives.values():
        life = [each for each in told_of if not isinstance(each, AmendRejected)]
        if not life:
            continue
        assert isinstance(life[0], Accepted)
        quantity, filled = Decimal(10), Decimal(0)
        for place, each in enumerate(life):
            if isinstance(each, Amended):
                quantity = each.order.quantity
            elif isinstance(each, Filled):
                filled += each.quantity
                assert each.remaining == quantity - filled >= 0
            if isinstance(each, Cancelled | Expired) or filled == quantity:
                assert place == len(life) - 1
    assert matcher.next_wake() is None
