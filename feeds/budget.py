"""What all connections of one venue share: turns to connect and to ask over HTTP, and the asking.

A venue counts by address, not by connection: whoever asks waits for the next turn of all. What a
venue says with Retry-After holds everybody back.
"""

import ssl
import time
import urllib.error
import urllib.request
from functools import partial
from http.client import HTTPException, HTTPMessage
from typing import IO

import anyio
from anyio import to_thread
from msgspec import Struct

from feeds.events import SECOND
from feeds.pacing import Pacer, retry_after
from feeds.protocols.base import HttpGet, Limits

ATTEMPTS = 3
LARGEST_ANSWER = 16 << 20
TOO_MANY = {418, 429, 503}
LEAST_WAIT = SECOND
"""What a venue that says "too many" and not how long is given."""


class Answer(Struct, frozen=True):
    """What came of one request; status 0 where nothing came. `wait` (ns) is its Retry-After."""

    status: int
    body: bytes
    wait: int = 0


class Budget:
    """The turns of one venue; `rest_url` is where its paths are asked for, None: nowhere."""

    def __init__(self, limits: Limits, rest_url: str | None, proxy: str | None = None) -> None:
        self._connects, self._requests = Pacer(limits.connects), Pacer(limits.requests)
        self._rest_url = None if rest_url is None else rest_url.rstrip("/")
        self._opener = _opener(proxy)
        self._slots = anyio.CapacityLimiter(2)

    def until_connect(self) -> float:
        """Return the seconds until a connection may be tried."""
        return self._connects.wait(_now()) / SECOND

    async def connect_turn(self) -> None:
        """Wait for a turn to connect, and take it."""
        await _turn(self._connects)

    def hold(self, wait: int) -> None:
        """Stay away for `wait` ns, as the venue asked."""
        until = _now() + max(wait, LEAST_WAIT)
        self._connects.hold(until)
        self._requests.hold(until)

    async def get(self, request: HttpGet, seconds: float) -> Answer:
        """Ask, at most ATTEMPTS times, each within `seconds`."""
        answer = Answer(0, b"")
        for attempt in range(ATTEMPTS if self._rest_url is not None else 0):
            await _turn(self._requests)
            if attempt and answer.status not in TOO_MANY:
                await anyio.sleep(0.25 * 2**attempt)
            ask = partial(_get, self._opener, f"{self._rest_url}{request.path}", seconds)
            answer = Answer(0, b"")
            with anyio.move_on_after(2 * seconds):  # a timeout of a socket bounds each read only
                answer = await to_thread.run_sync(ask, abandon_on_cancel=True, limiter=self._slots)
            if answer.status in TOO_MANY:
                self.hold(answer.wait)
            elif 0 < answer.status < 500:
                break
        return answer


async def _turn(pacer: Pacer) -> None:
    while wait := pacer.wait(_now()):  # noqa: ASYNC110 - time is what is waited for
        await anyio.sleep(wait / SECOND)
    pacer.take(_now())


def _now() -> int:
    return time.monotonic_ns()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A venue's API is where it is said to be."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> None:
        return None


def _opener(proxy: str | None) -> urllib.request.OpenerDirector:
    """Make what asks; the environment names the proxy where none is given."""
    return urllib.request.build_opener(
        _NoRedirect,
        urllib.request.ProxyHandler(None if proxy is None else {"http": proxy, "https": proxy}),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
    )


def _get(opener: urllib.request.OpenerDirector, url: str, seconds: float) -> Answer:
    """Ask once; on a worker thread."""
    request = urllib.request.Request(url, headers={"User-Agent": "tidegate"})  # noqa: S310
    try:
        with opener.open(request, timeout=seconds) as response:
            body = response.read(LARGEST_ANSWER + 1)
            return Answer(response.status, body) if len(body) <= LARGEST_ANSWER else Answer(0, b"")
    except urllib.error.HTTPError as error:
        with error:
            wait = retry_after(error.headers.get("Retry-After"), time.time_ns())
            return Answer(error.code, error.read(1024), wait)
    except (OSError, HTTPException, ValueError):
        return Answer(0, b"")
