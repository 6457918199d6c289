"""The state machine of an order: every row, every permutation, and what is no row."""

import itertools
from collections.abc import Sequence
from decimal import Decimal, localcontext

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.events import Symbol
from runtime.errors import IllegalTransition
from runtime.trading.orders import (
    ClientOrderId,
    Fill,
    Order,
    OrderEvent,
    OrderState,
    OrderType,
    OrderUpdate,
    Side,
    UpdateKind,
)
from runtime.trading.tickets import Amendment, OrderTicket
from runtime.trading.tracked import TRANSITIONS, Request, TrackedOrder

ID, AAPL = ClientOrderId("run-1"), Symbol("AAPL")
ORDER = Order(
    id=ID,
    symbol=AAPL,
    side=Side.BUY,
    quantity=Decimal(10),
    type=OrderType.LIMIT,
    limit_price=Decimal(5),
    tag="entry",
)
S, U = OrderState, UpdateKind


CHEAPER = msgspec.structs.replace(ORDER, limit_price=Decimal(4))
ABOUT_TERMS = {U.TRIGGERED, U.TRAILED, U.AMENDED, U.AMEND_REJECTED}
TRAILING = msgspec.structs.replace(ORDER, stop_price=Decimal(3))


def update(kind: UpdateKind, reason: str = "") -> OrderUpdate:
    terms = CHEAPER if kind is U.AMENDED else None
    stop = Decimal(3) if kind is U.TRAILED else None
    return OrderUpdate(ID, kind, 7, reason=reason, terms=terms, stop_price=stop)


def fill(quantity: str | Decimal = "4", fill_id: str = "f1", price: str = "5") -> OrderUpdate:
    fee = Decimal("0.01")
    done = Fill(fill_id, ID, AAPL, Side.BUY, Decimal(quantity), Decimal(price), fee, 7)
    return OrderUpdate(ID, U.FILL, 7, done)


# How to bring a fresh order into each state by what may happen to it.
PATHS: dict[OrderState, list[Request | OrderUpdate]] = {
    S.NEW: [],
    S.SUBMITTED: [Request.SUBMIT],
    S.ACCEPTED: [Request.SUBMIT, update(U.ACCEPTED)],
    S.PARTIALLY_FILLED: [Request.SUBMIT, fill("1", "f0")],
    S.CANCEL_PENDING: [Request.SUBMIT, Request.CANCEL],
    S.UNKNOWN: [Request.SUBMIT, update(U.LOST)],
    S.FILLED: [Request.SUBMIT, fill("10", "f0")],
    S.CANCELLED: [Request.SUBMIT, update(U.CANCELLED)],
    S.REJECTED: [Request.SUBMIT, update(U.REJECTED)],
    S.EXPIRED: [Request.SUBMIT, update(U.EXPIRED)],
}


def play(tracked: TrackedOrder, steps: Sequence[Request | OrderUpdate]) -> list[OrderEvent]:
    events = []
    for step in steps:
        if step is Request.SUBMIT:
            tracked.submit()
        elif step is Request.CANCEL:
            tracked.request_cancel()
        elif step is Request.AMEND:
            if tracked.is_amendable:
                tracked.request_amend(CHEAPER)
        else:
            assert isinstance(step, OrderUpdate)
            event = tracked.apply(step)
            events += [event] if event else []
    return events


def brought_to(state: OrderState) -> TrackedOrder:
    tracked = TrackedOrder(ORDER)
    play(tracked, PATHS[state])
    assert tracked.state is state
    return tracked


@pytest.mark.parametrize("kind", UpdateKind)
@pytest.mark.parametrize("state", OrderState)
def test_every_update_in_every_state_follows_the_table(state: OrderState, kind: UpdateKind) -> None:
    tracked = brought_to(state)
    before = tracked.filled
    step = fill("4") if kind is U.FILL else update(kind, "because")
    to = TRANSITIONS.get((state, kind))
    if to is None:
        with pytest.raises(IllegalTransition) as caught:
            tracked.apply(step)
        assert (caught.value.state, caught.value.event) == (state, kind)
        assert (tracked.state, tracked.filled) == (state, before)
        return
    if tracked.is_amendable:
        tracked.request_amend(CHEAPER)
    asked = tracked.wanted is not None
    event = tracked.apply(step)
    assert tracked.state is to
    assert tracked.filled == before + (4 if kind is U.FILL else 0)
    is_news = to is not state or kind is U.FILL
    if kind in ABOUT_TERMS and state.is_open:
        is_news = kind in {U.TRIGGERED, U.AMENDED} or (asked and kind is U.AMEND_REJECTED)
        assert tracked.triggered == (kind is U.TRIGGERED)
        assert tracked.order == {U.AMENDED: CHEAPER, U.TRAILED: TRAILING}.get(kind, ORDER)
        stands = asked and kind in {U.TRIGGERED, U.TRAILED}
        assert tracked.wanted is (CHEAPER if stands else None)
    assert (event is not None) == is_news
    assert tracked.duplicates == (event is None and kind is not U.TRAILED)
    if event is not None:
        assert event.status is to
        assert event.message == tracked.reason == ("" if kind is U.FILL else "because")


