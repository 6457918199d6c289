"""How venues speak when a capture is played: what they expect to hear, and what they answer.

A dialogue is one connection's. `hear` takes what the client says and returns the answers; `tell`
makes of a frame of the tape what this client is told, if anything; `answer` is for questions over
HTTP.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from tests.venues.tape import Tape


class Dialogue(Protocol):
    @property
    def greeting(self) -> Sequence[str | bytes]: ...

    def hear(self, said: Any) -> Iterable[str | bytes]: ...

    def tell(self, frame: Any) -> str | bytes | None: ...

    def answer(self, path: str) -> Any: ...


class Recorded:
    """Tells frames as they were recorded to those who want them."""

    greeting = ()

    def tell(self, frame: Any) -> str | None:
        return json.dumps(frame) if self.wants(frame) else None

    def wants(self, frame: Mapping[str, Any]) -> bool:
        raise NotImplementedError

    def hear(self, said: Any) -> list[str]:
        raise NotImplementedError

    def answer(self, path: str) -> Any:
        raise NotImplementedError


class Coinbase(Recorded):
    """Subscriptions by product and channel, the full set for an answer, then `last_match`."""

    OF = {"match": "matches", "ticker": "ticker", "l2update": "level2_batch"}

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self._channels: dict[str, set[str]] = {}

    def hear(self, said: Any) -> list[str]:
        products = set(said["product_ids"])
        unknown = products - self._tape.products
        if unknown:
            words = f"{min(unknown)} is not a valid product"
            return [
                json.dumps({"type": "error", "message": "Failed to subscribe", "reason": words})
            ]
        for channel in said["channels"]:
            had = self._channels.setdefault(channel, set())
            self._channels[channel] = (
                had | products if said["type"] == "subscribe" else had - products
            )
        full = [
            {"name": name, "product_ids": sorted(ids)}
            for name, ids in self._channels.items()
            if ids
        ]
        answers = [json.dumps({"type": "subscriptions", "channels": full})]
        if said["type"] == "subscribe" and "matches" in said["channels"]:
            latest = (self._tape.latest.get(product) for product in sorted(products))
            answers += [json.dumps({**frame, "type": "last_match"}) for frame in latest if frame]
        return answers

    def wants(self, frame: Mapping[str, Any]) -> bool:
        channel = self.OF.get(frame.get("type", ""), "")
        return frame.get("product_id") in self._channels.get(channel, ())

    def answer(self, path: str) -> Any:
        """The history of a product's trades."""
        parts = urlsplit(path)
        product, query = parts.path.split("/")[2], parse_qs(parts.query)
        after, limit = int(query["after"][0]), int(query["limit"][0])
        played = self._tape.matches[product]
        return [played[n] for n in sorted(played, reverse=True) if n < after][:limit]


class Binance(Recorded):
    """SUBSCRIBE with an id, which the answer bears; data wrapped with its stream's name."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self._streams: set[str] = set()

    def hear(self, said: Any) -> list[str]:
        if said["method"] == "LIST_SUBSCRIPTIONS":
            return [json.dumps({"result": sorted(self._streams), "id": said["id"]})]
        if said["method"] == "SUBSCRIBE":
            self._streams |= set(said["params"])
        else:
            self._streams -= set(said["params"])
        return [json.dumps({"result": None, "id": said["id"]})]

    def wants(self, frame: Mapping[str, Any]) -> bool:
        return frame.get("stream") in self._streams

    def answer(self, path: str) -> Any:
        """The list of all there is, at a moment without quotes."""
        assert path.endswith("/ticker/bookTicker")
        streams = (frame.get("stream", "") for frame in self._tape.frames)
        nothing = dict.fromkeys(("bidPrice", "bidQty", "askPrice", "askQty"), "0.0")
        names = {stream.partition("@")[0].upper() for stream in streams}
        return [{"symbol": name, **nothing} for name in names]


class Bitstamp(Recorded):
    """One subscription a channel, each answered by itself."""

    def __init__(self, tape: Tape) -> None:
        self._channels: set[str] = set()

    def hear(self, said: Any) -> list[str]:
        if said["event"] == "bts:heartbeat":
            return [
                json.dumps({"event": "bts:heartbeat", "channel": "", "data": {"status": "success"}})
            ]
        channel = said["data"]["channel"]
        if said["event"] == "bts:subscribe":
            self._channels.add(channel)
            answer = "bts:subscription_succeeded"
        else:
            self._channels.discard(channel)
            answer = "bts:unsubscription_succeeded"
        return [json.dumps({"event": answer, "channel": channel, "data": {}})]

    def wants(self, frame: Mapping[str, Any]) -> bool:
        return frame.get("channel") in self._channels

    def answer(self, path: str) -> Any:
        """Nothing is asked."""
        raise AssertionError(path)


DIALOGUES: dict[str, Callable[[Tape], Recorded]] = {
    "coinbase": Coinbase,
    "binance": Binance,
    "bitstamp": Bitstamp,
}
