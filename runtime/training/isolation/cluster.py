"""Jobs on a Ray cluster: the same workers and wardens as on this machine, somewhere else.

An actor starts a worker on its node and carries messages between it and the job's thread here, so
a job on a cluster is the same transaction, with the same limits, pause and kill. Tidegate has to be
installed on the nodes; the strategy's file is brought along where a node lacks it. Nothing but this
module knows Ray, an extra: install tidegate[ray].
"""

import contextlib
import importlib
import queue
import select
import socket
import tempfile
import threading
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from runtime.errors import ConfigError
from runtime.training.isolation.anyworker import AnyWorker
from runtime.training.isolation.channel import Received
from runtime.training.isolation.messages import Prepare, Ready, ToWorker, decode_for_runtime, encode
from runtime.training.isolation.payload import contents, segment_of
from runtime.training.isolation.words import Word
from runtime.training.isolation.workers import Worker, WorkerDied, WorkerLimits

LOCAL = "local"
"""The address that starts a Ray of one's own on this machine, and ends it with the run."""
PATIENCE_SECONDS = 30.0
CHUNK = 1 << 12

Carried = tuple[bytes, bytes | None] | Word | str
"""What an actor sends: a worker's message with the bytes of its segment, or a warden's word; at
last, as text, how the worker ended."""


def ray_or_refuse() -> Any:
    """Return Ray.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise ConfigError(
            "isolation 'cluster' needs Ray, which is not installed: install tidegate[ray]"
        ) from None


class Cluster:
    """The connection to one Ray cluster, made when the first worker is wanted; any thread.

    Args:
        address: of a cluster that runs ("auto" finds one on this machine), or LOCAL.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._lock = threading.Lock()  # guards the two below
        self._connected: threading.Event | None = None
        self._keeper: threading.Thread | None = None
        self._fault: Exception | None = None
        self._is_over = threading.Event()

    def hire(self, limits: WorkerLimits) -> AnyWorker:
        """Start a worker on some node.

        Raises:
            WorkerDied: the cluster cannot be reached, or has no place.
        """
        try:
            ray = ray_or_refuse()
        except ConfigError as error:
            raise WorkerDied(str(error)) from error
        with self._lock:
            if self._connected is None or self._fault is not None:
                self._fault, self._connected = None, threading.Event()
                self._keeper = threading.Thread(
                    target=self._keep, args=(ray, self._connected), name="ray", daemon=True
                )
                self._keeper.start()
            connected = self._connected
        connected.wait()
        if self._fault is not None:
            said = " ".join(str(self._fault).split())
            raise WorkerDied(f"no Ray cluster at {self._address!r}: {said}") from self._fault
        return RemoteWorker(ray, limits)

    def close(self) -> None:
        """Let go of the cluster; one of our own ends."""
        self._is_over.set()
        if self._keeper is not None:
            self._keeper.join()

    def _keep(self, ray: Any, connected: threading.Event) -> None:
        """Connect, and stay: what Ray starts here dies with the thread that started it."""
        if ray.is_initialized():  # by the strategy's author, whose it stays
            connected.set()
            return
        is_ours = self._address == LOCAL
        try:
            _reach(self._address)
            ray.init(
                address=None if is_ours else self._address,
                configure_logging=False,
                log_to_driver=False,
                include_dashboard=False if is_ours else None,
            )
        except Exception as error:  # noqa: BLE001  # Ray raises errors of many kinds
            self._fault = error
            return
        finally:
            connected.set()
        self._is_over.wait()
        ray.shutdown()


def _reach(address: str) -> None:
    """Find out in time that nobody is there; Ray itself tries for minutes.

    Raises:
        OSError: nobody answers at HOST:PORT.
    """
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), PATIENCE_SECONDS).close()


class Carrier:
    """The actor: beside the worker, on its node."""

    def __init__(self, limits: WorkerLimits, ours: str) -> None:
        if version("tidegate") != ours:
            raise ConfigError(
                f"the node has tidegate {version('tidegate')}, the run {ours}: install the same"
            )
        self._worker = Worker(limits)
        self._folder = tempfile.TemporaryDirectory(prefix="tidegate-")

    def prepare(self, prepare: Prepare, source: str | None) -> None:
        """Hand on what to import; the strategy's source is laid down where its file is missing."""
        if prepare.file is not None and source is not None and not Path(prepare.file).is_file():
            file = Path(self._folder.name, Path(prepare.file).name)
            file.write_text(source, encoding="utf-8")
            prepare = msgspec.structs.replace(prepare, file=str(file))
        self._worker.send(prepare)

    def send(self, body: bytes, data: bytes | None) -> None:
        """Hand on a message and the bytes of its segment."""
        with contextlib.suppress(OSError):  # it has gone, which `listen` says
            self._worker.channel.send(body, None if data is None else segment_of(data))

    def tell(self, letter: bytes) -> None:
        """Tell the warden."""
        self._worker.tell(letter)

    def listen(self) -> Iterator[Carried]:
        """Yield what worker and warden say until the worker has ended."""
        for heard in self._worker.listen():
            if isinstance(heard, Received):
                data = None if heard.descriptor is None else contents(heard.descriptor)
                yield heard.body, data
            elif heard is not None:
                yield heard
        yield self._worker.how_it_ended()

    def bury(self) -> None:
        """Leave nothing of the worker on this node."""
        self._worker.bury()
        self._folder.cleanup()


