"""A made-up market that a model can learn: seeded, endless, the same however it is read.

A hidden signal (mean-reverting, time constant 17 s) pushes each symbol's mid and shows, under
noise, in who crosses the spread and in the sizes of the quote. A symbol's path follows from seed,
symbol and rate alone: not from other symbols, from asset classes, or from how `advance` is cut.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from fractions import Fraction
from heapq import heappop, heappush
from itertools import accumulate, repeat
from operator import attrgetter

import numpy as np
import numpy.typing as npt

from feeds.base import Audit
from feeds.errors import ConfigError
from feeds.events import SECOND, Aggressor, AssetClass, MarketEvent, Quote, Symbol, Trade

# The time scales are seconds of market time and hold at any rate; moves are in basis points.
SIGNAL_SECONDS = 17.0
"""Time constant of the hidden signal (half-life 12 s); its variance is 1."""
DRIFT_BPS = 0.9
"""Drift of the mid in bp per second at a signal of 1."""
NOISE_BPS = 1.0
"""Diffusion of the mid in bp per square root of a second, that nobody can predict."""
RETURN_SECONDS = 1800.0
"""Time constant with which the mid returns to its level; it stays within some 5 % of it."""
HALF_SPREAD_BPS = 0.5
FLOW = 0.5
"""How strongly the signal shows in the aggressor's side (probit) and in log sizes."""
QUOTE_VALUE, TRADE_VALUE = 200_000.0, 10_000.0
"""Median worth of a displayed quote and of a trade, in quote currency."""

