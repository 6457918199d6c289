"""What training says, as log lines: each update is one line with its figures.

Readiness has a line for each change, never for each tick: why there is no prediction, and that
there is one again.
"""

from structlog.typing import FilteringBoundLogger

from runtime.control.logs import free_names
from runtime.training.readiness import ReadinessCause, ReadinessStatus
from runtime.training.slots import ModelSlot
from runtime.training.updates import TrainingUpdate
from runtime.training.updates import TrainingUpdateKind as Kind

LOUD = {Kind.FAILED, Kind.OUT_OF_QUOTA, Kind.ABANDONED, Kind.MODEL_REJECTED, Kind.TOGGLED}


def log_training(log: FilteringBoundLogger, update: TrainingUpdate) -> None:
    """Write one update; what is empty is left out, the minutes in the bucket never are."""
    if update.kind is Kind.SAID:
        named = free_names(update.fields, {"job"})
        getattr(log, update.level)(update.text, job=update.job, **named)
        return
    fields: dict[str, object] = {
        "job": update.job,
        "version": update.version,
        "elapsed_s": round(update.elapsed, 2),
        "spent_minutes": update.spent,
        "by": update.by,
        "toggle": update.number,
        "text": update.text,
        "traceback": update.traceback,
    }
    figures = {name: round(value, 4) for name, value in update.metrics.items()}
    taken = {*fields, "quota_left", "progress", "training"}
    fields = {key: value for key, value in fields.items() if value}
    fields |= free_names(figures, taken)
    if update.kind is Kind.PROGRESS:
        fields["progress"] = f"{update.fraction:.0%}"
        if update.eta is not None:
            fields["eta_s"] = round(update.eta, 1)
    if update.kind is Kind.TOGGLED:
        fields["training"] = "on" if update.is_on else "off"
    write = log.warning if update.kind in LOUD else log.info
    write(f"training: {update.kind}", quota_left=update.available, **fields)


class ReadinessLog:
    """Writes a line where a slot's readiness has changed; a new version of a ready one has its own.

    Called from any thread.
    """

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self._ready: set[str] = set()
        self._told: dict[str, ReadinessStatus] = {}

    def __call__(self, slot: ModelSlot, status: ReadinessStatus) -> None:
        """Write how the slot stands now."""
        if status.cause is ReadinessCause.NONE:
            if slot.name not in self._ready:
                self._ready.add(slot.name)
                self._log.info(
                    "model ready", slot=slot.name, version=status.version, skipped=slot.skipped
                )
            return
        if self._told.get(slot.name) == status and slot.name not in self._ready:
            return
        self._told[slot.name] = status
        self._ready.discard(slot.name)
        write = self._log.warning if status.cause is ReadinessCause.EXPIRED else self._log.info
        fields = {"text": status.text} if status.text else {}
        write("model not ready", slot=slot.name, cause=str(status.cause), **fields)
