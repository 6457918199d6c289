"""The library that holds the sockets is a choice, and an extra."""

import asyncio
import sys
from pathlib import Path

import anyio
import pytest

from feeds.dial import Attempt, Dropped, parse_address
from feeds.errors import ConfigError
from feeds.sockets import Transport
from feeds.transports import fast_or_refuse, open_socket
from tests.live.cli_kit import CHATTY, HEAD, run, strategy


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "feeds.fast_dial", raising=False)
    monkeypatch.setitem(sys.modules, "picows", None)
    with pytest.raises(ConfigError, match=r"install tidegate\[fast\]"):
        fast_or_refuse()


@pytest.mark.timeout(120)
def test_a_run_on_it_trades_and_ends_in_order(tmp_path: Path) -> None:
    pytest.importorskip("uvloop", reason="needs the extra tidegate[fast]")
    (tmp_path / "fast.toml").write_text('[feed]\ntransport = "fast"\n')
    body = CHATTY.replace("self.log('data', time=self.time)", "self.quit(module(loop()))")
    module = "def module(it):\n    return type(it).__module__\n"
    head = f"from asyncio import get_running_loop as loop\n{HEAD}\n{module}"
    file = strategy(tmp_path, body, head=head)
    ended = run(tmp_path, "run", file, "--config", "fast.toml", "--rate", "50")
    assert ended.code == 0, ended.stderr
    assert "uvloop" in ended.summary["reason"]


@pytest.mark.parametrize("transport", list(Transport))
async def test_an_attempt_that_nobody_answers_leaves_no_connection(transport: Transport) -> None:
    """A venue may take the connection and say nothing to the upgrade, again and again."""
    if transport is Transport.FAST:
        pytest.importorskip("picows", reason="needs the extra tidegate[fast]")
    closed = anyio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            pass
        closed.set()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    address = parse_address(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    attempt = Attempt(address, "/", {}, patience=0.1, max_size=1000, proxy=None, now=0)
    async with server:
        with pytest.raises(Dropped, match="no answer"):
            await open_socket(transport, attempt)
        with anyio.fail_after(5):
            await closed.wait()
