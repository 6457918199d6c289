"""Our orders held against a venue's: what is lost, late, twice or out of order counts once."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.events import SECOND, Symbol
from runtime.trading.orders import ZERO, ClientOrderId, Order, OrderState, OrderUpdate, Side
from runtime.trading.reconciler import (
    ACCEPTANCE,
    EXTERNAL,
    FILL_TRIES,
    Amend,
    Ask,
    AskFills,
    Cancel,
    Reconciler,
    Send,
    Standing,
    VenueFill,
    VenueState,
)
from runtime.trading.tracked import TrackedOrder

SPY = Symbol("SPY")
NOW = 1_700_000_000 * SECOND


def order(number: int = 1, quantity: str = "10", **more: Any) -> Order:
    return Order(
        ClientOrderId(f"r-{number}"), SPY, Side.BUY, Decimal(quantity), created=NOW, **more
    )


@dataclass
class Books:
    """What a desk does with reports: every one must be legal."""

    core: Reconciler
    orders: dict[str, TrackedOrder] = field(default_factory=dict)

    def submit(self, made: Order, now: int = NOW) -> None:
        self.orders[made.id] = TrackedOrder(made)
        self.orders[made.id].submit()
        self.core.submit(made, now)

    def hear(self) -> list[OrderUpdate]:
        updates = self.core.take_updates()
        for update in updates:
            if update.external is not None and update.order_id not in self.orders:
                self.orders[update.order_id] = TrackedOrder(update.external)
                self.orders[update.order_id].submit()
            self.orders[update.order_id].apply(update)
        return updates

    def kinds(self) -> list[str]:
        return [str(update.kind) for update in self.hear()]

    def state(self, number: int = 1) -> OrderState:
        self.hear()
        return self.orders[f"r-{number}"].state


@pytest.fixture
def books() -> Books:
    it = Books(Reconciler())
    it.submit(order())
    assert it.core.take_requests() == [Send(order())]
    return it


def seen(
    filled: str = "0", standing: Standing = Standing.OPEN, name: str = "r-1", **more: Any
) -> VenueState:
    fields: dict[str, Any] = {"quantity": Decimal(10), "average": Decimal(5), "submitted": NOW}
    fields |= more
    return VenueState(
        venue_id=fields.pop("venue_id", f"v-{name}"),
        client_id=name,
        symbol=SPY,
        side=Side.BUY,
        filled=Decimal(filled),
        standing=standing,
        time=NOW,
        **fields,
    )


def fill(total: str, quantity: str, price: str = "5", venue_id: str = "v-r-1") -> VenueFill:
    return VenueFill(venue_id, Decimal(total), Decimal(quantity), Decimal(price), NOW)


def asked(core: Reconciler, now: int) -> list[Any]:
    core.wake(now)
    return core.take_requests()


def test_an_answer_and_the_stream_tell_each_thing_once(books: Books) -> None:
    core = books.core
    core.seen(seen(), NOW)
    core.answered(Send(order()), seen(), NOW)
    core.seen(seen("4"), NOW)
    core.fill(fill("4", "4"))
    core.fill(fill("4", "4"))
    core.seen(seen("10", Standing.FILLED), NOW)
    core.fill(fill("10", "6", "6"))
    assert books.kinds() == ["accepted", "fill", "fill"]
    assert books.state() is OrderState.FILLED
    assert books.orders["r-1"].average_price == Decimal("5.6")
    assert core.at_rest
    assert core.next_wake() is None


def test_what_has_ended_is_looked_at_no_more() -> None:
    """However many orders there were, an event costs what those that move cost."""
    books = Books(Reconciler())
    for number in range(1, 201):
        made = order(number)
        books.submit(made)
        name = f"r-{number}"
        books.core.answered(Send(made), seen("10", Standing.FILLED, name), NOW)
        books.core.fill(fill("10", "10", venue_id=f"v-{name}"))
        assert books.core.next_wake() is None
    books.hear()
    assert books.core.statistics() == (200, 0)
    books.submit(order(201))
    assert books.core.statistics() == (201, 1)


def test_a_lost_answer_is_unknown_until_the_venue_has_told(books: Books) -> None:
    core = books.core
    core.lost(Send(order()), NOW, "no answer")
    assert books.state() is OrderState.UNKNOWN
    due = core.next_wake()
    assert due is not None
    assert asked(core, due) == [Ask(ClientOrderId("r-1"), "", SPY)]
    core.lost(Ask(ClientOrderId("r-1"), "", SPY), due, "none again")
    assert books.kinds() == []  # it was told so already
    later = core.next_wake()
    assert later is not None
    (ask,) = asked(core, later)
    core.answered(ask, seen(), later)
    assert books.state() is OrderState.ACCEPTED


def test_no_such_order_counts_once_all_has_arrived(books: Books) -> None:
    core = books.core
    core.lost(Send(order()), NOW, "no answer")
    for now, state in (
        (NOW + ACCEPTANCE - 1, OrderState.UNKNOWN),
        (NOW + ACCEPTANCE + 10 * SECOND, OrderState.REJECTED),
    ):
        (ask,) = asked(core, now)
        core.missing(ask, now)
        assert books.state() is state
    assert core.next_wake() is None


def test_silence_ends_nothing(books: Books) -> None:
    core = books.core
    core.lost(Send(order()), NOW, "no answer")
    now = NOW
    for _ in range(200):
        now = core.next_wake() or 0
        (ask,) = asked(core, now)
        core.lost(ask, now, "silence")
    assert books.state() is OrderState.UNKNOWN
    assert now > NOW + 100 * ACCEPTANCE


def test_what_the_venue_once_had_is_never_taken_for_rejected(books: Books) -> None:
    """As after a reset of the account: a person must look."""
    core = books.core
    core.answered(Send(order()), seen(), NOW)
    core.listed([], NOW)
    (ask,) = asked(core, NOW)
    core.missing(ask, NOW + 9 * ACCEPTANCE)
    assert books.state() is OrderState.ACCEPTED
    ((event, _),) = core.take_notes()
    assert event == "the venue no longer knows an order that it had"


def test_an_order_that_comes_after_it_was_given_up_is_taken_back(books: Books) -> None:
    core = books.core
    core.lost(Send(order()), NOW, "no answer")
    (ask,) = asked(core, NOW + 2 * ACCEPTANCE)
    core.missing(ask, NOW + 2 * ACCEPTANCE)
    assert books.state() is OrderState.REJECTED
    core.seen(seen(), NOW)
    assert core.take_requests() == [Cancel(ClientOrderId("r-1"), "v-r-1", SPY)]
    core.seen(seen("3", Standing.CANCELLED), NOW)
    core.fill(fill("3", "3"))
    books.hear()
    assert books.orders["r-1"].filled == 3  # money is money


def test_a_missed_execution_is_asked_for_and_not_averaged(books: Books) -> None:
    core = books.core
    core.answered(Send(order()), seen("10", Standing.FILLED, average=Decimal("5.5")), NOW)
    core.fill(fill("10", "5", "6"))  # the first of two never came
    assert books.kinds() == ["accepted"]
    due = core.next_wake()
    assert due is not None
    (ask,) = asked(core, due)
    assert ask == AskFills(NOW, ("v-r-1",), frozenset({SPY}))
    core.executed(ask, [fill("10", "5", "6"), fill("5", "5")], due)
    assert books.kinds() == ["fill", "fill"]
    assert books.state() is OrderState.FILLED


def test_what_is_shown_on_the_order_and_nowhere_else_is_made_up_in_the_end(books: Books) -> None:
    core = books.core
    core.answered(Send(order()), seen("4", average=Decimal("5.25")), NOW)
    for _ in range(FILL_TRIES):
        now = core.next_wake()
        assert now is not None
        (ask,) = asked(core, now)
        core.executed(ask, [], now)
    books.hear()
    tracked = books.orders["r-1"]
    assert (tracked.filled, tracked.average_price) == (Decimal(4), Decimal("5.25"))
    assert core.take_notes()[0][0] == "a fill was made up of an average price"


def test_a_cancel_waits_until_the_venue_is_known_to_have_the_order(books: Books) -> None:
    core = books.core
    books.orders["r-1"].request_cancel()
    core.cancel(ClientOrderId("r-1"), NOW)
    assert core.take_requests() == []
    core.answered(Send(order()), seen(), NOW)
    (cancel,) = core.take_requests()
    assert cancel == Cancel(ClientOrderId("r-1"), "v-r-1", SPY)
    core.lost(cancel, NOW, "no answer")
    due = core.next_wake()
    assert due is not None
    (ask,) = asked(core, due)
    core.answered(ask, seen(), due)  # it works still: the request was lost
    assert core.take_requests() == [cancel]
    core.cancelled(cancel, due)
    assert core.unsettled
    core.seen(seen("0", Standing.CANCELLED), due)
    assert books.state() is OrderState.CANCELLED
    assert not core.unsettled


def test_a_cancel_that_comes_too_late_ends_in_the_fill(books: Books) -> None:
    core = books.core
    core.answered(Send(order()), seen(), NOW)
    books.hear()
    books.orders["r-1"].request_cancel()
    core.cancel(ClientOrderId("r-1"), NOW)
    (cancel,) = core.take_requests()
    core.refused(cancel, NOW, "it has filled")
    due = core.next_wake()
    assert due is not None
    (ask,) = asked(core, due)
    core.answered(ask, seen("10", Standing.FILLED), due)
    core.fill(fill("10", "10"))
    assert books.state() is OrderState.FILLED


def test_a_refusal_is_a_rejection(books: Books) -> None:
    books.core.refused(Send(order()), NOW, "insufficient buying power")
    assert books.state() is OrderState.REJECTED
    assert books.core.at_rest


def test_other_terms_are_answered_lost_or_refused(books: Books) -> None:
    core = books.core
    core.answered(Send(order()), seen(), NOW)
    books.hear()
    terms = order(quantity="12")
    books.orders["r-1"].request_amend(terms)
    core.amend(terms, NOW)
    (amend,) = core.take_requests()
    assert isinstance(amend, Amend)
    assert amend.venue_id == "v-r-1"
    core.lost(amend, NOW, "no answer")
    due = core.next_wake()
    assert due is not None
    (ask,) = asked(core, due)
    core.answered(ask, seen("0", Standing.REPLACED, replaced_by="v-2"), due)
    due = core.next_wake()
    assert due is not None
    assert asked(core, due) == [Ask(ClientOrderId("r-1"), "v-2", SPY)]
    successor = seen("12", Standing.FILLED, name=amend.name, venue_id="v-2", quantity=Decimal(12))
    core.answered(Ask(ClientOrderId("r-1"), "v-2", SPY), successor, due)
    core.fill(fill("12", "12", venue_id="v-2"))
    assert books.kinds() == ["amended", "fill"]
    assert books.state() is OrderState.FILLED


def test_an_order_changed_by_hand_goes_on_as_ours(books: Books) -> None:
    core = books.core
    core.answered(Send(order()), seen("3"), NOW)
    core.fill(fill("3", "3"))
    core.seen(seen("3", Standing.REPLACED, replaced_by="v-2"), NOW)
    due = core.next_wake()
    assert due is not None
    (ask,) = asked(core, due)
    assert ask == Ask(ClientOrderId("r-1"), "v-2", SPY)
    by_hand = seen("3", name="by hand", venue_id="v-2", quantity=Decimal(5))
    core.answered(ask, by_hand, due)
    core.seen(msgspec.structs.replace(by_hand, filled=Decimal(5), standing=Standing.FILLED), due)
    core.fill(fill("5", "2", venue_id="v-2"))
    assert books.kinds() == ["accepted", "fill", "amended", "fill"]
    assert books.state() is OrderState.FILLED
    assert books.orders["r-1"].order.quantity == 5


def test_an_order_of_somebody_else_is_told_and_counts() -> None:
    books = Books(Reconciler())
    other = seen("4", name="other", venue_id="x")
    books.core.listed([other], NOW)
    books.core.fill(fill("4", "4", venue_id="x"))
    first, second = books.hear()
    assert first.external is not None
    assert first.external.tag == EXTERNAL
    assert second.fill is not None
    assert second.fill.signed_quantity == 4
    books.core.listed([other], NOW)
    assert books.hear() == []
    books.core.seen(seen("0", Standing.CANCELLED, name="came and went"), NOW)
    assert books.hear() == []


def test_an_order_of_somebody_else_is_never_cancelled_by_us_also_after_a_restart() -> None:
    """Whatever its tag says: a strategy may use that word too."""
    books = Books(Reconciler())
    books.core.seen(seen(name="other"), NOW)
    books.core.cancel(ClientOrderId("other"), NOW)
    assert books.core.take_requests() == []
    assert not books.core.unsettled
    books.hear()
    for is_external in (True, False):
        core = Reconciler()
        core.recover(books.orders["other"], NOW, confirmed=True, external=is_external)
        core.seen(seen(name="other"), NOW)
        core.cancel(ClientOrderId("other"), NOW)
        assert bool(core.take_requests()) == (not is_external)


def test_late_news_of_a_replaced_order_puts_nothing_back(books: Books) -> None:
    core = books.core
    core.answered(Send(order()), seen(), NOW)
    books.hear()
    terms = order(quantity="12")
    books.orders["r-1"].request_amend(terms)
    core.amend(terms, NOW)
    (amend,) = core.take_requests()
    assert isinstance(amend, Amend)
    new = seen(name=amend.name, venue_id="v-2", quantity=Decimal(12))
    core.answered(amend, new, NOW)
    core.seen(seen(), NOW)
    core.seen(seen("0", Standing.REPLACED, replaced_by="v-2"), NOW)
    assert books.kinds() == ["amended"]
    assert books.orders["r-1"].order.quantity == 12
    books.orders["r-1"].request_cancel()
    core.cancel(ClientOrderId("r-1"), NOW)
    assert core.take_requests() == [Cancel(ClientOrderId("r-1"), "v-2", SPY)]


def test_an_account_is_taken_over_as_it_was_found() -> None:
    """What had filled before is in the position already, and is not counted again."""
    books = Books(Reconciler())
    books.core.hold({SPY: (Decimal(-4), Decimal(5))}, NOW)
    half = seen("4", name="other", venue_id="x")
    books.core.adopt([half])
    updates = books.hear()
    held = sum((u.fill.signed_quantity for u in updates if u.fill is not None), ZERO)
    assert held == -4
    assert books.orders["other"].order.quantity == 6
    books.core.seen(msgspec.structs.replace(half, filled=Decimal(7)), NOW)
    books.core.fill(fill("7", "3", venue_id="x"))
    books.hear()
    assert books.orders["other"].filled == 3


# ---- a venue that a model plays, and a line that loses things ----------------------------------


class Venue:
    """A slow obvious venue: orders by name, each with its fills."""

    def __init__(self) -> None:
        self.orders: dict[str, Order] = {}
        self.fills: dict[str, list[VenueFill]] = {}
        self.ended: dict[str, Standing] = {}
        self.sent: list[str] = []

    def place(self, made: Order) -> None:
        self.sent.append(made.id)
        if made.id not in self.orders:
            self.orders[made.id], self.fills[made.id] = made, []

    def trade(self, name: str, price: int) -> None:
        done = sum((f.quantity for f in self.fills[name]), ZERO)
        if name not in self.ended and done < self.orders[name].quantity:
            self.fills[name].append(fill(str(done + 1), "1", str(price), f"v-{name}"))

    def end(self, name: str) -> None:
        if self.show(name).standing is Standing.OPEN:
            self.ended[name] = Standing.CANCELLED

    def show(self, name: str) -> VenueState:
        fills = self.fills[name]
        filled = sum((f.quantity for f in fills), ZERO)
        worth = sum((f.quantity * f.price for f in fills), ZERO)
        is_full = filled == self.orders[name].quantity
        standing = self.ended.get(name, Standing.FILLED if is_full else Standing.OPEN)
        return seen(
            str(filled),
            standing,
            name,
            quantity=self.orders[name].quantity,
            average=worth / filled if filled else ZERO,
        )


class Story:
    """Everything between them can be lost, late, twice or out of order; and we may begin anew."""

    def __init__(self, data: st.DataObject) -> None:
        self.data, self.venue, self.now = data, Venue(), NOW
        self.books = Books(Reconciler())
        self.told: list[OrderUpdate] = []
        self.stream: list[tuple[VenueState, VenueFill | None]] = []

    def draw(self, count: int) -> int:
        return self.data.draw(st.integers(0, count))

    def step(self) -> None:
        core, names = self.books.core, sorted(self.venue.orders)
        match self.draw(9):
            case 0 | 1:
                self.submit()
            case 2 | 3 if names:
                name = names[self.draw(len(names) - 1)]
                self.venue.trade(name, 1 + self.draw(9))
                self.tell(name)
            case 4 if names:
                name = names[self.draw(len(names) - 1)]
                self.venue.end(name)
                self.tell(name)
            case 5 if self.stream:
                for item in self.stream[self.draw(len(self.stream) - 1) :]:
                    self.deliver(item)
            case 6 if self.books.orders:
                name = sorted(self.books.orders)[self.draw(len(self.books.orders) - 1)]
                if self.books.orders[name].request_cancel():
                    core.cancel(ClientOrderId(name), self.now)
            case 7:
                self.begin_anew()
            case _:
                self.carry(loses=True)
        self.now += SECOND
        core.wake(self.now)
        self.hear()

    def submit(self) -> None:
        self.books.submit(order(len(self.books.orders) + 1, "3"), self.now)

    def tell(self, name: str) -> None:
        fills = self.venue.fills[name]
        self.stream.append((self.venue.show(name), fills[-1] if fills else None))

    def deliver(self, item: tuple[VenueState, VenueFill | None]) -> None:
        self.books.core.seen(item[0], self.now)
        if item[1] is not None:
            self.books.core.fill(item[1])

    def hear(self) -> None:
        self.told += self.books.hear()

    def carry(self, *, loses: bool) -> None:
        for request in self.books.core.take_requests():
            luck = self.draw(3) if loses else 3
            if luck == 0:
                self.books.core.lost(request, self.now, "lost on the way there")
                continue
            self.answer(request, is_heard=luck > 1)

    def answer(self, request: Any, *, is_heard: bool) -> None:
        core, venue = self.books.core, self.venue
        match request:
            case Send(made):
                venue.place(made)
            case Cancel(name):
                venue.end(name)
        if not is_heard:
            core.lost(request, self.now, "lost on the way back")
            return
        match request:
            case Send(made):
                core.answered(request, venue.show(made.id), self.now)
            case Cancel():
                core.cancelled(request, self.now)
            case Ask(name) if name in venue.orders:
                core.answered(request, venue.show(name), self.now)
            case Ask():
                core.missing(request, self.now)
            case AskFills():
                found = [each for fills in venue.fills.values() for each in fills]
                core.executed(request, found, self.now)

    def begin_anew(self) -> None:
        """As after kill -9: what was journalled is there, requests that had not left are gone."""
        self.hear()
        anew = Books(Reconciler(), self.books.orders)
        confirmed = {u.order_id for u in self.told if u.kind in {"accepted", "fill"}}
        for name, tracked in anew.orders.items():
            anew.core.recover(tracked, self.now, confirmed=name in confirmed)
        self.books = anew

    def come_to_rest(self) -> None:
        for _ in range(200):
            self.carry(loses=False)
            self.hear()
            due = self.books.core.next_wake()
            if due is None and not self.books.core.unsettled:
                self.books.core.listed(
                    [s for s in map(self.venue.show, self.venue.orders) if s.standing == "open"],
                    self.now,
                )
                self.hear()
                if self.books.core.at_rest:
                    break
            self.now = max(self.now + 1, due or 0)
            self.books.core.wake(self.now)
        self.hear()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_happens_each_order_is_sent_once_and_the_books_end_equal(
    data: st.DataObject,
) -> None:
    story = Story(data)
    for _ in range(data.draw(st.integers(1, 40))):
        story.step()
    story.come_to_rest()
    venue, ours = story.venue, story.books.orders
    assert len(set(venue.sent)) == len(venue.sent)
    assert set(venue.orders) <= set(ours)
    fills = [u.fill for u in story.told if u.fill is not None]
    assert len({f.fill_id for f in fills}) == len(fills)
    for name, tracked in ours.items():
        if name not in venue.orders:
            assert tracked.state is OrderState.REJECTED
            assert not tracked.filled
            continue
        theirs = venue.show(name)
        assert tracked.filled == theirs.filled
        assert [f.price for f in fills if f.order_id == name] == [
            f.price for f in venue.fills[name]
        ]
        assert tracked.state.is_terminal == (theirs.standing is not Standing.OPEN)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_holding_them_against_each_other_twice_tells_nothing_new(data: st.DataObject) -> None:
    story = Story(data)
    for _ in range(data.draw(st.integers(1, 25))):
        story.step()
    story.come_to_rest()
    before = len(story.told)
    for name in story.venue.orders:
        story.books.core.seen(story.venue.show(name), story.now)
        for each in story.venue.fills[name]:
            story.books.core.fill(each)
    story.come_to_rest()
    assert len(story.told) == before
