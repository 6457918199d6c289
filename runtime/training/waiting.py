"""How a task waits for readiness on its event loop; `readiness.py` knows no loop.

The loop is captured when the wait begins, so readiness may be made before any loop runs and set
from any thread, even after the loop has closed. Importing this module puts it in place.
"""

import asyncio
import contextlib

from runtime.training.readiness import Readiness


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def wait_on_loop(readiness: Readiness) -> None:
    """Return once `readiness` is ready; a wait that is cancelled leaves nothing behind."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits any more
            loop.call_soon_threadsafe(_resolve, future)

    withdraw = readiness.subscribe(wake)
    if withdraw is None:
        return
    try:
        await future
    finally:
        withdraw()


Readiness.on_loop = wait_on_loop
