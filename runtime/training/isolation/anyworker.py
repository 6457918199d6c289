"""What the thread of a job needs of a worker, be it on this machine or on one of a cluster."""

import socket
from collections.abc import Iterator
from typing import Protocol

from runtime.training.isolation.channel import Received
from runtime.training.isolation.messages import Prepare, ToWorker
from runtime.training.isolation.words import Word
from runtime.training.isolation.workers import WorkerLimits


class AnyWorker(Protocol):
    """One worker; `workers.Worker` says what each method promises."""

    @property
    def limits(self) -> WorkerLimits:
        """What it may use."""
        ...

    def prepare(self, prepare: Prepare) -> None:
        """Have the strategy imported."""
        ...

    def still_lives(self) -> bool:
        """Whether it has not ended, as far as is known."""
        ...

    def send(self, message: ToWorker, descriptor: int | None = None) -> None:
        """Send a message; the descriptor is closed."""
        ...

    def tell(self, letter: bytes) -> None:
        """Tell its warden, from any thread."""
        ...

    def listen(self, wake: socket.socket | None = None) -> Iterator[Received | Word | None]:
        """Yield what it says until it has ended; None where `wake` was used."""
        ...

    def bury(self) -> None:
        """Kill it, if it still lives, and leave nothing of it."""
        ...

    def how_it_ended(self) -> str:
        """Say how it ended."""
        ...