@pytest.mark.parametrize("state", OrderState)
def test_every_request_in_every_state_follows_the_table(state: OrderState) -> None:
    tracked = brought_to(state)
    asks = tracked.request_cancel()
    assert asks == (TRANSITIONS.get((state, Request.CANCEL)) is S.CANCEL_PENDING)
    assert tracked.state is TRANSITIONS.get((state, Request.CANCEL), state)
    tracked = brought_to(state)
    if state is S.NEW:
        tracked.submit()
        assert tracked.state is S.SUBMITTED
    else:
        with pytest.raises(IllegalTransition):
            tracked.submit()


@pytest.mark.parametrize("state", OrderState)
def test_other_terms_are_asked_for_while_an_order_works(state: OrderState) -> None:
    tracked = brought_to(state)
    assert tracked.is_amendable == ((state, Request.AMEND) in TRANSITIONS)
    if not tracked.is_amendable:
        with pytest.raises(IllegalTransition):
            tracked.request_amend(CHEAPER)
        return
    tracked.request_amend(CHEAPER)
    assert (tracked.state, tracked.order, tracked.wanted) == (state, ORDER, CHEAPER)
    assert not tracked.is_amendable  # one question at a time


def test_a_fill_of_what_was_asked_for_may_come_before_the_answer() -> None:
    tracked = brought_to(S.ACCEPTED)
    larger = msgspec.structs.replace(ORDER, quantity=Decimal(15))
    tracked.request_amend(larger)
    tracked.apply(fill("12", "f9"))
    assert tracked.state is S.FILLED  # of the ten that it is so far
    tracked = brought_to(S.ACCEPTED)
    tracked.request_amend(larger)
    tracked.apply(OrderUpdate(ID, U.AMENDED, 7, terms=larger))
    tracked.apply(fill("12", "f9"))
    assert (tracked.state, tracked.remaining) == (S.PARTIALLY_FILLED, Decimal(3))


def test_terms_below_what_is_filled_end_the_order() -> None:
    tracked = brought_to(S.ACCEPTED)
    tracked.apply(fill("4", "f9"))
    event = tracked.apply(
        OrderUpdate(ID, U.AMENDED, 7, terms=msgspec.structs.replace(ORDER, quantity=Decimal(4)))
    )
    assert event is not None
    assert (event.status, event.quantity) == (S.FILLED, Decimal(4))


def test_terms_come_with_their_news_and_of_their_order() -> None:
    stranger = msgspec.structs.replace(ORDER, id=ClientOrderId("run-2"))
    for kind, terms in ((U.AMENDED, None), (U.ACCEPTED, ORDER), (U.AMENDED, stranger)):
        with pytest.raises(ValueError, match="terms"):
            OrderUpdate(ID, kind, 7, terms=terms)


def test_the_table_keeps_its_promises() -> None:
    kinds: list[Request | UpdateKind] = [*Request, *UpdateKind]
    assert set(TRANSITIONS) <= set(itertools.product(OrderState, kinds))
    for (state, kind), to in TRANSITIONS.items():
        assert not state.is_terminal or to is state, (state, kind)
        assert to is not S.NEW
    # Money is never turned away, except where none can be owed: before sending, and when complete.
    refuse_fills = {state for state in OrderState if (state, U.FILL) not in TRANSITIONS}
    assert refuse_fills == {S.NEW, S.FILLED}


def test_open_and_terminal_are_opposites() -> None:
    assert [state for state in OrderState if state.is_terminal] == [
        S.FILLED, S.CANCELLED, S.REJECTED, S.EXPIRED,
    ]  # fmt: skip
    assert all(state.is_open != state.is_terminal for state in OrderState)
    assert OrderState["CANCELED"] is S.CANCELLED
    assert OrderState["INVALID"] is S.REJECTED


