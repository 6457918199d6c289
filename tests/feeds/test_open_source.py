"""Files and folders as one source: recognised by name, in order of time, every row counted."""

import gzip
import os
import zipfile
from pathlib import Path

import pytest

from feeds.errors import ConfigError, DecodeError
from feeds.events import AssetClass, Symbol, Trade
from feeds.files import FileSource, TableMapping, open_source
from feeds.moments import due

SYMBOL = TableMapping(symbol=Symbol("X"))


def write_day(folder: Path, day: str, times: list[int], symbol: str = "x") -> Path:
    """A LEAN day of trades, whose sizes tell the rows apart."""
    path = folder / "equity" / "usa" / "tick" / symbol / f"{day}_trade.zip"
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", "".join(f"{t},10000,{n},P,0,0\n" for n, t in enumerate(times)))
    return path


def test_folder_is_read_to_the_last_row_in_order(shared_data: Path) -> None:
    source = open_source([shared_data / "lean" / "equity" / "usa" / "minute"])
    moments = [due(event) for event in source.events()]
    assert moments == sorted(moments)
    audits = source.audits()
    assert len(audits) == 10
    assert source.audit().rows == sum(audit.rows for audit in audits.values()) == 7615
    assert source.audit().unaccounted == 0
    assert source.symbols == dict.fromkeys(
        (Symbol("AAPL"), Symbol("IBM"), Symbol("SPY")), AssetClass.EQUITY
    )


def test_recorded_trades_and_quotes_are_merged_by_time(shared_data: Path) -> None:
    folder = shared_data / "lean" / "equity" / "usa" / "tick"
    source = open_source([folder / "ibm", folder / "spy"])
    last = count = 0
    for event in source.events():
        assert event.time >= last
        last = event.time
        count += 1
    assert count == source.audit().events
    assert source.audit().rows == 109_067 + 24_293 + 250_601


def test_days_of_one_series_follow_one_another(tmp_path: Path) -> None:
    paths = [write_day(tmp_path, day, [1, 2]) for day in ("20131009", "20131007", "20131008")]
    source = open_source(paths)
    times = [event.time for event in source.events()]
    assert times == sorted(times)
    assert len(times) == 6


def test_a_year_of_days_is_not_opened_at_once(tmp_path: Path) -> None:
    for month in range(1, 13):
        for day in range(1, 29):
            write_day(tmp_path, f"2013{month:02d}{day:02d}", [1])
    events = open_source([tmp_path]).events()
    before = len(os.listdir("/proc/self/fd"))
    next(events)
    assert len(os.listdir("/proc/self/fd")) - before <= 1
    assert sum(1 for _ in events) == 12 * 28 - 1


def test_equal_moments_keep_the_order_of_the_files(tmp_path: Path) -> None:
    b, a = (write_day(tmp_path, "20131007", [5, 5], symbol) for symbol in ("b", "a"))
    source = open_source([b, a])
    got = [(e.symbol, e.size) for e in source.events() if isinstance(e, Trade)]
    assert got == [("B", 0.0), ("B", 1.0), ("A", 0.0), ("A", 1.0)]


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    path = write_day(tmp_path, "20131007", [1])
    assert open_source([path, tmp_path, path]).audits().keys() == {path}


def test_short_path_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_day(tmp_path, "20131007", [1])
    monkeypatch.chdir(path.parent)
    source = open_source([Path(path.name)])
    assert source.name == path.name
    assert len(list(source.events())) == 1


def test_folder_may_hold_other_things(tmp_path: Path) -> None:
    write_day(tmp_path, "20131007", [1])
    (tmp_path / "README.md").write_text("words")
    (tmp_path / "BINANCE.0.gz").write_bytes(gzip.compress(b"words"))
    assert len(open_source([tmp_path]).audits()) == 1


def test_kinds_of_files_mix(tmp_path: Path, shared_data: Path) -> None:
    table = tmp_path / "x.csv"
    table.write_text("time,price\n1600000000,1.5\n")
    capture = shared_data / "wire" / "COINBASE.ws.28.0.gz"
    source = open_source([capture, table], SYMBOL)
    events = list(source.events())
    assert events[0].symbol == "X"
    assert len(events) == 1 + 183
    assert source.name == "2 files"
    assert source.audit().ignored["header"] == 1
    assert source.audit().unaccounted == 0


def test_gaps_of_a_capture_are_told(tmp_path: Path) -> None:
    frame = '{"e":"trade","s":"BNBBTC","t":%d,"p":"1","q":"1","T":1672515782136,"m":true}'
    path = tmp_path / "BINANCE.ws.1.0.gz"
    path.write_bytes(gzip.compress("".join(f"1.{n}: {frame % n}\n" for n in (1, 2, 5)).encode()))
    source = open_source([path])
    assert len(list(source.events())) == 3
    assert source.gaps == 1


def refused(paths: list[Path], table: TableMapping | None = None) -> str:
    with pytest.raises(ConfigError) as raised:
        open_source(paths, table)
    return str(raised.value)


def test_missing_path_is_named(tmp_path: Path) -> None:
    path = tmp_path / "gone.csv"
    assert refused([path]) == f"{path} does not exist"


def test_folder_with_nothing_says_what_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("words")
    message = refused([tmp_path])
    assert message.startswith(f"{tmp_path} holds no market data we know: LEAN zips as ")
    assert ".csv" in message


def test_unrecognised_file_says_what_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "GEMINI.ws.1.0.gz"
    path.write_bytes(b"")
    assert refused([path]).startswith(f"{path} is nothing we know: LEAN zips")


def test_no_path_at_all() -> None:
    assert "no path" in refused([])


def test_table_that_needs_a_mapping_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("time,price\n1600000000,1.5\n")
    assert "--columns symbol=COLUMN" in refused([path])


def test_damage_is_seen_before_anything_runs(tmp_path: Path) -> None:
    path = write_day(tmp_path, "20131007", [1])
    path.write_bytes(b"not a zip")
    with pytest.raises(DecodeError, match=r"20131007_trade.zip cannot be read"):
        open_source([tmp_path])


def test_source_can_be_read_again(tmp_path: Path) -> None:
    source: FileSource = open_source([write_day(tmp_path, "20131007", [1, 2])])
    assert list(source.events()) == list(source.events())
    assert source.audit().rows == 2
