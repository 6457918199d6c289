"""Every command: help with examples, --json, exit codes, completion; and a strategy is begun."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

import runtime.cli  # which has told the application of all of them
from runtime.cli.app import app
from tests.live.cli_kit import TIDEGATE, Running, run

STEERS = {"on", "off", "now", "cancel", "halt", "resume", "stop", "rollback"}


assert runtime.cli.__all__


def commands(group: Any, before: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    found = []
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            found += commands(command, (*before, name))
        else:
            found.append(((*before, name), command))
    return found


COMMANDS = commands(typer.main.get_command(app))
NAMES = [" ".join(words) for words, _ in COMMANDS]


@pytest.mark.parametrize(("words", "command"), COMMANDS, ids=NAMES)
def test_help_has_examples_that_name_the_command(words: tuple[str, ...], command: Any) -> None:
    _, _, examples = (command.help or "").partition("Examples:")
    assert f"tidegate {' '.join(words)}" in examples
    for option in command.params:
        assert getattr(option, "help", "") or option.name in {"strategy", "name"}, option.name


@pytest.mark.parametrize(("words", "command"), COMMANDS, ids=NAMES)
def test_programs_can_read_it(words: tuple[str, ...], command: Any) -> None:
    assert any("--json" in option.opts for option in command.params), words


def test_all_that_was_promised_is_there() -> None:
    wanted = (
        "run backtest venue record status logs orders positions halt resume stop new runs models"
    )
    groups = {words[0] for words, _ in COMMANDS}
    assert set(wanted.split()) - {"models"} <= groups | set(NAMES)
    assert {"train on", "train off", "train now", "train status", "train cancel"} <= set(NAMES)
    assert "models rollback" in NAMES


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete(shell: str) -> None:
    said = subprocess.run(
        [TIDEGATE, "--show-completion", shell],
        # Named instead of found among the parents, of which a runner of tests need have none.
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    assert f"complete_{shell}" in said.stdout


def test_the_shell_that_asks_is_found() -> None:
    asked = f"{TIDEGATE} --show-completion; exit $?"
    said = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    assert "complete_bash" in said.stdout


def test_completion_knows_the_commands(tmp_path: Path) -> None:
    env = {"_TIDEGATE_COMPLETE": "complete_bash", "COMP_WORDS": "tidegate tr", "COMP_CWORD": "1"}
    assert run(tmp_path, env=env).stdout.split() == ["train"]


@pytest.mark.parametrize("words", [["status"], ["train", "off"], ["stop"], ["halt", "x"]])
def test_where_no_run_goes_on_it_is_a_failure_and_one_sentence(
    tmp_path: Path, words: list[str]
) -> None:
    ended = run(tmp_path, *words)
    ended.assert_one_sentence("no run goes on in .tidegate")
    assert ended.code == 1


# ---- tidegate new ----------------------------------------------------------------------------


def test_a_strategy_is_begun_tested_and_run(tmp_path: Path) -> None:
    ended = run(tmp_path, "new", "Momentum-2", "--json")
    assert (ended.code, ended.stderr) == (0, "")
    assert json.loads(ended.stdout)["class"] == "Momentum2"
    folder = tmp_path / "Momentum-2"
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts="],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert tested.returncode == 0, tested.stdout
    assert "2 passed" in tested.stdout
    with Running(
        folder, "run", "momentum_2.py", "--config", "tidegate.toml", "--rate", "200"
    ) as running:
        running.until("feed", state="live")
        running.send(signal.SIGTERM)
        ended = running.end()
    assert (ended.code, ended.stderr) == (0, "")
    assert (folder / ".tidegate" / "Momentum-2").is_dir()


@pytest.mark.parametrize("name", ["class", "../x", "2nd", "", "a b", "x" * 70, ".hidden"])
def test_what_cannot_name_a_strategy_is_one_sentence(tmp_path: Path, name: str) -> None:
    ended = run(tmp_path, "new", name)
    ended.assert_one_sentence("cannot name a strategy")
    assert ended.code == 2
    assert list(tmp_path.iterdir()) == [tmp_path / "tmp"]


def test_what_is_there_is_never_written_over(tmp_path: Path) -> None:
    assert run(tmp_path, "new", "mine").code == 0
    before = (tmp_path / "mine" / "mine.py").read_text()
    ended = run(tmp_path, "new", "mine")
    ended.assert_one_sentence("mine is not empty: it has mine.py")
    assert ended.code == 2
    assert (tmp_path / "mine" / "mine.py").read_text() == before
