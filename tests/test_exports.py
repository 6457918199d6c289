"""`runtime` offers what a strategy author types: few names, all explained, and light to import."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import runtime

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"sklearn", "scipy", "pandas", "pyarrow", "river", "torch", "ray", "typer", "rich"}


def starred() -> dict[str, object]:
    """What `from runtime import *` brings."""
    names: dict[str, object] = {}
    exec("from runtime import *", names)
    del names["__builtins__"]
    return names


def test_star_brings_exactly_what_is_promised() -> None:
    assert set(starred()) == set(runtime.__all__)
    assert len(runtime.__all__) == len(set(runtime.__all__))


def test_names_are_few_enough_to_learn() -> None:
    assert 25 <= len(runtime.__all__) <= 45


def test_names_stand_in_groups_that_say_what_they_are() -> None:
    source = inspect.getsource(runtime)
    listed = source.partition("__all__ = [")[2].partition("]")[0]
    groups = [group for group in re.split(r"^ *# .+$", listed, flags=re.MULTILINE) if group.strip()]
    assert len(groups) >= 4
    assert all(len(group.split()) <= 10 for group in groups)


@pytest.mark.parametrize("name", runtime.__all__)
def test_each_name_is_explained(name: str) -> None:
    """Classes and functions say themselves what they are; a NewType is explained where it is."""
    what = getattr(runtime, name)
    if inspect.isclass(what) or inspect.isfunction(what):
        said = what.__dict__.get("__doc__") if inspect.isclass(what) else what.__doc__
        assert said, f"{name} has no docstring of its own"
        assert not said.startswith(f"{name}("), f"{name} has only a generated signature"


def test_no_public_name_is_left_out() -> None:
    """What the package binds beside its submodules is in __all__."""
    bound = {
        name
        for name, what in vars(runtime).items()
        if not name.startswith("_") and not inspect.ismodule(what)
    }
    assert bound == set(runtime.__all__)


def test_import_is_light() -> None:
    """Worker processes and backtests import it; models and terminals are for who uses them."""
    code = "import sys, runtime; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert set(loaded.stdout.split()) & HEAVY == set()
    assert "runtime" in loaded.stdout.split()
