"""A venue in a process that a test may kill: `python -m tests.live.venue_child PORT`."""

import sys
from functools import partial

import anyio

from feeds.venue.server import serve
from tests.live.venue_kit import CREDENTIALS, Endless


async def main(port: int) -> None:
    async with anyio.create_task_group() as tasks:
        venue = await tasks.start(partial(serve, Endless(), CREDENTIALS, port=port))
        sys.stdout.write(venue.url + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    anyio.run(main, int(sys.argv[1]))
