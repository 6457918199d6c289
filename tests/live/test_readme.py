"""The README tells the truth: its strategy runs, its commands run, its links lead somewhere."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TIDEGATE = str(Path(sys.executable).with_name("tidegate"))
# What CI itself runs; a test that ran them would run itself.
RUN_BY_CI = {"make run", "make test"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[str]:
    lines = [line for block in blocks("bash") for line in block.splitlines() if line]
    assert len(lines) >= 5
    return [line for line in lines if line not in RUN_BY_CI]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with what the README's commands name: the examples and the first strategy."""
    (tmp_path / "strategies").symlink_to(ROOT / "strategies")
    (tmp_path / "first.py").write_text(blocks("python")[0])
    return tmp_path


def arguments(line: str, data: Path | None) -> list[str]:
    """Return the command as it is, only shorter, and with the data where it is here."""
    line = re.sub(r"--duration \d+", "--duration 3", line)
    if data is not None:
        line = line.replace("../shared/data", str(data))
    program, *rest = line.split()
    assert program == "tidegate"
    return [TIDEGATE, *rest]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("line", [line for line in commands() if "venue" not in line])
def test_each_command_runs_to_a_clean_end(
    line: str, folder: Path, request: pytest.FixtureRequest
) -> None:
    data = request.getfixturevalue("shared_data") if "shared/data" in line else None
    done = subprocess.run(
        arguments(line, data), cwd=folder, capture_output=True, text=True, check=False, timeout=110
    )
    assert done.returncode == 0, done.stderr
    assert ("orders sha256" if " backtest " in line else '"event": "summary"') in done.stdout
    assert not done.stderr


def test_the_venue_runs_until_it_is_told_to_stop(folder: Path) -> None:
    (line,) = (line for line in commands() if "venue" in line)
    command = arguments(line.replace("8765", "0"), None)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert "paper venue listens on ws://127.0.0.1:" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


def test_the_first_strategy_trains_and_trades(folder: Path) -> None:
    done = subprocess.run(
        [TIDEGATE, "run", "first.py", "--feed", "synthetic", "--speed", "max"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    assert '"version": 1' in done.stdout
    assert int(re.findall(r'"fills": (\d+)', done.stdout)[-1]) > 10
    assert len(blocks("python")[0].splitlines()) <= 25


def test_every_target_named_is_there_and_every_link_leads_somewhere() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`make (\w+)`", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for page in [ROOT / "README.md", *ROOT.glob("docs/*.md"), ROOT / "CONTRIBUTING.md"]:
        for link in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
