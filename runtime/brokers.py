"""Which broker a run trades with, made of its settings: paper in this process, or at a venue."""

from decimal import Decimal
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import anyio
from structlog.typing import FilteringBoundLogger

from feeds.backoff import Backoff
from feeds.events import SECOND
from feeds.venue.account_options import AccountOptions
from runtime.clock import SteadyClock
from runtime.deployment import Deployment
from runtime.errors import ConfigError, FeedError
from runtime.settings import TAPES, Settings
from runtime.sources import Credentials, Opened
from runtime.trading.account import Account
from runtime.trading.alpaca import LIVE_HOST, PAPER_URL, AlpacaLine
from runtime.trading.ccxt_line import CcxtLine
from runtime.trading.paper import PaperBroker
from runtime.trading.parts import make_broker
from runtime.trading.portfolio import Portfolio
from runtime.trading.reconciler import Reconciler
from runtime.trading.remote import (
    Holdings,
    KeyRefused,
    Line,
    NoAnswer,
    RemoteBroker,
    open_account,
)
from runtime.trading.settings import TradingSettings

VENUE_FILE = "venue.db"
REACH_SECONDS = 30.0
MEMORY = 3600 * SECOND
"""How long before the last row of the journal somebody else's orders may have been missed."""


def check_broker(settings: Settings) -> None:
    """Refuse a broker at a venue for a run that could not trade there.

    Raises:
        ConfigError: in one sentence, why.
    """
    trading, feed = settings.trading, settings.feed
    if trading.broker != "alpaca":
        for name in ("url", "account"):
            if getattr(trading, name) is not None:
                raise ConfigError(f"trading.{name} means nothing with --broker {trading.broker}")
    if trading.ccxt and not trading.ccxt_venue:
        raise ConfigError(
            f"trading.ccxt means nothing with --broker {trading.broker}: it is for ccxt:NAME"
        )
    if trading.broker == "paper":
        return
    if feed.kind in TAPES or feed.follows_venue:
        raise ConfigError(
            f"--broker {trading.broker} needs data of the moment: a tape is filled on paper"
        )
    if not settings.persists:
        raise ConfigError(
            f"--broker {trading.broker} needs the journal: leave --no-persist out, or use "
            "--broker paper"
        )
    if trading.broker != "alpaca":
        return
    if trading.url is None and feed.kind == "paper" and feed.url is not None:
        raise ConfigError(
            f"--broker {trading.broker} needs --trading-url: {feed.url} is for data only"
        )
    host = urlsplit(trading.url or "").hostname
    if host == LIVE_HOST and trading.account is None:
        raise ConfigError(
            f"{host} trades real money: give the account's number as trading.account too"
        )


def venue_account(settings: Settings, folder: Path) -> AccountOptions | None:
    """Return what account an embedded venue keeps: in the deployment's folder, where it is used."""
    trading = settings.trading
    if trading.broker != "alpaca" or trading.url is not None:
        return None
    return AccountOptions(str(folder / VENUE_FILE), Decimal(str(trading.cash)))


async def open_broker(
    settings: Settings,
    opened: Opened,
    credentials: Credentials | None,
    deployment: Deployment,
    log: FilteringBoundLogger,
) -> PaperBroker | RemoteBroker:
    """Make the broker; at a venue, look at the account that a new deployment begins with.

    Raises:
        ConfigError: the venue does not know the key, or the account is another one.
        FeedError: the venue does not answer, and there is no journal to begin with.
    """
    trading, account = settings.trading, deployment.account
    if account is not None and account.recovered.cash is not None:
        kept = account.recovered.holder.partition(" ")[0]
        if kept != trading.broker:
            raise ConfigError(
                f"the journal in {deployment.path} is of --broker {kept}: give a run with --broker "
                f"{trading.broker} another --name"
            )
    if trading.broker == "paper":
        return make_broker(trading)
    line = await anyio.to_thread.run_sync(_line, trading, opened, credentials)
    now = SteadyClock().now
    since = now()
    if account is not None:
        account.holder = trading.broker
        await _look_at(line, account, trading.account, log)
        if account.recovered.cash is not None:
            since = account.recovered.latest - MEMORY
    return RemoteBroker(
        line,
        Reconciler(round(trading.acceptance_seconds * SECOND)),
        log,
        now,
        period=trading.reconcile_seconds,
        since=since,
    )


def _line(trading: TradingSettings, opened: Opened, credentials: Credentials | None) -> Line:
    """Make the line to the venue; on a worker thread, as its imports take their time."""
    if trading.ccxt_venue:
        keys = {}
        if trading.ccxt_venue == "alpaca" and credentials is not None:
            keys = {"apiKey": credentials.key, "secret": credentials.secret}
        return CcxtLine(trading.ccxt_venue, {**keys, **trading.ccxt})
    url, own = trading.url or PAPER_URL, credentials
    if trading.url is None and opened.venue is not None:
        url = opened.venue.trading_url
        own = Credentials(opened.venue.key, opened.venue.secret)
    if own is None:
        raise ConfigError(f"{url} needs a key: set APCA_API_KEY_ID and APCA_API_SECRET_KEY")
    return AlpacaLine(url, own.key, own.secret)


async def _look_at(
    line: Line, account: Account, number: str | None, log: FilteringBoundLogger
) -> None:
    """Check the account, and take a new deployment's opening from it; wait while it is away."""
    trouble = "no answer"
    is_new = account.recovered.cash is None
    backoff = Backoff(Random().random, base=SECOND // 4, cap=2 * SECOND)
    async with line.open():
        with anyio.move_on_after(REACH_SECONDS):
            while True:
                try:
                    if isinstance(line, AlpacaLine):
                        await _check_number(line, account, number, log)
                    if is_new:
                        account.opening = await open_account(line, SteadyClock().now)
                    return
                except KeyRefused as error:
                    raise ConfigError(f"the venue does not take the key: {error}") from None
                except NoAnswer as error:
                    trouble = str(error)
                    if not is_new:
                        log.warning("the venue does not answer yet", text=trouble)
                        return  # what the journal has is asked for once it does
                await anyio.sleep(backoff.failed() / SECOND)
    raise FeedError(f"the account could not be looked at: {trouble}")


async def _check_number(
    line: AlpacaLine, account: Account, number: str | None, log: FilteringBoundLogger
) -> None:
    """Check that the keys are of the account that is meant, and of the journal's."""
    found = await line.account()
    account.holder = f"{line.name} {found.account_number}"
    if account.recovered.cash is not None and account.recovered.holder != account.holder:
        raise ConfigError(
            f"the journal is of {account.recovered.holder}, the keys are of {account.holder}: give "
            "this account another --name"
        )
    if number is not None and found.account_number != number:
        raise ConfigError(f"trading.account is {number}: the keys are of {found.account_number}")
    if found.trading_blocked or found.account_blocked:
        log.warning("the account is blocked", account=found.account_number)
    log.info("account", number=found.account_number, cash=str(found.cash))


def own_books(portfolio: Portfolio) -> Holdings:
    """Return what our books hold, in the words of a venue's account."""
    return Holdings(
        portfolio.cash_book.own,
        {held.symbol: (held.quantity, held.average_price) for held in portfolio},
    )
