"""Alpaca's trading over REST and its trade_updates stream: the paper venue, or a real account.

An answer that is none, a status of 5xx, a text that cannot be read: the outcome is lost, never
guessed. What surely was not carried out (429) is asked again.
"""

import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import anyio
import httpx
import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from feeds.backoff import Backoff
from feeds.dial import Attempt, Dropped, HttpRefusal, Untrusted, dial, parse_address
from feeds.errors import ConfigError, FeedError
from feeds.events import SECOND
from feeds.venue.words import rfc3339
from runtime.trading.alpaca_words import (
    AccountJson,
    ActivityJson,
    ErrorJson,
    MessageJson,
    OrderJson,
    PositionJson,
    UpdateJson,
    amend_body,
    objection,
    order_body,
    read_activity,
    read_order,
    read_symbol,
    read_update,
)
from runtime.trading.reconciler import (
    Amend,
    Ask,
    AskFills,
    Cancel,
    Request,
    Send,
    VenueFill,
    VenueState,
)
from runtime.trading.remote import (
    Answered,
    Executed,
    Holdings,
    KeyRefused,
    Lost,
    Missing,
    NoAnswer,
    Outcome,
    Refused,
    Taken,
)

PAPER_URL = "https://paper-api.alpaca.markets"
LIVE_HOST = "api.alpaca.markets"
PATIENCE = 10.0
PING_SECONDS = 10.0
MOST_PAGES = 50
PAGE = 100
MOST_ORDERS = 500
TRIES = 5
LARGEST_MESSAGE = 1 << 20

S = TypeVar("S")
T = TypeVar("T")
Hear = Callable[[VenueState, VenueFill | None], None]


