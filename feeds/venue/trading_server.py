"""The venue's trading over HTTP: Alpaca's REST and its trade_updates stream, one port for both.

Whatever changes is on the disk before an answer or an update tells of it. Faults are laid over the
finished application, so that nothing in it knows of them. The admin API beside it is our own.
"""

import contextlib
import logging
import os
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket, WebSocketDisconnect

from feeds.errors import ConfigError
from feeds.events import AssetClass, MarketEvent, Symbol
from feeds.venue.account_options import AccountOptions
from feeds.venue.accounts import Account, AccountOrder
from feeds.venue.broken_http import FaultyApp, Lines
from feeds.venue.costs import PercentFee
from feeds.venue.faults import Faults, Shaper, Where, make_plan
from feeds.venue.ledger import Ledger
from feeds.venue.matching import Matcher
from feeds.venue.protocol import Credentials
from feeds.venue.queries import activities, assets, calendar, clock, find_asset, orders
from feeds.venue.trading import Change, Exchange
from feeds.venue.trading_stream import TradingSession, update_frame
from feeds.venue.trading_words import (
    BAD_REQUEST,
    FORBIDDEN,
    INTERNAL,
    NOT_FOUND,
    UNAUTHORIZED,
    OrderRequest,
    Refusal,
    Replacement,
    account_body,
    activity_body,
    order_body,
    parse,
    position_body,
    unprocessable,
    update_body,
)

BACKLOG = 10_000
LARGEST_BODY = 1 << 16

_log = logging.getLogger("feeds.venue")
Handler = Callable[[Request], Awaitable[Response]]


