"""What a job in another process works on, and what it changes: a transaction on the strategy.

Out goes a copy of the strategy's attributes, made between two slices. Back come the value the
method returned and the attributes that it assigned (another object than before; a change inside an
object is not seen), all of them or none. What cannot travel stays behind and is named.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from runtime.errors import StrategyError
from runtime.schedule.agenda import ScheduledEvent
from runtime.schedule.date_rules import DateRules
from runtime.schedule.schedule import Schedule
from runtime.schedule.time_rules import TimeRules
from runtime.schedule.times import (
    CompositeTimeRule,
    EveryInterval,
    FuncTimeRule,
    MarketTime,
    Now,
    WallTime,
)
from runtime.securities import Security
from runtime.strategy import Context, Strategy
from runtime.training.control import TrainingControl
from runtime.training.isolation.documents import Reference, Unwritable, Written, write
from runtime.training.jobs import JobRequest, TrainingHandle
from runtime.training.readiness import Readiness
from runtime.training.slots import ModelSlot

METHOD, GATE, VALUE = "the method", "the gate", "the returned value"
STORED = "the value as it is stored"
TIME_RULES = (WallTime, EveryInterval, MarketTime, Now, FuncTimeRule, CompositeTimeRule)
KEPT = (TrainingHandle, Readiness, Schedule, ScheduledEvent, DateRules, TimeRules, *TIME_RULES)
"""Things of the runtime that a strategy may hold, and that mean nothing elsewhere."""
LetGo = Callable[[list[object]], None]
"""Takes what nobody needs any more, and empties the list."""
BYTES_FOR_AN_OBJECTS = 200
"""So many bytes of an array are copied in the time for one byte of pickled objects."""
OWN = frozenset({"_context"})
"""Attributes of a strategy that are the runtime's."""


class Captured(NamedTuple):
    """Documents: the method, the gate where there is one, then `attributes` in order.

    `missing` are attributes that cannot travel, with the reason; `slots` those that are referred to
    by their place here; `slot` is the place of the one trained into.
    """

    written: Written
    attributes: tuple[str, ...]
    missing: Mapping[str, str]
    slots: Sequence[ModelSlot]
    slot: int | None
    has_gate: bool

    @property
    def heaviest(self) -> str:
        """The attribute that took longest to copy: a small object takes what many bytes do."""
        sizes = self.written.sizes[-len(self.attributes) :]
        weights = [objects * BYTES_FOR_AN_OBJECTS + raw for objects, raw in sizes]
        return self.attributes[weights.index(max(weights))]


class References:
    """The objects of one strategy that stay where they are, and their names on the way."""

    def __init__(self, strategy: Strategy, context: Context) -> None:
        self.slots: list[ModelSlot] = []
        self._kept: list[object] = []
        self._strategy = strategy
        self._context = context

    def refer(self, value: object) -> Reference | None:
        """Name an object, or None where it travels."""
        if value is self._strategy:
            return ("strategy",)
        if value is self._context:
            return ("context",)
        if isinstance(value, ModelSlot):
            return ("slot", self.place(value))
        if isinstance(value, Security):
            return ("security", value.symbol)
        if isinstance(value, TrainingControl):
            return ("training",)
        if isinstance(value, KEPT):
            return ("kept", self._keep(value), type(value).__name__)
        return None

    def _keep(self, value: object) -> int:
        for place, known in enumerate(self._kept):
            if known is value:
                return place
        self._kept.append(value)
        return len(self._kept) - 1

    def place(self, slot: ModelSlot) -> int:
        """Return the slot's place among those that were referred to."""
        for place, known in enumerate(self.slots):
            if known is slot:
                return place
        self.slots.append(slot)
        return len(self.slots) - 1

    def resolve(self, reference: Reference) -> object:
        """Return what a name from the other side stands for here.

        Raises:
            LookupError: nothing.
        """
        match reference:
            case ("strategy",):
                return self._strategy
            case ("context",):
                return self._context
            case ("training",):
                return self._context.training
            case ("slot", int(place)) if 0 <= place < len(self.slots):
                return self.slots[place]
            case ("kept", int(place), _) if 0 <= place < len(self._kept):
                return self._kept[place]
            case ("security", str(symbol)):
                return self._context.securities[symbol]  # type: ignore[index]  # a Symbol is a str
        raise LookupError(f"nothing here is called {reference!r}")