class AlpacaLine:
    """Speaks to one account.

    Args:
        url: of the REST API; the stream is beside it.
        key: of the account.
        secret: that goes with it.
        draw: for the waits between attempts: a float in [0, 1).

    Raises:
        ConfigError: the URL is none, or would send the keys in clear text.
    """

    name = "alpaca"

    def __init__(
        self,
        url: str,
        key: str,
        secret: str,
        draw: Callable[[], float] | None = None,
    ) -> None:
        url = url.rstrip("/")
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigError(f"trading.url is {url!r}: https://host is needed")
        self._address = parse_address(url.replace("http", "ws", 1))
        self._url, self._key, self._secret = url, key, secret
        self._backoff = Backoff(draw or Random().random, base=SECOND // 4)
        self._http: httpx.AsyncClient | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Hold the connections to the REST API while the context lasts."""
        self._http = await anyio.to_thread.run_sync(self._client)
        try:
            async with self._http:
                yield
        finally:
            self._http = None

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self._url,
            headers={"APCA-API-KEY-ID": self._key, "APCA-API-SECRET-KEY": self._secret},
            timeout=PATIENCE,
            follow_redirects=False,  # the keys go nowhere else
            trust_env=not self._address.is_here,
        )

    # ---- one thing -----------------------------------------------------------------------------

    async def carry_out(self, request: Request) -> Outcome:
        """Do one thing; whatever goes wrong is an outcome."""
        try:
            match request:
                case Send(order):
                    why = objection(order)
                    if why:
                        return Refused(why)
                    answer = await self._ask("POST", "/v2/orders", json=order_body(order))
                case Amend(order, venue_id, name):
                    body = amend_body(order, name)
                    answer = await self._ask("PATCH", _path(venue_id), json=body)
                case Cancel(_, venue_id):
                    answer = await self._ask("DELETE", _path(venue_id))
                case Ask(_, venue_id) if venue_id:
                    answer = await self._ask("GET", _path(venue_id))
                case Ask(name):
                    answer = await self._ask(
                        "GET", "/v2/orders:by_client_order_id", params={"client_order_id": name}
                    )
                case AskFills(after):
                    return Executed(await self._fills(after))
            return _outcome(request, answer)
        except NoAnswer as error:
            return Lost(str(error))

    async def _fills(self, after: int) -> tuple[VenueFill, ...]:
        found: list[VenueFill] = []
        token: dict[str, str] = {}
        for _ in range(MOST_PAGES):
            asked = {"after": rfc3339(max(0, after - SECOND)), "direction": "asc"}
            page = await self._get(
                "/v2/account/activities/FILL",
                list[ActivityJson],
                {**asked, "page_size": str(PAGE), **token},
            )
            found += _read_all(read_activity, page)
            if len(page) < PAGE:
                break
            token = {"page_token": page[-1].id}
        return tuple(found)

    async def open_orders(self) -> list[VenueState]:
        """Return all orders that work.

        Raises:
            NoAnswer: the venue could not be asked.
        """
        return await self._orders({"status": "open"})

    async def ended_orders(self, after: int) -> list[VenueState]:
        """Return the orders placed after a time that have ended.

        Raises:
            NoAnswer: the venue could not be asked.
        """
        return await self._orders({"status": "closed"}, after)

    async def _orders(self, query: dict[str, str], after: int = 0) -> list[VenueState]:
        """Read a list page by page: the next begins where the one before has ended."""
        found: dict[str, VenueState] = {}
        for _ in range(MOST_PAGES):
            since = {"after": rfc3339(after)} if after else {}
            page = await self._get(
                "/v2/orders",
                list[OrderJson],
                {**query, **since, "direction": "asc", "limit": str(MOST_ORDERS)},
            )
            states = _read_all(read_order, page)
            found |= {state.venue_id: state for state in states}
            if len(page) < MOST_ORDERS:
                break
            after = states[-1].submitted - 1
        return list(found.values())

    async def account(self) -> AccountJson:
        """Return the account.

        Raises:
            NoAnswer: the venue could not be asked.
        """
        return await self._get("/v2/account", AccountJson, {})

    async def holdings(self, *, priced: bool = True) -> Holdings:
        """Return what the account holds; its average prices come with it.

        Raises:
            NoAnswer: the venue could not be asked.
        """
        del priced
        positions = await self._get("/v2/positions", list[PositionJson], {})
        cash = (await self.account()).cash
        return Holdings(
            cash,
            {read_symbol(each): (each.qty, each.avg_entry_price) for each in positions},
        )

    # ---- HTTP ----------------------------------------------------------------------------------

    async def _get(self, path: str, kind: type[T], params: dict[str, str]) -> T:
        answer = await self._ask("GET", path, params=params)
        if answer.status_code in {401, 403}:
            raise KeyRefused(_said(answer))
        if answer.status_code != httpx.codes.OK:
            raise NoAnswer(f"{path} was answered with {answer.status_code}: {_said(answer)}")
        return _read(lambda: msgspec.json.decode(answer.content, type=kind, strict=False))

    async def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Ask once; what the venue says it was too busy for, again.

        Raises:
            NoAnswer: nothing came that says what was done.
        """
        if self._http is None:
            raise NoAnswer("the line is closed")
        for _ in range(TRIES):
            try:
                answer = await self._http.request(method, path, **more)
            except httpx.HTTPError as error:
                raise NoAnswer(f"no answer to {method} {path}: {_why(error)}") from None
            if answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
                break
            await anyio.sleep(_wait(answer))
        if answer.status_code >= 500 or answer.status_code in {408, 429}:
            raise NoAnswer(f"{method} {path} was answered with {answer.status_code}")
        return answer

    # ---- the stream ----------------------------------------------------------------------------

    async def listen(
        self,
        ready: Callable[[], Coroutine[Any, Any, None]],
        hear: Hear,
        trouble: Callable[[str], None],
    ) -> None:
        """Hear trade_updates until cancelled, connecting again and again."""
        while True:
            try:
                await self._listen_once(ready, hear)
            except Dropped as dropped:
                trouble(f"no updates: {dropped}")
            except HttpRefusal as refusal:
                trouble(f"no updates: {refusal}")
                await anyio.sleep(refusal.wait / SECOND)
            except Untrusted as error:
                raise FeedError(f"the certificate of {self._address.place}: {error}") from None
            await anyio.sleep(self._backoff.failed() / SECOND)

    async def _listen_once(
        self, ready: Callable[[], Coroutine[Any, Any, None]], hear: Hear
    ) -> None:
        attempt = Attempt(
            self._address,
            "/stream",
            {},
            patience=PATIENCE,
            max_size=LARGEST_MESSAGE,
            proxy=None,
            now=time.time_ns(),
        )
        socket = await dial(attempt)
        failure: Exception | None = None
        async with socket:
            try:
                await self._log_in(socket)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._ping, socket)
                    tasks.start_soon(ready)  # what was missed meanwhile
                    failure = await self._read(socket, hear)
                    tasks.cancel_scope.cancel()
            except ConnectionClosed as closed:
                failure = Dropped(str(closed))
        if failure is not None:
            raise failure

    async def _log_in(self, socket: ClientConnection) -> None:
        keys = {"key_id": self._key, "secret_key": self._secret}
        for message in (
            {"action": "authenticate", "data": keys},
            {"action": "listen", "data": {"streams": ["trade_updates"]}},
        ):
            await socket.send(msgspec.json.encode(message), text=True)
            with anyio.move_on_after(PATIENCE) as limit:
                answer = _message(await socket.recv(decode=False))
            if limit.cancelled_caught:
                raise Dropped("the login was not answered")
            if answer.stream == "authorization" and b'"authorized"' not in bytes(answer.data):
                raise Dropped("the venue does not know the key")

    async def _read(self, socket: ClientConnection, hear: Hear) -> Exception:
        """Hand on updates until the end, and return what it was."""
        try:
            while True:
                message = _message(await socket.recv(decode=False))
                if message.stream != "trade_updates":
                    continue
                self._backoff.data_came()
                hear(*_update(message))
        except ConnectionClosed as closed:
            return Dropped(str(closed))
        except NoAnswer as error:
            return Dropped(f"an update cannot be read: {error}")

    async def _ping(self, socket: ClientConnection) -> None:
        """Close what no longer answers."""
        while True:
            await anyio.sleep(PING_SECONDS)
            try:
                with anyio.fail_after(PING_SECONDS):
                    await (await socket.ping())
            except (TimeoutError, ConnectionClosed):
                socket.transport.abort()
                return


