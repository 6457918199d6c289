"""The engine with a recorder beside it: every call and its answer, and what changed between two.

Nothing is decided here. What changes outside of the engine's calls (a model that serves, a switch,
a halt) is found by looking before each call, so no other part has to tell of it.
"""

from collections.abc import Callable, Sequence
from typing import Any

from runtime.callbacks import Watch
from runtime.commands import Command, Train
from runtime.desk import Desk
from runtime.engine import Engine, EngineEvent
from runtime.errors import TidegateError
from runtime.sessions.recorder import Rebound, SessionRecorder, Slot, Step
from runtime.sessions.words import (
    Finished,
    Halted,
    Held,
    SlotStood,
    Started,
    Stepped,
    Switched,
    taken_over,
)
from runtime.strategy import Strategy
from runtime.trading.recovered import Recovered
from runtime.training.isolation.transaction import OWN
from runtime.training.jobs import TrainingHandle
from runtime.training.readiness import ReadinessStatus
from runtime.training.slots import ModelSlot, Published

PLAIN = (bool, int, float, str, type(None))
Stand = tuple[Published | None, Published | None, ReadinessStatus]


class RecordedEngine(Engine):
    """An engine whose every call is recorded."""

    def __init__(
        self,
        strategy: Strategy,
        desk: Desk,
        watch: Watch | None,
        recorder: SessionRecorder,
    ) -> None:
        super().__init__(strategy, desk, watch)
        self._recorder = recorder
        self._stands: dict[str, Stand] = {}
        self._is_on = True
        self._halted = ""
        self._is_inside = False
        self._threads: list[TrainingHandle] = []
        self._before: dict[str, object] | None = None

    def start(self, now: int) -> list[Command]:
        """Call initialize, and record it; raises as the engine does."""
        return self._recorded(Started, lambda: super(RecordedEngine, self).start(now), now)

    def process(
        self, events: Sequence[EngineEvent], now: int, *, closing: bool = False
    ) -> list[Command]:
        """Take what has arrived, and record it; raises as the engine does."""
        take = super().process
        return self._recorded(
            Stepped, lambda: take(events, now, closing=closing), now, events, closing=closing
        )

    def finish(self, now: int) -> list[Command]:
        """Call on_end_of_algorithm, and record it; raises as the engine does."""
        return self._recorded(Finished, lambda: super(RecordedEngine, self).finish(now), now)

    def stop_orders(self) -> None:
        """Refuse every order from here on, and record it."""
        if not self._is_inside:
            self._look()
            self._recorder.add(Held())
        super().stop_orders()

    def recover(self, found: Recovered) -> None:
        """Take over an account, and record it."""
        self._recorder.add(taken_over(found))
        super().recover(found)

    def _recorded(
        self,
        make: Callable[..., Any],
        call: Callable[[], list[Command]],
        now: int,
        events: Sequence[EngineEvent] | None = None,
        *,
        closing: bool = False,
    ) -> list[Command]:
        self._look()
        commands: list[Command] = []
        raised = ""
        self._is_inside = True
        try:
            commands = call()
        except TidegateError as error:
            raised = str(error)
            raise
        finally:
            self._is_inside = False
            self._recorder.add(Step(make, now, events, closing, commands, raised))
            for slot in self.desk.slots.values():  # what the strategy itself did is done again
                self._stands[slot.name] = _stand(slot)
        self._threads += [
            each.handle
            for each in commands
            if isinstance(each, Train) and each.request.isolation == "thread"
        ]
        if self._threads:
            self._before = dict(vars(self.strategy))
        return commands

    def _look(self) -> None:
        """Record what has changed since the last call."""
        if self._before is not None:
            self._follow_threads()
        for slot in self.desk.slots.values():
            known = self._stands.get(slot.name, (None, None, None))
            if (
                slot.bundle is not known[0]
                or slot.previous is not known[1]
                or slot.readiness.status is not known[2]
            ):
                self._stands[slot.name] = _stand(slot)
                self._recorder.add(_told(slot))
        if self.desk.training.is_on is not self._is_on:
            self._is_on = not self._is_on
            self._recorder.add(Switched(self._is_on))
        if self.desk.ordering.halted != self._halted:
            self._halted = self.desk.ordering.halted
            self._recorder.add(Halted(self._halted))

    def _follow_threads(self) -> None:
        """Record what jobs in threads have assigned on the strategy since the last call.

        What one assigned during a call cannot be told from what the call did. So once a job has
        ended all that is plain is recorded: there the replay knows what the session knew.
        """
        attributes = vars(self.strategy)
        before, self._before = self._before or {}, None
        found = {
            name: value
            for name, value in attributes.items()
            if name not in OWN and (name not in before or before[name] is not value)
        }
        removed = [name for name in before if name not in attributes]
        if any(handle.state.is_terminal for handle in self._threads):
            self._threads = [each for each in self._threads if not each.state.is_terminal]
            found |= {n: v for n, v in attributes.items() if isinstance(v, PLAIN) and n not in OWN}
        if found or removed:
            self._recorder.add(Rebound(found, removed))


def _stand(slot: ModelSlot) -> Stand:
    return slot.bundle, slot.previous, slot.readiness.status


def _told(slot: ModelSlot) -> Slot:
    bundle, previous, status = _stand(slot)
    entry = SlotStood(
        slot=slot.name,
        version=0 if bundle is None else bundle.version,
        previous=0 if previous is None else previous.version,
        cause=str(status.cause),
        ready_version=status.version,
        text=status.text,
    )
    return Slot(entry, slot, tuple(each for each in (bundle, previous) if each is not None))
