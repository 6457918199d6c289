"""What a service manager is told, in systemd's words (sd_notify(3)): ready, alive, stopping.

The signs of life come from the event loop: one that no longer turns gives none, and is restarted.
"""

import socket
from collections.abc import Mapping
from contextlib import suppress

import anyio
import msgspec

SECOND_US = 1_000_000


class Supervisor(msgspec.Struct, frozen=True):
    """Who wants to be told: a datagram socket's address, and the seconds between signs of life."""

    address: str
    watchdog: float | None = None

    def tell(self, *words: str) -> None:
        """Send words such as "READY=1"; a manager that does not hear them is no trouble of ours."""
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line, suppress(OSError):
            line.setblocking(False)
            line.sendto("\n".join(words).encode(), address)

    async def keep_told(self, begun: anyio.Event, stopping: anyio.Event) -> None:
        """Say READY once the run has begun, give signs of life, and say STOPPING; then return.

        Signs of life go on until cancelled: an end in order may take its time.
        """
        async with anyio.create_task_group() as tasks:
            if self.watchdog is not None:
                tasks.start_soon(self._live, self.watchdog)
            await begun.wait()
            self.tell("READY=1", "STATUS=trading")
            await stopping.wait()
            self.tell("STOPPING=1", "STATUS=stopping in order")

    async def _live(self, watchdog: float) -> None:
        while True:
            self.tell("WATCHDOG=1")
            await anyio.sleep(watchdog / 3)


def supervisor_of(environment: Mapping[str, str], pid: int) -> Supervisor | None:
    """Return who started this process and wants to be told, as systemd's variables name it."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return None
    patience = environment.get("WATCHDOG_USEC", "")
    meant = environment.get("WATCHDOG_PID", str(pid)) == str(pid)
    if not patience.isdecimal() or not int(patience) or not meant:
        return Supervisor(address)
    return Supervisor(address, int(patience) / SECOND_US)
