"""An account on the disk: SQLite in WAL mode, so that a killed venue comes back as it was.

A change is written before anybody is told of it. Everything here blocks.
"""

import sqlite3
import uuid
from collections.abc import Iterable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import msgspec

from feeds.errors import ConfigError
from feeds.venue.accounts import Account, AccountOrder, Execution
from feeds.venue.trading import Change

VERSION = 1
SCHEMA = """
CREATE TABLE account (key TEXT NOT NULL, cash TEXT NOT NULL, opened INTEGER NOT NULL) STRICT;
CREATE TABLE orders (number INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT;
CREATE TABLE executions (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, body TEXT NOT NULL
) STRICT;
"""


class Ledger:
    """The file of one account, open for writing.

    Raises:
        ConfigError: it is damaged, none of ours, or in use.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            path.chmod(0o600)
        except (sqlite3.Error, OSError) as error:
            raise ConfigError(f"the venue's account {path} cannot be opened: {error}") from None
        try:
            self._connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                self._connection.executescript(
                    f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version={VERSION}; COMMIT;"
                )
            elif version != VERSION:
                raise sqlite3.DatabaseError(f"it is of version {version}, not {VERSION}")
        except sqlite3.Error as error:
            self._connection.close()
            raise ConfigError(f"the venue's account {path} cannot be used: {error}") from None

    def load(self, cash: Decimal, now: int) -> Account:
        """Return the account, opened with `cash` at `now` where the file is new.

        Raises:
            ConfigError: the rows are not what was written.
        """
        try:
            row = self._connection.execute("SELECT key, cash, opened FROM account").fetchone()
            if row is None:
                row = str(uuid.uuid4()), str(cash), now
                self._connection.execute("INSERT INTO account VALUES (?, ?, ?)", row)
            account = Account(row[0], Decimal(row[1]), row[2])
            for (body,) in self._connection.execute("SELECT body FROM orders ORDER BY number"):
                account.put(msgspec.json.decode(body, type=AccountOrder))
            for (body,) in self._connection.execute("SELECT body FROM executions ORDER BY number"):
                execution = msgspec.json.decode(body, type=Execution)
                order = account.orders[execution.order_id]
                account.execute(execution, order.asset_class)
        except (sqlite3.Error, ValueError, ArithmeticError, KeyError) as error:
            self.close()
            raise ConfigError(f"the venue's account {self.path} is damaged: {error}") from None
        return account

    def write(self, changes: Iterable[Change]) -> None:
        """Add what happened, all or none; it is on the disk when this returns.

        Raises:
            OSError: nothing was written.
        """
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for change in changes:
                self._connection.execute(
                    "INSERT OR REPLACE INTO orders VALUES (?, ?)",
                    (change.order.number, msgspec.json.encode(change.order).decode()),
                )
                if change.execution is not None:
                    self._connection.execute(
                        "INSERT INTO executions VALUES (NULL, ?, ?)",
                        (change.execution.id, msgspec.json.encode(change.execution).decode()),
                    )
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise OSError(f"{self.path}: {error}") from error

    def close(self) -> None:
        """Let go of the file."""
        with suppress(sqlite3.Error):
            self._connection.close()
