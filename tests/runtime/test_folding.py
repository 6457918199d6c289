"""Trades taken together leave what trades told one by one leave: everything anybody can see."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any, NamedTuple

from hypothesis import example, given, settings
from hypothesis import strategies as st

from feeds.base import Audit, Subscription
from feeds.columns import Block, TradeColumns
from feeds.events import MINUTE, SECOND, Bar, MarketEvent, Symbol, Trade
from feeds.files.merge import merge
from feeds.files.strands import Strand
from runtime import Resolution, Slice, Strategy
from runtime.backtest import Backtest, Rules
from runtime.live import Outcome
from runtime.settings import load_settings
from runtime.simulation import build_backtest
from runtime.trading.orders import OrderEvent
from tests.stories.market import T0, listening

MS = 1_000_000
SYMBOLS = [Symbol("AAA"), Symbol("BBB"), Symbol("CCC")]


# ---- tapes -----------------------------------------------------------------------------------

Series = list[list[Trade]]
"""The blocks of one symbol."""


class Tape:
    """Series in blocks, told as events only, or as strands where there are columns."""

    name = "tape"

    def __init__(self, series: Sequence[Series], *, by_columns: bool) -> None:
        self._series = series
        self._audit = Audit()
        if by_columns:
            self.strands = self._strands

    def open(self, _: Sequence[Subscription]) -> "Tape":
        return self

    def held(self) -> str:
        return "what was told"

    def audit(self) -> Audit:
        return self._audit

    def events(self) -> Iterator[MarketEvent]:
        return merge([self._events(blocks) for blocks in self._series])

    def _events(self, blocks: Series) -> Iterator[MarketEvent]:
        for block in blocks:
            self._count(block)
            yield from block

    def _strands(self) -> list[Strand]:
        return [
            Strand(blocks[0][0].symbol, self._blocks(blocks)) for blocks in self._series if blocks
        ]

    def _blocks(self, blocks: Series) -> Iterator[Block]:
        for block in blocks:
            self._count(block)
            yield TradeColumns.of(block) or list(block)

    def _count(self, block: Sequence[Trade]) -> None:
        self._audit.rows += len(block)
        self._audit.rows_used += len(block)
        self._audit.events += len(block)


PRICES = st.sampled_from([99.5, 100.0, 100.01, 100.02, 101.0, 250.75])
SIZES = st.sampled_from([0.0, 0.1, 0.2, 0.7, 1.0, 100.0, 1e15])
STEPS = st.sampled_from([0, 0, 1, 3, 250, 500, 999, 1000, 1001, 2500, 7000, 60_000, 90_000])
"""Ms between two trades: none, a little, to a bar's end and over it, a minute and more."""


@st.composite
def one_series(draw: st.DrawFn, symbol: Symbol, *, odd: bool) -> Series:
    time = T0 + draw(st.integers(0, 5)) * 500 * MS
    trades = []
    for step, price, size in draw(
        st.lists(st.tuples(STEPS, PRICES, SIZES), min_size=1, max_size=40)
    ):
        time += step * MS
        trades.append(Trade(symbol, time, time, price, size))
    if odd:
        place = draw(st.integers(0, len(trades) - 1))
        kind = draw(st.sampled_from(["back", "later heard", "no price", "numbered"]))
        trade = trades[place]
        back = time - draw(st.integers(1, 5000)) * MS
        trades[place] = {
            "back": Trade(symbol, back, back, trade.price, trade.size),
            "later heard": Trade(symbol, trade.time - 7 * MS, trade.time, trade.price, trade.size),
            "no price": Trade(symbol, trade.time, trade.time, -1.0, trade.size),
            "numbered": Trade(symbol, trade.time, trade.time, trade.price, trade.size, "17"),
        }[kind]
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(trades) - 1)), max_size=5)))
    bounds = [0, *(cut for cut in cuts if cut < len(trades)), len(trades)]
    return [trades[a:b] for a, b in pairwise(bounds)]


