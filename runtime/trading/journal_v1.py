"""A journal of version 1, and how it becomes one of today: it had a table for each kind."""

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from decimal import Decimal

from feeds.events import Symbol
from runtime.trading.orders import (
    ClientOrderId,
    Fill,
    Order,
    OrderType,
    OrderUpdate,
    Side,
    TimeInForce,
    UpdateKind,
)

TABLES = ("account", "intents", "reports")


def old_opening(connection: sqlite3.Connection) -> tuple[Decimal, int] | None:
    """Return what the account began with and when, None where it has not begun.

    Raises:
        ValueError: the row is not the one that was written.
    """
    row = connection.execute("SELECT cash, opened, crc FROM account").fetchone()
    if row is None:
        return None
    cash, opened = _checked(row)
    return Decimal(str(cash)), int(str(opened))


def old_entries(connection: sqlite3.Connection) -> Iterator[Order | OrderUpdate]:
    """Yield all intents, then all reports.

    Raises:
        ValueError: a row is not the one that was written.
    """
    orders: dict[object, Order] = {}
    for row in connection.execute(
        "SELECT id, symbol, side, quantity, type, limit_price, time_in_force, tag, created, crc "
        "FROM intents ORDER BY number"
    ):
        order = _order(_checked(row))
        orders[order.id] = order
        yield order
    for row in connection.execute(
        "SELECT id, kind, time, reason, fill_id, quantity, price, fee, crc "
        "FROM reports ORDER BY number"
    ):
        yield _update(_checked(row), orders[row[0]])


def _checked(row: Sequence[object]) -> Sequence[object]:
    values = tuple(row[:-1])
    if zlib.crc32(repr(values).encode()) != row[-1]:
        raise ValueError(f"the row of {values[0]} is not what was written")
    return values


def _order(row: Sequence[object]) -> Order:
    name, symbol, side, quantity, kind, limit, force, tag, created = row
    return Order(
        id=ClientOrderId(str(name)),
        symbol=Symbol(str(symbol)),
        side=Side(str(side)),
        quantity=Decimal(str(quantity)),
        type=OrderType(str(kind)),
        limit_price=None if limit is None else Decimal(str(limit)),
        time_in_force=TimeInForce(str(force)),
        tag=str(tag),
        created=int(str(created)),
    )


def _update(row: Sequence[object], order: Order) -> OrderUpdate:
    _, kind, time, reason, fill_id, quantity, price, fee = row
    when = int(str(time))
    fill = None
    if fill_id is not None:
        fill = Fill(
            fill_id=str(fill_id),
            order_id=order.id,
            symbol=order.symbol,
            side=order.side,
            quantity=Decimal(str(quantity)),
            price=Decimal(str(price)),
            fee=Decimal(str(fee)),
            time=when,
        )
    return OrderUpdate(order.id, UpdateKind(str(kind)), when, fill, str(reason))
