"""A slot holds one frozen bundle: the model that serves, with its version and its origin.

One attribute write swaps the bundle, so a reader has the model and the version of one training or
of another, never of two. The bundle is in place before readiness says so. Versions rise by one.
"""

import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import msgspec

from runtime.training.readiness import Readiness

Validate = Callable[[Any, Any], bool]
"""(candidate, current or None) -> whether the candidate may serve."""


class Published(msgspec.Struct, frozen=True):
    """What serves: the model, its version (from 1), when (ns UTC) and by which job it was made."""

    model: Any
    version: int
    trained_at: int
    job: str
    metrics: Mapping[str, float] = {}


class ModelSlot:
    """The place of one model in a strategy. Reading is free of locks and safe in on_data.

    Args:
        name: what logs and commands call it.
        validate: the gate a candidate must pass to serve; it runs in the job, off the event loop.
        max_age: the age from which the model is stale, not ready; None is never.
    """

    def __init__(
        self, name: str, validate: Validate | None = None, max_age: timedelta | None = None
    ) -> None:
        self.name = name
        self.readiness = Readiness()
        self.bundle: Published | None = None
        self.previous: Published | None = None
        self.skipped = 0
        self._validate = validate
        self._max_age = max_age
        self._writing = threading.Lock()  # no two publishers take the same version

    @property
    def current(self) -> Any:
        """The model that serves, or None before the first training."""
        bundle = self.bundle
        return None if bundle is None else bundle.model

    @property
    def version(self) -> int:
        """The version that serves; 0 before the first training."""
        bundle = self.bundle
        return 0 if bundle is None else bundle.version

    @property
    def is_ready(self) -> bool:
        """Whether a model serves and is not stale."""
        return self.readiness.is_ready

    @property
    def stale_at(self) -> int | None:
        """When the model becomes stale (ns UTC), or None."""
        bundle = self.bundle
        if bundle is None or self._max_age is None:
            return None
        return bundle.trained_at + self._max_age // timedelta(microseconds=1) * 1000

    def accepts(self, candidate: object) -> bool:
        """Ask the gate whether the candidate may serve; it may be slow and may raise."""
        return self._validate is None or bool(self._validate(candidate, self.current))

    def publish(
        self, model: object, job: str, now: int, metrics: Mapping[str, float] | None = None
    ) -> int:
        """Let `model` serve from now on, trained at `now` (ns UTC), and return its version.

        Raises:
            ValueError: the model is None, which is the word for "none yet".
        """
        if model is None:
            raise ValueError(f"slot {self.name!r} cannot publish None: return the trained model")
        with self._writing:
            old = self.bundle
            version = 1 if old is None else old.version + 1
            self.bundle = Published(model, version, now, job, dict(metrics or {}))
            self.previous = old
            self.readiness.ready(version)
        return version

    def expire(self, now: int) -> bool:
        """Mark the model stale if its time has come; return whether it has just become so."""
        if self._max_age is None or not self.readiness.is_ready:
            return False
        with self._writing:  # a version that is published meanwhile must not be marked
            stale_at = self.stale_at
            if stale_at is None or now < stale_at:
                return False
            self.readiness.stale(f"older than {self._max_age}")
        return True

    def note_skip(self) -> None:
        """Count one prediction that was skipped because the model is not ready."""
        self.skipped += 1

    def __repr__(self) -> str:
        return f"ModelSlot({self.name!r}, version {self.version}, {self.readiness.state})"
