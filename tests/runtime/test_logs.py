"""Log lines leave without holding anybody up, and each is one line, whatever is in it."""

import errno
import io
import json
import os
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.errors import ConfigError
from runtime.control import sinks
from runtime.control.board import LogPlace
from runtime.control.logs import open_log
from runtime.control.rotation import LogFile
from runtime.control.sinks import Sink, Sinks, file_sink
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
    monkeypatch.setattr(sinks, "DRAIN_SECONDS", 0.01)
    monkeypatch.setattr(sinks, "QUEUE_LINES", 100)
    reader, writer = os.pipe()
    stream = os.fdopen(writer, "w", encoding="utf-8")

    def write(line: str) -> None:
        stream.write(line)
        stream.flush()

    lines = Sinks([sink := Sink("pipe", write)])
    long = "x" * 65_536  # a pipe's whole buffer
    for _ in range(1000):
        sink.put(long)
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


def test_a_place_that_blocks_holds_up_no_other_place_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal that was suspended with Ctrl-S: the file goes on."""
    monkeypatch.setattr(sinks, "STUCK_NS", 0)
    monkeypatch.setattr(sinks, "DRAIN_SECONDS", 10.0)
    reader, writer = os.pipe()

    def read_all() -> None:
        while os.read(reader, 1 << 20):
            pass
        os.close(reader)

    file = tmp_path / "run.log"
    with os.fdopen(writer, "w", encoding="utf-8") as stream:
        settings = LogSettings(format="json", file=str(file), repeats=0)
        with open_log(settings, stream) as (log, places):
            for n in range(200):
                log.info("x" * 8192, n=n)
            while (found := places.statistics())[1].written < 200:
                time.sleep(0)
            assert [(place.place, place.dropped) for place in found] == [("stdout", 0), ("file", 0)]
            assert found[0].written < 10
            assert found[0].trouble.startswith("it has not taken a line for")
            assert len(file.read_text().splitlines()) == 200
            at_last = threading.Thread(target=read_all)
            at_last.start()
            assert places.close()
    at_last.join()


def test_the_count_of_dropped_lines_is_told_in_the_next_that_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sinks, "QUEUE_LINES", 3)
    go, busy, written = threading.Event(), threading.Event(), list[str]()

    def write(line: str) -> None:
        busy.set()
        assert go.wait(10)
        written.append(line.rstrip())

    lines = Sinks([sink := Sink("slow", write)])
    sink.put("taken")
    assert busy.wait(10)
    for number in range(8):
        sink.put(str(number))
    assert lines.dropped == 5
    go.set()
    while len(written) < 4:
        assert busy.wait(10)
    sink.put("after")
    assert lines.close()
    assert written == ["taken", "0", "1", "2", written[4], "after"]
    assert json.loads(written[4]) == {"event": "log lines dropped", "count": 5}


def test_warnings_have_room_where_others_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "QUEUE_LINES", 3)
    monkeypatch.setattr(sinks, "GRAVE_LINES", 4)
    blocked, written = threading.Event(), list[str]()

    def write(line: str) -> None:
        assert blocked.wait(10)
        written.append(line)

    sink = Sink("slow", write)
    for n in range(20):
        sink.put(f"info {n}")
    for n in range(4):
        sink.put(f"warning {n}", grave=True)
    blocked.set()
    sink.end()
    assert sink.wait(10)
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

    def closed(line: str) -> None:
        raise ValueError("I/O operation on closed file")

    full = file_sink(LogFile(Path("/dev/full")), "full")
    lines = Sinks([full, Sink("closed", closed), Sink("good", good.append)])
    for number in range(3):
        for sink in lines:
            sink.put(str(number))
    assert lines.close()
    assert {place.place: (place.dropped, place.trouble) for place in lines.statistics()} == {
        "full": (3, "No space left on device"),
        "closed": (3, "I/O operation on closed file"),
        "good": (0, ""),
    }
    assert lines.dropped == 6
    assert good == ["0\n", "1\n", "2\n"]


def test_trouble_ends_with_a_line_that_is_written() -> None:
    errors = [OSError(errno.ENOSPC, "No space left on device")]

    def write(_: str) -> None:
        if errors:
            raise errors.pop()

    sink = Sink("disk", write)
    sink.put("lost")
    while not (found := sink.statistics()).trouble:
        time.sleep(0)
    assert (found.written, found.dropped) == (0, 1)
    sink.put("kept")
    sink.end()
    assert sink.wait(10)
    assert sink.statistics() == LogPlace("disk", 2, 1)  # the count, and the line


def test_a_log_file_that_blocks_does_not_hold_up_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A named pipe whose reader sleeps: closing the file would wait for the writer for ever."""
    monkeypatch.setattr(sinks, "DRAIN_SECONDS", 0.05)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    settings = LogSettings(file=str(pipe), format="json", repeats=0)
    with open_log(settings, io.StringIO()) as (log, writer):
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