@st.composite
def tapes(draw: st.DrawFn) -> list[Series]:
    count = draw(st.integers(1, 3))
    odd = draw(st.sampled_from([None, None, *range(count)]))
    return [draw(one_series(SYMBOLS[n], odd=n == odd)) for n in range(count)]


# ---- strategies ------------------------------------------------------------------------------


class Plan(NamedTuple):
    """What the strategy does: its symbols by resolution, and acts by the number of its callback."""

    resolutions: list[Resolution | None]
    consolidated: int | None
    every: int | None
    warm_up: int | None
    acts: dict[int, str]
    rules: Rules


ACTS = (
    "buy", "sell", "rest", "flat", "hold", "add", "remove", "look", "consolidate", "train",
    "cancel", "quit", "raise", "schedule",
)  # fmt: skip


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    bars = st.sampled_from([Resolution.SECOND, Resolution.SECOND, Resolution.MINUTE, None])
    resolutions = [draw(bars) for _ in SYMBOLS]
    if resolutions == [None] * len(SYMBOLS):
        resolutions[0] = Resolution.SECOND
    if draw(st.integers(0, 9)) == 0:
        resolutions[0] = Resolution.TICK
    seconds = st.one_of(st.none(), st.sampled_from([7, 10, 60]))
    moment = st.one_of(st.none(), st.integers(-2, 120).map(lambda s: T0 + s * 500 * MS))
    start, end = draw(moment), draw(moment)
    if start is not None and end is not None and start >= end:
        end = None
    after = draw(st.sampled_from([None, 0, 1500 * MS, 90 * SECOND]))
    return Plan(
        resolutions,
        draw(seconds),
        draw(seconds),
        draw(st.sampled_from([None, None, 3])),
        draw(st.dictionaries(st.integers(0, 40), st.sampled_from(ACTS), max_size=12)),
        Rules(start=start, end=end, job_cost=MINUTE, publish_after=after),
    )


