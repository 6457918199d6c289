"""The embedded venue as a process: it starts light, serves, and never outlives its parent."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from feeds.base import Subscription
from feeds.errors import ConfigError
from feeds.events import AssetClass, FeedState, Quote, Symbol, Trade
from feeds.files import open_source
from feeds.venue.process import VenueOptions, embedded_venue
from feeds.venue.protocol import Credentials
from tests.live.venue_kit import WANTED, Endless, Listener, feed, read_line, serving


async def gone(pid: int) -> None:
    """Return once the process has ended, whoever's child it is by now."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await anyio.wait_readable(descriptor)
    finally:
        os.close(descriptor)


async def test_it_serves_a_synthetic_market_and_ends_with_its_context() -> None:
    listener = Listener()
    with anyio.fail_after(30):
        async with embedded_venue(VenueOptions(seed=7, rate=1000.0)) as venue:
            async with anyio.create_task_group() as tasks:
                client = feed(venue.url, Credentials(venue.key, venue.secret))
                tasks.start_soon(client.run, WANTED, listener.deliver)
                await listener.until(lambda: len(listener.of(Trade, Quote)) > 100)
                tasks.cancel_scope.cancel()
            assert venue.returncode is None
        assert venue.returncode == 0
        await gone(venue.pid)
    assert venue.last_words == ""


async def test_its_secrets_are_new_each_time_and_on_no_command_line() -> None:
    seen = set()
    with anyio.fail_after(30):
        for _ in range(2):
            async with embedded_venue() as venue:
                command = await anyio.Path(f"/proc/{venue.pid}/cmdline").read_bytes()
                assert venue.secret.encode() not in command
                assert venue.secret not in repr(venue)
                assert len(venue.secret) >= 32
                seen |= {venue.key, venue.secret}
    assert len(seen) == 4


async def test_it_gets_none_of_our_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APCA_API_SECRET_KEY", "canary")
    with anyio.fail_after(30):
        async with embedded_venue() as venue:
            environment = await anyio.Path(f"/proc/{venue.pid}/environ").read_bytes()
            assert b"PATH=" in environment
            assert b"canary" not in environment


async def test_its_death_is_noticed() -> None:
    with anyio.fail_after(30):
        async with embedded_venue() as venue:
            os.kill(venue.pid, signal.SIGKILL)
            assert await venue.wait() == -signal.SIGKILL


async def test_sigterm_ends_it_in_order() -> None:
    with anyio.fail_after(30):
        async with embedded_venue() as venue:
            os.kill(venue.pid, signal.SIGTERM)
            assert await venue.wait() == 0


PARENT = """
import anyio
from feeds.venue.process import embedded_venue

async def main():
    async with embedded_venue() as venue:
        print(venue.pid, flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""


async def test_killing_its_parent_leaves_nothing_behind() -> None:
    with anyio.fail_after(30):
        async with await anyio.open_process([sys.executable, "-c", PARENT], stderr=None) as parent:
            pid = int(await read_line(parent.stdout))
            os.kill(pid, 0)  # it is there
            parent.kill()
            try:
                await gone(pid)
            except BaseException:  # this test must not leave behind what it looks for
                os.kill(pid, signal.SIGKILL)
                raise


async def test_a_parents_group_signal_does_not_reach_it() -> None:
    """Ctrl-C goes to the terminal's process group; the venue has a session of its own."""
    with anyio.fail_after(30):
        async with embedded_venue() as venue:
            assert os.getsid(venue.pid) == venue.pid != os.getsid(0)


async def test_a_stopped_venue_is_killed_in_the_end() -> None:
    with anyio.fail_after(30):
        async with embedded_venue() as venue:
            os.kill(venue.pid, signal.SIGSTOP)
        assert venue.returncode == -signal.SIGKILL


async def test_an_error_in_the_context_comes_out_as_it_is() -> None:
    async def story() -> None:
        async with embedded_venue():
            raise KeyError("planted")

    with anyio.fail_after(30), pytest.raises(KeyError, match="planted"):
        await story()


async def test_a_taken_port_is_the_users_turn() -> None:
    with anyio.fail_after(30):
        async with serving(Endless()) as venue:
            port = int(venue.url.rpartition(":")[2])
            with pytest.raises(ConfigError, match=f"127.0.0.1:{port}: Address already in use"):
                async with embedded_venue(VenueOptions(port=port)):
                    pass


@pytest.mark.parametrize(
    "options", [VenueOptions(data=("nowhere/at/all.zip",)), VenueOptions(seed=-1)]
)
async def test_options_that_cannot_be_served_are_the_users_turn(options: VenueOptions) -> None:
    with anyio.fail_after(30), pytest.raises(ConfigError, match=r"nowhere/at/all|seed is -1"):
        async with embedded_venue(options):
            pass


@pytest.fixture
def recording(shared_data: Path) -> tuple[Path, list[Trade | Quote]]:
    path = min((shared_data / "lean" / "equity" / "usa" / "tick" / "spy").glob("*_trade.zip"))
    return path, [e for e in open_source([path]).events() if isinstance(e, Trade | Quote)]


async def test_recorded_data_arrives_whole(recording: tuple[Path, list[Trade | Quote]]) -> None:
    """Flat out: every trade and quote of the files reaches the client, with its recorded time."""
    path, recorded = recording
    wanted = [Subscription(Symbol("SPY"), AssetClass.EQUITY)]
    listener = Listener()
    with anyio.fail_after(50):
        async with embedded_venue(VenueOptions(data=(str(path),), speed=None)) as venue:
            client = feed(venue.url, Credentials(venue.key, venue.secret))
            await client.run(wanted, listener.deliver)
    heard = listener.of(Trade, Quote)
    assert len(heard) == len(recorded) > 0
    assert [(e.time, e.price) for e in heard] == [(e.time, e.price) for e in recorded]
    assert listener.states[-1] is FeedState.ENDED


def test_it_starts_light() -> None:
    """The child loads nothing that only the runtime needs."""
    code = "import feeds.venue.process, sys; print(*sorted(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert not {"typer", "rich", "structlog", "sklearn", "numpy", "runtime", "pandas"} & set(loaded)
    assert "feeds.venue.server" in loaded
