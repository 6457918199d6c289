"""Feeds a recorded session to the engine again, and compares each order with the one that was sent.

There is no clock, no feed, no broker and no training here: what they brought then is in the
recording, models included, and comes back in the same order between the same calls.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

import msgspec
from structlog.typing import FilteringBoundLogger

from runtime.commands import Command, Log
from runtime.control.logs import free_names
from runtime.engine import Engine
from runtime.errors import TidegateError
from runtime.results import Journal
from runtime.schedule.local_time import in_zone
from runtime.sessions.words import (
    ATTRIBUTES,
    Assigned,
    Ended,
    Entry,
    Finished,
    Halted,
    Held,
    Out,
    SlotStood,
    Started,
    Stepped,
    Switched,
    TakenOver,
    describe,
    heard,
    out_of,
    recovered,
)
from runtime.trading.orders import OrderUpdate
from runtime.training.manager import TrainingManager
from runtime.training.plain import decode_plain
from runtime.training.readiness import ReadinessCause, ReadinessStatus
from runtime.training.slots import ModelSlot, Published

Load = Callable[[str, int, ModelSlot | None], Published]
"""(slot, version, the slot or None) -> what the recording has of it; raises RunFailed."""


class Difference(Exception):
    """Where the replay is not what the session was, in a sentence."""


class Replayed(msgspec.Struct, frozen=True):
    """What a replay came to.

    `steps` of the engine, `orders` sent (cancels included); the digests are of the reports, the
    recorded one is "" where the recording was cut off. `difference` is "" where there is none.
    """

    steps: int
    events: int
    orders: int
    reports: int
    models: int
    orders_sha256: str
    recorded_sha256: str
    is_complete: bool
    difference: str = ""


class Replay:
    """One replay; `run` it once."""

    def __init__(
        self, engine: Engine, training: TrainingManager, load: Load, log: FilteringBoundLogger
    ) -> None:
        self._engine, self._training, self._load, self._log = engine, training, load, log
        self._journal = Journal()
        self._steps = self._events = self._orders = self._reports = 0
        self._known: dict[tuple[str, int], Published] = {}
        self._recorded = ""
        self._is_complete = False
        self._now = 0

    def run(self, entries: Iterable[Entry]) -> Replayed:
        """Feed all entries, up to the first difference.

        Raises:
            RunFailed: a model that served then is not in the recording.
        """
        difference = ""
        try:
            for entry in entries:
                self._take(entry)
        except Difference as found:
            difference = str(found)
        if self._is_complete and not difference:
            digest = self._journal.orders_sha256
            if digest != self._recorded:
                difference = f"the digest of the reports is {digest}, not {self._recorded}"
        return Replayed(
            steps=self._steps,
            events=self._events,
            orders=self._orders,
            reports=self._reports,
            models=len(self._known),
            orders_sha256=self._journal.orders_sha256,
            recorded_sha256=self._recorded,
            is_complete=self._is_complete,
            difference=difference,
        )

    def _take(self, entry: Entry) -> None:
        engine, desk = self._engine, self._engine.desk
        match entry:
            case Started(now, out, raised):
                self._call(lambda: engine.start(now), now, out, raised)
            case Stepped(now, closing, told, out, raised):
                events = heard(told)
                reports = [event for event in events if isinstance(event, OrderUpdate)]
                self._journal.reported(reports)
                self._events += len(events) - len(reports)
                self._reports += len(reports)
                self._call(lambda: engine.process(events, now, closing=closing), now, out, raised)
            case Finished(now, out, raised):
                self._call(lambda: engine.finish(now), now, out, raised)
            case Held():
                engine.stop_orders()
            case Halted(reason):
                desk.ordering.halted = reason
                for tracked in desk.ordering.open_orders if reason else ():
                    tracked.request_cancel()
            case Switched(is_on):
                self._training.switch(is_on, "the session")
            case TakenOver():
                engine.recover(recovered(entry))
            case SlotStood():
                self._stand(entry)
            case Assigned(number, removed, plain):
                attributes = vars(engine.strategy)
                for name in removed:
                    attributes.pop(name, None)
                if number:
                    attributes.update(self._load(ATTRIBUTES, number, None).extras)
                attributes.update({name: decode_plain(value) for name, value in plain.items()})
            case Ended(digest, _):
                self._recorded, self._is_complete = digest, True

    def _call(
        self, call: Callable[[], list[Command]], now: int, out: Sequence[Out], raised: str
    ) -> None:
        self._now = now
        self._steps += 1
        said = ""
        commands: list[Command] = []
        try:
            commands = call()
        except TidegateError as error:
            said = str(error)
        for command in commands:
            if isinstance(command, Log):
                getattr(self._log, command.level)(command.event, **free_names(command.fields))
        self._compare(out, out_of(commands))
        if said != raised:
            then, here = (f"failed: {text}" if text else "went on" for text in (raised, said))
            raise Difference(f"at {self._time} the session {then}; the replay {here}")

    def _compare(self, then: Sequence[Out], here: Sequence[Out]) -> None:
        for place in range(max(len(then), len(here))):
            self._orders += 1
            was = then[place] if place < len(then) else None
            now = here[place] if place < len(here) else None
            if was != now:
                raise Difference(
                    f"order {self._orders} differs, at {self._time}: the session sent "
                    f"{describe(was)}, the replay {describe(now)}"
                )

    def _stand(self, entry: SlotStood) -> None:
        slot = self._engine.desk.slots.get(entry.slot)
        if slot is None:
            raise Difference(f"at {self._time} there is no slot {entry.slot!r} in the replay")
        status = ReadinessStatus(ReadinessCause(entry.cause), entry.ready_version, entry.text)
        slot.stand(self._model(slot, entry.version), self._model(slot, entry.previous), status)

    def _model(self, slot: ModelSlot, version: int) -> Published | None:
        if not version:
            return None
        for held in (slot.bundle, slot.previous):
            if held is not None and held.version == version:
                return held  # the strategy may have taught it more since
        known = (slot.name, version)
        if known not in self._known:
            self._known[known] = self._load(slot.name, version, slot)
        return self._known[known]

    @property
    def _time(self) -> str:
        moment: datetime = in_zone(self._now, self._engine.desk.zone)
        return moment.isoformat()