class Witness(Strategy):
    """Follows its plan, and writes down at each callback all that it can see."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.seen: list[Any] = []
        self.calls = 0

    def initialize(self) -> None:
        for symbol, resolution in zip(SYMBOLS, self.plan.resolutions, strict=True):
            if resolution is not None:
                self.add_equity(symbol, resolution)
        self.first = next(iter(self.securities))
        if self.plan.consolidated is not None:
            self.consolidate(self.first, timedelta(seconds=self.plan.consolidated), self.on_bar)
        if self.plan.every is not None:
            self.tick_by(self.plan.every)
        if self.plan.warm_up is not None:
            self.set_warm_up(self.plan.warm_up)

    def tick_by(self, seconds: int) -> None:
        every = self.time_rules.every(timedelta(seconds=seconds))
        self.schedule.on(self.date_rules.every_day(), every, self.on_schedule)

    def on_data(self, slice: Slice) -> None:
        stale = [slice.is_stale(symbol) for symbol in SYMBOLS]
        self.witness("data", slice.time_ns, list(slice.events), stale)

    def on_bar(self, bar: Bar) -> None:
        self.witness("bar", bar)

    def on_schedule(self) -> None:
        self.witness("schedule")

    def on_order_event(self, order_event: OrderEvent) -> None:
        self.witness("order", order_event)

    def on_end_of_algorithm(self) -> None:
        self.witness("end")
        for symbol in self.securities:
            self.seen.append((symbol, windows(self, symbol, 1000)))

    def witness(self, what: str, *details: object) -> None:
        self.calls += 1
        self.seen.append(
            (
                what,
                self.time_ns,
                details,
                str(self.portfolio.equity),
                [(each.symbol, str(each.last_price)) for each in self.portfolio],
                [
                    (each.symbol, repr(each.price), each.updated, each.has_traded)
                    for each in self.securities.values()
                ],
            )
        )
        act = self.plan.acts.get(self.calls)
        if act is not None:
            self.act(act)

    def act(self, act: str) -> None:
        held = [symbol for symbol in self.securities if self.securities[symbol].has_data]
        symbol = held[-1] if held else self.first
        match act:
            case "buy" | "sell" if held:
                self.market_order(symbol, 3 if act == "buy" else -2)
            case "rest" if held:
                self.ticket = self.limit_order(symbol, 2, 99.75)
            case "cancel" if hasattr(self, "ticket"):
                self.ticket.cancel()
            case "flat":
                self.liquidate()
            case "hold" if held:
                self.set_holdings(symbol, 0.5)
            case "add":
                self.add_equity(SYMBOLS[-1], Resolution.SECOND)
            case "remove" if len(self.securities) > 1:
                self.remove_security(symbol)
            case "look" if held:
                self.seen.append((symbol, windows(self, symbol, 5)))
            case "consolidate" if held:
                self.consolidate(symbol, timedelta(seconds=3), self.on_bar)
            case "train":
                self.train(lambda: self.calls)
            case "quit":
                self.quit("seen enough")
            case "raise":
                raise ValueError("a mistake")
            case "schedule":
                self.tick_by(13)


def windows(strategy: Strategy, symbol: str, count: int) -> list[bytes]:
    """The newest bars and ticks, as the bytes of their columns."""
    found = (strategy.history(symbol, count), strategy.tick_history(symbol, count))
    return [
        getattr(window, name).tobytes() for window in found for name in window.__struct_fields__
    ]


def observed(plan: Plan, series: Sequence[Series], *, by_columns: bool) -> dict[str, Any]:
    """All that a run shows of itself."""
    strategy = Witness(plan)
    options, _ = load_settings(None, {"engine": {"history": 50}})
    log, lines = listening()
    begin = max(T0, plan.rules.start or 0)
    test: Backtest = build_backtest(strategy, options, begin, log, rules=plan.rules)
    outcome: Outcome = test.run(Tape(series, by_columns=by_columns), begin)
    return {
        "seen": strategy.seen,
        "lines": [str(line) for line in lines if line["event"] != "slow callback"],
        "reason": outcome.reason,
        "failure": str(outcome.failure),
        "engine": outcome.engine,
        "feed": outcome.feed,
        "money": (outcome.equity, outcome.profit, outcome.fees),
        "orders": test.journal.orders_sha256,
        "fills": test.journal.fills,
        "samples": test.curve.samples,
        "closes": test.curve.closes,
        "drawdown": test.curve.drawdown(),
        "exposure": (test.curve.invested, test.curve.gross, test.curve.days),
        "prices": test.prices.series,
    }


RAISES = Plan([Resolution.TICK, None, None], None, None, None, {1: "raise"}, Rules())


@settings(max_examples=60, deadline=None)
@given(tapes(), plans())
@example([[[Trade(Symbol(name), T0, T0, 99.5, 0.0)]] for name in ("AAA", "BBB")], RAISES)
def test_columns_and_events_give_one_run(series: list[Series], plan: Plan) -> None:
    by_events = observed(plan, series, by_columns=False)
    by_columns = observed(plan, series, by_columns=True)
    for what, expected in by_events.items():
        assert by_columns[what] == expected, what


def test_rows_that_nobody_wants_are_counted_where_a_callback_raises() -> None:
    foreign = [Trade(SYMBOLS[1], T0 + n * SECOND, T0 + n * SECOND, 1.0, 1.0) for n in range(9)]
    wanted = [trade for trade in map(_as_first, foreign) if trade.time % (2 * SECOND) == 0]
    plan = Plan([Resolution.SECOND, None, None], None, None, None, {2: "raise"}, Rules())
    found = [
        observed(plan, [[wanted], [foreign]], by_columns=by_columns) for by_columns in (False, True)
    ]
    assert found[0]["feed"] == found[1]["feed"]
    assert found[1]["feed"].foreign > 0
    assert "a mistake" in found[1]["failure"]


def _as_first(trade: Trade) -> Trade:
    return Trade(SYMBOLS[0], trade.time, trade.received, trade.price, trade.size)
