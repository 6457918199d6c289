"""The synthetic market is the same however it is read, sane, on time, and can be learnt."""

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.errors import ConfigError
from feeds.events import SECOND, Aggressor, AssetClass, MarketEvent, Quote, Symbol, Trade
from feeds.market import SyntheticMarket, SyntheticSource

BTC, SPY, EUR, ODD = Symbol("BTC/USD"), Symbol("SPY"), Symbol("EUR/USD"), Symbol("ZZTOP")
START = 1_753_012_800_000_000_007
SEEDS = (1, 2, 3)
GOLDEN_QUOTE = (59996.0, 60004.0)
GOLDEN_TRADE = (59996.0, 0.4671, Aggressor.SELLER)


def read(
    seed: int, symbols: Sequence[Symbol], *untils: int, rate: float = 20.0
) -> list[MarketEvent]:
    market = SyntheticMarket(seed, rate)
    for symbol in symbols:
        assert market.subscribe(symbol, AssetClass.EQUITY, START)
    return [event for until in untils for event in market.advance(START + until)]


def of(symbol: Symbol, events: Sequence[MarketEvent]) -> list[MarketEvent]:
    return [event for event in events if event.symbol == symbol]


@given(
    st.lists(st.integers(0, 30 * SECOND), max_size=12),
    st.sampled_from([0.5, 20.0, 33.3, 200.0]),
)
def test_however_it_is_cut_it_is_the_same(untils: list[int], rate: float) -> None:
    whole = read(5, [BTC, SPY], 30 * SECOND, rate=rate)
    assert read(5, [BTC, SPY], *sorted(untils), 30 * SECOND, rate=rate) == whole
    assert len(whole) == 2 * -(-30 * Fraction(str(rate)) // 1)


@given(st.lists(st.sampled_from([SPY, EUR, ODD]), unique=True), st.integers(0, 5))
def test_a_path_knows_nothing_of_other_symbols(others: list[Symbol], place: int) -> None:
    symbols = [*others[:place], BTC, *others[place:]]
    assert of(BTC, read(5, symbols, 20 * SECOND)) == read(5, [BTC], 20 * SECOND)


def test_a_path_is_the_same_on_every_machine() -> None:
    """A golden excerpt: neither hashes nor the order of sets may leak into it."""
    quote, trade = read(7, [BTC], SECOND)[:2]
    assert isinstance(quote, Quote)
    assert isinstance(trade, Trade)
    assert (quote.bid, quote.ask) == GOLDEN_QUOTE
    assert (trade.price, trade.size, trade.aggressor) == GOLDEN_TRADE


def test_another_seed_or_symbol_is_another_path() -> None:
    def shape(seed: int, symbol: Symbol) -> list[float]:
        return [event.price for event in read(seed, [symbol], 20 * SECOND)]

    assert len({tuple(shape(seed, BTC)) for seed in range(5)}) == 5
    relative = [tuple(np.round(np.array(p) / p[0], 5)) for p in (shape(1, SPY), shape(1, ODD))]
    assert relative[0] != relative[1]


@pytest.mark.parametrize("rate", [20.0, 0.25, 3.0, 33.3, 1e6])
def test_tick_k_is_at_exactly_k_over_rate(rate: float) -> None:
    count = 3_000
    exact = Fraction(str(rate))
    span = int(count / exact * SECOND)
    times = [event.time - START for event in read(1, [BTC], span, rate=rate)]
    assert times == [k * SECOND * exact.denominator // exact.numerator for k in range(len(times))]
    assert len(times) >= count - 1


def test_symbols_are_merged_in_order_of_time_and_subscription() -> None:
    market = SyntheticMarket(1, 20.0)
    market.subscribe(SPY, AssetClass.EQUITY, START)
    market.subscribe(BTC, AssetClass.CRYPTO, START)
    market.subscribe(EUR, AssetClass.FOREX, START + 1)
    events = market.advance(START + 60 * SECOND)
    assert all(before.time <= after.time for before, after in pairwise(events))
    assert [event.symbol for event in events[:6]] == [SPY, BTC, EUR] * 2


def test_a_symbol_begins_when_it_is_subscribed_to_and_only_once() -> None:
    market = SyntheticMarket(1, 20.0, start=START)
    assert market.start == START
    market.subscribe(BTC, AssetClass.CRYPTO, START - SECOND)
    assert market.advance(START) == []
    assert market.advance(START + 1)[0].time == START
    market.advance(START + SECOND)
    market.subscribe(BTC, AssetClass.CRYPTO, START + SECOND)
    market.subscribe(SPY, AssetClass.EQUITY, START + 5 * SECOND)
    market.subscribe(EUR, AssetClass.EQUITY, START)
    events = market.advance(START + 6 * SECOND)
    assert of(BTC, events)[0].time == of(EUR, events)[0].time == START + SECOND
    assert of(SPY, events)[0].time == START + 5 * SECOND
    assert not market.exhausted


@pytest.mark.parametrize(
    ("symbol", "low", "high", "grid"),
    [(BTC, 55e3, 65e3, 100), (SPY, 460, 540, 100), (ODD, 40, 600, 100), (EUR, 1.0, 1.2, 1e5)],
)
@pytest.mark.parametrize("seed", SEEDS)
def test_quotes_are_sane_and_trades_are_at_the_quote(
    seed: int, symbol: Symbol, low: float, high: float, grid: float
) -> None:
    events = read(seed, [symbol], 300 * SECOND)
    quote = events[0]
    assert isinstance(quote, Quote)
    for event in events:
        assert event.received == event.time
        if isinstance(event, Quote):
            quote = event
            assert low < event.bid < event.ask < high
            assert event.bid == round(event.bid * grid) / grid
            assert event.ask == round(event.ask * grid) / grid
            assert min(event.bid_size, event.ask_size) > 0
            assert event.ask - event.bid < 5e-4 * event.bid
        else:
            assert isinstance(event, Trade)
            taken = quote.ask if event.aggressor is Aggressor.BUYER else quote.bid
            assert event.price == taken
            assert event.size > 0


def test_three_in_five_are_quotes_and_trades_are_numbered() -> None:
    events = read(1, [BTC], 300 * SECOND)
    assert Counter(type(event) for event in events) == {Quote: 3_600, Trade: 2_400}
    ids = [event.trade_id for event in events if isinstance(event, Trade)]
    assert ids == [str(number) for number in range(1, 2_401)]


@pytest.mark.parametrize("seed", SEEDS)
def test_prices_stay_near_their_level_for_days(seed: int) -> None:
    events = read(seed, [BTC], 3 * 86_400 * SECOND, rate=0.1)
    prices = np.array([event.price for event in events])
    assert prices.min() > 50_000
    assert prices.max() < 72_000


def lessons(seed: int, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Per second of an hour: flow, imbalance and return of the last 10 s; return of the next 15."""
    events = read(seed, [BTC], 3_600 * SECOND, rate=rate)
    flow, imbalance, mid = np.zeros(3_600), np.zeros(3_600), np.zeros(3_600)
    for event in events:
        second = (event.time - START) // SECOND
        if isinstance(event, Trade):
            flow[second] += 1.0 if event.aggressor is Aggressor.BUYER else -1.0
        elif isinstance(event, Quote):
            imbalance[second] += np.log(event.bid_size / event.ask_size)
            mid[second] = event.price
    log_mid = np.log(mid)
    over = np.ones(10)
    columns = [
        np.convolve(flow, over)[9:3_584],
        np.convolve(imbalance, over)[9:3_584],
        log_mid[9:3_584] - np.concatenate([log_mid[:1], log_mid[:3_574]]),
        np.ones(3_575),
    ]
    return np.column_stack(columns), log_mid[24:3_599] - log_mid[9:3_584]


def out_of_sample(x: np.ndarray, fitted: np.ndarray, actual: np.ndarray) -> float:
    weights, *_ = np.linalg.lstsq(x[:2_000], fitted[:2_000], rcond=None)
    return float(np.corrcoef(x[2_050:] @ weights, actual[2_050:])[0, 1])


@pytest.mark.parametrize("rate", [5.0, 20.0])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_next_seconds_can_be_learnt(seed: int, rate: float) -> None:
    """A straight line fitted to half an hour foretells the next 15 s of the rest."""
    x, y = lessons(seed, rate)
    assert out_of_sample(x, y, y) > 0.3


def test_shuffled_there_is_nothing_to_learn() -> None:
    x, y = lessons(1, 5.0)
    random = np.random.default_rng(0)
    found = [out_of_sample(x, random.permutation(y), y) for _ in range(200)]
    assert abs(np.mean(found)) < 0.1


@pytest.mark.parametrize(
    ("seed", "rate", "sentence"),
    [(-1, 20.0, "seed is -1"), (1, 0.0, "rate is 0.0"), (1, float("nan"), "rate is nan")],
)
def test_what_makes_no_market_is_refused(seed: int, rate: float, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        SyntheticMarket(seed, rate)


def test_a_source_is_a_piece_of_the_market_and_can_be_read_again() -> None:
    source = SyntheticSource(4, 20.0, [BTC, SPY], START, 700 * SECOND)
    events = list(source.events())
    assert events == read(4, [BTC, SPY], 700 * SECOND)
    assert list(source.events()) == events
    audit = source.audit()
    assert (audit.rows, audit.events, audit.unaccounted) == (28_000, 28_000, 0)
    assert (source.name, source.symbols) == ("synthetic", (BTC, SPY))


def test_a_source_without_symbols_is_empty() -> None:
    assert list(SyntheticSource(1, 20.0, [], START, SECOND).events()) == []
