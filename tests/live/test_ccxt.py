"""ccxt as a feed: its own client of Alpaca, on our venue, through cuts and refusals.

ccxt is an extra that the lock does not hold: the tests are skipped where it is absent.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import anyio
import msgspec
import pytest

from feeds.base import Subscription
from feeds.ccxt_feed import CcxtFeed
from feeds.errors import ConfigError, FeedError, VenueRefused
from feeds.events import AssetClass, FeedState, Gap, Quote, Status, Symbol, Trade
from feeds.session import ConnectionSettings
from feeds.venue.account_options import AccountOptions
from feeds.venue.process import EmbeddedVenue, VenueOptions, embedded_venue
from tests.live.venue_kit import Listener
from tests.venues.faults import Fault, FaultProxy

ccxt: Any = pytest.importorskip("ccxt.pro", reason="needs the extra tidegate[ccxt]")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
BTC, ETH = Symbol("BTC/USD"), Symbol("ETH/USD")
HASTY = ConnectionSettings(
    backoff=timedelta(milliseconds=10), backoff_cap=timedelta(milliseconds=50)
)


def wanted(*symbols: Symbol) -> list[Subscription]:
    return [Subscription(symbol, AssetClass.CRYPTO) for symbol in symbols]


def options(venue: EmbeddedVenue, port: int | None = None) -> dict[str, Any]:
    """Point ccxt's Alpaca at our venue; its stream through another port."""
    rest = venue.trading_url
    stream = venue.url if port is None else f"ws://127.0.0.1:{port}"
    api = {
        **dict.fromkeys(("trader", "market", "broker"), rest),
        "ws": {"crypto": f"{stream}/v1beta3/crypto/us", "trading": f"{stream}/stream"},
    }
    return {"apiKey": venue.key, "secret": venue.secret, "urls": {"api": api}}


@asynccontextmanager
async def a_venue() -> AsyncIterator[EmbeddedVenue]:
    async with embedded_venue(VenueOptions(rate=50.0, account=AccountOptions())) as venue:
        yield venue


async def test_trades_and_quotes_come_and_symbols_are_added_and_taken_out() -> None:
    listener = Listener()
    with anyio.fail_after(50):
        async with a_venue() as venue, anyio.create_task_group() as tasks:
            feed = CcxtFeed("alpaca", options=options(venue), settings=HASTY)
            tasks.start_soon(feed.run, wanted(BTC), listener.deliver)
            await listener.until(lambda: len(listener.of(Trade)) > 20)
            await listener.until(lambda: len(listener.of(Quote)) > 20)
            feed.subscribe(wanted(ETH, Symbol("NOPE/USD")))
            await listener.until(lambda: any(t.symbol == ETH for t in listener.of(Trade)))
            feed.unsubscribe([ETH])
            tasks.cancel_scope.cancel()
    ids = [(t.symbol, t.trade_id) for t in listener.of(Trade)]
    assert len(ids) == len(set(ids))
    assert all(abs(t.time - t.received) < 60e9 for t in listener.of(Trade))
    assert all(quote.is_sane for quote in listener.of(Quote))
    assert listener.states[:2] == [FeedState.CONNECTING, FeedState.LIVE]
    assert "NOPE/USD: ccxt:alpaca does not serve it" in [s.detail for s in listener.of(Status)]
    assert feed.statistics().malformed == 0
    assert feed.statistics().events == len(listener.of(Trade)) + len(listener.of(Quote))


async def test_a_cut_is_told_and_the_feed_comes_back() -> None:
    listener = Listener()
    with anyio.fail_after(50):
        async with a_venue() as venue:
            port = int(venue.url.rpartition(":")[2])
            async with (
                FaultProxy(port, 1, [Fault.RESET]).listening() as proxy,
                anyio.create_task_group() as tasks,
            ):
                proxy.calm = True
                feed = CcxtFeed("alpaca", options=options(venue, proxy.port), settings=HASTY)
                tasks.start_soon(feed.run, wanted(BTC), listener.deliver)
                await listener.until(lambda: len(listener.of(Trade)) > 5)
                for writer in proxy.open:
                    writer.transport.abort()
                await listener.until_state(FeedState.LIVE, 2)
                seen = len(listener.of(Trade))
                await listener.until(lambda: len(listener.of(Trade)) > seen + 5)
                tasks.cancel_scope.cancel()
    assert FeedState.DISCONNECTED in listener.states
    gaps = listener.of(Gap)
    assert {gap.symbol for gap in gaps} == {BTC}
    assert all(gap.start <= gap.end for gap in gaps)
    assert feed.statistics().reconnects == 1


async def test_a_symbol_that_the_venue_does_not_have_ends_the_start_in_one_sentence() -> None:
    with anyio.fail_after(50):
        async with a_venue() as venue:
            feed = CcxtFeed("alpaca", options=options(venue))
            with pytest.raises(VenueRefused, match="ccxt:alpaca does not serve NOPE/USD"):
                await feed.run(wanted(Symbol("NOPE/USD")), Listener().deliver)


async def test_nobody_there_is_one_sentence() -> None:
    api = dict.fromkeys(("trader", "market", "broker"), "http://127.0.0.1:1")
    settings = msgspec.structs.replace(HASTY, connect_timeout=timedelta(seconds=5))
    keys = {"apiKey": "k", "secret": "s", "urls": {"api": api}}
    feed = CcxtFeed("alpaca", options=keys, settings=settings)
    with anyio.fail_after(30), pytest.raises(FeedError) as error:
        await feed.run(wanted(BTC), Listener().deliver)
    assert str(error.value).startswith("no live feed from ccxt:alpaca: ")
    assert "127.0.0.1:1" in str(error.value)
    assert not {"\n", "?"} & set(str(error.value))


@pytest.mark.parametrize(
    ("venue", "words"), [("nope", "ccxt has no streams of 'nope'"), ("", "ccxt has no streams")]
)
def test_a_name_that_ccxt_does_not_know_is_one_sentence(venue: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        CcxtFeed(venue)
