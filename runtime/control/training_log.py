"""What training says, as log lines: each update is one line with its figures."""

from structlog.typing import FilteringBoundLogger

from runtime.training.updates import TrainingUpdate
from runtime.training.updates import TrainingUpdateKind as Kind

LOUD = {Kind.FAILED, Kind.OUT_OF_QUOTA, Kind.ABANDONED, Kind.MODEL_REJECTED}


def log_training(log: FilteringBoundLogger, update: TrainingUpdate) -> None:
    """Write one update; what is empty is left out, the minutes in the bucket never are."""
    fields: dict[str, object] = {
        "job": update.job,
        "version": update.version,
        "elapsed_s": round(update.elapsed, 2),
        "spent_minutes": update.spent,
        "by": update.by,
        "text": update.text,
        "traceback": update.traceback,
        **{name: round(value, 4) for name, value in update.metrics.items()},
    }
    fields = {key: value for key, value in fields.items() if value}
    if update.kind is Kind.PROGRESS:
        fields["progress"] = f"{update.fraction:.0%}"
    if update.kind is Kind.TOGGLED:
        fields["training"] = "on" if update.is_on else "off"
    write = log.warning if update.kind in LOUD else log.info
    write(f"training: {update.kind}", quota_left=update.available, **fields)
