"""The grid, its ranking, and the ledger that a killed sweep goes on from."""

import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runtime.errors import AlreadyRunning, ConfigError
from runtime.inputs import digest_of_files, files_of_data
from runtime.sweep.grid import CellResult, cells_of, check_rank, key_of, ranked, read_grid
from runtime.sweep.ledger import Inputs, Ledger

INPUTS = Inputs("strategy", "data", {"--minutes": "5"})


def done(name: str, **statistics: float | None) -> CellResult:
    named = {key.replace("_", " "): value for key, value in statistics.items()}
    return CellResult({"n": name}, "done", statistics=named)


# ---- the grid --------------------------------------------------------------------------------


def test_the_last_name_changes_fastest() -> None:
    cells = cells_of(read_grid(["a=1,2", "b=x, y,z"]))
    assert [tuple(cell.values()) for cell in cells] == [
        ("1", "x"), ("1", "y"), ("1", "z"), ("2", "x"), ("2", "y"), ("2", "z")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["a"], "--set is 'a': NAME=VALUE,VALUE"),
        (["=1"], "--set is '=1': NAME=VALUE,VALUE"),
        (["a=1,,2"], "--set is 'a=1,,2': NAME=VALUE,VALUE"),
        (["a=1", "a=2"], "--set names a twice"),
        (["a=1,1"], "a value stands there twice"),
    ],
)
def test_what_is_no_grid_is_refused(texts: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_grid(texts)


def test_no_cells_and_far_too_many_are_refused() -> None:
    with pytest.raises(ConfigError, match="needs --set"):
        cells_of({})
    many = [str(n) for n in range(1000)]
    with pytest.raises(ConfigError, match="1,000,000 cells: at most 100,000"):
        cells_of({"a": many, "b": many})


def test_a_cell_is_known_by_its_parameters_whatever_their_order() -> None:
    assert key_of({"a": "1", "b": "2"}) == key_of({"b": "2", "a": "1"})
    assert key_of({"a": "1", "b": "2"}) != key_of({"a": "2", "b": "1"})


def test_the_best_comes_first_and_what_has_no_value_last() -> None:
    cells = [
        done("one", Sharpe_Ratio=1.0),
        done("none", Sharpe_Ratio=None),
        done("two", Sharpe_Ratio=2.0),
    ]
    cells.append(CellResult({"n": "bad"}, "failed", "why"))
    assert [each.cell["n"] for each in ranked(cells, "Sharpe Ratio")] == ["two", "one", "none"]
    falls = [done("deep", Drawdown=0.5), done("flat", Drawdown=0.1)]
    assert [each.cell["n"] for each in ranked(falls, "Drawdown")] == ["flat", "deep"]
    same = [done("poor", Win_Rate=0.5, Net_Profit=0.1), done("rich", Win_Rate=0.5, Net_Profit=0.2)]
    assert [each.cell["n"] for each in ranked(same, "Win Rate")] == ["rich", "poor"]


def test_a_statistic_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--rank is 'Luck': allowed are Start Equity"):
        check_rank("Luck")


# ---- the ledger ------------------------------------------------------------------------------

CELLS = cells_of({"n": ["1", "2", "3", "4"]})


def write(path: Path, count: int) -> bytes:
    with Ledger(path, INPUTS) as book:
        for n in range(1, count + 1):
            book.write(done(str(n), Win_Rate=n / 10))
    return path.read_bytes()


def test_what_is_written_is_there_again(tmp_path: Path) -> None:
    write(tmp_path / "x.jsonl", 2)
    with Ledger(tmp_path / "x.jsonl", INPUTS) as book:
        assert [cell["n"] for cell in book.missing(CELLS)] == ["3", "4"]
        assert book.results[key_of({"n": "2"})].statistics == {"Win Rate": 0.2}


def test_wherever_it_was_cut_off_whole_lines_count_and_no_other(tmp_path: Path) -> None:
    """As after a kill or a loss of power at any byte of the file."""
    path = tmp_path / "x.jsonl"
    content = write(path, 3)
    for size in range(len(content) + 1):
        path.write_bytes(content[:size])
        whole = max(0, content[:size].count(b"\n") - 1)
        with Ledger(path, INPUTS) as book:
            assert len(book.results) == whole
            for cell in book.missing(CELLS):
                book.write(done(cell["n"]))
        with Ledger(path, INPUTS) as book:
            assert book.missing(CELLS) == []
        lines = path.read_bytes().splitlines()
        assert len([json.loads(line) for line in lines]) == 5


def test_failed_cells_are_missing_only_where_they_are_asked_for(tmp_path: Path) -> None:
    with Ledger(tmp_path / "x.jsonl", INPUTS) as book:
        book.write(CellResult({"n": "1"}, "failed", "why"))
        assert [cell["n"] for cell in book.missing(CELLS)] == ["2", "3", "4"]
        assert len(book.missing(CELLS, again=True)) == 4
        book.write(done("1"))
        assert len(book.missing(CELLS, again=True)) == 3
    with Ledger(tmp_path / "x.jsonl", INPUTS) as book:  # the newest line of a cell counts
        assert book.results[key_of({"n": "1"})].state == "done"


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (Inputs("other", "data", INPUTS.options), "strategy changed since the cells in "),
        (Inputs("strategy", "other", INPUTS.options), "data changed since"),
        (Inputs("other", "other", INPUTS.options), "strategy and data changed since"),
        (Inputs("strategy", "data", {"--minutes": "6"}), "--minutes changed since"),
        (Inputs("strategy", "data", {"--minutes": "5", "--from": "x"}), "--from changed since"),
    ],
)
def test_other_inputs_are_told_and_nothing_is_lost(
    tmp_path: Path, inputs: Inputs, words: str
) -> None:
    path = tmp_path / "x.jsonl"
    content = write(path, 2)
    with pytest.raises(ConfigError, match=words):
        Ledger(path, inputs)
    assert path.read_bytes() == content
    with Ledger(path, inputs, anew=True) as book:
        assert len(book.missing(CELLS)) == 4


def test_two_sweeps_do_not_write_one_ledger(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with Ledger(path, INPUTS), pytest.raises(AlreadyRunning, match="another sweep writes"):
        Ledger(path, INPUTS)
    Ledger(path, INPUTS).__exit__(None, None, None)


@given(st.binary(min_size=1, max_size=60).filter(lambda each: not each.startswith(b"{")))
@example(b'{"version": 1')
@example(b"{}\n")
def test_a_file_that_is_no_ledger_is_refused_in_a_sentence(content: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.jsonl"
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=r"x\.jsonl is no ledger of a sweep: line 1: "):
            Ledger(path, INPUTS)
        assert path.read_bytes() == content


# ---- the inputs ------------------------------------------------------------------------------


def test_the_digest_is_of_names_and_contents_wherever_they_lie(tmp_path: Path) -> None:
    digests = []
    for folder, content in (("one", b"x"), ("two", b"x"), ("three", b"y")):
        place = tmp_path / folder / "data"
        place.mkdir(parents=True)
        (place / "a.csv").write_bytes(content)
        (place / "b.csv").write_bytes(b"z")
        digests.append(digest_of_files(files_of_data([str(place)])))
    assert digests[0] == digests[1] != digests[2]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.csv cannot be read: No such file"):
        digest_of_files([("gone", tmp_path / "gone.csv")])
