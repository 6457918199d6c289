"""Alpaca's trade_updates stream, server side: one TradingSession per connection, told bytes.

A client logs in, in either of Alpaca's two spellings, then asks to listen. Paper accounts send
their JSON in binary frames, and so does this. Nothing is replayed: who was not there must ask.
"""

from typing import Any

import msgspec

from feeds.venue.protocol import Credentials

UPDATES = "trade_updates"
_encode = msgspec.json.Encoder().encode


class TradingSession:
    """One client's connection; `listens` once it has asked, `ending` once it must be closed."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self.authorized = False
        self.listens = False
        self.ending = False

    def receive(self, frame: bytes | str) -> list[bytes]:
        """Take one frame of the client and return the answers."""
        try:
            message = msgspec.json.decode(frame)
        except (ValueError, RecursionError):
            return self._refuse("invalid syntax")
        if not isinstance(message, dict):
            return self._refuse("invalid syntax")
        data = message.get("data")
        data = data if isinstance(data, dict) else {}
        match message.get("action"):
            case "authenticate" | "auth":
                key = data.get("key_id", message.get("key"))
                secret = data.get("secret_key", message.get("secret"))
                return self._log_in(str(key), str(secret))
            case "listen":
                return self._listen(data.get("streams"))
            case _:
                return self._refuse("invalid action")

    def _log_in(self, key: str, secret: str) -> list[bytes]:
        self.authorized = self.authorized or self._credentials.match(key, secret)
        self.ending = not self.authorized
        status = "authorized" if self.authorized else "unauthorized"
        return [_frame("authorization", {"status": status, "action": "authenticate"})]

    def _listen(self, streams: Any) -> list[bytes]:
        if not self.authorized:
            self.ending = True
            return [_frame("authorization", {"status": "unauthorized", "action": "listen"})]
        wanted = streams if isinstance(streams, list) else []
        self.listens = UPDATES in wanted
        return [_frame("listening", {"streams": [UPDATES] if self.listens else []})]

    def _refuse(self, why: str) -> list[bytes]:
        return [_encode({"action": "error", "data": {"error_message": why}})]


def update_frame(data: dict[str, Any]) -> bytes:
    """Write one trade_updates message."""
    return _frame(UPDATES, data)


def _frame(stream: str, data: dict[str, Any]) -> bytes:
    return _encode({"stream": stream, "data": data})
