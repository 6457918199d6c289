"""What was ordered and what came of it, on the disk before anybody acts on it.

SQLite in WAL mode with FULL sync; rows are only ever added. Start and recovery are one path: the
account is what the journal says, however the run before ended. Everything here blocks.
"""

import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import msgspec

from feeds.events import Symbol
from runtime.errors import ConfigError, TidegateError
from runtime.redaction import KNOWN
from runtime.trading.orders import (
    ClientOrderId,
    Fill,
    Order,
    OrderType,
    OrderUpdate,
    Side,
    TimeInForce,
    TrackedOrder,
    UpdateKind,
)
from runtime.trading.recovered import Recovered

FILE = "journal.db"
VERSION = 1
SCHEMA = """
CREATE TABLE account (cash TEXT NOT NULL, opened INTEGER NOT NULL, crc INTEGER NOT NULL) STRICT;
CREATE TABLE intents (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, symbol TEXT NOT NULL, side TEXT NOT NULL,
    quantity TEXT NOT NULL, type TEXT NOT NULL, limit_price TEXT, time_in_force TEXT NOT NULL,
    tag TEXT NOT NULL, created INTEGER NOT NULL, crc INTEGER NOT NULL
) STRICT;
CREATE TABLE reports (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL, kind TEXT NOT NULL, time INTEGER NOT NULL,
    reason TEXT NOT NULL, fill_id TEXT, quantity TEXT, price TEXT, fee TEXT, crc INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX one_fill_once ON reports (id, fill_id) WHERE fill_id IS NOT NULL;
"""


class Opening(msgspec.Struct, frozen=True):
    """What an account begins with."""

    cash: Decimal
    time: int


Entry = Opening | Order | OrderUpdate
"""The beginning, an intent, or a report."""


class Journal:
    """One deployment's journal, open for writing."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> "Journal":
        """Open or make the journal.

        Raises:
            ConfigError: it is damaged, none of ours, or of another version.
        """
        try:
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise ConfigError(f"the journal {path} cannot be opened: {error}") from None
        try:
            path.chmod(0o600)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")
            found = connection.execute("PRAGMA quick_check").fetchall()
            if found != [("ok",)]:
                raise sqlite3.DatabaseError(str(found[0][0]).replace("\n", " "))
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    raise sqlite3.DatabaseError("it is no journal of ours")
                connection.executescript(
                    f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version={VERSION}; COMMIT;"
                )
            elif version != VERSION:
                raise sqlite3.DatabaseError(f"it is of version {version}, not {VERSION}")
        except (sqlite3.Error, OSError) as error:
            connection.close()
            raise ConfigError(
                f"the journal {path} cannot be used: {error}; no order leaves without it: move it "
                "away to begin a new account"
            ) from None
        return cls(path, connection)

    def recover(self) -> Recovered:
        """Return the account; twice is the same.

        Raises:
            ConfigError: the rows contradict each other.
        """
        try:
            return self._recover()
        except (ValueError, ArithmeticError, KeyError, sqlite3.Error, TidegateError) as error:
            raise ConfigError(
                f"the journal {self.path} contradicts itself: {error}; move it away to begin a "
                "new account"
            ) from None

    def _recover(self) -> Recovered:
        account = self._connection.execute("SELECT cash, opened, crc FROM account").fetchone()
        if account is not None:
            _checked(account)
        orders: dict[str, TrackedOrder] = {}
        for row in self._connection.execute(
            "SELECT id, symbol, side, quantity, type, limit_price, time_in_force, tag, created, "
            "crc FROM intents ORDER BY number"
        ):
            order = _order(_checked(row))
            tracked = orders[order.id] = TrackedOrder(order)
            tracked.submit()
        fills: list[Fill] = []
        counts: dict[ClientOrderId, int] = {}
        for row in self._connection.execute(
            "SELECT id, kind, time, reason, fill_id, quantity, price, fee, crc "
            "FROM reports ORDER BY number"
        ):
            tracked = orders[row[0]]
            update = _update(_checked(row), tracked.order)
            tracked.apply(update)
            if update.fill is not None:
                fills.append(update.fill)
                counts[tracked.order.id] = counts.get(tracked.order.id, 0) + 1
        return Recovered(
            None if account is None else Decimal(account[0]),
            tuple(orders.values()),
            tuple(fills),
            {tracked.order.id: counts.get(tracked.order.id, 0) for tracked in orders.values()},
        )

    def write(self, entries: Iterable[Entry]) -> None:
        """Add what happened, all or none; it is on the disk when this returns.

        A fill that is there already is not added again.

        Raises:
            OSError: none of them is in the journal.
        """
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for entry in entries:
                self._connection.execute(*_row(entry))
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise OSError(f"{self.path}: {error}") from error

    def close(self) -> None:
        """Let go of the file."""
        with suppress(sqlite3.Error):
            self._connection.close()


def _row(entry: Entry) -> tuple[str, tuple[object, ...]]:
    if isinstance(entry, Opening):
        once = "INSERT INTO account SELECT ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM account)"
        return once, _sealed((str(entry.cash), entry.time))
    if isinstance(entry, Order):
        limit = None if entry.limit_price is None else str(entry.limit_price)
        return (
            "INSERT INTO intents VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            _sealed(
                (
                    *(
                        entry.id,
                        entry.symbol,
                        str(entry.side),
                        str(entry.quantity),
                        str(entry.type),
                    ),
                    *(limit, str(entry.time_in_force), KNOWN.hide(entry.tag), entry.created),
                )
            ),
        )
    fill = entry.fill
    executed = (
        (None, None, None, None)
        if fill is None
        else (fill.fill_id, str(fill.quantity), str(fill.price), str(fill.fee))
    )
    return (
        "INSERT OR IGNORE INTO reports VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        _sealed((entry.order_id, str(entry.kind), entry.time, KNOWN.hide(entry.reason), *executed)),
    )


def _sealed(values: tuple[object, ...]) -> tuple[object, ...]:
    """Add a checksum: SQLite itself does not notice a digit that became another one."""
    return (*values, zlib.crc32(repr(values).encode()))


def _checked(row: Sequence[object]) -> Sequence[object]:
    """Return a row without its checksum.

    Raises:
        ValueError: it is not the row that was written.
    """
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