def _path(venue_id: str) -> str:
    return f"/v2/orders/{quote(venue_id, safe='')}"


def _message(frame: bytes) -> MessageJson:
    return _read(lambda: msgspec.json.decode(frame, type=MessageJson))


def _update(message: MessageJson) -> tuple[VenueState, VenueFill | None]:
    found = _read(lambda: msgspec.json.decode(message.data, type=UpdateJson, strict=False))
    return _read(lambda: read_update(found))


def _read_all(read: Callable[[S], T], page: Sequence[S]) -> list[T]:
    return _read(lambda: [read(each) for each in page])


def _read(read: Callable[[], T]) -> T:
    """Read what the venue said; what makes no sense is no answer.

    Raises:
        NoAnswer: it makes none.
    """
    try:
        return read()
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise NoAnswer(f"it makes no sense: {error}") from None


def _outcome(request: Request, answer: httpx.Response) -> Outcome:
    """Read the answer to one request."""
    status = answer.status_code
    if isinstance(request, Cancel):
        return Taken() if answer.is_success else Refused(_said(answer))
    if answer.is_success:
        found = _read(lambda: msgspec.json.decode(answer.content, type=OrderJson, strict=False))
        return Answered(_read(lambda: read_order(found)))
    said = _said(answer)
    if isinstance(request, Ask):
        return Missing() if status == httpx.codes.NOT_FOUND else Lost(f"{status}: {said}")
    if "client_order_id" in said:  # it has one of this name: that one is asked for
        return Lost(said)
    return Refused(said or f"the venue has answered with {status}")


def _said(answer: httpx.Response) -> str:
    try:
        return msgspec.json.decode(answer.content, type=ErrorJson).message
    except ValueError:
        return answer.text[:200]


def _wait(answer: httpx.Response) -> float:
    """Return the seconds that a venue asks to wait."""
    try:
        wait = float(answer.headers.get("Retry-After", "1"))
    except ValueError:
        return 1.0
    return min(max(wait, 0.1), 60.0) if math.isfinite(wait) else 1.0


def _why(error: httpx.HTTPError) -> str:
    return str(error) or type(error).__name__
