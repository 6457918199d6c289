"""The matching is no kinder than the market, and never fills on what is no market."""

from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.events import (
    MINUTE,
    SECOND,
    Bar,
    FeedState,
    MarketEvent,
    Ohlc,
    Quote,
    QuoteBar,
    Status,
    Symbol,
    Trade,
)
from feeds.venue.costs import FEE_QUANTUM, PercentFee
from feeds.venue.matching import Matcher
from feeds.venue.orders import Accepted, Cancelled, Filled, Rejected, Report, VenueOrder

AAPL, BTC = Symbol("AAPL"), Symbol("BTC/USD")
NAN, INF = float("nan"), float("inf")
NOW = 10 * MINUTE


def quote(
    bid: float, ask: float, size: float = 0.0, *, symbol: Symbol = AAPL, received: int = NOW
) -> Quote:
    return Quote(symbol, received, received, bid, size, ask, size)


def trade(price: float, *, symbol: Symbol = AAPL, received: int = NOW) -> Trade:
    return Trade(symbol, received, received, price, 1.0)


def bar(close: float, start: int = NOW - MINUTE, span: int = MINUTE) -> Bar:
    return Bar(AAPL, start, start + span, span, 1.0, 1000.0, 1.0, close, 5.0)


def quote_bar(bid: float, ask: float, size: float = 0.0) -> QuoteBar:
    return QuoteBar(
        AAPL,
        NOW - MINUTE,
        NOW,
        MINUTE,
        Ohlc(1.0, 1.0, 1.0, bid),
        Ohlc(9.0, 9.0, 9.0, ask),
        size,
        size,
    )


def buy(
    quantity: str = "10", limit: str | None = None, *, order_id: str = "o", immediate: bool = False
) -> VenueOrder:
    return VenueOrder(
        order_id, AAPL, True, Decimal(quantity), Decimal(limit) if limit else None, immediate
    )


def sell(quantity: str = "10", limit: str | None = None, *, order_id: str = "o") -> VenueOrder:
    return VenueOrder(order_id, AAPL, False, Decimal(quantity), Decimal(limit) if limit else None)


def told(*events: MarketEvent, respect_size: bool = True) -> Matcher:
    matcher = Matcher(respect_size=respect_size)
    matcher.on_market(events, NOW)
    return matcher


def fills(reports: Sequence[Report]) -> list[tuple[Decimal, Decimal]]:
    """(quantity, price) of each execution."""
    return [(each.quantity, each.price) for each in reports if isinstance(each, Filled)]


def filled(quantity: str, price: str) -> list[tuple[Decimal, Decimal]]:
    return [(Decimal(quantity), Decimal(price))]


def test_buys_pay_the_ask_and_sells_get_the_bid() -> None:
    assert fills(told(quote(99.9, 100.1)).submit(buy(), NOW)) == filled("10", "100.1")
    assert fills(told(quote(99.9, 100.1)).submit(sell(), NOW)) == filled("10", "99.9")


def test_a_fill_is_told_in_full() -> None:
    reports = told(quote(99.9, 100.1)).submit(buy("3"), NOW)
    assert reports == [
        Accepted("o", NOW),
        Filled(
            "o",
            NOW,
            "o-1",
            AAPL,
            True,
            Decimal(3),
            Decimal("100.1"),
            Decimal("0.03003000"),
            Decimal(0),
        ),
    ]


@pytest.mark.parametrize(
    ("bps", "quantity", "price", "fee"),
    [
        ("1", "1", 50.0, "0.005"),
        ("2.5", "7", 10.01, "0.0175175"),
        ("1", "1", 0.00005, "0"),  # exactly half a quantum goes to the even side
        ("1", "1", 0.00015, "0.00000002"),
        ("0", "1", 50.0, "0"),
        ("-1", "1", 50.0, "-0.005"),
    ],
)
def test_the_fee_is_a_share_of_the_notional_half_even(
    bps: str, quantity: str, price: float, fee: str
) -> None:
    matcher = Matcher(fees=PercentFee(Decimal(bps)))
    matcher.on_quote(quote(price, price), NOW)
    report = matcher.submit(buy(quantity), NOW)[1]
    assert isinstance(report, Filled)
    assert report.fee == Decimal(fee)
    assert report.fee.as_tuple().exponent == FEE_QUANTUM.as_tuple().exponent


