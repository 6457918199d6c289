"""Starts one worker, reads what it prints, and sees to it that nothing of it outlives the runtime.

A script, started by its path: it imports the standard library only, and forks the worker while it
has one thread. It is the reaper of whatever the worker starts. It obeys single letters on its
socket: B a job begins, E it has ended, S stop, C go on, K kill; the end of the socket is a K. What
it says in return is read by `words.py`.
"""

import ctypes
import fcntl
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import termios
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from types import ModuleType

CHUNK = 1 << 16
PIPE_BYTES = 1 << 20
WINDOW_SECONDS = 0.1
WINDOW_BYTES = 1 << 14
"""What is handed on in one window; the rest is counted."""
WINDOW_CHUNKS = 32
"""What is read in one window; then the worker has to wait, so that reading takes no one's time."""
MOST_WAITING = 1 << 18
WATCH_SECONDS = 0.25
SWEEP_SECONDS = 1.5
LAST_WORDS_SECONDS = 1.0
IS_LINUX = sys.platform == "linux"
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def prctl(option: int, value: int) -> None:
    """Ask the kernel for something about this process, where there is such a call."""
    if IS_LINUX:
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


# ---- the family ----------------------------------------------------------------------------------


def descendants() -> list[int]:
    """Return every living process that descends from this one, by the kernel's own table."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir() if IS_LINUX else ():
        if entry.name.isdigit():
            with suppress(OSError, ValueError):
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if state not in "ZX":
                    children.setdefault(int(parent), []).append(int(entry.name))
    found: list[int] = []
    pending = [os.getpid()]
    while pending:
        more = children.get(pending.pop(), [])
        found += more
        pending += more
    return found


def hasten(pid: int) -> None:
    """Let a process that was killed die: behind all others it may wait long for the processor.

    That takes a privilege, which the user of a container mostly has.
    """
    with suppress(OSError, AttributeError):
        os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, pid, 0)


def memory(pids: Collection[int]) -> int:
    """Return the bytes that these processes have for themselves."""
    total = 0
    for pid in pids:
        with suppress(OSError, ValueError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith(("RssAnon:", "RssShmem:")):
                    total += int(line.split()[1]) << 10
    return total


def oom_kills() -> int:
    """Return how often the kernel has killed for want of memory."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


