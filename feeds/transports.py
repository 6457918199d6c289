"""Open one WebSocket with the library that is asked for."""

from collections.abc import Awaitable, Callable, Mapping

from websockets.exceptions import ConnectionClosed
from websockets.proxy import get_proxy
from websockets.uri import parse_uri

from feeds.dial import Address, dial, outcomes
from feeds.errors import ConfigError
from feeds.sockets import Held, Socket, Transport


async def open_socket(
    transport: Transport,
    address: Address,
    path: str,
    headers: Mapping[str, str],
    *,
    patience: float,
    max_size: int,
    proxy: str | None,
    now: int,
) -> Socket:
    """Connect as `dial` does, with either library.

    Raises:
        Dropped, HttpRefusal, Untrusted, ConfigError: as `dial`; or the extra is not installed.
    """
    if transport is Transport.WEBSOCKETS:
        plain = await dial(
            address, path, headers, patience=patience, max_size=max_size, proxy=proxy, now=now
        )
        return Held(plain, ConnectionClosed, plain.transport.abort)
    dial_fast = fast_or_refuse()
    with outcomes(patience, now):
        url = address.url + path
        way = None if address.is_here else proxy or get_proxy(parse_uri(url))
        return await dial_fast(
            address, path, headers, patience=patience, max_size=max_size, proxy=way, now=now
        )


def fast_or_refuse() -> Callable[..., Awaitable[Socket]]:
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
