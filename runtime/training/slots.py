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
import numpy as np

from runtime.training.formats import Build, Encoded, Storage, Unstorable, encode
from runtime.training.readiness import Readiness, ReadinessCause, ReadinessStatus

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
        storage: how versions outlive the run: in formats that run no code when they are read, or,
            where there is none for the model, as a pickle that only this deployment loads.
        build: makes an empty torch module that stored tensors are loaded into, where its class
            needs arguments.

    Attributes:
        is_stored: whether a job encodes what it has trained; set by who stores it.
        on_rollback: told the version that serves again, the one it replaces, and who asked.
        made: how often `is_ready` was asked and true: predictions that were not skipped.
        deployed: the file whose finished model it serves, never trained; "" for a slot that is.
    """

    def __init__(
        self,
        name: str,
        validate: Validate | None = None,
        max_age: timedelta | None = None,
        *,
        storage: Storage = "safe",
        build: Build | None = None,
    ) -> None:
        self.name = name
        self.build = build
        self.has_build = build is not None
        self.storage = storage
        self.is_stored = False
        self.deployed = ""
        self.on_rollback: Callable[[Published, Published, str], None] | None = None
        self.readiness = Readiness()
        self.bundle: Published | None = None
        self.previous: Published | None = None
        self.made = 0
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
        """Whether a model serves and is not stale: who asks makes a prediction, or skips it.

        The runtime itself looks at `readiness.is_ready`, which counts nothing.
        """
        if self.readiness.is_ready:
            self.made += 1
            return True
        self.skips[self.readiness.cause] += 1
        return False

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
        """Ask the gate whether the candidate may serve; it may be slow and may raise.

        Raises:
            TypeError: it said neither True nor False: what is no verdict, such as NaN, is not
                taken for one.
        """
        if self.gate is None:
            return True
        bundle = self.bundle
        verdict: object = self.gate(candidate, None if bundle is None else bundle.returned)
        if not isinstance(verdict, bool | np.bool_):
            raise TypeError(
                f"the gate of slot {self.name!r} returned {verdict!r:.100}: True or False is needed"
            )
        return bool(verdict)

    def encode(self, returned: object) -> tuple[Encoded | None, str]:
        """Write what a method returned, where versions are stored; it may be slow.

        Returns:
            The bytes, or None with the reason, "" where none are wanted.
        """
        if not self.is_stored:
            return None, ""
        made = returned if isinstance(returned, TrainedModel) else TrainedModel(returned)
        try:
            encoded = encode(made.model, made.extras, self.storage, has_build=self.has_build)
            return encoded, ""
        except Unstorable as error:
            return None, str(error)

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

        Raises:
            ValueError: as `prepare`.
        """
        bundle = self.prepare(model, job, now, metrics, name=name, data_until=data_until)
        self.serve(bundle)
        return bundle.version

    def prepare(
        self,
        model: object,
        job: str,
        now: int,
        metrics: Mapping[str, float] | None = None,
        *,
        name: str = "",
        data_until: int | None = None,
    ) -> Published:
        """Return what `serve` will let serve, under a number that is its own from now on.

        Args:
            model: as a training method returns it.
            job: who made it.
            now: engine time, ns UTC.
            metrics: figures about it.
            name: what was trained.
            data_until: engine time of the newest data it could know; `now` by default.

        Raises:
            ValueError: the model is None, which is the word for "none yet"; or the slot serves a
                finished model.
        """
        made = model if isinstance(model, TrainedModel) else TrainedModel(model)
        if made.model is None:
            raise ValueError(f"slot {self.name!r} cannot publish None: return the trained model")
        if self.deployed:
            raise ValueError(f"slot {self.name!r} serves {self.deployed}: it is not trained")
        with self._writing:
            self._highest += 1
            return Published(
                model=made.model,
                version=self._highest,
                trained_at=now,
                job=job,
                metrics=dict(metrics or {}),
                name=name,
                data_until=now if data_until is None else data_until,
                extras=dict(made.extras),
            )

    def serve(self, bundle: Published) -> bool:
        """Let a bundle serve from now on; False where a newer one does already."""
        with self._writing:
            if self.bundle is not None and self.bundle.version > bundle.version:
                return False
            self.previous, self.bundle = self.bundle, bundle
            self.readiness.ready(bundle.version)
        return True

    def number_above(self, version: int) -> None:
        """Give the next version a number above this one, which another run has used."""
        with self._writing:
            self._highest = max(self._highest, version)

    def restore(self, bundle: Published, now: int) -> bool:
        """Let a version of another run serve if its age allows it; False where one does already."""
        with self._writing:
            if self.bundle is not None:
                return False
            self._put_back(bundle, now)
        return True

    def roll_back_to(self, bundle: Published, now: int, by: str) -> None:
        """Let a stored version serve again, as `rollback` does."""
        with self._writing:
            newer = self.bundle
            self._put_back(bundle, now)
        if self.on_rollback is not None and newer is not None:
            self.on_rollback(bundle, newer, by)

    def keep_previous(self, bundle: Published) -> None:
        """Have a stored version at hand for a rollback, unless there is one."""
        with self._writing:
            if self.previous is None and 0 < bundle.version < self.version:
                self.previous = bundle

    def deploy(self, bundle: Published, file: str) -> None:
        """Serve a finished model for good; nothing is trained into this slot any more."""
        self.deployed = file
        with self._writing:
            self.bundle = bundle
            self.readiness.ready(bundle.version)

    def rollback(self, by: str = "the strategy") -> Published:
        """Let the version before serve again, under its own number, and return it.

        The next training gets a number above all that ever were.

        Args:
            by: who asked, for the log.

        Raises:
            ValueError: there is no version before.
        """
        with self._writing:
            older, newer = self.previous, self.bundle
            if older is None or newer is None:
                raise ValueError(f"slot {self.name!r} has no version to roll back to")
            self.previous, self.bundle = None, older
            self.readiness.ready(older.version)
        if self.on_rollback is not None:
            self.on_rollback(older, newer, by)
        return older

    def stand(
        self, bundle: Published | None, previous: Published | None, status: ReadinessStatus
    ) -> None:
        """Stand exactly as a recorded slot stood: for a replay."""
        with self._writing:
            self.bundle, self.previous = bundle, previous
            self._highest = max(self._highest, 0 if bundle is None else bundle.version)
            self.readiness.stand(status)

    def expire(self, now: int) -> bool:
        """Mark the model stale if its time has come; return whether it has just become so."""
        if self._max_age is None or not self.readiness.is_ready:
            return False
        with self._writing:  # a version that is published meanwhile must not be marked
            stale_at = self.stale_at
            if stale_at is None or now < stale_at:
                return False
            self.readiness.stale(self._too_old())
        return True

    def _put_back(self, bundle: Published, now: int) -> None:
        self.previous, self.bundle = None, bundle
        self._highest = max(self._highest, bundle.version)
        stale_at = self.stale_at
        if stale_at is not None and now >= stale_at:
            self.readiness.stale(self._too_old(), bundle.version)
        else:
            self.readiness.ready(bundle.version)

    def _too_old(self) -> str:
        return f"version {self.version} is older than {self._max_age}"

    def __repr__(self) -> str:
        return f"ModelSlot({self.name!r}, version {self.version}, {self.readiness.state})"
