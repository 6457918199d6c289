"""The recent past as numpy arrays: bounded, cheap to append to, copied out when asked for.

Rows are packed into one growing byte buffer, so an append is one call and memory follows what has
come and not the capacity. What `last` returns shares nothing with the loop, and `last` itself may
be called from any thread: a training thread keeps its window while the loop goes on appending.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from struct import Struct
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from feeds.columns import Span
from feeds.events import Aggressor, Bar, Quote, QuoteBar, Trade

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_Value = TypeVar("_Value")
_SIDES = {Aggressor.BUYER: 1.0, Aggressor.SELLER: -1.0, Aggressor.UNKNOWN: 0.0}


class BarWindow(msgspec.Struct, frozen=True):
    """Bars, oldest first; each column has shape [n].

    `time` is the END of each bar, int64 ns UTC: the moment from which it could be known.
    Of a quote bar the prices are mids (high: mid of the highs) and the volume is 0.
    """

    time: Times
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    def __len__(self) -> int:
        return len(self.time)

    @property
    def returns(self) -> Floats:
        """Log returns from close to close, float64[n - 1]."""
        return np.diff(np.log(self.close))

    def since(self, time: int) -> "BarWindow":
        """Only the bars that ended at `time` (ns UTC) or later."""
        rows = self.time >= time
        return BarWindow(*(getattr(self, name)[rows] for name in self.__struct_fields__))


class TickWindow(msgspec.Struct, frozen=True):
    """Ticks, oldest first: each row is a trade or a quote and what was known at that moment.

    `time` is the venue's, int64 ns UTC. `price` is the price of a trade, the mid of a quote; `size`
    is that of a trade, 0 for a quote; `side` is +1 where the buyer crossed the spread, -1 where the
    seller did, 0 where unknown and for a quote. In a trade's row `bid`, `bid_size`, `ask` and
    `ask_size` are those of the latest quote before it, NaN if there was none.
    """

    time: Times
    price: Floats
    size: Floats
    side: Floats
    bid: Floats
    bid_size: Floats
    ask: Floats
    ask_size: Floats
    is_trade: Flags

    def __len__(self) -> int:
        return len(self.time)

    @property
    def trades(self) -> "TickWindow":
        """Only the rows of trades."""
        return self._only(self.is_trade)

    @property
    def quotes(self) -> "TickWindow":
        """Only the rows of quotes."""
        return self._only(~self.is_trade)

    @property
    def returns(self) -> Floats:
        """Log returns of `price` from row to row, float64[n - 1]."""
        return np.diff(np.log(self.price))

    def since(self, time: int) -> "TickWindow":
        """Only the rows of `time` (ns UTC) or later."""
        return self._only(self.time >= time)

    def _only(self, rows: Flags) -> "TickWindow":
        return TickWindow(*(getattr(self, name)[rows] for name in self.__struct_fields__))


class _Rows:
    """The last `capacity` rows of one packed format; at most twice that is held for a while.

    Raises:
        ValueError: the capacity is below 1.
    """

    def __init__(self, capacity: int, columns: list[tuple[str, type[np.generic]]]) -> None:
        if capacity < 1:
            raise ValueError(f"a history of {capacity} rows holds nothing: give it 1 or more")
        self.capacity = capacity
        self._dtype = np.dtype(columns, align=True)  # aligned copies out six times faster
        self._row_bytes = self._dtype.itemsize
        self._kept_bytes = capacity * self._row_bytes
        self._most_bytes = 2 * self._kept_bytes
        self._buffer = bytearray()

    def __len__(self) -> int:
        return min(len(self._buffer), self._kept_bytes) // self._row_bytes

    def _push(self, row: bytes) -> None:
        self._buffer += row
        if len(self._buffer) >= self._most_bytes:
            self._trim()

    def _trim(self) -> None:
        del self._buffer[: -self._kept_bytes]

    def _columns(self, n: int | None) -> list[Any]:
        wanted = self.capacity if n is None else min(n, self.capacity)
        if wanted <= 0:
            rows = np.empty(0, self._dtype)
        else:
            # One slice of a bytearray is a copy made under the GIL: whole rows, whatever the loop
            # does meanwhile, and no exported buffer that would stop it from growing.
            rows = np.frombuffer(self._buffer[-wanted * self._row_bytes :], self._dtype)
        return [rows[name].copy() for name in self._dtype.names or ()]


class BarHistory(_Rows):
    """The last `capacity` bars of one symbol."""

    _pack = Struct("q5d").pack

    def __init__(self, capacity: int) -> None:
        names = ("open", "high", "low", "close", "volume")
        super().__init__(capacity, [("time", np.int64), *((name, np.float64) for name in names)])

    def append(self, bar: Bar | QuoteBar) -> None:
        """Add the newest bar."""
        if isinstance(bar, Bar):
            row = (bar.open, bar.high, bar.low, bar.close, bar.volume)
        else:
            bid, ask = bar.bid, bar.ask
            row = (
                (bid.open + ask.open) * 0.5,
                (bid.high + ask.high) * 0.5,
                (bid.low + ask.low) * 0.5,
                (bid.close + ask.close) * 0.5,
                0.0,
            )
        self._push(self._pack(bar.end_time, *row))

    def extend(self, bars: Iterable[Bar | QuoteBar]) -> None:
        """Add bars, oldest first."""
        for bar in bars:
            self.append(bar)

    def last(self, n: int | None = None) -> BarWindow:
        """Return copies of the newest `n` bars, or all there are if fewer or `n` is None."""
        return BarWindow(*self._columns(n))


class TickHistory(_Rows):
    """The last `capacity` ticks, trades and quotes together, of one symbol."""

    _pack = Struct("q7d?0q").pack

    def __init__(self, capacity: int) -> None:
        names = ("price", "size", "side", "bid", "bid_size", "ask", "ask_size")
        floats = [(name, np.float64) for name in names]
        super().__init__(capacity, [("time", np.int64), *floats, ("is_trade", np.bool_)])
        self._bid = self._bid_size = self._ask = self._ask_size = float("nan")
        self._unpacked: deque[Span] = deque()
        self._unpacked_rows = 0

    def __len__(self) -> int:
        self._pack_all()
        return super().__len__()

    def append_trade(self, trade: Trade) -> None:
        """Add the newest trade."""
        if self._unpacked:
            self._pack_all()
        self._buffer += self._pack(
            trade.time,
            trade.price,
            trade.size,
            _SIDES[trade.aggressor],
            self._bid,
            self._bid_size,
            self._ask,
            self._ask_size,
            True,
        )
        if len(self._buffer) >= self._most_bytes:
            self._trim()

    def append_quote(self, quote: Quote) -> None:
        """Add the newest quote."""
        if self._unpacked:
            self._pack_all()
        self._bid = bid = quote.bid
        self._bid_size = bid_size = quote.bid_size
        self._ask = ask = quote.ask
        self._ask_size = ask_size = quote.ask_size
        middle = (bid + ask) * 0.5
        self._buffer += self._pack(
            quote.time, middle, 0.0, 0.0, bid, bid_size, ask, ask_size, False
        )
        if len(self._buffer) >= self._most_bytes:
            self._trim()

    def extend(self, ticks: Iterable[Trade | Quote]) -> None:
        """Add ticks, oldest first."""
        for tick in ticks:
            if isinstance(tick, Trade):
                self.append_trade(tick)
            else:
                self.append_quote(tick)

    def append_span(self, span: Span) -> None:
        """Add the newest rows of columns of trades; they are packed once somebody looks."""
        waiting = self._unpacked
        self._unpacked_rows += span.end - span.begin
        if waiting and waiting[-1].rows is span.rows and waiting[-1].end == span.begin:
            span = Span(span.rows, waiting.pop().begin, span.end)
        waiting.append(span)
        oldest = waiting[0]
        if self._unpacked_rows - (oldest.end - oldest.begin) >= self.capacity:
            self._unpacked_rows -= oldest.end - oldest.begin  # nobody will see them any more
            waiting.popleft()

    def last(self, n: int | None = None) -> TickWindow:
        """Return copies of the newest `n` ticks, or all there are if fewer or `n` is None."""
        self._pack_all()
        return TickWindow(*self._columns(n))

    def _pack_all(self) -> None:
        while self._unpacked:
            span = self._unpacked.popleft()
            rows, begin, end = span.rows, span.begin, span.end
            packed = np.zeros(end - begin, self._dtype)
            packed["time"] = rows.time[begin:end]
            packed["price"] = rows.price[begin:end]
            packed["size"] = rows.size[begin:end]
            packed["bid"], packed["bid_size"] = self._bid, self._bid_size
            packed["ask"], packed["ask_size"] = self._ask, self._ask_size
            packed["is_trade"] = True
            self._push(packed.tobytes())
        self._unpacked_rows = 0


class RollingWindow(Generic[_Value]):
    """LEAN's window of the last `size` items of any kind; `window[0]` is the newest.

    Raises:
        ValueError: the size is below 1.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"a rolling window of {size} items holds nothing: give it 1 or more")
        self.size = size
        self.samples = 0
        """How many were ever added."""
        self._items: deque[_Value] = deque(maxlen=size)

    def add(self, item: _Value) -> None:
        """Add the newest item; the oldest goes when the window is full."""
        self._items.appendleft(item)
        self.samples += 1

    def reset(self) -> None:
        """Forget every item and the count of samples."""
        self._items.clear()
        self.samples = 0

    @property
    def count(self) -> int:
        """How many items it holds now."""
        return len(self._items)

    @property
    def is_ready(self) -> bool:
        """Whether it holds `size` items."""
        return len(self._items) == self.size

    @property
    def values(self) -> Floats:
        """The items as float64[count], OLDEST first; only for numbers."""
        return np.array(list(reversed(self._items)), dtype=np.float64)

    def __getitem__(self, index: int) -> _Value:
        """Return the item added `index` items ago.

        Raises:
            IndexError: the window does not hold that many yet, or never will.
        """
        if not 0 <= index < len(self._items):
            raise IndexError(
                f"item {index} of a window that holds {len(self._items)} of {self.size}: "
                "check is_ready, or count, first"
            )
        return self._items[index]

    def __iter__(self) -> Iterator[_Value]:
        """Newest first."""
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)
