"""The image is pinned, small in what enters it, not run by root, and its build steps work."""

import json
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.image import ROOT, Image, built, copied, dockerfile, instructions, is_ignored
from tests.test_lock import locked_versions

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def image() -> Image:
    made = built()
    assert isinstance(made, Image), made
    return made


def last(word: str) -> str:
    """The argument of the last instruction of this name: the one that counts."""
    return next(step.argument for step in reversed(dockerfile()) if step.word == word)


def test_continued_lines_and_comments_are_read() -> None:
    text = "# c\nFROM a AS b\nRUN x \\\n    # why\n    && y\n\nFROM c\n"
    assert [tuple(step) for step in instructions(text)] == [
        (0, "FROM", "a AS b"),
        (0, "RUN", "x && y"),
        (1, "FROM", "c"),
    ]


def test_last_matching_line_of_dockerignore_wins() -> None:
    rules = "*\n!feeds/\n**/__pycache__\n"
    assert is_ignored(".env", rules)
    assert is_ignored("tests/a.py", rules)
    assert not is_ignored("feeds/files/lean.py", rules)
    assert is_ignored("feeds/files/__pycache__/lean.pyc", rules)


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = shutil.which("hadolint", path=sysconfig.get_path("scripts"))
    assert hadolint is not None, "hadolint is a development dependency: make setup"
    said = subprocess.run(
        [hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (said.returncode, said.stdout) == (0, "")


def test_base_image_is_pinned_to_a_full_version() -> None:
    bases = {step.argument.split()[0] for step in dockerfile() if step.word == "FROM"}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", bases.pop())


def test_what_is_copied_exists_is_in_git_and_is_let_in() -> None:
    sources = [source for step in dockerfile() if (files := copied(step)) for source in files[0]]
    assert {"feeds", "runtime", "strategies", "pyproject.toml"} <= set(sources)
    rules = (ROOT / ".dockerignore").read_text("utf-8")
    for source in sources:
        assert (ROOT / source).exists()
        assert not is_ignored(source, rules)
        if (ROOT / ".git").exists():
            subprocess.run(
                ["git", "ls-files", "--error-unmatch", source],
                cwd=ROOT,
                check=True,
                capture_output=True,
            )


def test_nothing_else_is_let_in() -> None:
    rules = (ROOT / ".dockerignore").read_text("utf-8")
    sources = {source for step in dockerfile() if (files := copied(step)) for source in files[0]}
    assert {path.name for path in ROOT.iterdir() if not is_ignored(path.name, rules)} == sources


def test_commands_are_in_exec_form() -> None:
    assert json.loads(last("ENTRYPOINT")) == ["tidegate"]
    assert json.loads(last("CMD"))[0] == "demo"
    assert json.loads(last("HEALTHCHECK").partition("CMD ")[2]) == ["tidegate", "health"]
    assert last("STOPSIGNAL") == "SIGTERM"


def test_nobody_is_root_and_nothing_is_secret() -> None:
    assert all(int(part) >= 1000 for part in last("USER").split(":"))
    named = [step.argument for step in dockerfile() if step.word in {"ENV", "ARG"}]
    assert not re.search(r"(?i)secret|token|password|api_?key", " ".join(named))


def test_every_install_is_checked_by_hash_or_alone() -> None:
    """What comes from outside has a hash; what is ours brings nothing along."""
    commands = [
        command
        for step in dockerfile()
        if step.word == "RUN"
        for command in step.argument.split("&&")
        if re.search(r"pip (install|wheel)", command)
    ]
    assert len(commands) == 4
    assert all("--require-hashes" in c or "--no-deps" in c for c in commands)


def test_image_holds_what_runs_and_no_tools(image: Image) -> None:
    listed = image.run("python", "-m", "pip", "list", "--format=json")
    names = {re.sub(r"[-_.]+", "-", row["name"]).lower() for row in json.loads(listed.stdout)}
    run = set(locked_versions("requirements-run.lock"))
    assert names - run <= {"tidegate", "pip", "setuptools"}
    assert {"numpy", "scikit-learn", "websockets", "tidegate"} <= names


def test_entry_point_and_default_command_are_known(image: Image) -> None:
    version = image.run(*json.loads(last("ENTRYPOINT")), "--version")
    assert version.returncode == 0, version.stderr
    command = image.run(*json.loads(last("ENTRYPOINT")), *json.loads(last("CMD")), "--help")
    assert command.returncode == 0, command.stderr


def test_health_says_no_where_nothing_runs(image: Image, tmp_path: Path) -> None:
    check = json.loads(last("HEALTHCHECK").partition("CMD ")[2])
    answer = image.run(*check, TIDEGATE_STATE_DIR=str(tmp_path))
    assert answer.returncode == 1
    assert len((answer.stdout + answer.stderr).strip().splitlines()) == 1
