"""The dialogues of venues over a `Market`: what each expects to hear, answers, tells and remembers.

The shapes are those of the recordings, or of the venues' documents where there is none. A speaker
is one connection's side; `answer` is for questions over HTTP.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from feeds.events import Symbol, Trade
from tests.venues.market import MS, Market, Print

Frame = str | bytes


def iso(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def dashed(symbol: Symbol) -> str:
    return symbol.replace("/", "-")


def joined(symbol: Symbol) -> str:
    return symbol.replace("/", "")


class Speaker:
    """One connection.

    `is_numbered`: the adapter can tell by numbers what is missing. `joined` trades are told as one.
    """

    is_numbered = True
    joined = 1
    greeting: Sequence[Frame] = ()

    def __init__(self, market: Market) -> None:
        self.market = market
        self.names = {self.spell(symbol): symbol for symbol in market.symbols}
        self.served: set[Symbol] = set()  # those whose trades were asked for

    @staticmethod
    def spell(symbol: Symbol) -> str:
        return dashed(symbol)

    @staticmethod
    def covered(trade: Trade) -> Sequence[int]:
        """The numbers of the market's trades that one of the adapter's stands for."""
        return [int(trade.trade_id)]

    def tell(self, trade: Print) -> Frame | None:
        return self.frame(trade) if trade.symbol in self.served else None

    def hear(self, said: Any) -> Iterable[Frame]:
        raise NotImplementedError

    def frame(self, trade: Print) -> Frame | None:
        raise NotImplementedError

    def answer(self, path: str) -> Any:
        raise NotImplementedError

    def take(self, method: str, names: Iterable[str]) -> list[Symbol]:
        """Subscribe or unsubscribe trades."""
        symbols = [self.names[name] for name in names]
        (self.served.update if "unsub" not in method else self.served.difference_update)(symbols)
        return symbols


def query_of(path: str) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(urlsplit(path).query).items()}


class Coinbase(Speaker):
    def hear(self, said: Any) -> Iterable[Frame]:
        symbols = self.take(said["type"], said["product_ids"])
        ids = sorted(map(self.spell, self.served))
        channels = [{"name": name, "product_ids": ids} for name in said["channels"]]
        yield json.dumps({"type": "subscriptions", "channels": channels})
        for symbol in symbols:
            for trade in self.market.newest(symbol, 1):
                yield json.dumps(self.row(trade) | {"type": "last_match"})

    def row(self, trade: Print) -> dict[str, Any]:
        return {
            "type": "match", "trade_id": trade.number, "maker_order_id": "m", "taker_order_id": "t",
            "side": "sell", "size": "1", "price": trade.price, "time": iso(trade.time),
            "product_id": self.spell(trade.symbol), "sequence": trade.number,
        }  # fmt: skip

    def frame(self, trade: Print) -> Frame | None:
        return json.dumps(self.row(trade))

    def answer(self, path: str) -> Any:
        symbol, query = self.names[path.split("/")[2]], query_of(path)
        rows = self.market.newest(symbol, int(query["limit"]), before=int(query["after"]))
        return [self.row(trade) for trade in rows]


class CoinbaseAdvanced(Speaker):
    def __init__(self, market: Market) -> None:
        super().__init__(market)
        self.number = -1

    def wrap(self, channel: str, *events: dict[str, Any]) -> str:
        self.number += 1
        head = {"channel": channel, "client_id": "", "timestamp": iso(0)}
        return json.dumps({**head, "sequence_num": self.number, "events": events})

    def hear(self, said: Any) -> Iterable[Frame]:
        channel, ids = said["channel"], said.get("product_ids", [])
        symbols = self.take(said["type"], ids) if channel == "market_trades" else []
        yield self.wrap("subscriptions", {"subscriptions": {channel: ids}})
        if symbols and said["type"] == "subscribe":
            rows = [self.row(t) for symbol in symbols for t in self.market.newest(symbol, 20)]
            yield self.wrap("market_trades", {"type": "snapshot", "trades": rows})

    def row(self, trade: Print) -> dict[str, Any]:
        return {
            "trade_id": str(trade.number), "product_id": self.spell(trade.symbol), "size": "1",
            "price": trade.price, "side": "BUY", "time": iso(trade.time),
        }  # fmt: skip

    def frame(self, trade: Print) -> Frame | None:
        return self.wrap("market_trades", {"type": "update", "trades": [self.row(trade)]})

    def answer(self, path: str) -> Any:
        symbol, query = self.names[path.split("/")[6]], query_of(path)
        start, end = (int(query[key]) * 1000 for key in ("start", "end"))
        rows = [t for t in self.market.newest(symbol, 10_000) if start <= t.time < end]
        return {"trades": [self.row(trade) for trade in rows[: int(query["limit"])]]}


class Kraken(Speaker):
    greeting = ('{"channel":"status","type":"update","data":[{"system":"online"}]}',)

    @staticmethod
    def spell(symbol: Symbol) -> str:
        return symbol

    def hear(self, said: Any) -> Iterable[Frame]:
        channel = said["params"]["channel"]
        for name in said["params"]["symbol"]:
            result = {"channel": channel, "symbol": name, "snapshot": True}
            answer = {"method": said["method"], "result": result, "success": True}
            yield json.dumps({**answer, "req_id": said["req_id"]})
            if channel == "trade":
                for symbol in self.take(said["method"], [name]):
                    yield self.message("snapshot", reversed(self.market.newest(symbol, 50)))

    def message(self, kind: str, trades: Iterable[Print]) -> str:
        rows = [
            {
                "symbol": trade.symbol, "side": "buy", "price": float(trade.price), "qty": 1.0,
                "ord_type": "limit", "trade_id": trade.number, "timestamp": iso(trade.time),
            }
            for trade in trades
        ]  # fmt: skip
        return json.dumps({"channel": "trade", "type": kind, "data": rows})

    def frame(self, trade: Print) -> Frame | None:
        return self.message("update", [trade])

    def answer(self, path: str) -> Any:
        """Trades from a moment on, at most a page."""
        query = query_of(path)
        names = {joined(name).replace("BTC", "XBT"): name for name in self.market.symbols}
        symbol, since = names[query["pair"]], int(query["since"])
        kept = [t for t in self.market.kept[symbol] if t.time * MS > since][: int(query["count"])]
        rows = [
            [t.price, "1", f"{t.time // 1000}.{t.time % 1000:03}", "b", "l", "", t.number]
            for t in kept
        ]
        last = str(kept[-1].time * MS) if kept else str(since)
        return {"error": [], "result": {query["pair"]: rows, "last": last}}


class Binance(Speaker):
    topic, kind = "aggTrade", "aggTrade"

    @staticmethod
    def spell(symbol: Symbol) -> str:
        return joined(symbol)

    def hear(self, said: Any) -> Iterable[Frame]:
        names = [name.partition("@")[0].upper() for name in said["params"] if self.topic in name]
        self.take(said["method"].lower(), names)
        yield json.dumps({"result": None, "id": said["id"]})

    def row(self, trade: Print) -> dict[str, Any]:
        return {
            "e": self.kind, "E": trade.time, "s": self.spell(trade.symbol), "a": trade.number,
            "p": trade.price, "q": "1", "f": 1, "l": 1, "T": trade.time, "m": False, "M": True,
        }  # fmt: skip

    def frame(self, trade: Print) -> Frame | None:
        stream = f"{self.spell(trade.symbol).lower()}@{self.topic}"
        return json.dumps({"stream": stream, "data": self.row(trade)})

    def answer(self, path: str) -> Any:
        nothing = dict.fromkeys(("bidPrice", "bidQty", "askPrice", "askQty"), "0.0")
        if "bookTicker" in path:
            return [{"symbol": name, **nothing} for name in self.names]
        query = query_of(path)
        kept, first = self.market.kept[self.names[query["symbol"]]], int(query["fromId"])
        rows = [self.row(trade) for trade in kept if trade.number >= first]
        return rows[: int(query["limit"])]


class BinanceFutures(Binance):
    topic, kind = "trade", "trade"

    def row(self, trade: Print) -> dict[str, Any]:
        return {
            "e": "trade", "E": trade.time, "T": trade.time, "s": self.spell(trade.symbol),
            "t": trade.number, "p": trade.price, "q": "1", "X": "MARKET", "m": False,
        }  # fmt: skip

    def answer(self, path: str) -> Any:
        if "bookTicker" in path:
            return super().answer(path)
        query = query_of(path)
        rows = self.market.newest(self.names[query["symbol"]], int(query["limit"]))
        more = {"qty": "1", "isBuyerMaker": False}
        return [{"id": t.number, "price": t.price, "time": t.time, **more} for t in reversed(rows)]


class Bitstamp(Speaker):
    """Ids are of the whole venue: here the number of the round and the place of the symbol."""

    is_numbered = False

    @staticmethod
    def spell(symbol: Symbol) -> str:
        return joined(symbol).lower()

    @staticmethod
    def covered(trade: Trade) -> Sequence[int]:
        return [int(trade.trade_id) // 1000]

    def hear(self, said: Any) -> Iterable[Frame]:
        name = said["data"]["channel"]
        channel, _, pair = name.rpartition("_")
        if channel == "live_trades":
            self.take(said["event"], [pair])
        answer = said["event"].replace("scribe", "scription_succeeded")
        yield json.dumps({"event": answer, "channel": name, "data": {}})

    def frame(self, trade: Print) -> Frame | None:
        data = {
            "id": self.id(trade), "timestamp": str(trade.time // 1000), "amount": 1,
            "amount_str": "1.0", "price": float(trade.price), "price_str": trade.price, "type": 0,
            "microtimestamp": str(trade.time * 1000), "buy_order_id": 1, "sell_order_id": 2,
        }  # fmt: skip
        channel = f"live_trades_{self.spell(trade.symbol)}"
        return json.dumps({"data": data, "channel": channel, "event": "trade"})

    @staticmethod
    def id(trade: Print) -> int:
        return trade.number * 1000 + trade.place

    def answer(self, path: str) -> Any:
        rows = self.market.newest(self.names[path.split("/")[4]], 1_000)
        return [
            {
                "date": str(t.time // 1000), "tid": str(self.id(t)), "amount": "1", "type": "0",
                "price": t.price,
            }
            for t in rows
        ]  # fmt: skip


class Bybit(Speaker):
    is_numbered = False

    @staticmethod
    def spell(symbol: Symbol) -> str:
        return joined(symbol)

    @staticmethod
    def covered(trade: Trade) -> Sequence[int]:
        return [int(trade.trade_id.partition("-")[0], 16)]

    @staticmethod
    def id(trade: Print) -> str:
        return f"{trade.number:08x}-d8dd-5b31-9112-a178eb6023af"

    def hear(self, said: Any) -> Iterable[Frame]:
        if said["op"] == "ping":
            yield json.dumps({"success": True, "ret_msg": "pong", "conn_id": "x", "op": "ping"})
            return
        topics = [topic.rpartition(".") for topic in said["args"]]
        self.take(said["op"], [name for channel, _, name in topics if channel == "publicTrade"])
        answer = {"success": True, "ret_msg": "", "conn_id": "x", "op": said["op"]}
        yield json.dumps({**answer, "req_id": said["req_id"]})

    def frame(self, trade: Print) -> Frame | None:
        name = self.spell(trade.symbol)
        row = {
            "T": trade.time, "s": name, "S": "Buy", "v": "1", "p": trade.price, "L": "PlusTick",
            "i": self.id(trade), "BT": False,
        }  # fmt: skip
        frame = {"topic": f"publicTrade.{name}", "type": "snapshot", "ts": trade.time}
        return json.dumps({**frame, "data": [row]})

    def answer(self, path: str) -> Any:
        query = query_of(path)
        rows = [
            {
                "execId": self.id(t), "symbol": query["symbol"], "price": t.price, "size": "1",
                "side": "Buy", "time": str(t.time), "isBlockTrade": False,
            }
            for t in self.market.newest(self.names[query["symbol"]], int(query["limit"]))
        ]  # fmt: skip
        return {"retCode": 0, "retMsg": "OK", "result": {"category": "spot", "list": rows}}


class Okx(Speaker):
    """Each three trades are one taker's at one price, and are told together."""

    is_numbered = False
    joined = 3

    @staticmethod
    def covered(trade: Trade) -> Sequence[int]:
        last = int(trade.trade_id)
        return range(last - round(trade.size) + 1, last + 1)

    def hear(self, said: Any) -> Iterable[Frame]:
        if said == "ping":
            yield "pong"
            return
        for arg in said["args"]:
            if arg["channel"] == "trades":
                self.take(said["op"], [arg["instId"]])
            yield json.dumps({"event": said["op"], "arg": arg, "connId": "a4d3ae55"})

    @staticmethod
    def row(trade: Print) -> dict[str, str]:
        return {
            "instId": dashed(trade.symbol), "tradeId": str(trade.number), "px": trade.price,
            "sz": "1", "side": "buy", "ts": str(trade.time),
        }  # fmt: skip

    def frame(self, trade: Print) -> Frame | None:
        row = {**self.row(trade), "sz": "3", "count": "3", "seqId": trade.number}
        arg = {"channel": "trades", "instId": dashed(trade.symbol)}
        return json.dumps({"arg": arg, "data": [row]})

    def answer(self, path: str) -> Any:
        query = query_of(path)
        before = int(query["after"]) if "after" in query else None
        rows = self.market.newest(self.names[query["instId"]], int(query["limit"]), before=before)
        return {"code": "0", "msg": "", "data": [self.row(trade) for trade in rows]}


