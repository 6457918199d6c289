"""Who may not speak to the API: every wrong host, origin, token and size, on any request."""

from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from runtime.control.api.guard import MOST_BYTES, Guard, Message, Receive, Scope, Send
from runtime.control.api.routes import Api
from runtime.control.board import Board

HOSTS = ["127.0.0.1:8000", "localhost:8000", "[::1]:8000"]
TOKEN = "t0ken-" + "x" * 30
SHOWN = ("authorization", f"Bearer {TOKEN}")
GOOD = [("host", "127.0.0.1:8000"), SHOWN]


async def inside(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        raise AssertionError("only HTTP comes through")
    body = await Request(scope, receive).body()
    answer: Response = PlainTextResponse(f"inside {len(body)}")
    await answer(scope, receive, send)


async def ask(
    headers: list[tuple[str, str]],
    *,
    kind: str = "http",
    path: str = "/v1/status",
    chunks: tuple[bytes, ...] = (b"",),
    token: str | None = TOKEN,
) -> tuple[int | None, bytes]:
    """Return status and body; None where a WebSocket was closed."""
    scope: dict[str, Any] = {
        "type": kind,
        "method": "POST",
        "path": path,
        "headers": [(name.encode(), value.encode()) for name, value in headers],
        "query_string": b"",
    }
    parts = list(chunks)
    said: list[Message] = []

    async def receive() -> Message:
        body = parts.pop(0) if parts else b""
        return {"type": "http.request", "body": body, "more_body": bool(parts)}

    async def send(message: Message) -> None:
        said.append(message)

    await Guard(inside, HOSTS, token)(scope, receive, send)
    if said[0]["type"] == "websocket.close":
        return None, said[0]["reason"].encode()
    return said[0]["status"], said[1]["body"]


@pytest.mark.parametrize("host", [*HOSTS, "LOCALHOST:8000"])
async def test_who_names_us_and_shows_the_token_comes_in(host: str) -> None:
    assert await ask([("host", host), SHOWN]) == (200, b"inside 0")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1",
        "127.0.0.1:8001",
        "127.0.0.1:8000.evil.example",
        "evil.example:8000",
        "localhost:80000",
        "127.0.0.1:8000@evil.example",
        "",
    ],
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_another_host_is_refused(host: str, kind: str) -> None:
    """A rebound name resolves to us, but is not what we are called."""
    status, _ = await ask([("host", host), SHOWN], kind=kind)
    assert status == (421 if kind == "http" else None)


async def test_no_host_and_two_hosts_are_refused() -> None:
    assert (await ask([SHOWN]))[0] == 421
    assert (await ask([("host", HOSTS[0]), ("host", "evil.example"), SHOWN]))[0] == 421


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "https://127.0.0.1:8000", "http://127.0.0.1:8000.evil.example"],
)
async def test_a_page_from_elsewhere_is_refused(origin: str) -> None:
    assert (await ask([*GOOD, ("origin", origin)]))[0] == 403


async def test_our_own_page_is_not() -> None:
    assert (await ask([*GOOD, ("origin", "http://localhost:8000")]))[0] == 200


