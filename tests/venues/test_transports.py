"""The library that holds the sockets is a choice, and an extra."""

import sys
from pathlib import Path

import pytest

from feeds.errors import ConfigError
from feeds.transports import fast_or_refuse
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
