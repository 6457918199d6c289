"""Fills become trades: what was bought first is sold first, to the last digit.

A trade is what one order closed of what one other order had opened, however many fills either took.
Its profit is after the fees of both ends, each fill's fee shared by quantity. So the profits of all
trades, and what the open rest is worth against its cost, are what the account has gained.
"""

from collections import deque
from collections.abc import Iterable
from decimal import Decimal, localcontext

import msgspec

from feeds.events import Symbol
from runtime.results import FillRow
from runtime.trading.orders import EXACT, MEAN, ZERO, Side


class Trade(msgspec.Struct, frozen=True):
    """One position that was opened and closed: times ns UTC, quantity > 0, money after fees.

    Prices are means where an order took several fills, in what the symbol is paid in; `profit` and
    `fees` are in the account's currency, at the rates of the fills that closed.
    """

    symbol: Symbol
    is_long: bool
    quantity: Decimal
    entry_time: int
    entry_price: Decimal
    exit_time: int
    exit_price: Decimal
    profit: Decimal
    fees: Decimal


class OpenLot(msgspec.Struct):
    """What is left of a fill that opened: quantity > 0, `fee` of what is left."""

    symbol: Symbol
    is_long: bool
    order: str
    time: int
    quantity: Decimal
    price: Decimal
    fee: Decimal


class _Growing(msgspec.Struct):
    """A trade while its fills come in: values are sums of quantity times price."""

    lot: OpenLot
    exit_time: int
    quantity: Decimal = ZERO
    entry_value: Decimal = ZERO
    exit_value: Decimal = ZERO
    profit: Decimal = ZERO
    fees: Decimal = ZERO

    def done(self) -> Trade:
        return Trade(
            symbol=self.lot.symbol,
            is_long=self.lot.is_long,
            quantity=self.quantity,
            entry_time=self.lot.time,
            entry_price=MEAN.divide(self.entry_value, self.quantity),
            exit_time=self.exit_time,
            exit_price=MEAN.divide(self.exit_value, self.quantity),
            profit=self.profit,
            fees=self.fees,
        )


SHARE = Decimal("1e-12")
"""A fee is shared rounded to this; the last part takes what is left, so that nothing is lost."""


def match_trades(fills: Iterable[FillRow]) -> tuple[list[Trade], list[OpenLot]]:
    """Match fills, in their order: the closed trades in order of their end, and what is open."""
    lots: dict[Symbol, deque[OpenLot]] = {}
    growing: dict[tuple[str, str], _Growing] = {}
    with localcontext(EXACT):
        for fill in fills:
            _match(fill, lots.setdefault(fill.symbol, deque()), growing)
        trades = [trade.done() for trade in growing.values()]
    trades.sort(key=lambda trade: trade.exit_time)  # stable: those of one moment as they came
    return trades, [lot for queue in lots.values() for lot in queue]


def _match(fill: FillRow, queue: deque[OpenLot], growing: dict[tuple[str, str], _Growing]) -> None:
    is_buy = fill.side is Side.BUY
    left, fee = Decimal(fill.quantity), Decimal(fill.fee)
    price, rate = Decimal(fill.price), Decimal(fill.rate)
    while left and queue and queue[0].is_long is not is_buy:
        lot = queue[0]
        closed = min(left, lot.quantity)
        paid_in, paid_out = _share(lot.fee, closed, lot.quantity), _share(fee, closed, left)
        key = (lot.order, fill.order)
        trade = growing.setdefault(key, _Growing(lot=lot, exit_time=fill.time))
        trade.exit_time = fill.time
        trade.quantity += closed
        trade.entry_value += closed * lot.price
        trade.exit_value += closed * price
        gross = closed * (price - lot.price if lot.is_long else lot.price - price)
        trade.profit += (gross - paid_in - paid_out) * rate
        trade.fees += (paid_in + paid_out) * rate
        left, fee = left - closed, fee - paid_out
        if closed == lot.quantity:
            queue.popleft()
        else:
            # A new lot, for a trade that is growing keeps the time of the one it began with.
            rest = (lot.quantity - closed, lot.price, lot.fee - paid_in)
            queue[0] = OpenLot(lot.symbol, lot.is_long, lot.order, lot.time, *rest)
    if left:
        queue.append(OpenLot(fill.symbol, is_buy, fill.order, fill.time, left, price, fee))


def _share(fee: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    return fee if part == whole else (fee * part / whole).quantize(SHARE)
