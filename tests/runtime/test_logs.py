"""Log lines leave without holding anybody up, and each is one line, whatever is in it."""

import errno
import io
import json
import os
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.errors import ConfigError
from runtime.control import logs
from runtime.control.logs import LineWriter, open_log
from runtime.settings import LogSettings
from runtime.trading.orders import Side

JSON, TEXT = LogSettings(format="json"), LogSettings(format="text")


def said(settings: LogSettings, say: Callable[[Any], object]) -> list[str]:
    stream = io.StringIO()
    with open_log(settings, stream) as (log, _):
        say(log)
    return stream.getvalue().splitlines()


def test_json_lines_hold_event_level_time_and_fields() -> None:
    (line,) = said(JSON, lambda log: log.bind(run="r").warning("fill", price=Decimal("1.10")))
    found = json.loads(line)
    assert found.pop("timestamp").endswith("Z")
    assert found == {"event": "fill", "level": "warning", "run": "r", "price": "1.10"}


def test_text_shows_values_as_people_write_them() -> None:
    def say(log: Any) -> None:
        log.bind(run="r").info("fill", price=Decimal("1.10"), side=Side.BUY, n=3)

    (line,) = said(TEXT, say)
    assert "fill" in line
    assert line.endswith("price=1.10 side=buy n=3")
    assert "run=" not in line
    assert "\x1b" not in line  # no colours where it is no terminal


def test_auto_is_json_where_it_is_no_terminal() -> None:
    (line,) = said(LogSettings(), lambda log: log.info("x"))
    assert json.loads(line)["event"] == "x"


def test_levels_below_the_one_asked_for_are_silent() -> None:
    def say(log: Any) -> None:
        for level in ("debug", "info", "warning", "error"):
            getattr(log, level)(level)

    found = said(LogSettings(level="warning", format="json"), say)
    assert [json.loads(line)["event"] for line in found] == ["warning", "error"]


NASTY = "a\nb\rc\x1b[31m\x00\u2028\x85d"


@pytest.mark.parametrize("settings", [JSON, TEXT])
def test_control_characters_and_newlines_stay_in_one_line(settings: LogSettings) -> None:
    class Odd:
        def __repr__(self) -> str:
            return NASTY

    def say(log: Any) -> None:
        log.info(NASTY, text=NASTY, odd=Odd(), many=[NASTY], table=np.zeros((3, 3)))

    stream = io.StringIO()
    with open_log(settings, stream) as (log, _):
        say(log)
    text = stream.getvalue()
    assert text.endswith("\n")
    assert text[:-1].isprintable()


@pytest.mark.parametrize("settings", [JSON, TEXT])
@given(event=st.text(), value=st.text() | st.floats() | st.binary() | st.lists(st.text()))
def test_every_event_is_one_line(settings: LogSettings, event: str, value: object) -> None:
    lines: list[str] = []
    stream = io.StringIO()
    with open_log(settings, stream) as (log, _):
        log.info(event, value=value)
    lines = stream.getvalue().split("\n")
    assert len(lines) == 2
    assert lines[0].isprintable()


@pytest.mark.parametrize("settings", [JSON, TEXT])
def test_a_value_that_cannot_be_shown_does_not_raise(settings: LogSettings) -> None:
    class Mute:
        def __repr__(self) -> str:
            raise RuntimeError("not today")

    endless: list[object] = []
    endless.append(endless)
    values = [Mute(), [Mute()], {("a", "b"): 1}, {1: Mute()}, endless, float("nan"), object()]
    for value in values:
        (line,) = said(settings, lambda log, v=value: log.info("x", value=v))  # type: ignore[misc]  # bound now
        assert "x" in line


@pytest.mark.parametrize("settings", [JSON, TEXT])
@pytest.mark.parametrize("key", ["exception", "stack", "exc_info", "logger", "level", "traceback"])
@pytest.mark.parametrize("value", [3, "text", ValueError("x"), None])
def test_a_field_may_have_any_name(settings: LogSettings, key: str, value: object) -> None:
    assert any(
        "said" in line for line in said(settings, lambda log: log.info("said", **{key: value}))
    )


def test_json_is_strict() -> None:
    """No NaN, which most readers of JSON refuse."""
    (line,) = said(JSON, lambda log: log.info("x", value=float("nan"), other=float("inf")))

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    assert json.loads(line, parse_constant=refuse)["value"] == "nan"


def test_lines_go_to_the_file_too(tmp_path: Path) -> None:
    file = tmp_path / "run.log"
    for word in ("first", "second"):
        said(LogSettings(format="json", file=str(file)), lambda log, w=word: log.info(w))  # type: ignore[misc]  # bound now
    found = [json.loads(line)["event"] for line in file.read_text().splitlines()]
    assert found == ["first", "second"]


