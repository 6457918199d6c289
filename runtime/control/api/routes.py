"""What can be asked over HTTP: each route reads the board, or has the operator do something."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import msgspec
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from runtime.control.api.describe import openapi
from runtime.control.api.metrics import exposition
from runtime.control.api.operator import NotAnswered, Operator
from runtime.control.api.pages import asset, page
from runtime.control.api.problems import problem
from runtime.control.api.streams import MOST_LINES, Streams, encode
from runtime.control.board import LEVELS, Board, Line, Snapshot, chosen
from runtime.errors import ConfigError, TidegateError
from runtime.redaction import KNOWN

STUCK_SECONDS = 5.0

Handler = Callable[[Request], Awaitable[Response]]


class Api:
    """The routes of one run.

    Args:
        board: what is shown.
        operator: what is done.
        stuck: seconds for which the run's loop has not turned, from any thread.
    """

    def __init__(self, board: Board, operator: Operator, stuck: Callable[[], float]) -> None:
        self._board, self._operator, self._stuck = board, operator, stuck
        self._streams = Streams(board, self._whole)
        self._figures = (0, b"")

    def application(self) -> Starlette:
        """Return the application; a guard belongs before it."""
        get, post = ["GET"], ["POST"]
        routes = [
            Route("/healthz", self._health, methods=get),
            Route("/readyz", self._ready, methods=get),
            Route("/metrics", self._metrics, methods=get),
            Route("/openapi.json", self._openapi, methods=get),
            Route("/v1/status", self._status, methods=get),
            Route("/v1/training", self._training, methods=get),
            Route("/v1/training/on", self._switch(on=True), methods=post),
            Route("/v1/training/off", self._switch(on=False), methods=post),
            Route("/v1/training/now", self._train_now, methods=post),
            Route("/v1/training/cancel", self._cancel, methods=post),
            Route("/v1/models", self._models, methods=get),
            Route("/v1/models/{slot}/rollback", self._roll_back, methods=post),
            Route("/v1/orders", self._orders, methods=get),
            Route("/v1/positions", self._positions, methods=get),
            Route("/v1/equity", self._equity, methods=get),
            Route("/v1/prices", self._prices, methods=get),
            Route("/", _page, methods=get),
            Route("/assets/{path:path}", _asset, methods=get),
            Route("/v1/logs", self._logs, methods=get),
            Route("/v1/logs/stream", self._log_stream, methods=get),
            Route("/v1/stream", self._status_stream, methods=get),
            Route("/v1/halt", self._halt, methods=post),
            Route("/v1/resume", self._resume, methods=post),
            Route("/v1/stop", self._stop, methods=post),
        ]
        return Starlette(
            routes=routes,
            exception_handlers={
                HTTPException: _as_problem,
                ConfigError: _refused,
                NotAnswered: _not_answered,
                TidegateError: _refused,
                ClientDisconnect: _gone,
                Exception: _broken,
            },
        )

    # ---- what is shown -----------------------------------------------------------------------

    async def _health(self, _: Request) -> Response:
        stuck = self._stuck()
        if stuck >= STUCK_SECONDS:
            return problem(503, f"the run's loop has not turned for {stuck:.0f} s")
        return _json({"status": "ok"})

    async def _ready(self, _: Request) -> Response:
        snapshot = self._board.snapshot
        if snapshot is None:
            return problem(503, "the run is starting")
        lines = snapshot.feed.get("connections", ())
        if lines and not any(line["state"] == "live" for line in lines):
            return problem(503, "no connection of the feed is up")
        waiting = [model["slot"] for model in snapshot.models if not model["ready"]]
        if waiting and snapshot.training["is_on"]:
            return problem(503, f"not ready: {', '.join(waiting)}")
        return _json({"status": "ready"})

    async def _metrics(self, _: Request) -> Response:
        taken = self._board.snapshot
        if taken is None or taken.time != self._figures[0]:  # made once, however many ask
            figures = KNOWN.hide_bytes(exposition(self._board))
            self._figures = 0 if taken is None else taken.time, figures
        return Response(self._figures[1], media_type="text/plain; version=0.0.4")

    async def _openapi(self, _: Request) -> Response:
        return _json(openapi())

    async def _status(self, _: Request) -> Response:
        return _json(self._whole())

    def _whole(self) -> dict[str, Any]:
        snapshot = self._board.snapshot
        if snapshot is None:
            raise HTTPException(503, "the run is starting")
        whole: dict[str, Any] = msgspec.to_builtins(self._board.identity)
        whole["snapshot"] = {
            field: getattr(snapshot, field)
            for field in snapshot.__struct_fields__
            if field not in {"lag", "latency", "orders"}
        }
        whole["log"] = msgspec.to_builtins(self._board.log_places())
        return whole

    async def _training(self, _: Request) -> Response:
        snapshot = self._snapshot()
        return _json({"now": snapshot.training, "history": list(self._board.training)})

    async def _models(self, _: Request) -> Response:
        return _json({"models": self._snapshot().models})

    async def _orders(self, _: Request) -> Response:
        return _json({"orders": self._snapshot().orders})

    async def _positions(self, _: Request) -> Response:
        return _json({"positions": self._snapshot().positions})

    async def _equity(self, _: Request) -> Response:
        return _json({"curve": list(self._board.curve.samples)})

    async def _prices(self, _: Request) -> Response:
        return _json({"prices": {name: list(rows) for name, rows in self._board.prices.items()}})

    def _snapshot(self) -> Snapshot:
        if self._board.snapshot is None:
            raise HTTPException(503, "the run is starting")
        return self._board.snapshot

    # ---- the log -----------------------------------------------------------------------------

    async def _logs(self, request: Request) -> Response:
        most, choose = _limit(request), _chooser(request)
        found, _ = self._board.lines(0, self._board.newest)
        return _json({"lines": choose(found)[-most:], "newest": self._board.newest})

    async def _log_stream(self, request: Request) -> Response:
        most, choose = _limit(request), _chooser(request)
        return EventSourceResponse(self._streams.lines(most, choose), ping=15)

    async def _status_stream(self, _: Request) -> Response:
        return EventSourceResponse(self._streams.statuses(), ping=15)

    # ---- what is done ------------------------------------------------------------------------

    def _switch(self, *, on: bool) -> Handler:
        async def switch(request: Request) -> Response:
            await _words(request)
            return _json({"training": await self._operator.switch_training(on, _who(request))})

        return switch

    async def _train_now(self, request: Request) -> Response:
        await _words(request)
        return _json({"jobs": await self._operator.train_now(_who(request))})

    async def _cancel(self, request: Request) -> Response:
        words = await _words(request, job=str)
        if "job" not in words:
            raise HTTPException(422, "the body lacks job: the id of one, or its method's name")
        await self._operator.cancel_job(words["job"])
        return _json({"cancelled": words["job"]})

    async def _roll_back(self, request: Request) -> Response:
        words = await _words(request, to=int)
        slot = request.path_params["slot"]
        version = await self._operator.roll_back(slot, words.get("to"), _who(request))
        return _json({"slot": slot, "version": version})

    async def _halt(self, request: Request) -> Response:
        words = await _words(request, reason=str)
        await self._operator.halt(words.get("reason", ""), _who(request))
        return _json({"halted": True})

    async def _resume(self, request: Request) -> Response:
        await _words(request)
        await self._operator.resume(_who(request))
        return _json({"halted": False})

    async def _stop(self, request: Request) -> Response:
        await _words(request)
        await self._operator.stop(_who(request))
        return _json({"stopping": True})


async def _page(_: Request) -> Response:
    return await anyio.to_thread.run_sync(page)  # from the disk


async def _asset(request: Request) -> Response:
    return await anyio.to_thread.run_sync(asset, request.path_params["path"])


def _json(value: object, status: int = 200) -> Response:
    return Response(encode(value), status, media_type="application/json")


def _who(request: Request) -> str:
    """Name who asks, as they say: for the log only, cut to what a line bears."""
    said = request.headers.get("X-Tidegate-By", "the API")
    return "".join(c for c in said if c.isprintable())[:80] or "the API"


async def _words(request: Request, **known: type) -> dict[str, Any]:
    """Read a body of known names, which may be empty."""
    body = await request.body()
    if not body:
        return {}
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise HTTPException(400, "the body is no JSON") from None
    if not isinstance(found, dict):
        raise HTTPException(422, "the body is no JSON object")
    for name, value in found.items():
        if name not in known:
            allowed = ", ".join(known) or "nothing"
            raise HTTPException(422, f"the body holds {name[:40]!r}: allowed is {allowed}")
        if type(value) is not known[name]:
            raise HTTPException(422, f"{name} is no {known[name].__name__}")
    return found


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", "200")
    if not (text.isascii() and text.isdecimal() and len(text) < 9 and int(text) <= MOST_LINES):
        raise HTTPException(422, f"limit is {text[:40]!r}: 0 to {MOST_LINES} is allowed")
    return int(text)


def _chooser(request: Request) -> Callable[[list[Line]], list[Line]]:
    query = request.query_params
    level, since = query.get("level", "debug"), query.get("since", "0")
    if level not in LEVELS:
        raise HTTPException(422, f"level is {level[:40]!r}: allowed are {', '.join(LEVELS)}")
    if not (since.isascii() and since.isdecimal() and len(since) < 20):
        raise HTTPException(422, f"since is {since[:40]!r}: ns since the epoch are needed")
    text = query.get("grep", "")
    return lambda lines: chosen(lines, level=LEVELS[level], text=text, since=int(since))


async def _as_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # Starlette chose by it
    response = problem(error.status_code, error.detail)
    response.headers.update(error.headers or {})
    return response


async def _refused(_: Request, error: Exception) -> Response:
    return problem(409, str(error))


async def _not_answered(_: Request, error: Exception) -> Response:
    return problem(503, str(error))


async def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=400)  # nobody hears it


async def _broken(_: Request, error: Exception) -> Response:
    return problem(500, f"the API broke: {type(error).__name__}")


def own_hosts(port: int | None) -> list[str]:
    """Return the Host values under which this server may be spoken to."""
    if port is None:
        return ["tidegate"]
    return [f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")]
