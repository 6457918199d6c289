"""The Dockerfile, read and carried out: its build stage runs in temporary folders.

Not a container: the Python is this one and the base image is not fetched. The commands, the
locks and the files that enter are those of a real build.
"""

import atexit
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class Instruction(NamedTuple):
    """One instruction of a Dockerfile; `stage` counts the FROMs from 0."""

    stage: int
    word: str
    argument: str


def instructions(text: str) -> Iterator[Instruction]:
    """Read a Dockerfile; comments and line continuations are gone."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    stage = -1
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        if line.strip():
            word, _, argument = line.partition(" ")
            stage += word == "FROM"
            yield Instruction(stage, word, argument.strip())


def dockerfile() -> list[Instruction]:
    """The Dockerfile of this checkout."""
    return list(instructions((ROOT / "Dockerfile").read_text("utf-8")))


def copied(instruction: Instruction) -> tuple[list[str], str] | None:
    """Sources and target of a COPY from the checkout; None for anything else."""
    if instruction.word != "COPY" or instruction.argument.startswith("--from="):
        return None
    *sources, target = instruction.argument.split()
    return sources, target


def is_ignored(path: str, rules: str) -> bool:
    """Whether a .dockerignore keeps this path out: the last line that matches it or a parent."""
    parts = path.split("/")
    candidates = ["/".join(parts[:length]) for length in range(1, len(parts) + 1)]
    answer = False
    for line in rules.splitlines():
        rule = line.strip().removeprefix("!").rstrip("/")
        if not rule or rule.startswith("#"):
            continue
        pattern = re.escape(rule).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
        if any(re.fullmatch(pattern, candidate) for candidate in candidates):
            answer = not line.strip().startswith("!")
    return answer


class Image(NamedTuple):
    """What the build stage made: the environment that runs, and the wheel inside it."""

    environment: Path
    wheel: Path
    home: Path

    @classmethod
    def of(cls, folder: Path) -> "Image":
        """What `build(folder)` left there."""
        (wheel,) = (folder / "src" / "dist").glob("*.whl")
        return cls(folder / "opt" / "tidegate", wheel, folder / "home")

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment from an empty folder, knowing PATH and HOME only."""
        return subprocess.run(
            [self.environment / "bin" / command[0], *command[1:]],
            cwd=self.home,
            env={"PATH": f"{self.environment}/bin:/usr/bin:/bin", "HOME": str(self.home)}
            | variables,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def build(folder: Path) -> None:
    """Carry out the build stage of the Dockerfile below `folder`.

    Raises:
        AssertionError: a command failed, with what it wrote.
    """
    python = folder / "python"  # stands for the Python of the base image
    subprocess.run([sys.executable, "-m", "venv", python], check=True)
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL"))}
    env = inherited | {"PATH": f"{python}/bin:{os.environ['PATH']}"}
    rules = (ROOT / ".dockerignore").read_text("utf-8")
    place = folder

    def ignore(directory: str, names: list[str]) -> list[str]:
        below = Path(directory).relative_to(ROOT)
        return [name for name in names if is_ignored((below / name).as_posix(), rules)]

    for step in (step for step in dockerfile() if step.stage == 0):
        if step.word == "WORKDIR":
            place = folder / step.argument.lstrip("/")
            place.mkdir(parents=True)
        elif step.word == "ENV":
            env |= dict(pair.split("=", 1) for pair in step.argument.split())
        elif files := copied(step):
            for source in files[0]:
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, place / files[1], ignore=ignore)
                else:
                    shutil.copy(ROOT / source, place / files[1])
        elif step.word == "RUN":
            command = re.sub(r"(?<![\w.])(/(?:opt|src)\b)", rf"{folder}\1", step.argument)
            ran = subprocess.run(
                ["sh", "-euc", command],
                cwd=place,
                env=env,
                capture_output=True,
                text=True,
                check=False,
            )
            assert ran.returncode == 0, f"RUN {command}\n{ran.stdout}{ran.stderr}"
    (folder / "home").mkdir()


@cache
def built() -> Image | str:
    """The result of the build stage, made once for all workers of a test run, or why it failed.

    A lock on a file shares it: exclusive while one worker builds, shared while any uses it. The
    last to leave takes it away. (xdist's loadgroup would do, but groups nothing with pytest 9.2:
    pytest-xdist issue 1386.)
    """
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    folder = Path(tempfile.gettempdir(), f"tidegate-image-{run}")
    lock = folder.with_suffix(".lock").open("w")
    failure = folder / "failure"

    def leave() -> None:
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
            Path(lock.name).unlink(missing_ok=True)

    atexit.register(leave)
    with suppress(BlockingIOError):  # another builds, or has built
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder.mkdir()
        try:
            build(folder)
        except Exception as error:  # noqa: BLE001  # whatever it was, it is told by each test
            failure.write_text(f"{error!r}\n{error}", "utf-8")
    fcntl.flock(lock, fcntl.LOCK_SH)
    return failure.read_text("utf-8") if failure.exists() else Image.of(folder)