def capture(
    strategy: Strategy, request: JobRequest, references: References, known: dict[str, Any]
) -> Captured:
    """Copy what a job works on.

    Args:
        strategy: as it is now, and as nobody changes it meanwhile.
        request: its method and its slot.
        references: of this job.
        known: name -> object that could not travel before, kept from call to call: an attribute
            that still is that object is not tried again.

    Raises:
        StrategyError: the method or the slot's gate cannot travel.
    """
    slot = None if request.slot is None else references.place(request.slot)
    gate = None if request.slot is None else request.slot.gate
    fixed = [(METHOD, request.method)] + ([] if gate is None else [(GATE, gate)])
    attributes = {
        name: value
        for name, value in vars(strategy).items()
        if name not in OWN and not (name in known and known[name][0] is value)
    }
    missing = {
        name: known[name][1] for name in vars(strategy) if name in known and name not in attributes
    }
    while True:
        try:
            written = write([*fixed, *attributes.items()], references.refer)
        except Unwritable as fault:
            if fault.name not in attributes:
                raise StrategyError(unportable(request, fault), "") from fault
            for name, reason in fault.faults:
                known[name] = (attributes.pop(name), reason)
                missing[name] = reason
        else:
            return Captured(
                written, tuple(attributes), missing, references.slots, slot, gate is not None
            )


def unportable(request: JobRequest, fault: Unwritable) -> str:
    """Say that a method or a gate cannot run in another process."""
    what = f"training {request.name!r}" if fault.name == METHOD else f"the gate of {request.name!r}"
    return (
        f"{what} cannot run in a process of its own: {fault}; make it a method of the strategy or "
        "a function at the top of its module"
    )


def class_at_top(strategy: Strategy) -> type[Strategy]:
    """Return the class that a worker can find by its name.

    Raises:
        StrategyError: it is inside a function.
    """
    found = type(strategy)
    if "<locals>" in found.__qualname__ or inspect.getmodule(found) is None:
        raise StrategyError(
            f"{found.__qualname__} cannot be trained in a process of its own: it has to stand at "
            "the top of a module",
            "",
        )
    return found


# ---- in the worker -------------------------------------------------------------------------------


def revive(cls: type[Strategy], missing: Mapping[str, str]) -> Strategy:
    """Make an empty strategy; in it, reading one of the missing raises StrategyError."""
    if missing:
        stands_in = {name: _Missing(name, reason) for name, reason in missing.items()}
        body = {**stands_in, "__module__": cls.__module__, "__qualname__": cls.__qualname__}
        cls = type(cls.__name__, (cls,), body)
    return object.__new__(cls)


class _Missing:
    """An attribute that did not travel: a word of explanation, until the job assigns another."""

    def __init__(self, name: str, reason: str) -> None:
        self._name = name
        self._reason = reason

    def __get__(self, owner: object, _: type | None = None) -> Any:
        if owner is None:
            return self
        try:
            return vars(owner)[self._name]
        except KeyError:
            raise StrategyError(
                f"self.{self._name} cannot be used in a training that runs in a process of its "
                f"own: it cannot be pickled ({self._reason})",
                "train",
            ) from None

    def __set__(self, owner: object, value: object) -> None:
        vars(owner)[self._name] = value

    def __delete__(self, owner: object) -> None:
        vars(owner).pop(self._name, None)


class Changes(NamedTuple):
    """Attributes that a job assigned, and those that it deleted."""

    assigned: Mapping[str, Any]
    removed: tuple[str, ...]


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Changes:
    """Compare by identity: what is another object now was assigned."""
    absent = object()
    return Changes(
        {
            name: value
            for name, value in after.items()
            if name not in OWN and before.get(name, absent) is not value
        },
        tuple(name for name in before if name not in after and name not in OWN),
    )


# ---- back in the runtime -------------------------------------------------------------------------


def committing(
    strategy: Strategy, change: Changes, let_go: LetGo | None = None
) -> Callable[[], None]:
    """Return what makes the strategy what the job made of its copy; it cannot fail halfway.

    What it replaces goes to `let_go`.
    """

    def commit() -> None:
        attributes = vars(strategy)
        replaced: list[object] = [
            attributes.pop(name)
            for name in {*change.assigned, *change.removed} - OWN
            if name in attributes
        ]
        attributes.update((n, value) for n, value in change.assigned.items() if n not in OWN)
        if let_go is not None:
            let_go(replaced)

    return commit
