"""Open one WebSocket: address, TLS, proxy, handshake; what goes wrong is one of three outcomes.

Dropped: another attempt may do. HttpRefusal: the venue answered with a status instead. Untrusted:
its certificate is none of ours. A redirect is none of them: it would carry a login elsewhere.
"""

import os
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address
from urllib.parse import urlsplit

from msgspec import Struct
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidProxy,
    InvalidStatus,
    ProxyError,
)

from feeds.errors import ConfigError
from feeds.pacing import retry_after

USER_AGENT = "tidegate"
CLOSE_SECONDS = 1
MOST_WAITING = 256
"""Messages that wait to be read; then the venue does."""


class Dropped(Exception):
    """This connection is over, for the reason given; another may do."""


class Silent(Dropped):
    """The time of an attempt ran out; what an earlier one met tells more."""


class Untrusted(Exception):
    """The certificate is not one we trust, for the reason given."""


class HttpRefusal(Exception):
    """The upgrade was answered with an HTTP status; `wait` is the ns that it asks us to wait."""

    def __init__(self, status: int, wait: int) -> None:
        super().__init__(f"it answered the upgrade with HTTP status {status}")
        self.status, self.wait = status, wait


class Address(Struct, frozen=True):
    """Where a venue is: the URL without its path, "host:port" for messages, and how to secure it.

    On this machine a connection goes past any proxy.
    """

    url: str
    place: str
    tls: ssl.SSLContext | None
    is_here: bool


def parse_address(url: str) -> Address:
    """Read a venue's URL.

    Raises:
        ConfigError: it is no ws:// or wss://, or would send a login in clear text.
    """
    parts = urlsplit(url)
    try:
        port = parts.port or (443 if parts.scheme == "wss" else 80)
    except ValueError as error:
        raise ConfigError(f"the port in the venue's URL is wrong: {error}") from None
    host = parts.hostname or ""
    place = f"{host}:{port}"
    if parts.scheme not in {"ws", "wss"} or not host:
        raise ConfigError(
            f"the venue's URL has scheme {parts.scheme or 'none'} and host {host or 'none'}: "
            "give wss://host/path, or ws:// on this machine"
        )
    is_here = _is_loopback(host)
    if parts.scheme == "wss":
        return Address(url.rstrip("/"), place, ssl.create_default_context(), is_here)
    if not is_here:
        raise ConfigError(f"ws:// to {place} would send the login in clear text: use wss://")
    return Address(url.rstrip("/"), place, None, is_here)


class Attempt(Struct, frozen=True):
    """A connection that is asked for.

    Attributes:
        address: of the venue, and `path` behind it.
        headers: of the upgrade.
        patience: seconds that it may take.
        max_size: of a message, bytes.
        proxy: its URL; None takes the environment's.
        now: ns UTC, for a refusal that says until when.
    """

    address: Address
    path: str
    headers: Mapping[str, str]
    patience: float
    max_size: int
    proxy: str | None
    now: int

    @property
    def url(self) -> str:
        """What is connected to."""
        return self.address.url + self.path

    def refused(self, status: int, headers: Mapping[str, str]) -> HttpRefusal:
        """Return the outcome of an answer that is a status."""
        return HttpRefusal(status, retry_after(headers.get("Retry-After"), self.now))


async def dial(attempt: Attempt) -> ClientConnection:
    """Connect.

    Raises:
        Dropped: another attempt may do.
        HttpRefusal: the venue answered with a status.
        Untrusted: the venue's certificate is not trusted.
        ConfigError: the proxy is no proxy's URL, or needs a library that is not installed.
    """
    with outcomes(attempt):
        return await _Connect(
            attempt.url,
            ssl=attempt.address.tls,
            additional_headers=attempt.headers,
            user_agent_header=USER_AGENT,
            compression=None,
            proxy=None if attempt.address.is_here else attempt.proxy or True,
            open_timeout=attempt.patience,
            close_timeout=CLOSE_SECONDS,
            ping_interval=None,  # the session does it, and knows when the silence is our own
            max_size=attempt.max_size,
            max_queue=MOST_WAITING,
        )


@contextmanager
def outcomes(attempt: Attempt) -> Iterator[None]:
    """Turn what an attempt has met into one of the outcomes."""
    try:
        yield
    except InvalidStatus as error:
        raise attempt.refused(error.response.status_code, error.response.headers) from None
    except ssl.SSLCertVerificationError as error:
        raise Untrusted(error.verify_message) from None
    except TimeoutError:
        raise Silent(f"no answer within {attempt.patience:.1f} s") from None
    except InvalidProxy as error:
        raise ConfigError(f"the proxy cannot be used: {error}") from None
    except ImportError:
        raise ConfigError(
            "a SOCKS proxy needs python-socks: install tidegate[socks], or name an HTTP proxy"
        ) from None
    except ProxyError as error:
        raise Dropped(f"the proxy does not let us through: {error}") from None
    except OSError as error:
        raise Dropped(_os_reason(error)) from None
    except (InvalidHandshake, ConnectionClosed, EOFError) as error:
        raise Dropped(f"it does not speak WebSocket there: {error}") from None


class _Connect(connect):
    """A redirect would carry the login to a place that nobody named."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _os_reason(error: OSError) -> str:
    """The operating system's words; asyncio folds several addresses' errors into one text."""
    number = error.errno
    if number is None and (match := re.search(r"\[Errno (\d+)\]", str(error))):
        number = int(match[1])
    if number is not None and number > 0:
        return os.strerror(number)
    return error.strerror or str(error) or type(error).__name__
