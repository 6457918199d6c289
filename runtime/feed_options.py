"""Which options of the command line have a meaning together: the others are refused, not ignored.

Only what was asked for on this command line counts: a settings file may hold what other runs need.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from feeds.errors import ConfigError
from runtime.settings import FeedSettings

TAPES = ("replay", "synthetic")


class Option(NamedTuple):
    """How an option is called, whether it means something now, and where it does."""

    name: str
    has_meaning: bool
    belongs: str


def check_feed_options(asked: Mapping[str, Any], feed: FeedSettings) -> None:
    """Refuse an option that would be ignored.

    Args:
        asked: what the command line gave, by the names of FeedSettings; None was not given.
        feed: what came of it and of the settings file.

    Raises:
        ConfigError: in one sentence: the option, what it does not go with, and where it belongs.
    """
    own = feed.kind == "paper" and feed.url is None
    made_up = feed.kind == "synthetic" or (own and not feed.data)
    options = {
        "url": Option("--feed-url", feed.kind not in TAPES and not feed.is_ccxt, "a venue"),
        "data": Option("--data", own or feed.kind == "replay", "--feed replay and the paper venue"),
        "speed": Option("--speed", own or feed.kind in TAPES, "tapes and the paper venue"),
        "seed": Option("--seed", made_up, "the made-up market"),
        "rate": Option("--rate", made_up, "the made-up market"),
        "minutes": Option("--minutes", feed.kind == "synthetic", "--feed synthetic"),
        "normalization": Option("--data-normalization", bool(feed.data), "recorded data (--data)"),
        "table": Option("--columns", feed.kind == "replay", "--feed replay"),
    }
    for key, option in options.items():
        if _is_given(asked.get(key)) and not option.has_meaning:
            raise ConfigError(
                f"{option.name} means nothing with {_against(feed)}: it is for {option.belongs}"
            )


def _is_given(value: Any) -> bool:
    return any(map(_is_given, value.values())) if isinstance(value, dict) else value is not None


def _against(feed: FeedSettings) -> str:
    if feed.kind == "paper" and feed.url is not None:
        return "a venue that runs already (--feed-url)"
    if feed.kind == "paper" and feed.data:
        return "recorded data (--data) on the paper venue"
    return f"--feed {feed.kind}"
