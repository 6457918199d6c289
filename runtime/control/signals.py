"""Signals become calls on the loop: stop in order or at once, toggle training, train now, reload.

A thread reads them from a pipe that the operating system's own handler writes to: one byte for each
signal delivered, whatever the loop does meanwhile; so none is lost, none is torn, and a stop is
heard while a callback hangs. From the first line of the program until the loop listens, SIGUSR1 and
SIGUSR2 are kept for it: their default action would kill a run that is still starting. Blocking them
would not do: numpy's libraries have threads before any code of ours runs.
"""

import asyncio
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import anyio

STOPS = (signal.SIGTERM, signal.SIGINT)
LISTENED = (*STOPS, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)
AT_ONCE = 8
"""Signals delivered in one turn of the loop: a storm of them must not hold up the ticks."""
CHUNK = 65536

_early: list[signal.Signals] = []


def hold_back() -> None:
    """Keep SIGUSR1 and SIGUSR2 until `listen` takes them; call it first of all."""
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda number, _: _early.append(signal.Signals(number)))


async def listen(
    *,
    on_stop: Callable[[str], None],
    on_toggle: Callable[[str], object],
    on_train_now: Callable[[str], object],
    on_reload: Callable[[], object] = lambda: None,
    on_heard: Callable[[signal.Signals], None] = lambda _: None,
) -> None:
    """Deliver each signal to its handler, with the signal's name and in order, until cancelled.

    SIGHUP reloads, unless it says that the terminal has gone from which all this was started: that
    is a stop. Afterwards signals go where they went before. `on_heard` is told of each at once, in
    the thread that hears it: it must be short.
    """
    loop = asyncio.get_running_loop()
    waiting: deque[signal.Signals] = deque()
    come = asyncio.Event()
    had_terminal = _has_terminal()

    def hear(numbers: list[signal.Signals]) -> None:
        for number in numbers:
            on_heard(number)
        waiting.extend(numbers)
        with suppress(RuntimeError):  # the loop has closed
            loop.call_soon_threadsafe(come.set)

    def deliver(number: signal.Signals) -> None:
        if number == signal.SIGUSR1:
            on_toggle(number.name)
        elif number == signal.SIGUSR2:
            on_train_now(number.name)
        elif number == signal.SIGHUP and (_has_terminal() or not had_terminal):
            on_reload()
        else:
            on_stop(number.name)

    with _heard_by(hear):
        while _early:
            deliver(_early.pop(0))
        while True:
            await come.wait()
            come.clear()
            while waiting:
                for _ in range(min(AT_ONCE, len(waiting))):
                    deliver(waiting.popleft())
                await anyio.lowlevel.checkpoint()


@contextmanager
def _heard_by(hear: Callable[[list[signal.Signals]], None]) -> Iterator[None]:
    """Have a thread call `hear` with the signals that come, until the end of the context."""
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)

    def read() -> None:
        with open(ours, "rb", buffering=0) as pipe:  # a descriptor, no path
            while chunk := pipe.read(CHUNK):
                hear([signal.Signals(byte) for byte in chunk if byte in LISTENED])

    threading.Thread(target=read, name="signals", daemon=True).start()
    elsewhere = signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)
    before = {number: signal.signal(number, _noted) for number in LISTENED}
    for number in LISTENED:
        signal.siginterrupt(number, False)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        signal.set_wakeup_fd(elsewhere)
        os.close(theirs)  # the thread reads what is left, and ends


def _has_terminal() -> bool:
    """Say whether this process has a terminal that it could be stopped from."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _noted(_: int, __: object) -> None:
    """Do nothing: the byte in the pipe says it. Without a handler there would be none."""


def _forget() -> None:
    """A child that was forked hears for itself: its signals are none of its parent's."""
    for number in LISTENED:
        if signal.getsignal(number) is _noted:
            signal.set_wakeup_fd(-1)
            signal.signal(number, signal.SIG_DFL)


os.register_at_fork(after_in_child=_forget)
