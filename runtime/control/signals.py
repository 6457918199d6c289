"""Signals become calls on the loop: stop in order, stop at once, toggle training, train now.

From the first line of the program until the loop listens, SIGUSR1 and SIGUSR2 wait in the kernel:
their default action would kill a run that is still starting.
"""

import signal
from collections.abc import Callable

import anyio

WAITING = {signal.SIGUSR1, signal.SIGUSR2}
LISTENED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


def hold_back() -> None:
    """Let SIGUSR1 and SIGUSR2 wait until `listen` takes them; call it first of all."""
    signal.pthread_sigmask(signal.SIG_BLOCK, WAITING)


async def listen(
    *,
    on_stop: Callable[[str], None],
    on_toggle: Callable[[str], object],
    on_train_now: Callable[[str], object],
) -> None:
    """Deliver each signal to its handler, with the signal's name, until cancelled."""
    with anyio.open_signal_receiver(*LISTENED) as signals:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WAITING)
        async for number in signals:
            name = signal.Signals(number).name
            if number == signal.SIGUSR1:
                on_toggle(name)
            elif number == signal.SIGUSR2:
                on_train_now(name)
            else:
                on_stop(name)