def test_a_fill_takes_what_is_displayed_and_the_rest_waits_for_the_next_quote() -> None:
    matcher = told(quote(99.0, 100.0, 4.0))
    reports = matcher.submit(buy("10"), NOW)
    reports += matcher.on_quote(quote(99.0, 101.0, 5.0), NOW)
    reports += matcher.on_quote(quote(99.0, 102.0, 5.0), NOW)
    assert fills(reports) == filled("4", "100") + filled("5", "101") + filled("1", "102")
    executions = [each for each in reports if isinstance(each, Filled)]
    assert [each.fill_id for each in executions] == ["o-1", "o-2", "o-3"]
    assert [each.remaining for each in executions] == [6, 1, 0]
    assert matcher.cancel("o", NOW) == []


def test_a_displayed_size_is_given_once_in_order_of_arrival() -> None:
    matcher = told(quote(99.0, 100.0, 6.0))
    assert fills(matcher.submit(buy("4", order_id="a"), NOW)) == filled("4", "100")
    assert fills(matcher.submit(buy("4", order_id="b"), NOW)) == filled("2", "100")
    assert fills(matcher.submit(buy("4", order_id="c"), NOW)) == []
    # The other side is another size, and a trade does not bring the ask back.
    assert fills(matcher.submit(sell("4", order_id="d"), NOW)) == filled("4", "99")
    assert fills(matcher.submit(sell("4", order_id="e", limit="99"), NOW)) == filled("2", "99")
    assert isinstance(matcher.cancel("e", NOW)[0], Cancelled)
    assert fills(matcher.on_trade(trade(100.0), NOW)) == []
    reports = matcher.on_quote(quote(99.0, 100.0, 3.0), NOW)
    assert [each.order_id for each in reports] == ["b", "c"]
    assert fills(reports) == filled("2", "100") + filled("1", "100")


def test_sizes_do_not_limit_where_they_are_not_told_or_not_respected() -> None:
    assert fills(told(quote(1.0, 2.0, 0.0)).submit(buy("1000"), NOW)) == filled("1000", "2")
    loose = told(quote(1.0, 2.0, 3.0), respect_size=False)
    assert fills(loose.submit(buy("1000"), NOW)) == filled("1000", "2")


def test_fills_come_in_lots() -> None:
    matcher = told(quote(1.0, 2.0, 3.7))
    assert fills(matcher.submit(buy("5"), NOW)) == filled("3", "2")
    assert fills(matcher.on_quote(quote(1.0, 2.0, 0.9), NOW)) == []
    assert fills(matcher.on_quote(quote(1.0, 2.0, 2.5), NOW)) == filled("2", "2")


@pytest.mark.parametrize("size", [NAN, INF, -1.0, 1e116])
def test_a_size_that_is_no_size_gives_nothing(size: float) -> None:
    assert fills(told(quote(1.0, 2.0, size)).submit(buy(), NOW)) == []


@pytest.mark.parametrize(
    ("bid", "ask"),
    [
        (100.1, 100.0),
        (NAN, 100.0),
        (99.0, NAN),
        (0.0, 1.0),
        (-1.0, 1.0),
        (99.0, INF),
        (INF, INF),
        (1.0, 1e116),
        (5e-324, 1.0),
    ],
)
def test_nothing_fills_on_a_quote_that_is_no_market(bid: float, ask: float) -> None:
    matcher = told(quote(99.0, 100.0), quote(bid, ask))
    reports = matcher.submit(buy(order_id="market"), NOW)
    reports += matcher.submit(buy(limit="1000", order_id="limit"), NOW)
    reports += matcher.on_quote(quote(bid, ask), NOW)
    assert fills(reports) == []
    assert fills(matcher.on_quote(quote(99.0, 101.0), NOW)) == filled("10", "101") * 2


