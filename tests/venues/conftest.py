"""What the tests of venues share: either library may hold the sockets."""

import pytest

from feeds.dial import Attempt
from feeds.sockets import Socket, Transport
from feeds.transports import open_socket


@pytest.fixture(params=list(Transport))
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Transport:
    """Have connections held by the one library, then by the other."""
    transport: Transport = request.param
    if transport is Transport.FAST:
        pytest.importorskip("picows", reason="needs the extra tidegate[fast]")

    async def opened(_: Transport, attempt: Attempt) -> Socket:
        return await open_socket(transport, attempt)

    monkeypatch.setattr("feeds.connection.open_socket", opened)
    return transport