@pytest.mark.parametrize(
    "state", [S.SUBMITTED, S.ACCEPTED, S.PARTIALLY_FILLED, S.CANCEL_PENDING, S.UNKNOWN]
)
def test_the_fill_that_completes_an_open_order_fills_it(state: OrderState) -> None:
    tracked = brought_to(state)
    event = tracked.apply(fill(tracked.remaining))
    assert event is not None
    assert event.status is tracked.state is S.FILLED
    assert tracked.remaining == 0


def test_an_order_found_again_with_fills_is_partially_filled() -> None:
    tracked = brought_to(S.PARTIALLY_FILLED)
    play(tracked, [update(U.LOST), update(U.ACCEPTED)])
    assert tracked.state is S.PARTIALLY_FILLED


def test_a_fill_is_counted_once() -> None:
    tracked = brought_to(S.ACCEPTED)
    assert tracked.apply(fill("4")) is not None
    assert tracked.apply(fill("4")) is None
    assert tracked.apply(fill("6", "f2")) is not None
    assert tracked.apply(fill("6", "f2")) is None  # even after the order is complete
    assert tracked.state is S.FILLED
    assert tracked.filled == 10
    assert tracked.duplicates == 2


@pytest.mark.parametrize("state", [S.CANCELLED, S.REJECTED, S.EXPIRED])
def test_a_fill_after_the_end_is_still_money(state: OrderState) -> None:
    tracked = brought_to(state)
    event = tracked.apply(fill("10"))
    assert event is not None
    assert event.status is state
    assert event.fill_quantity == tracked.filled == 10


def test_a_fill_beyond_the_quantity_is_an_error_and_counts_nothing() -> None:
    tracked = brought_to(S.PARTIALLY_FILLED)
    with pytest.raises(IllegalTransition, match=r"1 of 10 filled.*a fill of 9\.00000001"):
        tracked.apply(fill("9.00000001"))
    assert tracked.state is S.PARTIALLY_FILLED
    assert tracked.filled == 1
    assert tracked.apply(fill("9")) is not None


def test_an_event_tells_the_order_and_the_fill() -> None:
    tracked = brought_to(S.ACCEPTED)
    tracked.apply(fill("4", "f1", price="5"))
    event = tracked.apply(fill("1", "f2", price="4.5"))
    assert event == OrderEvent(
        order_id=ID,
        symbol=AAPL,
        side=Side.BUY,
        status=S.PARTIALLY_FILLED,
        time=7,
        quantity=Decimal(10),
        filled_quantity=Decimal(5),
        fill_quantity=Decimal(1),
        fill_price=Decimal("4.5"),
        fee=Decimal("0.01"),
        tag="entry",
    )
    assert event.direction is Side.BUY
    assert event.absolute_fill_quantity == 1
    assert event.order_fee == Decimal("0.01")
    assert (tracked.average_price, tracked.fees) == (Decimal("4.9"), Decimal("0.02"))


def test_a_refusal_before_sending_has_no_numbers_to_trip_over() -> None:
    tracked = TrackedOrder(msgspec.structs.replace(ORDER, quantity=Decimal("NaN")))
    event = tracked.apply(update(U.REJECTED, "the quantity is NaN"))
    assert event is not None
    assert (event.status, tracked.reason) == (S.REJECTED, "the quantity is NaN")


def test_the_last_reason_given_is_kept() -> None:
    tracked = brought_to(S.SUBMITTED)
    play(tracked, [update(U.LOST, "no answer in 5 s"), update(U.ACCEPTED)])
    assert tracked.reason == "no answer in 5 s"


def test_news_of_another_order_is_our_mistake() -> None:
    tracked = brought_to(S.ACCEPTED)
    other = ClientOrderId("run-2")
    with pytest.raises(ValueError, match="run-1 was told of order run-2"):
        tracked.apply(OrderUpdate(other, U.ACCEPTED, 7))
    sold = Fill("f", ID, AAPL, Side.SELL, Decimal(1), Decimal(1), Decimal(0), 7)
    with pytest.raises(ValueError, match="cannot take a sell"):
        tracked.apply(OrderUpdate(ID, U.FILL, 7, sold))
    with pytest.raises(ValueError, match="the fill is of run-1"):
        OrderUpdate(other, U.FILL, 7, sold)


def test_a_fill_comes_with_the_kind_fill_alone() -> None:
    with pytest.raises(ValueError, match="fill with fill None"):
        OrderUpdate(ID, U.FILL, 7)
    with pytest.raises(ValueError, match="accepted with fill"):
        OrderUpdate(ID, U.ACCEPTED, 7, fill().fill)


