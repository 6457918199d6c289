"""Loading a strategy file: each mistake is one sentence; what lies beside it shadows nothing."""

import sys
from pathlib import Path

import pytest

from runtime.errors import ConfigError, Stopped, StrategyError
from runtime.loading import load_strategy

GOOD = "from runtime import Strategy\nclass A(Strategy):\n    pass\n"


def write(folder: Path, text: str, name: str = "mine.py") -> str:
    path = folder / name
    path.write_text(text, errors="surrogateescape")
    return str(path)


def test_the_only_strategy_of_a_file_is_found(tmp_path: Path) -> None:
    assert type(load_strategy(write(tmp_path, GOOD))).__name__ == "A"


def test_a_class_can_be_named(tmp_path: Path) -> None:
    file = write(tmp_path, GOOD + "class B(A):\n    pass\n")
    assert type(load_strategy(f"{file}:B")).__name__ == "B"


@pytest.mark.parametrize(
    ("text", "suffix", "words"),
    [
        (GOOD, ":C", "no strategy class C: it defines A"),
        ("x = 1\n", "", "defines 0 strategies"),
        (GOOD + "class B(A):\n    pass\n", "", "choose one as FILE.py:Class"),
    ],
)
def test_an_unclear_choice_is_refused(tmp_path: Path, text: str, suffix: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_strategy(write(tmp_path, text) + suffix)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def f(:\n", "syntax error in line 1"),
        ("import no_such_library_at_all\n", "no_such_library_at_all, which is not installed"),
        ("1 / 0\n", r"raised ZeroDivisionError: division by zero \(mine.py, line 1\)"),
        (GOOD + "    def __init__(self):\n        1 / 0\n", r"A\(\) raised ZeroDivisionError"),
        ("import sys\nsys.exit(0)\n", r"raised SystemExit: 0 \(mine.py, line 2\) while loading"),
        ("raise KeyboardInterrupt\n", r"raised KeyboardInterrupt \(mine.py, line 1\)"),
        (GOOD + "    def __init__(self):\n        raise SystemExit\n", r"A\(\) raised SystemExit"),
        (GOOD + "    def __init__(self, x):\n        pass\n", r"positional argument: 'x'$"),
        ("x = 1\0\n", "source code string cannot contain null bytes"),
        ("x = '\udcff'\n", "syntax error"),
    ],
)
def test_a_file_that_does_not_load_says_why(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(StrategyError, match=words) as caught:
        load_strategy(write(tmp_path, text))
    assert caught.value.where == "load"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["raise Stopped(0)\n", GOOD + "    def __init__(self):\n        raise Stopped(0)\n"]
)
def test_a_signal_that_stops_the_loading_is_no_failure_of_the_file(
    tmp_path: Path, text: str
) -> None:
    with pytest.raises(Stopped):
        load_strategy(write(tmp_path, "from runtime.errors import Stopped\n" + text))


def test_a_mistake_in_what_the_file_imports_names_that_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    write(tmp_path, "def f(:\n", "a_helper_with_a_mistake.py")
    with pytest.raises(
        StrategyError, match=r"^a_helper_with_a_mistake.py has a syntax error in line 1"
    ):
        load_strategy(write(tmp_path, "import a_helper_with_a_mistake\n"))


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is not a file: name a strategy as FILE\.py"):
        load_strategy(str(tmp_path))


@pytest.mark.parametrize("reference", ["no/such.py", "no/such.py:A", ""])
def test_a_missing_file_is_named(reference: str) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_strategy(reference)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a Python file"):
        load_strategy(write(tmp_path, GOOD, "mine.txt"))


def test_a_file_beside_the_strategy_shadows_nothing(tmp_path: Path) -> None:
    write(tmp_path, "raise RuntimeError('imported')\n", "colorsys.py")
    file = write(tmp_path, "import colorsys\ncolorsys.rgb_to_hsv\n" + GOOD)
    assert type(load_strategy(file)).__name__ == "A"


def test_a_module_beside_the_strategy_can_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "beside_the_strategy.py").write_text("FACTOR = 3\n")
    text = "import beside_the_strategy\n" + GOOD + "    factor = beside_the_strategy.FACTOR\n"
    for _ in range(2):
        assert load_strategy(write(tmp_path, text)).factor == 3  # type: ignore[attr-defined]
    assert sys.path.count(str(tmp_path)) == 1
    assert sys.path[-1] == str(tmp_path)  # behind all that is installed