class TradingDesk:
    """The shell of one exchange: has changes written, then told to whoever listens.

    Args:
        exchange: what decides.
        ledger: where changes are written; None keeps them in memory only.
        credentials: that let somebody in.
        faults: what goes wrong on purpose.
        now: the venue's time, ns.
    """

    def __init__(
        self,
        exchange: Exchange,
        ledger: Ledger | None,
        credentials: Credentials,
        faults: Faults,
        now: Callable[[], int],
    ) -> None:
        self.exchange, self.faults, self.credentials, self.now = exchange, faults, credentials, now
        self.lines = Lines()
        self._ledger = ledger
        self._waiting: list[Change] = []
        self._taken = self._written = 0
        self._came, self._settled = anyio.Event(), anyio.Event()
        self._listeners: set[_Listener] = set()

    def on_market(self, events: Sequence[MarketEvent]) -> None:
        """Let the market fill what works."""
        self.exchange.on_market(events, self.now())
        self.note()

    def note(self) -> None:
        """Have what has changed written and told."""
        changes = self.exchange.take_changes()
        if changes:
            self._taken += len(changes)
            self._waiting += changes
            self._came.set()

    async def settled(self) -> None:
        """Wait until all that has changed is on the disk."""
        until = self._taken
        while self._written < until:
            await self._settled.wait()

    async def run(self) -> None:
        """Write and tell until cancelled."""
        self.note()
        while True:
            while not self._waiting:
                self._came = anyio.Event()
                await self._came.wait()
            changes, self._waiting = self._waiting, []
            if self._ledger is not None:
                await anyio.to_thread.run_sync(self._ledger.write, changes)
            self._written += len(changes)
            self._settled.set()
            self._settled = anyio.Event()
            for change in changes:
                if not change.event:
                    continue
                frame = update_frame(
                    update_body(change.event, change.order, change.execution, change.time)
                )
                for listener in list(self._listeners):
                    listener.hear(frame)

    # ---- requests ------------------------------------------------------------------------------

    def application(self) -> ASGIApp:
        """Return what answers."""
        one, by_name = "/v2/orders/{key}", "/v2/orders:by_client_order_id"
        held = "/v2/positions/{name:path}"
        routes: list[Route | WebSocketRoute] = [
            Route("/healthz", _healthz),
            Route("/v2/account", self._guarded(self._account)),
            Route("/v2/account/activities", self._guarded(self._activities)),
            Route("/v2/account/activities/FILL", self._guarded(self._activities)),
            Route("/v2/clock", self._guarded(self._clock)),
            Route("/v2/calendar", self._guarded(self._calendar)),
            Route("/v2/assets", self._guarded(self._assets)),
            Route("/v2/assets/{name:path}", self._guarded(self._asset)),
            Route("/v2/orders", self._guarded(self._place), methods=["POST"]),
            Route("/v2/orders", self._guarded(self._cancel_all), methods=["DELETE"]),
            Route("/v2/orders", self._guarded(self._list)),
            Route(by_name, self._guarded(self._by_name)),
            Route(one, self._guarded(self._cancel), methods=["DELETE"]),
            Route(one, self._guarded(self._replace), methods=["PATCH"]),
            Route(one, self._guarded(self._order)),
            Route("/v2/positions", self._guarded(self._close_all), methods=["DELETE"]),
            Route("/v2/positions", self._guarded(self._positions)),
            Route(held, self._guarded(self._close), methods=["DELETE"]),
            Route(held, self._guarded(self._position)),
            Route("/admin/faults", self._guarded(self._set_faults), methods=["PUT"]),
            Route("/admin/faults", self._guarded(self._faults)),
            WebSocketRoute("/stream", self._stream),
        ]
        return FaultyApp(Starlette(routes=routes), self.faults, self.lines, self.now)

    def _guarded(self, handler: Handler) -> Handler:
        """Let in who has the key; a refusal is an answer, and a fault of ours is too."""

        async def answer(request: Request) -> Response:
            try:
                if not request.url.path.startswith("/admin") and self.faults.is_expired(self.now()):
                    raise Refusal(401, UNAUTHORIZED, "request is not authorized")
                self._check_key(request)
                return await handler(request)
            except Refusal as refusal:
                return _json(refusal.body, refusal.status)
            except ConfigError as error:
                return _json(Refusal(400, BAD_REQUEST, str(error)).body, 400)
            except Exception:  # noqa: BLE001 - one request's fault must not end the venue
                _log.exception("a request could not be served")
                return _json(Refusal(500, INTERNAL, "internal server error").body, 500)

        return answer

    def _check_key(self, request: Request) -> None:
        headers = request.headers
        key = headers.get("APCA-API-KEY-ID", "")
        secret = headers.get("APCA-API-SECRET-KEY", "")
        if not self.credentials.match(key, secret):
            raise Refusal(401, UNAUTHORIZED, "request is not authorized")

    async def _place(self, request: Request) -> Response:
        wanted = parse(await _body(request), OrderRequest)
        self.exchange.most = _decimal(self.faults.most)
        fault = self.faults.on_order()
        if fault is not None:
            raise Refusal(403, FORBIDDEN, "order was rejected: a fault switch said so")
        order = self.exchange.place(wanted, self.now())
        return await self._told(order.id)

    async def _replace(self, request: Request) -> Response:
        changes = parse(await _body(request), Replacement)
        order = self.exchange.replace(request.path_params["key"], changes, self.now())
        return await self._told(order.id)

    async def _told(self, order_id: str) -> Response:
        self.note()
        await self.settled()
        return _json(order_body(self.exchange.account.orders[order_id]))

    async def _cancel(self, request: Request) -> Response:
        self.exchange.cancel(request.path_params["key"], self.now())
        self.note()
        await self.settled()
        return Response(status_code=204)

    async def _cancel_all(self, request: Request) -> Response:
        del request
        working = list(self.exchange.account.working())
        for order in working:
            self.exchange.cancel(order.id, self.now())
        self.note()
        await self.settled()
        return _json([{"id": order.id, "status": 200} for order in working], 207)

    async def _order(self, request: Request) -> Response:
        return await self._shown(self.exchange.order(request.path_params["key"]))

    async def _by_name(self, request: Request) -> Response:
        name = request.query_params.get("client_order_id", "")
        found = self.exchange.account.by_client_id(name)
        if found is None:
            raise Refusal(404, NOT_FOUND, f"order not found for {name}")
        return await self._shown(found)

    async def _shown(self, order: AccountOrder) -> Response:
        await self.settled()
        return _json(order_body(order))

    async def _list(self, request: Request) -> Response:
        await self.settled()
        found = orders(self.exchange.account, request.query_params)
        return _json([order_body(order) for order in found])

    async def _activities(self, request: Request) -> Response:
        await self.settled()
        found = activities(self.exchange.account, request.query_params)
        return _json([activity_body(execution) for execution in found])

    async def _account(self, request: Request) -> Response:
        del request
        await self.settled()
        long, short = self.exchange.values()
        return _json(account_body(self.exchange.account, long, short, self.exchange.buying_power()))

    async def _positions(self, request: Request) -> Response:
        del request
        await self.settled()
        held = self.exchange.account.holdings.values()
        return _json([self._held(holding.symbol) for holding in held])

    async def _position(self, request: Request) -> Response:
        await self.settled()
        return _json(self._held(request.path_params["name"]))

    def _held(self, name: str) -> dict[str, Any]:
        symbol = self.exchange.known(name)
        holding = self.exchange.account.holdings.get(symbol)
        if holding is None:
            raise Refusal(404, NOT_FOUND, f"position does not exist: {name}")
        return position_body(holding, self.exchange.price(symbol) or holding.average_price)

    async def _close(self, request: Request) -> Response:
        name = request.path_params["name"]
        held = abs(self.exchange.account.held(self.exchange.known(name)))
        quantity = _number(request, "qty")
        share = _number(request, "percentage")
        if share is not None:
            quantity = held * share / 100
        order = self.exchange.close(name, quantity, self.now())
        return await self._told(order.id)

    async def _close_all(self, request: Request) -> Response:
        if request.query_params.get("cancel_orders") == "true":
            for order in list(self.exchange.account.working()):
                self.exchange.cancel(order.id, self.now())
        closed = []
        for symbol in list(self.exchange.account.holdings):
            order = self.exchange.close(symbol, None, self.now())
            closed.append({"symbol": symbol, "status": 200, "body": order_body(order)})
        self.note()
        await self.settled()
        return _json(closed, 207)

    async def _clock(self, request: Request) -> Response:
        del request
        return _json(clock(self.now()))

    async def _calendar(self, request: Request) -> Response:
        return _json(calendar(request.query_params, self.now()))

    async def _assets(self, request: Request) -> Response:
        return _json(assets(self.exchange, request.query_params))

    async def _asset(self, request: Request) -> Response:
        return _json(find_asset(self.exchange, request.path_params["name"], self.now()))

    async def _faults(self, request: Request) -> Response:
        del request
        return _json(self.faults.statistics())

    async def _set_faults(self, request: Request) -> Response:
        found = parse(await _body(request), dict[str, Any])
        self.faults.begin(make_plan(found, "the body"))
        self.exchange.most = _decimal(self.faults.most)
        return _json(self.faults.statistics())

    # ---- the stream ----------------------------------------------------------------------------

    async def _stream(self, socket: WebSocket) -> None:
        await socket.accept()
        listener = _Listener(self, socket)
        self._listeners.add(listener)
        try:
            await listener.attend()
        finally:
            self._listeners.discard(listener)


