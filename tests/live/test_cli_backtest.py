"""`tidegate backtest` as a user runs it: the result, its identity, what is refused, how it ends."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.live.cli_kit import EXAMPLES, Ended, Running, run, strategy

MODEL = str(EXAMPLES / "order_flow_model.py")
EMA = str(EXAMPLES / "ema_cross.py")


def result(ended: Ended) -> dict[str, Any]:
    assert (ended.code, ended.stderr) == (0, "")
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def test_the_same_orders_whatever_the_hash_seed(tmp_path: Path) -> None:
    args = ("backtest", MODEL, "--minutes", "2", "--job-cost", "2", "--json")
    found = [
        result(run(tmp_path, *args, env={"PYTHONHASHSEED": seed})) for seed in ("0", "1", "4242")
    ]
    assert len({each["summary"]["orders_sha256"] for each in found}) == 1
    first = found[0]
    assert first["summary"]["fills"] == len(first["fills"]) > 0
    assert [row["kind"] for row in first["training"]].count("model published") > 1
    assert first["curve"][0]["equity"] == 100_000
    spent = [row["spent"] for row in first["training"] if row["kind"] == "finished"]
    assert set(spent) == {1}  # of two minutes the first is free
    assert len({each["training"][-1]["available"] for each in found}) == 1


def test_the_summary_is_a_table_that_names_what_it_shows(tmp_path: Path) -> None:
    ended = run(tmp_path, "backtest", EMA, "--minutes", "1")
    assert (ended.code, ended.stderr) == (0, "")
    assert "orders sha256" in ended.stdout
    assert "the data has ended" in ended.stdout


def test_recorded_data_between_two_moments(tmp_path: Path, shared_data: Path) -> None:
    data = str(shared_data / "lean/equity/usa/tick/spy")
    span = ("--from", "2013-10-07T09:30", "--to", "2013-10-07T10:00", "--json")
    found = result(run(tmp_path, "backtest", EMA, "--data", data, "-p", "symbol=SPY", *span))
    assert 20_000 < found["summary"]["events"] < 100_000
    times = [sample["time"] for sample in found["curve"]]
    half_past_nine = 1_381_152_600
    assert half_past_nine <= times[0] // 10**9 <= times[-1] // 10**9 < half_past_nine + 1800


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["nope.py"], "nope.py does not exist"),
        ([EMA, "--from", "yesterday"], "--from is 'yesterday': a day or a moment is needed"),
        ([EMA, "--from", "2024-01-03", "--to", "2024-01-02"], "--from is not before --to"),
        ([EMA, "--data", "nope.zip"], "nope.zip does not exist"),
        ([EMA, "--data", "x.csv", "--seed", "1"], "--seed means nothing with --data"),
        ([EMA, "--job-cost", "-1"], "--job-cost is -1: 0 minutes or more"),
        ([EMA, "--publication-delay", "soon"], "--publication-delay is 'soon': real, or 0"),
        ([EMA, "--publication-delay", "nan"], "--publication-delay is 'nan': real, or 0"),
        ([EMA, "--sampling", "week"], "--sampling is 'week': allowed are day, hour, minute"),
        ([EMA, "--report", "/dev/null/x"], "--report is /dev/null/x: Not a directory"),
        ([EMA, "--walk-forward", "30d"], "--walk-forward is '30d': train=30d,step=7d is needed"),
        ([EMA, "--walk-forward", "train=1m,step=1m", "--no-training"], "--no-training contradicts"),
        ([EMA, "--quota", "free-lunch"], "training.preset is 'free-lunch'"),
        ([EMA, "--model", "x=nope.skops"], "--model x"),
    ],
    ids=lambda value: " ".join(value).replace(EMA, "EMA") if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_sentence(tmp_path: Path, args: list[str], words: str) -> None:
    ended = run(tmp_path, "backtest", *args)
    ended.assert_one_sentence(words)
    assert ended.code == 2
    assert [each.name for each in tmp_path.iterdir()] == ["tmp"]


def test_a_strategy_that_raises_fails_with_what_there_is(tmp_path: Path) -> None:
    body = "def on_data(self, slice): raise KeyError('x')"
    ended = run(tmp_path, "backtest", strategy(tmp_path, body), "--minutes", "1", "--json")
    assert ended.code == 1
    assert ended.stderr.startswith("tidegate: Mine.on_data raised KeyError")
    assert json.loads(ended.stdout)["summary"]["slices"] == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(tmp_path: Path, number: signal.Signals) -> None:
    body = f"""
