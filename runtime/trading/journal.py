"""What was ordered and what came of it, on the disk before anybody acts on it.

SQLite in WAL mode with FULL sync; rows are only ever added. Start and recovery are one path: the
account is what the journal says, however the run before ended. Everything here blocks.
"""

import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import msgspec

from runtime.errors import ConfigError, TidegateError
from runtime.redaction import KNOWN
from runtime.trading.daily_loss import DayBegun
from runtime.trading.journal_v1 import TABLES, old_entries, old_opening
from runtime.trading.orders import ZERO, ClientOrderId, Fill, Order, OrderUpdate, UpdateKind
from runtime.trading.recovered import Recovered
from runtime.trading.tracked import TrackedOrder

FILE = "journal.db"
VERSION = 2
SCHEMA = """
CREATE TABLE entries (
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, fill_id TEXT,
    body TEXT NOT NULL, crc INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX one_name_once ON entries (id) WHERE kind = 'order';
CREATE UNIQUE INDEX one_fill_once ON entries (id, fill_id) WHERE fill_id IS NOT NULL;
CREATE UNIQUE INDEX one_account ON entries (kind) WHERE kind = 'opening';
"""


class RowRefused(TidegateError):
    """What the journal can never take, however much room the disk has."""


class Opening(msgspec.Struct, frozen=True):
    """What an account begins with, and who keeps it: paper, or the broker and its account there.

    `cash` is in its own `currency`, `balances` is what it has of others.
    """

    cash: Decimal
    time: int
    holder: str = "paper"
    currency: str = ""
    balances: dict[str, Decimal] = {}


Entry = Opening | Order | OrderUpdate | DayBegun
"""The beginning, an intent, a report, or what a day began with."""

KINDS: dict[str, type[Entry]] = {
    "opening": Opening,
    "order": Order,
    "report": OrderUpdate,
    "day": DayBegun,
}
"""What a row's `body` is, as JSON: a field that is added with a default needs no new version."""


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
            elif version == 1:
                _upgrade(connection)
            elif version != VERSION:
                raise sqlite3.DatabaseError(f"it is of version {version}, not {VERSION}")
        except (sqlite3.Error, OSError, ValueError) as error:
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
        cash: Decimal | None = None
        day: DayBegun | None = None
        orders: dict[str, TrackedOrder] = {}
        fills: list[Fill] = []
        counts: dict[ClientOrderId, int] = {}
        confirmed: set[ClientOrderId] = set()
        external: set[ClientOrderId] = set()
        opening = Opening(ZERO, 0)
        for entry in read_entries(self._connection):
            match entry:
                case Opening():
                    cash, opening = entry.cash, entry
                case Order():
                    tracked = orders[entry.id] = TrackedOrder(entry)
                    tracked.submit()
                    counts[entry.id] = 0
                case OrderUpdate():
                    if entry.external is not None and entry.order_id not in orders:
                        tracked = orders[entry.order_id] = TrackedOrder(entry.external)
                        tracked.submit()
                        counts[entry.order_id] = 0
                        external.add(entry.order_id)
                    if entry.kind in {UpdateKind.ACCEPTED, UpdateKind.FILL}:
                        confirmed.add(entry.order_id)
                    orders[entry.order_id].apply(entry)
                    if entry.fill is not None:
                        fills.append(entry.fill)
                        counts[entry.order_id] += 1
                case DayBegun():
                    day = entry
        return Recovered(
            cash,
            tuple(orders.values()),
            tuple(fills),
            counts,
            day,
            frozenset(confirmed),
            opening.time,
            frozenset(external),
            opening.holder,
            opening.currency,
            opening.balances,
        )

    def write(self, entries: Iterable[Entry]) -> None:
        """Add what happened, all or none; it is on the disk when this returns.

        A fill that is there already is not added again.

        Raises:
            OSError: none of them is in the journal; the disk does not take it now.
            RowRefused: none of them is in the journal; one of them never can be.
        """
        try:
            rows = [_row(entry) for entry in entries]
            self._connection.execute("BEGIN IMMEDIATE")
            for row in rows:
                self._connection.execute(*row)
            self._connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise OSError(f"{self.path}: {error}") from error
        # What is no row of SQLite's: a name used twice, a number too large, half a character.
        except (sqlite3.Error, ValueError, OverflowError) as error:
            raise RowRefused(f"{self.path}: {error}") from error
        finally:
            if self._connection.in_transaction:
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Let go of the file."""
        with suppress(sqlite3.Error):
            self._connection.close()


def read_entries(connection: sqlite3.Connection) -> Iterator[Entry]:
    """Yield what was written, in its order.

    Raises:
        ValueError: a row is not the one that was written, or is missing.
    """
    rows = "SELECT number, kind, id, fill_id, body, crc FROM entries ORDER BY number"
    for place, (number, *values, crc) in enumerate(connection.execute(rows), 1):
        if number != place:
            raise ValueError(f"row {place} is missing")
        if _checksum(values) != crc:
            raise ValueError(f"row {number} is not what was written")
        yield msgspec.json.decode(values[3], type=KINDS[values[0]])


def _checksum(values: Sequence[object]) -> int:
    """SQLite itself does not notice a digit that became another one."""
    return zlib.crc32(repr(tuple(values)).encode())


def _row(entry: Entry) -> tuple[str, tuple[object, ...]]:
    fill_id = None
    match entry:
        case Opening():
            # An account is opened once, and a fill counts once, however often they are told.
            kind, name, once = "opening", "", "ON CONFLICT (kind) WHERE kind = 'opening' DO NOTHING"
        case Order():
            kind, name, once = "order", entry.id, ""
            entry = msgspec.structs.replace(entry, tag=KNOWN.hide(entry.tag))
        case OrderUpdate():
            kind, name = "report", entry.order_id
            entry = msgspec.structs.replace(entry, reason=KNOWN.hide(entry.reason))
            fill_id = None if entry.fill is None else entry.fill.fill_id
            once = "ON CONFLICT (id, fill_id) WHERE fill_id IS NOT NULL DO NOTHING"
        case DayBegun():
            kind, name, once = "day", entry.day, ""
    values = (kind, name, fill_id, msgspec.json.encode(entry).decode())
    return (
        f"INSERT INTO entries VALUES (NULL, ?, ?, ?, ?, ?) {once}",  # noqa: S608  # words of ours
        (*values, _checksum(values)),
    )


def _upgrade(connection: sqlite3.Connection) -> None:
    """Make a journal of version 1 one of this version, whole or not at all."""
    opening = old_opening(connection)
    entries: list[Entry] = [] if opening is None else [Opening(*opening)]
    entries += old_entries(connection)
    connection.execute("BEGIN IMMEDIATE")
    try:
        for table in TABLES:
            connection.execute(f"DROP TABLE {table}")
        for statement in SCHEMA.split(";"):
            connection.execute(statement)
        for entry in entries:
            connection.execute(*_row(entry))
        connection.execute(f"PRAGMA user_version={VERSION}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
