"""Open one WebSocket with the library that is asked for."""

from collections.abc import Awaitable, Callable

from websockets.exceptions import ConnectionClosed

from feeds.dial import Attempt, dial, outcomes
from feeds.errors import ConfigError
from feeds.sockets import Held, Socket, Transport


async def open_socket(transport: Transport, attempt: Attempt) -> Socket:
    """Connect as `dial` does, with either library.

    Raises:
        Dropped, HttpRefusal, Untrusted, ConfigError: as `dial`; or the extra is not installed.
    """
    if transport is Transport.WEBSOCKETS:
        plain = await dial(attempt)
        return Held(plain, ConnectionClosed, plain.transport.abort)
    dial_fast = fast_or_refuse()
    with outcomes(attempt):
        return await dial_fast(attempt)


def fast_or_refuse() -> Callable[[Attempt], Awaitable[Socket]]:
    """Return what connects with picows.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        from feeds.fast_dial import dial_fast  # noqa: PLC0415  # an extra
    except ImportError:
        raise ConfigError(
            "transport 'fast' needs picows, which is not installed: install tidegate[fast]"
        ) from None
    return dial_fast
