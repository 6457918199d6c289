"""Settings: what is read, what is refused, and in which words."""

from pathlib import Path

import pytest

from feeds.errors import ConfigError
from feeds.events import MINUTE
from runtime.settings import Settings, load_settings


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_without_a_file_the_defaults_stand() -> None:
    settings, ignored = load_settings(None, {})
    assert settings == Settings()
    assert ignored == []
    assert settings.training.bucket() == (120, 18, 1440 * MINUTE)
    assert settings.feed.kind == "paper"


def test_the_command_line_wins_over_the_file_and_none_does_not_count(tmp_path: Path) -> None:
    path = written(tmp_path, "a.toml", "[feed]\nseed = 5\nrate = 30.0\n")
    settings, _ = load_settings(path, {"feed": {"seed": 7, "rate": None}})
    assert (settings.feed.seed, settings.feed.rate) == (7, 30.0)


def test_a_new_capacity_brings_its_own_refill() -> None:
    settings, _ = load_settings(None, {"training": {"capacity": 30}})
    assert settings.training.bucket()[:2] == (30, 5)


def test_lean_keys_are_accepted_and_its_others_reported(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "config.json",
        """{"environment-name": "x", "scheduled-event-leaky-bucket-capacity": 60,
            "scheduled-event-leaky-bucket-refill-amount": "10",
            "scheduled-event-leaky-bucket-time-interval-minutes": 720,
            "algorithm-manager-time-loop-maximum": "0.5"}""",
    )
    settings, ignored = load_settings(path, {})
    assert settings.engine.timeslice_minutes == 0.5
    assert settings.training.bucket() == (60, 10, 720 * MINUTE)
    assert ignored == ["environment-name"]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.toml", "[training]\ncapcity = 3\n", ["training.capcity", "training.capacity"]),
        ("a.toml", "colour = 3\n", ["unknown key colour", "known:"]),
        ("a.toml", '[training]\ncapacity = "many"\n', ["training.capacity", "'many'", "int"]),
        ("a.toml", "training = 3\n", ["training", "table"]),
        ("a.toml", "[feed\n", ["a.toml", "not valid TOML"]),
        ("a.json", "[1]", ["a.json", "list"]),
        ("a.json", "{", ["a.json", "not valid JSON"]),
        ("a.toml", "[training]\nrefill_amount = 200\n", ["refill_amount is 200", "120"]),
        ("a.toml", "[training]\npreset = 'huge'\n", ["'huge'", "lean-local"]),
        ("a.toml", "[training]\npolicy = 'wait'\n", ["training.policy", "wait"]),
        ("a.toml", "time_zone = 'Mars/Olympus'\n", ["Mars/Olympus", "IANA"]),
        ("a.toml", "[engine]\npending_bound = 0\n", ["engine.pending_bound is 0"]),
        ("a.toml", "[engine]\ntimeslice_minutes = 0.0\n", ["engine.timeslice_minutes is 0"]),
        ("a.toml", "[engine]\nhung_callback_seconds = nan\n", ["engine.hung_callback_seconds"]),
        (
            "a.json",
            '{"algorithm-manager-time-loop-maximum": "ten"}',
            ["timeslice_minutes is 'ten'"],
        ),
        ("a.toml", "feed = 3\n", ["a.toml: feed is 3: a table is needed"]),
        ("a.json", '{"training": 5}', ["training is 5: a table is needed"]),
        ("a.toml", "[log]\nlevel = 'DEBUG'\n", ["'DEBUG'", "debug, info, warning, error"]),
        ("a.toml", "[feed]\nminutes = 1e300\n", ["feed.minutes", "at most 10000000"]),
        ("a.toml", "[feed]\nrate = -1.0\n", ["feed.rate is -1"]),
        ("a.toml", "[feed]\nspeed = nan\n", ["feed.speed is nan"]),
        ("a.toml", "[trading]\ncash = inf\n", ["trading.cash is inf"]),
        ("a.toml", "[trading]\ncurrency = 'E!'\n", ["trading.currency is 'E!'", "such as EUR"]),
    ],
)
def test_a_mistake_is_one_sentence_with_its_place(
    tmp_path: Path, name: str, text: str, words: list[str]
) -> None:
    path = written(tmp_path, name, text)
    with pytest.raises(ConfigError) as caught:
        load_settings(path, {})
    message = str(caught.value)
    assert "\n" not in message
    assert name in message
    for word in words:
        assert word in message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_settings(tmp_path / "none.toml", {})


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_settings(path, {})