@pytest.mark.parametrize("price", [NAN, INF, 0.0, -5.0, 1e116, 5e-324])
def test_nothing_fills_on_a_trade_that_is_no_price(price: float) -> None:
    assert fills(told(trade(price)).submit(buy(), NOW)) == []


def test_a_market_order_waits_for_the_first_data() -> None:
    matcher = Matcher()
    assert matcher.submit(buy(), NOW) == [Accepted("o", NOW)]
    assert matcher.on_quote(quote(1.0, 2.0, symbol=BTC), NOW) == []
    assert fills(matcher.on_quote(quote(99.0, 100.0), NOW)) == filled("10", "100")


def test_without_any_quote_the_last_trade_is_the_market() -> None:
    assert fills(told(trade(50.0), trade(51.5)).submit(sell(), NOW)) == filled("10", "51.5")


def test_once_there_are_quotes_trades_are_not_the_market() -> None:
    matcher = told(quote(99.0, 100.0), trade(98.0))
    assert fills(matcher.submit(sell(), NOW)) == filled("10", "99")
    assert fills(matcher.submit(buy(limit="98.5", order_id="b"), NOW)) == []
    assert fills(matcher.on_trade(trade(90.0), NOW)) == []


def test_bars_fill_at_their_close() -> None:
    assert fills(told(bar(55.0)).submit(buy(), NOW)) == filled("10", "55")
    assert fills(told(quote_bar(54.0, 56.0, 4.0)).submit(buy(), NOW)) == filled("4", "56")
    assert fills(told(quote_bar(54.0, 56.0)).submit(sell(), NOW)) == filled("10", "54")


def test_stale_data_fills_nothing_and_fresh_data_does() -> None:
    heard = NOW - MINUTE
    assert fills(told(quote(99.0, 100.0, received=heard)).submit(buy(), NOW)) != []
    matcher = told(quote(99.0, 100.0, received=heard - 1))
    assert fills(matcher.submit(buy(), NOW)) == []
    assert fills(matcher.on_quote(quote(98.0, 99.0, received=heard - 1), NOW)) == []
    assert fills(matcher.on_quote(quote(98.0, 99.0), NOW)) == filled("10", "99")


def test_the_age_allowed_is_a_setting() -> None:
    matcher = Matcher(max_quote_age_ns=SECOND)
    matcher.on_quote(quote(99.0, 100.0), NOW)
    assert fills(matcher.submit(buy(), NOW + SECOND + 1)) == []


def test_a_bar_is_fresh_for_its_span() -> None:
    hour = 60 * MINUTE
    assert fills(told(bar(55.0, span=hour)).submit(buy(), NOW - MINUTE + 2 * hour)) != []
    assert fills(told(bar(55.0, span=hour)).submit(buy(), NOW - MINUTE + 2 * hour + 1)) == []


def test_a_bar_that_arrives_late_is_fresh_when_it_arrives() -> None:
    late = Bar(AAPL, 0, NOW, MINUTE, 1.0, 1.0, 1.0, 55.0, 5.0)
    assert fills(told(late).submit(buy(), NOW)) == filled("10", "55")


def test_a_marketable_limit_fills_at_the_better_price() -> None:
    assert fills(told(quote(99.0, 100.0)).submit(buy(limit="105"), NOW)) == filled("10", "100")
    assert fills(told(quote(99.0, 100.0)).submit(sell(limit="90"), NOW)) == filled("10", "99")
    assert fills(told(quote(99.0, 100.0)).submit(buy(limit="100"), NOW)) == filled("10", "100")