class Warden:
    """The loop around one worker."""

    def __init__(self, life: socket.socket, output: int, worker: int, limit: int) -> None:
        self.life = life
        self.output = output
        self.worker = worker
        self.limit = limit
        self.status: int | None = None  # of the worker, once it has ended
        self.is_killed = self.is_over_limit = self.is_watching = self.is_held = False
        self.oom_kills = oom_kills()
        self.waiting = bytearray()
        self.room, self.chunks = WINDOW_BYTES, WINDOW_CHUNKS
        self.window_ends = self.watches_at = 0.0
        self.is_open = True  # the worker's output; it may close it and live on
        self.lost_bytes = self.lost_lines = 0
        self.wake, wake_end = os.pipe()
        for end in (self.wake, wake_end, output):
            os.set_blocking(end, False)
        life.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        with suppress(AttributeError, OSError):
            fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def run(self) -> None:
        """Serve until the worker has ended or is to end; then nothing of it is left."""
        self.reap()  # it may have ended before we listened
        poll = select.poll()
        poll.register(self.wake, select.POLLIN)
        while self.status is None and not self.is_killed:
            pause = self.roll_window()
            poll.register(self.life, select.POLLIN | (select.POLLOUT if self.waiting else 0))
            if self.is_open and not pause:
                poll.register(self.output, select.POLLIN)
            else:  # and not merely without events: its end would be told for ever
                with suppress(KeyError):
                    poll.unregister(self.output)
            timeouts = [pause] * bool(pause) + [WATCH_SECONDS] * self.is_watching
            for descriptor, event in poll.poll(min(timeouts) * 1000 if timeouts else None):
                if descriptor == self.output:
                    self.read_output()
                elif descriptor == self.wake:
                    os.read(self.wake, 4096)
                    self.reap()
                else:
                    if event & ~select.POLLOUT:
                        self.obey()
                    self.flush()
            if self.is_watching and time.monotonic() >= self.watches_at:
                self.watch()
        self.end()

    # ---- what the runtime wants --------------------------------------------------------------

    def obey(self) -> None:
        """Do what has been asked; the end of the runtime is the end of the worker."""
        try:
            letters = self.life.recv(64)
        except BlockingIOError:
            return
        except OSError:
            letters = b""
        for letter in letters.decode("ascii", "replace") or "K":
            if letter == "B":
                self.is_watching = True
            elif letter == "E":
                self.is_watching = False
                had_children = self.sweep(spare={self.worker})
                self.drain()
                self.say(b"E" + struct.pack(">?", had_children))
                self.window_ends = 0.0  # the next job does not pay for what this one printed
            elif letter == "S":
                self.is_held = True
                self.signal_all(signal.SIGSTOP)
            elif letter == "C":
                self.is_held = False
                self.signal_all(signal.SIGCONT)
            else:
                self.is_killed = True

    def signal_all(self, number: signal.Signals) -> None:
        """Signal the whole family, and who was born meanwhile."""
        told: set[int] = set()
        while new := set(descendants() or [self.worker]) - told:
            for pid in new:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
            told |= new

    def watch(self) -> None:
        """End a family that has taken more memory than it may."""
        self.watches_at = time.monotonic() + WATCH_SECONDS
        if not self.is_held and memory(descendants()) > self.limit:
            self.is_over_limit = self.is_killed = True

    # ---- what the worker prints --------------------------------------------------------------

    def roll_window(self) -> float:
        """Begin a window if it is time; return how long the output has to wait for the next."""
        now = time.monotonic()
        if now >= self.window_ends:
            self.tell_losses()
            self.window_ends = now + WINDOW_SECONDS
            self.room, self.chunks = WINDOW_BYTES, WINDOW_CHUNKS
        return 0.0 if self.chunks > 0 else self.window_ends - now

    def read_output(self) -> None:
        """Take one chunk."""
        try:
            data = os.read(self.output, CHUNK)
        except BlockingIOError:
            return
        self.is_open = bool(data)
        kept = data[: self.room] if len(self.waiting) < MOST_WAITING else b""
        self.chunks -= 1
        self.room -= len(kept)
        self.lost_bytes += len(data) - len(kept)
        self.lost_lines += data.count(b"\n", len(kept))
        if kept:
            self.say(b"O" + kept)

    def drain(self) -> None:
        """Take what has been printed by now."""
        end = time.monotonic() + LAST_WORDS_SECONDS
        while (
            self.is_open and select.select([self.output], [], [], 0)[0] and time.monotonic() < end
        ):
            self.roll_window()
            self.read_output()
        self.tell_losses()

    def tell_losses(self) -> None:
        """Say how much was not handed on."""
        if self.lost_bytes:
            self.say(b"L" + struct.pack(">QQ", self.lost_bytes, self.lost_lines))
            self.lost_bytes = self.lost_lines = 0

    def say(self, body: bytes) -> None:
        """Send one frame, as `framing.py` reads it."""
        self.waiting += struct.pack(">IB", len(body), 0) + body
        self.flush()

    def flush(self) -> None:
        """Send what the socket takes."""
        with suppress(OSError):
            while self.waiting:
                del self.waiting[: self.life.send(self.waiting)]

    # ---- the end -----------------------------------------------------------------------------

    def reap(self) -> None:
        """Take in all children that have ended."""
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                if pid == self.worker:
                    self.status = status

    def sweep(self, spare: Collection[int] = ()) -> bool:
        """Kill all descendants but those, and return whether there were any.

        What dies is reaped here, unless its parent is one of those.
        """
        had_any = False
        deadline = time.monotonic() + SWEEP_SECONDS
        if not IS_LINUX and not spare:
            with suppress(OSError):
                os.killpg(self.worker, signal.SIGKILL)
        while True:
            found = [pid for pid in descendants() if pid not in spare]
            had_any = had_any or bool(found)
            for pid in found:
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
                hasten(pid)
            self.reap()
            gone = spare or self.status is not None
            if (not found and gone) or time.monotonic() > deadline:
                return had_any
            select.select([self.wake], [], [], 0.005)

    def end(self) -> None:
        """Leave nothing behind, and say how the worker ended."""
        was_alone = self.status is not None  # it ended by itself
        self.sweep()
        self.drain()
        status = 0 if self.status is None else self.status
        by_kernel = (
            was_alone
            and os.WIFSIGNALED(status)
            and os.WTERMSIG(status) == signal.SIGKILL
            and oom_kills() > self.oom_kills
        )
        self.say(b"X" + struct.pack(">i???", status, was_alone, self.is_over_limit, by_kernel))
        self.life.settimeout(LAST_WORDS_SECONDS)
        with suppress(OSError):
            self.life.sendall(self.waiting)


# ---- the worker ----------------------------------------------------------------------------------


def tread_lightly(limit: int) -> None:
    """Put this process behind all others in the machine's favour, and bound its memory."""
    with suppress(OSError):
        os.nice(19)
    with suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Of data and not of address space: numeric libraries reserve far more than they use.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def leave_terminal() -> None:
    """Become a process group without a terminal, but not a session.

    Linux schedules sessions against each other and favours a process only within its own: a worker
    in a session of its own would take half of a processor from the runtime, however nice it is.
    """
    os.setpgid(0, 0)
    with suppress(OSError), open("/dev/tty", "rb", buffering=0) as terminal:
        fcntl.ioctl(terminal, termios.TIOCNOTTY)


def become_worker(control: int, output: int, parent: int, limit: int, path: list[str]) -> None:
    """Turn this fork into the worker; never returns."""
    leave_terminal()
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    nowhere = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, nowhere), (1, output), (2, output)):
        os.dup2(source, target)
    kept = {0, 1, 2, control}
    for entry in os.listdir("/dev/fd"):
        if int(entry) not in kept:
            with suppress(OSError):
                os.close(int(entry))
    tread_lightly(limit)
    sys.path[:] = path
    sys.argv[:] = ["tidegate worker"]
    sys.modules["__main__"] = ModuleType("__main__")
    from runtime.training.isolation.worker import main  # noqa: PLC0415  # only here

    main(control)


def main() -> None:
    """Start the worker, and watch over it."""
    life, control, limit = map(int, sys.argv[1:4])
    path = json.loads(sys.argv[4])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)  # the runtime decides when it is over
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    output, worker_output = os.pipe()
    here = os.getpid()
    worker = os.fork()
    if worker == 0:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        try:
            become_worker(control, worker_output, here, limit, path)
        finally:
            os._exit(1)
    os.close(worker_output)
    os.close(control)
    Warden(socket.socket(fileno=life), output, worker, limit).run()


if __name__ == "__main__":
    main()
