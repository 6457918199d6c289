"""The virtual clock: stands until moved, wakes in order of time."""

import anyio

from runtime.clock import SteadyClock, SystemClock, VirtualClock


async def test_sleepers_wake_in_order_of_time_when_the_clock_is_moved() -> None:
    clock = VirtualClock(100)
    woken: list[int] = []

    async def sleep_until(when: int) -> None:
        await clock.sleep_until(when)
        woken.append(when)

    async with anyio.create_task_group() as tasks:
        for when in (130, 110, 120):
            tasks.start_soon(sleep_until, when)
        await anyio.wait_all_tasks_blocked()
        assert clock.next_wake == 110
        clock.advance(9)
        await anyio.wait_all_tasks_blocked()
        assert woken == []
        clock.advance_to(120)
        await anyio.wait_all_tasks_blocked()
        assert woken == [110, 120]
        clock.advance_to(130)
    assert woken == [110, 120, 130]


def test_a_virtual_clock_never_goes_back() -> None:
    clock = VirtualClock(100)
    clock.advance_to(50)
    assert clock.now() == 100


async def test_what_has_passed_is_not_waited_for() -> None:
    with anyio.fail_after(5):
        await VirtualClock(100).sleep_until(100)
        clock = SystemClock()
        await clock.sleep_until(clock.now() - 1)


async def test_a_steady_clock_never_goes_back_and_ends_its_sleeps() -> None:
    clock = SteadyClock()
    first = clock.now()
    with anyio.fail_after(5):
        await clock.sleep_until(first + 1_000_000)
    assert clock.now() >= first + 1_000_000