def on_data(self, slice):
    os.kill(os.getpid(), {int(number)})
def on_end_of_algorithm(self):
    self.log('goodbye')
"""
    args = ("--minutes", "5", "--json", "--log-level", "info", "--log-format", "json")
    with Running(tmp_path, "backtest", strategy(tmp_path, body), *args) as running:
        ended = running.end()
    assert ended.code == 0
    assert "goodbye" in ended.stderr
    summary = json.loads(ended.stdout)["summary"]
    assert (summary["reason"], summary["slices"]) == (f"{number.name} received", 1)


def test_a_report_is_a_page_and_json(tmp_path: Path) -> None:
    args = ("--minutes", "3", "--sampling", "minute", "--report", "out/one", "--json")
    found = result(run(tmp_path, "backtest", MODEL, *args))
    folder = tmp_path / "out/one"
    assert found["summary"]["report"] == "out/one/report.html"
    assert sorted(each.name for each in folder.iterdir()) == ["report.html", "report.json"]
    page = (folder / "report.html").read_text("utf-8")
    assert "OrderFlowModel" in page
    told = json.loads((folder / "report.json").read_text("utf-8"))
    assert told["statistics"] == found["statistics"]
    assert told["statistics"]["Returns"] == 3
    assert told["statistics"]["End Equity"] == pytest.approx(float(found["summary"]["equity"]))
    assert told["statistics"]["Total Orders"] == found["summary"]["orders"] > 0
    assert told["statistics"]["Total Fees"] == pytest.approx(
        float(found["summary"]["fees"]), abs=0.01
    )
    assert [job["slot"] for job in told["jobs"]][:2] == ["order_flow", "order_flow"]
    assert told["orders_sha256"] == found["summary"]["orders_sha256"]


def test_progress_off_a_terminal_is_lines_of_json(tmp_path: Path) -> None:
    ended = run(
        tmp_path, "backtest", EMA, "--minutes", "60", "--rate", "50", "--progress", "--json"
    )
    assert ended.code == 0
    told = [json.loads(line) for line in ended.stderr.splitlines()]
    lines = [line for line in told if line["event"] == "progress"]
    assert lines
    assert all(0 < line["fraction"] <= 1 and line["rate"] > 0 for line in lines)


def test_walk_forward_in_either_spelling_is_out_of_sample_only(tmp_path: Path) -> None:
    args = (
        "backtest",
        MODEL,
        "--minutes",
        "6",
        "--sampling",
        "minute",
        "--json",
        "--job-cost",
        "1",
    )
    one = result(run(tmp_path, *args, "--walk-forward", "train=2m,step=1m"))
    two = result(run(tmp_path, *args, "--report", "out", "--walk-forward", "train=2m", "step=1m"))
    assert one["folds"] == two["folds"]
    assert one["summary"]["orders_sha256"] == two["summary"]["orders_sha256"]
    begin = one["curve"][0]["time"]
    assert [(fold["start"] - begin) / 60e9 for fold in one["folds"]] == [0, 1, 2, 3]
    assert [fold["models"] for fold in one["folds"]] == [[f"order_flow v{n}"] for n in (1, 2, 3, 4)]
    assert min(fill["time"] for fill in one["fills"]) >= begin
    page = (tmp_path / "out/report.html").read_text("utf-8")
    assert "train=2m,step=1m" in page
    assert "order_flow v4" in page
    table = run(tmp_path, *args[:4], "--walk-forward", "train=2m,step=1m").stdout
    assert table.count("order_flow") >= 4
    assert "drawdown" in table.splitlines()[0]
