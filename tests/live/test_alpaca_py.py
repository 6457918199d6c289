"""Alpaca's own SDK on our venue: whatever it subscribes to arrives as it wants it.

The SDK is no dependency of ours: the tests are skipped where it is absent.
"""

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from feeds.events import MINUTE, Aggressor, MarketEvent, Quote, Symbol, Trade
from feeds.venue.bars import MinuteBars
from tests.live.venue_kit import AAPL, BTC, CREDENTIALS, START, ListTape, serving

sdk: Any = pytest.importorskip(
    "alpaca.data.live", reason="alpaca-py is not installed: pip install alpaca-py to try it"
)
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
CHANNELS = ("trades", "quotes", "bars", "daily_bars", "updated_bars")


def tape(symbol: Symbol) -> ListTape:
    """Trades and quotes of three minutes, the last of them open at the end."""
    events: list[MarketEvent] = []
    for n in range(150):
        time = START + n * MINUTE // 50
        events += (
            Quote(symbol, time, time, 100.0, 1.0, 100.5, 2.0),
            Trade(symbol, time, time, 100.0 + n % 3, 2.0, str(n + 1), Aggressor.BUYER),
        )
    return ListTape(events)


@pytest.mark.parametrize(
    ("stream", "path", "symbol"),
    [("StockDataStream", "/v2/iex", AAPL), ("CryptoDataStream", "/v1beta3/crypto/us", BTC)],
)
async def test_every_channel_arrives(stream: str, path: str, symbol: Symbol) -> None:
    heard: dict[str, list[Any]] = {name: [] for name in CHANNELS}
    over = anyio.Event()

    def into(name: str) -> Callable[[Any], Any]:
        async def handle(item: Any) -> None:
            heard[name].append(item)
            if len(heard["trades"]) == 150:
                over.set()

        return handle

    with anyio.fail_after(30):
        async with (
            serving(MinuteBars(tape(symbol)), speed=None) as venue,
            anyio.create_task_group() as tasks,
        ):
            client = getattr(sdk, stream)(
                CREDENTIALS.key, CREDENTIALS.secret, url_override=venue.url + path
            )
            for name in CHANNELS:
                getattr(client, f"subscribe_{name}")(into(name), symbol)
            tasks.start_soon(client._run_forever)
            await over.wait()
            await client.stop_ws()
            tasks.cancel_scope.cancel()
    assert len(heard["quotes"]) == 150
    assert [bar.trade_count for bar in heard["bars"]] == [50, 50]
    assert [bar.volume for bar in heard["bars"]] == [100.0, 100.0]
    assert [day.volume for day in heard["daily_bars"]] == [100.0, 200.0]
    assert all(100.0 <= bar.vwap <= 102.0 for bar in heard["bars"])
    assert [trade.id for trade in heard["trades"]] == list(range(1, 151))
    assert heard["trades"][0].timestamp.timestamp() * 10**9 == START