class Alpaca(Speaker):
    """In msgpack, as the adapter asks for."""

    is_numbered = False
    greeting = (msgspec.msgpack.encode([{"T": "success", "msg": "connected"}]),)

    @staticmethod
    def spell(symbol: Symbol) -> str:
        return symbol

    def hear(self, said: Any) -> Iterable[Frame]:
        answer: dict[str, Any] = {"T": "success", "msg": "authenticated"}
        if said["action"] != "auth":
            self.take(said["action"], said["trades"])
            names = sorted(self.served)
            answer = {"T": "subscription", **dict.fromkeys(("trades", "quotes", "bars"), names)}
        yield msgspec.msgpack.encode([answer])

    def frame(self, trade: Print) -> Frame | None:
        row = {
            "T": "t", "S": trade.symbol, "i": trade.number, "p": float(trade.price), "s": 1.0,
            "tks": "B", "t": datetime.fromtimestamp(trade.time / 1000, UTC),
        }  # fmt: skip
        return msgspec.msgpack.encode([row])


SPEAKERS: dict[str, type[Speaker]] = {
    "alpaca": Alpaca,
    "binance": Binance,
    "binance-us": Binance,
    "binance-futures": BinanceFutures,
    "bitstamp": Bitstamp,
    "bybit": Bybit,
    "bybit-linear": Bybit,
    "coinbase": Coinbase,
    "coinbase-advanced": CoinbaseAdvanced,
    "kraken": Kraken,
    "okx": Okx,
}
