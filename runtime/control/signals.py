"""Signals become calls on the loop: stop in order, stop at once, toggle training, train now.

From the first line of the program until the loop listens, SIGUSR1 and SIGUSR2 are kept for it:
their default action would kill a run that is still starting. Blocking them would not do: numpy's
libraries have threads before any code of ours runs, and the kernel picks one that does not block.
"""

import signal
from collections.abc import Callable

import anyio

LISTENED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)

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
) -> None:
    """Deliver each signal to its handler, with the signal's name, until cancelled.

    Afterwards signals go where they went before.
    """

    def deliver(number: signal.Signals) -> None:
        if number == signal.SIGUSR1:
            on_toggle(number.name)
        elif number == signal.SIGUSR2:
            on_train_now(number.name)
        else:
            on_stop(number.name)

    before = {number: signal.getsignal(number) for number in LISTENED}
    try:
        with anyio.open_signal_receiver(*LISTENED) as signals:
            while _early:
                deliver(_early.pop(0))
            async for number in signals:
                deliver(number)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
