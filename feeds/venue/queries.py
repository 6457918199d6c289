"""What may be asked of the venue's account and market without changing anything: lists and filters.

The query's words are Alpaca's. This market never closes, and the clock says so.
"""

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from itertools import islice
from typing import Any

from feeds.events import Symbol
from feeds.protocols.alpaca_wire import parse_rfc3339
from feeds.symbols import guess_class
from feeds.venue.accounts import Account, AccountOrder, Execution
from feeds.venue.hours import here, next_close, next_open
from feeds.venue.trading import COINS, Exchange
from feeds.venue.trading_words import (
    CLASSES,
    NOT_FOUND,
    Refusal,
    activity_id,
    asset_body,
    asset_id,
    unprocessable,
)
from feeds.venue.words import rfc3339

SHARES = (Symbol("AAPL"), Symbol("SPY"))
MOST_ORDERS, MOST_ACTIVITIES, MOST_DAYS = 500, 100, 4000
Query = Mapping[str, str]


def orders(account: Account, query: Query) -> list[AccountOrder]:
    """Return the orders that GET /v2/orders asks for.

    Raises:
        Refusal: the query makes no sense.
    """
    status = query.get("status", "open")
    if status not in {"open", "closed", "all"}:
        raise unprocessable(f"invalid status: {status}")
    limit = _count(query, "limit", 50, MOST_ORDERS)
    is_within = _span(query)
    symbols = {name.replace("/", "") for name in query.get("symbols", "").split(",") if name}
    found = account.orders.values() if status != "open" else account.working()
    kept = (
        order
        for order in (found if query.get("direction") == "asc" else reversed(list(found)))
        if (status != "closed" or not order.status.is_open)
        and (not symbols or order.symbol.replace("/", "") in symbols)
        and query.get("side") in {None, "buy" if order.is_buy else "sell"}
        and is_within(order.submitted)
    )
    return list(islice(kept, limit))


def activities(account: Account, query: Query) -> list[Execution]:
    """Return the executions that GET /v2/account/activities asks for.

    Raises:
        Refusal: the query makes no sense.
    """
    kinds = query.get("activity_types", "FILL").split(",")
    if "FILL" not in kinds:
        return []
    limit = _count(query, "page_size", MOST_ACTIVITIES, MOST_ACTIVITIES)
    is_within, token = _span(query), query.get("page_token")
    found = account.executions
    listed = iter(found if query.get("direction") == "asc" else reversed(found))
    if token is not None:
        for execution in listed:
            if activity_id(execution) == token:
                break
    return list(islice((each for each in listed if is_within(each.time)), limit))


def clock(now: int) -> dict[str, Any]:
    """Say that the market is open."""
    return {
        "timestamp": rfc3339(now),
        "is_open": True,
        "next_open": here(next_open(now)).isoformat(),
        "next_close": here(next_close(now)).isoformat(),
    }


def calendar(query: Query, now: int) -> list[dict[str, str]]:
    """Return the weekdays of a span: without holidays, since this market keeps none.

    Raises:
        Refusal: a date is none.
    """
    today = here(now).date()
    start = _date(query, "start", today)
    end = _date(query, "end", start + timedelta(days=365))
    days = (start + timedelta(days=n) for n in range(min((end - start).days + 1, MOST_DAYS)))
    return [
        {
            "date": day.isoformat(),
            "open": "09:30",
            "close": "16:00",
            "session_open": "0400",
            "session_close": "2000",
            "settlement_date": day.isoformat(),
        }
        for day in days
        if day.weekday() < 5
    ]


def assets(exchange: Exchange, query: Query) -> list[dict[str, Any]]:
    """Return what can be traded, as far as it has been named: any symbol may be asked for."""
    wanted = query.get("asset_class", "us_equity")
    names = {*exchange.symbols, *COINS, *SHARES}
    return [
        asset_body(symbol, guess_class(symbol))
        for symbol in sorted(names)
        if CLASSES[guess_class(symbol)] == wanted
    ]


def find_asset(exchange: Exchange, name: str, now: int) -> dict[str, Any]:
    """Return one asset, by its symbol or its id.

    Raises:
        Refusal: the venue has no such market.
    """
    ids = {asset_id(symbol): symbol for symbol in {*exchange.symbols, *COINS, *SHARES}}
    symbol = ids.get(name) or exchange.known(name)
    if not exchange.opens(symbol, now):
        raise Refusal(404, NOT_FOUND, f"asset not found for {name}")
    return asset_body(symbol, guess_class(symbol))


def _count(query: Query, name: str, default: int, most: int) -> int:
    given = query.get(name, str(default))
    if not (given.isascii() and given.isdecimal() and 0 < int(given) <= most):
        raise unprocessable(f"{name} is {given!r}: 1 to {most} is allowed")
    return int(given)


def _span(query: Query) -> Callable[[int], bool]:
    after, until = _time(query, "after"), _time(query, "until")

    def is_within(time: int) -> bool:
        return (after is None or time > after) and (until is None or time < until)

    return is_within


def _time(query: Query, name: str) -> int | None:
    given = query.get(name)
    if given is None:
        return None
    text = given if len(given) > 10 else f"{given}T00:00:00Z"
    try:
        return parse_rfc3339(text.replace(" ", "+"))
    except ValueError:
        raise unprocessable(f"{name} is {given!r}: a time as in RFC 3339 is needed") from None


def _date(query: Query, name: str, default: date) -> date:
    given = query.get(name)
    try:
        return default if given is None else date.fromisoformat(given[:10])
    except ValueError:
        raise unprocessable(f"{name} is {given!r}: a date is needed") from None