@pytest.mark.parametrize("place", ["none/run.log", "."])
def test_a_file_that_cannot_be_opened_is_a_setting_that_is_wrong(
    tmp_path: Path, place: str
) -> None:
    threads = threading.active_count()
    with (
        pytest.raises(ConfigError, match=r"^log.file is .*: (No such file|Is a directory)"),
        open_log(LogSettings(file=str(tmp_path / place)), io.StringIO()),
    ):
        pass
    assert threading.active_count() == threads


# ---- streams that fail -----------------------------------------------------------------------


def test_a_pipe_that_nobody_reads_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """put() returns, what does not fit is counted, close() returns; later the count is told."""
    monkeypatch.setattr(logs, "DRAIN_SECONDS", 0.01)
    monkeypatch.setattr(logs, "QUEUE_LINES", 100)
    reader, writer = os.pipe()
    stream = os.fdopen(writer, "w", encoding="utf-8")

    def write(line: str) -> None:
        stream.write(line)
        stream.flush()

    lines = LineWriter([write])
    long = "x" * 65_536  # a pipe's whole buffer
    for _ in range(1000):
        lines.put(long)
    assert 1000 - 110 <= lines.dropped <= 1000 - 90
    dropped = lines.dropped
    assert not lines.close()
    # Somebody reads at last.
    found = b""
    while not found.endswith(b"x\n") or found.count(b"\n") < 1000 - dropped:
        found += os.read(reader, 1 << 20)
    assert lines.close()
    stream.close()
    os.close(reader)


def test_the_count_of_dropped_lines_is_told_in_the_next_that_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logs, "QUEUE_LINES", 3)
    go, busy, written = threading.Event(), threading.Event(), list[str]()

    def write(line: str) -> None:
        busy.set()
        assert go.wait(10)
        written.append(line.rstrip())

    lines = LineWriter([write])
    lines.put("taken")
    assert busy.wait(10)
    for number in range(8):
        lines.put(str(number))
    assert lines.dropped == 5
    go.set()
    while len(written) < 4:
        assert busy.wait(10)
    lines.put("after")
    assert lines.close()
    assert written == ["taken", "0", "1", "2", written[4], "after"]
    assert json.loads(written[4]) == {"event": "log lines dropped", "count": 5}


def test_warnings_have_room_where_others_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "QUEUE_LINES", 3)
    monkeypatch.setattr(logs, "GRAVE_LINES", 4)
    blocked, written = threading.Event(), list[str]()

    def write(line: str) -> None:
        assert blocked.wait(10)
        written.append(line)

    writer = LineWriter([write])
    for n in range(20):
        writer.put(f"info {n}")
    for n in range(4):
        writer.put_grave(f"warning {n}")
    blocked.set()
    writer.close()
    told = [line.strip() for line in written if "warning" in line]
    assert len([line for line in told if line.startswith("warning")]) >= 3
    assert any("dropped" in line for line in written)


@pytest.mark.parametrize("settings", [JSON, TEXT])
@pytest.mark.parametrize(
    "value",
    [
        "x" * 10_000_000,
        list(range(1_000_000)),
        {n: n for n in range(1_000_000)},
        [["y" * 1000] * 1000] * 1000,
        b"z" * 10_000_000,
        10**100_000,
        np.zeros(10_000_000),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_too_large_for_a_line_is_cut(settings: LogSettings, value: object) -> None:
    (line,) = said(settings, lambda log: log.info("big", value=value, small=1))
    assert len(line) < 100_000
    assert "small" in line


def test_a_full_disk_or_a_closed_pipe_is_counted_and_the_others_get_their_lines() -> None:
    good: list[str] = []

    def full(line: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def closed(line: str) -> None:
        raise ValueError("I/O operation on closed file")

    lines = LineWriter([full, closed, good.append])
    for number in range(3):
        lines.put(str(number))
    assert lines.close()
    assert lines.dropped == 6
    assert [line for line in good if "dropped" not in line] == ["0\n", "1\n", "2\n"]


def test_a_log_file_that_blocks_does_not_hold_up_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A named pipe whose reader sleeps: closing the file would wait for the writer for ever."""
    monkeypatch.setattr(logs, "DRAIN_SECONDS", 0.05)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with open_log(LogSettings(file=str(pipe), format="json"), io.StringIO()) as (log, writer):
        for _ in range(40):
            log.info("x" * 8192)
    os.set_blocking(reader, True)
    found = b""
    while found.count(b"\n") < 40:
        found += os.read(reader, 1 << 20)
    assert writer.close()
    os.close(reader)


def test_a_message_that_the_stream_has_no_letters_for_is_counted() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    with open_log(TEXT, stream) as (log, writer):
        log.info("naïve")
        log.info("plain")
    assert writer.dropped == 1
    assert b"plain" in raw.getvalue()
