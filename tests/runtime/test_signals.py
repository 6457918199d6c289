"""Signals reach the loop by name, in order, and none is lost between them that was delivered."""

import os
import signal
from collections.abc import Iterator

import anyio
import pytest

from runtime.control.signals import LISTENED, hold_back, listen


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Leave the process as it was."""
    before = {number: signal.getsignal(number) for number in LISTENED}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def kill(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


class Heard(list[tuple[str, str]]):
    """What was heard, until a stop ends the listening."""

    async def listen(self, *early: signal.Signals) -> "Heard":
        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:

                def stop(name: str) -> None:
                    self.append(("stop", name))
                    tasks.cancel_scope.cancel()

                async def run() -> None:
                    await listen(
                        on_stop=stop,
                        on_toggle=lambda name: self.append(("toggle", name)),
                        on_train_now=lambda name: self.append(("train now", name)),
                    )

                tasks.start_soon(run)
                await anyio.lowlevel.checkpoint()
                for number in early:
                    kill(number)
        return self


async def test_each_signal_has_its_meaning() -> None:
    heard = await Heard().listen(signal.SIGUSR1, signal.SIGUSR2, signal.SIGUSR1, signal.SIGTERM)
    assert heard == [
        ("toggle", "SIGUSR1"),
        ("train now", "SIGUSR2"),
        ("toggle", "SIGUSR1"),
        ("stop", "SIGTERM"),
    ]
    assert await Heard().listen(signal.SIGINT) == [("stop", "SIGINT")]


async def test_what_came_before_the_loop_listened_is_not_lost() -> None:
    """And does not end the process, as it would by default."""
    hold_back()
    kill(signal.SIGUSR2)
    kill(signal.SIGUSR1)
    heard = await Heard().listen(signal.SIGTERM)
    assert sorted(heard[:-1]) == [("toggle", "SIGUSR1"), ("train now", "SIGUSR2")]
    assert heard[-1] == ("stop", "SIGTERM")


async def test_what_comes_after_the_end_does_no_harm() -> None:
    hold_back()
    await Heard().listen(signal.SIGTERM)
    kill(signal.SIGUSR1)
    assert ("toggle", "SIGUSR1") in await Heard().listen(signal.SIGTERM)


async def test_afterwards_the_handlers_are_those_of_before() -> None:
    before = {number: signal.getsignal(number) for number in LISTENED}
    await Heard().listen(signal.SIGTERM)
    assert {number: signal.getsignal(number) for number in LISTENED} == before