# ---- what changes while the run goes on ------------------------------------------------------


def test_the_level_may_change_at_any_time_also_for_loggers_that_are_there() -> None:
    stream = io.StringIO()
    with open_log(LogSettings(format="json"), stream) as (log, places):
        bound = log.bind(job="fit-1")
        bound.debug("before")
        places.least = 10
        bound.debug("after")
        places.least = 40
        bound.warning("quiet")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["after"]


def test_a_file_that_was_moved_away_is_opened_anew(tmp_path: Path) -> None:
    file, moved = tmp_path / "run.log", tmp_path / "yesterday.log"
    with open_log(LogSettings(format="json", file=str(file)), io.StringIO()) as (log, places):
        log.info("first")
        while places.statistics()[1].written < 1:
            time.sleep(0)
        file.rename(moved)
        log.info("second")
        places.reopen()
        log.info("third")
    assert [json.loads(line)["event"] for line in moved.read_text().splitlines()] == [
        "first",
        "second",
    ]
    assert [json.loads(line)["event"] for line in file.read_text().splitlines()] == ["third"]


def test_a_terminal_has_text_and_the_file_json_without_colours(tmp_path: Path) -> None:
    file = tmp_path / "run.log"
    stream = Terminal()
    with open_log(LogSettings(file=str(file)), stream) as (log, _):
        log.warning("fill", price=Decimal("1.5"))
    assert "\x1b[" in stream.getvalue()
    assert json.loads(file.read_text())["price"] == "1.5"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_who_wants_no_colours_gets_none(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    stream = Terminal()
    with open_log(LogSettings(), stream) as (log, _):
        log.warning("fill")
    assert "\x1b" not in stream.getvalue()
    assert "fill" in stream.getvalue()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_same_line_over_and_over_is_counted() -> None:
    tapped: list[str] = []
    stream = io.StringIO()
    settings = LogSettings(format="json", repeats=3)
    with open_log(settings, stream, tap=lambda _, event, __: tapped.append(event)) as (log, _):
        for n in range(50):
            log.warning("refused", reason="no")
            log.info("other", n=n)
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len([line for line in found if line["event"] == "other"]) == 50
    said = len([line for line in found if line["event"] == "refused"])
    counted = sum(line["count"] for line in found if line["event"] == "the same line came again")
    assert said + counted == 50
    assert counted >= 40 or said > 3  # more than one second may have passed
    assert tapped == [line["event"] for line in found]


def test_an_exception_shows_no_values_of_variables() -> None:
    def fail() -> None:
        key = "swordfish-0042"
        raise RuntimeError(f"of {len(key)} letters")

    for settings in (JSON, TEXT):
        stream = io.StringIO()
        with open_log(settings, stream) as (log, _):
            try:
                fail()
            except RuntimeError as error:
                log.error("failed", exc_info=error)
        assert "RuntimeError: of 14 letters" in stream.getvalue()
        assert "0042" not in stream.getvalue().replace('key = "swordfish-0042"', "")