class _Listener:
    """One connection to trade_updates, and the frames that wait for it."""

    def __init__(self, desk: TradingDesk, socket: WebSocket) -> None:
        self._desk, self._socket = desk, socket
        self._session = TradingSession(desk.credentials)
        self._inlet, self._outlet = anyio.create_memory_object_stream[bytes](BACKLOG)
        self._shaper = Shaper(desk.faults, Where.UPDATES)

    def hear(self, frame: bytes) -> None:
        """Queue an update for a client that listens; one that reads none is cut."""
        if not self._session.listens:
            return
        try:
            self._inlet.send_nowait(frame)
        except anyio.WouldBlock:
            self._desk.lines.cut(self._socket.scope)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return  # it is leaving

    async def attend(self) -> None:
        """Serve until the client goes."""
        with self._inlet, self._outlet, contextlib.suppress(WebSocketDisconnect):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._write)
                await self._read()
                tasks.cancel_scope.cancel()

    async def _read(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            session = self._session
            answers = session.receive(message.get("bytes") or message.get("text") or "")
            is_refused = session.authorized and not session.listens and self._is_refused()
            if is_refused:
                await self._socket.close(1008)
                return
            for answer in answers:
                await self._socket.send_bytes(answer)
            if session.ending:
                await self._socket.close(1008)
                return

    def _is_refused(self) -> bool:
        desk = self._desk
        return desk.faults.is_expired(desk.now()) or bool(desk.faults.on_login(Where.UPDATES))

    async def _write(self) -> None:
        """Carry updates, as faults let them."""
        lines, scope = self._desk.lines, self._socket.scope
        with contextlib.suppress(WebSocketDisconnect, RuntimeError, OSError):  # it has gone
            async for frame in self._outlet:
                shaping = self._shaper.take(frame)
                if shaping.deaf:
                    lines.pause(scope)
                if shaping.wait:
                    await anyio.sleep(shaping.wait)
                if shaping.deaf:
                    lines.resume(scope)
                for each in shaping.frames:
                    await self._socket.send_bytes(each)
                if shaping.half_close:
                    lines.half_close(scope)
                if shaping.cut:
                    lines.cut(scope)


async def _healthz(request: Request) -> Response:
    del request
    return Response("ok\n")


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise Refusal(413, BAD_REQUEST, f"the body has more than {LARGEST_BODY} bytes")
    return body


def _number(request: Request, name: str) -> Decimal | None:
    given = request.query_params.get(name)
    if given is None:
        return None
    try:
        value = Decimal(given)
    except ArithmeticError:
        value = Decimal("NaN")
    if not value.is_finite():
        raise unprocessable(f"{name} is {given!r}: a number is needed")
    return value


def _decimal(value: float | None) -> Decimal | None:
    return None if value is None else Decimal(str(value))


def _json(content: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


LAST_TURNS = 4
"""Of the loop: a connection that was just accepted is known two turns later."""


class _Quiet(uvicorn.Server):
    """uvicorn without signal handlers: the venue has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        """Leave signals alone."""
        yield


@contextlib.asynccontextmanager
async def trading(
    options: AccountOptions,
    credentials: Credentials,
    faults: Faults,
    opens: Callable[[Symbol, AssetClass, int], bool],
    now: Callable[[], int],
    host: str,
) -> AsyncIterator[tuple[TradingDesk, str]]:
    """Serve an account's trading; gives its desk, and the URL once it listens.

    Raises:
        ConfigError: it cannot listen there, or the account's file cannot be used.
    """
    listener = _listen(host, options.port)
    ledger = None
    try:
        if options.path is None:
            account = Account(str(uuid.uuid4()), options.cash, now())
        else:
            ledger = await anyio.to_thread.run_sync(Ledger, Path(options.path))
            account = await anyio.to_thread.run_sync(ledger.load, options.cash, now())
        matcher = Matcher(fees=PercentFee(Decimal(0)))  # Alpaca takes no commission on paper
        exchange = Exchange(account, matcher, opens, now())
        desk = TradingDesk(exchange, ledger, credentials, faults, now)
        async with _served(desk, listener, host) as url:
            yield desk, url
    finally:
        listener.close()
        if ledger is not None:
            ledger.close()


@contextlib.asynccontextmanager
async def _served(desk: TradingDesk, listener: socket.socket, host: str) -> AsyncIterator[str]:
    config = uvicorn.Config(
        desk.application(),
        http=desk.lines.protocol,
        ws="websockets-sansio",
        log_config=None,
        log_level="critical",  # a connection that is cut is no error; what fails of ours is told
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=1,
        ws_ping_interval=20,
        ws_max_size=LARGEST_BODY,
    )
    server = _Quiet(config)
    bound = listener.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(desk.run)
            tasks.start_soon(server.serve, [listener])
            yield f"http://{shown}:{bound}"
            tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            for _ in range(LAST_TURNS):
                desk.lines.close()
                await anyio.lowlevel.checkpoint()  # connections end in the loop's next turn


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sends small answers at once: without it they wait for 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ConfigError(
            f"the venue cannot listen for orders on {host}:{port}: {reason}; name another port"
        ) from None
    return listener