@pytest.mark.parametrize(
    "shown",
    [
        [],
        [("authorization", TOKEN)],
        [("authorization", f"Bearer {TOKEN[:-1]}")],
        [("authorization", f"Bearer {TOKEN} ")],
        [("authorization", f"bearer {TOKEN}")],
        [("authorization", "Bearer ")],
        [SHOWN, SHOWN],
        [("authorization", "Bearer \xff\xfe")],
    ],
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_a_missing_or_wrong_token_is_refused(shown: list[tuple[str, str]], kind: str) -> None:
    status, said = await ask([("host", HOSTS[0]), *shown], kind=kind)
    assert status == (401 if kind == "http" else None)
    assert TOKEN.encode() not in said


async def test_a_sign_of_life_needs_no_token() -> None:
    assert (await ask([("host", HOSTS[0])], path="/healthz"))[0] == 200
    assert (await ask([("host", HOSTS[0])], path="/healthz/"))[0] == 401


async def test_a_socket_of_its_own_needs_none() -> None:
    assert (await ask([("host", HOSTS[0])], token=None))[0] == 200


@pytest.mark.parametrize("length", [str(MOST_BYTES + 1), "-1", "9" * 30, "many"])
async def test_a_body_that_says_it_is_too_large_is_not_read(length: str) -> None:
    assert (await ask([*GOOD, ("content-length", length)]))[0] == 413


async def test_a_body_that_turns_out_too_large_is_not_read_on() -> None:
    half = b"x" * (MOST_BYTES // 2)
    assert await ask(GOOD, chunks=(half, half)) == (200, b"inside 16384")
    assert (await ask(GOOD, chunks=(half, half, b"x")))[0] == 413


# ---- on every route of every kind ------------------------------------------------------------


class Untouched:
    """Stands for a run that nobody may ask anything."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was asked of the run")


API = Api(Board(lambda: 1), Untouched(), lambda: 0.0)  # type: ignore[arg-type]
ROUTES = [
    (route.path.replace("{slot}", "m").replace("{path:path}", "x"), method)
    for route in API.application().routes
    if isinstance(route, Route)
    for method in sorted(route.methods or ())
]
OPEN = {"/", "/healthz", "/readyz", "/assets/x"}
BAD: dict[str, tuple[int, list[tuple[str, str]]]] = {
    "no host": (421, [SHOWN]),
    "another host": (421, [("host", "evil.example:8000"), SHOWN]),
    "a host that begins as ours": (421, [("host", "127.0.0.1:8000.evil.example"), SHOWN]),
    "a short form": (421, [("host", "127.1:8000"), SHOWN]),
    "a trailing dot": (421, [("host", "localhost.:8000"), SHOWN]),
    "two hosts": (421, [("host", HOSTS[0]), ("host", HOSTS[1]), SHOWN]),
    "another page": (403, [*GOOD, ("origin", "http://evil.example")]),
    "no page's": (403, [*GOOD, ("origin", "null")]),
    "no token": (401, [("host", HOSTS[0])]),
    "a wrong token": (401, [("host", HOSTS[0]), ("authorization", "Bearer " + "y" * 36)]),
    "the token in the address": (401, [("host", HOSTS[0])]),
    "too large": (413, [*GOOD, ("content-length", "99999999")]),
}


def test_there_are_routes_of_every_kind() -> None:
    assert {"/v1/stream", "/v1/logs/stream", "/v1/halt", "/v1/status"} <= {p for p, _ in ROUTES}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_s2_s3_s4_every_route_refuses_it(bad: str, kind: str) -> None:
    status, headers = BAD[bad]
    for path, method in [*ROUTES, ("/no/such/route", "GET"), ("/v1", "PUT")]:
        if status == 401 and path in OPEN:
            continue
        said: list[Message] = []
        scope: dict[str, Any] = {
            "type": kind,
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in headers],
            "query_string": f"token={TOKEN}".encode(),
        }

        async def receive() -> Message:
            raise AssertionError("nothing is read of it")

        async def send(message: Message, said: list[Message] = said) -> None:
            said.append(message)

        await Guard(API.application(), HOSTS, TOKEN)(scope, receive, send)
        if kind == "websocket":
            assert [message["type"] for message in said] == ["websocket.close"], path
        else:
            assert said[0]["status"] == status, path
            kinds = dict(said[0]["headers"])
            assert kinds[b"content-type"] == b"application/problem+json", path


@pytest.mark.parametrize("path", [path for path, method in ROUTES if method == "GET"])
async def test_who_only_looks_never_asks_the_run(path: str) -> None:
    """Whatever is shown is on the board: readers cost the run's loop nothing."""
    if path.endswith("stream"):
        return  # streams read the board only: tests/runtime/control/test_server.py
    app = Guard(API.application(), HOSTS, TOKEN)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as http:
        answer = await http.get(path, headers=[SHOWN])
    assert answer.status_code in {200, 404, 503}


@pytest.mark.parametrize("body", [b"{", b"[" * 10_000, b"\xff\xfe", b'{"reason": NaN', b"null"])
async def test_row_77_what_is_no_json_is_a_problem(body: bytes) -> None:
    transport = httpx.ASGITransport(app=Guard(API.application(), HOSTS, TOKEN))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as http:
        answer = await http.post("/v1/halt", content=body, headers=[SHOWN])
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == "application/problem+json"