@pytest.mark.parametrize("bad", ["NaN", "sNaN", "Infinity", "0", "-1"])
def test_a_fill_is_of_real_money(bad: str) -> None:
    with pytest.raises(ValueError, match="quantity is"):
        fill(bad)
    with pytest.raises(ValueError, match="price is"):
        fill("1", price=bad)
    with pytest.raises(ValueError, match="fee is"):
        Fill("f", ID, AAPL, Side.BUY, Decimal(1), Decimal(1), Decimal("NaN"), 7)


def test_signs_are_exact_in_any_context() -> None:
    long = Decimal("123456789.123456789123456789")
    sold = msgspec.structs.replace(ORDER, side=Side.SELL, quantity=long)
    with localcontext() as context:
        context.prec = 5
        assert sold.signed_quantity == long.copy_negate()
        assert ORDER.signed_quantity == 10


def test_a_ticket_shows_the_order_as_it_stands_and_asks_for_its_end() -> None:
    asked: list[object] = []

    class Door:
        def cancel(self, order_id: ClientOrderId) -> None:
            asked.append(order_id)

        def amend(self, order_id: ClientOrderId, amendment: Amendment) -> bool:
            asked.append((order_id, amendment))
            return True

    tracked = brought_to(S.ACCEPTED)
    ticket = OrderTicket(tracked, Door())
    assert (ticket.order_id, ticket.symbol, ticket.side, ticket.tag) == (
        ID,
        AAPL,
        Side.BUY,
        "entry",
    )
    assert ticket.order is ORDER
    assert ticket.status is S.ACCEPTED
    assert ticket.quantity == 10
    assert ticket.quantity_filled == ticket.average_fill_price == 0
    tracked.apply(fill("4", price="4.75"))
    assert ticket.quantity_filled == 4
    assert ticket.average_fill_price == Decimal("4.75")
    assert "partially_filled, 4 filled at 4.75" in repr(ticket)
    assert ticket.update(quantity=8, limit_price=0.1)
    assert asked.pop() == (ID, Amendment(Decimal(8), Decimal("0.1")))
    ticket.cancel()
    assert asked == [ID]
    tracked.apply(update(U.CANCELLED, "on request"))
    ticket.cancel()
    assert asked == [ID]
    assert ticket.reason == "on request"


def history(parts: Sequence[int], end: UpdateKind | None, lost: bool) -> list[OrderUpdate]:
    """A history as a venue may tell it: fills of `parts` tenths, then an end unless complete."""
    found = [update(U.LOST)] if lost else []
    fills = [fill(Decimal(part), f"f{n}") for n, part in enumerate(parts)]
    if end is U.REJECTED:
        return [*found, update(U.ACCEPTED), update(U.REJECTED)]
    complete = sum(parts) == 10
    return [*found, update(U.ACCEPTED), *fills, *([] if complete or not end else [update(end)])]


def check(steps: Sequence[OrderUpdate], cancel_at: int | None) -> TrackedOrder:
    tracked = brought_to(S.SUBMITTED)
    ended: OrderState | None = None
    for n, step in enumerate(steps):
        if n == cancel_at:
            tracked.request_cancel()
        before = tracked.filled
        tracked.apply(step)
        assert before <= tracked.filled <= ORDER.quantity
        assert ended is None or tracked.state is ended
        ended = tracked.state if tracked.state.is_terminal else None
    told = {step.fill.fill_id: step.fill.quantity for step in steps if step.fill}
    assert tracked.filled == sum(told.values())
    return tracked


def test_every_order_of_a_short_history_leads_to_the_same_money() -> None:
    """Row 47: all permutations of a whole and of a cancelled history, cancel asked at any point."""
    whole = history([3, 3, 4], None, lost=True)
    cut = history([3, 3], U.CANCELLED, lost=False)
    for steps in itertools.permutations(whole):
        assert check(steps, None).state is S.FILLED
    for steps in itertools.permutations(cut):
        for cancel_at in range(len(cut)):
            assert check(steps, cancel_at).state is S.CANCELLED


PARTS = st.lists(st.integers(1, 10), max_size=4).filter(lambda parts: sum(parts) <= 10)
ENDS = st.sampled_from([None, U.CANCELLED, U.EXPIRED, U.REJECTED])


@settings(max_examples=200)
@given(st.data(), PARTS, ENDS, st.booleans(), st.none() | st.integers(0, 8))
def test_no_disorder_or_repetition_breaks_an_order(
    data: st.DataObject, parts: list[int], end: UpdateKind | None, lost: bool, cancel_at: int | None
) -> None:
    steps = history(parts, end, lost)
    repeated = data.draw(st.lists(st.sampled_from(steps), max_size=4))
    check(data.draw(st.permutations([*steps, *repeated])), cancel_at)