def test_a_limit_that_waited_fills_at_its_limit_when_the_quote_crosses() -> None:
    matcher = told(quote(99.0, 100.0))
    assert fills(matcher.submit(buy(limit="98"), NOW)) == []
    assert fills(matcher.on_quote(quote(98.0, 98.01), NOW)) == []
    assert fills(matcher.on_quote(quote(97.0, 97.5), NOW)) == filled("10", "98")
    assert fills(matcher.submit(sell(limit="99.5", order_id="s"), NOW)) == []
    assert fills(matcher.on_quote(quote(99.6, 99.7), NOW)) == filled("10", "99.5")


def test_a_limit_that_waited_fills_when_the_quote_touches_it() -> None:
    matcher = told(quote(99.0, 100.0))
    matcher.submit(buy(limit="98.1", order_id="b"), NOW)
    matcher.submit(sell(limit="101.3", order_id="s"), NOW)
    assert fills(matcher.on_quote(quote(98.0, 98.1), NOW)) == filled("10", "98.1")
    assert fills(matcher.on_quote(quote(101.3, 101.4), NOW)) == filled("10", "101.3")


def test_a_limit_that_met_no_market_yet_is_not_waiting_for_its_price() -> None:
    matcher = Matcher()
    assert fills(matcher.submit(buy(limit="105"), NOW)) == []
    assert fills(matcher.on_quote(quote(99.0, 100.0), NOW)) == filled("10", "100")


def test_the_rest_of_a_marketable_limit_goes_on_at_the_markets_price() -> None:
    matcher = told(quote(99.0, 100.0, 4.0))
    reports = matcher.submit(buy(limit="101"), NOW)
    reports += matcher.on_quote(quote(99.0, 100.5, 4.0), NOW)
    reports += matcher.on_quote(quote(99.0, 102.0, 4.0), NOW)  # from here on it waits
    reports += matcher.on_quote(quote(99.0, 100.0, 4.0), NOW)
    assert fills(reports) == filled("4", "100") + filled("4", "100.5") + filled("2", "101")


def test_an_immediate_order_never_waits() -> None:
    matcher = told(quote(99.0, 100.0, 4.0))
    reports = matcher.submit(buy(immediate=True), NOW)
    assert fills(reports) == filled("4", "100")
    assert isinstance(reports[-1], Cancelled)
    assert fills(matcher.on_quote(quote(99.0, 100.0), NOW)) == []
    whole = matcher.submit(buy(order_id="whole", immediate=True), NOW)
    assert [type(each) for each in whole] == [Accepted, Filled]
    early = Matcher().submit(buy(immediate=True), NOW)
    assert [type(each) for each in early] == [Accepted, Cancelled]
    far = matcher.submit(buy(limit="50", order_id="far", immediate=True), NOW)
    assert [type(each) for each in far] == [Accepted, Cancelled]


def test_a_cancelled_order_fills_no_more_and_is_cancelled_once() -> None:
    matcher = Matcher()
    matcher.submit(buy(), NOW)
    assert matcher.cancel("o", NOW) == [Cancelled("o", NOW, "cancelled on request")]
    assert matcher.cancel("o", NOW) == []
    assert matcher.cancel("never sent", NOW) == []
    assert matcher.on_quote(quote(99.0, 100.0), NOW) == []


def test_an_id_is_good_once() -> None:
    matcher = told(quote(99.0, 100.0))
    matcher.submit(buy(), NOW)
    assert matcher.submit(buy(), NOW) == [Rejected("o", NOW, "the id o was used before")]


@pytest.mark.parametrize("bad", ["NaN", "sNaN", "Infinity", "0", "-1", "1e30"])
def test_what_is_no_order_is_rejected(bad: str) -> None:
    matcher = told(quote(99.0, 100.0))
    for order in (buy(bad, order_id="a"), buy("1", bad, order_id="b")):
        (report,) = matcher.submit(order, NOW)
        assert isinstance(report, Rejected)


def test_an_order_between_lots_is_rejected() -> None:
    (report,) = told(quote(99.0, 100.0)).submit(buy("1.5"), NOW)
    assert report == Rejected("o", NOW, "the quantity 1.5 is not a multiple of the lot, 1")


