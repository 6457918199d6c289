"""Power loss at any moment: no order was sent that the journal lacks, and nothing is damaged.

kill -9 leaves what was written, whether or not it is on the disk. Here a run, with the venue that
it trades at, is recorded call by call, and whatever a disk may have kept at each moment is opened
as the next run would. The model of the disk shares no code with what it looks at.
"""

import re
import shutil
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest

from feeds.venue.ledger import Ledger
from runtime.trading.journal import FILE as JOURNAL
from runtime.trading.journal import Journal, read_entries
from runtime.training.ledger import read_record
from runtime.training.store import ModelStore
from tests.live.cli_kit import TIDEGATE, strategy
from tests.models.disk import Call, Disk, read, record

pytestmark = [
    pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace"),
    pytest.mark.timeout(240),
]

BODY = """
def initialize(self):
    self.add_security('SPY', Resolution.TICK)
    self.slot = ModelSlot('plain')
    self.n = 0
def fit(self):
    return {'weights': [1.0, float(self.n)]}
def on_order_event(self, event):
    self.log('told', order=event.order_id, state=str(event.status))
def on_data(self, slice):
    self.n += 1
    if self.n % 4 == 0:
        self.train(self.fit, into=self.slot)
    if self.n > 12:
        self.quit('enough')
        return
    self.market_order('SPY', 1 if self.n % 2 else -1)
"""
NAMED = re.compile(rb'"client_order_id": ?"([^"]+)"')
TOLD = re.compile(rb'"event": ?"told".*?"order": ?"([^"]+)", "state": ?"filled"')
STORED = re.compile(rb'"event": ?"model stored".*?"version": ?(\d+)')
DRAWN = 400
"""Images that are drawn, besides the worst one after each sync, send and line."""


class Witness:
    """What others have heard of the run so far, from the bytes that left it."""

    def __init__(self) -> None:
        self.sent: set[bytes] = set()
        self.acknowledged: set[bytes] = set()
        self.told: set[bytes] = set()
        self.stored: set[int] = set()
        self._venue = ""

    def hear(self, call: Call) -> bool:
        """Take what a call sends or writes; return whether it says anything."""
        handle, data = call.handle, b"".join(call.texts)
        if data.startswith(b"POST /v2/orders"):
            self._venue = handle.partition("->")[2]
        names = set(NAMED.findall(data))
        fills = set(TOLD.findall(data))
        self.told |= fills
        models = {int(number) for number in STORED.findall(data)}
        self.stored |= models
        if handle.startswith("TCP:") and self._venue:
            to_venue = handle.endswith(f"->{self._venue}")
            (self.sent if to_venue else self.acknowledged).update(names)
        return bool(names or fills or models)


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run that has ended in order: its folder of state, and its calls."""
    folder = tmp_path_factory.mktemp("power")
    file, trace = strategy(folder, BODY), folder / "trace"
    command: list[str | Path] = [
        TIDEGATE,
        "run",
        file,
        "--broker",
        "alpaca",
        "--rate",
        "50",
        "--name",
        "it",
    ]
    assert record(command, folder, trace) == 0
    return folder / ".tidegate", trace


def moments(state: Path, trace: Path, witness: Witness) -> Iterator[tuple[Disk, bool]]:
    """Play the calls; stop at each moment, True where somebody has just learnt of something."""
    disk = Disk(state)
    for call, is_over in read(trace):
        is_news = not is_over and witness.hear(call)
        disk.play(call, is_over)
        yield disk, is_news or (is_over and call.name in {"fsync", "fdatasync"})


def names_in(path: Path) -> tuple[list[object], set[bytes], set[bytes]]:
    """The entries of a journal as the next run reads them; its orders, and those filled."""
    journal = Journal.open(path)
    try:
        found = journal.recover()
        entries = list(read_entries(journal._connection))
    finally:
        journal.close()
    orders = {each.order.id.encode() for each in found.orders}
    return list(entries), orders, {fill.order_id.encode() for fill in found.fills}


def check(folder: Path, whole: list[object], witness: Witness) -> None:
    """Open what is left as the next run does."""
    place = folder / "it"
    entries, orders, filled = (
        names_in(place / JOURNAL) if (place / JOURNAL).exists() else ([], set(), set())
    )
    assert entries == whole[: len(entries)]  # the past, and nothing that never was
    assert witness.sent <= orders
    assert witness.told <= filled
    if witness.acknowledged:
        ledger = Ledger(place / "venue.db")
        account = ledger.load(Decimal(1), 1)
        ledger.close()
        assert witness.acknowledged <= {
            order.client_order_id.encode() for order in account.orders.values()
        }
    if place.exists():
        read_record(place)
    found: set[int] = set()
    if (place / "key").exists():
        store = ModelStore.open(place, 5)
        catalog, notes = store.catalog()
        assert notes == []
        for slot in catalog.values():
            for manifest in slot.versions:
                store.load(manifest)
                found.add(manifest.version)
    assert witness.stored <= found


def test_whatever_the_disk_has_kept_is_what_was_said(
    traced: tuple[Path, Path], tmp_path: Path
) -> None:
    state, trace = traced
    whole, orders, filled = names_in(state / "it" / JOURNAL)
    assert len(orders) == len(filled) == 12
    count = sum(1 for _ in moments(state, trace, Witness()))
    random = Random(7)
    drawn = set(random.sample(range(count), DRAWN))
    witness = Witness()
    looks = 0
    for number, (disk, is_mark) in enumerate(moments(state, trace, witness)):
        for one, way in ((is_mark, None), (number in drawn, random)):
            if one:
                folder = tmp_path / f"{number}{'' if way is None else '-drawn'}"
                folder.mkdir()
                disk.image(folder, way)
                check(folder, whole, witness)
                shutil.rmtree(folder)
                looks += 1
    assert witness.sent == witness.acknowledged == witness.told == orders
    assert witness.stored
    assert looks > DRAWN + 100
