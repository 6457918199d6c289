"""What a command line asks for is done or refused, never ignored."""

from typing import Any

import pytest

from feeds.errors import ConfigError
from runtime.feed_options import check_feed_options
from runtime.settings import load_settings

GIVEN: dict[str, Any] = {
    "url": "ws://127.0.0.1:1",
    "data": ["x.zip"],
    "speed": 2.0,
    "seed": 2,
    "rate": 5.0,
    "minutes": 5.0,
    "table": {"columns": {"time": "ts"}},
}
MEANING = {
    ("paper",): {"url", "data", "speed", "seed", "rate"},
    ("paper", "data"): {"speed"},
    ("paper", "url"): set(),
    ("replay", "data"): {"speed", "table"},
    ("synthetic",): {"speed", "seed", "rate", "minutes"},
    ("coinbase",): {"url"},
    ("ccxt:bitfinex",): set(),
}


def asked(kind: str, *keys: str) -> None:
    overrides = {"kind": kind, **{key: GIVEN[key] for key in keys}}
    check_feed_options(overrides, load_settings(None, {"feed": overrides})[0].feed)


@pytest.mark.parametrize("feed", MEANING, ids=" with ".join)
@pytest.mark.parametrize("key", GIVEN)
def test_an_option_without_a_meaning_is_refused(feed: tuple[str, ...], key: str) -> None:
    asked(*feed)
    if key in MEANING[feed] or key in feed:
        asked(*feed, key)
    else:
        with pytest.raises(ConfigError, match=r"^--\S+ means nothing with .*: it is for "):
            asked(*feed, key)


def test_what_was_not_given_is_not_asked_for() -> None:
    nothing = dict.fromkeys(GIVEN) | {"table": {"columns": None}}
    check_feed_options(nothing, load_settings(None, {})[0].feed)
