"""A worker's line to the runtime: what the job says goes one way, what it asks comes the other.

One thread listens, so that a job hears that it should stop; another sends what a chatty job has let
wait.
"""

import itertools
import os
import queue
import threading
import time
from collections.abc import Mapping

import numpy as np

from runtime.errors import StrategyError
from runtime.training.control import JobControl
from runtime.training.isolation.channel import Channel
from runtime.training.isolation.messages import (
    Answer,
    Ask,
    Payload,
    Plain,
    Progressed,
    Question,
    Reported,
    Run,
    Said,
    ToRuntime,
    decode_for_worker,
    encode,
)

NEWS_SECONDS = 0.05
"""A job's news are sent at most so often."""


class Line:
    """The worker's line to the runtime, shared by its threads."""

    def __init__(self, channel: Channel) -> None:
        self.jobs: queue.SimpleQueue[tuple[Run, int | None, JobControl]] = queue.SimpleQueue()
        self._channel = channel
        self._control: JobControl | None = None
        self._numbers = itertools.count(1)
        self._answers: dict[int, queue.SimpleQueue[tuple[Answer, int | None]]] = {}
        self._telling = threading.Lock()
        self._is_late = threading.Event()
        self._sent = 0.0
        self._is_copy = False
        os.register_at_fork(after_in_child=self._disown)

    def start(self) -> None:
        """Listen from now on."""
        for work in (self._listen, self._catch_up):
            threading.Thread(target=work, name=f"tidegate {work.__name__}", daemon=True).start()

    def send(self, message: ToRuntime, descriptor: int | None = None) -> None:
        """Send a message; without a runtime there is nothing left to do."""
        try:
            self._channel.send(encode(message), descriptor)
        except OSError:
            os._exit(0)

    # ---- about the job -----------------------------------------------------------------------

    def end(self) -> None:
        """Send what a job still had to say."""
        if self._control is not None:
            self._control.end()
        self._tell()

    def ask(self, about: str, name: str, count: int = 0) -> tuple[Payload, int | None]:
        """Ask the runtime and wait for the answer.

        Raises:
            StrategyError: it has none, and why.
        """
        if self._is_copy:
            raise StrategyError("only the job's own process can ask for history or models", "train")
        number = next(self._numbers)
        self._answers[number] = queue.SimpleQueue()
        self.send(Question(number, about, name, count))  # type: ignore[arg-type]  # checked there
        answer, descriptor = self._answers[number].get()
        del self._answers[number]
        if answer.payload is None:
            raise StrategyError(answer.error, "train")
        return answer.payload, descriptor

    # ---- inside ------------------------------------------------------------------------------

    def _listen(self) -> None:
        while (received := self._channel.receive()) is not None:
            for body, descriptor in received:
                match decode_for_worker(body):
                    case Run() as run:
                        self._control = JobControl(self._on_news, time.monotonic_ns)
                        self.jobs.put((run, descriptor, self._control))
                    case Ask(stop) if self._control is not None:
                        (self._control.ask_to_stop if stop else self._control.take_back)()
                    case Answer() as answer if answer.number in self._answers:
                        self._answers[answer.number].put((answer, descriptor))
        os._exit(0)  # the runtime has gone

    def _on_news(self) -> None:
        if time.monotonic() - self._sent < NEWS_SECONDS:
            self._is_late.set()
        else:
            self._tell()

    def _catch_up(self) -> None:
        while True:
            self._is_late.wait()
            self._is_late.clear()
            time.sleep(NEWS_SECONDS)  # a pace, not a wait for something
            self._tell()

    def _tell(self) -> None:
        if self._control is None or self._is_copy:
            return
        with self._telling:
            self._sent = time.monotonic()
            news = self._control.take()
            for line in news.lines:
                self.send(Said(line.level, line.text, _plain(line.fields)))
            if news.metrics is not None:
                self.send(Reported(news.metrics))
            if news.progress is not None:
                self.send(Progressed(*news.progress))

    def _disown(self) -> None:
        """Keep out of the conversation: this is a process that the job has forked."""
        self._is_copy = True
        self._channel.close()


def _plain(fields: Mapping[str, object]) -> dict[str, Plain]:
    """Keep what travels as it is; the rest becomes text here, where its own code is at home."""
    return {str(name): _plain_value(value) for name, value in fields.items()}


def _plain_value(value: object) -> Plain:
    """Return plain data of exactly its type: a subclass, such as numpy's float, does not travel."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        return float(value)
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
        return int(value)
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001  # the author's code
        return f"a {type(value).__name__} that cannot be written: {error!r:.100}"
