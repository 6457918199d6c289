"""Which broker goes with which run: what makes no sense is refused in one sentence."""

from typing import Any

import msgspec
import pytest

from runtime.brokers import check_broker
from runtime.errors import ConfigError
from runtime.settings import Settings


def settings(**tables: Any) -> Settings:
    return msgspec.convert(tables, Settings)


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"trading": {"url": "http://127.0.0.1:1"}}, "trading.url means nothing with --broker"),
        ({"trading": {"account": "PA1"}}, "trading.account means nothing with --broker paper"),
        ({"trading": {"broker": "alpaca", "ccxt": {"apiKey": "k"}}}, "it is for ccxt:NAME"),
        ({"trading": {"broker": "ccxt:kraken", "url": "https://x"}}, "means nothing with"),
        ({"trading": {"broker": "alpaca"}, "feed": {"kind": "replay"}}, "data of the moment"),
        ({"trading": {"broker": "alpaca"}, "feed": {"speed": 2.0}}, "data of the moment"),
        ({"trading": {"broker": "alpaca"}, "persist": False}, "needs the journal"),
        ({"trading": {"broker": "ccxt:kraken"}, "persist": False}, "needs the journal"),
        (
            {"trading": {"broker": "alpaca"}, "feed": {"url": "ws://127.0.0.1:1"}},
            "needs --trading-url",
        ),
        (
            {"trading": {"broker": "alpaca", "url": "https://api.alpaca.markets"}},
            "trades real money: give the account's number",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(tables: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_broker(settings(**tables))


@pytest.mark.parametrize(
    "tables",
    [
        {},
        {"trading": {"broker": "alpaca"}},
        {"trading": {"broker": "alpaca"}, "feed": {"kind": "alpaca"}},
        {"trading": {"broker": "alpaca", "url": "https://api.alpaca.markets", "account": "1"}},
        {"trading": {"broker": "ccxt:kraken"}, "feed": {"kind": "kraken"}},
    ],
)
def test_what_makes_sense_passes(tables: dict[str, Any]) -> None:
    check_broker(settings(**tables))