class RemoteWorker:
    """A worker behind its actor.

    Raises:
        WorkerDied: the cluster has no place for it, or another version of ours.
    """

    def __init__(self, ray: Any, limits: WorkerLimits) -> None:
        self.limits = limits
        self._ray = ray
        self._end = ""  # how it ended
        groups = {"send": 1, "tell": 1, "listen": 1}  # one each: in order, and none for the others
        actor = ray.remote(num_cpus=0, concurrency_groups=groups)(Carrier)
        self._actor = actor.remote(limits, version("tidegate"))
        self._heard: queue.SimpleQueue[Carried] = queue.SimpleQueue()
        self._bell, self._ringer = socket.socketpair()
        self._pumping = threading.Thread(target=self._pump, name="training cluster", daemon=True)
        self._pumping.start()

    def prepare(self, prepare: Prepare) -> None:
        """Have the strategy imported.

        Raises:
            WorkerDied: it could not be.
        """
        file = prepare.file
        source = None if file is None else Path(file).read_text(encoding="utf-8")
        self._call("send", "prepare", prepare, source)
        for heard in self.listen():
            if isinstance(heard, Received):
                ready = decode_for_runtime(heard.body)
                if isinstance(ready, Ready) and not ready.error:
                    return
                said = ready.error if isinstance(ready, Ready) else "it sent something else"
                raise WorkerDied(f"the worker could not import the strategy: {said}")
        raise WorkerDied(f"while it was starting {self.how_it_ended()}")

    def still_lives(self) -> bool:
        """Whether it has not ended, as far as is known; what it said meanwhile is left out."""
        while not self._heard.empty():
            self._take(self._heard.get())
        return not self._end

    def send(self, message: ToWorker, descriptor: int | None = None) -> None:
        """Send a message and what its segment holds."""
        self._call(
            "send", "send", encode(message), None if descriptor is None else contents(descriptor)
        )

    def tell(self, letter: bytes) -> None:
        """Tell the warden."""
        self._call("tell", "tell", letter)

    def listen(self, wake: socket.socket | None = None) -> Iterator[Received | Word | None]:
        """Yield what worker and warden say until it has ended; None where `wake` was used."""
        while not self._end:
            ready, _, _ = select.select([self._bell] + ([] if wake is None else [wake]), [], [])
            if wake in ready:
                assert wake is not None  # noqa: S101  # it was asked for
                wake.recv(CHUNK)
                yield None
            if self._bell in ready:
                self._bell.recv(CHUNK)
            while not self._heard.empty():
                heard = self._take(self._heard.get())
                if heard is not None:
                    yield heard

    def bury(self) -> None:
        """Kill it, and its actor with it."""
        self.tell(b"K")
        with contextlib.suppress(Exception):  # the node may be gone, and all of it with it
            burial = self._actor.bury.options(concurrency_group="tell").remote()
            self._ray.get(burial, timeout=PATIENCE_SECONDS)
        with contextlib.suppress(Exception):
            self._ray.kill(self._actor)
        self._pumping.join(PATIENCE_SECONDS)  # a late question would start Ray anew
        self._ringer.close()
        self._bell.close()

    def how_it_ended(self) -> str:
        """Say how the worker ended."""
        return self._end or "the cluster lost the worker"

    # ---- inside ------------------------------------------------------------------------------

    def _call(self, group: str, method: str, *args: object) -> None:
        with contextlib.suppress(Exception):  # an actor that is gone is noticed by the pump
            getattr(self._actor, method).options(concurrency_group=group).remote(*args)

    def _take(self, heard: Carried) -> Received | Word | None:
        match heard:
            case str():
                self._end = self._end or heard
                return None
            case (bytes() as body, data):
                return Received(body, None if data is None else segment_of(data))
        return heard

    def _pump(self) -> None:
        """Carry what the actor yields to the job's thread, and ring for it."""
        end = "its actor ended"
        try:
            listen = self._actor.listen.options(concurrency_group="listen", num_returns="streaming")
            for reference in listen.remote():
                self._hand_on(self._ray.get(reference))
        except Exception as error:  # noqa: BLE001  # however Ray says that the node is gone
            end = next(iter(str(error).strip().splitlines()), type(error).__name__)
        self._hand_on(f"the cluster lost the worker: {end}")

    def _hand_on(self, heard: Carried) -> None:
        self._heard.put(heard)
        with contextlib.suppress(OSError):  # it has been buried
            self._ringer.send(b".")
