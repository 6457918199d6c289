"""Recorded markets of the real world through the whole command: every row is accounted for."""

from pathlib import Path

import pytest

from tests.live.cli_kit import EXAMPLES, Ended, run, strategy

EMA = EXAMPLES / "ema_cross.py"
FLOW = EXAMPLES / "order_flow_model.py"


def replay(folder: Path, example: Path, data: Path, *options: str) -> Ended:
    return run(
        folder, "run", example, "--feed", "replay", "--speed", "max", "--data", data, *options
    )


def accounted(ended: Ended) -> int:
    """Rows that made events, or are told to be something else: all of them."""
    summary = ended.summary
    kinds = ("rows_used", "suspicious", "malformed")
    counts: list[int] = [summary[f"feed_{kind}"] for kind in kinds]
    counts += summary.get("feed_ignored", {}).values()
    assert sum(counts) == summary["feed_frames"]
    return sum(counts)


def test_a_day_of_spy_trades(tmp_path: Path, shared_data: Path) -> None:
    data = shared_data / "lean/equity/usa/tick/spy/20131007_trade.zip"
    ended = replay(tmp_path, EMA, data, "-p", "symbol=SPY")
    assert (ended.code, ended.stderr) == (0, "")
    summary = ended.summary
    assert accounted(ended) == 250_601
    assert summary["events"] == summary["feed_events"]
    assert summary["slices"] > 10_000
    assert summary["fills"] == len(ended.of("fill")) > 0


def test_a_model_on_a_day_of_ibm_trades_and_quotes(tmp_path: Path, shared_data: Path) -> None:
    data = shared_data / "lean/equity/usa/tick/ibm"
    ended = replay(tmp_path, FLOW, data, "-p", "symbols=IBM", "-p", "retrain_seconds=3600")
    assert (ended.code, ended.stderr) == (0, "")
    summary = ended.summary
    assert accounted(ended) == 109_067 + 24_293
    # Of two rows of one moment, a bid and an ask, one quote is made.
    assert summary["feed_rows_joined"] > 0
    assert summary["feed_rows_used"] - summary["feed_rows_joined"] == summary["feed_events"]
    assert (summary["feed_not_subscribed"], summary["feed_not_played"]) == (0, 0)
    assert summary["events"] == summary["feed_events"] > 24_000
    assert summary["feed_suspicious"] == 1
    assert summary["jobs"]["succeeded"] >= 10
    assert summary["fills"] == len(ended.of("fill")) > 0
    for failed in ended.of("training: failed"):  # before the market opens there is little to learn
        assert failed["text"] == "ValueError: the quotes have not moved both up and down yet"


@pytest.mark.parametrize(
    ("capture", "symbol", "rows"),
    [
        ("COINBASE.ws.28.0.gz", "SKL/USD", 8697),
        ("BINANCE.ws.1.0.gz", "NKN/USDT", 267),
        ("BINANCE_FUTURES.ws.1.0.gz", "SUSHI/USDT", 1536),
    ],
)
def test_a_capture_of_an_exchange(
    tmp_path: Path, shared_data: Path, capture: str, symbol: str, rows: int
) -> None:
    data = shared_data / "wire" / capture
    options = ("-p", f"symbol={symbol}", "-p", "fast=2", "-p", "slow=4")
    ended = replay(tmp_path, EMA, data, *options)
    assert (ended.code, ended.stderr) == (0, "")
    summary = ended.summary
    assert accounted(ended) == rows
    assert summary["feed_malformed"] == 0
    assert summary["events"] + summary.get("unused_bars", 0) == summary["feed_events"] > 70
    assert summary["slices"] > 1


@pytest.mark.parametrize(
    ("file", "rows"),
    [("oanda/tick/eurusd/20140501_quote.zip", 24_179), ("oanda/minute/eurusd", 1363)],
)
def test_a_currency_pair_has_quotes_only_and_is_traded(
    tmp_path: Path, shared_data: Path, file: str, rows: int
) -> None:
    data = shared_data / "lean/forex" / file
    ended = replay(tmp_path, EMA, data, "-p", "symbol=EUR/USD")
    assert (ended.code, ended.stderr) == (0, "")
    assert accounted(ended) == rows
    assert ended.summary["fills"] > 0


def test_a_folder_of_several_days_is_one_tape(tmp_path: Path, shared_data: Path) -> None:
    data = shared_data / "lean/equity/usa/minute/spy"
    ended = replay(tmp_path, EMA, data, "-p", "symbol=SPY")
    assert (ended.code, ended.stderr) == (0, "")
    assert ended.summary["feed_frames"] == 828 + 908 + 828 + 910
    days = {line["at"][:10] for line in ended.lines if "at" in line}
    assert days <= {"2013-10-07", "2013-10-08"}


@pytest.mark.parametrize(
    ("data", "holds"),
    [
        ("lean/equity/usa/minute", "AAPL, IBM, SPY"),
        ("wire/BINANCE.ws.1.0.gz", "BLZ/ETH, LRC/BTC, NKN/USDT"),
    ],
)
def test_data_without_the_symbol_fails_and_says_what_it_holds(
    tmp_path: Path, shared_data: Path, data: str, holds: str
) -> None:
    ended = replay(tmp_path, EMA, shared_data / data, "-p", "symbol=QQQ")
    ended.assert_one_sentence(f"the data held nothing for QQQ: it holds {holds}\n")
    assert ended.code == 1
    assert ended.summary["events"] == 0
    assert accounted(ended) > 0
    assert ended.summary["feed_not_subscribed"] > 0


def test_a_tape_that_is_stopped_adds_up_too(tmp_path: Path, shared_data: Path) -> None:
    """Of two symbols one is asked for, and the strategy leaves amid the first rows."""
    data = shared_data / "lean/equity/usa/minute"
    file = strategy(
        tmp_path,
        "def initialize(self):\n    self.add_equity('SPY')\n"
        "def on_data(self, slice):\n    self.quit('enough')",
    )
    ended = replay(tmp_path, file, data)
    assert (ended.code, ended.stderr) == (0, "")
    summary = ended.summary
    assert accounted(ended) > 1000
    made = summary["feed_events"] + summary["feed_not_subscribed"] + summary["feed_not_played"]
    assert made == summary["feed_rows_used"]  # of a bar's row one event is made
    assert summary["feed_not_subscribed"] > 0
    assert summary["feed_not_played"] > 0


def test_a_table_without_rows_holds_nothing(tmp_path: Path) -> None:
    table = tmp_path / "spy.csv"
    table.write_text("time,symbol,price,size\n")
    ended = replay(tmp_path, EMA, table, "-p", "symbol=SPY")
    ended.assert_one_sentence("the data held nothing for SPY: it holds nothing at all")
    assert ended.code == 1
    assert accounted(ended) == 1


def test_recorded_data_over_the_venues_socket(tmp_path: Path, shared_data: Path) -> None:
    data = shared_data / "lean/equity/usa/tick/ibm/20131007_trade.zip"
    ended = run(
        tmp_path,
        *("run", EMA, "--data", data, "--speed", "max", "-p", "symbol=IBM"),
    )
    assert (ended.code, ended.stderr) == (0, "")
    assert ended.summary["reason"] == "the data has ended"
    # The bars that the venue makes for others are no part of the tape.
    assert ended.summary["events"] == 24_293
