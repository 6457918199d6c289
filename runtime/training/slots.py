"""A slot holds one frozen bundle: the model that serves, and everything that belongs to it.

One attribute write swaps the bundle, so a reader has the model, scaler and version of one training
or of another, never of two. The bundle is in place before readiness says so. Each version has a
number above all before it; what serves only goes back by a rollback.
"""

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import msgspec

from runtime.training.readiness import Readiness, ReadinessCause

Validate = Callable[[Any, Any], bool]
"""(candidate, current or None) -> whether the candidate may serve; both as a method returned it."""


class TrainedModel(msgspec.Struct, frozen=True):
    """What a training method may return in place of a bare model: the model and its companions.

    `extras` are what predictions need beside it, such as a scaler or the state of features: they
    are published, stored and rolled back together with the model.
    """

    model: Any
    extras: Mapping[str, Any] = {}


class Published(msgspec.Struct, frozen=True):
    """What serves: the model with its companions, its version (from 1) and its origin.

    `trained_at` and `data_until` are engine times, ns UTC: when it was published, and the newest
    data its job could have seen. `job` is the id of the run that made it, `name` what was trained.
    """

    model: Any
    version: int
    trained_at: int
    job: str
    metrics: Mapping[str, float] = {}
    name: str = ""
    data_until: int = 0
    extras: Mapping[str, Any] = {}

    def age(self, now: int) -> timedelta:
        """Return how old it is at `now`, ns UTC, such as `self.time_ns`."""
        return timedelta(microseconds=(now - self.trained_at) // 1000)

    @property
    def returned(self) -> Any:
        """The model as its method returned it: bare, or with its companions."""
        return TrainedModel(self.model, self.extras) if self.extras else self.model


class ModelSlot:
    """The place of one model in a strategy. Reading is free of locks and safe in on_data.

    Args:
        name: what logs and commands call it; one strategy has no two slots of one name.
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
        self.skips: Counter[ReadinessCause] = Counter()
        self.gate = validate
        self._max_age = max_age
        self._highest = 0  # the highest number a version ever had
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
    def skipped(self) -> int:
        """How many predictions were skipped because the model was not ready; `skips` says why."""
        return self.skips.total()

    @property
    def stale_at(self) -> int | None:
        """When the model becomes stale (ns UTC), or None."""
        bundle = self.bundle
        if bundle is None or self._max_age is None:
            return None
        return bundle.trained_at + self._max_age // timedelta(microseconds=1) * 1000

    def accepts(self, candidate: object) -> bool:
        """Ask the gate whether the candidate may serve; it may be slow and may raise."""
        if self.gate is None:
            return True
        bundle = self.bundle
        return bool(self.gate(candidate, None if bundle is None else bundle.returned))

    def publish(
        self,
        model: object,
        job: str,
        now: int,
        metrics: Mapping[str, float] | None = None,
        *,
        name: str = "",
        data_until: int | None = None,
    ) -> int:
        """Let `model` (or a TrainedModel) serve from now on and return its version.

        Args:
            model: as a training method returns it.
            job: who made it.
            now: engine time, ns UTC.
            metrics: figures about it.
            name: what was trained.
            data_until: engine time of the newest data it could know; `now` by default.

        Raises:
            ValueError: the model is None, which is the word for "none yet".
        """
        made = model if isinstance(model, TrainedModel) else TrainedModel(model)
        if made.model is None:
            raise ValueError(f"slot {self.name!r} cannot publish None: return the trained model")
        with self._writing:
            self._highest += 1
            bundle = Published(
                model=made.model,
                version=self._highest,
                trained_at=now,
                job=job,
                metrics=dict(metrics or {}),
                name=name,
                data_until=now if data_until is None else data_until,
                extras=dict(made.extras),
            )
            self.previous, self.bundle = self.bundle, bundle
            self.readiness.ready(bundle.version)
        return bundle.version

    def rollback(self) -> Published:
        """Let the version before serve again, under its own number, and return it.

        The next training gets a number above all that ever were.

        Raises:
            ValueError: there is no version before.
        """
        with self._writing:
            older = self.previous
            if older is None:
                raise ValueError(f"slot {self.name!r} has no version to roll back to")
            self.previous, self.bundle = None, older
            self.readiness.ready(older.version)
        return older

    def expire(self, now: int) -> bool:
        """Mark the model stale if its time has come; return whether it has just become so."""
        if self._max_age is None or not self.readiness.is_ready:
            return False
        with self._writing:  # a version that is published meanwhile must not be marked
            stale_at = self.stale_at
            if stale_at is None or now < stale_at:
                return False
            self.readiness.stale(f"version {self.version} is older than {self._max_age}")
        return True

    def note_skip(self) -> None:
        """Count one prediction that was skipped because the model is not ready."""
        self.skips[self.readiness.cause] += 1

    def __repr__(self) -> str:
        return f"ModelSlot({self.name!r}, version {self.version}, {self.readiness.state})"
