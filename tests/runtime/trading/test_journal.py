"""The journal gives back what it was given, once, whatever happened to the file in between."""

import sqlite3
import zlib
from decimal import Decimal
from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.events import Symbol
from runtime.errors import ConfigError
from runtime.sessions.words import recovered, taken_over
from runtime.trading.journal import FILE, Entry, Journal, Opening, RowRefused
from runtime.trading.orders import (
    ClientOrderId,
    Fill,
    Order,
    OrderState,
    OrderType,
    OrderUpdate,
    Side,
    UpdateKind,
)
from runtime.trading.portfolio import Portfolio
from runtime.trading.recovered import Recovered

SPY = Symbol("SPY")


def order(n: int, quantity: str = "10", side: Side = Side.BUY) -> Order:
    return Order(ClientOrderId(f"r-{n}"), SPY, side, Decimal(quantity), created=n, tag=f"t'{n}\n")


def fill(n: int, quantity: str, price: str = "100.5", number: int = 1) -> OrderUpdate:
    name = ClientOrderId(f"r-{n}")
    made = Fill(
        f"r-{n}-{number}", name, SPY, Side.BUY, Decimal(quantity), Decimal(price), Decimal("0.1"), n
    )
    return OrderUpdate(name, UpdateKind.FILL, n, made)


def told(n: int, kind: UpdateKind, reason: str = "") -> OrderUpdate:
    return OrderUpdate(ClientOrderId(f"r-{n}"), kind, n, reason=reason)


def written(path: Path, *entries: Entry) -> None:
    journal = Journal.open(path)
    journal.write(entries)
    journal.close()


def read(path: Path) -> Recovered:
    journal = Journal.open(path)
    found, again = journal.recover(), journal.recover()
    journal.close()
    assert picture(found) == picture(again)
    return found


def picture(found: Recovered) -> object:
    orders = [(each.order, each.state, each.filled, each.reason) for each in found.orders]
    return found.cash, orders, found.fills, found.fill_counts


def test_a_new_journal_is_an_account_that_has_not_begun(tmp_path: Path) -> None:
    assert picture(read(tmp_path / FILE)) == (None, [], (), {})
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_orders_and_fills_come_back_as_they_were(tmp_path: Path) -> None:
    written(
        tmp_path / FILE,
        Opening(Decimal("1000.10"), 5),
        order(1),
        told(1, UpdateKind.ACCEPTED),
        fill(1, "4"),
        order(2, "0.00000003"),
        order(3),
        told(3, UpdateKind.REJECTED, "why not"),
        fill(1, "6", number=2),
    )
    found = read(tmp_path / FILE)
    assert found.cash == Decimal("1000.10")
    assert [each.state for each in found.orders] == [
        OrderState.FILLED,
        OrderState.SUBMITTED,
        OrderState.REJECTED,
    ]
    assert [each.order for each in found.open_orders] == [order(2, "0.00000003")]
    assert found.orders[2].reason == "why not"
    assert [each.quantity for each in found.fills] == [4, 6]
    assert found.fill_counts == {"r-1": 2, "r-2": 0, "r-3": 0}


def test_an_account_is_opened_once(tmp_path: Path) -> None:
    written(tmp_path / FILE, Opening(Decimal(1), 1))
    written(tmp_path / FILE, Opening(Decimal(2), 2))
    assert read(tmp_path / FILE).cash == 1


def test_a_fill_counts_once(tmp_path: Path) -> None:
    written(tmp_path / FILE, Opening(Decimal(1), 1), order(1), fill(1, "4"), fill(1, "4"))
    assert len(read(tmp_path / FILE).fills) == 1


def test_what_is_written_together_is_there_together_or_not_at_all(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / FILE)
    journal.write([order(1)])
    with pytest.raises(RowRefused, match="UNIQUE"):
        journal.write([order(2), order(1)])
    assert [each.order.id for each in journal.recover().orders] == ["r-1"]
    journal.close()


def test_what_is_no_row_leaves_the_journal_usable(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / FILE)
    with pytest.raises(RowRefused):
        journal.write([order(1), msgspec.structs.replace(order(2), tag="half a character \ud800")])
    journal.write([order(3)])
    assert [each.order.id for each in journal.recover().orders] == ["r-3"]
    journal.close()


def test_a_missing_row_is_told(tmp_path: Path) -> None:
    written(tmp_path / FILE, Opening(Decimal(1), 1), order(1), fill(1, "4"), fill(1, "3", number=2))
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("DELETE FROM entries WHERE fill_id = 'r-1-1'")
    connection.close()
    with pytest.raises(ConfigError, match="row 3 is missing"):
        read(tmp_path / FILE)


V1 = """
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
PRAGMA user_version=1;
"""