LEVELS = {"BTC/USD": 60_000.0, "ETH/USD": 3_000.0, "SPY": 500.0, "AAPL": 200.0, "EUR/USD": 1.1}
BUYER, SELLER = Aggressor.BUYER, Aggressor.SELLER

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class _Path:
    """One symbol's ticks, made a block at a time; of five ticks the 2nd and 4th are trades."""

    def __init__(self, seed: int, symbol: Symbol, rate: Fraction, start: int) -> None:
        self._symbol = symbol
        self._rate = rate
        self._start = start
        self._random = np.random.default_rng([seed, *symbol.encode()])
        other = float(np.exp(self._random.uniform(np.log(50.0), np.log(500.0))))
        self._level = LEVELS.get(symbol, other)
        self._grid = 100.0 if self._level >= 10.0 else 100_000.0
        self._size_decimals = 4 if "/" in symbol else 0
        self._signal = float(self._random.standard_normal())
        self._deviation_bps = 0.0
        # About four seconds, so that ten thousand slow symbols take little memory and a fast one
        # holds its caller up for a millisecond; a function of the rate, so that reading in other
        # steps draws the same numbers.
        self._block = 5 * min(max(int(rate * 4 / 5), 16), 256)
        self._made = self._position = 0
        # Blocks of different lengths to begin with, or a thousand symbols would refill at once.
        self._make(5 * int(self._random.integers(1, self._block // 5 + 1)))

    @property
    def next_time(self) -> int:
        """When the next tick is due, ns UTC."""
        return self._times[self._position]

    def take(self, until: int) -> list[MarketEvent]:
        """Return the ticks before `until` that were not taken yet."""
        taken: list[MarketEvent] = []
        while True:
            cut = bisect_left(self._times, until, self._position)
            taken += self._events[self._position : cut]
            self._position = cut
            if cut < len(self._times):
                return taken
            self._make(self._block)

    def _make(self, count: int) -> None:
        noise = self._random.standard_normal((5, count))
        signal, mid = self._walk(noise[0], noise[1])
        times = self._next_times(count)
        half = HALF_SPREAD_BPS * 1e-4 * mid * (1.0 + 0.25 * np.abs(noise[4]))

        trade = np.arange(count) % 5 % 2 == 1
        quote = ~trade
        bids = np.rint((mid - half)[quote] * self._grid)
        asks = np.maximum(np.rint((mid + half)[quote] * self._grid), bids + 1.0)
        bids, asks = bids / self._grid, asks / self._grid
        tilt = 0.5 * FLOW * signal
        bid_sizes = self._sizes(QUOTE_VALUE, (0.5 * noise[2] + tilt)[quote])
        ask_sizes = self._sizes(QUOTE_VALUE, (0.5 * noise[3] - tilt)[quote])
        quotes = self._quotes(times[quote], bids, bid_sizes, asks, ask_sizes)

        buys = (FLOW * signal + noise[2])[trade] > 0.0
        # The quotes in force at the trades: of every three, the first and the second.
        bids, asks = bids.reshape(-1, 3)[:, :2].ravel(), asks.reshape(-1, 3)[:, :2].ravel()
        sizes = self._sizes(TRADE_VALUE, (FLOW * np.abs(signal) + 0.8 * noise[3])[trade])
        trades = self._trades(times[trade], np.where(buys, asks, bids), sizes, buys)

        self._times: list[int] = times.tolist()
        self._events = _weave(quotes, trades)
        self._made += count
        self._position = 0

    def _walk(self, signal_noise: Floats, mid_noise: Floats) -> tuple[Floats, Floats]:
        """Return the hidden signal and the mid at each tick of the block."""
        seconds = float(1 / self._rate)
        keep = math.exp(-seconds / SIGNAL_SECONDS)
        kicks = math.sqrt(1.0 - keep * keep) * signal_noise
        signal, self._signal = _decaying(self._signal, keep, kicks)
        # What a signal that fades meanwhile adds until the next tick.
        drift = DRIFT_BPS * SIGNAL_SECONDS * (1.0 - keep) * signal
        moves = drift + NOISE_BPS * math.sqrt(seconds) * mid_noise
        back = math.exp(-seconds / RETURN_SECONDS)
        deviation, self._deviation_bps = _decaying(self._deviation_bps, back, moves)
        return signal, self._level * np.exp(deviation * 1e-4)

    def _next_times(self, count: int) -> Times:
        # In whole numbers all through: tick k is at start + floor(k / rate) and never drifts.
        step, per_step = SECOND * self._rate.denominator, self._rate.numerator
        whole, rest = divmod(self._made * step, per_step)
        return self._start + whole + (rest + np.arange(count) * step) // per_step

    def _sizes(self, value: float, log_scale: Floats) -> Floats:
        smallest = 10.0**-self._size_decimals
        sizes = np.exp(log_scale) * (value / self._level)
        return np.maximum(np.round(sizes, self._size_decimals), smallest)

    def _quotes(self, times: Times, *columns: Floats) -> list[Quote]:
        at: list[int] = times.tolist()
        return list(map(Quote, repeat(self._symbol), at, at, *(c.tolist() for c in columns)))

    def _trades(self, times: Times, prices: Floats, sizes: Floats, buys: Flags) -> list[Trade]:
        at: list[int] = times.tolist()
        first = self._made * 2 // 5 + 1
        ids = map(str, range(first, first + len(at)))
        sides = [BUYER if buy else SELLER for buy in buys.tolist()]
        figures = prices.tolist(), sizes.tolist()
        return list(map(Trade, repeat(self._symbol), at, at, *figures, ids, sides))


def _weave(quotes: list[Quote], trades: list[Trade]) -> list[MarketEvent]:
    woven: list[MarketEvent] = [*quotes, *trades]
    woven[0::5], woven[2::5], woven[4::5] = quotes[0::3], quotes[1::3], quotes[2::3]
    woven[1::5], woven[3::5] = trades[0::2], trades[1::2]
    return woven


def _decaying(first: float, keep: float, moves: Floats) -> tuple[Floats, float]:
    """Return what x[k + 1] = keep * x[k] + moves[k] passes through from `first`, and the next."""
    path = list(accumulate(moves.tolist(), lambda x, move: keep * x + move, initial=first))
    return np.array(path[:-1]), path[-1]


class SyntheticMarket:
    """The ticks of every symbol subscribed to, merged in order of time, without end.

    `rate` is ticks per second and symbol (3 of 5 are quotes); `start` is when the market opens, ns
    UTC: a symbol's tick 0 comes when it is subscribed to, but not before that. None: at once.

    Raises:
        ConfigError: the seed is negative, or the rate is not within 0.001 to 1,000,000.
    """

    def __init__(self, seed: int, rate: float = 20.0, start: int | None = None) -> None:
        if seed < 0:
            raise ConfigError(f"the market's seed is {seed}: give a whole number of 0 or more")
        if not 0.001 <= rate <= 1_000_000.0:
            raise ConfigError(f"the market's rate is {rate} ticks/s: give 0.001 to 1000000")
        self.seed = seed
        self.rate = rate
        self.start = start
        self._exact_rate = Fraction(rate).limit_denominator(1_000_000)
        self._paths: dict[Symbol, _Path] = {}
        self._order: list[_Path] = []
        self._due: list[tuple[int, int]] = []
        self._reached = start or 0

    @property
    def exhausted(self) -> bool:
        """Never: there is always a next tick."""
        return False

    @property
    def upcoming(self) -> int | None:
        """The time of its next tick; None while no symbol is subscribed to."""
        return self._due[0][0] if self._due else None

    def subscribe(self, symbol: Symbol, asset_class: AssetClass | None, now: int) -> bool:
        """Open the symbol's market at `now` (ns UTC) if it is not open; every symbol has one.

        Were `now` before what `advance` has reached, it opens there: nothing comes out of order.
        The asset class changes nothing.
        """
        if symbol not in self._paths:
            path = _Path(self.seed, symbol, self._exact_rate, max(now, self._reached))
            self._paths[symbol] = path
            heappush(self._due, (path.next_time, len(self._order)))
            self._order.append(path)
        return True

    def advance(self, until: int) -> list[MarketEvent]:
        """Return every event before `until` (ns UTC) not yet returned, in order of time.

        Events of one moment come in the order in which their symbols were subscribed to.
        """
        self._reached = max(self._reached, until)
        due: list[int] = []
        while self._due and self._due[0][0] < until:
            due.append(heappop(self._due)[1])
        due.sort()
        events: list[MarketEvent] = []
        for index in due:
            path = self._order[index]
            events += path.take(until)
            heappush(self._due, (path.next_time, index))
        if len(due) > 1:
            events.sort(key=attrgetter("time"))
        return events


class SyntheticSource:
    """A piece of a synthetic market as a source: from `start` on, `duration_ns` long."""

    name = "synthetic"

    def __init__(
        self, seed: int, rate: float, symbols: Sequence[Symbol], start: int, duration_ns: int
    ) -> None:
        self.symbols = tuple(symbols)
        self._seed, self._rate = seed, rate
        self._start, self._end = start, start + duration_ns
        self._audit = Audit()

    def events(self) -> Iterator[MarketEvent]:
        """Make the market anew and read it; a second reading gives the same events."""
        market = SyntheticMarket(self._seed, self._rate, self._start)
        for symbol in self.symbols:
            market.subscribe(symbol, AssetClass.CRYPTO, self._start)
        self._audit = Audit()
        # Some 5,000 events a step: few enough to hold, enough to make merging cheap.
        step = max(1, int(5_000 * SECOND / (self._rate * max(1, len(self.symbols)))))
        for reached in range(self._start, self._end, step):
            for event in market.advance(min(reached + step, self._end)):
                self._audit.rows += 1
                self._audit.rows_used += 1
                self._audit.events += 1
                yield event

    def audit(self) -> Audit:
        """Return the counts of the latest reading so far; a row is an event."""
        return self._audit
