"""Open a WebSocket with picows, of the extra tidegate[fast]: the same outcomes, messages and ends.

Only `feeds.transports` imports this, and only when it is asked to.
"""

import asyncio
import logging
import ssl
from typing import Any

import picows
from picows.websockets.asyncio.connection import ClientConnection
from picows.websockets.compat import Request, Response
from picows.websockets.exceptions import ConnectionClosed
from python_socks import ProxyError
from websockets.proxy import get_proxy
from websockets.uri import parse_uri

from feeds.dial import CLOSE_SECONDS, MOST_WAITING, USER_AGENT, Attempt, Dropped
from feeds.errors import ConfigError
from feeds.sockets import Held, Socket

WRITE_LIMIT = 32_768


class _Connection(ClientConnection):
    """One that can be ended at once, and that gives nothing of what follows a frame it refuses."""

    line: Any
    is_broken = False

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        self.line = transport
        super().on_ws_connected(transport)

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if self.is_broken:
            return
        try:
            super().on_ws_frame(transport, frame)
        except picows.WSError:
            self.is_broken = True
            raise

    def abort(self) -> None:
        self.line.disconnect(False)


async def dial_fast(attempt: Attempt) -> Socket:
    """Connect.

    Raises:
        Dropped: the other side does not speak WebSocket.
        HttpRefusal: the venue answered with a status.
        ConfigError: the proxy is no proxy's URL.
        OSError, TimeoutError: as they come.
    """
    address, patience, max_size = attempt.address, attempt.patience, attempt.max_size
    # Found as the other library does, which knows NO_PROXY.
    proxy = None if address.is_here else attempt.proxy or get_proxy(parse_uri(attempt.url))

    def made(request: picows.WSUpgradeRequest, response: picows.WSUpgradeResponse) -> _Connection:
        return _Connection(
            request=Request.from_picows(request),
            response=Response.from_picows(response),
            subprotocol=None,
            permessage_deflate=None,
            ping_interval=None,  # the session does it, and knows when the silence is our own
            ping_timeout=None,
            close_timeout=CLOSE_SECONDS,
            max_queue=MOST_WAITING,
            write_limit=WRITE_LIMIT,
            max_message_size=max_size,
            max_frame_size=0,  # the parser below has the limit, and stops there
            logger=logging.getLogger("picows"),
        )

    try:
        async with asyncio.timeout(patience):
            _, connection = await picows.ws_connect(
                made,
                attempt.url,
                ssl_context=address.tls,
                websocket_handshake_timeout=patience,  # cancelling closes nothing
                max_frame_size=max_size,
                extra_headers={**attempt.headers, "User-Agent": USER_AGENT},
                max_redirects=0,
                use_aiofastnet=False,  # TLS is the one that `feeds.dial` knows the errors of
                # Names are the proxy's to find in either case.
                proxy=proxy and proxy.replace("socks5h://", "socks5://", 1),
            )
    except picows.WSInvalidStatusError as error:
        answer: Any = error.response
        raise attempt.refused(int(answer.status), answer.headers) from None
    except ssl.SSLError:
        raise  # one of which is a ValueError as well
    except (picows.WSInvalidURL, ValueError) as error:
        raise ConfigError(f"the proxy cannot be used: {error}") from None
    except ProxyError as error:
        raise Dropped(f"the proxy does not let us through: {error}") from None
    except (picows.WSError, EOFError) as error:
        raise Dropped(f"it does not speak WebSocket there: {error}") from None
    if not isinstance(connection, _Connection):  # it was closed before any answer
        raise Dropped("it does not speak WebSocket there: the connection was closed")
    return Held(connection, ConnectionClosed, connection.abort)