def first_release(path: Path) -> None:
    """A journal of version 1."""
    with sqlite3.connect(path) as old:
        old.executescript(V1)
        for table, *row in (
            ("account", "1000.10", 5),
            ("intents", 1, "r-1", "SPY", "buy", "10", "market", None, "gtc", "t'1\n", 1),
            ("intents", 2, "r-2", "SPY", "buy", "3", "limit", "99.5", "gtc", "t'2\n", 2),
            ("reports", 1, "r-1", "accepted", 1, "", None, None, None, None),
            ("reports", 2, "r-1", "fill", 1, "", "r-1-1", "4", "100.5", "0.1"),
        ):
            sealed = row[1:] if table != "account" else row
            row.append(zlib.crc32(repr(tuple(sealed)).encode()))
            old.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
    old.close()


def test_a_journal_of_version_1_goes_on(tmp_path: Path) -> None:
    path = tmp_path / FILE
    first_release(path)
    found = read(path)
    assert found.cash == Decimal("1000.10")
    assert [each.order for each in found.orders] == [
        order(1),
        msgspec.structs.replace(
            order(2, "3"), type=OrderType.LIMIT, limit_price=Decimal("99.5"), tag="t'2\n"
        ),
    ]
    assert found.orders[0].state is OrderState.PARTIALLY_FILLED
    assert found.fills == (fill(1, "4").fill,)
    written(path, fill(1, "6", number=2))
    assert read(path).orders[0].state is OrderState.FILLED


def test_a_damaged_journal_of_version_1_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / FILE
    first_release(path)
    with sqlite3.connect(path) as old:
        old.execute("UPDATE intents SET quantity = '11' WHERE id = 'r-1'")
    old.close()
    for _ in range(2):
        with pytest.raises(ConfigError, match="the row of r-1 is not what was written"):
            Journal.open(path)


@given(st.lists(st.tuples(st.integers(1, 9), st.decimals("0.01", "999", places=2)), max_size=12))
def test_money_is_the_same_to_the_last_digit(
    tmp_path_factory: pytest.TempPathFactory, fills: list[tuple[int, Decimal]]
) -> None:
    path = tmp_path_factory.mktemp("journal") / FILE
    live = Portfolio(Decimal(1000))
    entries: list[Entry] = [Opening(Decimal(1000), 0)]
    for n, (quantity, price) in enumerate(fills):
        update = fill(n, str(quantity), str(price))
        entries += [order(n), update]
        assert update.fill is not None
        live.apply(update.fill)
    written(path, *entries)
    found = read(path)
    assert found.cash is not None
    again = Portfolio(found.cash)
    for each in found.fills:
        again.apply(each)
    assert (again.cash, again.fees, again[SPY].quantity) == (
        live.cash,
        live.fees,
        live[SPY].quantity,
    )


def test_an_account_keeps_its_currencies(tmp_path: Path) -> None:
    path = tmp_path / FILE
    written(path, Opening(Decimal(1000), 0, "paper", "EUR", {"USD": Decimal("2.50")}))
    found = read(path)
    assert found.cash == 1000
    assert (found.currency, found.balances) == ("EUR", {"USD": Decimal("2.50")})
    assert recovered(taken_over(found)) == found  # as a recorded session keeps it


# ---- files that are not what they were -------------------------------------------------------


def full(path: Path) -> bytes:
    """A journal of some pages, checkpointed into one file."""
    entries: list[Entry] = [Opening(Decimal(1000), 0)]
    for n in range(120):
        entries += [order(n), fill(n, "10")]
    written(path, *entries)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return path.read_bytes()


def test_a_flipped_bit_is_told_or_changes_nothing(tmp_path: Path) -> None:
    """Never another account without a word: what is not found out lies in unused bytes."""
    path = tmp_path / FILE
    whole = full(path)
    expected = picture(read(path))
    random = Random(7)  # reproducible
    told_of = 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[random.randrange(len(damaged))] ^= 1 << random.randrange(8)
        for suffix in ("-wal", "-shm"):
            path.with_name(FILE + suffix).unlink(missing_ok=True)
        path.write_bytes(damaged)
        try:
            assert picture(read(path)) == expected
        except ConfigError as error:
            assert str(path) in str(error)  # noqa: PT017  # either is right
            told_of += 1
    assert told_of > 50


def test_what_is_no_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(ConfigError, match=r"journal\.db cannot be used: file is not a database"):
        Journal.open(path)
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE other (x)")
    connection.close()
    with pytest.raises(ConfigError, match="it is no journal of ours"):
        Journal.open(path)


def test_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / FILE
    written(path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=9")
    connection.close()
    with pytest.raises(ConfigError, match="it is of version 9, not 2"):
        Journal.open(path)


def test_a_cut_tail_of_the_wal_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / FILE
    journal = Journal.open(path)
    journal.write([Opening(Decimal(1), 0), order(1)])
    kept = path.with_name(FILE + "-wal").read_bytes()
    journal.write([order(2)])
    whole = path.with_name(FILE + "-wal").read_bytes()
    copy = tmp_path / "copy" / FILE
    copy.parent.mkdir()
    copy.write_bytes(path.read_bytes())
    copy.with_name(FILE + "-wal").write_bytes(whole[: (len(kept) + len(whole)) // 2])
    journal.close()
    assert [each.order.id for each in read(copy).orders] == ["r-1"]