def test_a_batch_is_taken_in_its_order_and_other_events_are_passed_over() -> None:
    matcher = Matcher()
    matcher.submit(buy(), NOW)
    status = Status("feed", FeedState.LIVE, NOW)
    batch = [status, trade(7.0, symbol=BTC), quote(99.0, 100.0, 4.0), quote(98.0, 99.0)]
    assert fills(matcher.on_market(batch, NOW)) == (  # type: ignore[arg-type]
        filled("4", "100") + filled("6", "99")
    )
    assert matcher.on_market([status], NOW) == []  # type: ignore[list-item]


ANY = st.one_of(st.floats(), st.sampled_from([99.0, 100.0, 100.5, 101.0]))
HEARD = st.integers(NOW - 2 * MINUTE, NOW)
QUOTES = st.builds(Quote, st.just(AAPL), st.just(NOW), HEARD, ANY, ANY, ANY, ANY)
TRADES = st.builds(Trade, st.just(AAPL), st.just(NOW), st.just(NOW), ANY, ANY)
ORDERS = st.lists(
    st.tuples(
        st.booleans(), st.integers(1, 50), st.none() | st.sampled_from(["99.5", "100", "101"])
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=200)
@given(st.lists(QUOTES | TRADES, max_size=12), ORDERS, st.integers(0, 12))
def test_no_fill_is_kinder_than_the_market(
    events: list[MarketEvent],
    wanted: list[tuple[bool, int, str | None]],
    position: int,
) -> None:
    """Whatever the data, each fill has a sane fresh market behind it, and orders never overfill."""
    matcher = Matcher()
    orders = {
        str(n): VenueOrder(
            str(n), AAPL, is_buy, Decimal(quantity), Decimal(limit) if limit else None
        )
        for n, (is_buy, quantity, limit) in enumerate(wanted)
    }
    reports: list[tuple[Report, list[MarketEvent]]] = []
    for n, event in enumerate([*events, quote(100.0, 100.5, 7.0)]):
        if n == min(position, len(events)):
            for order in orders.values():
                reports += [(report, events[:n]) for report in matcher.submit(order, NOW)]
        reports += [(each, [*events, event][: n + 1]) for each in matcher.on_market([event], NOW)]
    left = {order_id: order.quantity for order_id, order in orders.items()}
    for report, seen in reports:
        if not isinstance(report, Filled):
            continue
        order = orders[report.order_id]
        left[report.order_id] -= report.quantity
        assert report.remaining == left[report.order_id] >= 0
        assert report.quantity == int(report.quantity) > 0
        quotes = [each for each in seen if isinstance(each, Quote)]
        market = quotes[-1] if quotes else seen[-1]
        assert NOW - market.received <= MINUTE
        if isinstance(market, Quote):
            assert market.is_sane
            side = Decimal(str(market.ask if order.is_buy else market.bid))
        else:
            assert isinstance(market, Trade)
            side = Decimal(str(market.price))
        assert report.price >= side if order.is_buy else report.price <= side
        if order.limit_price is not None:
            within = order.limit_price - report.price
            assert within >= 0 if order.is_buy else within <= 0


def test_a_quote_far_off_the_trades_fills_nothing_until_one_of_them_moves() -> None:
    matcher = told(trade(100.0), quote(999.0, 1001.0))
    assert fills(matcher.submit(buy(), NOW)) == []
    assert fills(matcher.on_quote(quote(119.0, 121.0), NOW)) == filled("10", "121.0")
    matcher = told(trade(100.0), quote(999.0, 1001.0))
    assert fills(matcher.submit(buy(), NOW)) == []
    assert fills(matcher.on_trade(trade(1000.0), NOW)) == filled("10", "1001.0")


def test_a_trade_of_long_ago_is_no_measure_of_a_quote() -> None:
    matcher = told(trade(100.0, received=NOW - 2 * MINUTE), quote(999.0, 1001.0))
    assert fills(matcher.submit(buy(), NOW)) == filled("10", "1001.0")
